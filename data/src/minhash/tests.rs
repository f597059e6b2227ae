//! Agreement with datatrove, the curve of chances, and what MinHash promises whatever the threads and the files.

use super::*;
use crate::hash::choice;
use crate::testing::{documents, read, snapshot, threads, write};
use std::collections::BTreeSet;

fn run(corpus: &[Document], params: &MinHashParams) -> (Vec<Document>, MinHashReport) {
    let (input, output) = (write(corpus), tempfile::tempdir().unwrap());
    let report = minhash(input.path(), output.path(), params, &()).unwrap();
    (read(output.path()), report)
}

fn ids(found: &[Document]) -> Vec<&str> {
    found.iter().map(|document| document.id.as_str()).collect()
}

/// Sentences of words drawn by a seed.
fn prose(seed: u64, words: u64) -> String {
    let letter = |number: u64| char::from(b'a' + (number % 16) as u8);
    let word = |number: u64| [letter(number), letter(number >> 4), letter(number >> 8), ' '];
    (0..words).flat_map(|i| word(choice("prose", seed, &[&i.to_le_bytes()]))).collect()
}

#[test]
fn signatures_are_datatroves() {
    #[derive(serde::Deserialize)]
    struct Golden {
        id: String,
        n_words: usize,
        sig: Option<Vec<Vec<String>>>,
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut texts = BTreeMap::new();
    for set in ["edge", "sample"] {
        let dir = fixtures.join(format!("dolma/documents/{set}.jsonl.gz"));
        for batch in crate::document::read_documents(&dir).unwrap() {
            texts.extend(batch.unwrap().documents.into_iter().map(|document| (document.id, document.text)));
        }
    }
    let file = fs_err::File::open(fixtures.join("datatrove/minhash.jsonl.gz")).unwrap();
    let mut rows = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut rows).unwrap();
    let hashes = Hashes::new(&MinHashParams::datatrove());
    let (mut compared, mut wrong) = (0, Vec::new());
    for row in rows.lines() {
        let golden: Golden = serde_json::from_str(row).unwrap();
        let text = &texts[&golden.id];
        let bands = golden.sig.map(|bands| bands.concat());
        let expected = bands.map(|values| values.iter().map(|value| value.parse::<u64>().unwrap()).collect::<Vec<_>>());
        compared += 1;
        // The golden file holds the first bands.
        let ours = hashes.signature(text).map(|all| all[..expected.as_ref().map_or(0, Vec::len)].to_vec());
        if ours != expected {
            let words = datatrove::words(&datatrove::simplify(text));
            wrong.push(format!("{}: {} words, datatrove {}", golden.id, words.split(' ').count(), golden.n_words));
        }
    }
    assert_eq!(compared, 66);
    assert!(wrong.is_empty(), "{} of {compared}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn one_of_each_cluster_stays() {
    let base = prose(1, 200);
    let corpus = documents(&[&prose(2, 200), &base, &format!("{base} one more"), "short", &prose(3, 200), &base, "short"]);
    let (found, report) = run(&corpus, &MinHashParams::standard());
    assert_eq!(ids(&found), ["d0", "d1", "d3", "d4"]);
    assert_eq!((report.clusters, report.duplicates, report.largest, report.candidates), (2, 3, 3, 5));
    let (found, _) = run(&corpus, &MinHashParams { keep: Survivor::Longest, ..MinHashParams::standard() });
    assert_eq!(ids(&found), ["d0", "d2", "d3", "d4"]);
    let (found, report) = run(&corpus, &MinHashParams::datatrove());
    assert_eq!((found.len(), report.uncompared), (5, 2), "datatrove never compares short texts");
}

#[test]
fn a_field_chooses_what_stays() {
    let mut corpus = documents(&[&prose(1, 60), &prose(1, 60), &prose(1, 60), &prose(1, 60)]);
    for (document, date) in corpus.iter_mut().zip(["2023-05-01", "2024-01-31", "2020-12-12"]) {
        document.metadata.insert("date".into(), date.into());
    }
    let params = |keep| MinHashParams { keep, ..MinHashParams::standard() };
    assert_eq!(ids(&run(&corpus, &params(Survivor::Highest("metadata.date".into()))).0), ["d1"]);
    assert_eq!(ids(&run(&corpus, &params(Survivor::Lowest("metadata.date".into()))).0), ["d2"]);
    let (input, output) = (write(&corpus), tempfile::tempdir().unwrap());
    let error = minhash(input.path(), output.path(), &params(Survivor::Highest("metadata.day".into())), &()).unwrap_err();
    assert!(error.to_string().contains("no document has the field `metadata.day`"));
}

#[test]
fn a_check_parts_what_only_met_by_chance() {
    // Half of the words shared: with one row nearly every pair meets.
    let half = |seed| format!("{} {}", prose(9, 100), prose(seed, 100));
    let corpus = documents(&[&half(1), &half(2), &half(3), &half(1)]);
    let loose = MinHashParams { bands: 60, rows: 1, ..MinHashParams::standard() };
    assert_eq!(run(&corpus, &loose).0.len(), 1);
    let (found, report) = run(&corpus, &MinHashParams { check: Some(0.8), ..loose });
    assert_eq!(ids(&found), ["d0", "d1", "d2"]);
    assert_eq!((report.candidates, report.clusters), (4, 1));
}

#[test]
fn annotations_say_cluster_size_and_which_goes() {
    let corpus = documents(&[&prose(1, 60), &prose(2, 60), &prose(1, 60)]);
    let (found, report) = run(&corpus, &MinHashParams { action: Action::Annotate, ..MinHashParams::standard() });
    assert_eq!((found.len(), report.duplicates), (3, 1));
    let score =
        |index: usize, name: &str| found[index].attributes.get(&format!("minhash__minhash__{name}")).map(|spans| spans[0].score);
    assert_eq!([0, 2].map(|index| score(index, "cluster_size")), [Some(2.0); 2]);
    assert_eq!([0, 1, 2].map(|index| score(index, "duplicate")), [None, None, Some(1.0)]);
    assert!(found[1].attributes.is_empty());
}

#[test]
fn pairs_meet_as_often_as_the_curve_says() {
    for (bands, rows) in [(14, 8), (26, 11), (20, 5)] {
        let params = MinHashParams { bands, rows, ngram: 1, ..MinHashParams::standard() };
        let hashes = Hashes::new(&params);
        for similarity in [0.6, 0.7, 0.8] {
            // 300 pairs of sets of 100 words, of which `both` are shared.
            let both = (200.0 * similarity / (1.0 + similarity)) as u64;
            let truth = both as f64 / (200 - both) as f64;
            let set = |pair: u64, side: u64| -> String {
                let word = |i: u64| if i < both { format!("p{pair}w{i} ") } else { format!("p{pair}s{side}w{i} ") };
                (0..100).map(word).collect()
            };
            let met = (0..300).filter(|&pair| {
                let [a, b] = [0, 1].map(|side| hashes.bands(&set(pair, side)).unwrap());
                a.iter().zip(&b).any(|(a, b)| a == b)
            });
            let (share, chance) = (met.count() as f64 / 300.0, params.chance(truth));
            let error = (chance * (1.0 - chance) / 300.0).sqrt();
            assert!((share - chance).abs() < 4.0 * error + 0.01, "{bands}x{rows} at {truth}: {share} met, {chance} expected");
        }
    }
    let chance = |params: MinHashParams, at: f64| (params.chance(at) * 100.0).round() / 100.0;
    assert_eq!([0.5, 0.6, 0.7, 0.8].map(|at| chance(MinHashParams::datatrove(), at)), [0.05, 0.21, 0.56, 0.92]);
    assert_eq!([0.6, 0.7, 0.75, 0.8].map(|at| chance(MinHashParams::olmo3(), at)), [0.09, 0.41, 0.67, 0.9]);
}

#[test]
fn the_same_for_any_threads_and_files() {
    let texts: Vec<String> = (0..80).map(|i| format!("{} tail {}", prose(i % 17, 80), i % 3)).collect();
    let corpus = documents(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let (whole, parts) = (write(&corpus), tempfile::tempdir().unwrap());
    for (index, chunk) in corpus.chunks(13).enumerate() {
        let lines: String = chunk.iter().map(|document| serde_json::to_string(document).unwrap() + "\n").collect();
        fs_err::write(parts.path().join(format!("{index:02}.jsonl")), lines).unwrap();
    }
    for params in [MinHashParams::standard(), MinHashParams::olmo3(), MinHashParams::datatrove()] {
        let outcome = |input: &Path, count| {
            let output = tempfile::tempdir().unwrap();
            let report = threads(count, || minhash(input, output.path(), &params, &())).unwrap();
            (report, snapshot(output.path()))
        };
        let one = outcome(whole.path(), 1);
        assert_eq!(one.0.kept.documents, 17);
        assert!(
            [(whole.path(), 4), (parts.path(), 1), (parts.path(), 2)].iter().all(|(input, count)| outcome(input, *count) == one)
        );
    }
    let distinct: BTreeSet<&String> = texts.iter().collect();
    assert!(distinct.len() > 17);
}

#[test]
fn parameters_are_checked() {
    let (input, output) = (write(&[]), tempfile::tempdir().unwrap());
    let error = |params: MinHashParams| minhash(input.path(), output.path(), &params, &()).unwrap_err().to_string();
    assert!(error(MinHashParams { bands: 0, ..MinHashParams::standard() }).contains("at least 1"));
    assert!(error(MinHashParams { bands: 26, ..MinHashParams::datatrove() }).contains("112"));
    assert!(error(MinHashParams { check: Some(1.5), ..MinHashParams::standard() }).contains("between 0 and 1"));
}
