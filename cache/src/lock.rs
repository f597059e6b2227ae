//! The lease on the store and the lock on a slot: locks of the operating system, which die with their process, and beside each a
//! file with a heartbeat for hosts that share a file system but no locks. It does not know what is done under them.

use std::fs::TryLockError;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fs_err as fs;
use fs_err::File;

use crate::holder::{self, Hold, Holder, Take, Where};
use crate::watch::{Pulse, Watch, beat_for};
use crate::{Result, SlotPaths, StoreError};

/// Who holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Process id; 0 when it has not written it down yet.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Milliseconds since the Unix epoch when it took the slot, by its own clock.
    pub since_ms: u64,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// A hold on the store, shared by everybody who works with it: while one exists, `gc` and `repair` refuse to remove anything.
/// Ends when dropped, or with the process.
#[derive(Debug)]
#[must_use = "the hold ends when this is dropped"]
pub struct Lease {
    /// None where the store cannot be written to and has no lock file.
    file: Option<File>,
    /// For those on other machines.
    hold: Option<Arc<Hold>>,
    locks: Locks,
}

impl Lease {
    /// Waits until nothing is being removed.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let file = match open(path).map_err(StoreError::from) {
            // A lock needs no right to write, and what cannot be written to is removed by nobody here.
            Err(StoreError::ReadOnly(_) | StoreError::Denied(_)) => File::open(path).ok(),
            other => Some(other?),
        };
        let locks = match file.as_ref().map(File::lock_shared) {
            Some(Err(error)) if !is_unsupported(&error) => return Err(error.into()),
            Some(Ok(())) => Locks::Work,
            _ => Locks::Missing,
        };
        Ok(Self { file, hold: None, locks })
    }

    /// The same, seen from other machines too: `path` is a fresh name in the folder of holders.
    pub(crate) fn recorded(mut self, path: &Path) -> Result<Self> {
        match Hold::take(path) {
            Ok(Take::Taken(hold)) => {
                let hold = Arc::new(hold);
                beat_for(&hold);
                self.hold = Some(hold);
                Ok(self)
            }
            // An older store has no such folder until it is opened by somebody who may write to it.
            Ok(_) | Err(StoreError::ReadOnly(_) | StoreError::Denied(_)) => Ok(self),
            Err(error) => Err(error),
        }
    }

    /// Does not wait for those who work on this machine.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file: Some(file), hold: None, locks: Locks::Work }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.parent().unwrap_or(path).to_path_buf() }),
            Err(TryLockError::Error(error)) if is_unsupported(&error) => {
                Ok(Self { file: Some(file), hold: None, locks: Locks::Missing })
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Whether it is a lock at all.
    pub(crate) fn locks(&self) -> Locks {
        self.locks
    }

    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.file.as_ref().map(|file| file.file().as_raw_fd())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Also ends the hold of child processes that share it.
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

/// The lock of one slot: one of the operating system, which ends with the process, and a file for those on other machines.
#[derive(Debug)]
pub(crate) struct SlotLock {
    // Dropped first: whoever has the lock finds the file gone.
    hold: Arc<Hold>,
    file: File,
}

/// What came of trying to lock a slot.
pub(crate) enum Attempt {
    Locked(SlotLock),
    Busy(Owner),
    /// The slot vanished meanwhile, as it does after a commit.
    Vanished,
}

impl SlotLock {
    /// Locks a slot whose folder exists, without waiting.
    pub(crate) fn attempt(paths: &SlotPaths, watch: &Watch) -> Result<Attempt> {
        let attempt = Self::attempt_at(&paths.lock(), &paths.holder(), watch)?;
        if let Attempt::Locked(lock) = &attempt {
            lock.hold.keep_reserve();
        }
        Ok(attempt)
    }

    /// The same for a lock of any name: its file, and that of its holder.
    pub(crate) fn attempt_at(path: &Path, holder: &Path, watch: &Watch) -> Result<Attempt> {
        let file = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Attempt::Vanished),
            other => other?,
        };
        let locks = match file.try_lock() {
            Ok(()) => Locks::Work,
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Busy(read_owner(holder)?)),
            Err(TryLockError::Error(error)) if is_unsupported(&error) => Locks::Missing,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        };
        // The file may have left its place before it was locked; then the lock means nothing.
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(there) if there.ino() == ours.ino() && there.dev() == ours.dev() => {}
            Ok(_) => return Ok(Attempt::Vanished),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Attempt::Vanished),
            Err(error) => return Err(error.into()),
        }
        let taken = match Hold::take(holder)? {
            Take::Held(text) if pulse(holder, &text, locks, watch) == Pulse::Dead => {
                watch.forget(holder);
                Hold::take_over(holder, &text)?
            }
            other => other,
        };
        match taken {
            Take::Taken(hold) => {
                let hold = Arc::new(hold);
                beat_for(&hold);
                Ok(Attempt::Locked(Self { hold, file }))
            }
            Take::Held(text) => Ok(Attempt::Busy(Holder::parse(&text).map_or_else(unsigned, |holder| holder.owner()))),
            Take::Vanished => Ok(Attempt::Vanished),
        }
    }

    /// Fails when another process thought this one dead and took the slot.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.hold.is_lost() && self.hold.is_ours()? {
            return Ok(());
        }
        let path = self.hold.path();
        Err(StoreError::Lost { path: path.parent().unwrap_or(path).to_path_buf(), by: read_owner(path)?.to_string() })
    }

    /// Gives back the room that was kept for the records of a commit.
    pub(crate) fn free_reserve(&self) {
        self.hold.free_reserve();
    }

    #[cfg(test)]
    pub(crate) fn beat(&self) {
        self.hold.beat();
    }

    /// Whether a beat found that another process took the slot.
    pub(crate) fn is_lost(&self) -> bool {
        self.hold.is_lost()
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.file().as_raw_fd()
    }
}

