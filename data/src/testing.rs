//! Small corpora on disk for the tests of this crate.

use crate::document::{Document, DocumentWriter, read_documents};
use std::path::Path;
use tempfile::TempDir;

pub(crate) fn documents(texts: &[&str]) -> Vec<Document> {
    texts.iter().enumerate().map(|(i, text)| Document::new(format!("d{i}"), *text, "test")).collect()
}

pub(crate) fn write(documents: &[Document]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DocumentWriter::create(dir.path()).unwrap();
    writer.write(documents).unwrap();
    writer.finish().unwrap();
    dir
}

pub(crate) fn read(dir: &Path) -> Vec<Document> {
    read_documents(dir).unwrap().flat_map(|batch| batch.unwrap().documents).collect()
}

/// Runs something with a fixed number of threads.
pub(crate) fn threads<T: Send>(n: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(run)
}

/// All files of a directory with their bytes, by name.
pub(crate) fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs_err::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs_err::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
