//! Batches recorded elsewhere, `[steps, rows, length]` token ids, to be trained on in their order, as they are.
//!
//! ```text
//! DIR/batches.json    what is in the other file
//! DIR/batches.u32     the ids, little-endian, step after step and row after row
//! ```

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{LoaderError, ReadError, TokenSource};

const META: &str = "batches.json";
const IDS: &str = "batches.u32";
const FORMAT: u32 = 1;

/// The shape of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    format: u32,
    /// Batches; one optimiser step takes one.
    pub steps: u64,
    /// Sequences of a batch.
    pub rows: u64,
    /// Tokens of a sequence.
    pub length: usize,
    /// All ids are below this.
    pub vocab_size: u64,
}

impl Recorded {
    /// Tokens of a batch.
    pub fn batch_tokens(&self) -> u64 {
        self.rows * self.length as u64
    }

    /// Tokens of all batches.
    pub fn tokens(&self) -> u64 {
        self.steps * self.batch_tokens()
    }
}

/// A directory with a recording.
#[derive(Debug)]
pub struct Recording {
    shape: Recorded,
    path: PathBuf,
    file: std::fs::File,
}

impl Recording {
    /// Whether `dir` holds a recording.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(META).is_file()
    }

    /// Writes `ids`, `steps` batches of `rows` sequences of `length` tokens, into the existing directory `dir`.
    ///
    /// # Errors
    /// When there are no batches, sequences are shorter than two tokens, or a file cannot be written.
    pub fn write(dir: &Path, [steps, rows, length]: [usize; 3], ids: &[u32]) -> Result<Recorded, LoaderError> {
        if steps == 0 || rows == 0 || length < 2 || ids.len() != steps * rows * length {
            let n = ids.len();
            return Err(LoaderError::Recording(format!(
                "{n} ids of shape [{steps}, {rows}, {length}] are no batches; [steps, rows, tokens] are, with two tokens or more"
            )));
        }
        let vocab_size = ids.iter().max().map_or(0, |max| u64::from(*max) + 1);
        let shape = Recorded { format: FORMAT, steps: steps as u64, rows: rows as u64, length, vocab_size };
        let mut text = serde_json::to_string_pretty(&shape).map_err(std::io::Error::from).map_err(read)?;
        text.push('\n');
        fs::write(dir.join(META), text).map_err(read)?;
        let mut out = std::io::BufWriter::new(fs::File::create(dir.join(IDS)).map_err(read)?);
        for id in ids {
            out.write_all(&id.to_le_bytes()).map_err(read)?;
        }
        out.flush().map_err(read)?;
        Ok(shape)
    }

    /// Opens the recording in `dir`.
    ///
    /// # Errors
    /// When a file is missing or has not the length it should have.
    pub fn open(dir: &Path) -> Result<Self, LoaderError> {
        let (meta, path) = (dir.join(META), dir.join(IDS));
        let shape: Recorded = serde_json::from_slice(&fs::read(&meta).map_err(read)?)
            .map_err(|error| LoaderError::Recording(format!("{}: {error}", meta.display())))?;
        let file = fs::File::open(&path).map_err(read)?.into_parts().0;
        let (bytes, wanted) = (file.metadata().map_err(read)?.len(), 4 * shape.tokens());
        if bytes != wanted {
            let text = format!("{}: it has {bytes} bytes, but {META} promises {wanted}", path.display());
            return Err(LoaderError::Recording(text));
        }
        Ok(Self { shape, path, file })
    }

    /// Its shape.
    pub fn shape(&self) -> Recorded {
        self.shape
    }
}

fn read(error: std::io::Error) -> LoaderError {
    LoaderError::Read(error.into())
}

impl TokenSource for Recording {
    fn file_lengths(&self) -> Vec<u64> {
        vec![self.shape.tokens()]
    }

    fn read(&self, _file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
        self.file
            .read_exact_at(bytemuck::cast_slice_mut(out), 4 * start)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(())
    }

    fn vocab_size(&self) -> Option<u64> {
        Some(self.shape.vocab_size)
    }

    fn recorded(&self) -> Option<Recorded> {
        Some(self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::{Ingredient, Loader, LoaderConfig};

    fn config() -> LoaderConfig {
        LoaderConfig::windows(4, 8, 3, 34_521, 24)
    }

    #[test]
    fn batches_come_back_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<u32> = (0..24).rev().collect();
        let shape = Recording::write(dir.path(), [3, 2, 4], &ids).unwrap();
        assert!(Recording::is_at(dir.path()));
        assert_eq!((shape.tokens(), shape.batch_tokens(), shape.vocab_size), (24, 8, 24));
        let ingredient = || Ingredient::new("trace", Recording::open(dir.path()).unwrap(), 1.0);
        let loader = Loader::new(config(), vec![ingredient()]).unwrap();
        for step in 0..3 {
            assert_eq!(&*loader.batch(step).unwrap().tokens.ids, &ids[8 * step as usize..][..8]);
        }
        let refused = |config| Loader::new(config, vec![ingredient()]).unwrap_err().to_string();
        assert!(refused(LoaderConfig::windows(4, 8, 4, 0, 24)).contains("3 batches"));
        assert!(refused(LoaderConfig::windows(8, 8, 3, 0, 24)).contains("2 sequences of 4"));
        assert!(refused(LoaderConfig { vocab_size: 23, ..config() }).contains("23"));
        let two = Loader::new(config(), vec![ingredient(), ingredient()]).unwrap_err().to_string();
        assert!(two.contains("alone"), "{two}");
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Recording::is_at(dir.path()));
        assert!(Recording::write(dir.path(), [2, 1, 1], &[1, 2]).is_err());
        Recording::write(dir.path(), [2, 1, 2], &[1, 2, 3, 4]).unwrap();
        fs::write(dir.path().join(IDS), [0; 12]).unwrap();
        assert!(Recording::open(dir.path()).unwrap_err().to_string().contains("promises 16"));
    }
}
