//! Several corpora side by side: what they have in common, text for text and address for address, and how alike their n-grams are.
//! Knows each corpus by hashes and counts.

use super::duplicates::{Compared, Entry, entry};
use super::ngrams::{Question, count};
use super::records::{Fields, for_each_piece};
use super::sequence::{BETWEEN, Sequence, SequenceWriter};
use super::spill::Sorter;
use super::table::{Analysis, Cell, Plot, Table};
use super::vocabulary::{Lookup, NEW, Vocabulary};
use super::words::for_each_word;
use crate::error::DataError;
use crate::observe::Observer;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How corpora are compared.
#[derive(Clone, Debug)]
pub struct CompareParams {
    /// Lengths of n-grams.
    pub ngrams: Vec<usize>,
    /// The most common n-grams of each corpus that are compared.
    pub top: usize,
    /// Metadata field with the address of a document.
    pub url_field: String,
    /// Bytes that hashes, word sequences and tables may take, each.
    pub memory: usize,
}

impl CompareParams {
    /// The 10,000 most common 1-, 2-, 3-, 5- and 10-grams.
    pub fn new() -> CompareParams {
        CompareParams { ngrams: vec![1, 2, 3, 5, 10], top: 10_000, url_field: "url".to_owned(), memory: 1 << 30 }
    }
}

impl Default for CompareParams {
    fn default() -> Self {
        CompareParams::new()
    }
}

/// A hash, and which corpus holds it.
type Held = [u8; 17];

/// Common n-grams and their share of all n-grams, by their words.
type Shares = HashMap<Vec<String>, f64>;

/// Compares named corpora, each some directories of documents, into `output`.
pub fn compare(
    corpora: &[(String, Vec<&Path>)],
    params: &CompareParams,
    (output, scratch): (&Path, &Path),
    observer: &dyn Observer,
) -> Result<Analysis, DataError> {
    if corpora.len() < 2 || corpora.len() > 255 {
        return Err(DataError::Params(format!("{} corpora are given; 2 to 255 can be compared", corpora.len())));
    }
    if params.ngrams.contains(&0) {
        return Err(DataError::Params("an n-gram has one word at least".to_owned()));
    }
    let mut held: [Sorter<17>; 2] = [Sorter::new(scratch, params.memory), Sorter::new(scratch, params.memory)];
    let mut shares: Vec<Vec<Shares>> = Vec::new();
    for (number, (_, inputs)) in corpora.iter().enumerate() {
        let words = read(inputs, number as u8, params, scratch, &mut held, observer)?;
        let mut of_corpus = Vec::new();
        for &n in &params.ngrams {
            let found = count(&words.1, Question { n, common: params.top, rare: 0, budget: params.memory });
            let share = |ngram: &super::ngrams::Ngram| {
                let first = ngram.first as usize;
                let words: Vec<String> = words.1[first..first + n].iter().map(|&id| words.0.text(id).to_owned()).collect();
                (words, ngram.count as f64 / found.total as f64)
            };
            of_corpus.push(found.common.iter().map(share).collect());
        }
        shares.push(of_corpus);
    }
    let names: Vec<&str> = corpora.iter().map(|(name, _)| name.as_str()).collect();
    let mut tables = Vec::new();
    let [texts, urls] = held;
    tables.extend(overlap(&names, texts, "text", "texts")?);
    tables.extend(overlap(&names, urls, "url", "addresses")?);
    for (index, n) in params.ngrams.iter().enumerate() {
        tables.extend(similarity(&names, *n, params.top, |corpus| &shares[corpus][index]));
    }
    Analysis { tables }.write(output)
}

/// What is made of consecutive documents.
struct Piece {
    lookup: Lookup,
    ids: Vec<u32>,
    entries: [Vec<Entry>; 2],
}

