//! [`Screen`]: raw mode and the alternate screen, held for as long as the value lives, also through panics.

use std::io::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// The terminal in raw mode on its alternate screen. Dropping it gives both back.
pub(super) struct Screen {
    // Whether the terminal is still held: leaving the alternate screen twice would move the cursor over what was written since.
    held: Arc<AtomicBool>,
    previous: Arc<Hook>,
    // Messages of panics on other threads, which would tear the picture; they are written when it is gone.
    held_back: Arc<Mutex<Vec<String>>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it cannot be set; it is left as it was.
    pub(super) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let held = Arc::new(AtomicBool::new(true));
        if let Err(error) = execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide) {
            give_back(&held);
            return Err(error);
        }
        let previous: Arc<Hook> = panic::take_hook().into();
        let held_back = Arc::new(Mutex::new(Vec::new()));
        let (inner, messages, ours, drawing) =
            (Arc::clone(&previous), Arc::clone(&held_back), Arc::clone(&held), thread::current().id());
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == drawing {
                give_back(&ours);
                inner(info);
            } else {
                let thread = thread::current().name().unwrap_or("unnamed").to_owned();
                messages.lock().unwrap_or_else(PoisonError::into_inner).push(format!("thread '{thread}': {info}"));
            }
        }));
        Ok(Self { held, previous, held_back })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.held);
        // The hook cannot be changed by a thread that panics; it has then done its work already.
        if !thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
        for message in self.held_back.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Nothing is left to tell of a failure to write.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }
}

/// Gives the terminal back, once, as far as it goes.
fn give_back(held: &AtomicBool) {
    if held.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
