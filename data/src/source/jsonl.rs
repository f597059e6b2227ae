//! Documents from JSON-lines files (plain, gzip, zstandard) whose fields may have other names than Dolma's.
//! Knows no corpus by name.

use super::intake::{Care, Imported, Intake};
use crate::document::{Document, Fault, InputFile, KEPT_BYTES, LineBatch, LineReader};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
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

/// Reads files, in the order given, into `output`.
///
/// Fields that are Dolma's (`source`, `added`, `created`, `version`, `metadata`, `attributes`) keep their place; all others but text
/// and id move to the metadata. A row without a text is a bad row, as is one that is not JSON.
pub fn read_jsonl(
    files: &[InputFile],
    fields: &Fields,
    care: Care,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Imported, DataError> {
    let mut intake = Intake::create(output, care, observer)?;
    let mut reader = LineReader::open(files.to_vec(), care.max_line_bytes)?;
    while let Some(batch) = reader.next() {
        check(observer)?;
        let mut batch = batch?;
        let (documents, mut faults) = rows(&batch, fields);
        faults.append(&mut batch.faults);
        let file = InputFile { path: batch.path, name: batch.file.to_string() };
        intake.take(&file, documents, faults)?;
        let (done, total) = reader.position();
        observer.progress(done, Some(total));
    }
    intake.finish()
}

/// The documents on the lines of a batch, with their line numbers, and the lines that are none. Lines are read in parallel.
pub(super) fn rows(batch: &LineBatch, fields: &Fields) -> (Vec<(u64, Document)>, Vec<Fault>) {
    let place = |number| format!("{}:{number}", batch.file);
    let parsed: Vec<_> = batch.lines().map(|(number, line)| (number, line, row(line, fields, || place(number)))).collect();
    let (mut documents, mut faults) = (Vec::with_capacity(parsed.len()), Vec::new());
    for (line, bytes, row) in parsed {
        match row {
            Ok(document) => documents.push((line, document)),
            Err(message) => {
                faults.push(Fault { line, message, bytes: bytes[..bytes.len().min(KEPT_BYTES)].to_vec(), is_line: true })
            }
        }
    }
    (documents, faults)
}

/// The document of a line, or why it is none. `place` is the id of a row without one.
pub(crate) fn row(line: &[u8], fields: &Fields, place: impl Fn() -> String) -> Result<Document, String> {
    if fields.text == "text"
        && fields.id == "id"
        && let Some(document) = usual_row(line, fields, &place)
    {
        return Ok(document);
    }
    any_row(line, fields, place)
}

/// [`any_row`] for rows that are as Dolma's, without going through a tree; `None` for those that it leaves to the other.
fn usual_row(line: &[u8], fields: &Fields, place: impl Fn() -> String) -> Option<Document> {
    let UsualRow { mut document, has_id, has_text, others } = serde_json::from_slice(line).ok()?;
    if !has_text {
        return None;
    }
    if !has_id {
        document.id = place();
    }
    document.metadata.extend(others);
    if let Some(source) = &fields.source {
        document.source.clone_from(source);
    }
    Some(document)
}

#[derive(Default)]
struct UsualRow {
    document: Document,
    has_id: bool,
    has_text: bool,
    others: Map<String, Value>,
}

impl<'de> Deserialize<'de> for UsualRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UsualRow, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = UsualRow;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a row")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsualRow, A::Error> {
                let mut row = UsualRow::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let document = &mut row.document;
                    match &*key {
                        "text" => {
                            document.text = map.next_value()?;
                            row.has_text = true;
                        }
                        "id" => {
                            let id: Option<Value> = map.next_value()?;
                            row.has_id = id.is_some();
                            document.id = match id {
                                Some(Value::String(id)) => id,
                                Some(other) => other.to_string(),
                                None => String::new(),
                            };
                        }
                        "source" => document.source = map.next_value::<Option<String>>()?.unwrap_or_default(),
                        "added" => document.added = map.next_value::<Option<String>>()?.unwrap_or_default(),
                        "created" => document.created = map.next_value::<Option<String>>()?.unwrap_or_default(),
                        "version" => document.version = map.next_value()?,
                        "metadata" => document.metadata = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "attributes" => document.attributes = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        _ => drop(row.others.insert(key.into_owned(), map.next_value()?)),
                    }
                }
                Ok(row)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The document of a row whose fields may be called anything.
