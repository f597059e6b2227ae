//! Attributes in files of their own, as the Dolma toolkit keeps them beside its documents: out of and into documents.
//! Knows the file format; makes no attributes.
//!
//! An attribute file has the name of its document file, and a row `{"id", "attributes", "source"}` for every document, in order.

use super::{Attributes, Document, DocumentWriter, LineReader, Totals, compress, document_files};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    attributes: &'a Attributes,
    source: &'a str,
}

/// Writes the attributes of all documents of `input` to files of the same names under `output`, compressed as zstandard.
pub fn export_attributes(input: &Path, output: &Path, observer: &dyn Observer) -> Result<(), DataError> {
    let mut current: Option<(std::sync::Arc<str>, Vec<u8>)> = None;
    for_each_batch(input, observer, |batch| {
        if current.as_ref().is_some_and(|(file, _)| *file != batch.file) {
            close(output, current.take())?;
        }
        let rows: Result<Vec<Vec<u8>>, serde_json::Error> = batch.documents.par_iter().map(row).collect();
        let (_, buffer) = current.get_or_insert_with(|| (batch.file.clone(), Vec::new()));
        for row in rows.map_err(std::io::Error::from)? {
            buffer.extend_from_slice(&row);
            buffer.push(b'\n');
        }
        Ok(())
    })?;
    close(output, current)
}

fn row(document: &Document) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Row { id: &document.id, attributes: &document.attributes, source: &document.source })
}

fn close(output: &Path, file: Option<(std::sync::Arc<str>, Vec<u8>)>) -> Result<(), DataError> {
    let Some((name, rows)) = file else { return Ok(()) };
    let stem = [".gz", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    let path = output.join(format!("{stem}.zst"));
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::write(path, compress(&rows)?)?;
    Ok(())
}

/// Adds to the documents of `input` what each of the `attributes` directories says about them. Of two that name the same attribute,
/// the later wins.
///
/// Fails, naming file and line, when the rows of a directory are not those of the documents, one for one.
pub fn join_attributes(input: &Path, attributes: &[&Path], output: &Path, observer: &dyn Observer) -> Result<Totals, DataError> {
    let mut readers: Vec<AttributeRows> = attributes.iter().map(|dir| AttributeRows::open(dir)).collect::<Result<_, _>>()?;
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |mut batch| {
        for document in &mut batch.documents {
            for reader in &mut readers {
                reader.join(document)?;
            }
        }
        writer.write(&batch.documents)
    })?;
    for mut reader in readers {
        if let Some(row) = reader.next()? {
            return Err(row.error(format!("there is no document for `{}`", row.id)));
        }
    }
    writer.finish()
}

/// A row of an attribute file, and where it stands.
struct FoundRow {
    path: PathBuf,
    line: u64,
    id: String,
    attributes: Attributes,
}

impl FoundRow {
    fn error(&self, message: String) -> DataError {
        DataError::Line { path: self.path.clone(), line: self.line, message }
    }
}

struct AttributeRows {
    dir: PathBuf,
    lines: LineReader,
    waiting: VecDeque<FoundRow>,
}

impl AttributeRows {
    fn open(dir: &Path) -> Result<AttributeRows, DataError> {
        let lines = LineReader::open(dir, document_files(dir)?)?;
        Ok(AttributeRows { dir: dir.to_path_buf(), lines, waiting: VecDeque::new() })
    }

    fn next(&mut self) -> Result<Option<FoundRow>, DataError> {
        #[derive(Deserialize)]
        struct Parsed {
            id: String,
            attributes: Attributes,
        }
        while self.waiting.is_empty() {
            let Some(batch) = self.lines.next().transpose()? else { return Ok(None) };
            let rows: Vec<Result<FoundRow, DataError>> = batch
                .lines()
                .map(|(line, bytes)| match serde_json::from_slice::<Parsed>(bytes) {
                    Ok(Parsed { id, attributes }) => Ok(FoundRow { path: batch.path.clone(), line, id, attributes }),
                    Err(error) => Err(DataError::Line {
                        path: batch.path.clone(),
                        line,
                        message: format!("not a row of attributes: {error}"),
                    }),
                })
                .collect();
            self.waiting = rows.into_iter().collect::<Result<_, _>>()?;
        }
        Ok(self.waiting.pop_front())
    }

    fn join(&mut self, document: &mut Document) -> Result<(), DataError> {
        let Some(row) = self.next()? else {
            let message =
                format!("`{}` has no attributes for it; it holds fewer rows than there are documents", self.dir.display());
            return Err(DataError::Document { id: document.id.clone(), message });
        };
        if row.id != document.id {
            return Err(row.error(format!("the row is for `{}`, but the document is `{}`", row.id, document.id)));
        }
        document.attributes.extend(row.attributes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Span;
    use crate::testing::{documents, read, write};

    #[test]
    fn out_and_in_again() {
        let mut tagged = documents(&["one", "two"]);
        for (i, document) in tagged.iter_mut().enumerate() {
            document.attributes.insert("t__t__n".into(), vec![Span { start: 0, end: 3, score: i as f64 }]);
        }
        let (input, attributes, output) = (write(&tagged), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        export_attributes(input.path(), attributes.path(), &()).unwrap();
        let file = fs_err::read(attributes.path().join("part-00000.jsonl.zst")).unwrap();
        let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
        assert_eq!(text.lines().next(), Some(r#"{"id":"d0","attributes":{"t__t__n":[[0,3,0.0]]},"source":"test"}"#));
        let bare = write(&documents(&["one", "two"]));
        join_attributes(bare.path(), &[attributes.path()], output.path(), &()).unwrap();
        assert_eq!(read(output.path()), tagged);
    }

    #[test]
    fn rows_must_be_those_of_the_documents() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let input = write(&documents(&["one", "two"]));
        let join = |rows: &str| {
            fs_err::write(dir.path().join("a.jsonl"), rows).unwrap();
            join_attributes(input.path(), &[dir.path()], output.path(), &()).unwrap_err().to_string()
        };
        let row = |id: &str| format!("{{\"id\":\"{id}\",\"attributes\":{{}}}}\n");
        assert!(join(&row("d1")).ends_with("a.jsonl:1: the row is for `d1`, but the document is `d0`"));
        assert!(join(&row("d0")).contains("document `d1`") && join(&row("d0")).contains("fewer rows"));
        assert!(join(&[row("d0"), row("d1"), row("d2")].concat()).ends_with("a.jsonl:3: there is no document for `d2`"));
        assert!(join("{\"id\":\"d0\"}\n").contains("not a row of attributes"));
    }
}
