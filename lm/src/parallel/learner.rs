//! What trains a model: a trainer in the caller's thread for one device, replicas for several.
//!
//! One device is not a special case of replicas, so that nothing of what it computes depends on them.

use burn::tensor::Device;

use super::{Origin, ParallelError, Replicas};
use crate::batch::Batch;
use crate::model::Model;
use crate::optim::passes::{Measured, Passes};
use crate::optim::skip::History;
use crate::optim::{OptimizerState, Trainer, Update, Updated};
use crate::weights::NamedArrays;

/// See the module.
#[derive(Debug)]
pub enum Learner {
    /// On one device.
    One(Box<Trainer>),
    /// A replica per device.
    Many(Replicas),
}

impl Learner {
    /// A learner on `devices`. A model that is on the only device already stays as it is, with its kernels.
    ///
    /// # Errors
    /// When there is no device, the weights or rules do not fit, or a thread cannot be started.
    pub fn new(origin: Origin, devices: &[Device]) -> Result<Self, ParallelError> {
        let [device] = devices else { return Ok(Self::Many(Replicas::new(&origin, devices)?)) };
        let Origin { model, optimizer, state, rules, skip_step, precision } = origin;
        let model = match model.device() == *device {
            true => model,
            false => Model::from_weights(model.config(), model.weights(), device)?,
        };
        let trainer = super::trainer(model, precision, (optimizer, state), &rules)?;
        Ok(Self::One(Box::new(match skip_step {
            Some((config, history)) => trainer.with_skip_step(config, history),
            None => trainer,
        })))
    }

    /// One step: gradients of `batch`, then one update at rate `lr`, clipped to the global norm `max_grad_norm`, unless it
    /// is to be left out.
    ///
    /// # Errors
    /// When a replica's thread is gone.
    pub fn step(
        &mut self,
        batch: &Batch,
        passes: &Passes,
        lr: f64,
        max_grad_norm: Option<f64>,
    ) -> Result<(Measured, Updated), ParallelError> {
        match self {
            Self::One(trainer) => {
                let measured = trainer.differentiate(batch, passes);
                let updated = trainer.step(Update { lr, max_grad_norm, loss: measured.cross_entropy });
                Ok((measured, updated))
            }
            Self::Many(replicas) => replicas.step(batch, passes, lr, max_grad_norm),
        }
    }

    /// Losses and gradient norms that decide whether a step is left out, if any step may be.
    pub fn history(&self) -> Option<&History> {
        match self {
            Self::One(trainer) => trainer.history(),
            Self::Many(replicas) => replicas.history(),
        }
    }

    /// What `f` says of the model as it is now; of replicas, of the first one in its own thread.
    ///
    /// # Errors
    /// When the replica's thread is gone.
    pub fn look<T: Send + 'static>(&self, f: impl FnOnce(&Model) -> T + Send + 'static) -> Result<T, ParallelError> {
        match self {
            Self::One(trainer) => Ok(f(trainer.model())),
            Self::Many(replicas) => replicas.look(0, |trainer| f(trainer.model())),
        }
    }

    /// Weights and optimiser state as they are now.
    ///
    /// # Errors
    /// When the first replica's thread is gone.
    pub fn snapshot(&self) -> Result<(NamedArrays, OptimizerState), ParallelError> {
        match self {
            Self::One(trainer) => Ok((trainer.model().weights(), trainer.optimizer_state())),
            Self::Many(replicas) => replicas.snapshot(),
        }
    }
}
