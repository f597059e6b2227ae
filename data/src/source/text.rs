//! Documents from text and Markdown files: one file, one document.
//! Knows no format inside the files.

use super::{common_base, expand};
use crate::document::{Document, DocumentWriter, Totals, relative_name};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Files read at a time.
const FILES_AT_ONCE: usize = 256;

/// Reads all files that the patterns match, in sorted order, into `output`. Every document has `source` as its source and the file's
/// path below the directory they all share as its id. A file that is not UTF-8 is an error; an empty one is left out.
pub fn read_text(
    patterns: &[impl AsRef<str>],
    source: &str,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Totals, DataError> {
    let files = expand(patterns)?;
    let base = common_base(&files);
    let mut writer = DocumentWriter::create(output)?;
    let mut done = 0;
    for group in files.chunks(FILES_AT_ONCE) {
        check(observer)?;
        let documents: Vec<Result<Document, DataError>> = group.par_iter().map(|path| read_file(path, &base, source)).collect();
        let mut documents = documents.into_iter().collect::<Result<Vec<_>, _>>()?;
        documents.retain(|document| !document.text.trim().is_empty());
        writer.write(&documents)?;
        done += group.len() as u64;
        observer.progress(done, Some(files.len() as u64));
    }
    writer.finish()
}

fn read_file(path: &PathBuf, base: &Path, source: &str) -> Result<Document, DataError> {
    let bytes = fs_err::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| DataError::format(path, format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    Ok(Document::new(relative_name(base, path), text, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;

    #[test]
    fn one_file_one_document() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs_err::create_dir(dir.path().join("b")).unwrap();
        for (name, text) in [("b/z.md", "# z"), ("a.txt", "a"), ("empty.txt", " \n")] {
            fs_err::write(dir.path().join(name), text).unwrap();
        }
        let pattern = |name: &str| format!("{}/{name}", dir.path().display());
        let totals = read_text(&[pattern("**/*.md"), pattern("*.txt")], "notes", output.path(), &()).unwrap();
        assert_eq!(totals, Totals { documents: 2, bytes: 4 });
        assert_eq!(read(output.path()), [Document::new("a.txt", "a", "notes"), Document::new("b/z.md", "# z", "notes")]);
        fs_err::write(dir.path().join("bad.txt"), b"ab\xff").unwrap();
        let error = read_text(&[pattern("bad.txt")], "notes", output.path(), &()).unwrap_err().to_string();
        assert!(error.ends_with("bad.txt`: not UTF-8 at byte 2"), "{error}");
    }
}
