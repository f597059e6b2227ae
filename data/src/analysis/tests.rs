//! Tests of whole analyses: exactness against counting by hand, and bytes that depend on the corpus alone.

use super::*;
use crate::document::Document;
use crate::testing::{snapshot, threads, write};
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation;

fn corpus() -> Vec<Document> {
    let words = ["the", "cat", "sat", "on", "a", "mat", "été", "2.5", "x_1", "日本", "internationalisation", "."];
    let mut state = 7u64;
    let mut documents: Vec<Document> = (0..300)
        .map(|i| {
            let length = (i * 7) % 40;
            let text: Vec<&str> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11);
                    words[((state >> 40) % 100).min(11) as usize]
                })
                .collect();
            let mut document = Document::new(format!("d{i}"), text.join(" "), "s");
            document.created = format!("{}-01-01", 2000 + i % 3);
            document.metadata.insert("url".into(), format!("https://www.site{}.co.uk/p{}.HTML", i % 5, i % 250).into());
            document
        })
        .collect();
    documents[17].text = documents[9].text.clone();
    documents
}

fn run(documents: &[Document], analyses: &[&str], change: impl FnOnce(&mut AnalysisParams)) -> (Analysis, tempfile::TempDir) {
    let (input, output, scratch) = (write(documents), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut params = AnalysisParams::new(analyses);
    change(&mut params);
    let analysis = analyze(&[input.path()], &params, scratch.path(), output.path(), &()).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    (analysis, output)
}

fn table<'a>(analysis: &'a Analysis, name: &str) -> &'a Table {
    analysis.tables.iter().find(|table| table.name == name).unwrap()
}

fn split(text: &str) -> Vec<&str> {
    text.split_word_bounds().filter(|word| !word.trim().is_empty()).collect()
}

#[test]
fn ngrams_are_exact() {
    let documents = corpus();
    let (analysis, output) = run(&documents, &["common_ngrams", "rare_ngrams"], |params| params.ngrams = vec![1, 2, 3, 5, 10]);
    for (row, n) in table(&analysis, "unique_ngrams").rows.iter().zip([1u64, 2, 3, 5, 10]) {
        let mut counts: HashMap<Vec<&str>, u64> = HashMap::new();
        for document in &documents {
            split(&document.text).windows(n as usize).for_each(|ngram| *counts.entry(ngram.to_vec()).or_default() += 1);
        }
        let once = counts.values().filter(|&&count| count == 1).count() as u64;
        assert_eq!(row, &[n, counts.values().sum(), counts.len() as u64, once].map(Cell::Count).to_vec());
        let file = std::fs::read_to_string(output.path().join(format!("common_{n}grams.jsonl"))).unwrap();
        assert_eq!(file.lines().count(), counts.len().min(10_000));
        let mut last = u64::MAX;
        for line in file.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let tokens: Vec<&str> = row["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
            assert_eq!(row["count"].as_u64(), Some(counts[&tokens]));
            assert!(counts[&tokens] <= last);
            last = counts[&tokens];
        }
    }
}

#[test]
fn the_bytes_depend_on_the_corpus_alone() {
    let documents = corpus();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let countries = file("countries.csv", "site1.co.uk,GB\nuk,XX\n");
    let lexicon = file("lexicon.csv", "mat,thing\nthe cat,beast\n");
    let benchmark = file("bench.jsonl", "{\"q\":\"cat sat\",\"a\":\"été\"}\n{\"q\":\"cat sat\",\"a\":\"zebra\"}\n");
    let of = |workers, memory| {
        let change = |params: &mut AnalysisParams| {
            params.memory = memory;
            params.countries = Some(countries.clone());
            params.toxic_lexicon = Some(lexicon.clone());
            params.toxic_attributes = vec!["toxic".into()];
            params.benchmarks = vec![Benchmark { name: "b".into(), path: benchmark.clone() }];
        };
        threads(workers, || snapshot(run(&documents, ANALYSES, change).1.path()))
    };
    let whole = of(1, 1 << 30);
    assert!(whole.len() > 35, "{}", whole.len());
    for (workers, memory) in [(2, 1 << 30), (3, 256), (1, 0)] {
        assert!(of(workers, memory) == whole, "{workers} threads, {memory} bytes");
    }
}

#[test]
fn sites_dates_and_copies() {
    let (analysis, _) =
        run(&corpus(), &["summary", "domains", "schemes", "suffixes", "extensions", "dates", "duplicates"], |_| ());
    let rows = |name: &str| table(&analysis, name).rows.clone();
    assert_eq!(rows("domains").len(), 5);
    assert_eq!(rows("domains")[0][..2], ["www.site0.co.uk".into(), Cell::Count(60)]);
    assert_eq!(rows("suffixes")[0][..2], ["co.uk".into(), Cell::Count(300)]);
    assert_eq!(rows("extensions")[0][..2], ["html".into(), Cell::Count(300)]);
    assert_eq!(rows("schemes")[0][..2], ["https".into(), Cell::Count(300)]);
    assert_eq!(
        rows("dates").iter().map(|row| row[0].clone()).collect::<Vec<_>>(),
        ["2000".into(), "2001".into(), Cell::from("2002")]
    );
    assert_eq!(rows("summary")[0][1], Cell::Count(300));
    let documents = corpus();
    let mut copies: HashMap<&str, u64> = HashMap::new();
    documents.iter().for_each(|document| *copies.entry(&document.text).or_default() += 1);
    let repeated: Vec<u64> = copies.values().copied().filter(|&count| count > 1).collect();
    let counts: Vec<Cell> = rows("duplicates_text").into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(counts, [repeated.iter().sum(), 300, repeated.len() as u64, copies.len() as u64].map(Cell::Count));
    for row in rows("duplicates_text_clusters") {
        let [Cell::Count(count), Cell::Text(place), Cell::Text(text)] = &row[..] else { panic!("{row:?}") };
        assert_eq!(copies[text.as_str()], *count);
        let first = documents.iter().position(|document| document.text == *text).unwrap();
        assert_eq!(*place, format!("part-00000.jsonl.zst:{}", first + 1));
    }
    assert!(rows("duplicates_text_clusters").iter().any(|row| row[1] == "part-00000.jsonl.zst:10".into()));
    assert_eq!(
        rows("duplicates_url").into_iter().map(|row| row[1].clone()).collect::<Vec<_>>(),
        [100, 300, 50, 250].map(Cell::Count)
    );
}

#[test]
fn unknown_names_are_told() {
    let error = AnalysisParams::new(&["sumary"]).check().unwrap_err().to_string();
    assert!(error.contains("`sumary`") && error.contains("duplicates"), "{error}");
    assert!(AnalysisParams::new(&["geolocation"]).check().unwrap_err().to_string().contains("host,country"));
}
