//! A replica's thread: what it is told, what it answers.
//!
//! A trainer stays in its thread while it trains: each device has one stream of work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use burn::tensor::Device;

use crate::optim::passes::{Pass, PassValues};
use crate::optim::{Gradients, Trainer};

/// Looks at a trainer where it lives.
pub(super) type Look = Box<dyn FnOnce(&Trainer) + Send>;

/// What a replica is told.
pub(super) enum Command {
    /// Differentiate the losses of these passes.
    Differentiate(Vec<Pass>),
    /// Take these as the sum of all replicas' gradients.
    Take(Arc<BTreeMap<String, Vec<f32>>>),
    /// Add up the gradients of these names with the other devices'.
    AllReduce(Arc<BTreeSet<String>>, Arc<[Device]>),
    /// Say the norm of the gradients.
    Norm,
    /// Update the parameters at learning rate `lr`, after multiplying the gradients by `scale`.
    Update { lr: f64, scale: f64 },
    /// Forget the gradients.
    Skip,
    /// Show the trainer.
    Look(Look),
}

/// What it answers to the commands that ask.
pub(super) enum Reply {
    Measured { values: Vec<PassValues>, names: BTreeSet<String>, host: Option<BTreeMap<String, Vec<f32>>> },
    Norm(f64),
}

/// Whether gradients are copied to the host when they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// They are.
    ToHost,
    /// They stay on the device.
    Nothing,
}

/// A replica's thread from outside.
pub(super) struct Worker {
    pub(super) commands: Sender<Command>,
    pub(super) replies: Receiver<Reply>,
    pub(super) thread: JoinHandle<Trainer>,
}

impl Worker {
    /// The thread of replica number `replica`.
    pub(super) fn start(trainer: Trainer, replica: usize, copying: Copying) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        let (outbox, replies) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("replica {replica}"))
            .spawn(move || work(trainer, &inbox, &outbox, copying))?;
        Ok(Self { commands, replies, thread })
    }
}

/// What a replica's thread does until nobody commands it any more.
fn work(mut trainer: Trainer, inbox: &Receiver<Command>, outbox: &Sender<Reply>, copying: Copying) -> Trainer {
    while let Ok(command) = inbox.recv() {
        let reply = match command {
            Command::Differentiate(passes) => {
                let values = trainer.run(&passes);
                let gradients = trainer.gradients_mut();
                let host = (copying == Copying::ToHost).then(|| gradients.host());
                Some(Reply::Measured { values, names: gradients.names(), host })
            }
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
            Command::Update { lr, scale } => {
                trainer.update_scaled(lr, scale);
                None
            }
            Command::Skip => {
                *trainer.gradients_mut() = Gradients::default();
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
