//! A corpus as one sequence of word numbers, in memory or, beyond a budget, in a file that is mapped.
//! Knows neither words nor n-grams.

use crate::error::DataError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Stands between documents.
pub(crate) const BETWEEN: u32 = u32::MAX;

/// Collects a sequence. At most `budget` bytes of it are held in memory.
pub(crate) struct SequenceWriter {
    held: Vec<u32>,
    budget: usize,
    scratch: PathBuf,
    file: Option<std::fs::File>,
}

impl SequenceWriter {
    /// Numbers beyond the budget go to an unnamed file in `scratch`.
    pub(crate) fn new(scratch: &Path, budget: usize) -> SequenceWriter {
        SequenceWriter { held: Vec::new(), budget, scratch: scratch.to_path_buf(), file: None }
    }

    pub(crate) fn extend(&mut self, ids: &[u32]) -> Result<(), DataError> {
        if (self.held.len() + ids.len()) * 4 > self.budget {
            self.spill()?;
        }
        self.held.extend_from_slice(ids);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), DataError> {
        if self.file.is_none() {
            self.file = Some(unnamed(&self.scratch)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytemuck::cast_slice(&self.held))?;
        }
        self.held.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Sequence, DataError> {
        if self.file.is_none() {
            return Ok(Sequence::Held(self.held));
        }
        self.spill()?;
        let file = self.file.take().expect("it was there above");
        // SAFETY: the file has no name and this process alone has it open, so nobody changes it.
        Ok(Sequence::Mapped(unsafe { memmap2::Mmap::map(&file)? }))
    }
}

/// A file without a name: it is gone with the process.
pub(crate) fn unnamed(scratch: &Path) -> Result<std::fs::File, DataError> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    fs_err::create_dir_all(scratch)?;
    let path = scratch.join(format!("spill-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|error| DataError::format(&path, error))?;
    fs_err::remove_file(&path)?;
    Ok(file)
}

/// A finished sequence.
pub(crate) enum Sequence {
    Held(Vec<u32>),
    Mapped(memmap2::Mmap),
}

impl std::ops::Deref for Sequence {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Sequence::Held(ids) => ids,
            Sequence::Mapped(map) => bytemuck::cast_slice(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spilled_sequence_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<u32> = (0..1000).collect();
        for budget in [0, 64, 1 << 20] {
            let mut writer = SequenceWriter::new(dir.path(), budget);
            ids.chunks(7).for_each(|chunk| writer.extend(chunk).unwrap());
            assert_eq!(&*writer.finish().unwrap(), ids);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
