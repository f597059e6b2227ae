//! Units as consecutive windows of each file, whose remainder is dropped (OLMo-core's `NumpyFSLDataset`).

use super::ReadError;
use super::files::{Files, Units};

/// See the module.
#[derive(Debug)]
pub(super) struct Windows {
    files: Files,
    length: u64,
    /// Number of the first window of each file, and of all windows.
    firsts: Vec<u64>,
}

impl Windows {
    /// Windows of `length` tokens.
    pub(super) fn new(files: Files, length: usize) -> Self {
        let length = length as u64;
        let mut firsts = vec![0];
        let mut sum = 0;
        for tokens in files.lengths() {
            sum += tokens / length;
            firsts.push(sum);
        }
        Self { files, length, firsts }
    }
}

impl Units for Windows {
    fn n(&self) -> u64 {
        self.firsts.last().copied().unwrap_or(0)
    }

    fn read(&self, unit: u64, offset: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError> {
        let file = self.firsts.partition_point(|first| *first <= unit) - 1;
        self.files.read(file, (unit - self.firsts[file]) * self.length + offset, ids, labels)
    }
}
