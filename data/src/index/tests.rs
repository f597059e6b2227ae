//! Tests of indexes: every answer against counting by hand, and bytes that depend on the corpus alone.

use super::*;
use crate::document::Document;
use crate::shard::tokenize;
use crate::testing::{snapshot, threads, write};
use crate::tokenizer::{TokenizerParams, train_tokenizer};
use proptest::prelude::*;
use std::collections::HashMap;
use tempfile::TempDir;

fn documents(count: usize, seed: u64) -> Vec<Document> {
    let words = ["the", "cat", "sat", "on", "a", "mat.", "Été", "x_1", "Don't", "stop"];
    let mut state = seed;
    (0..count)
        .map(|i| {
            let mut text = String::new();
            for _ in 0..(i * 5) % 17 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(words[(state >> 33) as usize % words.len()]);
                text.push(if state >> 60 == 0 { '\n' } else { ' ' });
            }
            let mut document = Document::new(format!("d{i}"), text, "s");
            document.metadata.insert("license".into(), ["MIT", "CC0"][i % 2].into());
            document
        })
        .collect()
}

fn build(documents: &[Document], unit: Unit, part_symbols: u64) -> (TempDir, Index) {
    let (input, output, scratch) = (write(documents), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokenizer = (unit == Unit::Tokens).then(|| train_tokenizer(&[input.path()], &TokenizerParams::new(270), &()).unwrap());
    let params = IndexParams { unit, part_symbols };
    build_index(&[input.path()], tokenizer.as_ref(), params, (output.path(), scratch.path()), &()).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    let index = Index::open(output.path()).unwrap();
    (output, index)
}

/// The symbols of every document.
fn symbols(index: &Index) -> Vec<Vec<u32>> {
    (0..index.meta().documents)
        .map(|document| index.document_range(document))
        .map(|range| index.symbols.range(range.start..range.end - 1))
        .collect()
}

const UNITS: [Unit; 4] = [Unit::Bytes, Unit::Words, Unit::Folded, Unit::Tokens];

#[test]
fn the_bytes_do_not_depend_on_parts_and_threads() {
    for unit in UNITS {
        let of = |workers, part| threads(workers, || snapshot(build(&documents(60, 3), unit, part).0.path()));
        let whole = of(1, 0);
        for (workers, part) in [(2, 0), (1, 50), (2, 7), (3, 400)] {
            assert!(of(workers, part) == whole, "{unit:?}: {workers} threads, parts of {part}");
        }
    }
}

#[test]
fn texts_come_back() {
    let documents = documents(40, 5);
    for unit in UNITS {
        let (_dir, index) = build(&documents, unit, 90);
        for (number, document) in documents.iter().enumerate() {
            assert_eq!(index.text(number as u64).unwrap(), document.text, "{unit:?}");
            assert_eq!(index.stored(number as u64).unwrap().id, document.id);
            assert_eq!(index.stored(number as u64).unwrap().licence(), Some(["MIT", "CC0"][number % 2]));
        }
        assert_eq!(index.document_with_id("d7").unwrap(), Some(7));
        assert!(index.stored(40).unwrap_err().to_string().contains("the index has 40"));
    }
}

#[test]
fn phrases_are_counted_as_text() {
    let documents = documents(80, 9);
    let (_dir, index) = build(&documents, Unit::Bytes, 0);
    for phrase in ["the cat", "at", "mat.\n", "é", "x_1 x_1", "nowhere"] {
        let expected: usize = documents
            .iter()
            .map(|document| {
                (0..document.text.len()).filter(|&at| document.text.as_bytes()[at..].starts_with(phrase.as_bytes())).count()
            })
            .sum();
        assert_eq!(index.count(&index.encode(phrase).unwrap().unwrap()), expected as u64, "{phrase}");
    }
    let (_dir, index) = build(&documents, Unit::Folded, 0);
    let folded = |phrase: &str| index.encode(phrase).unwrap().map(|symbols| index.count(&symbols));
    assert_eq!((folded("THE, Cat!"), folded("zebra")), (folded("the cat"), None));
    assert!(folded("été").unwrap() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn answers_are_those_of_brute_force(seed in any::<u64>(), unit in 0usize..4, part in 0u64..200, picks in proptest::collection::vec((any::<u16>(), 0usize..6, any::<bool>()), 12)) {
        let (_dir, index) = build(&documents(50, seed), UNITS[unit], part);
        let corpus = symbols(&index);
        let all: Vec<u32> = corpus.concat();
        for (start, length, spoil) in picks {
            let start = start as usize % all.len();
            let mut phrase = all[start..(start + length).min(all.len())].to_vec();
            if spoil && !phrase.is_empty() {
                phrase[0] = all[0];
            }
            // Counts, positions and what follows.
            let mut next: HashMap<u32, u64> = HashMap::new();
            let mut places = Vec::new();
            let mut base = 0;
            for document in &corpus {
                let ended = [document.as_slice(), &[0]].concat();
                for at in 0..ended.len() {
                    let rest = &ended[at..];
                    if rest.starts_with(&phrase) {
                        places.push(base + at as u64);
                        if let Some(&symbol) = rest.get(phrase.len()) {
                            *next.entry(symbol).or_default() += 1;
                        }
                    }
                }
                base += ended.len() as u64;
            }
            prop_assert_eq!(index.count(&phrase), places.len() as u64);
            prop_assert_eq!(index.positions(index.find(&phrase), usize::MAX), places.clone());
            prop_assert_eq!(index.positions(index.find(&phrase), 3), places[..places.len().min(3)].to_vec());
            let mut expected: Vec<NextToken> = next.into_iter().map(|(symbol, count)| NextToken { symbol, count }).collect();
            expected.sort_by(|a, b| b.count.cmp(&a.count).then(a.symbol.cmp(&b.symbol)));
            prop_assert_eq!(index.next(&phrase), expected);
            let stands = |phrase: &[u32]| phrase.is_empty() || corpus.iter().any(|document| document.windows(phrase.len()).any(|window| window == phrase));
            let longest = (0..=phrase.len()).find(|&from| stands(&phrase[from..])).unwrap();
            prop_assert_eq!(index.longest_suffix(&phrase), &phrase[longest..]);
            let prefix = (0..=phrase.len()).rev().find(|&to| stands(&phrase[..to])).unwrap();
            prop_assert_eq!(index.longest_prefix(&phrase), prefix);
        }
    }
}

#[test]
fn clauses_are_all_met() {
    let texts = ["red fox and blue hen", "red hen", "blue fox far away from any red thing", "green"];
    let documents: Vec<Document> = texts.iter().enumerate().map(|(i, text)| Document::new(format!("{i}"), *text, "s")).collect();
    let (_dir, index) = build(&documents, Unit::Words, 0);
    let ask = |clauses: &[&[&str]], within| {
        let clauses = clauses.iter().map(|clause| clause.iter().map(|&text| text.to_owned()).collect()).collect();
        let hits = index.phrases(&PhraseQuery { clauses, within, most: 1000 }).unwrap();
        assert!(!hits.approximate);
        hits.documents.into_keys().collect::<Vec<u64>>()
    };
    assert_eq!(ask(&[&["red"], &["fox"]], None), [0, 2]);
    assert_eq!(ask(&[&["red"], &["fox"]], Some(2)), [0]);
    assert_eq!(ask(&[&["fox", "hen"], &["red"]], Some(1)), [0, 1]);
    assert_eq!(ask(&[&["red hen", "green"]], None), [1, 3]);
    assert_eq!(ask(&[&["purple"], &["red"]], None), Vec::<u64>::new());
    let error = index.phrases(&PhraseQuery { clauses: vec![vec![" ".into()]], within: None, most: 9 }).unwrap_err();
    assert!(error.to_string().contains("nothing that could be found"));
}

#[test]
fn an_index_of_tokens_has_the_positions_of_the_tokens() {
    let mut documents = documents(30, 21);
    documents[4].id = "odd, \"id\"\nline".into();
    documents.iter_mut().enumerate().for_each(|(i, document)| document.source = ["b", "a"][i % 2].into());
    let (input, tokens, output) = (write(&documents), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokenizer = train_tokenizer(&[input.path()], &TokenizerParams::new(270), &()).unwrap();
    let progress = tempfile::tempdir().unwrap();
    let options = crate::shard::TokenizeOptions::default();
    tokenize(&[input.path()], None, &tokenizer, options, tokens.path(), progress.path(), &()).unwrap();
    let params = IndexParams { unit: Unit::Tokens, part_symbols: 0 };
    build_index_of_tokens(tokens.path(), &tokenizer, &[input.path()], params, (output.path(), input.path()), &()).unwrap();
    let index = Index::open(output.path()).unwrap();
    let files = crate::shard::TokenFiles::open(tokens.path()).unwrap();
    assert_eq!(index.meta().symbols, files.len());
    for position in 0..files.len() {
        let id = files.tokens(position..position + 1).unwrap()[0];
        assert_eq!(index.symbols.at(position), if id == tokenizer.eos() { 0 } else { id + 1 });
    }
    let document = index.document_with_id(&documents[4].id).unwrap().unwrap();
    assert_eq!(index.text(document).unwrap(), documents[4].text);
    assert_eq!(index.stored(document).unwrap().licence(), Some("MIT"));
}

#[test]
fn snippets_stay_in_their_document() {
    let documents = [Document::new("0", "one two  three four", "s"), Document::new("1", "five", "s")];
    for unit in [Unit::Words, Unit::Bytes] {
        let (_dir, index) = build(&documents, unit, 0);
        let phrase = index.encode("two  three").unwrap().unwrap();
        let position = index.position(index.find(&phrase).start);
        let snippet = index.snippet(position, phrase.len() as u64, 100).unwrap();
        assert_eq!((snippet.before.as_str(), snippet.hit.as_str(), snippet.after.as_str()), ("one ", "two  three", " four"));
    }
}

#[test]
fn spans_are_traced_to_their_documents() {
    let mut documents = documents(20, 33);
    documents.push(Document::new("fox", "We know that the quick brown fox jumps over the lazy dog. It sleeps.", "tales"));
    documents.push(Document::new("dog", "the lazy dog sat there all day long and barked", "tales"));
    documents[20].metadata.insert("license".into(), "CC-BY-4.0".into());
    for unit in UNITS {
        let (_dir, index) = build(&documents, unit, 0);
        let text = "I saw the quick brown fox jumps over the lazy dog. It sleeps nowhere; the lazy dog sat there all zz";
        let mut params = TraceParams::new(unit);
        params.keep = 1.0;
        let trace = trace(&index, text, "", params).unwrap();
        let mut texts: Vec<&str> = trace.spans.iter().map(|span| span.text.trim()).collect();
        texts.sort_unstable();
        assert!(texts.contains(&"the quick brown fox jumps over the lazy dog.") || unit == Unit::Folded, "{unit:?}: {texts:?}");
        // A document begins with it there: its first token has no space before it and is another one.
        assert!(texts.iter().any(|text| text.ends_with("lazy dog sat there all")), "{unit:?}: {texts:?}");
        assert!(texts.iter().all(|text| !text.contains("dog. It")), "{unit:?}: {texts:?}");
        let fox = trace.documents.iter().find(|document| document.id == "fox").unwrap();
        assert_eq!((fox.licence.as_deref(), fox.source.as_str()), (Some("CC-BY-4.0"), "tales"));
        assert!(trace.stretches.len() >= 2 && trace.documents.iter().any(|document| document.id == "dog"));
        for span in &trace.spans {
            assert_eq!(&text[span.bytes.clone()], span.text);
        }
    }
}
