//! Commits what steps made, many at a time: while the disk is waited for, more comes in and shares the next wait. It does not know
//! what was made.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use cache::{Sealed, Store};
use plan::{ErrorClass, StepId};

use super::worker::{Ended, Message, Used};
use crate::steps::StepError;

/// Most commits that share one wait.
const MOST_AT_ONCE: usize = 512;

/// One artifact to commit.
pub struct Finished {
    /// The step that made it.
    pub step: StepId,
    /// The artifact.
    pub sealed: Sealed,
    /// Wall seconds this execution took.
    pub seconds: f64,
    /// What it used.
    pub used: Used,
}

/// The thread that commits; it ends when all senders are gone.
pub struct Committer {
    sender: Option<Sender<Finished>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts it; how each commit ended goes to `messages`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(store: Store, messages: Sender<Message>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("committer".into()).spawn(move || work(&store, &receiver, &messages))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Where to send what is to be committed.
    pub fn sender(&self) -> Sender<Finished> {
        self.sender.clone().expect("the sender is there until the committer is dropped")
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // Its last words are with the dispatcher already.
            let _ = thread.join();
        }
    }
}

fn work(store: &Store, receiver: &Receiver<Finished>, messages: &Sender<Message>) {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        while batch.len() < MOST_AT_ONCE
            && let Ok(next) = receiver.try_recv()
        {
            batch.push(next);
        }
        // Two steps of one run never have the same key at the same time: the second waits for the slot of the first.
        let mut told = Vec::with_capacity(batch.len());
        let mut sealed = Vec::with_capacity(batch.len());
        for finished in batch {
            told.push((finished.step, finished.seconds, finished.used));
            sealed.push(finished.sealed);
        }
        for ((step, seconds, used), outcome) in told.into_iter().zip(store.commit(sealed)) {
            let ended = match outcome {
                Ok(artifact) => Ended::Done { manifest: Box::new(artifact.manifest), hit: false, seconds, used },
                Err(error) => Ended::Failed { class: ErrorClass::Failed, error: StepError::failed(error).to_string(), seconds },
            };
            // The dispatcher outlives the committer.
            let _ = messages.send(Message::Ended(step, ended));
        }
    }
}
