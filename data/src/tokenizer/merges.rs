//! Byte-pair merges of a word by tables of our own, several times as fast as the library's.
//! Knows the merges of a byte-level vocabulary; where words begin and end is decided elsewhere.

use super::bytes::CHARS;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use tokenizers::models::ModelWrapper;

/// Longer words are left to the library, whose queue is faster for them.
const MAX_BYTES: usize = 256;

/// What becomes of a pair of tokens: merges of lower rank come first.
#[derive(Clone, Copy)]
struct Merge {
    rank: u32,
    id: u32,
}

/// The merges of a vocabulary that has a token for every byte.
pub(crate) struct Merges {
    bytes: [u32; 256],
    pairs: HashMap<u64, Merge, BuildHasherDefault<PairHasher>>,
    /// Whole words that are tokens, where the model takes these before it merges.
    whole: Option<HashMap<Box<[u8]>, u32, ahash::RandomState>>,
}

/// Spreads the bits of two ids.
#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 ^ u64::from(byte)));
    }
    fn write_u64(&mut self, pair: u64) {
        let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

/// A word while it is merged; kept to save its memory.
#[derive(Default)]
pub(crate) struct Scratch {
    ids: Vec<u32>,
    /// The rank of each token and the next; `u32::MAX` where they do not merge.
    ranks: Vec<u32>,
}

impl Merges {
    /// The merges of a model; `None` for one whose words are not sequences of bytes: no token for some byte, marks on words, dropout.
    pub(crate) fn of(model: &ModelWrapper) -> Option<Merges> {
        let ModelWrapper::BPE(bpe) = model else { return None };
        let marked = |mark: &Option<String>| mark.as_ref().is_some_and(|mark| !mark.is_empty());
        if bpe.dropout.is_some() || marked(&bpe.continuing_subword_prefix) || marked(&bpe.end_of_word_suffix) {
            return None;
        }
        let vocab = bpe.get_vocab();
        let mut bytes = [0; 256];
        let mut name = [0; 4];
        for (byte, id) in bytes.iter_mut().enumerate() {
            *id = *vocab.get(&*CHARS[byte].encode_utf8(&mut name))?;
        }
        // The library shows merges in its file format only.
        let json = serde_json::to_value(model).ok()?;
        let mut pairs = HashMap::default();
        for (rank, merge) in json["merges"].as_array()?.iter().enumerate() {
            let (a, b) = match merge.as_str() {
                Some(both) => both.split_once(' ')?,
                None => (merge[0].as_str()?, merge[1].as_str()?),
            };
            let merged = Merge { rank: u32::try_from(rank).ok()?, id: *vocab.get(&[a, b].concat())? };
            // A pair that is listed twice has its last rank, as in the library's table.
            pairs.insert(pair(*vocab.get(a)?, *vocab.get(b)?), merged);
        }
        let whole = json["ignore_merges"].as_bool().unwrap_or(false).then(|| {
            let words = vocab.iter().filter_map(|(word, &id)| Some((super::bytes::from_chars(word)?.into_boxed_slice(), id)));
            words.collect()
        });
        Some(Merges { bytes, pairs, whole })
    }

    /// Appends the ids of a word; false, and nothing, if it is too long.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) -> bool {
        if let Some(&id) = self.whole.as_ref().and_then(|whole| whole.get(word)) {
            out.push(id);
            return true;
        }
        if word.len() > MAX_BYTES {
            return false;
        }
        let Scratch { ids, ranks } = scratch;
        let rank = |a: u32, b: u32| self.pairs.get(&pair(a, b)).map_or(u32::MAX, |merge| merge.rank);
        ids.clear();
        ids.extend(word.iter().map(|&byte| self.bytes[byte as usize]));
        ranks.clear();
        ranks.extend(ids.windows(2).map(|two| rank(two[0], two[1])));
        // The first of the lowest: ties go to the left.
        while let Some((at, &lowest)) = ranks.iter().enumerate().min_by_key(|(_, rank)| **rank)
            && lowest != u32::MAX
        {
            ids[at] = self.pairs[&pair(ids[at], ids[at + 1])].id;
            ids.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = rank(ids[at - 1], ids[at]);
            }
            if at < ranks.len() {
                ranks[at] = rank(ids[at], ids[at + 1]);
            }
        }
        out.extend_from_slice(ids);
        true
    }
}
