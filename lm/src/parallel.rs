//! Data-parallel training on one host: a replica of the model per device, each with a thread of its own.
//!
//! A step deals the passes of a batch to the replicas in order, adds up their gradients, and lets every replica do the
//! same update, so that the replicas stay the same to the bit. Losses are divided by the targets of the whole batch
//! before, so the trace is that of one device up to the order of the additions. NVIDIA GPUs exchange gradients through
//! NCCL; other devices, and GPUs without it, through the host, which adds in the order of the replicas. Knows no data and
//! no schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::channel;

use burn::tensor::Device;

use crate::batch::Batch;
use crate::kernels::Precision;
use crate::model::{Model, WeightsError};
use crate::optim::passes::{Measured, Passes};
use crate::optim::rules::{RuleError, Rules};
use crate::optim::skip::{History, SkipStepConfig};
use crate::optim::{AdamW, AdamWConfig, OptimizerState, Trainer, Updated, clipping};
use crate::weights::NamedArrays;

mod learner;
mod worker;

pub use learner::Learner;
use worker::{Command, Copying, Reply, Worker};

/// Why replicas cannot train.
#[derive(Debug, thiserror::Error)]
pub enum ParallelError {
    /// No device was given.
    #[error("data-parallel training needs at least one device")]
    NoDevice,
    /// The weights do not make a model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A rule of the optimiser does not fit the model.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// A thread could not be started.
    #[error("the thread of replica {replica} cannot be started: {source}")]
    Thread {
        /// The replica.
        replica: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A replica's thread is gone.
    #[error("replica {replica} stopped working (its thread panicked); what it said is above")]
    Lost {
        /// The replica, counted from 0.
        replica: usize,
    },
}

/// What training starts from, on one device or several.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The model, on any device.
    pub model: Model,
    /// AdamW's constants.
    pub optimizer: AdamWConfig,
    /// AdamW's memory.
    pub state: OptimizerState,
    /// Parameters with constants of their own, and what trains.
    pub rules: Rules,
    /// When updates are left out, and what decides it.
    pub skip_step: Option<(SkipStepConfig, History)>,
    /// The type the replicas compute in.
    pub precision: Precision,
}

impl Origin {
    /// A model in single precision with a fresh optimiser, of which everything trains.
    pub fn new(model: Model, optimizer: AdamWConfig) -> Self {
        let (state, rules) = (OptimizerState::default(), Rules::default());
        Self { model, optimizer, state, rules, skip_step: None, precision: Precision::F32 }
    }
}

/// A trainer without bound of the gradient norm, which every step says.
fn trainer(
    model: Model,
    precision: Precision,
    (optimizer, state): (AdamWConfig, OptimizerState),
    rules: &Rules,
) -> Result<Trainer, RuleError> {
    let model = model.with_precision(precision);
    let optimizer = AdamW::from_state(optimizer, state).with_rules(rules, &model)?;
    Ok(Trainer::new(model, optimizer, None))
}

/// How gradients meet.
#[derive(Clone, Debug)]
enum Exchange {
    /// There is one replica.
    None,
    /// Through the memory of the host.
    Host,
    /// Through the devices' own collective.
    Devices(Arc<[Device]>),
}

impl Exchange {
    fn between(devices: &[Device]) -> Self {
        match devices.len() {
            1 => Self::None,
            _ if have_collective(devices) => Self::Devices(devices.into()),
            _ => Self::Host,
        }
    }
}

#[cfg(feature = "gpu")]
fn have_collective(devices: &[Device]) -> bool {
    use burn::backend::DispatchDevice;
    let distinct = devices.iter().enumerate().all(|(i, device)| !devices[..i].contains(device));
    let connected = |device: &Device| match device.as_dispatch() {
        DispatchDevice::Cube(device) => device.client().has_device_transport(),
        _ => false,
    };
    distinct && devices.iter().all(connected)
}

#[cfg(not(feature = "gpu"))]
fn have_collective(_devices: &[Device]) -> bool {
    false
}

