//! [`Record`]: a manifest with its preimage, as they travel between stores, and what must be true of them before anything is
//! written: the files' names stay inside a folder, the key is that of the preimage, the digest that of the files. It reads no file.

use std::collections::BTreeSet;

use plan::{FileEntry, Key, Manifest, Preimage};
use serde::{Deserialize, Serialize};

use crate::store::parse_manifest;
use crate::tree::oddity;

/// Largest record that is read, in bytes: a hundred thousand files or so.
pub(crate) const MOST_BYTES: u64 = 64 << 20;
/// Longest path inside an artifact.
const MOST_PATH: usize = 1024;
/// Longest name in such a path, as file systems have it.
const MOST_NAME: usize = 255;

/// An artifact without its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) manifest: Manifest,
    pub(crate) preimage: Preimage,
}

impl Record {
    /// The record of `key` in `text`, if it can be believed.
    pub(crate) fn parse(key: &Key, text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let manifest = serde_json::to_vec(&record.manifest).map_err(|error| error.to_string())?;
        parse_manifest(key, &manifest).map_err(|problem| problem.to_string())?;
        record.check(key)?;
        Ok(record)
    }

    fn check(&self, key: &Key) -> Result<(), String> {
        if self.preimage.key() != *key {
            return Err(format!("its preimage is that of key {}", self.preimage.key().short()));
        }
        check_files(&self.manifest.files)
    }
}

/// Whether the files of a record can be written below a folder, and only there.
pub(crate) fn check_files(files: &[FileEntry]) -> Result<(), String> {
    if files.is_empty() {
        return Err("it has no files".into());
    }
    let mut total = 0_u64;
    let mut folders = BTreeSet::new();
    for file in files {
        total = total.checked_add(file.bytes).ok_or("its files are impossibly large")?;
        check_path(&file.path)?;
        folders.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    match files.iter().find(|file| folders.contains(file.path.as_str())) {
        Some(file) => Err(format!("`{}` is both a file and a folder in it", file.path)),
        None => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("the file name `{}` {why}", path.escape_debug()));
    if path.len() > MOST_PATH {
        return Err(format!("a file name has {} bytes, {MOST_PATH} are allowed", path.len()));
    }
    if path.starts_with('/') {
        return wrong("is absolute");
    }
    for name in path.split('/') {
        match name {
            "" => return wrong("has an empty part"),
            "." | ".." => return wrong("leads out of its folder"),
            name if name.len() > MOST_NAME => return wrong("has a part that is too long"),
            name => {
                if let Some(why) = oddity(name) {
                    return wrong(why);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use plan::artifact::content_digest;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{make, preimage, store};

    fn file(path: &str) -> FileEntry {
        FileEntry { path: path.into(), bytes: 1, digest: plan::Digest::from_bytes([1; 32]) }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (path, why) in [
            ("/etc/passwd", "absolute"),
            ("../x", "leads out"),
            ("a/../../x", "leads out"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("", "empty part"),
            ("./a", "leads out"),
            ("a\0b", "control"),
            ("c:\\x", "backslash"),
            (" a", "space"),
        ] {
            let error = check_files(&[file(path)]).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
        assert!(check_files(&[file(&"a/".repeat(600))]).unwrap_err().contains("1024"));
        assert!(check_files(&[file("a"), file("a/b")]).unwrap_err().contains("both"));
        assert!(check_files(&[file("a"), file("a.b"), file("b/c/d"), file("b/c/e")]).is_ok());
        assert!(check_files(&[]).is_err());
        let huge = FileEntry { bytes: u64::MAX, ..file("a") };
        assert!(check_files(&[huge, file("b")]).unwrap_err().contains("large"));
    }

    #[test]
    fn a_record_must_agree_with_itself() {
        let (_folder, store) = store();
        let manifest = make(&store, 1, &[("x", "y"), ("z/w", "v")]).manifest;
        let key = manifest.key;
        let record = Record { manifest, preimage: preimage(1) };
        let text = |record: &Record| serde_json::to_vec(record).unwrap();
        assert_eq!(Record::parse(&key, &text(&record)).unwrap(), record);
        let other = Record { preimage: preimage(2), ..record.clone() };
        assert!(Record::parse(&key, &text(&other)).unwrap_err().contains("preimage"));
        let mut other = record.clone();
        other.manifest.files[0].bytes += 1;
        assert!(Record::parse(&key, &text(&other)).unwrap_err().contains("contradicts"));
        other.manifest.files[0].path = "../x".into();
        other.manifest.digest = content_digest(&other.manifest.files);
        assert!(Record::parse(&key, &text(&other)).unwrap_err().contains("leads out"));
        assert!(Record::parse(&preimage(2).key(), &text(&record)).unwrap_err().contains("belongs to"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_in_its_folder(path in "[a-c./\\\\ ]{0,12}") {
            if check_files(&[file(&path)]).is_ok() {
                let joined = std::path::Path::new("/folder").join(&path);
                let plain = joined.components().all(|part| !matches!(part, std::path::Component::ParentDir));
                prop_assert!(plain && joined.starts_with("/folder") && joined.components().count() > 2);
            }
        }
    }
}
