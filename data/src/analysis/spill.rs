//! Sorts records of a fixed size that need not fit in memory: sorted runs in unnamed files, merged as they are read.
//! Knows the bytes of records, not their meaning; they are ordered as byte strings.

use super::sequence::unnamed;
use crate::error::DataError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Collects records and gives them back in order. Holds at most `budget` bytes of them.
pub(crate) struct Sorter<const N: usize> {
    held: Vec<[u8; N]>,
    limit: usize,
    scratch: PathBuf,
    runs: Vec<std::fs::File>,
}

impl<const N: usize> Sorter<N> {
    pub(crate) fn new(scratch: &Path, budget: usize) -> Self {
        Sorter { held: Vec::new(), limit: (budget / N).max(1), scratch: scratch.to_path_buf(), runs: Vec::new() }
    }

    pub(crate) fn push(&mut self, record: [u8; N]) -> Result<(), DataError> {
        if self.held.len() >= self.limit {
            self.held.sort_unstable();
            let mut writer = BufWriter::new(unnamed(&self.scratch)?);
            for record in self.held.drain(..) {
                writer.write_all(&record)?;
            }
            let mut file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.rewind()?;
            self.runs.push(file);
        }
        self.held.push(record);
        Ok(())
    }

    /// Calls `each` with all records, the smallest first.
    pub(crate) fn for_each(mut self, mut each: impl FnMut([u8; N]) -> Result<(), DataError>) -> Result<(), DataError> {
        self.held.sort_unstable();
        if self.runs.is_empty() {
            return self.held.into_iter().try_for_each(each);
        }
        let mut runs: Vec<BufReader<std::fs::File>> = self.runs.into_iter().map(BufReader::new).collect();
        let mut held = self.held.into_iter();
        let last = runs.len();
        let mut read = |run: usize| -> Result<Option<[u8; N]>, DataError> {
            if run == last {
                return Ok(held.next());
            }
            let mut record = [0; N];
            match runs[run].read_exact(&mut record) {
                Ok(()) => Ok(Some(record)),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let mut heads = BinaryHeap::new();
        for run in 0..=last {
            if let Some(record) = read(run)? {
                heads.push(Reverse((record, run)));
            }
        }
        while let Some(Reverse((record, run))) = heads.pop() {
            each(record)?;
            if let Some(record) = read(run)? {
                heads.push(Reverse((record, run)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorted_whatever_fits(records in proptest::collection::vec(any::<[u8; 3]>(), 0..60), budget in 0usize..200) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(dir.path(), budget);
            records.iter().for_each(|record| sorter.push(*record).unwrap());
            let mut found = Vec::new();
            sorter.for_each(|record| { found.push(record); Ok(()) }).unwrap();
            let mut expected = records;
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
