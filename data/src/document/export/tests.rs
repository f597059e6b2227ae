//! What dolma 1.2.1 wrote about its fixtures, and the layout of what is exported.

use super::*;
use crate::document::read_documents;
use crate::source::{Care, dolma::read_dolma, expand_named};
use crate::tagger::{Compat, tag};
use crate::testing::{documents, write};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dolma")
}

fn plain(path: &Path) -> String {
    let mut text = String::new();
    let file = fs_err::File::open(path).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
    text
}

/// The fixtures' documents, read as Dolma documents, tagged.
fn tagged(names: &[&str]) -> tempfile::TempDir {
    let (raw, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = expand_named(&[format!("{}/documents/*.gz", fixtures().display())]).unwrap();
    read_dolma(&files, &[], Care::default(), raw.path(), &()).unwrap();
    tag(raw.path(), output.path(), &taggers(names).unwrap(), Compat::Dolma12, &()).unwrap();
    output
}

fn dir(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs_err::read_dir(path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn attributes_are_dolmas_byte_for_byte() {
    // Those that dolma ran on all three sets.
    let names = [
        "gopher_v1",
        "gopher_v2",
        "c4_v1",
        "c4_v2",
        "pii_regex_v2",
        "pii_regex_with_counts_fast_v2",
        "char_length_v1",
        "bytes_length_v1",
        "whitespace_tokenizer_v1",
    ];
    let (input, output) = (tagged(&names), tempfile::tempdir().unwrap());
    let like = fixtures().join("documents");
    let how = DolmaExport { like: Some(&like), ..DolmaExport::default() };
    let exported = export_dolma(input.path(), output.path(), how, &()).unwrap();
    assert_eq!(exported, Exported { files: 3, documents: 194 });
    for name in names {
        for set in ["edge", "empty", "sample"] {
            let file = format!("attributes/{name}/{set}.jsonl.gz");
            let (ours, theirs) = (plain(&output.path().join(&file)), plain(&fixtures().join(&file)));
            for (ours, theirs) in ours.lines().zip(theirs.lines()) {
                assert_eq!(ours, theirs, "{file}");
            }
            assert_eq!(ours, theirs, "{file}");
        }
    }
    for set in ["edge", "empty", "sample"] {
        let file = format!("documents/{set}.jsonl.gz");
        let sorted = |text: &str| {
            let mut lines = String::new();
            for line in text.lines() {
                let mut value: Value = serde_json::from_str(line).unwrap();
                value.sort_all_objects();
                lines += &format!("{value}\n");
            }
            lines
        };
        assert_eq!(plain(&output.path().join(&file)), sorted(&plain(&fixtures().join(&file))), "{file}");
    }
    // And in again: the same documents with the same attributes.
    let again = tempfile::tempdir().unwrap();
    let files = |kind: &str| expand_named(&[format!("{}/{kind}/**/*.gz", output.path().display())]).unwrap();
    read_dolma(&files("documents"), &files("attributes"), Care::default(), again.path(), &()).unwrap();
    let read =
        |path: &Path| -> Vec<Document> { read_documents(path).unwrap().flat_map(|batch| batch.unwrap().documents).collect() };
    // Sorted metadata is equal metadata.
    assert_eq!(read(again.path()), read(input.path()));
}

#[test]
fn an_experiment_has_one_file_and_its_own_keys() {
    let (input, output) = (tagged(&["char_length_v1", "bytes_length_v1"]), tempfile::tempdir().unwrap());
    let order = ["char_length_v1".to_owned(), "bytes_length_v1".to_owned()];
    let how = DolmaExport { experiment: Some("my-run"), taggers: &order, like: None };
    export_dolma(input.path(), output.path(), how, &()).unwrap();
    assert_eq!(dir(&output.path().join("attributes")), ["my_run"]);
    let text = plain(&output.path().join("attributes/my_run/part-00000.jsonl.gz"));
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("{\"id\":\"edge-000\",\"attributes\":{\"my_run__char_length_v1__length\":[[0,12,12.0]],\"my_run__bytes_length_v1__bytes\":"), "{first}");
    let wrong = |how| export_dolma(input.path(), output.path(), how, &()).unwrap_err().to_string();
    assert!(wrong(DolmaExport { experiment: Some("1"), ..how }).contains("begins with a digit"));
    let message = wrong(DolmaExport { taggers: &["gofer".to_owned()], ..how });
    assert_eq!(message, "no document has attributes of `gofer`; there are bytes_length_v1, char_length_v1");
}

#[test]
fn documents_must_be_those_they_are_cut_like() {
    let (three, two) = (documents(&["one", "two", "three"]), documents(&["one", "two"]));
    let like = tempfile::tempdir().unwrap();
    for (name, ids) in [("a.jsonl", &["d0"][..]), ("b.jsonl", &[]), ("c.jsonl", &["d1", "d2"]), ("d.jsonl", &[])] {
        let rows: String = ids.iter().map(|id| format!("{{\"id\":\"{id}\",\"text\":\"\"}}\n")).collect();
        fs_err::write(like.path().join(name), rows).unwrap();
    }
    let how = DolmaExport { like: Some(like.path()), ..DolmaExport::default() };
    let run = |documents: &[Document]| {
        let output = tempfile::tempdir().unwrap();
        export_dolma(write(documents).path(), output.path(), how, &()).map(|exported| {
            let lines = |name: &String| plain(&output.path().join("documents").join(name)).lines().count();
            let files = dir(&output.path().join("documents"));
            (exported, files.iter().map(|file| (file.clone(), lines(file))).collect::<Vec<_>>())
        })
    };
    let (exported, files) = run(&three).unwrap();
    assert_eq!(exported, Exported { files: 4, documents: 3 });
    let expected = [("a.jsonl.gz", 1), ("b.jsonl.gz", 0), ("c.jsonl.gz", 2), ("d.jsonl.gz", 0)];
    assert_eq!(files, expected.map(|(name, n)| (name.to_owned(), n)));
    assert!(run(&two).unwrap_err().to_string().ends_with("c.jsonl:2: `d2` is not among the documents to export"));
    let other = run(&[two, documents(&["x"])].concat()).unwrap_err().to_string();
    assert!(other.ends_with("c.jsonl:2: here is `d2`, but the next document to export is `d0`"), "{other}");
    assert!(run(&documents(&["1", "2", "3", "4"])).unwrap_err().to_string().contains("`d3`"));
    assert!(run(&[]).unwrap_err().to_string().contains("`d0` is not among"));
}
