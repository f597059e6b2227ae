//! Tests of reading and writing documents.

use super::*;
use crate::error::DataError;
use proptest::prelude::*;

fn sample(n: usize) -> Vec<Document> {
    (0..n)
        .map(|i| {
            let mut document = Document::new(format!("d{i}"), format!("text {i}\nünï\u{0}\"quoted\""), "test");
            document.metadata.insert("z".into(), Value::from(i));
            document.metadata.insert("a".into(), Value::from("first in file, second here"));
            document.attributes.insert("g__g__n".into(), vec![Span { start: 0, end: 3, score: 4.0 }]);
            document
        })
        .collect()
}

fn read_all(dir: &std::path::Path) -> Vec<Document> {
    read_documents(dir).unwrap().flat_map(|batch| batch.unwrap().documents).collect()
}

#[test]
fn round_trip_keeps_everything_and_bytes_do_not_depend_on_batches() {
    let documents = sample(100);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut whole = DocumentWriter::create(dirs[0].path()).unwrap();
    whole.write(&documents).unwrap();
    let totals = whole.finish().unwrap();
    let mut single = DocumentWriter::create(dirs[1].path()).unwrap();
    for document in &documents {
        single.write(std::slice::from_ref(document)).unwrap();
    }
    assert_eq!(single.finish().unwrap(), totals);
    assert_eq!(totals.documents, 100);
    assert_eq!(read_all(dirs[0].path()), documents);
    let bytes = dirs.each_ref().map(|dir| fs_err::read(dir.path().join("part-00000.jsonl.zst")).unwrap());
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn attributes_and_absent_fields_look_as_in_dolma() {
    let json = serde_json::to_string(&sample(1)[0]).unwrap();
    assert_eq!(
        json,
        r#"{"id":"d0","text":"text 0\nünï\u0000\"quoted\"","source":"test","metadata":{"z":0,"a":"first in file, second here"},"attributes":{"g__g__n":[[0,3,4.0]]}}"#
    );
    let bare: Document = serde_json::from_str(r#"{"id":"x","text":"y","source":null,"metadata":null,"extra":1}"#).unwrap();
    assert_eq!(bare, Document::new("x", "y", ""));
}

#[test]
fn empty_corpus_is_an_artifact_too() {
    let dir = tempfile::tempdir().unwrap();
    DocumentWriter::create(dir.path()).unwrap().finish().unwrap();
    assert!(read_all(dir.path()).is_empty());
    assert!(matches!(read_documents(tempfile::tempdir().unwrap().path()), Err(DataError::Nothing { .. })));
}

#[test]
fn a_bad_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    fs_err::write(&path, "{\"id\":\"1\",\"text\":\"t\"}\n\n{\"id\":\"2\"}\n").unwrap();
    let error = read_documents(dir.path()).unwrap().find_map(Result::err).unwrap().to_string();
    assert_eq!(error, format!("{}:3: not a document: missing field `text` at column 10", path.display()));
}

#[test]
fn files_come_in_order_and_lines_are_numbered() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("b")).unwrap();
    fs_err::write(dir.path().join("b/x.jsonl"), "{\"id\":\"2\",\"text\":\"\"}").unwrap();
    fs_err::write(dir.path().join("a.json"), "\n{\"id\":\"1\",\"text\":\"\"}\n").unwrap();
    let batches: Vec<_> = read_documents(dir.path()).unwrap().map(Result::unwrap).collect();
    let seen: Vec<_> = batches.iter().map(|b| (&*b.file, b.lines.clone(), b.documents[0].id.as_str())).collect();
    assert_eq!(seen, [("a.json", vec![2], "1"), ("b/x.jsonl", vec![1], "2")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), extension in "(jsonl|json\\.gz|jsonl\\.zst)") {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(format!("f.{extension}")), &bytes).unwrap();
        for batch in read_documents(dir.path()).unwrap() {
            if batch.is_err() { break; }
        }
    }

    #[test]
    fn any_text_survives(text in any::<String>(), id in any::<String>()) {
        let document = Document::new(id, text, "s");
        let line = serde_json::to_vec(&document).unwrap();
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(serde_json::from_slice::<Document>(&line).unwrap(), document);
    }
}
