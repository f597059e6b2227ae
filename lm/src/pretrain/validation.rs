//! Held-out loss during training, under OLMo-core's names `eval/lm/LABEL/CE loss` and `PPL`: the mean over tokens of
//! documents in rows of their own, cut off at the sequence length.
//!
//! Reads the model only, so a run with it trains the same bits as one without.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;

use super::{HeldOut, PretrainConfig, TrainError};
use crate::config::ModelConfig;
use crate::kernels::LossScale;
use crate::loader::{LoaderError, PaddedDocuments, ReadError};
use crate::model::Model;
use crate::observe::Observer;
use crate::parallel::Learner;

/// Documents under a label, and how many of them are measured.
#[derive(Debug)]
struct Set {
    label: String,
    documents: PaddedDocuments,
    n: usize,
}

impl Set {
    /// The mean over the targets, `rows` documents at a time.
    fn loss(&self, model: &Model, rows: usize) -> Result<f64, ReadError> {
        let model = model.valid();
        let (mut sum, mut n_targets) = (0.0, 0);
        for first in (0..self.n).step_by(rows) {
            let batch = self.documents.batch(first..(first + rows).min(self.n))?;
            sum += model.loss(&batch, LossScale::new(0.0, 1.0)).read().cross_entropy;
            n_targets += batch.n_targets();
        }
        Ok(sum / n_targets.max(1) as f64)
    }
}

/// What is measured and when.
#[derive(Debug)]
pub(super) struct Validation {
    sets: Vec<Arc<Set>>,
    every_steps: u64,
    rows: usize,
}

impl Validation {
    pub(super) fn new(config: &PretrainConfig, model: &ModelConfig, held_out: Vec<HeldOut>) -> Result<Self, TrainError> {
        let set = |HeldOut { label, tokens }: HeldOut| {
            let documents = PaddedDocuments::new(tokens, config.sequence_length, model.eos_token_id, model.filler());
            let documents = documents.map_err(LoaderError::Read)?;
            let (mut n, mut tokens) = (0, 0);
            while n < documents.len() && config.validation.max_tokens.is_none_or(|max| tokens < max) {
                tokens += documents.tokens(n) as u64;
                n += 1;
            }
            if n == 0 {
                return Err(TrainError::Config(format!("the held-out tokens `{label}` have no document")));
            }
            Ok(Arc::new(Set { label, documents, n }))
        };
        let sets = held_out.into_iter().map(set).collect::<Result<_, TrainError>>()?;
        Ok(Self { sets, every_steps: config.validation.every_steps, rows: config.micro_batch })
    }

    /// Whether step `step` of `n_steps` is followed by a measurement.
    pub(super) fn due(&self, step: u64, n_steps: u64) -> bool {
        !self.sets.is_empty() && (step == n_steps || (self.every_steps > 0 && step.is_multiple_of(self.every_steps)))
    }

    /// Measures and reports the loss of the model as it is now on every label.
    pub(super) fn measure(
        &self,
        learner: &Learner,
        step: u64,
        observer: &mut dyn Observer,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let began = observer.elapsed();
        let mut losses = BTreeMap::new();
        for set in &self.sets {
            let (label, shared, rows) = (&set.label, set.clone(), self.rows);
            let loss = learner.look(move |model| shared.loss(model, rows))?.map_err(LoaderError::Read)?;
            observer.metric(step, &format!("eval/lm/{label}/CE loss"), loss);
            observer.metric(step, &format!("eval/lm/{label}/PPL"), loss.exp());
            losses.insert(label.clone(), loss);
        }
        let seconds = observer.elapsed() - began;
        if seconds > 0.0 {
            observer.metric(step, "throughput/in-loop eval time (s)", seconds);
        }
        Ok(losses)
    }
}
