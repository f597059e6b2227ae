//! Commits what steps made, many at a time: while the disk is waited for, more comes in and shares the next wait. It does not know
//! what was made.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use cache::{Sealed, Store};
use plan::{ErrorClass, StepId};

use super::files;
use super::worker::{Ended, Message, Used};
use crate::steps::StepError;

/// Most commits that share one wait.
const MOST_AT_ONCE: usize = 512;
/// Most artifacts that wait for their commit or are in one, where the system allows as many open files: each keeps some, of its slot.
const MOST_WAITING: usize = 1024;
/// Open files that one of them may take.
const FILES: u64 = 8;

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

/// How artifacts come to the committer.
#[derive(Clone)]
pub struct Door {
    sender: Sender<Finished>,
    // Holds one for each artifact that is not committed yet.
    room: SyncSender<()>,
}

impl Door {
    /// Hands an artifact over. `enters` is called as soon as there is room, before the artifact can be committed.
    pub fn pass(&self, finished: Finished, enters: impl FnOnce()) {
        // The committer outlives those who come to its door.
        let _ = self.room.send(());
        enters();
        let _ = self.sender.send(finished);
    }
}

/// The thread that commits; it ends when all doors are gone.
pub struct Committer {
    door: Option<Door>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts it; how each commit ended goes to `messages`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(store: Store, messages: Sender<Message>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let (room, left) = sync_channel(most_waiting());
        let thread = std::thread::Builder::new().name("committer".into());
        let thread = thread.spawn(move || work(&store, &receiver, &left, &messages))?;
        Ok(Self { door: Some(Door { sender, room }), thread: Some(thread) })
    }

    /// Where to bring what is to be committed.
    pub fn door(&self) -> Door {
        self.door.clone().expect("the door is there until the committer is dropped")
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.door.take());
        if let Some(thread) = self.thread.take() {
            // Its last words are with the dispatcher already.
            let _ = thread.join();
        }
    }
}

/// As many as leave files for everything else.
fn most_waiting() -> usize {
    let fit = files::most_open().map_or(64, |most| usize::try_from(most / FILES).unwrap_or(MOST_WAITING));
    fit.clamp(16, MOST_WAITING)
}

fn work(store: &Store, receiver: &Receiver<Finished>, left: &Receiver<()>, messages: &Sender<Message>) {
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
            let _ = left.try_recv();
        }
    }
}
