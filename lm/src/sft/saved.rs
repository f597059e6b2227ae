//! A training run that goes on from its last saved state: what finetuning and reinforcement learning share.
//!
//! Knows no data and no loss; `T` is what a run keeps beside its checkpoint (its position in the data).

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chat::{Chat, ChatError};
use crate::checkpoint::progress::Progress;
use crate::checkpoint::{Checkpoint, CheckpointError, TrainingRecord, TrainingState};
use crate::model::WeightsError;
use crate::observe::Observer;
use crate::optim::{AdamW, AdamWConfig, Trainer};
use crate::pretrain::Saving;

/// Why a run cannot begin, be saved, or deliver its result.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The starting weights do not fit their configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint or a saved state cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer's files cannot be written.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

/// A trainer with the place where its state is saved.
pub(crate) struct SavedRun<'a> {
    pub(crate) trainer: Trainer,
    saving: Option<Saving<'a>>,
    saved_at: f64,
}

impl<'a> SavedRun<'a> {
    /// A run at its last saved state, with what was saved beside it; else one at `start` with a fresh optimiser.
    pub(crate) fn begin<T: DeserializeOwned>(
        start: &Checkpoint,
        optimizer: AdamWConfig,
        max_grad_norm: Option<f64>,
        device: &Device,
        saving: Option<Saving<'a>>,
        observer: &dyn Observer,
    ) -> Result<(Self, Option<T>), SavedError> {
        let saved = match saving {
            Some(saving) => Progress::new(saving.dir).load::<T>()?,
            None => None,
        };
        let (model, state, beside) = match saved {
            Some((saved, beside)) => {
                let model = saved.model(device)?;
                (model, saved.training.map(|training| training.optimizer).unwrap_or_default(), Some(beside))
            }
            None => (start.model(device)?, Default::default(), None),
        };
        let trainer = Trainer::new(model, AdamW::from_state(optimizer, state), max_grad_norm);
        Ok((SavedRun { trainer, saving, saved_at: observer.elapsed() }, beside))
    }

    /// Saves the state after `step` when it is due. Returns whether the observer asked to stop; then it is saved.
    pub(crate) fn after_step<T: Serialize>(
        &mut self,
        step: u64,
        beside: &T,
        observer: &dyn Observer,
    ) -> Result<bool, SavedError> {
        let stop = observer.should_stop();
        let Some(saving) = self.saving else { return Ok(stop) };
        let elapsed = observer.elapsed();
        let due = step.is_multiple_of(saving.every_steps.max(1)) || elapsed - self.saved_at >= saving.every_seconds;
        if stop || due {
            let record = TrainingRecord { step, ..TrainingRecord::default() };
            let training = TrainingState { record, optimizer: self.trainer.optimizer_state() };
            let checkpoint = Checkpoint { training: Some(training), ..checkpoint(&self.trainer) };
            Progress::new(saving.dir).save(step, &checkpoint, beside)?;
            self.saved_at = elapsed;
        }
        Ok(stop)
    }

    /// Writes the model and its tokenizer into `out` and removes the saved states.
    pub(crate) fn finish(self, chat: &Chat, out: &Path) -> Result<(), SavedError> {
        let checkpoint = checkpoint(&self.trainer);
        checkpoint.write(out)?;
        chat.write(out, checkpoint.config.pad_token_id, checkpoint.config.max_position_embeddings)?;
        if let Some(saving) = self.saving {
            Progress::new(saving.dir).clear()?;
        }
        Ok(())
    }
}

/// The model alone, without optimiser state.
fn checkpoint(trainer: &Trainer) -> Checkpoint {
    let model = trainer.model();
    Checkpoint::new(model.config().clone(), model.weights())
}
