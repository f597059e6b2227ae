//! Near-duplicates of whole documents by MinHash (Broder 1997): documents whose sets of word n-grams are similar fall into the same
//! bucket of some band, and of each cluster one stays.
//! Knows texts, and the field that chooses the survivor; does not look inside documents for what they share.
//!
//! With `b` bands of `r` hashes, two documents of Jaccard similarity `s` meet with a chance of `1 − (1 − s^r)^b`. Clusters are the
//! connected components of what meets, so all but one of a chain of near-duplicates go. With a check, pairs must also reach a true
//! similarity. The outcome does not depend on the number of threads or files.
//!
//! Held in memory: 8 bytes per document and band, and with a check the n-gram hashes (8 bytes each) of documents that meet another.

mod cluster;
mod datatrove;
mod signature;

use crate::dedup::{changed, field, whole};
use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use cluster::{Forest, buckets, join};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use signature::Hashes;
use std::collections::BTreeMap;
use std::path::Path;

/// How texts become sets of hashes, and these become signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shingling {
    /// N-grams of lower-cased words by UAX 29, hashed by `(a·x + b) mod (2⁶¹ − 1)`. A text of fewer words is one n-gram.
    Words,
    /// datatrove's: its normalisation, words as spaCy's rules for English cut them, XXH64, and products modulo 2⁶⁴ before the prime,
    /// with its 112 constants. Texts of fewer words are never duplicates. At most 112 hashes.
    Datatrove,
}

/// Which document of a cluster stays. The first one, where the rule does not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Survivor {
    /// The first in (file, row) order.
    First,
    /// The one of the most bytes.
    Longest,
    /// The one with the highest value of a field (the newest date, the best score). Numbers are compared as numbers, other values as
    /// texts; documents without the field come last.
    Highest(String),
    /// The one with the lowest value of a field.
    Lowest(String),
}

/// What is done about duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Removes all but one of a cluster.
    Remove,
    /// Adds attributes `minhash__minhash__duplicate` (1, to all but one), `…__cluster` and `…__cluster_size`.
    Annotate,
}

/// What MinHash compares and does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinHashParams {
    /// Bands: documents that agree in one of them meet.
    pub bands: u32,
    /// Hashes of a band.
    pub rows: u32,
    /// Words of an n-gram.
    pub ngram: u32,
    /// What is hashed.
    pub shingling: Shingling,
    /// Draws the hashes (datatrove's are fixed).
    pub seed: u64,
    /// Documents that meet must have at least this Jaccard similarity of their n-grams.
    pub check: Option<f64>,
    /// Which one stays.
    pub keep: Survivor,
    /// What is done.
    pub action: Action,
}

impl MinHashParams {
    /// Ours: the bands of FineWeb (half of all pairs of similarity 0.68 meet), words of UAX 29.
    pub fn standard() -> MinHashParams {
        MinHashParams {
            bands: 14,
            rows: 8,
            ngram: 5,
            shingling: Shingling::Words,
            seed: 0,
            check: None,
            keep: Survivor::First,
            action: Action::Remove,
        }
    }

    /// datatrove's (FineWeb): 14 bands of 8.
    pub fn datatrove() -> MinHashParams {
        MinHashParams { shingling: Shingling::Datatrove, ..MinHashParams::standard() }
    }

    /// Olmo 3's: 26 bands of 11, then a true similarity of at least 0.8.
    pub fn olmo3() -> MinHashParams {
        MinHashParams { bands: 26, rows: 11, check: Some(0.8), ..MinHashParams::standard() }
    }

    /// The chance that two documents of this similarity meet.
    pub fn chance(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }

