//! [`Names`]: which key a step of a recipe was last executed under, and how long it took. One file for each recipe, to which lines
//! are appended; the last line of a step counts. It does not know what a key stands for.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::File;
use plan::{Key, Preimage};
use serde::{Deserialize, Serialize};

use crate::store::{read_if_there, to_line, unless_read_only};
use crate::{Result, Store};

/// More lines than this for each step, and the file is written anew.
const MOST_LINES_A_STEP: usize = 4;

/// What is remembered of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastExecution {
    /// Key it was last seen under.
    pub key: Key,
    /// Milliseconds its execution took.
    pub took_ms: u64,
}

/// The steps of one recipe.
#[derive(Debug)]
pub struct Names {
    store: Store,
    recipe: String,
    path: PathBuf,
    known: BTreeMap<String, LastExecution>,
    lines: usize,
    file: Option<File>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    // On the first line of a file, so that a person can tell what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<String>,
    step: String,
    key: Key,
    #[serde(default)]
    ms: u64,
}

impl Store {
    /// The names of a recipe; `recipe` is its path as the caller names it. Lines that cannot be understood count as none.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn names(&self, recipe: &str) -> Result<Names> {
        let path = self.layout().names(recipe);
        let (known, lines) = read(&path)?;
        Ok(Names { store: self.clone(), recipe: recipe.to_owned(), path, known, lines, file: None })
    }

    /// What was asked when a name was last executed.
    ///
    /// # Errors
    /// As [`Store::preimage`].
    pub fn recall(&self, recipe: &str, step: &str) -> Result<Option<Preimage>> {
        self.names(recipe)?.recall(step)
    }
}

impl Names {
    /// What is remembered of a step.
    pub fn last(&self, step: &str) -> Option<LastExecution> {
        self.known.get(step).copied()
    }

    /// What was asked when a step was last executed.
    ///
    /// # Errors
    /// As [`Store::preimage`].
    pub fn recall(&self, step: &str) -> Result<Option<Preimage>> {
        self.last(step).map_or(Ok(None), |last| self.store.preimage(&last.key))
    }

    /// Notes the key executed under a name; nothing is written if it is the one known. `took_ms` is not known for a hit. A store that
    /// cannot be written to forgets it.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn remember(&mut self, step: &str, key: Key, took_ms: Option<u64>) -> Result<()> {
        unless_read_only(self.append(step, key, took_ms))
    }

    fn append(&mut self, step: &str, key: Key, took_ms: Option<u64>) -> Result<()> {
        let before = self.last(step);
        if before.is_some_and(|before| before.key == key && took_ms.is_none_or(|took| took == before.took_ms)) {
            return Ok(());
        }
        let last = LastExecution { key, took_ms: took_ms.or(before.map(|before| before.took_ms)).unwrap_or(0) };
        let recipe = (self.lines == 0).then(|| self.recipe.clone());
        let line = to_line(&Line { recipe, step: step.to_owned(), key, ms: last.took_ms })?;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
                file.lock_shared()?;
                none.insert(file)
            }
        };
        file.write_all(&line)?;
        self.lines += 1;
        self.known.insert(step.to_owned(), last);
        Ok(())
    }

    /// Writes the file anew when most of its lines count no more and nobody else appends to it.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn close(mut self) -> Result<()> {
        if self.file.take().is_none() || self.lines <= MOST_LINES_A_STEP * self.known.len() + 64 {
            return Ok(());
        }
        let file = File::open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let (known, _) = read(&self.path)?;
        let mut text = Vec::new();
        for (index, (step, last)) in known.into_iter().enumerate() {
            let recipe = (index == 0).then(|| self.recipe.clone());
            text.extend(to_line(&Line { recipe, step, key: last.key, ms: last.took_ms })?);
        }
        self.store.put(&self.path, &text)
    }
}

/// Keys that the names file at `path` ends with.
pub(crate) fn keys(path: &Path) -> Result<Vec<Key>> {
    Ok(read(path)?.0.into_values().map(|last| last.key).collect())
}

fn read(path: &Path) -> Result<(BTreeMap<String, LastExecution>, usize)> {
    let text = read_if_there(path)?.unwrap_or_default();
    let mut known = BTreeMap::new();
    let mut lines = 0;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        lines += 1;
        if let Ok(Line { step, key, ms, .. }) = serde_json::from_slice(line) {
            known.insert(step, LastExecution { key, took_ms: ms });
        }
    }
    Ok((known, lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{preimage, store};

    #[test]
    fn the_last_line_counts_and_a_torn_one_does_not() {
        let (_folder, store) = store();
        let mut names = store.names("r.rhai").unwrap();
        assert_eq!(names.last("sft"), None);
        names.remember("sft", preimage(1).key(), Some(40)).unwrap();
        names.remember("sft", preimage(2).key(), None).unwrap();
        names.remember("sft", preimage(2).key(), None).unwrap();
        assert_eq!(names.lines, 2);
        let path = names.path.clone();
        names.close().unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"step\":\"sft\",\"ke").unwrap();
        let names = store.names("r.rhai").unwrap();
        assert_eq!(names.last("sft"), Some(LastExecution { key: preimage(2).key(), took_ms: 40 }));
        assert_eq!(store.names("other.rhai").unwrap().last("sft"), None);
    }

    #[test]
    fn a_file_of_many_lines_is_written_anew() {
        let (_folder, store) = store();
        let mut names = store.names("r").unwrap();
        for number in 0..200 {
            names.remember("a", preimage(number).key(), Some(1)).unwrap();
        }
        let other = store.names("r").unwrap();
        names.close().unwrap();
        assert_eq!(store.names("r").unwrap().lines, 1);
        assert_eq!(other.last("a"), store.names("r").unwrap().last("a"));
    }
}