fn any_row(line: &[u8], fields: &Fields, place: impl Fn() -> String) -> Result<Document, String> {
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
    use super::super::intake::OnBad;
    use super::*;
    use crate::document::Totals;
    use crate::source::expand_named;
    use crate::testing::read;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn damaged_and_empty_files_cost_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let rows = (0..2000).map(|i| format!("{{\"id\":\"{i}\",\"text\":\"{}\"}}\n", i * 7919)).collect::<String>();
        let whole = zstd::encode_all(rows.as_bytes(), 3).unwrap();
        let long = format!("{{\"text\":\"{}\"}}\n{{\"text\":\"short\"}}\r\n", "x".repeat(3000));
        for (name, bytes) in [
            ("a.jsonl", &b""[..]),
            ("b.jsonl.gz", b""),
            ("c.jsonl.zst", b""),
            ("d.jsonl.zst", &whole[..whole.len() / 2]),
            ("e.jsonl", long.as_bytes()),
            ("f.jsonl", b"\xef\xbb\xbf{\"text\":\"bom\"}\r\n"),
        ] {
            fs_err::write(dir.path().join(name), bytes).unwrap();
        }
        let files = expand_named(&[format!("{}/*", dir.path().display())]).unwrap();
        let run = |on_bad| {
            let output = tempfile::tempdir().unwrap();
            let care = Care { on_bad, max_line_bytes: 1024, ..Care::default() };
            let imported = read_jsonl(&files, &Fields::default(), care, output.path(), &());
            imported.map(|imported| (imported, read(output.path())))
        };
        let error = run(OnBad::Stop).unwrap_err().to_string();
        assert!(error.contains("d.jsonl.zst:") && error.contains("the file cannot be read on from here"), "{error}");
        let (imported, documents) = run(OnBad::Skip).unwrap();
        assert_eq!(imported.bad, 2);
        let last: Vec<_> = documents[documents.len() - 2..].iter().map(|d| (d.id.as_str(), d.text.as_str())).collect();
        assert_eq!(last, [("e.jsonl:2", "short"), ("f.jsonl:1", "bom")]);
        assert!(documents[..documents.len() - 2].iter().enumerate().all(|(i, d)| d.id == i.to_string()));
    }

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
        let files = expand_named(&[format!("{}/*.jsonl*", dir.path().display())]).unwrap();
        let imported = read_jsonl(&files, &fields, Care::default(), output.path(), &()).unwrap();
        assert_eq!(imported.kept, Totals { documents: 2, bytes: 6 });
        let documents = read(output.path());
        assert_eq!((documents[0].id.as_str(), documents[1].id.as_str()), ("7", "b.jsonl.zst:1"));
        assert_eq!((documents[0].group("url").unwrap().as_str(), documents[1].source.as_str()), ("u", "own"));
    }

    #[test]
    fn a_row_without_text_is_named() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("a.jsonl");
        fs_err::write(&path, "{\"text\":\"x\"}\n{\"txt\":\"x\"}\n").unwrap();
        let files = expand_named(&[path.display().to_string()]).unwrap();
        let error = read_jsonl(&files, &Fields::default(), Care::default(), output.path(), &()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:2: no field `text`; the fields are `txt`", path.display()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_short_way_is_the_long_way(parts in proptest::collection::vec(
            "\"(id|text|source|added|version|metadata|attributes|x|id\\\\u0031|t\\\\u0065xt)\": ?(\"a\\\\n\"|null|1|2.50|true|\\{\"x\":[1]\\}|\\{\"k\":\\[\\[0,1,2\\]\\]\\}|\\[\\])", 0..6)
        ) {
            let line = format!("{{{}}}", parts.join(","));
            let fields = Fields::default();
            let place = || "place".to_owned();
            prop_assert_eq!(row(line.as_bytes(), &fields, place), any_row(line.as_bytes(), &fields, place), "{}", line);
        }

        #[test]
        fn rows_never_panic(line in proptest::collection::vec(any::<u8>(), 0..80), path in "[a-c.]{0,6}") {
            let fields = Fields { text: path, ..Fields::default() };
            let _ = row(&line, &fields, || "place".to_owned());
        }
    }
}