impl Drop for SlotLock {
    fn drop(&mut self) {
        self.hold.release();
        let _ = self.file.unlock();
    }
}

/// Whether the file system has locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    Work,
    Missing,
}

/// Whether the holder in `text` lives, where no lock of the operating system says that it does.
pub(crate) fn pulse(path: &Path, text: &[u8], locks: Locks, watch: &Watch) -> Pulse {
    let Some(holder) = Holder::parse(text) else { return watch.judge(path, text) };
    match (holder.place(), locks) {
        (Where::Here, Locks::Work) | (Where::Before, _) => Pulse::Dead,
        (Where::Here, Locks::Missing) if holder.is_seen() => Pulse::Alive,
        _ => watch.judge(path, text),
    }
}

/// File systems without locks say so in several ways.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOLCK)) || error.kind() == ErrorKind::Unsupported
}

/// Whether a process of this machine holds the lock at `path`.
pub(crate) fn is_locked(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false).map_err(StoreError::from),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) if is_unsupported(&error) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Who holds a slot; none when it is free, or was left by a process of this machine that died.
pub(crate) fn owner(paths: &SlotPaths, watch: &Watch) -> Result<Option<Owner>> {
    owner_at(&paths.lock(), &paths.holder(), watch)
}

/// The same for a lock of any name.
pub(crate) fn owner_at(lock: &Path, holder: &Path, watch: &Watch) -> Result<Option<Owner>> {
    if is_locked(lock)? {
        return read_owner(holder).map(Some);
    }
    let Some(text) = holder::read(holder)? else { return Ok(None) };
    let dead = pulse(holder, &text, Locks::Work, watch) == Pulse::Dead;
    Ok((!dead).then(|| Holder::parse(&text).map_or_else(unsigned, |holder| holder.owner())))
}

/// This machine's name.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let mut buffer = [0_u8; 256];
        // SAFETY: the buffer is valid for its length; the last byte is kept as a terminator.
        let status = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
        let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(0);
        let name: String = String::from_utf8_lossy(&buffer[..end]).replace(['/', '\0'], "_");
        if status == 0 && !name.is_empty() { name } else { "unknown".to_owned() }
    })
}

fn open(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn read_owner(path: &Path) -> Result<Owner> {
    let text = holder::read(path)?;
    Ok(text.and_then(|text| Holder::parse(&text)).map_or_else(unsigned, |holder| holder.owner()))
}

/// Somebody who has not written it down yet.
fn unsigned() -> Owner {
    Owner { pid: 0, host: "an unknown host".to_owned(), since_ms: 0 }
}

#[cfg(test)]
impl SlotLock {
    /// Closes the file as a dying process does.
    pub(crate) fn close_without_unlocking(self) {
        self.hold.leave();
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: both are read out once and their owner is forgotten.
        drop(unsafe { (std::ptr::read(&this.hold), std::ptr::read(&this.file)) });
    }
}

#[cfg(test)]
impl Lease {
    /// Closes the file as a dying process does.
    pub(crate) fn close_without_unlocking(self) {
        // SAFETY: the file is read out once and its owner is forgotten.
        drop(unsafe { std::ptr::read(&std::mem::ManuallyDrop::new(self).file) });
    }
}
