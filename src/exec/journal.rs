//! The journal of a run: every event, in one order, one JSON object a line, flushed before anybody else hears of it. Reading
//! tolerates a last line that is still being written. It does not know what events mean.

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
    subscribers: Vec<Subscriber>,
    broken: bool,
}

impl Journal {
    /// Creates the journal of a new run.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, subscribers: Vec<Subscriber>) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, next: 0, subscribers, broken: false })
    }

    /// Writes an event and tells it to all subscribers. A journal that can no longer be written to does not stop the run:
    /// subscribers get one log line that says so.
    pub fn publish(&mut self, event: Event) {
        let record = Record { seq: self.next, time_ms: now_ms(), event };
        self.next += 1;
        let written = serde_json::to_vec(&record).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        self.subscribers.iter_mut().for_each(|subscriber| subscriber(&record));
        if let Err(error) = written
            && !self.broken
        {
            self.broken = true;
            let line =
                format!("journal {} cannot be written: {error}; lineage of this run will be incomplete", self.path.display());
            let record = Record { seq: self.next, time_ms: now_ms(), event: Event::Log { step: plan::StepId(0), line } };
            self.subscribers.iter_mut().for_each(|subscriber| subscriber(&record));
        }
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
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(tail.read().unwrap().len(), 1);
        journal.file.write_all(b"{\"seq\":1").unwrap();
        assert!(tail.read().unwrap().is_empty());
        journal.file.write_all(b",\"time_ms\":1,\"event\":\"log\",\"step\":0,\"line\":\"two\"}\n").unwrap();
        assert_eq!(tail.read().unwrap()[0].event, log("two"));
        assert!(Journal::create(&path, vec![]).is_err(), "a journal is never written over");
    }
}
