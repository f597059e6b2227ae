//! fastText classifiers (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification"): read, ask, train, write.
//! Knows the file format of fastText 0.9 (`.bin` and the quantised `.ftz`) and its arithmetic; knows no document.
//!
//! Probabilities are computed in the order and precision of the original, so they agree with it to the last digits of single
//! precision. Unsupervised models (word vectors) are not read.

mod dictionary;
mod file;
mod loss;
mod matrix;
mod train;

use crate::error::DataError;
use dictionary::Dictionary;
use loss::Loss;
use matrix::Matrix;
use std::path::Path;

pub use train::{Example, TrainParams, train};

/// The prefix that tells labels from words in a model file.
pub const LABEL_PREFIX: &str = "__label__";

/// What a model was trained with, as its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// Length of the vectors.
    pub dim: i32,
    /// Context window; unused by classifiers.
    pub ws: i32,
    /// Passes over the examples.
    pub epoch: i32,
    /// Words that occur less often are not kept.
    pub min_count: i32,
    /// Negative examples of the loss `ns`.
    pub neg: i32,
    /// Longest n-gram of words that is a feature.
    pub word_ngrams: i32,
    /// 1 hierarchical softmax, 2 negative sampling, 3 softmax, 4 one against all.
    pub loss: i32,
    /// 3 for a classifier.
    pub model: i32,
    /// Rows that n-grams are hashed to.
    pub bucket: i32,
    /// Shortest n-gram of characters that is a feature; 0 for none.
    pub minn: i32,
    /// Longest n-gram of characters.
    pub maxn: i32,
    /// Tokens between updates of the learning rate.
    pub lr_update_rate: i32,
    /// Sampling threshold; unused by classifiers.
    pub t: f64,
}

/// A label and its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction<'a> {
    /// The label with its prefix.
    pub label: &'a str,
    /// The probability plus 1e-5, which is how fastText keeps logarithms finite; it can exceed 1.
    pub probability: f32,
}

/// A classifier.
#[derive(Debug)]
pub struct Model {
    args: Args,
    dictionary: Dictionary,
    input: Matrix,
    output: Matrix,
    loss: Loss,
}

impl Model {
    /// Reads a `.bin` or `.ftz` file, or `model.bin` in a directory.
    ///
    /// Fails, naming the file, for what is no classifier of fastText, is cut off, or claims sizes that its length denies.
    pub fn load(path: &Path) -> Result<Model, DataError> {
        let file = if path.is_dir() { path.join("model.bin") } else { path.to_path_buf() };
        let bytes = fs_err::read(&file)?;
        file::read(&bytes).map_err(|message| DataError::format(&file, message))
    }

    /// Writes a `.bin` file that fastText reads.
    ///
    /// Fails for a quantised model.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let bytes = file::write(self).map_err(|message| DataError::format(path, message))?;
        fs_err::write(path, bytes)?;
        Ok(())
    }

    /// What the model was trained with.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// The labels with their prefix, the most frequent first.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.dictionary.labels()
    }

    /// Number of words in the vocabulary.
    pub fn words(&self) -> usize {
        self.dictionary.words()
    }

    /// The `k` likeliest labels of one line of text (all when `k` is `None`), the likeliest first. Tokens are what stands between
    /// ASCII spaces; a text without any known feature has no labels.
    ///
    /// Text behind a newline is not looked at.
    pub fn predict(&self, line: &str, k: Option<usize>) -> Vec<Prediction<'_>> {
        let features = self.dictionary.features(line);
        if features.is_empty() {
            return Vec::new();
        }
        let mut hidden = vec![0f32; self.args.dim as usize];
        self.input.average(&features, &mut hidden);
        let best = self.loss.predict(&self.output, &hidden, k.unwrap_or(usize::MAX));
        best.into_iter().map(|(log, label)| Prediction { label: self.dictionary.label(label), probability: log.exp() }).collect()
    }
}

#[cfg(test)]
mod tests;