    fn check(&self) -> Result<(), DataError> {
        let wrong = |message: String| Err(DataError::Params(message));
        if self.bands == 0 || self.rows == 0 || self.ngram == 0 || self.bands.saturating_mul(self.rows) > 4096 {
            return wrong(format!(
                "{} bands of {} hashes over {} words: each is at least 1, and hashes at most 4096",
                self.bands, self.rows, self.ngram
            ));
        }
        if self.shingling == Shingling::Datatrove && self.bands * self.rows > datatrove::CONSTANTS as u32 {
            return wrong(format!(
                "datatrove's constants are known for {} hashes; use its 14 bands of 8, or words of ours",
                datatrove::CONSTANTS
            ));
        }
        match self.check {
            Some(check) if !(check > 0.0 && check <= 1.0) => {
                wrong(format!("the similarity to reach is {check}; it lies between 0 and 1"))
            }
            _ => Ok(()),
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinHashReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Clusters of at least two documents.
    pub clusters: u64,
    /// Documents of clusters that are not the one that stays.
    pub duplicates: u64,
    /// Documents of the largest cluster.
    pub largest: u64,
    /// Documents that met another in some band.
    pub candidates: u64,
    /// Documents too short to be compared.
    pub uncompared: u64,
}

/// What is kept of a document between the passes.
struct Entry {
    /// One key per band; none when the document is not compared.
    bands: Option<Box<[u64]>>,
    bytes: u64,
    value: Option<Value>,
}

/// The value that chooses the survivor.
#[derive(Clone, Debug, PartialEq)]
struct Value(String);

impl Value {
    fn compare(&self, other: &Value) -> std::cmp::Ordering {
        match (self.0.parse::<f64>(), other.0.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => self.0.cmp(&other.0),
        }
    }
}

/// Removes or marks near-duplicates of `input` into `output`.
pub fn minhash(input: &Path, output: &Path, params: &MinHashParams, observer: &dyn Observer) -> Result<MinHashReport, DataError> {
    params.check()?;
    let hashes = Hashes::new(params);
    let mut report = MinHashReport::default();
    let entries = sign(input, params, &hashes, &mut report, observer)?;
    let groups = buckets(&entries.iter().map(|entry| entry.bands.as_deref()).collect::<Vec<_>>(), params.bands as usize);
    let mut meets = vec![false; entries.len()];
    groups.iter().flatten().flatten().for_each(|&document| meets[document as usize] = true);
    report.candidates = meets.iter().filter(|meets| **meets).count() as u64;
    let mut forest = Forest::new(entries.len());
    match params.check {
        None => join(&groups, &mut forest, |_, _| true),
        Some(least) => {
            let sets = shingles(input, &hashes, &meets, observer)?;
            let empty = Vec::new();
            let set = |document: u32| sets.get(&document).unwrap_or(&empty);
            join(&groups, &mut forest, |a, b| cluster::jaccard(set(a), set(b)) >= least);
        }
    }
    let clusters = survivors(&entries, &mut forest, &params.keep);
    drop(groups);
    for members in clusters.values() {
        report.clusters += 1;
        report.duplicates += members.members.len() as u64 - 1;
        report.largest = report.largest.max(members.members.len() as u64);
    }
    let mut place: Vec<Option<(u32, Place)>> = vec![None; entries.len()];
    for (number, cluster) in (0..).zip(clusters.values()) {
        for &member in &cluster.members {
            let here = if member == cluster.survivor { Place::Stays } else { Place::Goes };
            place[member as usize] = Some((number, here));
        }
    }
    let sizes: Vec<usize> = clusters.values().map(|cluster| cluster.members.len()).collect();
    report.kept = write(input, output, params, &place, &sizes, observer)?;
    observer.metric("clusters", report.clusters as f64);
    observer.metric("removed_documents", (report.read - report.kept).documents as f64);
    Ok(report)
}

/// The first pass: the keys of all documents.
fn sign(
    input: &Path,
    params: &MinHashParams,
    hashes: &Hashes,
    report: &mut MinHashReport,
    observer: &dyn Observer,
) -> Result<Vec<Entry>, DataError> {
    let mut entries = Vec::new();
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        let found: Vec<Entry> = rows
            .par_iter()
            .map(|row| {
                let value = match &params.keep {
                    Survivor::Highest(path) | Survivor::Lowest(path) => field(row, path).map(|value| Value(value.into_owned())),
                    Survivor::First | Survivor::Longest => None,
                };
                Entry { bands: hashes.bands(&row.text), bytes: row.text.len() as u64, value }
            })
            .collect();
        for entry in &found {
            report.read += Totals { documents: 1, bytes: entry.bytes };
            report.uncompared += u64::from(entry.bands.is_none());
        }
        entries.extend(found);
        Ok(())
    })?;
    if u32::try_from(entries.len()).is_err() {
        return Err(DataError::Params("more than four thousand million documents; cut the corpus into parts".to_owned()));
    }
    if let Survivor::Highest(path) | Survivor::Lowest(path) = &params.keep
        && !entries.is_empty()
        && entries.iter().all(|entry| entry.value.is_none())
    {
        return Err(DataError::Params(format!("no document has the field `{path}`, which is to choose what stays")));
    }
    Ok(entries)
}

