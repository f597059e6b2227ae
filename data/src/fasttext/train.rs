//! Supervised training with softmax, example by example as fastText does it on one thread.
//! Knows labelled lines, not where they come from.
//!
//! One update follows another, so the model does not depend on the number of threads; only the features of the lines are found in
//! parallel. Where fastText leaves the order of equally frequent words to its sort, the word met first comes first here, so a model
//! has other rows than fastText's own with the same seed, and is as good.

use super::dictionary::{Buckets, Dictionary, Entry, tokens};
use super::loss::{Loss, normalise};
use super::matrix::Matrix;
use super::{Args, LABEL_PREFIX, Model};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use std::collections::HashMap;

/// A text and its label, without the prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// One line; newlines count as spaces.
    pub text: String,
    /// A label without space.
    pub label: String,
}

/// How a classifier is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainParams {
    /// Learning rate at the beginning; it falls to 0 linearly.
    pub lr: f64,
    /// Length of the vectors.
    pub dim: u32,
    /// Passes over the examples.
    pub epochs: u32,
    /// Words that occur less often are not kept.
    pub min_count: u32,
    /// Longest n-gram of words that is a feature.
    pub word_ngrams: u32,
    /// Shortest n-gram of characters that is a feature; 0 for none.
    pub minn: u32,
    /// Longest n-gram of characters.
    pub maxn: u32,
    /// Rows that n-grams are hashed to; none when there are no n-grams.
    pub buckets: u32,
    /// Where the vectors begin.
    pub seed: u64,
}

impl Default for TrainParams {
    fn default() -> TrainParams {
        TrainParams { lr: 0.1, dim: 100, epochs: 5, min_count: 1, word_ngrams: 2, minn: 0, maxn: 0, buckets: 200_000, seed: 0 }
    }
}

/// Tokens between updates of the learning rate.
const LR_UPDATE: u64 = 100;

/// Trains a classifier on the examples, in their order in every epoch. Holds the matrices, (words + buckets) × dim × 4 bytes, and
/// the features of all examples, 4 bytes each.
///
/// Fails when there are fewer than two labels, or a label has space in it.
pub fn train(examples: &[Example], params: &TrainParams, observer: &dyn Observer) -> Result<Model, DataError> {
    let args = args(params)?;
    let dictionary = vocabulary(examples, params, &args)?;
    let labels: HashMap<&str, usize> =
        dictionary.labels.iter().zip(0..).map(|(label, id)| (&label.text[LABEL_PREFIX.len()..], id)).collect();
    let rows = dictionary.words() + args.bucket as usize;
    let dim = args.dim as usize;
    let lines: Vec<(Vec<u32>, usize, u64)> = examples
        .par_iter()
        .map(|example| {
            let line = one_line(&example.text);
            // The label is a token of the line to fastText, which counts them to lower the learning rate.
            (dictionary.features(&line), labels[example.label.as_str()], tokens(&line).count() as u64 + 1)
        })
        .collect();
    let mut input = vec![0f32; rows * dim];
    let mut random = MinStd::new(params.seed);
    let bound = 1.0 / dim as f64;
    input.iter_mut().for_each(|value| *value = (random.unit() * 2.0 * bound - bound) as f32);
    let mut output = vec![0f32; dictionary.labels.len() * dim];
    let mut state = State { hidden: vec![0.0; dim], gradient: vec![0.0; dim], outputs: vec![0.0; dictionary.labels.len()] };
    let total = u64::from(params.epochs) * dictionary.tokens as u64;
    let (mut done, mut local) = (0u64, 0u64);
    let mut loss = 0.0;
    for epoch in 0..params.epochs {
        loss = 0.0;
        for (n, (features, label, tokens)) in lines.iter().enumerate() {
            if n % 1024 == 0 {
                check(observer)?;
                observer.progress(
                    u64::from(epoch) * lines.len() as u64 + n as u64,
                    Some(u64::from(params.epochs) * lines.len() as u64),
                );
            }
            let lr = (params.lr * (1.0 - f64::from(done as f32 / total as f32))) as f32;
            if !features.is_empty() {
                loss += f64::from(state.update(&mut input, &mut output, features, *label, lr));
            }
            local += tokens;
            if local > LR_UPDATE {
                done = (done + std::mem::take(&mut local)).min(total);
            }
        }
    }
    observer.metric("train/loss", loss / lines.len() as f64);
    let counts: Vec<i64> = dictionary.labels.iter().map(|label| label.count).collect();
    let loss = Loss::new(args.loss, &counts).expect("softmax is a loss");
    let (input, output) = (Matrix::Dense { columns: dim, values: input }, Matrix::Dense { columns: dim, values: output });
    Ok(Model { args, dictionary, input, output, loss })
}

