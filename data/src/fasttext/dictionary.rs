//! The vocabulary of a model, and the features of a line of text: words, n-grams of characters, n-grams of words.
//! Knows rows by number; the matrices are elsewhere.

use super::{Args, LABEL_PREFIX};
use std::collections::HashMap;

/// The token at the end of a line.
pub(super) const END: &str = "</s>";

/// Whether a row is pruned away, stays where it is, or is now elsewhere.
#[derive(Debug)]
pub(super) enum Buckets {
    /// Every bucket has its row.
    All,
    /// Only these have one.
    Some(HashMap<u32, u32, ahash::RandomState>),
}

/// A word or label with its count.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) text: Box<str>,
    pub(super) count: i64,
}

/// The vocabulary.
#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) words: Vec<Entry>,
    pub(super) labels: Vec<Entry>,
    pub(super) tokens: i64,
    pub(super) buckets: Buckets,
    ids: HashMap<Box<str>, u32, ahash::RandomState>,
    bucket: u32,
    word_ngrams: usize,
    chars: std::ops::RangeInclusive<usize>,
}

/// FNV-1a over sign-extended bytes.
pub(super) fn hash(text: &[u8]) -> u32 {
    text.iter().fold(2_166_136_261, |hash: u32, &byte| (hash ^ (byte as i8) as u32).wrapping_mul(16_777_619))
}

/// A byte between tokens.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\r' | b'\t' | 0x0b | 0x0c | 0)
}

/// The tokens of a line: what stands between spaces up to the first newline, then the end of the line.
pub(super) fn tokens(line: &str) -> impl Iterator<Item = &str> {
    let end = memchr::memchr(b'\n', line.as_bytes()).unwrap_or(line.len());
    let text = &line[..end];
    text.split(|c: char| c.is_ascii() && is_space(c as u8)).filter(|token| !token.is_empty()).chain(std::iter::once(END))
}

impl Dictionary {
    pub(super) fn new(args: &Args, words: Vec<Entry>, labels: Vec<Entry>, tokens: i64, buckets: Buckets) -> Dictionary {
        let mut ids = HashMap::with_capacity_and_hasher(words.len(), ahash::RandomState::with_seeds(1, 2, 3, 4));
        for (id, entry) in words.iter().enumerate() {
            ids.insert(entry.text.clone(), id as u32);
        }
        let positive = |value: i32| usize::try_from(value).unwrap_or(0);
        Dictionary {
            words,
            labels,
            tokens,
            buckets,
            ids,
            bucket: u32::try_from(args.bucket).unwrap_or(0),
            word_ngrams: positive(args.word_ngrams),
            chars: positive(args.minn)..=positive(args.maxn),
        }
    }

    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    pub(super) fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter().map(|label| &*label.text)
    }

    pub(super) fn label(&self, label: usize) -> &str {
        &self.labels[label].text
    }

    /// The rows of a line's features, in fastText's order.
    pub(super) fn features(&self, line: &str) -> Vec<u32> {
        let mut rows = Vec::new();
        let mut hashes: Vec<i32> = Vec::new();
        let mut padded = Vec::new();
        for token in tokens(line) {
            match self.ids.get(token) {
                Some(&id) => {
                    rows.push(id);
                    self.subwords(token, &mut padded, &mut rows);
                }
                // A label in the text is none of its features.
                None if token.starts_with(LABEL_PREFIX) => continue,
                None => self.subwords(token, &mut padded, &mut rows),
            }
            hashes.push(hash(token.as_bytes()) as i32);
            if token == END {
                break;
            }
        }
        self.word_ngrams(&hashes, &mut rows);
        rows
    }

    /// Adds the n-grams of characters of a word between `<` and `>`.
    fn subwords(&self, word: &str, padded: &mut Vec<u8>, rows: &mut Vec<u32>) {
        let (shortest, longest) = (*self.chars.start(), *self.chars.end());
        if longest == 0 || word == END {
            return;
        }
        padded.clear();
        padded.push(b'<');
        padded.extend_from_slice(word.as_bytes());
        padded.push(b'>');
        let inner = |byte: u8| byte & 0xc0 == 0x80;
        for start in 0..padded.len() {
            if inner(padded[start]) {
                continue;
            }
            let mut end = start;
            for n in 1..=longest {
                if end >= padded.len() {
                    break;
                }
                end += 1;
                while end < padded.len() && inner(padded[end]) {
                    end += 1;
                }
                if n >= shortest && !(n == 1 && (start == 0 || end == padded.len())) {
                    self.push(u64::from(hash(&padded[start..end])), rows);
                }
            }
        }
    }

    /// Adds the n-grams of words.
    fn word_ngrams(&self, hashes: &[i32], rows: &mut Vec<u32>) {
        for start in 0..hashes.len() {
            let mut hash = i64::from(hashes[start]) as u64;
            for next in hashes.iter().take(start + self.word_ngrams).skip(start + 1) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(i64::from(*next) as u64);
                self.push(hash, rows);
            }
        }
    }

    /// Adds the row of a bucket, if it has one.
    fn push(&self, hash: u64, rows: &mut Vec<u32>) {
        if self.bucket == 0 {
            return;
        }
        let bucket = (hash % u64::from(self.bucket)) as u32;
        let row = match &self.buckets {
            Buckets::All => Some(bucket),
            Buckets::Some(kept) => kept.get(&bucket).copied(),
        };
        rows.extend(row.map(|row| self.words.len() as u32 + row));
    }
}
