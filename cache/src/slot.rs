//! [`Slot`]: the right to make one artifact, and the folder to make it in. It does not commit and does not know what is made.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
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
    // Wall seconds of this attempt that are not written down yet.
    seconds: Mutex<f64>,
    so_far: Attempts,
    lock: SlotLock,
    lease: Arc<Lease>,
}

/// Whether a slot was there before it was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Fresh,
    Left,
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
                // Whoever cannot remove it can still use the artifact.
                let _ = self.sweep(&paths);
            }
            return Ok(Claim::Hit(artifact));
        }
        let lease = self.hold()?;
        let (lock, found) = match self.lock_slot(&paths)? {
            Ok(locked) => locked,
            Err(owner) => return Ok(Claim::Busy(owner)),
        };
        // It may have been committed between the first look and the lock.
        if let Some(artifact) = self.lookup(&key)? {
            self.discard(paths.folder());
            return Ok(Claim::Hit(artifact));
        }
        if found == Found::Left && (leftovers == Leftovers::Clear || !paths.ticket().exists()) {
            if let Some(guest) = self.turn_out(&paths)? {
                return Ok(Claim::Busy(guest));
            }
            self.clear_leftovers(&paths)?;
        }
        Slot::prepare(self.clone(), preimage.clone(), key, paths, (lock, lease), found).map(Claim::Slot)
    }

    /// Removes what a claim finds absent or empty.
    fn clear_leftovers(&self, paths: &SlotPaths) -> Result<()> {
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

    /// Claims the right to make the artifact of a key again, whether or not there is one; waits as [`Store::claim_wait`] does.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn claim_anew(&self, preimage: &Preimage, keep_waiting: &dyn Fn(&Owner) -> bool) -> Result<Claim> {
        let key = preimage.key();
        let paths = SlotPaths::at(self.layout().slot(&key));
        let lease = self.hold()?;
        let mut pause = Duration::from_millis(4);
        loop {
            match self.lock_slot(&paths)? {
                Ok((lock, found)) => {
                    // What an earlier attempt left belongs to that one.
                    if self.turn_out(&paths)?.is_none() {
                        self.clear_leftovers(&paths)?;
                        self.disk().remove_tree(&paths.progress())?;
                    }
                    return Slot::prepare(self.clone(), preimage.clone(), key, paths, (lock, lease), found).map(Claim::Slot);
                }
                Err(owner) if keep_waiting(&owner) => std::thread::sleep(pause),
                Err(owner) => return Ok(Claim::Busy(owner)),
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// The folder of a key's slot, with the log of a step that failed; it need not exist.
    pub fn slot_paths(&self, key: &Key) -> SlotPaths {
        SlotPaths::at(self.layout().slot(key))
    }

    fn lock_slot(&self, paths: &SlotPaths) -> Result<std::result::Result<(SlotLock, Found), Owner>> {
        let mut asked = 0;
        for _ in 0..MOST_VANISHINGS {
            let found = if self.disk().create_new_dir(paths.folder())? { Found::Fresh } else { Found::Left };
            match SlotLock::attempt(paths, self.watch())? {
                Attempt::Locked(lock) => return Ok(Ok((lock, found))),
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
        if let Attempt::Locked(_lock) = SlotLock::attempt(paths, self.watch())? {
            self.discard(paths.folder());
        }
        Ok(())
    }
}

impl Slot {
    fn prepare(
        store: Store,
        preimage: Preimage,
        key: Key,
        paths: SlotPaths,
        (lock, lease): (SlotLock, Arc<Lease>),
        found: Found,
    ) -> Result<Self> {
        let disk = store.disk();
        let mut so_far = Attempts { attempts: 1, seconds: 0.0 };
        let mut resumed = false;
        if found == Found::Left {
            let before = attempts(&paths)?;
            so_far = Attempts { attempts: before.attempts + 1, ..before };
            store.put(&paths.attempts(), &to_line(&so_far)?)?;
        }
        disk.create_new_dir(&paths.out())?;
        if found == Found::Left && paths.progress().is_dir() {
            resumed = fs::read_dir(paths.progress())?.next().is_some();
        }
        // Whoever dies here leaves a half, which counts as none.
        disk.write(&paths.preimage(), &to_line(&preimage)?)?;
        Ok(Self { store, preimage, key, paths, resumed, seconds: Mutex::new(0.0), so_far, lock, lease })
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

    /// Where the step keeps what it needs to go on after an interruption; the folder need not exist yet.
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
    pub fn attempts(&self) -> u32 {
        self.so_far.attempts
    }

    /// Wall time of all attempts, in seconds, as far as it was added.
    pub fn attempts_seconds(&self) -> f64 {
        self.so_far.seconds + *self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds wall time, in seconds, to that of all attempts. What is not a positive number is ignored.
    pub fn add_seconds(&self, seconds: f64) {
        if seconds > 0.0 && seconds.is_finite() {
            *self.seconds.lock().unwrap_or_else(PoisonError::into_inner) += seconds;
        }
    }

    /// Gives up for now: progress and log stay, the next claim goes on from them.
    pub fn abandon(self) {
        let attempts = Attempts { seconds: self.attempts_seconds(), ..self.so_far };
        // A disk that is full must not hide why the step failed; only the time of this attempt is lost.
        let _ = self.record(attempts);
    }

    /// Lets a child process hold the slot too, so that it stays busy should this process die before the child.
    pub fn hold_in_child(&self, command: &mut Command) {
        let descriptors = [Some(self.lock.descriptor()), self.lease.descriptor()];
        let inherit = move || {
            for descriptor in descriptors.into_iter().flatten() {
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

    /// Whether another process was found to have thought this one dead and taken the slot: whatever is made in it is not kept, and
    /// may as well be stopped.
    pub fn is_lost(&self) -> bool {
        self.lock.is_lost()
    }

    /// Gives back the room that was kept for the records of the commit, which is about to write them.
    pub(crate) fn free_reserve(&self) {
        self.lock.free_reserve();
    }

    #[cfg(test)]
    pub(crate) fn beat(&self) {
        self.lock.beat();
    }

    /// As if this process had died: its descriptors close, but it lets go of nothing.
    #[cfg(test)]
    pub(crate) fn die(self) {
        let Self { lock, lease, .. } = self;
        lock.close_without_unlocking();
        Arc::into_inner(lease).expect("nobody else holds the store").close_without_unlocking();
    }

    /// Fails when another process took the slot.
    pub(crate) fn check_held(&self) -> Result<()> {
        self.lock.check()
    }

    fn record(&self, attempts: Attempts) -> Result<()> {
        self.store.put(&self.paths.attempts(), &to_line(&attempts)?)
    }

    /// Where a record waits to be renamed out of the slot.
    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.paths.draft(name)
    }
}

/// What is known about the attempts at a slot that exists; without a record there was one.
pub(crate) fn attempts(paths: &SlotPaths) -> Result<Attempts> {
    let text = read_if_there(&paths.attempts())?;
    let known = text.and_then(|text| serde_json::from_slice(&text).ok());
    Ok(known.unwrap_or(Attempts { attempts: 1, seconds: 0.0 }))
}

#[cfg(test)]
mod tests;
