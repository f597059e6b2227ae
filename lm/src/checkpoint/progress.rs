//! The last state of a long run, so that an interrupted one goes on from there.
//!
//! A state is written beside the previous one and takes its place by a rename, so there is always a whole one.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Checkpoint, CheckpointError, read_json, read_tensors, write_json, write_tensors};
use crate::weights::NamedArrays;

/// A directory that belongs to one run and holds its last state.
#[derive(Clone, Debug)]
pub struct Progress {
    dir: PathBuf,
}

/// Prefix of a complete state's directory; the number behind it orders the states.
const STATE: &str = "state-";
/// Where a state is written before it counts.
const PARTIAL: &str = "partial";
/// What a run keeps beside its checkpoint.
const EXTRA: &str = "progress.json";
/// Arrays that a run keeps beside its checkpoint.
const ARRAYS: &str = "progress.safetensors";

impl Progress {
    /// Progress kept in `dir`, which is made when first needed.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// Complete states by number.
    fn states(&self) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
        let mut states = Vec::new();
        if fs::exists(&self.dir)? {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix(STATE)).and_then(|n| n.parse().ok());
                if let Some(number) = number {
                    states.push((number, entry.path()));
                }
            }
        }
        states.sort();
        Ok(states)
    }

    /// The last complete state, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<(Checkpoint, T)>, CheckpointError> {
        match self.states()?.pop() {
            None => Ok(None),
            Some((_, dir)) => Ok(Some((Checkpoint::read(&dir)?, read_json(&dir.join(EXTRA))?))),
        }
    }

    /// The arrays of the last complete state, if it has some.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load_arrays(&self) -> Result<Option<NamedArrays>, CheckpointError> {
        let Some((_, dir)) = self.states()?.pop() else { return Ok(None) };
        let path = dir.join(ARRAYS);
        if fs::exists(&path)? { Ok(Some(read_tensors(&path)?)) } else { Ok(None) }
    }

    /// Saves the state after `step`, with whatever else the run needs, and forgets the one before.
    ///
    /// # Errors
    /// When it cannot be written; the previous state is then still there.
    pub fn save<T: Serialize>(&self, step: u64, checkpoint: &Checkpoint, extra: &T) -> Result<(), CheckpointError> {
        self.save_with_arrays(step, checkpoint, extra, None)
    }

    /// The same with arrays.
    ///
    /// # Errors
    /// As [`Progress::save`].
    pub fn save_with_arrays<T: Serialize>(
        &self,
        step: u64,
        checkpoint: &Checkpoint,
        extra: &T,
        arrays: Option<&NamedArrays>,
    ) -> Result<(), CheckpointError> {
        let before = self.states()?;
        let partial = self.dir.join(PARTIAL);
        if fs::exists(&partial)? {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        checkpoint.write(&partial)?;
        write_json(&partial.join(EXTRA), extra)?;
        if let Some(arrays) = arrays {
            write_tensors(&partial.join(ARRAYS), arrays)?;
        }
        for entry in fs::read_dir(&partial)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        let state = self.dir.join(format!("{STATE}{step}"));
        if fs::exists(&state)? {
            fs::remove_dir_all(&state)?;
        }
        fs::rename(&partial, &state)?;
        for (_, old) in before.into_iter().filter(|(number, _)| *number != step) {
            fs::remove_dir_all(old)?;
        }
        Ok(())
    }

    /// Removes every state, after the run has delivered its result.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub fn clear(&self) -> Result<(), CheckpointError> {
        if fs::exists(&self.dir)? {
            fs::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }
}
