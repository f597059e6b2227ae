//! Data-parallel training on one host: a replica of the model per device, each with a thread of its own.
//!
//! A step deals the micro-batches of a batch to the replicas in order, adds up their gradients, and lets every replica
//! do the same update, so that the replicas stay the same to the bit. Losses are divided by the targets of the whole
//! batch before, so the trace is that of one device up to the order of the additions. NVIDIA GPUs exchange gradients
//! through NCCL; other devices through the host, which adds in the order of the replicas. Knows no data and no schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use burn::tensor::Device;

use crate::batch::Batch;
use crate::kernels::{LossScale, Precision};
use crate::model::{Model, WeightsError};
use crate::optim::{AdamW, AdamWConfig, Gradients, OptimizerState, Trainer};
use crate::weights::NamedArrays;

/// Why replicas cannot train.
#[derive(Debug, thiserror::Error)]
pub enum ParallelError {
    /// No device was given.
    #[error("data-parallel training needs at least one device")]
    NoDevice,
    /// The weights do not make a model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
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

/// What a step measured; sums are divided by the number of targets of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepValues {
    /// Negative log-likelihood in nats per target.
    pub cross_entropy: f64,
    /// Squared log-partition function per target.
    pub squared_lse: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

/// What all replicas start from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The model, on any device.
    pub model: Model,
    /// AdamW's constants.
    pub optimizer: AdamWConfig,
    /// AdamW's memory.
    pub state: OptimizerState,
    /// Largest global gradient norm; `None`: no clipping.
    pub max_grad_norm: Option<f64>,
    /// The type the replicas compute in.
    pub precision: Precision,
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

type Look = Box<dyn FnOnce(&Trainer) + Send>;

enum Command {
    /// Differentiate the losses of these pieces.
    Differentiate(Vec<Batch>, LossScale),
    /// Take these as the sum of all replicas' gradients.
    Take(Arc<BTreeMap<String, Vec<f32>>>),
    /// Add up the gradients of these names with the other devices'.
    AllReduce(Arc<BTreeSet<String>>, Arc<[Device]>),
    /// Say the norm of the gradients.
    Norm,
    /// Update the parameters.
    Update { lr: f64, norm: f64 },
    /// Show the trainer.
    Look(Look),
}

enum Reply {
    Losses { cross_entropy: f64, squared_lse: f64, names: BTreeSet<String>, host: Option<BTreeMap<String, Vec<f32>>> },
    Norm(f64),
}

struct Worker {
    commands: Sender<Command>,
    replies: Receiver<Reply>,
    thread: JoinHandle<Trainer>,
}

/// Replicas of a model in training.
pub struct Replicas {
    workers: Vec<Worker>,
    exchange: Exchange,
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("n", &self.workers.len()).field("exchange", &self.exchange).finish()
    }
}

