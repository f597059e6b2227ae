//! Parity with the Dolma toolkit, and what dedup promises whatever the threads and the files.

use super::*;
use crate::testing::{documents, read, snapshot, threads, write};
use proptest::prelude::*;

fn texts(dir: &Path) -> Vec<String> {
    read(dir).into_iter().map(|document| document.text).collect()
}

fn run(texts_in: &[&str], by: &DedupBy) -> (Vec<String>, DedupReport) {
    let (input, output) = (write(&documents(texts_in)), tempfile::tempdir().unwrap());
    let report = dedup(input.path(), output.path(), &DedupParams::new(by.clone()), Against::Itself, &()).unwrap();
    (texts(output.path()), report)
}

fn paragraph(separator: &str, least: usize) -> DedupBy {
    DedupBy::Paragraph(Paragraphs { separator: separator.into(), least, ..Paragraphs::lines() })
}

fn ngram(length: usize, threshold: f64) -> DedupBy {
    DedupBy::Ngram(Paragraphs::lines(), Ngrams { length, stride: 1, threshold, short: Short::Whole })
}

/// The rows of a golden file, or of a file of ours.
fn rows(path: &Path) -> String {
    let bytes = fs_err::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut text).unwrap();
        return text;
    }
    String::from_utf8(zstd::decode_all(bytes.as_slice()).unwrap()).unwrap()
}

#[test]
fn rows_are_dolmas_to_the_byte() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dolma");
    // As golden files were made: both sets in one run, edge before empty, empty paragraphs compared, and for 13-grams every score.
    let input = tempfile::tempdir().unwrap();
    for set in ["edge", "empty"] {
        let name = format!("{set}.jsonl.gz");
        fs_err::copy(fixtures.join("documents").join(&name), input.path().join(&name)).unwrap();
    }
    let lines = Paragraphs { least: 0, empty: Empty::Compare, ..Paragraphs::lines() };
    let ngrams = |length, stride, threshold, short| Ngrams { length, stride, threshold, short };
    for (name, by) in [
        ("dedupe_par_exact", DedupBy::Paragraph(lines.clone())),
        ("dedupe_par_ngram3", DedupBy::Ngram(lines.clone(), ngrams(3, 1, 0.5, Short::Whole))),
        ("dedupe_par_ngram13", DedupBy::Ngram(lines.clone(), ngrams(13, 3, 0.0, Short::Skip))),
    ] {
        let output = tempfile::tempdir().unwrap();
        let params = DedupParams { by, action: Action::Rows("dup".into()), semantics: Semantics::Dolma12, bloom: None };
        dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
        for set in ["edge", "empty"] {
            let expected = rows(&fixtures.join(format!("attributes/{name}/{set}.jsonl.gz")));
            let ours = rows(&output.path().join(format!("{set}.jsonl.zst")));
            for (ours, expected) in ours.lines().zip(expected.lines()) {
                assert_eq!(ours, expected, "{name} {set}");
            }
            assert_eq!(ours, expected, "{name} {set}");
        }
    }
}

#[test]
fn first_document_stays() {
    let (texts, report) = run(&["a", "b", "a", "a ", "b"], &DedupBy::Document);
    assert_eq!(texts, ["a", "b", "a "]);
    assert_eq!(report.removed(), Totals { documents: 2, bytes: 2 });
}

#[test]
fn first_paragraph_stays_and_empty_documents_go() {
    let (texts, report) = run(&["x\n\ny\nx", "x\ny", "x\n}\n}\nz"], &DedupBy::Paragraph(Paragraphs::lines()));
    assert_eq!(texts, ["x\n\ny\n", "}\nz"]);
    assert_eq!((report.repeated_paragraphs, report.removed().documents), (5, 1));
    let texts_in = ["long one\n\nab\n\nlong one", "ab\n\nlong one\n\ntail"];
    assert_eq!(run(&texts_in, &paragraph("\n\n", 3)).0, ["long one\n\nab\n\n", "ab\n\ntail"]);
}

#[test]
fn fields_are_compared_and_their_absence_is_told() {
    let mut corpus = documents(&["one", "two", "three", "four"]);
    for (document, url) in corpus.iter_mut().zip(["u", "v", "u"]) {
        document.metadata.insert("url".into(), url.into());
    }
    let (input, output) = (write(&corpus), tempfile::tempdir().unwrap());
    let params = DedupParams::new(DedupBy::Field("$.metadata.url".into()));
    let report = dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    assert_eq!(texts(output.path()), ["one", "two", "four"]);
    assert_eq!(report.without_field, 1);
    let params = DedupParams::new(DedupBy::Field("metadata.uri".into()));
    let error = dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap_err().to_string();
    assert!(error.contains("no document has the field `metadata.uri`"), "{error}");
    let params = DedupParams::new(DedupBy::Field("source".into()));
    dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    assert_eq!(texts(output.path()), ["one"]);
}

#[test]
fn ngrams_find_what_was_changed_a_little() {
    let long = "the quick brown fox jumps over the lazy dog and runs away from the angry bear";
    let near = "the quick brown fox jumps over the lazy dog and runs away from the gentle bear";
    let corpus = [format!("{long}\nshort"), format!("{near}\nshort\nanother line of text altogether, with no part of the first")];
    let (found, report) = run(&[&corpus[0], &corpus[1]], &ngram(3, 0.7));
    assert_eq!(found, [corpus[0].as_str(), "another line of text altogether, with no part of the first"]);
    assert_eq!(report.repeated_paragraphs, 2);
    assert_eq!(run(&[&corpus[0], &corpus[1]], &ngram(3, 1.0)).1.repeated_paragraphs, 1);
}

