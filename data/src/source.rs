//! Where documents come from: each source turns files that exist into a documents artifact.
//! Knows file formats; does not judge texts.

pub mod crates;
pub mod dolma;
pub mod fetch;
pub mod hub;
mod intake;
pub mod jsonl;
pub mod lockfile;
pub mod parquet;
mod rust_docs;
pub mod text;
pub mod warc;

use crate::document::{InputFile, relative_name};
use crate::error::DataError;
pub use intake::{Care, Duplicates, Imported, OnBad, QUARANTINE};
use std::path::{Path, PathBuf};

/// All files that glob patterns match, sorted by path, each once. Directories are not files.
///
/// Fails when a pattern is malformed or matches nothing.
pub fn expand(patterns: &[impl AsRef<str>]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let matches =
            glob::glob(pattern).map_err(|error| DataError::Params(format!("`{pattern}` is no file pattern: {error}")))?;
        let before = files.len();
        for path in matches {
            let path = path.map_err(|error| DataError::Io(error.into()))?;
            if path.is_file() {
                files.push(path);
            }
        }
        if files.len() == before {
            return Err(DataError::Nothing { what: "files", path: PathBuf::from(pattern) });
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// [`expand`], each file named by its path below the directory that all share.
pub fn expand_named(patterns: &[impl AsRef<str>]) -> Result<Vec<InputFile>, DataError> {
    let files = expand(patterns)?;
    let base = common_base(&files);
    Ok(files.into_iter().map(|path| InputFile { name: relative_name(&base, &path), path }).collect())
}

/// A pattern that matches exactly this path.
pub fn escape(path: &str) -> String {
    glob::Pattern::escape(path)
}

/// The longest directory that all files share; names of files relative to it are stable when the whole tree moves.
pub(crate) fn common_base(files: &[PathBuf]) -> PathBuf {
    let mut base = files.first().and_then(|file| file.parent()).map(Path::to_path_buf).unwrap_or_default();
    for file in files {
        while !file.starts_with(&base) {
            if !base.pop() {
                return base;
            }
        }
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_expand_sorted_and_complain_when_empty() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.md", "a.md", "c.txt"] {
            fs_err::write(dir.path().join(name), "x").unwrap();
        }
        let pattern = |name: &str| format!("{}/{name}", dir.path().display());
        let files = expand(&[pattern("*.md"), pattern("a.*")]).unwrap();
        assert_eq!(files, [dir.path().join("a.md"), dir.path().join("b.md")]);
        assert_eq!(common_base(&files), dir.path());
        assert!(matches!(expand(&[pattern("*.rs")]), Err(DataError::Nothing { .. })));
        assert!(expand(&["a[".to_owned()]).is_err());
    }
}