fn read(
    inputs: &[&Path],
    number: u8,
    params: &CompareParams,
    scratch: &Path,
    held: &mut [Sorter<17>; 2],
    observer: &dyn Observer,
) -> Result<(Arc<Vocabulary>, Sequence), DataError> {
    let shared = Mutex::new(Arc::new(Vocabulary::default()));
    let mut sequence = SequenceWriter::new(scratch, params.memory);
    let start = || Piece {
        lookup: Lookup::new(shared.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        ids: Vec::new(),
        entries: Default::default(),
    };
    for_each_piece(
        inputs,
        Fields::All,
        observer,
        start,
        |piece, record| {
            let Piece { lookup, ids, entries } = piece;
            let text = record.document.text.as_bytes();
            for_each_word(&record.document.text, |range| ids.push(lookup.id(&text[range])));
            ids.push(BETWEEN);
            for (made, compared) in entries.iter_mut().zip([Compared::Text, Compared::Url]) {
                made.extend(entry(record, compared, &params.url_field));
            }
        },
        |pieces| {
            let mut rest = Vec::new();
            for Piece { lookup, ids, entries } in pieces {
                rest.push((lookup.local, ids, entries));
            }
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let vocabulary = Arc::get_mut(&mut shared).expect("the pieces have let go of it");
            for (local, mut ids, entries) in rest {
                let map = vocabulary.take(&local);
                for id in ids.iter_mut().filter(|id| **id >= NEW && **id != BETWEEN) {
                    *id = map[(*id & !NEW) as usize];
                }
                sequence.extend(&ids)?;
                for (sorter, found) in held.iter_mut().zip(entries) {
                    for entry in found {
                        let mut record: Held = [number; 17];
                        record[..16].copy_from_slice(&entry[..16]);
                        sorter.push(record)?;
                    }
                }
            }
            Ok(())
        },
    )?;
    let vocabulary = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((vocabulary, sequence.finish()?))
}

/// A square table: its rows and columns are the corpora.
fn square(name: &str, title: &str, names: &[&str], cell: impl Fn(usize, usize) -> Cell) -> Table {
    let columns: Vec<&str> = [""].iter().chain(names).copied().collect();
    let rows = names.iter().enumerate().map(|(row, name)| {
        let cells = (0..names.len()).map(|column| cell(row, column));
        [Cell::from(*name)].into_iter().chain(cells).collect()
    });
    let mut table = Table::new(name, title, &columns).plot(Plot::Matrix).rows(rows);
    table.columns[0] = "corpus".to_owned();
    table
}

fn overlap(names: &[&str], held: Sorter<17>, name: &str, what: &str) -> Result<Vec<Table>, DataError> {
    let n = names.len();
    let mut common = vec![vec![0u64; n]; n];
    let mut close = |corpora: &[usize]| {
        for &one in corpora {
            corpora.iter().for_each(|&other| common[one][other] += 1);
        }
    };
    let mut open: Option<[u8; 16]> = None;
    let mut corpora: Vec<usize> = Vec::new();
    held.for_each(|record| {
        let (hash, corpus): ([u8; 16], usize) = (record[..16].try_into().expect("sixteen bytes"), usize::from(record[16]));
        if open != Some(hash) {
            close(&corpora);
            corpora.clear();
            open = Some(hash);
        }
        if corpora.last() != Some(&corpus) {
            corpora.push(corpus);
        }
        Ok(())
    })?;
    close(&corpora);
    let share = |row: usize, column: usize| {
        Cell::Number((1e4 * common[row][column] as f64 / common[row][row].max(1) as f64).round() / 100.0)
    };
    Ok(vec![
        square(&format!("overlap_{name}"), &format!("Distinct {what} in common"), names, |row, column| {
            common[row][column].into()
        })
        .note("On the diagonal: the distinct ones of the corpus itself."),
        square(&format!("overlap_{name}_percent"), &format!("Share of the {what} of the row that the column has"), names, share)
            .note("In percent of the distinct ones of the row's corpus."),
    ])
}

fn similarity<'a>(names: &[&str], n: usize, top: usize, of: impl Fn(usize) -> &'a Shares) -> Vec<Table> {
    let pair = |row: usize, column: usize| {
        let (one, other) = (of(row), of(column));
        let mut words: Vec<&Vec<String>> = one.keys().chain(other.keys().filter(|words| !one.contains_key(*words))).collect();
        words.sort_unstable();
        (one, other, words)
    };
    let common = |row: usize, column: usize| {
        let (one, other, words) = pair(row, column);
        let both = one.keys().filter(|words| other.contains_key(*words)).count();
        Cell::Number((1e4 * both as f64 / words.len().max(1) as f64).round() / 1e4)
    };
    let similar = |row: usize, column: usize| {
        let (one, other, words) = pair(row, column);
        let (left, right): (f64, f64) = (one.values().sum(), other.values().sum());
        if left == 0.0 || right == 0.0 {
            return Cell::Number(0.0);
        }
        // In the order of the words, so that the sum has the same bits in any run.
        let (left, right): (f64, f64) = words.iter().fold((0.0, 0.0), |(left, right), words| {
            (left + one.get(*words).unwrap_or(&0.0), right + other.get(*words).unwrap_or(&0.0))
        });
        let divergence: f64 = words
            .iter()
            .map(|words| {
                let (p, q) = (one.get(*words).unwrap_or(&0.0) / left, other.get(*words).unwrap_or(&0.0) / right);
                let middle = f64::midpoint(p, q);
                let part = |x: f64| if x == 0.0 { 0.0 } else { x * (x / middle).log2() };
                f64::midpoint(part(p), part(q))
            })
            .sum();
        Cell::Number(((1.0 - divergence) * 1e4).round() / 1e4)
    };
    vec![
        square(&format!("common_{n}grams_shared"), &format!("Common {n}-grams: share in both lists"), names, common)
            .note(format!("Of the {top} most common of either corpus, those in both over those in any (Jaccard).")),
        square(&format!("common_{n}grams_similarity"), &format!("Common {n}-grams: similarity of their distributions"), names, similar)
            .note("One minus the Jensen-Shannon divergence in bits over these lists: 1 for the same distribution, 0 for none in common."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documents, threads, write};

    #[test]
    fn corpora_side_by_side() {
        let (one, other) = (write(&documents(&["a b c", "a b d", "a b c"])), write(&documents(&["a b c", "x y z"])));
        let corpora = [("one".to_owned(), vec![one.path()]), ("other".to_owned(), vec![other.path()])];
        let run = |memory, workers| {
            let (output, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let params = CompareParams { ngrams: vec![1, 2], memory, ..CompareParams::new() };
            threads(workers, || compare(&corpora, &params, (output.path(), scratch.path()), &()).unwrap())
        };
        let analysis = run(1 << 20, 1);
        assert_eq!(analysis, run(0, 2));
        let rows = |name: &str| analysis.tables.iter().find(|table| table.name == name).unwrap().rows.clone();
        let row = |name: &str, cells: [f64; 2]| [vec![name.into()], cells.map(Cell::Number).to_vec()].concat();
        assert_eq!(rows("overlap_text")[0], vec!["one".into(), Cell::Count(2), Cell::Count(1)]);
        assert_eq!(rows("overlap_text_percent"), [row("one", [100.0, 50.0]), row("other", [50.0, 100.0])]);
        // {a b c d} and {a b c x y z}.
        assert_eq!(rows("common_1grams_shared")[0], row("one", [1.0, 0.4286]));
        // Divergence: twice 0.0204 for a and b, 0.0029 for c, 0.0556 for d, three times 0.0833 for x, y and z.
        assert_eq!(rows("common_1grams_similarity")[0][2], Cell::Number(0.6507));
        assert_eq!(rows("common_1grams_similarity")[1][2], Cell::Number(1.0));
        assert_eq!(rows("overlap_url")[0], vec!["one".into(), Cell::Count(0), Cell::Count(0)]);
    }
}
