//! The plain rule: any n-gram of words that a document shares with a problem. Knows hashes of words only.

use super::{Found, Instance, Words, window};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

/// Passes hashes through; n-grams are hashed already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl std::hash::Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A map from n-grams.
pub(super) type ByNgram<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// Which problems have an n-gram, by the length of the window.
#[derive(Debug)]
pub(super) struct Index {
    /// Windows of each length: the full one, and those of problems that are shorter.
    lengths: BTreeMap<usize, ByNgram<Vec<u32>>>,
    /// Number of distinct n-grams of each problem.
    sizes: Vec<usize>,
}

impl Index {
    /// Indexes problems, and says which of them are looked for.
    pub(super) fn new(instances: &[Instance], length: usize, least: usize) -> (Index, Vec<bool>) {
        let mut index = Index { lengths: BTreeMap::new(), sizes: Vec::new() };
        let checked = (0..).zip(instances).map(|(number, instance)| {
            let all = [&instance.passage, &instance.question, &instance.answer].map(|part| part.as_str()).join("\n");
            let words = Words::of(&all).hashes;
            let window_length = length.min(words.len());
            let looked_for = !words.is_empty() && words.len() >= least;
            let ngrams: BTreeSet<u64> =
                if looked_for { words.windows(window_length).map(window).collect() } else { BTreeSet::new() };
            for ngram in &ngrams {
                index.lengths.entry(window_length).or_default().entry(*ngram).or_default().push(number);
            }
            index.sizes.push(ngrams.len());
            looked_for
        });
        let checked = checked.collect();
        (index, checked)
    }

    /// For each problem that shares an n-gram, its longest run of shared words; the score is the share of its n-grams.
    pub(super) fn find(&self, words: &Words) -> Vec<Found> {
        // Shared n-grams, the longest run of words, and the current one.
        type Shared = (BTreeSet<u64>, std::ops::Range<usize>, std::ops::Range<usize>);
        let mut found: BTreeMap<u32, Shared> = BTreeMap::new();
        for (&length, ngrams) in &self.lengths {
            for (at, hashes) in words.hashes.windows(length).enumerate() {
                let ngram = window(hashes);
                for &instance in ngrams.get(&ngram).into_iter().flatten() {
                    let (shared, longest, current) = found.entry(instance).or_insert((BTreeSet::new(), 0..0, 0..0));
                    shared.insert(ngram);
                    // Windows that begin one after the other are one run.
                    *current = if current.end > 0 && current.end == at + length - 1 {
                        current.start..at + length
                    } else {
                        at..at + length
                    };
                    if current.len() > longest.len() {
                        *longest = current.clone();
                    }
                }
            }
        }
        let score = |instance: u32, shared: usize| shared as f64 / self.sizes[instance as usize].max(1) as f64;
        found
            .into_iter()
            .map(|(instance, (shared, words, _))| Found { instance, words, score: score(instance, shared.len()) })
            .collect()
    }
}
