//! The step of the training loop, on one device or on several.

use burn::tensor::Device;

use super::{PretrainConfig, TrainError};
use crate::batch::Batch;
use crate::kernels::LossScale;
use crate::model::Loss;
use crate::optim::{AdamW, OptimizerState, Trainer};
use crate::parallel::{Origin, Replicas, StepValues};
use crate::weights::NamedArrays;

/// The model in training: here, or one replica per device.
pub(super) enum Learner {
    One(Box<Trainer>),
    Many(Replicas),
}

impl Learner {
    pub(super) fn new(origin: Origin, devices: &[Device]) -> Result<Self, TrainError> {
        if devices.len() > 1 {
            return Ok(Self::Many(Replicas::new(&origin, devices)?));
        }
        let optimizer = AdamW::from_state(origin.optimizer, origin.state);
        let model = origin.model.with_precision(origin.precision);
        Ok(Self::One(Box::new(Trainer::new(model, optimizer, origin.max_grad_norm))))
    }

    /// One step: gradients of all micro-batches, each divided by the targets of the whole batch, then one update.
    pub(super) fn step(&mut self, batch: &Batch, config: &PretrainConfig, lr: f64) -> Result<StepValues, TrainError> {
        let trainer = match self {
            Self::One(trainer) => trainer,
            Self::Many(replicas) => return Ok(replicas.step(batch, config.micro_batch, config.z_loss, lr)?),
        };
        let n_targets = batch.n_targets().max(1) as f64;
        let scale = LossScale::new(config.z_loss, n_targets);
        let losses: Vec<Loss> = batch
            .micro_batches(config.micro_batch)
            .map(|micro| {
                let loss = trainer.model().loss(&micro, scale);
                trainer.accumulate(&loss.tensor());
                loss
            })
            .collect();
        // Read at the end, so that a device is never left without work.
        let (mut cross_entropy, mut squared_lse) = (0.0, 0.0);
        for loss in losses {
            let values = loss.read();
            cross_entropy += values.cross_entropy / n_targets;
            squared_lse += values.squared_lse / n_targets;
        }
        Ok(StepValues { cross_entropy, squared_lse, grad_norm: trainer.update(lr) })
    }

    /// Weights and optimiser state.
    pub(super) fn snapshot(&self) -> Result<(NamedArrays, OptimizerState), TrainError> {
        match self {
            Self::One(trainer) => Ok((trainer.model().weights(), trainer.optimizer_state())),
            Self::Many(replicas) => Ok(replicas.snapshot()?),
        }
    }
}
