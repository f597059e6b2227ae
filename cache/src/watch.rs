//! [`Watch`]: whether a holder on another machine lives. It is alive while its file changes; it is taken for dead when this process
//! has seen no change for long enough by its own clock that only runs forward. No two clocks are ever compared, so that clocks that
//! are wrong, or jump, do not matter.
//!
//! [`beat_for`] shows others that this process lives: one thread for all that it holds, which sleeps at first, so that what is held
//! for seconds costs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::Result;
use crate::holder::{Hold, Holder, Where, read};

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(5);
/// Silence after which a holder is taken for dead: six beats missed.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a file is looked at while one waits for it to change.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// A lock on this machine, or a beat that was seen, shows that it lives.
    Alive,
    /// Nothing was heard of it yet, but it has not been watched for long enough to call it dead.
    Unknown,
    /// It is dead; whoever needs what it holds takes it.
    Dead,
}

/// What this process has seen of holders on other machines.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
    silence: Mutex<Duration>,
}

#[derive(Debug)]
struct Seen {
    text: Vec<u8>,
    since: Instant,
    beaten: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { seen: Mutex::default(), silence: Mutex::new(SILENCE) }
    }
}

impl Watch {
    /// Judges the holder in `text`, just read from `path`, by this and all earlier looks.
    pub(crate) fn judge(&self, path: &Path, text: &[u8]) -> Pulse {
        let silence = *guard(&self.silence);
        let mut seen = guard(&self.seen);
        match seen.get_mut(path) {
            Some(before) if before.text == text => match (before.since.elapsed() >= silence, before.beaten) {
                (true, _) => Pulse::Dead,
                (false, true) => Pulse::Alive,
                (false, false) => Pulse::Unknown,
            },
            Some(before) => {
                // The same holder with another number has beaten; another holder has not.
                before.beaten = Holder::parse(&before.text) == Holder::parse(text);
                before.since = Instant::now();
                text.clone_into(&mut before.text);
                if before.beaten { Pulse::Alive } else { Pulse::Unknown }
            }
            None => {
                seen.insert(path.to_owned(), Seen { text: text.to_owned(), since: Instant::now(), beaten: false });
                Pulse::Unknown
            }
        }
    }

    /// Looks at files of holders on other machines until it is known of each whether it lives; at most [`SILENCE`].
    pub(crate) fn settle(&self, paths: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>, Pulse)>> {
        loop {
            let mut judged = Vec::new();
            for path in paths {
                // What vanished meanwhile is no longer held.
                if let Some(text) = read(path)? {
                    let pulse = match Holder::parse(&text).map(|holder| holder.place()) {
                        Some(Where::Before) => Pulse::Dead,
                        _ => self.judge(path, &text),
                    };
                    judged.push((path.clone(), text, pulse));
                }
            }
            if judged.iter().all(|(_, _, pulse)| *pulse != Pulse::Unknown) {
                return Ok(judged);
            }
            std::thread::sleep(LOOK.min(*guard(&self.silence) / 4));
        }
    }

    pub(crate) fn forget(&self, path: &Path) {
        guard(&self.seen).remove(path);
    }

    #[cfg(test)]
    pub(crate) fn set_silence(&self, silence: Duration) {
        *guard(&self.silence) = silence;
    }
}

static BEATING: Mutex<Beating> = Mutex::new(Beating { holds: Vec::new(), runs: false });

struct Beating {
    holds: Vec<Weak<Hold>>,
    runs: bool,
}

/// Beats for a hold from a few seconds from now until it is dropped.
pub(crate) fn beat_for(hold: &Arc<Hold>) {
    let mut beating = guard(&BEATING);
    beating.holds.push(Arc::downgrade(hold));
    if !beating.runs {
        // Without a thread others may think this process dead after a while and do its work again: slower, not wrong.
        beating.runs = std::thread::Builder::new().name("heartbeat".into()).spawn(beat_on).is_ok();
    }
}

fn beat_on() {
    loop {
        std::thread::sleep(BEAT);
        let holds: Vec<Arc<Hold>> = {
            let mut beating = guard(&BEATING);
            beating.holds.retain(|hold| hold.strong_count() > 0);
            if beating.holds.is_empty() {
                beating.runs = false;
                return;
            }
            beating.holds.iter().filter_map(Weak::upgrade).collect()
        };
        holds.iter().for_each(|hold| hold.beat());
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::tests::foreign;

    #[test]
    fn silence_is_measured_from_the_last_change() {
        let (watch, path) = (Watch::default(), Path::new("/x"));
        watch.set_silence(Duration::from_millis(60));
        let first = foreign(0);
        assert_eq!(watch.judge(path, &first), Pulse::Unknown);
        std::thread::sleep(Duration::from_millis(80));
        // A number that goes back is a change like any other.
        let mut beaten = first.clone();
        let end = beaten.len() - 2;
        beaten[end] = b'7';
        assert_eq!(watch.judge(path, &beaten), Pulse::Alive);
        assert_eq!(watch.judge(path, &beaten), Pulse::Alive);
        std::thread::sleep(Duration::from_millis(80));
        assert_eq!(watch.judge(path, &beaten), Pulse::Dead);
        assert_eq!(watch.judge(path, &first), Pulse::Alive);
        assert_eq!(watch.judge(path, &foreign(0)), Pulse::Unknown, "another hold of the same process");
        watch.forget(path);
        assert_eq!(watch.judge(path, b""), Pulse::Unknown);
    }
}
