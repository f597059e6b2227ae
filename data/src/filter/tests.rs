//! What filters keep, and what they say about what they dropped.

use super::*;
use crate::document::Span;
use crate::testing::{documents, read, snapshot, threads, write};

fn expression<'a>(name: &str, sense: Sense, text: &str) -> Rule<'a> {
    Rule { name: name.into(), sense, test: Test::Expression(Expression::parse(text).unwrap()) }
}

fn function<'a>(name: &str, test: impl Fn(&Document) -> Result<bool, String> + Sync + 'a) -> Rule<'a> {
    Rule { name: name.into(), sense: Sense::Keep, test: Test::Function(Box::new(test)) }
}

fn ids(dir: &Path) -> Vec<String> {
    read(dir).into_iter().map(|document| document.id).collect()
}

/// Documents with `k` scores of 0, 10, 20, ... and a length of their own.
fn scored(count: usize) -> Vec<Document> {
    let mut corpus = documents(&vec!["text"; count]);
    for (index, document) in corpus.iter_mut().enumerate() {
        document.text = "x".repeat(index + 1);
        document.attributes.insert("k".into(), vec![Span { start: 0, end: 1, score: index as f64 * 10.0 }]);
    }
    corpus
}

#[test]
fn keeps_what_the_condition_holds_for() {
    let (input, output) = (write(&documents(&["aa", "b", "aaa"])), tempfile::tempdir().unwrap());
    let rules = [function("keep", |document| Ok(document.text.contains("aa")))];
    let report = filter(input.path(), output.path(), &rules, 0, &()).unwrap();
    assert_eq!(ids(output.path()), ["d0", "d2"]);
    assert_eq!((report.read.documents, report.kept), (3, Totals { documents: 2, bytes: 5 }));
}

#[test]
fn an_error_names_the_first_document_that_fails() {
    let (input, output) = (write(&documents(&["a", "b", "b"])), tempfile::tempdir().unwrap());
    let rules = [function("keep", |document| if document.text == "b" { Err("no such field `x`".to_owned()) } else { Ok(true) })];
    let error = filter(input.path(), output.path(), &rules, 0, &()).unwrap_err();
    assert_eq!(error.to_string(), "document `d1`: rule `keep`: no such field `x`");
    let rules = [expression("length", Sense::Keep, ".text | tonumber > 3")];
    let error = filter(input.path(), output.path(), &rules, 0, &()).unwrap_err().to_string();
    assert!(error.starts_with("document `d0`: rule `length`: jq stops:"), "{error}");
    let error = filter(input.path(), output.path(), &[expression("h", Sense::Keep, "halt")], 0, &()).unwrap_err().to_string();
    assert!(error.contains("jq halts"), "{error}");
}

#[test]
fn every_rule_accounts_for_what_it_dropped() {
    let (input, output) = (write(&scored(6)), tempfile::tempdir().unwrap());
    let rules = [
        function("long", |document| Ok(document.text.len() > 2)),
        expression("low", Sense::Drop, "$.attributes[?(@.k && @.k[0] && @.k[0][2] < 40)]"),
        expression("even", Sense::Drop, "jq: .attributes.k[0][2] == 50"),
    ];
    let report = filter(input.path(), output.path(), &rules, 1, &()).unwrap();
    assert_eq!(ids(output.path()), ["d4"]);
    let dropped: Vec<_> =
        report.rules.iter().map(|rule| (rule.dropped.documents, rule.dropped.bytes, rule.alone.documents)).collect();
    assert_eq!(dropped, [(2, 3, 0), (4, 10, 2), (1, 6, 1)]);
    assert_eq!(report.overlaps, [[2, 2, 0], [2, 4, 0], [0, 0, 1]]);
    let examples: Vec<_> = report.rules.iter().map(|rule| rule.examples[0].id.as_str()).collect();
    assert_eq!(examples, ["d0", "d2", "d5"], "those that only it dropped come first");
    let page = report.markdown();
    assert!(
        page.contains("1 of 6 documents stay") && page.contains("| low | 4 | 10 | 2 | 7 |") && page.contains("`d2`: xxx"),
        "{page}"
    );
}

#[test]
fn attributes_that_never_occur_are_told() {
    let (input, output) = (write(&scored(3)), tempfile::tempdir().unwrap());
    let rules = [
        expression("typo", Sense::Drop, "$.attributes[?(@.kk && @.kk[0][2] > 0)]"),
        expression("fine", Sense::Drop, ".attributes.k[0][2] > 100 or (.attributes[\"q\"] // [] | length > 0)"),
    ];
    let report = filter(input.path(), output.path(), &rules, 0, &()).unwrap();
    assert_eq!(
        (report.rules[0].absent.as_slice(), report.rules[1].absent.as_slice()),
        (&["kk".to_owned()][..], &["q".to_owned()][..])
    );
    assert_eq!((report.kept.documents, report.present.as_slice()), (3, &["k".to_owned()][..]));
    assert!(report.markdown().contains("`typo` names attributes that no document has: `kk`"));
}

#[test]
fn truth_is_dolmas() {
    let line = serde_json::to_vec(&scored(2)[1]).unwrap();
    let all = |program: &str| Expression::parse(&format!("jq:{program}")).unwrap().holds(&line).unwrap();
    let any = |program: &str| Expression::parse(&format!("jq:{program}")).unwrap().any(&line).unwrap();
    assert!(all(".attributes.k") && all("1") && all("\"a\"") && all("{a: 1}") && all("true, 1"));
    assert!(!all("empty") && !all("0") && !all("\"\"") && !all("[]") && !all("null") && !all("true, 0"));
    assert!(any("false, 1") && !any("empty") && !any("0, null"));
    assert!(Expression::parse("jq:.a |").is_err() && Expression::parse(".a | nosuch").unwrap_err().contains("nosuch"));
}

#[test]
fn kept_documents_keep_their_bytes_whatever_the_threads() {
    let input = write(&scored(40));
    let run = |count| {
        let output = tempfile::tempdir().unwrap();
        let rules = [
            expression("low", Sense::Drop, "$.attributes[?(@.k[0][2] < 50)]"),
            function("odd", |document| Ok(document.text.len() % 2 == 1)),
        ];
        let report = threads(count, || filter(input.path(), output.path(), &rules, 3, &())).unwrap();
        (report, snapshot(output.path()))
    };
    assert_eq!(run(1), run(4));
    let expected: Vec<Document> =
        scored(40).into_iter().filter(|document| document.text.len() % 2 == 1 && document.text.len() > 5).collect();
    let output = write(&expected);
    assert_eq!(run(2).1, snapshot(output.path()));
}

#[test]
fn edits_texts_and_drops_empty_ones() {
    let (input, output) = (write(&documents(&["keep", "x", " X"])), tempfile::tempdir().unwrap());
    let report = map(input.path(), output.path(), &|document| Ok(document.text.replace('x', "")), &()).unwrap();
    assert_eq!(read(output.path()).into_iter().map(|document| document.text).collect::<Vec<_>>(), ["keep", " X"]);
    assert_eq!((report.changed, report.kept.documents), (1, 2));
}

struct Stopped;
impl Observer for Stopped {
    fn should_stop(&self) -> bool {
        true
    }
}

#[test]
fn stops_when_asked() {
    let (input, output) = (write(&documents(&["a"])), tempfile::tempdir().unwrap());
    assert!(matches!(
        filter(input.path(), output.path(), &[function("all", |_| Ok(true))], 0, &Stopped),
        Err(DataError::Cancelled)
    ));
}
