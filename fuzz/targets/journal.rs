//! A journal of any bytes: read as a follower of a run reads it, whole or while it grows. What is read can be written and read again.
#![no_main]

use std::io::{BufRead, BufReader, Read};

use plan::Record;

/// Complete lines that are records, as `Tail` in the program's `exec/journal.rs` takes them.
struct Tail<R> {
    reader: BufReader<R>,
    partial: Vec<u8>,
}

impl<R: Read> Tail<R> {
    fn read(&mut self, records: &mut Vec<Record>) {
        while self.reader.read_until(b'\n', &mut self.partial).expect("memory can be read") > 0 {
            if self.partial.last() == Some(&b'\n') {
                records.extend(serde_json::from_slice::<Record>(&self.partial));
                self.partial.clear();
            }
        }
    }
}

fn text(record: &Record) -> String {
    serde_json::to_string(record).expect("a record that was read can be written")
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut records = Vec::new();
    Tail { reader: BufReader::new(bytes), partial: Vec::new() }.read(&mut records);
    for record in &records {
        let line = text(record);
        assert!(!line.contains('\n'), "a record is one line");
        let again = serde_json::from_str::<Record>(&line).expect("a record that was written can be read");
        assert_eq!(text(&again), line, "and is the same");
    }
    // A journal that is read in the middle of a write: the rest comes later.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut grown = Vec::new();
    let mut tail = Tail { reader: BufReader::new(first), partial: Vec::new() };
    tail.read(&mut grown);
    let partial = std::mem::take(&mut tail.partial);
    Tail { reader: BufReader::new(second), partial }.read(&mut grown);
    assert_eq!(grown.len(), records.len(), "reading while it grows loses nothing");
});
