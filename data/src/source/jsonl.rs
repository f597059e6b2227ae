//! Documents from JSON-lines files (plain, gzip, zstandard) whose fields may have other names than Dolma's.
//! Knows no corpus by name.

use super::{common_base, expand};
use crate::document::{Document, DocumentWriter, LineReader, Totals};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Which fields hold what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The field of the text: a name, or names joined by dots for nested objects.
    pub text: String,
    /// The field of the id; a row without it gets `<file>:<line>`.
    pub id: String,
    /// The value of `source` for all documents; `None` to take each row's own `source`.
    pub source: Option<String>,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields { text: "text".to_owned(), id: "id".to_owned(), source: None }
    }
}

/// Reads all files that the patterns match, in sorted order, into `output`.
///
/// Fields that are Dolma's (`source`, `added`, `created`, `version`, `metadata`, `attributes`) keep their place; all others but text
/// and id move to the metadata. A row without a text is an error that names file and line.
pub fn read_jsonl(
    patterns: &[impl AsRef<str>],
    fields: &Fields,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Totals, DataError> {
    let files = expand(patterns)?;
    let base = common_base(&files);
    let mut reader = LineReader::open(&base, files)?;
    let mut writer = DocumentWriter::create(output)?;
    while let Some(batch) = reader.next() {
        check(observer)?;
        let batch = batch?;
        let documents: Vec<Result<Document, DataError>> = batch
            .lines()
            .map(|(number, line)| {
                row(line, fields, || format!("{}:{number}", batch.file)).map_err(|message| DataError::Line {
                    path: batch.path.clone(),
                    line: number,
                    message,
                })
            })
            .collect();
        writer.write(&documents.into_iter().collect::<Result<Vec<_>, _>>()?)?;
        let (done, total) = reader.position();
        observer.progress(done, Some(total));
    }
    writer.finish()
}

fn row(line: &[u8], fields: &Fields, place: impl Fn() -> String) -> Result<Document, String> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let text = match take(&mut object, &fields.text) {
        Some(Value::String(text)) => text,
        Some(_) => return Err(format!("field `{}` is not a string", fields.text)),
        None => {
            let names: Vec<_> = object.keys().map(|key| format!("`{key}`")).collect();
            return Err(format!("no field `{}`; the fields are {}", fields.text, names.join(", ")));
        }
    };
    let id = match take(&mut object, &fields.id) {
        Some(Value::String(id)) => id,
        Some(Value::Null) | None => place(),
        Some(other) => other.to_string(),
    };
    let mut known = Map::new();
    for key in ["source", "added", "created", "version", "metadata", "attributes"] {
        if let Some(value) = object.shift_remove(key) {
            known.insert(key.to_owned(), value);
        }
    }
    known.insert("id".to_owned(), Value::String(id));
    known.insert("text".to_owned(), Value::String(text));
    let mut document: Document = serde_json::from_value(Value::Object(known)).map_err(|error| error.to_string())?;
    document.metadata.extend(object);
    if let Some(source) = &fields.source {
        document.source.clone_from(source);
    }
    Ok(document)
}

/// Takes a field out of an object: its name as it is, or a path through nested objects.
fn take(object: &mut Map<String, Value>, path: &str) -> Option<Value> {
    if object.contains_key(path) {
        return object.shift_remove(path);
    }
    let (head, rest) = path.split_once('.')?;
    take(object.get_mut(head)?.as_object_mut()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn other_field_names_and_compressions() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut gz = flate2::write::GzEncoder::new(
            fs_err::File::create(dir.path().join("a.jsonl.gz")).unwrap(),
            flate2::Compression::fast(),
        );
        gz.write_all(b"{\"body\":{\"en\":\"one\"},\"n\":7,\"url\":\"u\"}\n").unwrap();
        gz.finish().unwrap();
        let two = zstd::encode_all(&b"{\"body\":{\"en\":\"two\"},\"source\":\"own\"}"[..], 1).unwrap();
        fs_err::write(dir.path().join("b.jsonl.zst"), two).unwrap();
        let fields = Fields { text: "body.en".into(), id: "n".into(), source: None };
        let pattern = format!("{}/*.jsonl*", dir.path().display());
        let totals = read_jsonl(&[&pattern], &fields, output.path(), &()).unwrap();
        assert_eq!(totals, Totals { documents: 2, bytes: 6 });
        let documents = read(output.path());
        assert_eq!((documents[0].id.as_str(), documents[1].id.as_str()), ("7", "b.jsonl.zst:1"));
        assert_eq!((documents[0].group("url").unwrap().as_str(), documents[1].source.as_str()), ("u", "own"));
    }

    #[test]
    fn a_row_without_text_is_named() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("a.jsonl");
        fs_err::write(&path, "{\"text\":\"x\"}\n{\"txt\":\"x\"}\n").unwrap();
        let error = read_jsonl(&[path.display().to_string()], &Fields::default(), output.path(), &()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:2: no field `text`; the fields are `txt`", path.display()));
    }

    proptest! {
        #[test]
        fn rows_never_panic(line in proptest::collection::vec(any::<u8>(), 0..80), path in "[a-c.]{0,6}") {
            let fields = Fields { text: path, ..Fields::default() };
            let _ = row(&line, &fields, || "place".to_owned());
        }
    }
}
