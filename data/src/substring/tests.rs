//! What stays and what goes, and that nothing long stands twice.

use super::*;
use crate::testing::{documents, read, snapshot, threads, write};
use proptest::prelude::*;

fn run(texts: &[&str], params: SubstringParams) -> (Vec<String>, SubstringReport) {
    let (input, output) = (write(&documents(texts)), tempfile::tempdir().unwrap());
    let report = dedup_substrings(input.path(), output.path(), &params, &()).unwrap();
    (read(output.path()).into_iter().map(|document| document.text).collect(), report)
}

fn least(least: usize) -> SubstringParams {
    SubstringParams { least, ..SubstringParams::bytes() }
}

#[test]
fn the_first_occurrence_stays() {
    let (found, report) = run(&["abc PASSAGE def", "x PASSAGE y", "PASSAGE", "z"], least(7));
    assert_eq!(found, ["abc PASSAGE def", "xy", "z"]);
    assert_eq!((report.repeating, report.passages, report.kept.documents), (2, 2, 3));
    assert_eq!(run(&["abc PASSAGE def", "x PASSAGE y"], least(10)).1.repeating, 0);
}

#[test]
fn repetition_within_a_text_leaves_one_whole() {
    assert_eq!(run(&["aaaaaaaaaaaaaaaaaaaaaaaa"], least(4)).0, ["aaaa"]);
    assert_eq!(run(&["ababababababababX"], least(6)).0, ["abababX"]);
}

#[test]
fn ends_are_the_longest_and_documents_do_not_run_together() {
    // In the second text, a long passage begins before a short one ends.
    let (found, _) = run(&["0123456789ABCDEFGHIJ", "..0123456789ABCDEFGHIJ..", "456789"], least(5));
    assert_eq!(found, ["0123456789ABCDEFGHIJ", "...."]);
    assert_eq!(run(&["left", "right", "left", "right"], least(6)).1.repeating, 0, "a passage does not cross texts");
}

#[test]
fn characters_stay_whole() {
    let (found, _) = run(&["αβγδεζ", "ααβγδεε"], least(5));
    assert!(found[1].chars().all(|c| "αβγδε".contains(c)), "{found:?}");
    assert_eq!(found, ["αβγδεζ", "αε"]);
}

#[test]
fn words_do_not_mind_white_space() {
    let params = SubstringParams { unit: Unit::Words, ..least(4) };
    let (found, _) = run(&["one two three four five", "six one two\n  three   four seven", "two three four"], params);
    assert_eq!(found, ["one two three four five", "six  seven", "two three four"]);
}

#[test]
fn spans_are_in_code_points_and_shards_are_apart() {
    let params = SubstringParams { action: Action::Annotate, ..least(7) };
    let (input, output) = (write(&documents(&["PASSAGE", "éé PASSAGE"])), tempfile::tempdir().unwrap());
    dedup_substrings(input.path(), output.path(), &params, &()).unwrap();
    let found = read(output.path());
    assert_eq!(found[1].attributes["substring__substring__repeated"], [Span { start: 3, end: 10, score: 1.0 }]);
    assert!(found[0].attributes.is_empty());
    let (_, report) = run(&["PASSAGE", "PASSAGE", "PASSAGE"], SubstringParams { shard_bytes: 16, ..least(7) });
    assert_eq!((report.shards, report.kept.documents), (2, 2));
    assert!(dedup_substrings(input.path(), output.path(), &least(1), &()).is_err());
}

/// Number of times each passage stands in texts that were not joined by a cut.
fn repeats(pieces: &[&str], least: usize) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    pieces.iter().any(|piece| piece.as_bytes().windows(least).any(|passage| !seen.insert(passage.to_vec())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_passage_stands_twice_and_none_is_lost(texts in proptest::collection::vec("[ab]{0,24}", 1..6), length in 3usize..7) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut params = least(length);
        params.action = Action::Annotate;
        let (input, output) = (write(&documents(&texts)), tempfile::tempdir().unwrap());
        dedup_substrings(input.path(), output.path(), &params, &()).unwrap();
        let one = threads(1, || { let dir = tempfile::tempdir().unwrap(); dedup_substrings(input.path(), dir.path(), &params, &()).unwrap(); snapshot(dir.path()) });
        prop_assert_eq!(one, snapshot(output.path()));
        let found = read(output.path());
        // What is left of each text between the cuts.
        let mut pieces = Vec::new();
        for document in &found {
            let mut at = 0;
            for span in document.attributes.get("substring__substring__repeated").into_iter().flatten() {
                pieces.push(&document.text[at..span.start as usize]);
                at = span.end as usize;
            }
            pieces.push(&document.text[at..]);
        }
        prop_assert!(!repeats(&pieces, length), "{:?}", pieces);
        // The first text loses nothing that it does not repeat itself.
        let all: std::collections::BTreeSet<&str> = texts.iter().flat_map(|text| (0..=text.len()).flat_map(move |from| (from..=text.len()).map(move |to| &text[from..to]))).filter(|part| part.len() == length).collect();
        if texts.len() == 1 && all.len() + length == texts[0].len() + 1 {
            prop_assert_eq!(pieces, texts);
        }
    }
}
