//! [`App`]: the only file that touches a terminal. It owns raw mode and the alternate screen, gives both back on every way out, and turns
//! records and keys into frames. It does not know where records come from nor what stopping a run means.

mod screen;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crossterm::event::{self, Event};
use plan::Record;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};

use crate::keys;
use crate::state::State;
use crate::ui::{Colour, Mode, Request, Ui};
use crate::view;

/// Shortest time between two frames, in ms: at most 20 a second.
const FRAME_MS: u64 = 50;
/// Longest time between two frames, in ms: at least two a second.
const IDLE_MS: u64 = 500;
/// How long keys and records are waited for in turn.
const WAIT: Duration = Duration::from_millis(15);

/// What to do when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtEnd {
    /// Close the dashboard.
    #[default]
    Leave,
    /// Stay until the person leaves.
    Stay,
}

/// How a dashboard behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whose run it is.
    pub mode: Mode,
    /// What to do when the run ends.
    pub at_end: AtEnd,
    /// Whether colours may be used.
    pub colour: Colour,
}

/// How a dashboard was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The run had ended.
    Ended,
    /// The person left while the run goes on elsewhere.
    Left,
    /// No more records will come although the run has not ended.
    Closed,
}

/// The dashboard on this process's terminal.
#[derive(Debug, Clone, Default)]
pub struct App {
    options: Options,
    state: State,
}

impl App {
    /// A dashboard that knows nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, state: State::new() }
    }

    /// What it has seen, for a summary after it closed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Shows the run until it ends (see [`AtEnd`]) or the person leaves; call it only when stdin and stdout are terminals.
    ///
    /// `source` waits for at most the given time and returns the records that have come, or none when no more will come.
    /// `on_interrupt` is called once for each time the person asks to stop the run. `clock` gives ms since the epoch.
    ///
    /// # Errors
    /// When the terminal cannot be read or written; it is given back first.
    pub fn run(
        &mut self,
        source: &mut dyn FnMut(Duration) -> Option<Vec<Record>>,
        on_interrupt: &dyn Fn(),
        clock: &dyn Fn() -> u64,
    ) -> io::Result<Exit> {
        let _screen = screen::Screen::enter()?;
        let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let mut keyboard = |wait| if event::poll(wait)? { event::read().map(Some) } else { Ok(None) };
        self.drive(&mut terminal, &mut keyboard, source, on_interrupt, clock)
    }

    /// [`run`](Self::run) on any terminal and keyboard.
    fn drive<B: Backend<Error: Send + Sync + 'static>>(
        &mut self,
        terminal: &mut Terminal<B>,
        keyboard: &mut dyn FnMut(Duration) -> io::Result<Option<Event>>,
        source: &mut dyn FnMut(Duration) -> Option<Vec<Record>>,
        on_interrupt: &dyn Fn(),
        clock: &dyn Fn() -> u64,
    ) -> io::Result<Exit> {
        let mut ui = Ui::new(self.options.mode, self.options.colour);
        let mut drawn_ms: Option<u64> = None;
        let mut changed = true;
        loop {
            if !ui.closed {
                match source(WAIT) {
                    Some(records) => {
                        changed |= !records.is_empty();
                        records.iter().for_each(|record| self.state.apply(record));
                    }
                    None => (ui.closed, changed) = (true, true),
                }
            }
            let over = self.state.end().is_some();
            if (over && self.options.at_end == AtEnd::Leave) || (ui.closed && !over && ui.mode == Mode::Owner) {
                return Ok(if over { Exit::Ended } else { Exit::Closed });
            }
            let mut wait = WAIT;
            while let Some(event) = keyboard(wait)? {
                changed = true;
                wait = Duration::ZERO;
                let action = event.as_key_event().and_then(|key| keys::action(key, ui.input));
                match action.and_then(|action| ui.act(action, &self.state)) {
                    Some(Request::Leave) => return Ok(self.exit(&ui)),
                    Some(Request::Interrupt) => on_interrupt(),
                    None => {}
                }
            }
            let now = clock();
            let age = drawn_ms.map_or(u64::MAX, |drawn| now.abs_diff(drawn));
            if age >= IDLE_MS || (changed && age >= FRAME_MS) {
                terminal.draw(|frame| view::draw(&self.state, &ui, now, frame)).map_err(io::Error::other)?;
                (drawn_ms, changed) = (Some(now), false);
            }
        }
    }

    fn exit(&self, ui: &Ui) -> Exit {
        match (self.state.end(), ui.closed) {
            (Some(_), _) => Exit::Ended,
            (None, true) => Exit::Closed,
            (None, false) => Exit::Left,
        }
    }
}

/// A source that takes records from a channel; it ends when all senders are gone.
pub fn from_channel(receiver: &Receiver<Record>) -> impl FnMut(Duration) -> Option<Vec<Record>> {
    move |wait| match receiver.recv_timeout(wait) {
        Ok(first) => Some(std::iter::once(first).chain(receiver.try_iter()).collect()),
        Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

#[cfg(test)]
mod tests;