/// The second pass of a check: the n-grams of the documents that meet another, sorted and distinct.
fn shingles(
    input: &Path,
    hashes: &Hashes,
    meets: &[bool],
    observer: &dyn Observer,
) -> Result<BTreeMap<u32, Vec<u64>>, DataError> {
    let (mut sets, mut index) = (BTreeMap::new(), 0u32);
    for_each_lines(input, observer, |batch| {
        let count = batch.numbers.len() as u32;
        let found: Vec<Option<Result<Vec<u64>, DataError>>> = batch
            .lines()
            .enumerate()
            .map(|(at, (number, line))| {
                meets[index as usize + at].then(|| {
                    let row: Row<'_> = decode(batch, number, line)?;
                    let mut set = hashes.shingles(&row.text);
                    set.sort_unstable();
                    set.dedup();
                    Ok(set)
                })
            })
            .collect();
        for (document, set) in (index..).zip(found) {
            if let Some(set) = set {
                sets.insert(document, set?);
            }
        }
        index += count;
        Ok(())
    })?;
    Ok(sets)
}

struct Cluster {
    members: Vec<u32>,
    survivor: u32,
}

/// Clusters of at least two, by their first document.
fn survivors(entries: &[Entry], forest: &mut Forest, keep: &Survivor) -> BTreeMap<u32, Cluster> {
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for document in 0..entries.len() as u32 {
        members.entry(forest.root(document)).or_default().push(document);
    }
    let better = |a: &Entry, b: &Entry| match keep {
        Survivor::First => false,
        Survivor::Longest => a.bytes > b.bytes,
        Survivor::Highest(_) | Survivor::Lowest(_) => match (&a.value, &b.value) {
            (Some(a), Some(b)) if matches!(keep, Survivor::Highest(_)) => a.compare(b).is_gt(),
            (Some(a), Some(b)) => a.compare(b).is_lt(),
            (Some(_), None) => true,
            (None, _) => false,
        },
    };
    let choose = |members: &[u32]| {
        members
            .iter()
            .copied()
            .reduce(|best, next| if better(&entries[next as usize], &entries[best as usize]) { next } else { best })
    };
    members
        .into_iter()
        .filter(|(_, members)| members.len() > 1)
        .filter_map(|(root, members)| choose(&members).map(|survivor| (root, Cluster { members, survivor })))
        .collect()
}

#[derive(Clone, Copy)]
enum Place {
    Stays,
    Goes,
}

fn write(
    input: &Path,
    output: &Path,
    params: &MinHashParams,
    places: &[Option<(u32, Place)>],
    sizes: &[usize],
    observer: &dyn Observer,
) -> Result<Totals, DataError> {
    let mut writer = LineWriter::create(output)?;
    let mut first = 0;
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        write_lines(
            &mut writer,
            batch,
            &rows,
            |row| row.text.len(),
            |index, row, number, line| match (places[first + index], params.action) {
                (None, _) | (Some((_, Place::Stays)), Action::Remove) => Ok(Fate::Keep),
                (Some((_, Place::Goes)), Action::Remove) => Ok(Fate::Drop),
                (Some((cluster, place)), Action::Annotate) => {
                    let mut document: Document = decode(batch, number, line)?;
                    let mut add = |name: &str, score: f64| {
                        document.attributes.insert(format!("minhash__minhash__{name}"), vec![whole(&row.text, score)]);
                    };
                    add("cluster", f64::from(cluster));
                    add("cluster_size", sizes[cluster as usize] as f64);
                    if let Place::Goes = place {
                        add("duplicate", 1.0);
                    }
                    changed(&document)
                }
            },
        )?;
        first += rows.len();
        Ok(())
    })?;
    writer.finish()
}

#[cfg(test)]
mod tests;