/// Replicas of a model in training.
pub struct Replicas {
    workers: Vec<Worker>,
    exchange: Exchange,
    skip_step: Option<(SkipStepConfig, History)>,
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("n", &self.workers.len()).field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

impl Replicas {
    /// One replica of `origin` per device. The same device may be named more than once.
    ///
    /// # Errors
    /// When there is no device, the weights or rules do not fit, or a thread cannot be started.
    pub fn new(origin: &Origin, devices: &[Device]) -> Result<Self, ParallelError> {
        if devices.is_empty() {
            return Err(ParallelError::NoDevice);
        }
        let exchange = Exchange::between(devices);
        let weights = origin.model.weights();
        let copying = if matches!(exchange, Exchange::Host) { Copying::ToHost } else { Copying::Nothing };
        let start = |(replica, device): (usize, &Device)| -> Result<Worker, ParallelError> {
            let model = Model::from_weights(origin.model.config(), weights.clone(), device)?;
            let trainer = trainer(model, origin.precision, (origin.optimizer, origin.state.clone()), &origin.rules)?;
            Worker::start(trainer, replica, copying).map_err(|source| ParallelError::Thread { replica, source })
        };
        let workers = devices.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, exchange, skip_step: origin.skip_step.clone() })
    }

    /// Number of replicas.
    pub fn n(&self) -> usize {
        self.workers.len()
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
        let passes = passes.of(batch);
        let n = self.n();
        for replica in 0..n {
            let share = passes[passes.len() * replica / n..passes.len() * (replica + 1) / n].to_vec();
            self.tell(replica, Command::Differentiate(share))?;
        }
        let mut all_values = Vec::with_capacity(passes.len());
        let (mut all_names, mut sums) = (BTreeSet::new(), BTreeMap::<String, Vec<f32>>::new());
        for replica in 0..n {
            if let Reply::Measured { values, names, host } = self.hear(replica)? {
                all_values.extend(values);
                all_names.extend(names);
                add(&mut sums, host.unwrap_or_default());
            }
        }
        let measured = Measured::sum(all_values);
        let (sums, all_names) = (Arc::new(sums), Arc::new(all_names));
        for replica in 0..n {
            match &self.exchange {
                Exchange::None => {}
                Exchange::Host => self.tell(replica, Command::Take(sums.clone()))?,
                Exchange::Devices(devices) => {
                    self.tell(replica, Command::AllReduce(all_names.clone(), devices.clone()))?;
                }
            }
        }
        // One replica's norm counts for all: on another GPU its sum might be rounded in another order.
        self.tell(0, Command::Norm)?;
        let Reply::Norm(grad_norm) = self.hear(0)? else { return Err(ParallelError::Lost { replica: 0 }) };
        let skipped = match &mut self.skip_step {
            Some((config, history)) => history.skips(measured.cross_entropy, grad_norm, *config),
            None => false,
        };
        for replica in 0..n {
            let update = Command::Update { lr, scale: clipping(grad_norm, max_grad_norm) };
            self.tell(replica, if skipped { Command::Skip } else { update })?;
        }
        Ok((measured, Updated { grad_norm, skipped }))
    }

    /// Losses and gradient norms that decide whether a step is left out, if any step may be.
    pub fn history(&self) -> Option<&History> {
        self.skip_step.as_ref().map(|(_, history)| history)
    }

    /// What `f` says of replica `replica` once its steps are done.
    ///
    /// # Errors
    /// When the replica's thread is gone.
    pub fn look<T: Send + 'static>(
        &self,
        replica: usize,
        f: impl FnOnce(&Trainer) -> T + Send + 'static,
    ) -> Result<T, ParallelError> {
        let (outbox, inbox) = channel();
        self.tell(
            replica,
            Command::Look(Box::new(move |trainer| {
                // Nobody listens only if the caller is gone.
                let _ = outbox.send(f(trainer));
            })),
        )?;
        inbox.recv().map_err(|_| ParallelError::Lost { replica })
    }

    /// Weights and optimiser state as they are now.
    ///
    /// # Errors
    /// When the first replica's thread is gone.
    pub fn snapshot(&self) -> Result<(NamedArrays, OptimizerState), ParallelError> {
        self.look(0, |trainer| (trainer.model().weights(), trainer.optimizer_state()))
    }

    /// Ends the threads and gives the trainers back.
    ///
    /// # Errors
    /// When a replica's thread is gone.
    pub fn into_trainers(self) -> Result<Vec<Trainer>, ParallelError> {
        let ended = self.workers.into_iter().enumerate().map(|(replica, worker)| {
            drop(worker.commands);
            worker.thread.join().map_err(|_| ParallelError::Lost { replica })
        });
        ended.collect()
    }

    fn tell(&self, replica: usize, command: Command) -> Result<(), ParallelError> {
        self.workers[replica].commands.send(command).map_err(|_| ParallelError::Lost { replica })
    }

    fn hear(&self, replica: usize) -> Result<Reply, ParallelError> {
        self.workers[replica].replies.recv().map_err(|_| ParallelError::Lost { replica })
    }
}

fn add(sums: &mut BTreeMap<String, Vec<f32>>, more: BTreeMap<String, Vec<f32>>) {
    for (name, values) in more {
        match sums.get_mut(&name) {
            Some(sum) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            None => {
                sums.insert(name, values);
            }
        }
    }
}

#[cfg(test)]
mod tests;
