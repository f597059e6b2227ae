//! [`Slot`]: the right to make one artifact, and the folder to make it in. It does not commit and does not know what is made.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fs_err as fs;
use plan::{Artifact, Key, Preimage};
use serde::{Deserialize, Serialize};

use crate::lock::{Attempt, Lease, Owner, SlotLock};
use crate::store::{read_if_there, to_line};
use crate::{Result, Store, StoreError};

mod guest;
mod paths;

use guest::Leftovers;
pub use guest::{Entry, Guest};
pub use paths::SlotPaths;

/// How often a slot may vanish under a claim before it gives up.
const MOST_VANISHINGS: u32 = 100;
/// How often, a millisecond apart, a claim asks again before it calls a slot busy: `slots` holds each lock for an instant.
const ASK_AGAIN: u32 = 2;

/// What came of a claim.
#[derive(Debug)]
pub enum Claim {
    /// It has been made before.
    Hit(Artifact),
    /// It is to be made here.
    Slot(Slot),
    /// It is being made by somebody else.
    Busy(Owner),
}

/// The right to make the artifact of one key. Ends with a commit, when dropped, or with the process; in the latter two cases
/// the progress and the log stay for the next claim.
#[derive(Debug)]
pub struct Slot {
    pub(crate) store: Store,
    pub(crate) preimage: Preimage,
    pub(crate) key: Key,
    pub(crate) paths: SlotPaths,
    resumed: bool,
    lock: SlotLock,
    lease: Lease,
}

/// What is known about the attempts at a slot.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) attempts: u32,
    pub(crate) seconds: f64,
}

