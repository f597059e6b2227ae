//! The files below a folder: which there are, whether an artifact may hold them, whether they are those of a manifest. It reads
//! only.

use std::cmp::Ordering;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use plan::FileEntry;

use crate::{Problem, Result, StoreError};

/// One file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path below the folder, with `/`.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Number of hard links.
    pub(crate) links: u64,
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Sorted by path.
    pub(crate) files: Vec<Found>,
    /// The folder itself and those below it, each before those it holds.
    pub(crate) folders: Vec<PathBuf>,
}

impl Tree {
    /// Lists what is below `root`; anything but files and folders, and any odd name, is an error.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let mut open = vec![(root.to_path_buf(), String::new())];
        while let Some((folder, prefix)) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_str().ok_or_else(|| odd(&entry.path(), "is not UTF-8"))?;
                if let Some(why) = oddity(name) {
                    return Err(odd(&entry.path(), why));
                }
                let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
                let metadata = entry.metadata()?;
                let file_type = metadata.file_type();
                if file_type.is_file() {
                    tree.files.push(Found { path, bytes: metadata.len(), links: metadata.nlink() });
                } else if file_type.is_dir() {
                    open.push((entry.path(), path));
                } else {
                    return Err(StoreError::NotAFile { path: entry.path(), what: describe(file_type) });
                }
            }
            tree.folders.push(folder);
        }
        tree.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// Total size of the files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// How the files found differ from those recorded, by name and size; both sorted by path.
pub(crate) fn compare(found: &[Found], recorded: &[FileEntry]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (mut found, mut recorded) = (found.iter().peekable(), recorded.iter().peekable());
    loop {
        let order = match (found.peek(), recorded.peek()) {
            (None, None) => return problems,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(there), Some(wanted)) => there.path.cmp(&wanted.path),
        };
        let there = if order == Ordering::Greater { None } else { found.next() };
        let wanted = if order == Ordering::Less { None } else { recorded.next() };
        match (there, wanted) {
            (Some(there), None) => problems.push(Problem::Extra { file: there.path.clone() }),
            (None, Some(wanted)) => problems.push(Problem::Missing { file: wanted.path.clone() }),
            (Some(there), Some(wanted)) if there.bytes != wanted.bytes => {
                problems.push(Problem::Size { file: wanted.path.clone(), recorded: wanted.bytes, found: there.bytes });
            }
            _ => {}
        }
    }
}

/// Total size in bytes of whatever is at `path`, of any type; 0 when there is nothing. What vanishes meanwhile does not count.
pub(crate) fn size_on_disk(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size_on_disk(&entry.path())).sum()
}

fn odd(path: &Path, why: &'static str) -> StoreError {
    StoreError::OddName { path: path.to_path_buf(), why }
}

/// What speaks against a name, which would not survive elsewhere.
pub(crate) fn oddity(name: &str) -> Option<&'static str> {
    if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else if name.contains('\\') {
        Some("holds a backslash")
    } else if name.trim() != name {
        Some("begins or ends with a space")
    } else {
        None
    }
}

fn describe(file_type: std::fs::FileType) -> &'static str {
    if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, bytes: u64) -> Found {
        Found { path: path.into(), bytes, links: 1 }
    }

    fn recorded(path: &str, bytes: u64) -> FileEntry {
        FileEntry { path: path.into(), bytes, digest: plan::Digest::from_bytes([0; 32]) }
    }

    #[test]
    fn every_difference_is_named() {
        let problems = compare(
            &[found("a", 1), found("b", 2), found("x", 0)],
            &[recorded("a", 1), recorded("b", 3), recorded("c", 0), recorded("z", 0)],
        );
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["file `b` has 2 bytes instead of 3", "file `c` is missing", "file `x` does not belong to it", "file `z` is missing"]
        );
        assert!(compare(&[found("a", 1)], &[recorded("a", 1)]).is_empty());
    }

    #[test]
    fn files_are_sorted_by_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b/c", "b.txt", "a"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(tree.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b.txt", "b/c"]);
        assert_eq!((tree.bytes(), tree.folders.len()), (3, 2));
    }

    #[test]
    fn links_pipes_and_odd_names_are_refused() {
        type Make = fn(&Path);
        let cases: [(&str, Make); 4] = [
            ("a symbolic link", |folder| std::os::unix::fs::symlink("x", folder.join("link")).unwrap()),
            ("a socket", |folder| drop(std::os::unix::net::UnixListener::bind(folder.join("s")).unwrap())),
            ("a control character", |folder| fs::write(folder.join("a\nb"), "").unwrap()),
            ("begins or ends", |folder| fs::write(folder.join(" a"), "").unwrap()),
        ];
        for (message, make) in cases {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path());
            let error = Tree::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