impl Replicas {
    /// One replica of `origin` per device. The same device may be named more than once.
    ///
    /// # Errors
    /// When there is no device, the weights do not fit, or a thread cannot be started.
    pub fn new(origin: &Origin, devices: &[Device]) -> Result<Self, ParallelError> {
        if devices.is_empty() {
            return Err(ParallelError::NoDevice);
        }
        let exchange = Exchange::between(devices);
        let weights = origin.model.weights();
        let keep_host = matches!(exchange, Exchange::Host);
        let start = |(replica, device): (usize, &Device)| -> Result<Worker, ParallelError> {
            let model = Model::from_weights(origin.model.config(), weights.clone(), device)?.with_precision(origin.precision);
            let optimizer = AdamW::from_state(origin.optimizer, origin.state.clone());
            let trainer = Trainer::new(model, optimizer, origin.max_grad_norm);
            let (commands, inbox) = channel();
            let (outbox, replies) = channel();
            let thread = std::thread::Builder::new()
                .name(format!("replica {replica}"))
                .spawn(move || work(trainer, &inbox, &outbox, keep_host))
                .map_err(|source| ParallelError::Thread { replica, source })?;
            Ok(Worker { commands, replies, thread })
        };
        let workers = devices.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, exchange })
    }

    /// Number of replicas.
    pub fn n(&self) -> usize {
        self.workers.len()
    }

    /// One step: gradients of `batch` in micro-batches of `micro_batch` sequences, then one update at rate `lr`.
    ///
    /// # Errors
    /// When a replica's thread is gone.
    pub fn step(&mut self, batch: &Batch, micro_batch: usize, z_loss: f64, lr: f64) -> Result<StepValues, ParallelError> {
        let divisor = batch.n_targets().max(1) as f64;
        let scale = LossScale::new(z_loss, divisor);
        let pieces: Vec<Batch> = batch.micro_batches(micro_batch).collect();
        let n = self.n();
        for replica in 0..n {
            let share = pieces[pieces.len() * replica / n..pieces.len() * (replica + 1) / n].to_vec();
            self.tell(replica, Command::Differentiate(share, scale))?;
        }
        let (mut cross_entropy, mut squared_lse) = (0.0, 0.0);
        let (mut all_names, mut sums) = (BTreeSet::new(), BTreeMap::<String, Vec<f32>>::new());
        for replica in 0..n {
            if let Reply::Losses { cross_entropy: nll, squared_lse: squares, names, host } = self.hear(replica)? {
                cross_entropy += nll / divisor;
                squared_lse += squares / divisor;
                all_names.extend(names);
                add(&mut sums, host.unwrap_or_default());
            }
        }
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
        let grad_norm = match self.hear(0)? {
            Reply::Norm(norm) => norm,
            Reply::Losses { .. } => return Err(ParallelError::Lost { replica: 0 }),
        };
        for replica in 0..n {
            self.tell(replica, Command::Update { lr, norm: grad_norm })?;
        }
        Ok(StepValues { cross_entropy, squared_lse, grad_norm })
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

/// What a replica's thread does until nobody commands it any more.
fn work(mut trainer: Trainer, inbox: &Receiver<Command>, outbox: &Sender<Reply>, keep_host: bool) -> Trainer {
    while let Ok(command) = inbox.recv() {
        let reply = match command {
            Command::Differentiate(pieces, scale) => Some(differentiate(&mut trainer, &pieces, scale, keep_host)),
            Command::Take(sums) => {
                let device = trainer.model().device().without_autodiff();
                *trainer.gradients_mut() = Gradients::from_host(&sums, &device);
                None
            }
            Command::AllReduce(names, devices) => {
                trainer.zero_missing_gradients(&names);
                trainer.gradients_mut().all_reduce(&devices);
                None
            }
            Command::Norm => Some(Reply::Norm(trainer.grad_norm())),
            Command::Update { lr, norm } => {
                trainer.update_at_norm(lr, norm);
                None
            }
            Command::Look(look) => {
                look(&trainer);
                None
            }
        };
        if let Some(reply) = reply
            && outbox.send(reply).is_err()
        {
            break;
        }
    }
    trainer
}

fn differentiate(trainer: &mut Trainer, pieces: &[Batch], scale: LossScale, keep_host: bool) -> Reply {
    let losses: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let loss = trainer.model().loss(piece, scale);
            trainer.accumulate(&loss.tensor());
            loss
        })
        .collect();
    // Read at the end, so that a device is never left without work.
    let (mut cross_entropy, mut squared_lse) = (0.0, 0.0);
    for loss in losses {
        let values = loss.read();
        cross_entropy += values.cross_entropy;
        squared_lse += values.squared_lse;
    }
    let gradients = trainer.gradients_mut();
    let host = keep_host.then(|| gradients.host());
    Reply::Losses { cross_entropy, squared_lse, names: gradients.names(), host }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;
    use crate::config::ModelConfig;
    use crate::device;
    use crate::random::Stream;

    fn origin() -> Origin {
        let config = ModelConfig::olmo2("pico").unwrap();
        Origin {
            model: Model::init(&config, 5, &device::cpu()).unwrap(),
            optimizer: AdamWConfig::default(),
            state: OptimizerState::default(),
            max_grad_norm: Some(0.5),
            precision: Precision::F32,
        }
    }

    fn batch(step: u64, n_sequences: usize) -> Batch {
        let stream = Stream::new(2, "parallel");
        let n = 24 * n_sequences as u64;
        Batch::next_token(Tokens::new((0..n).map(|i| stream.below(step * n + i, 90) as u32).collect(), 24))
    }

    fn trace(n_replicas: usize, n_sequences: usize) -> (Vec<StepValues>, Vec<NamedArrays>) {
        let mut replicas = Replicas::new(&origin(), &vec![device::cpu(); n_replicas]).unwrap();
        let values = (0..6).map(|step| replicas.step(&batch(step, n_sequences), 2, 1e-4, 1e-2).unwrap()).collect();
        let weights = replicas.into_trainers().unwrap().iter().map(|trainer| trainer.model().weights()).collect();
        (values, weights)
    }

    #[test]
    fn replicas_have_the_trace_of_one_device_and_stay_equal() {
        let (one, _) = trace(1, 8);
        for n_replicas in [2, 4] {
            let (found, weights) = trace(n_replicas, 8);
            for (found, one) in found.iter().zip(&one) {
                assert!((found.cross_entropy - one.cross_entropy).abs() < 1e-5, "{found:?} {one:?}");
                assert!((found.squared_lse - one.squared_lse).abs() < 1e-4, "{found:?} {one:?}");
                assert!((found.grad_norm - one.grad_norm).abs() < 1e-4 * one.grad_norm, "{found:?} {one:?}");
            }
            assert!(weights.iter().all(|other| *other == weights[0]), "{n_replicas} replicas");
        }
        assert!(one[5].cross_entropy < one[0].cross_entropy);
    }

    #[test]
    fn one_replica_is_plain_training() {
        let Origin { model, optimizer, .. } = origin();
        let mut trainer = Trainer::new(model, AdamW::new(optimizer), Some(0.5));
        let (found, weights) = trace(1, 8);
        for (step, found) in found.iter().enumerate() {
            let batch = batch(step as u64, 8);
            let scale = LossScale::new(1e-4, batch.n_targets() as f64);
            for micro in batch.micro_batches(2) {
                let loss = trainer.model().loss(&micro, scale);
                trainer.accumulate(&loss.tensor());
            }
            assert_eq!(found.grad_norm, trainer.update(1e-2));
        }
        assert_eq!(weights[0], trainer.model().weights());
    }

    #[test]
    fn a_replica_without_work_still_updates() {
        // Three micro-batches for four replicas.
        let (one, _) = trace(1, 6);
        let (found, weights) = trace(4, 6);
        assert!((found[5].cross_entropy - one[5].cross_entropy).abs() < 1e-5);
        assert!(weights.iter().all(|other| *other == weights[0]));
    }

    #[test]
    fn no_device_is_an_error() {
        assert!(matches!(Replicas::new(&origin(), &[]), Err(ParallelError::NoDevice)));
    }
}
