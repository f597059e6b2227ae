//! Locks that die with their process: the lease on the store and the lock on a slot. It does not know what is done under them.

use std::fs::TryLockError;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use fs_err as fs;
use fs_err::File;
use serde::{Deserialize, Serialize};

use crate::{Result, StoreError};

/// Who holds a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id; 0 when it has not written it down yet.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Milliseconds since the Unix epoch when it took the slot.
    #[serde(skip)]
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
pub struct Lease(File);

impl Lease {
    /// Waits until nothing is being removed.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock_shared()?;
        Ok(Self(file))
    }

    /// Does not wait for those who work.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.parent().unwrap_or(path).to_path_buf() }),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.file().as_raw_fd()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Also ends the hold of child processes that share it.
        let _ = self.0.unlock();
    }
}

/// The lock of one slot.
#[derive(Debug)]
pub(crate) struct SlotLock(File);

/// What came of trying to lock a slot.
pub(crate) enum Attempt {
    Locked(SlotLock),
    Busy(Owner),
    /// The slot vanished meanwhile, as it does after a commit.
    Vanished,
}

impl SlotLock {
    /// Locks the file at `path`, in a folder that exists, without waiting.
    pub(crate) fn attempt(path: &Path) -> Result<Attempt> {
        let file = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Attempt::Vanished),
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Busy(read_owner(file)?)),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The file may have left its place before it was locked; then the lock means nothing.
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(there) if there.ino() == ours.ino() && there.dev() == ours.dev() => Ok(Attempt::Locked(Self(file))),
            Ok(_) => Ok(Attempt::Vanished),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Attempt::Vanished),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down this process as the owner.
    pub(crate) fn sign(&mut self) -> io::Result<()> {
        let owner = Owner { pid: std::process::id(), host: host().to_owned(), since_ms: 0 };
        let text = serde_json::to_vec(&owner)?;
        if self.0.metadata()?.len() > 0 {
            self.0.set_len(0)?;
            self.0.rewind()?;
        }
        self.0.write_all(&text)
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.file().as_raw_fd()
    }
}

impl Drop for SlotLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Who holds the slot whose lock file is `path`; none when it is free.
pub(crate) fn owner(path: &Path) -> Result<Option<Owner>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| None).map_err(StoreError::from),
        Err(TryLockError::WouldBlock) => read_owner(file).map(Some),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
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

fn read_owner(mut file: File) -> Result<Owner> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let unsigned = || Owner { pid: 0, host: "an unknown host".to_owned(), since_ms: 0 };
    let mut owner: Owner = serde_json::from_slice(&text).unwrap_or_else(|_| unsigned());
    owner.since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Ok(owner)
}

#[cfg(test)]
impl SlotLock {
    /// Closes the file as a dying process does.
    pub(crate) fn close_without_unlocking(self) {
        // SAFETY: the file is read out once and its owner is forgotten.
        drop(unsafe { std::ptr::read(&std::mem::ManuallyDrop::new(self).0) });
    }
}

#[cfg(test)]
impl Lease {
    /// Closes the file as a dying process does.
    pub(crate) fn close_without_unlocking(self) {
        // SAFETY: the file is read out once and its owner is forgotten.
        drop(unsafe { std::ptr::read(&std::mem::ManuallyDrop::new(self).0) });
    }
}