#[test]
fn annotations_leave_texts_alone() {
    let corpus = documents(&["é\nb", "é\nc", "é\nb"]);
    let (input, output) = (write(&corpus), tempfile::tempdir().unwrap());
    let action = Action::Annotate("dedup__dedup__repeated".into());
    let params = DedupParams { action: action.clone(), ..DedupParams::new(DedupBy::Paragraph(Paragraphs::lines())) };
    let report = dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    let found = read(output.path());
    let spans = |index: usize| found[index].attributes.get("dedup__dedup__repeated").cloned().unwrap_or_default();
    assert!(found.iter().zip(&corpus).all(|(found, document)| found.text == document.text) && spans(0).is_empty());
    assert_eq!(spans(1), [Span { start: 0, end: 2, score: 1.0 }]);
    assert_eq!(spans(2), [Span { start: 0, end: 2, score: 1.0 }, Span { start: 2, end: 3, score: 1.0 }]);
    assert_eq!((report.repeating, report.removed()), (2, Totals::default()));
    let params = DedupParams { action, ..DedupParams::new(DedupBy::Document) };
    dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    assert_eq!(read(output.path())[2].attributes["dedup__dedup__repeated"], [Span { start: 0, end: 3, score: 1.0 }]);
}

#[test]
fn a_filter_is_made_once_and_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen.bloom");
    let (known, input, output) = (write(&documents(&["a\nb"])), write(&documents(&["b\nc\nc"])), tempfile::tempdir().unwrap());
    let mut params = DedupParams::new(DedupBy::Paragraph(Paragraphs::lines()));
    params.bloom = Some(BloomSize { keys: 1000, false_positives: 1e-9 });
    assert_eq!(remember(known.path(), &file, &params, &()).unwrap().1, 2);
    dedup(input.path(), output.path(), &params, Against::Filter(&file), &()).unwrap();
    assert_eq!(texts(output.path()), ["c\nc"], "compared with the filter, not with itself");
    let other = DedupParams::new(DedupBy::Document);
    let error = dedup(input.path(), output.path(), &other, Against::Filter(&file), &()).unwrap_err().to_string();
    assert!(error.contains("make both with the same parameters"), "{error}");
    dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    assert_eq!(texts(output.path()), ["b\nc\n"]);
}

#[test]
fn changed_documents_lose_their_attributes_and_others_keep_their_bytes() {
    let mut corpus = documents(&["same\nsame", "other"]);
    corpus[0].attributes.insert("a__a__a".into(), vec![]);
    corpus[1].attributes.insert("a__a__a".into(), vec![]);
    let (input, output) = (write(&corpus), tempfile::tempdir().unwrap());
    let params = DedupParams::new(DedupBy::Paragraph(Paragraphs::lines()));
    dedup(input.path(), output.path(), &params, Against::Itself, &()).unwrap();
    let found = read(output.path());
    assert!(found[0].attributes.is_empty());
    assert_eq!(found[1], corpus[1]);
}

/// The documents in files of their own, cut at these places.
fn cut(corpus: &[Document], sizes: &[usize]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut rest = corpus;
    for (index, size) in sizes.iter().chain([&usize::MAX]).enumerate() {
        let (here, others) = rest.split_at((*size).min(rest.len()));
        rest = others;
        let lines: String = here.iter().map(|document| serde_json::to_string(document).unwrap() + "\n").collect();
        fs_err::write(dir.path().join(format!("part-{index:03}.jsonl")), lines).unwrap();
    }
    dir
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_same_for_any_threads_and_files(
        corpus in proptest::collection::vec("[ab \\n]{0,9}", 0..60),
        sizes in proptest::collection::vec(0usize..20, 0..5),
    ) {
        let corpus: Vec<&str> = corpus.iter().map(String::as_str).collect();
        let corpus = documents(&corpus);
        let (whole, parts) = (write(&corpus), cut(&corpus, &sizes));
        let bloom = Some(BloomSize { keys: 1000, false_positives: 1e-9 });
        for by in [DedupBy::Document, DedupBy::Paragraph(Paragraphs::lines()), ngram(2, 0.5)] {
            let exact = DedupParams::new(by.clone());
            let mut outcomes = Vec::new();
            for (params, input, count) in [
                (exact.clone(), whole.path(), 1),
                (exact.clone(), whole.path(), 4),
                (exact.clone(), parts.path(), 2),
                (DedupParams { bloom, ..exact }, parts.path(), 3),
            ] {
                let output = tempfile::tempdir().unwrap();
                let report = threads(count, || dedup(input, output.path(), &params, Against::Itself, &())).unwrap();
                outcomes.push((report, snapshot(output.path())));
            }
            prop_assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
            let output = tempfile::tempdir().unwrap();
            dedup(whole.path(), output.path(), &DedupParams::new(by.clone()), Against::Itself, &()).unwrap();
            let mut pieces: Vec<String> = match by {
                DedupBy::Document => texts(output.path()),
                DedupBy::Paragraph(_) => texts(output.path()).iter().flat_map(|text| text.split('\n')).filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
                _ => continue,
            };
            let n = pieces.len();
            pieces.sort_unstable();
            pieces.dedup();
            prop_assert_eq!(pieces.len(), n);
        }
    }
}
