//! Trains a byte-level BPE tokenizer on documents.
//! Knows texts; the merging itself is the `tokenizers` library's.
//!
//! Deterministic for any number of threads: words are counted exactly, and the trainer breaks ties between pairs by their ids.

use super::bytes::{CHARS, push_chars};
use super::pretokenize::{Digits, Splits, definition, pieces};
use super::{EOS, PAD, Tokenizer, library};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use ahash::AHashMap;
use compact_str::CompactString;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{AddedToken, PreTokenizerWrapper};

/// What the tokenizer is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerParams {
    /// Number of tokens: 256 bytes, the special tokens, and as many merges as are left. A small corpus may give fewer.
    pub vocab_size: usize,
    /// Special tokens after `<|endoftext|>` (id 0) and `<|pad|>` (id 1), in the order of their ids.
    pub special_tokens: Vec<String>,
    /// How numbers are cut.
    pub digits: Digits,
    /// A pair that occurs less often is not merged.
    pub min_frequency: u64,
}

impl TokenizerParams {
    /// Single digits, no further special tokens, pairs that occur at least twice.
    pub fn new(vocab_size: usize) -> TokenizerParams {
        TokenizerParams { vocab_size, special_tokens: Vec::new(), digits: Digits::default(), min_frequency: 2 }
    }
}

/// The trainer's counters hold 31 bits; larger counts are halved until they fit, and words that vanish are left out.
const MAX_COUNT: u64 = i32::MAX as u64;

type Counts = AHashMap<CompactString, u64>;

/// Trains on all documents of `inputs`. Once the words are counted, the merging cannot be interrupted.
///
/// Fails when the vocabulary has no room for the bytes and special tokens, or a special token is named twice.
pub fn train_tokenizer(inputs: &[&Path], params: &TokenizerParams, observer: &dyn Observer) -> Result<Tokenizer, DataError> {
    let mut special = vec![EOS.to_owned(), PAD.to_owned()];
    for token in &params.special_tokens {
        if token.is_empty() || special.contains(token) {
            return Err(DataError::Params(format!("special token `{token}` is empty or named twice")));
        }
        special.push(token.clone());
    }
    let least = special.len() + 256;
    if params.vocab_size < least {
        return Err(DataError::Params(format!(
            "vocab_size {} has no room for 256 bytes and {} special tokens; it must be at least {least}",
            params.vocab_size,
            special.len()
        )));
    }
    let mut counts = Counts::new();
    let mut bytes = 0u64;
    for input in inputs {
        for_each_batch(input, observer, |batch| {
            bytes += batch.documents.iter().map(|document| document.text.len() as u64).sum::<u64>();
            let texts: Vec<&str> = batch.documents.iter().map(|document| document.text.as_str()).collect();
            merge(&mut counts, count(&texts, params.digits));
            Ok(())
        })?;
    }
    observer.metric("distinct_words", counts.len() as f64);
    let tokenizer = merge_pairs(counts, params, &special)?;
    observer.metric("vocab_size", tokenizer.vocab_size() as f64);
    Ok(tokenizer)
}

/// Counts the words of texts, in parallel.
fn count(texts: &[&str], digits: Digits) -> Counts {
    let chunk = texts.len().div_ceil(rayon::current_num_threads() * 4).max(1);
    texts
        .par_chunks(chunk)
        .map(|texts| {
            let mut counts: AHashMap<&str, u64> = AHashMap::new();
            for word in texts.iter().flat_map(|text| pieces(text, Splits::Modern(digits))) {
                *counts.entry(word).or_default() += 1;
            }
            counts
        })
        .reduce(AHashMap::new, |mut all, some| {
            for (word, count) in some {
                *all.entry(word).or_default() += count;
            }
            all
        })
        .into_iter()
        .map(|(word, count)| (CompactString::from(word), count))
        .collect()
}

fn merge(all: &mut Counts, some: Counts) {
    for (word, count) in some {
        *all.entry(word).or_default() += count;
    }
}

/// Learns the merges and assembles the tokenizer.
fn merge_pairs(counts: Counts, params: &TokenizerParams, special: &[String]) -> Result<Tokenizer, DataError> {
    let mut total: u64 = counts.iter().map(|(word, count)| word.len() as u64 * count).sum();
    let mut shift = 0;
    while total > MAX_COUNT {
        total /= 2;
        shift += 1;
    }
    let words: Counts = counts
        .into_iter()
        .filter(|(_, count)| count >> shift > 0)
        .map(|(word, count)| {
            let mut chars = String::with_capacity(word.len() * 2);
            push_chars(word.as_bytes(), &mut chars);
            (CompactString::from(chars), count >> shift)
        })
        .collect();
    let tokens: Vec<AddedToken> = special.iter().map(|token| AddedToken::from(token.as_str(), true)).collect();
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(params.vocab_size)
        .min_frequency((params.min_frequency >> shift).max(1))
        .special_tokens(tokens.clone())
        .initial_alphabet(CHARS.iter().copied().collect())
        .build();
    let mut model = BPE::default();
    trainer.do_train(&words, &mut model).map_err(library)?;
    let mut inner = tokenizers::Tokenizer::new(model);
    let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(definition(params.digits)).map_err(library)?;
    inner.with_pre_tokenizer(Some(pre_tokenizer));
    inner.with_decoder(Some(tokenizers::decoders::byte_level::ByteLevel::new(false, true, false)));
    inner.add_special_tokens(tokens).map_err(library)?;
    // Through the file format once, so that this tokenizer is exactly the one that will be loaded.
    let json = inner.to_string(false).map_err(library)?;
    let inner = tokenizers::Tokenizer::from_bytes(json).map_err(library)?;
    Ok(Tokenizer::new(inner, 0, 1))
}
