//! The journal of a run: every event, in one order, one JSON object a line. Events of one turn of the dispatcher are written with
//! one call; the disk is waited for at the end. Reading tolerates a last line that is still being written and lines that are none. It does not know what events mean.

use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use plan::{Event, Record};

/// Somebody who hears every event of a run.
pub type Subscriber = Box<dyn FnMut(&Record) + Send>;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The only writer of a run's events.
pub struct Journal {
    path: PathBuf,
    file: std::fs::File,
    next: u64,
    // Length of the file up to the last line that is whole.
    whole: u64,
    // Lines that are not in the file yet.
    pending: Vec<u8>,
    subscribers: Vec<Subscriber>,
    state: State,
}

/// What became of the last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    // It failed, and what it was to write is pending.
    Behind,
}

/// More than this is written at once.
const MOST_PENDING: usize = 1 << 16;

impl Journal {
    /// Creates the journal of a new run.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, subscribers: Vec<Subscriber>) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, next: 0, whole: 0, pending: Vec::new(), subscribers, state: State::Whole })
    }

    /// Takes an event down and tells it to all subscribers; it is in the file after [`Journal::flush`].
    pub fn publish(&mut self, event: Event) {
        let record = Record { seq: self.next, time_ms: now_ms(), event };
        self.next += 1;
        let before = self.pending.len();
        match serde_json::to_writer(&mut self.pending, &record) {
            Ok(()) => self.pending.push(b'\n'),
            Err(_) => self.pending.truncate(before),
        }
        self.subscribers.iter_mut().for_each(|subscriber| subscriber(&record));
        if self.pending.len() >= MOST_PENDING {
            self.flush();
        }
    }

    /// Brings all events into the file. A journal that cannot be written to for a while, as when the disk is full, does not stop the
    /// run: subscribers get one log line that says so, and what is pending is written when that works again.
    pub fn flush(&mut self) {
        while !self.pending.is_empty() {
            match self.file.write_all(&self.pending) {
                Ok(()) => {
                    self.whole += self.pending.len() as u64;
                    self.pending.clear();
                    self.state = State::Whole;
                }
                Err(error) => {
                    // A part may be in the file: it goes, and is written again with the rest.
                    let _ = self.file.set_len(self.whole);
                    if self.state == State::Whole {
                        self.state = State::Behind;
                        let line = format!("journal {} cannot be written for now: {error}", self.path.display());
                        let event = Event::Log { step: plan::StepId(0), line };
                        let record = Record { seq: self.next, time_ms: now_ms(), event };
                        self.subscribers.iter_mut().for_each(|subscriber| subscriber(&record));
                    }
                    return;
                }
            }
        }
    }

    /// Brings all events to the disk.
    pub fn sync(&mut self) {
        self.flush();
        // What cannot be synced is still in the file, and the run's results do not depend on it.
        let _ = self.file.sync_data();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Reads a journal as it grows.
pub struct Tail {
    reader: BufReader<std::fs::File>,
    partial: Vec<u8>,
}

impl Tail {
    /// Opens a journal at its beginning.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = fs_err::File::open(path)?.into_file();
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { reader: BufReader::new(file), partial: Vec::new() })
    }

    /// All complete records that were not read yet; lines that are no records are skipped.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        while self.reader.read_until(b'\n', &mut self.partial)? > 0 {
            if self.partial.last() == Some(&b'\n') {
                records.extend(serde_json::from_slice::<Record>(&self.partial));
                self.partial.clear();
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_sees_what_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::create(&path, vec![]).unwrap();
        let log = |line: &str| Event::Log { step: plan::StepId(0), line: line.into() };
        journal.publish(log("one"));
        journal.flush();
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(tail.read().unwrap().len(), 1);
        journal.file.write_all(b"{\"seq\":1").unwrap();
        assert!(tail.read().unwrap().is_empty());
        journal.file.write_all(b",\"time_ms\":1,\"event\":\"log\",\"step\":0,\"line\":\"two\"}\n").unwrap();
        assert_eq!(tail.read().unwrap()[0].event, log("two"));
        assert!(Journal::create(&path, vec![]).is_err(), "a journal is never written over");
    }
}
