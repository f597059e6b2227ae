//! [`World`]: the only way by which a recipe reads anything. It does not know what the texts mean or how digests are cached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plan::{Digest, Hasher, SourceFile};

/// Why a recipe could not read something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// There is no such file.
    #[error("there is no file `{0}`")]
    NotFound(String),
    /// A glob pattern that cannot be understood.
    #[error("`{pattern}` is not a pattern of file names: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is there but cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// What a recipe may read: texts of modules, and names and digests of data files. Paths are relative to the recipe's folder.
pub trait World {
    /// The text of a recipe or module.
    ///
    /// # Errors
    /// [`WorldError::NotFound`] when there is no such file, which lets an import fall back on the standard library.
    fn read(&self, path: &str) -> Result<String, WorldError>;

    /// The files a pattern names, sorted by path, each with its digest and size. No match is an empty list.
    ///
    /// # Errors
    /// A bad pattern, or a file that cannot be read.
    fn glob(&self, pattern: &str) -> Result<Vec<SourceFile>, WorldError>;
}

/// Digest and size of a file; it may remember what it read before.
pub type HashFile<'a> = dyn Fn(&Path) -> Result<(Digest, u64), String> + 'a;

/// The file system below a recipe's folder.
pub struct DiskWorld<'a> {
    root: PathBuf,
    hash: &'a HashFile<'a>,
}

impl<'a> DiskWorld<'a> {
    /// The world of the recipes in `root`.
    pub fn new(root: impl Into<PathBuf>, hash: &'a HashFile<'a>) -> Self {
        Self { root: root.into(), hash }
    }

    fn label(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }
}

fn unreadable(error: impl std::fmt::Display) -> WorldError {
    WorldError::Unreadable(error.to_string())
}

impl World for DiskWorld<'_> {
    fn read(&self, path: &str) -> Result<String, WorldError> {
        fs_err::read_to_string(self.root.join(path)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => WorldError::NotFound(path.to_owned()),
            _ => unreadable(error),
        })
    }

    fn glob(&self, pattern: &str) -> Result<Vec<SourceFile>, WorldError> {
        let root =
            if Path::new(pattern).is_absolute() { String::new() } else { glob::Pattern::escape(&self.root.to_string_lossy()) };
        let full = Path::new(&root).join(pattern);
        let options =
            glob::MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..Default::default() };
        let paths = glob::glob_with(&full.to_string_lossy(), options)
            .map_err(|error| WorldError::Pattern { pattern: pattern.to_owned(), reason: error.msg.to_owned() })?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(unreadable)?;
            if path.is_file() {
                let (digest, bytes) = (self.hash)(&path).map_err(unreadable)?;
                files.push(SourceFile { path: self.label(&path), digest, bytes });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

/// Files held in memory, for tests and for recipes that come from elsewhere than a disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryWorld {
    files: BTreeMap<String, String>,
}

impl MemoryWorld {
    /// A world of these files: path and content.
    pub fn new<P: Into<String>, T: Into<String>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        Self { files: files.into_iter().map(|(path, text)| (path.into(), text.into())).collect() }
    }
}

impl World for MemoryWorld {
    fn read(&self, path: &str) -> Result<String, WorldError> {
        self.files.get(path).cloned().ok_or_else(|| WorldError::NotFound(path.to_owned()))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<SourceFile>, WorldError> {
        let matcher = glob::Pattern::new(pattern)
            .map_err(|error| WorldError::Pattern { pattern: pattern.to_owned(), reason: error.msg.to_owned() })?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        let found = self.files.iter().filter(|(path, _)| matcher.matches_with(path, options));
        Ok(found
            .map(|(path, text)| {
                let mut hasher = Hasher::new("workbench file");
                hasher.field(text.as_bytes());
                SourceFile { path: path.clone(), digest: Digest::from_bytes(hasher.finish()), bytes: text.len() as u64 }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_and_memory_name_files_alike() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("a.txt", "1"), ("b.txt", "2"), ("sub/c.txt", "3"), ("sub/.hidden.txt", "4")];
        fs_err::create_dir(folder.path().join("sub")).unwrap();
        for (path, text) in files {
            fs_err::write(folder.path().join(path), text).unwrap();
        }
        let hash = |path: &Path| {
            let text = fs_err::read_to_string(path).map_err(|error| error.to_string())?;
            let mut hasher = Hasher::new("workbench file");
            hasher.field(text.as_bytes());
            Ok((Digest::from_bytes(hasher.finish()), text.len() as u64))
        };
        let disk = DiskWorld::new(folder.path(), &hash);
        let memory = MemoryWorld::new(files);
        for pattern in ["*.txt", "sub/c.txt", "**/c.txt", "none*"] {
            assert_eq!(disk.glob(pattern).unwrap(), memory.glob(pattern).unwrap(), "{pattern}");
        }
        assert_eq!(disk.read("a.txt").unwrap(), "1");
        assert_eq!(disk.read("no.rhai"), Err(WorldError::NotFound("no.rhai".into())));
        assert!(matches!(disk.glob("a***b"), Err(WorldError::Pattern { .. })));
    }
}
