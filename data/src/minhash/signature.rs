//! From a text to the keys of its bands. Knows one text at a time.

use super::{MinHashParams, Shingling, datatrove};
use crate::dedup::seen::mix;
use crate::hash::choice;
use crate::wordbreak::for_each_token;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The Mersenne prime 2⁶¹ − 1.
pub(super) const PRIME: u64 = (1 << 61) - 1;

/// Odd, with its bits spread (the golden ratio).
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash functions of a signature.
#[derive(Debug)]
pub(super) struct Hashes {
    constants: Vec<(u64, u64)>,
    rows: usize,
    ngram: usize,
    shingling: Shingling,
}

impl Hashes {
    pub(super) fn new(params: &MinHashParams) -> Hashes {
        let count = u64::from(params.bands * params.rows);
        let draw =
            |i: u64, part: &[u8], least: u64| least + choice("minhash", params.seed, &[&i.to_le_bytes(), part]) % (PRIME - least);
        let constants = match params.shingling {
            Shingling::Words => (0..count).map(|i| (draw(i, b"a", 1), draw(i, b"b", 0))).collect(),
            Shingling::Datatrove => datatrove::constants(count as usize),
        };
        Hashes { constants, rows: params.rows as usize, ngram: params.ngram as usize, shingling: params.shingling }
    }

    /// Hashes of the n-grams, in order, with repetitions.
    pub(super) fn shingles(&self, text: &str) -> Vec<u64> {
        match self.shingling {
            Shingling::Datatrove => datatrove::shingles(text, self.ngram),
            Shingling::Words => words(text, self.ngram),
        }
    }

    /// The smallest value of each hash function; none when there are no n-grams.
    pub(super) fn signature(&self, text: &str) -> Option<Vec<u64>> {
        let mut shingles = self.shingles(text);
        if shingles.is_empty() {
            return None;
        }
        Some(match self.shingling {
            Shingling::Datatrove => self
                .constants
                .iter()
                .map(|&(a, b)| shingles.iter().map(|&x| reduce(x.wrapping_mul(a).wrapping_add(b))).min().unwrap_or(0))
                .collect(),
            Shingling::Words => {
                // A long text repeats many of its n-grams; each is worth hashing once.
                shingles.sort_unstable();
                shingles.dedup();
                self.constants
                    .iter()
                    .map(|&(a, b)| shingles.iter().map(|&x| universal(x & PRIME, a, b)).min().unwrap_or(0))
                    .collect()
            }
        })
    }

    /// One key per band.
    pub(super) fn bands(&self, text: &str) -> Option<Box<[u64]>> {
        let signature = self.signature(text)?;
        let key = |(band, rows): (usize, &[u64])| {
            let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
            xxh3_64_with_seed(&bytes, band as u64)
        };
        Some(signature.chunks(self.rows).enumerate().map(key).collect())
    }
}

/// A number modulo the prime.
fn reduce(x: u64) -> u64 {
    let folded = (x & PRIME) + (x >> 61);
    if folded >= PRIME { folded - PRIME } else { folded }
}

/// `(a·x + b) mod (2⁶¹ − 1)`; 2-universal (Carter and Wegman 1979).
fn universal(x: u64, a: u64, b: u64) -> u64 {
    let product = u128::from(x) * u128::from(a) + u128::from(b);
    reduce((product as u64 & PRIME) + (product >> 61) as u64)
}

/// N-grams of lower-cased words with a letter or digit.
fn words(text: &str, ngram: usize) -> Vec<u64> {
    let mut hashes = Vec::with_capacity(text.len() / 5);
    let mut lower = Vec::new();
    for_each_token(text, |range| {
        let word = &text[range];
        if word.is_ascii() {
            if word.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
                lower.clear();
                lower.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
                hashes.push(xxh3_64(&lower));
            }
        } else if word.chars().any(char::is_alphanumeric) {
            hashes.push(xxh3_64(word.to_lowercase().as_bytes()));
        }
    });
    if hashes.is_empty() {
        return hashes;
    }
    let join = |words: &[u64]| mix(words.iter().fold(0u64, |hash, word| hash.wrapping_mul(BASE).wrapping_add(*word)));
    if hashes.len() < ngram { vec![join(&hashes)] } else { hashes.windows(ngram).map(join).collect() }
}
