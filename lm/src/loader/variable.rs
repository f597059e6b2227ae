//! Sequences of different lengths: documents fall into pieces whose lengths are powers of two, and every batch holds
//! pieces of one length (Pouransari et al., arXiv 2405.13226; OLMo-core's `NumpyVSLDataset`).
//!
//! Knows where pieces lie and which batch holds which, not what becomes of them.

use serde::{Deserialize, Serialize};

use super::files::Files;
use super::{LoaderError, ReadError};
use crate::shuffle::Pcg64;

/// In which order lengths are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Curriculum {
    /// As they come: all batches shuffled.
    Natural,
    /// In each cycle first short, then long sequences, the odds of neighbouring lengths a power of two apart.
    GrowP2(Cycles),
    /// The same with odds that change linearly.
    GrowLinear(Cycles),
}

/// How often a growing curriculum begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycles {
    /// Number of cycles in an epoch; 8 in OLMo-core.
    pub n: usize,
    /// Whether every length gives the same number of batches, which drops more of the data.
    pub balanced: bool,
}

/// A piece of a document.
#[derive(Clone, Copy, Debug)]
struct Piece {
    file: usize,
    start: u64,
}

/// The pieces of one length.
#[derive(Debug)]
struct Bucket {
    length: usize,
    pieces: Vec<Piece>,
    n_batches: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Variable {
    files: Files,
    buckets: Vec<Bucket>,
    curriculum: Curriculum,
    batch_tokens: u64,
    seed: u64,
}

impl Variable {
    /// Pieces of `min..=max` tokens, both powers of two, in batches of `batch_tokens`.
    pub(super) fn new(
        files: Files,
        [min, max]: [usize; 2],
        curriculum: Curriculum,
        batch_tokens: u64,
        seed: u64,
        eos: u32,
    ) -> Result<Self, LoaderError> {
        let fail = |text: String| Err(LoaderError::Settings(text));
        if !min.is_power_of_two() || !max.is_power_of_two() || min > max {
            return fail(format!("variable lengths go from {min} to {max}; give two powers of two, the smaller first"));
        }
        let lengths = (min.ilog2()..=max.ilog2()).map(|exponent| 1_usize << exponent);
        let mut buckets: Vec<Bucket> = lengths.map(|length| Bucket { length, pieces: Vec::new(), n_batches: 0 }).collect();
        for file in 0..files.len() {
            for document in files.documents(file, eos).map_err(LoaderError::Read)? {
                let (mut start, mut left) = (document.start, (document.end - document.start) as usize);
                while left >= min {
                    let length = if left >= max { max } else { 1 << left.ilog2() };
                    buckets[(length.ilog2() - min.ilog2()) as usize].pieces.push(Piece { file, start });
                    start += length as u64;
                    left -= length;
                }
            }
        }
        for bucket in &mut buckets {
            bucket.n_batches = bucket.pieces.len() / (batch_tokens as usize / bucket.length).max(1);
        }
        if let Curriculum::GrowP2(cycles) | Curriculum::GrowLinear(cycles) = curriculum {
            let fewest = buckets.iter().map(|bucket| bucket.n_batches).min().unwrap_or(0);
            for bucket in &mut buckets {
                let n = if cycles.balanced { fewest } else { bucket.n_batches };
                bucket.n_batches = n / cycles.n.max(1) * cycles.n;
            }
        }
        if buckets.last().is_none_or(|bucket| bucket.n_batches == 0) {
            return fail(format!(
                "there is not enough text for a batch of sequences of {max} tokens{}; use a smaller one, shorter sequences or more text",
                if curriculum == Curriculum::Natural { "" } else { " in every cycle" }
            ));
        }
        Ok(Self { files, buckets, curriculum, batch_tokens, seed })
    }

    fn n_batches(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.n_batches).sum()
    }

    /// Batch `number` (0-based) of a run: the length of its sequences and where they begin. Of `world` ranks, number
    /// `rank` has consecutive sequences.
    pub(super) fn batch(&self, number: u64, [rank, world]: [usize; 2]) -> (usize, Vec<(usize, u64)>) {
        let n_batches = self.n_batches() as u64;
        let seed = self.seed.wrapping_add(number / n_batches + 1);
        let order = self.order(seed);
        let mut batch = order[(number % n_batches) as usize] as usize;
        let mut buckets = self.buckets.iter();
        let bucket = buckets.find(|bucket| {
            let found = batch < bucket.n_batches;
            if !found {
                batch -= bucket.n_batches;
            }
            found
        });
        let bucket = bucket.expect("the order holds batches of the buckets only");
        let mut pieces: Vec<u32> = (0..bucket.pieces.len() as u32).collect();
        Pcg64::new(seed.wrapping_add(bucket.length as u64)).shuffle(&mut pieces);
        let per_batch = self.batch_tokens as usize / bucket.length;
        let per_rank = per_batch / world;
        let first = batch * per_batch + rank * per_rank;
        let chosen = pieces[first..first + per_rank].iter().map(|piece| {
            let Piece { file, start } = bucket.pieces[*piece as usize];
            (file, start)
        });
        (bucket.length, chosen.collect())
    }

