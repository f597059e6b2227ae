//! Encodes texts word by word, remembering the words it has met: running text repeats few of them.
//! Knows a model that encodes a word; the outcome is the same as without the memory.

use super::bytes::push_chars;
use super::library;
use super::merges::{Merges, Scratch};
use super::pretokenize::{Splits, pieces};
use crate::error::DataError;
use std::collections::HashMap;
use tokenizers::Model;

/// Words remembered at most; later new ones are encoded each time.
const MAX_WORDS: usize = 1 << 17;

/// Longer words are not remembered.
const MAX_WORD_BYTES: usize = 48;

/// An encoder with its memory.
pub(crate) struct WordEncoder<'a, M> {
    model: &'a M,
    merges: Option<&'a Merges>,
    splits: Splits,
    /// Where the ids of a word are in `ids`.
    words: HashMap<Box<[u8]>, (u32, u32), ahash::RandomState>,
    ids: Vec<u32>,
    chars: String,
    scratch: Scratch,
}

impl<'a, M: Model> WordEncoder<'a, M> {
    /// `merges`, if there are any, are the model's.
    pub(crate) fn new(model: &'a M, merges: Option<&'a Merges>, splits: Splits) -> WordEncoder<'a, M> {
        let words = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        WordEncoder { model, merges, splits, words, ids: Vec::new(), chars: String::new(), scratch: Scratch::default() }
    }

    /// The ids of a text.
    pub(crate) fn encode(&mut self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        for word in pieces(text, self.splits) {
            if let Some(&(start, end)) = self.words.get(word.as_bytes()) {
                out.extend_from_slice(&self.ids[start as usize..end as usize]);
                continue;
            }
            let first = out.len();
            let merged = self.merges.is_some_and(|merges| merges.encode(word.as_bytes(), &mut self.scratch, &mut out));
            if !merged {
                self.chars.clear();
                push_chars(word.as_bytes(), &mut self.chars);
                out.extend(self.model.tokenize(&self.chars).map_err(library)?.into_iter().map(|token| token.id));
            }
            if word.len() <= MAX_WORD_BYTES && self.words.len() < MAX_WORDS {
                let start = self.ids.len() as u32;
                self.ids.extend_from_slice(&out[first..]);
                self.words.insert(word.as_bytes().into(), (start, self.ids.len() as u32));
            }
        }
        Ok(out)
    }
}