impl Store {
    /// Claims a key without waiting.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn claim(&self, preimage: &Preimage) -> Result<Claim> {
        self.claim_with(preimage, Leftovers::Clear)
    }

    fn claim_with(&self, preimage: &Preimage, leftovers: Leftovers) -> Result<Claim> {
        let key = preimage.key();
        let paths = SlotPaths::at(self.layout().slot(&key));
        if let Some(artifact) = self.lookup(&key)? {
            if paths.folder().exists() {
                self.sweep(&paths)?;
            }
            return Ok(Claim::Hit(artifact));
        }
        let lease = self.lease()?;
        let lock = match self.lock_slot(&paths)? {
            Ok(lock) => lock,
            Err(owner) => return Ok(Claim::Busy(owner)),
        };
        // It may have been committed between the first look and the lock.
        if let Some(artifact) = self.lookup(&key)? {
            self.discard(paths.folder());
            return Ok(Claim::Hit(artifact));
        }
        if leftovers == Leftovers::Clear || !paths.ticket().exists() {
            if let Some(guest) = self.turn_out(&paths)? {
                return Ok(Claim::Busy(guest));
            }
            self.clear(&paths)?;
        }
        Slot::prepare(self.clone(), preimage.clone(), key, paths, lock, lease).map(Claim::Slot)
    }

    /// Removes what a claim finds absent or empty.
    fn clear(&self, paths: &SlotPaths) -> Result<()> {
        let disk = self.disk();
        disk.remove_tree(&paths.out())?;
        for stale in [paths.request(), paths.answer(), paths.events()] {
            if stale.exists() {
                disk.remove_file(&stale)?;
            }
        }
        Ok(())
    }

    /// Claims a key; while somebody else is making it, asks `keep_waiting` and looks again every quarter second.
    /// [`Claim::Busy`] comes back when that says no.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn claim_wait(&self, preimage: &Preimage, keep_waiting: &dyn Fn(&Owner) -> bool) -> Result<Claim> {
        self.wait_for(preimage, Leftovers::Clear, keep_waiting)
    }

    fn wait_for(&self, preimage: &Preimage, leftovers: Leftovers, keep_waiting: &dyn Fn(&Owner) -> bool) -> Result<Claim> {
        let mut pause = Duration::from_millis(4);
        loop {
            match self.claim_with(preimage, leftovers)? {
                Claim::Busy(owner) if keep_waiting(&owner) => std::thread::sleep(pause),
                claim => return Ok(claim),
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// The folder of a key's slot, with the log of a step that failed; it need not exist.
    pub fn slot_paths(&self, key: &Key) -> SlotPaths {
        SlotPaths::at(self.layout().slot(key))
    }

    fn lock_slot(&self, paths: &SlotPaths) -> Result<std::result::Result<SlotLock, Owner>> {
        let mut asked = 0;
        for _ in 0..MOST_VANISHINGS {
            self.disk().create_dir(paths.folder())?;
            match SlotLock::attempt(&paths.lock())? {
                Attempt::Locked(lock) => return Ok(Ok(lock)),
                Attempt::Busy(_) if asked < ASK_AGAIN => {
                    asked += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Attempt::Busy(owner) => return Ok(Err(owner)),
                Attempt::Vanished => {}
            }
        }
        Err(StoreError::Unsteady { path: paths.folder().to_path_buf() })
    }

    /// Removes the slot of a committed key, which a process left that died just after its commit.
    fn sweep(&self, paths: &SlotPaths) -> Result<()> {
        if let Attempt::Locked(_lock) = SlotLock::attempt(&paths.lock())? {
            self.discard(paths.folder());
        }
        Ok(())
    }
}

impl Slot {
    fn prepare(store: Store, preimage: Preimage, key: Key, paths: SlotPaths, mut lock: SlotLock, lease: Lease) -> Result<Self> {
        lock.sign()?;
        let disk = store.disk();
        disk.create_dir(&paths.out())?;
        disk.create_dir(&paths.progress())?;
        let resumed = fs::read_dir(paths.progress())?.next().is_some();
        store.put(&paths.preimage(), &to_line(&preimage)?)?;
        let slot = Self { store, preimage, key, paths, resumed, lock, lease };
        let before = attempts(&slot.paths)?;
        slot.record(Attempts { attempts: before.attempts + 1, ..before })?;
        Ok(slot)
    }

    /// The key it is for.
    pub fn key(&self) -> Key {
        self.key
    }

    /// What is to be made.
    pub fn preimage(&self) -> &Preimage {
        &self.preimage
    }

    /// Its paths, which a child process can be given.
    pub fn paths(&self) -> &SlotPaths {
        &self.paths
    }

    /// Where the step writes the files of its artifact; empty when the slot is claimed. Empty folders are not kept.
    pub fn out(&self) -> PathBuf {
        self.paths.out()
    }

    /// Where the step keeps what it needs to go on after an interruption.
    pub fn progress(&self) -> PathBuf {
        self.paths.progress()
    }

    /// Whether an earlier attempt left progress.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The log of all attempts; to be appended to.
    pub fn log_path(&self) -> PathBuf {
        self.paths.log()
    }

    /// What a child process is asked.
    pub fn request_path(&self) -> PathBuf {
        self.paths.request()
    }

    /// What a child process answers.
    pub fn answer_path(&self) -> PathBuf {
        self.paths.answer()
    }

    /// Number of claims of this slot, this one included.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn attempts(&self) -> Result<u32> {
        Ok(attempts(&self.paths)?.attempts)
    }

    /// Wall time of all attempts, in seconds, as far as it was added.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn attempts_seconds(&self) -> Result<f64> {
        Ok(attempts(&self.paths)?.seconds)
    }

    /// Adds wall time, in seconds, to that of all attempts. What is not a positive number is ignored.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn add_seconds(&self, seconds: f64) -> Result<()> {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return Ok(());
        }
        let before = attempts(&self.paths)?;
        self.record(Attempts { seconds: before.seconds + seconds, ..before })
    }

    /// Gives up for now: progress and log stay, the next claim goes on from them.
    pub fn abandon(self) {}

    /// Lets a child process hold the slot too, so that it stays busy should this process die before the child.
    pub fn hold_in_child(&self, command: &mut Command) {
        let descriptors = [self.lock.descriptor(), self.lease.descriptor()];
        let inherit = move || {
            for descriptor in descriptors {
                // SAFETY: fcntl may be called between fork and exec; a closed descriptor makes it fail, nothing else.
                if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } == -1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure allocates nothing, takes no lock and touches only descriptors of its own process.
        unsafe { command.pre_exec(inherit) };
    }

    fn record(&self, attempts: Attempts) -> Result<()> {
        self.store.put(&self.paths.attempts(), &to_line(&attempts)?)
    }

    /// Where a record waits to be renamed out of the slot.
    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.paths.draft(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.paths.folder()
    }
}

/// What is known about the attempts at a slot; none when nothing can be read.
pub(crate) fn attempts(paths: &SlotPaths) -> Result<Attempts> {
    let text = read_if_there(&paths.attempts())?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
