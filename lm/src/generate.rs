//! Sampling from a model: many prompts at once, or one as a stream.
//!
//! Every token is drawn by a counter-based number named by `(seed, prompt, sample, position)`, and a sequence has the same
//! bits in any batch, so a sample does not depend on the other samples, their order, their number, or the number of
//! threads. Knows token ids only; `chat` turns text into ids.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::model::decode::{Decoder, KvCache};

mod batch;
mod pick;
pub mod rectangle;
#[cfg(test)]
mod tests;

pub use pick::Drawn;

/// How the next token is chosen. The cuts are applied in the order of the fields, each to what the one before left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token (the lowest id on ties).
    pub temperature: f64,
    /// Only the `top_k` most likely tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens with at least this total probability is drawn from; 1 for all.
    pub top_p: f64,
    /// Only tokens with at least this share of the most likely token's probability are drawn from; 0 for all
    /// (arXiv 2407.01082).
    pub min_p: f64,
    /// A sample ends after this many tokens if nothing ended it before.
    pub max_new_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, max_new_tokens: 64 }
    }
}

impl Sampling {
    /// The most likely token at each position.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Sampling { temperature: 0.0, max_new_tokens, ..Sampling::default() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A message naming the field and its range.
    pub fn validate(&self) -> Result<(), String> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(format!("sampling: temperature = {} must be 0 (greedy) or positive", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("sampling: top_p = {} must lie in (0, 1]", self.top_p));
        }
        if !(self.min_p >= 0.0 && self.min_p <= 1.0) {
            return Err(format!("sampling: min_p = {} must lie in [0, 1]", self.min_p));
        }
        if self.max_new_tokens == 0 {
            return Err("sampling: max_new_tokens must be at least 1".to_string());
        }
        Ok(())
    }
}

/// Looks at the text of a sample.
pub trait StopText: Sync {
    /// Whether the text of the generated `ids` is to end with the last of them. Asked after every token; must not use
    /// rayon.
    fn stops(&self, ids: &[u32]) -> bool;
}

/// What ends a sample before its length limit. The default ends none.
#[derive(Clone, Copy, Default)]
pub struct Stop<'a> {
    /// Tokens that end a sample and are not part of its text, such as EOS.
    pub ids: &'a [u32],
    /// Runs of tokens that end a sample and are part of its text.
    pub sequences: &'a [Vec<u32>],
    /// A look at the text, for stop strings; what it finds is part of the text.
    pub text: Option<&'a dyn StopText>,
}

impl Stop<'_> {
    fn reached(&self, sample: &mut Sample) -> bool {
        let by_id = sample.ids.last().is_some_and(|id| self.ids.contains(id));
        sample.stopped = by_id
            || self.sequences.iter().any(|sequence| !sequence.is_empty() && sample.ids.ends_with(sequence))
            || self.text.is_some_and(|text| text.stops(&sample.ids));
        sample.n_text = sample.ids.len() - usize::from(by_id);
        sample.stopped
    }
}

/// A generated continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The generated ids, with the stop id that ended them if there is one.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the softmax of the logits divided by the temperature (1 when greedy), before
    /// `top_k`, `top_p` and `min_p` cut tokens off.
    pub logprobs: Vec<f64>,
    /// Whether a stop ended it, and not the length limit.
    pub stopped: bool,
    /// How many of the ids are text.
    n_text: usize,
}

impl Sample {
    /// The ids without the stop id at the end.
    pub fn text_ids(&self) -> &[u32] {
        &self.ids[..self.n_text]
    }

    fn push(&mut self, drawn: Drawn) {
        self.ids.push(drawn.id);
        self.logprobs.push(drawn.logprob);
    }
}

/// What is to be sampled.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Ids of each prompt, BOS included; none may be empty.
    pub prompts: &'a [Vec<u32>],
    /// Continuations of each prompt.
    pub n_samples: usize,
    /// How tokens are chosen.
    pub sampling: &'a Sampling,
    /// What ends a sample.
    pub stop: Stop<'a>,
    /// Names all draws, together with a prompt's position in `prompts`: the first prompts of two requests with one seed
    /// draw the same numbers.
    pub seed: u64,
}

/// Sequences advanced together; bounds the memory of the cache.
const MAX_SEQUENCES: usize = 256;

/// The samples of a request, per prompt, in order. A prompt is read once for all its samples; a sample that ends makes
/// room for the next one at once.
///
/// # Panics
/// If a prompt is empty, or the sampling settings are out of range (see [`Sampling::validate`]).
pub fn sample(decoder: &Decoder, request: &Request<'_>) -> Vec<Vec<Sample>> {
    batch::run(decoder, request, MAX_SEQUENCES)
}

/// `n_samples` continuations of each prompt (ids, BOS included), in order, each ended by `eos`, by one of the model's
/// further end tokens, or after `max_new_tokens`; see [`sample`].
///
/// # Panics
/// If a prompt is empty, or the sampling settings are out of range (see [`Sampling::validate`]).
pub fn generate(
    model: &Model,
    prompts: &[Vec<u32>],
    n_samples: usize,
    sampling: &Sampling,
    eos: u32,
    seed: u64,
) -> Vec<Vec<Sample>> {
    let ids = ends(model, eos);
    let stop = Stop { ids: &ids, ..Stop::default() };
    sample(&Decoder::new(model), &Request { prompts, n_samples, sampling, stop, seed })
}

/// `eos` and the model's further end tokens.
fn ends(model: &Model, eos: u32) -> Vec<u32> {
    [&[eos], model.config().further_eos_token_ids.as_slice()].concat()
}

/// A conversation being generated token by token; keeps its cache between turns.
pub struct Dialogue {
    decoder: Decoder,
    cache: KvCache,
    ends: Vec<u32>,
    n_turns: u32,
    seed: u64,
}

impl Dialogue {
    /// An empty conversation with a model, whose turns end with `eos` or one of the model's further end tokens.
    pub fn new(model: &Model, eos: u32, seed: u64) -> Self {
        let decoder = Decoder::new(model);
        let cache = decoder.cache(1);
        Dialogue { decoder, cache, ends: ends(model, eos), n_turns: 0, seed }
    }

    /// Number of tokens read so far.
    pub fn len(&self) -> usize {
        self.cache.len_of(0)
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `ids` (those not read before), then generates until an end token, the limit, or `on_token` breaks.
    /// `on_token` is called with each drawn token except an end token. The generated tokens, the last one included, are
    /// read into the cache.
    ///
    /// # Panics
    /// If `ids` is empty or the sampling settings are out of range.
    pub fn answer(&mut self, ids: &[u32], sampling: &Sampling, mut on_token: impl FnMut(Drawn) -> ControlFlow<()>) -> Sample {
        sampling.validate().expect("sampling settings are checked where they are read");
        assert!(!ids.is_empty(), "a turn needs at least one token");
        let ends = self.ends.clone();
        let stop = Stop { ids: &ends, ..Stop::default() };
        let mut logits = self.decoder.advance(&mut self.cache, &[ids]).swap_remove(0);
        let mut sample = Sample::default();
        let mut scratch = Vec::new();
        for position in 0..sampling.max_new_tokens {
            let at = pick::Position { prompt: 0, sample: self.n_turns, token: position as u32 };
            let drawn = pick::draw(&logits, sampling, self.seed, at, &mut scratch);
            sample.push(drawn);
            logits = self.decoder.advance(&mut self.cache, &[&[drawn.id]]).swap_remove(0);
            if stop.reached(&mut sample) || on_token(drawn).is_break() {
                break;
            }
        }
        self.n_turns += 1;
        sample
    }
}