fn args(params: &TrainParams) -> Result<Args, DataError> {
    let small = |name: &str, value: u32, least: u32| {
        i32::try_from(value)
            .ok()
            .filter(|_| value >= least)
            .ok_or_else(|| DataError::Params(format!("`{name}` is {value}; {least} is the least")))
    };
    if params.maxn > 0 && params.minn > params.maxn {
        return Err(DataError::Params(format!(
            "`minn` is {} and `maxn` {}; the shortest n-gram is longer than the longest",
            params.minn, params.maxn
        )));
    }
    let ngrams = params.word_ngrams > 1 || params.maxn > 0;
    Ok(Args {
        dim: small("dim", params.dim, 1)?,
        ws: 5,
        epoch: small("epochs", params.epochs, 1)?,
        min_count: small("min_count", params.min_count, 1)?,
        neg: 5,
        word_ngrams: small("word_ngrams", params.word_ngrams, 1)?,
        loss: 3,
        model: 3,
        bucket: if ngrams { small("buckets", params.buckets, 1)? } else { 0 },
        minn: small("minn", params.minn, 0)?,
        maxn: small("maxn", params.maxn, 0)?,
        lr_update_rate: LR_UPDATE as i32,
        t: 1e-4,
    })
}

fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\n') { text.replace('\n', " ").into() } else { text.into() }
}

/// Words and labels, each by falling count; of equal count in the order met.
fn vocabulary(examples: &[Example], params: &TrainParams, args: &Args) -> Result<Dictionary, DataError> {
    let mut words: HashMap<&str, (i64, u64), ahash::RandomState> =
        HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let mut labels: HashMap<&str, (i64, u64)> = HashMap::new();
    let mut met = 0;
    for (n, example) in examples.iter().enumerate() {
        if example.label.is_empty() || example.label.contains(|c: char| c.is_whitespace() || c == '\0') {
            let message = format!("the label of example {n} is `{}`; a label is not empty and has no space", example.label);
            return Err(DataError::Params(message));
        }
        met += 1;
        labels.entry(&example.label).or_insert((0, met)).0 += 1;
        let lines = example.text.split('\n').flat_map(|line| tokens(line).filter(|token| *token != super::dictionary::END));
        for token in lines.chain(std::iter::once(super::dictionary::END)) {
            met += 1;
            if !token.starts_with(LABEL_PREFIX) {
                words.entry(token).or_insert((0, met)).0 += 1;
            }
        }
    }
    if labels.len() < 2 {
        let message = format!("a classifier needs two labels or more, and the examples have {}", labels.len());
        return Err(DataError::Params(message));
    }
    let sorted = |entries: Vec<(String, (i64, u64))>| {
        let mut entries = entries;
        entries.sort_by_key(|(_, (count, met))| (-count, *met));
        entries.into_iter().map(|(text, (count, _))| Entry { text: text.into(), count }).collect::<Vec<_>>()
    };
    let kept = words.into_iter().filter(|(_, (count, _))| *count >= i64::from(params.min_count));
    let words = sorted(kept.map(|(word, entry)| (word.to_owned(), entry)).collect());
    let labels = sorted(labels.into_iter().map(|(label, entry)| (format!("{LABEL_PREFIX}{label}"), entry)).collect());
    Ok(Dictionary::new(args, words, labels, met as i64, Buckets::All))
}

struct State {
    hidden: Vec<f32>,
    gradient: Vec<f32>,
    outputs: Vec<f32>,
}

impl State {
    /// One step on one example; gives its loss.
    fn update(&mut self, input: &mut [f32], output: &mut [f32], features: &[u32], label: usize, lr: f32) -> f32 {
        let State { hidden, gradient, outputs } = self;
        let dim = hidden.len();
        let row = |row: u32| row as usize * dim..(row as usize + 1) * dim;
        hidden.fill(0.0);
        for &feature in features {
            hidden.iter_mut().zip(&input[row(feature)]).for_each(|(sum, value)| *sum += value);
        }
        let scale = (1.0 / features.len() as f64) as f32;
        hidden.iter_mut().for_each(|value| *value *= scale);
        for (out, row) in outputs.iter_mut().zip(output.chunks_exact(dim)) {
            *out = row.iter().zip(&*hidden).fold(0.0, |sum, (a, b)| sum + a * b);
        }
        normalise(outputs);
        gradient.fill(0.0);
        for (i, (probability, row)) in outputs.iter().zip(output.chunks_exact_mut(dim)).enumerate() {
            let alpha = lr * (f32::from(u8::from(i == label)) - probability);
            for ((gradient, value), hidden) in gradient.iter_mut().zip(row).zip(&*hidden) {
                *gradient += alpha * *value;
                *value += alpha * hidden;
            }
        }
        gradient.iter_mut().for_each(|value| *value *= scale);
        for &feature in features {
            input[row(feature)].iter_mut().zip(&*gradient).for_each(|(value, step)| *value += step);
        }
        -(f64::from(outputs[label]) + 1e-5).ln() as f32
    }
}

/// The generator that fastText draws from (Park and Miller, with the multiplier 48271).
struct MinStd(u64);

impl MinStd {
    const MODULUS: u64 = 2_147_483_647;

    fn new(seed: u64) -> MinStd {
        MinStd(match seed % MinStd::MODULUS {
            0 => 1,
            seed => seed,
        })
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0 * 48_271 % MinStd::MODULUS;
        self.0
    }

    /// Uniform in [0, 1), of two draws, as the C++ library makes it.
    fn unit(&mut self) -> f64 {
        let range = (MinStd::MODULUS - 1) as f64;
        let low = (self.next() - 1) as f64;
        let high = (self.next() - 1) as f64;
        (low + high * range) / (range * range)
    }
}
