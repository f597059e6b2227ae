//! What the tests of this crate have in common: preimages by number and files by name.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use plan::{Artifact, Digest, InputRecord, Preimage, Provenance, Value};

use crate::disk::Disk;
use crate::{Claim, Result, Slot, Store};

/// A folder that vanishes with the test, read-only parts included.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = Disk::default().remove_tree(self.path());
    }
}

/// A store in such a folder.
pub(crate) fn store() -> (Folder, Store) {
    let folder = Folder::new();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

pub(crate) fn preimage(number: i64) -> Preimage {
    Preimage {
        format: plan::key::FORMAT,
        kind: "test".into(),
        version: 1,
        params: Value::map([("number", Value::Int(number))]),
        inputs: Vec::new(),
    }
}

pub(crate) fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

pub(crate) fn slot(store: &Store, number: i64) -> Slot {
    match store.claim(&preimage(number)).unwrap() {
        Claim::Slot(slot) => slot,
        other => panic!("expected a slot, got {other:?}"),
    }
}

pub(crate) fn commit(slot: Slot) -> Result<Artifact> {
    let inputs = vec![InputRecord { port: "in".into(), digest: Digest::from_bytes([7; 32]), key: Some(preimage(-1).key()) }];
    let metrics = BTreeMap::from([("loss".to_owned(), 0.1), ("bad".to_owned(), f64::NAN)]);
    slot.commit("test", inputs, metrics, Provenance { seconds: 0.1 + 0.2, ..Provenance::default() })
}

/// Makes the artifact of `number` out of these files.
pub(crate) fn make(store: &Store, number: i64, files: &[(&str, &str)]) -> Artifact {
    let slot = slot(store, number);
    write(&slot.out(), files);
    commit(slot).unwrap()
}

/// Changes what a finished artifact holds, as a broken disk would.
pub(crate) fn spoil(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::remove_file(file);
    fs::write(file, text).unwrap();
}