    pub(super) fn read(&self, file: usize, start: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError> {
        self.files.read(file, start, ids, labels)
    }

    /// The batches of an epoch in order; they are numbered bucket after bucket, from short to long.
    fn order(&self, seed: u64) -> Vec<u32> {
        let counts: Vec<usize> = self.buckets.iter().map(|bucket| bucket.n_batches).collect();
        match self.curriculum {
            Curriculum::Natural => natural(&counts, seed),
            Curriculum::GrowP2(cycles) => growing(&counts, cycles.n, seed, |odds| (1_u64 << (odds - 1)) as f64),
            Curriculum::GrowLinear(cycles) => growing(&counts, cycles.n, seed, |odds| odds as f64),
        }
    }
}

/// All batches shuffled, after one of the longest sequences, so that what needs too much memory fails at once.
fn natural(counts: &[usize], seed: u64) -> Vec<u32> {
    let total: usize = counts.iter().sum();
    let longest = counts.last().copied().unwrap_or(0);
    let mut order: Vec<u32> = (0..total as u32).collect();
    let mut random = Pcg64::new(seed);
    let first = total - longest + random.below(longest as u64) as usize;
    order.swap(0, first);
    random.shuffle(&mut order[1..]);
    order
}

/// Cycles of as many parts as there are buckets; each bucket gives each part a share by its odds.
fn growing(counts: &[usize], cycles: usize, seed: u64, odds: impl Fn(usize) -> f64) -> Vec<u32> {
    let n = counts.len();
    let mut random = Pcg64::new(seed);
    let mut order: Vec<u32> = Vec::new();
    // Where the batches of each bucket have got to.
    let mut next: Vec<usize> = counts.iter().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
    for _ in 0..cycles {
        let shares: Vec<Vec<usize>> = (0..n).map(|bucket| parts(bucket, n, counts[bucket] / cycles, &odds)).collect();
        let mut starts = next.clone();
        for part in 0..n {
            let from = order.len();
            for bucket in 0..n {
                let share = shares[bucket][part];
                order.extend((starts[bucket]..starts[bucket] + share).map(|batch| batch as u32));
                starts[bucket] += share;
            }
            random.shuffle(&mut order[from..]);
        }
        next = starts;
    }
    let longest = counts[..n - 1].iter().sum::<usize>() as u32;
    if let Some(first) = order.iter().position(|batch| *batch >= longest) {
        order.swap(0, first);
    }
    order
}

/// How many of a bucket's `total` batches of a cycle each part gets.
fn parts(bucket: usize, n: usize, total: usize, odds: &impl Fn(usize) -> f64) -> Vec<usize> {
    let start = n - bucket;
    let odds: Vec<f64> =
        (0..n).map(|part| odds(if start + part <= n { start + part } else { start - (start + part) % n })).collect();
    let sum: f64 = odds.iter().sum();
    let mut left = total;
    let mut parts: Vec<usize> = odds
        .iter()
        .map(|odds| {
            // Rounded as Python rounds; roundings that add up to more than there is take from the last parts.
            let share = ((odds / sum * total as f64).round_ties_even() as usize).min(left);
            left -= share;
            share
        })
        .collect();
    if let Some(last) = parts.last_mut() {
        *last += left;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_natural_order_is_numpys() {
        // numpy: order = arange(12); i = rng.integers(9, 12); swap 0 and i; shuffle the rest.
        assert_eq!(natural(&[4, 5, 3], 7), [11, 5, 7, 0, 1, 2, 4, 9, 8, 3, 6, 10]);
    }

    #[test]
    fn growing_orders_are_numpys() {
        let linear = growing(&[4, 4, 8], 2, 5, |odds| odds as f64);
        assert_eq!(linear, [8, 4, 0, 1, 9, 5, 11, 10, 6, 2, 12, 13, 3, 7, 14, 15]);
        let p2 = growing(&[4, 8, 8], 2, 5, |odds| (1_u64 << (odds - 1)) as f64);
        assert_eq!(p2, [12, 4, 0, 6, 1, 13, 5, 14, 7, 15, 16, 2, 8, 10, 3, 9, 17, 18, 11, 19]);
    }

    #[test]
    fn odds_move_from_short_to_long() {
        let linear = |bucket| parts(bucket, 3, 12, &|odds| odds as f64);
        assert_eq!([linear(0), linear(1), linear(2)], [[6, 4, 2], [4, 6, 2], [2, 4, 6]]);
        let p2 = |bucket| parts(bucket, 3, 14, &|odds| (1_u64 << (odds - 1)) as f64);
        assert_eq!([p2(0), p2(1), p2(2)], [[8, 4, 2], [4, 8, 2], [2, 4, 8]]);
    }

    #[test]
    fn every_batch_is_seen_once_and_a_long_one_first() {
        for order in
            [growing(&[16, 8, 24], 8, 5, |odds| odds as f64), growing(&[16, 8, 24], 4, 5, |odds| (1_u64 << (odds - 1)) as f64)]
        {
            assert!(order[0] >= 24, "{order:?}");
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..48));
        }
    }
}
