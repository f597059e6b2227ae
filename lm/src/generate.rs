//! Sampling from a model with a key-value cache: many prompts at once, or one as a stream.
//!
//! Every token is drawn by a counter-based number named by `(seed, prompt, sample, position)`, so a sample does not
//! depend on the other rows, their number, or the number of threads. Knows token ids only; `chat` turns text into ids.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::model::decode::{Decoder, KvCache};

mod pick;
#[cfg(test)]
mod tests;

pub use pick::Drawn;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token (the lowest id on ties).
    pub temperature: f64,
    /// Only the `top_k` most likely tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens with at least this total probability is drawn from; 1 for all.
    pub top_p: f64,
    /// A sample ends after this many tokens if EOS has not come.
    pub max_new_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 64 }
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
        if self.max_new_tokens == 0 {
            return Err("sampling: max_new_tokens must be at least 1".to_string());
        }
        Ok(())
    }
}

/// A generated continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The generated ids, with the EOS that ended them if there is one.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the softmax of the logits divided by the temperature (1 when greedy), before
    /// `top_k` and `top_p` cut tokens off.
    pub logprobs: Vec<f64>,
    /// Whether EOS ended it, and not the length limit.
    pub stopped: bool,
}

impl Sample {
    /// The ids without the EOS at the end.
    pub fn text_ids(&self) -> &[u32] {
        &self.ids[..self.ids.len() - usize::from(self.stopped)]
    }
}

/// Sequences advanced together; bounds the memory of the cache.
const MAX_SEQUENCES: usize = 256;

/// `n_samples` continuations of each prompt (ids, BOS included), in order. `seed` names all draws; a prompt's position
/// in `prompts` is part of them, so the first prompt of two calls with one seed draws the same numbers.
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
    sampling.validate().expect("sampling settings are checked where they are read");
    assert!(prompts.iter().all(|prompt| !prompt.is_empty()), "a prompt needs at least one token");
    if n_samples == 0 {
        return vec![Vec::new(); prompts.len()];
    }
    let decoder = Decoder::new(model);
    let run = Run { decoder: &decoder, n_samples, sampling, eos, seed };
    let n_prompts = (MAX_SEQUENCES / n_samples).max(1);
    let chunks = prompts.chunks(n_prompts).enumerate();
    chunks.flat_map(|(chunk, prompts)| run.chunk(prompts, chunk * n_prompts)).collect()
}

/// What all sequences of a call share.
#[derive(Clone, Copy)]
struct Run<'a> {
    decoder: &'a Decoder,
    n_samples: usize,
    sampling: &'a Sampling,
    eos: u32,
    seed: u64,
}

impl Run<'_> {
    /// Samples of consecutive prompts, each of which is read once; `first` is the number of the first one.
    fn chunk(&self, prompts: &[Vec<u32>], first: usize) -> Vec<Vec<Sample>> {
        let mut read = self.decoder.cache(prompts.len());
        let slices: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let after_prompt = self.decoder.advance(&mut read, &slices);
        let rows: Vec<usize> = (0..prompts.len() * self.n_samples).map(|row| row / self.n_samples).collect();
        let mut cache = if self.n_samples == 1 { read } else { read.select(&rows) };
        let mut logits: Vec<Vec<f32>> = rows.iter().map(|&prompt| after_prompt[prompt].clone()).collect();
        let mut samples = vec![Sample::default(); rows.len()];
        for position in 0..self.sampling.max_new_tokens {
            let next: Vec<Vec<u32>> = samples
                .par_iter_mut()
                .zip(&logits)
                .enumerate()
                .map(|(row, (sample, logits))| {
                    if logits.is_empty() {
                        return Vec::new();
                    }
                    let at = pick::Position {
                        prompt: (first + row / self.n_samples) as u32,
                        sample: (row % self.n_samples) as u32,
                        token: position as u32,
                    };
                    let drawn = pick::draw(logits, self.sampling, self.seed, at);
                    sample.ids.push(drawn.id);
                    sample.logprobs.push(drawn.logprob);
                    sample.stopped = drawn.id == self.eos;
                    if sample.stopped { Vec::new() } else { vec![drawn.id] }
                })
                .collect();
            if position + 1 == self.sampling.max_new_tokens || next.iter().all(Vec::is_empty) {
                break;
            }
            let slices: Vec<&[u32]> = next.iter().map(Vec::as_slice).collect();
            logits = self.decoder.advance(&mut cache, &slices);
        }
        samples.chunks(self.n_samples).map(<[Sample]>::to_vec).collect()
    }
}

/// A conversation being generated token by token; keeps its cache between turns.
pub struct Dialogue {
    decoder: Decoder,
    cache: KvCache,
    eos: u32,
    n_turns: u32,
    seed: u64,
}

impl Dialogue {
    /// An empty conversation with a model.
    pub fn new(model: &Model, eos: u32, seed: u64) -> Self {
        let decoder = Decoder::new(model);
        let cache = decoder.cache(1);
        Dialogue { decoder, cache, eos, n_turns: 0, seed }
    }

    /// Number of tokens read so far.
    pub fn len(&self) -> usize {
        self.cache.len_of(0)
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `ids` (those not read before), then generates until EOS, the limit, or `on_token` breaks. `on_token` is
    /// called with each drawn token except EOS. The generated tokens, EOS included, are read into the cache.
    ///
    /// # Panics
    /// If `ids` is empty or the sampling settings are out of range.
    pub fn answer(&mut self, ids: &[u32], sampling: &Sampling, mut on_token: impl FnMut(Drawn) -> ControlFlow<()>) -> Sample {
        sampling.validate().expect("sampling settings are checked where they are read");
        assert!(!ids.is_empty(), "a turn needs at least one token");
        let mut logits = self.decoder.advance(&mut self.cache, &[ids]).swap_remove(0);
        let mut sample = Sample::default();
        for position in 0..sampling.max_new_tokens {
            let at = pick::Position { prompt: 0, sample: self.n_turns, token: position as u32 };
            let drawn = pick::draw(&logits, sampling, self.seed, at);
            sample.ids.push(drawn.id);
            sample.logprobs.push(drawn.logprob);
            logits = self.decoder.advance(&mut self.cache, &[&[drawn.id]]).swap_remove(0);
            sample.stopped = drawn.id == self.eos;
            if sample.stopped || on_token(drawn).is_break() {
                break;
            }
        }
        self.n_turns += 1;
        sample
    }
}
