//! Parity with the Dolma toolkit, and the interface of taggers.

use super::*;
use crate::document::{Attributes, Span, read_documents};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dolma")
}

fn documents(name: &str) -> Vec<Document> {
    let path = fixtures().join(format!("documents/{name}.jsonl.gz"));
    read_documents(&path).unwrap().flat_map(|batch| batch.unwrap().documents).collect()
}

/// What dolma 1.2.1 wrote, row by row.
fn golden(tagger: &str, name: &str) -> Vec<String> {
    let path = fixtures().join(format!("attributes/{tagger}/{name}.jsonl.gz"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(fs_err::File::open(path).unwrap()), &mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The row of an attribute file.
fn row(document: &Document) -> String {
    #[derive(serde::Serialize)]
    struct Row<'a> {
        id: &'a str,
        attributes: &'a Attributes,
        source: &'a str,
    }
    serde_json::to_string(&Row { id: &document.id, attributes: &document.attributes, source: &document.source }).unwrap()
}

/// Compares what taggers write with golden files, byte by byte.
fn compare(golden_name: &str, taggers: &[Box<dyn Tagger>], sets: &[&str]) {
    let mut differences = Vec::new();
    let mut rows = 0;
    for set in sets {
        let golden = golden(golden_name, set);
        let documents = documents(set);
        assert_eq!(golden.len(), documents.len());
        for (mut document, theirs) in documents.into_iter().zip(golden) {
            document.attributes.clear();
            tag_document(&mut document, taggers, Compat::Dolma12);
            let ours = row(&document);
            rows += 1;
            if ours != theirs {
                let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(60);
                let part = |row: &str| row.chars().skip(at).take(200).collect::<String>();
                differences.push(format!("{}\n  ours  {}\n  dolma {}", document.id, part(&ours), part(&theirs)));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{golden_name}: {} of {rows} rows differ:\n{}",
        differences.len(),
        differences[..differences.len().min(6)].join("\n")
    );
}

fn check(tagger: &str, sets: &[&str]) {
    compare(tagger, &taggers(&[tagger]).unwrap(), sets);
}

const ALL: [&str; 3] = ["edge", "empty", "sample"];

#[test]
fn gopher_is_dolmas() {
    check("gopher_v1", &ALL);
    check("gopher_v2", &ALL);
}

#[test]
fn c4_is_dolmas() {
    check("c4_v1", &ALL);
    check("c4_v2", &ALL);
}

#[test]
fn pii_is_dolmas() {
    check("pii_regex_v2", &ALL);
    check("pii_regex_with_counts_fast_v2", &ALL);
    // Dolma's own run stops on texts without words.
    check("pii_regex_v1", &["edge", "sample"]);
    check("pii_regex_with_counts_v2", &["edge", "sample"]);
}

#[test]
fn lengths_are_dolmas() {
    check("char_length_v1", &ALL);
    check("char_length_strip_ws_v1", &ALL);
    check("char_length_with_paragraphs_v1", &ALL);
    check("bytes_length_v1", &ALL);
    check("doc_count_v1", &ALL);
    check("whitespace_tokenizer_v1", &ALL);
    check("whitespace_tokenizer_with_paragraphs_v1", &ALL);
}

#[test]
fn segments_are_dolmas() {
    check("uniseg_length_v1", &ALL);
    check("uniseg_length_paragraphs_v1", &ALL);
    check("uniseg_length_paragraphs_with_empty_v1", &ALL);
    check("uniseg_length_paragraphs_with_doc_length_v1", &ALL);
    check("olmo_pretokenizer_v1", &ALL);
    check("olmo_pretokenizer_with_paragraphs_v1", &ALL);
}

#[test]
fn repetitions_are_dolmas() {
    check("repetitions_v1", &ALL);
    check("paragraph_repetitions_v1", &ALL);
}

#[test]
fn punctuation_is_dolmas() {
    check("not_alphanum_paragraph_v1", &ALL);
}

#[test]
fn code_is_dolmas() {
    check("code_redpajama_taggers_v1", &ALL);
    check("code_copyright_comments_v1", &ALL);
}

#[test]
fn language_agrees_with_cld2_on_english() {
    let taggers = taggers(&["language"]).unwrap();
    let (mut agree, mut judged) = (0, 0);
    #[derive(serde::Deserialize)]
    struct Row {
        attributes: Attributes,
    }
    for (mut document, theirs) in documents("sample").into_iter().zip(golden("cld2_en_doc_v2", "sample")) {
        let theirs = serde_json::from_str::<Row>(&theirs).unwrap().attributes;
        let score =
            |kind: &str| theirs.get(&format!("cld2_en_doc_v2__cld2_en_doc_v2__{kind}")).map_or(0.0, |spans| spans[0].score);
        tag_document(&mut document, &taggers, Compat::None);
        let ours = &summary(&document)["language"];
        // Where one of the two has no opinion, or the document is code, there is nothing to agree on.
        if ours["code"] > 0.5 || document.text.split_whitespace().count() < 30 {
            continue;
        }
        judged += 1;
        agree += usize::from((ours["en"] > 0.5) == (score("en") > 0.5));
    }
    assert!(judged >= 80 && agree * 100 >= judged * 95, "{agree} of {judged}");
}

#[test]
fn names_and_unknown_names() {
    let names: Vec<_> = standard().iter().map(|tagger| tagger.name().to_owned()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    let short = taggers(&["gopher", "c4", "pii", "language", "length"]).unwrap();
    let full: Vec<_> = short.iter().map(|tagger| tagger.name()).collect();
    assert_eq!(full, ["gopher_v1", "c4_v2", "pii_regex_with_counts_fast_v2", "language_v1", "char_length_v1"]);
    let error = taggers(&["gofer"]).err().unwrap().to_string();
    assert!(error.contains("`gofer`") && error.contains("gopher_v1"), "{error}");
}

#[test]
fn summaries_are_flat_numbers() {
    let mut document = Document::new("d", "Write to me@here.org now.\n{ x }\n", "s");
    tag_document(&mut document, &taggers(&["gopher", "c4", "pii", "language"]).unwrap(), Compat::None);
    document.attributes.insert("mine__mine__score".into(), vec![Span { start: 0, end: 32, score: 0.25 }]);
    document.attributes.insert("exp__other__spans".into(), vec![Span { start: 0, end: 3, score: 1.0 }; 2]);
    let summary = summary(&document);
    let value = |group: &str, field: &str| summary[group][field];
    assert_eq!((value("gopher", "word_count"), value("gopher", "fraction_of_characters_in_duplicate_10grams")), (7.0, 0.0));
    assert_eq!(
        (value("c4", "has_curly_brace"), value("c4", "has_javascript"), value("c4", "lines_with_no_ending_punctuation")),
        (1.0, 0.0, 2.0)
    );
    assert_eq!((value("pii", "count"), value("pii", "email_address"), value("pii", "phone_number")), (1.0, 1.0, 0.0));
    assert_eq!((value("mine", "score"), value("other", "spans")), (0.25, 2.0));
    assert!(value("language", "en") > 0.0);
}

#[test]
fn tagging_again_replaces_and_any_text_is_safe() {
    let all = standard();
    for text in ["", " ", "\n\n", "a", "…", "\u{1c}", "İİ\nx", "@", "@.", "1.2.3.4@", &"x ".repeat(300)] {
        let mut document = Document::new("d", text, "s");
        tag_document(&mut document, &all, Compat::None);
        let once = document.attributes.clone();
        tag_document(&mut document, &all, Compat::None);
        assert_eq!(document.attributes, once);
    }
}

#[test]
fn a_corpus_keeps_its_order_for_any_number_of_threads() {
    use crate::testing::{snapshot, threads};
    let run = |n| {
        let output = tempfile::tempdir().unwrap();
        let input = fixtures().join("documents/sample.jsonl.gz");
        threads(n, || tag(&input, output.path(), &taggers(&["gopher", "c4"]).unwrap(), Compat::None, &()).unwrap());
        snapshot(output.path())
    };
    assert_eq!(run(1), run(4));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(128))]
    #[test]
    fn spans_stay_inside_any_text(text in "([a-zA-Zé]{1,5}|[0-9]{1,4}|[ .@\\n\\t,;#(-]|日|javascript|\\PC){0,60}") {
        let mut document = Document::new("d", text.clone(), "s");
        tag_document(&mut document, &standard(), Compat::None);
        let length = text.chars().count().max(text.to_lowercase().chars().count()) as u64;
        let groups: BTreeMap<_, _> = summary(&document);
        for span in document.attributes.values().flatten() {
            proptest::prop_assert!(span.start <= span.end && span.end <= length && span.score.is_finite());
        }
        proptest::prop_assert!(groups.values().flatten().all(|(_, value)| value.is_finite()));
    }
}
