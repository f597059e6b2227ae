//! [`Hold`]: the file that says who holds a slot or the store, beside the lock that the operating system keeps. Its name can be taken
//! once only, and a number in it changes while its holder lives; so it tells hosts apart that share a file system but no locks. It
//! does not judge who is dead: [`crate::watch`] does.
//!
//! The file has two lines: who it is, and the number with leading zeros, which is overwritten in place.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use fs_err::File;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::lock::{Owner, host};

/// Largest file that is read as one of these, in bytes.
const MOST_BYTES: usize = 4096;

/// A process, told apart from every other one on any host at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) host: String,
    /// Changes at each start of the machine.
    boot: String,
    /// Does not.
    machine: String,
    /// When the process began, by its machine's own count.
    began: u64,
    /// Milliseconds since the Unix epoch when it took hold, by its own clock: for people only.
    since_ms: u64,
    /// Number of the hold in its process.
    number: u64,
}

/// Where a holder is, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// On this machine as it runs now: locks between us work, unless the file system has none.
    Here,
    /// On this machine before it was started anew: it is dead.
    Before,
    /// On another machine, or nobody can say.
    Elsewhere,
}

impl Holder {
    fn this() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        static SELF: OnceLock<(String, String, u64)> = OnceLock::new();
        let (boot, machine, began) = SELF.get_or_init(|| {
            let word = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
            (word("/proc/sys/kernel/random/boot_id"), word("/etc/machine-id"), began(std::process::id()).unwrap_or(0))
        });
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pid: std::process::id(),
            host: host().to_owned(),
            boot: boot.clone(),
            machine: machine.clone(),
            began: *began,
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            number: COUNTER.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The holder in the text of such a file.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text.split(|&byte| byte == b'\n').next()?).ok()
    }

    pub(crate) fn place(&self) -> Where {
        let this = Self::this();
        if !self.boot.is_empty() && self.boot == this.boot {
            Where::Here
        } else if !self.machine.is_empty() && self.machine == this.machine && self.host == this.host {
            Where::Before
        } else {
            Where::Elsewhere
        }
    }

    /// Whether the process can be seen running on this machine. One in another container may run unseen.
    pub(crate) fn is_seen(&self) -> bool {
        began(self.pid) == Some(self.began)
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner { pid: self.pid, host: self.host.clone(), since_ms: self.since_ms }
    }
}

/// When a process of this machine began; none if there is none.
fn began(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What came of trying to take a file.
#[derive(Debug)]
pub(crate) enum Take {
    Taken(Hold),
    /// Somebody has it; its text.
    Held(Vec<u8>),
    /// Its folder is gone.
    Vanished,
}

/// A file that says that this process holds something. Removed when dropped, if it still is in place.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    file: File,
    /// Who this is, as the first line of the file says it.
    line: Vec<u8>,
    beats: AtomicU64,
    lost: AtomicBool,
    reserve: AtomicBool,
}

/// Room kept for the records of a commit, in bytes.
const RESERVE: i64 = 1 << 20;

impl Hold {
    /// Takes the file at `path` if nobody has.
    pub(crate) fn take(path: &Path) -> Result<Take> {
        let mut file = match fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Ok(read(path)?.map_or(Take::Vanished, Take::Held));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Take::Vanished),
            Err(error) => return Err(error.into()),
        };
        let mut text = serde_json::to_vec(&Holder::this()).map_err(io::Error::from)?;
        text.push(b'\n');
        let line = text.clone();
        text.extend_from_slice(&number(0));
        file.write_all(&text)?;
        Ok(Take::Taken(Self {
            path: path.to_owned(),
            file,
            line,
            beats: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            reserve: AtomicBool::new(false),
        }))
    }

    /// Takes the file from a holder that is dead, whose text is `judged`. Of several that try, one succeeds.
    pub(crate) fn take_over(path: &Path, judged: &[u8]) -> Result<Take> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{}-{}-{number}", host(), std::process::id()));
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::take(path),
            other => other?,
        }
        if read(&aside)?.as_deref() != Some(judged) {
            // Somebody else was faster, or it lives after all: put it back, unless a third has come.
            let back = fs::hard_link(&aside, path);
            fs::remove_file(&aside)?;
            if let Err(error) = back
                && error.kind() != ErrorKind::AlreadyExists
            {
                return Err(error.into());
            }
            return Ok(read(path)?.map_or(Take::Vanished, Take::Held));
        }
        fs::remove_file(&aside)?;
        Self::take(path)
    }

    /// Shows that this process lives. What is lost is told by [`Hold::is_lost`] from then on.
    pub(crate) fn beat(&self) {
        let beats = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        // A file system that stumbles now may work at the next beat.
        let _ = self.file.file().write_all_at(&number(beats), self.line.len() as u64);
        if !self.is_in_place() {
            self.lost.store(true, Ordering::Relaxed);
        } else if beats == 1 && self.reserve.load(Ordering::Relaxed) {
            // Work of more than a few seconds shall not be lost for want of room for its record. What fails here fails there.
            let path = self.reserve_path();
            if let Ok(file) = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path) {
                // SAFETY: the descriptor is open for the length of the call.
                unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, RESERVE) };
            }
        }
    }

    /// From the first beat on, keeps room for the records of a commit, until [`Hold::free_reserve`].
    pub(crate) fn keep_reserve(&self) {
        self.reserve.store(true, Ordering::Relaxed);
    }

    /// Gives that room back.
    pub(crate) fn free_reserve(&self) {
        if self.reserve.swap(false, Ordering::Relaxed) && self.beats.load(Ordering::Relaxed) > 0 {
            let _ = std::fs::remove_file(self.reserve_path());
        }
    }

    fn reserve_path(&self) -> PathBuf {
        self.path.with_file_name("reserve")
    }

    /// Whether somebody else was found to have taken it.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the file is still the one this process made.
    pub(crate) fn is_in_place(&self) -> bool {
        let Ok(ours) = self.file.metadata() else { return false };
        fs::metadata(&self.path).is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev())
    }

    /// The same, asked of the file system itself: a shared one may remember what `stat` says for seconds, but not what opening does.
    pub(crate) fn is_ours(&self) -> Result<bool> {
        Ok(read(&self.path)?.is_some_and(|text| text.starts_with(&self.line)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, if it still is in place.
    pub(crate) fn release(&self) {
        self.free_reserve();
        if !self.lost.swap(true, Ordering::Relaxed) && self.is_in_place() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Leaves the file behind, as a dying process does.
    #[cfg(test)]
    pub(crate) fn leave(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// The text of such a file; none if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut text = crate::store::read_if_there(path)?;
    if let Some(text) = &mut text {
        text.truncate(MOST_BYTES);
    }
    Ok(text)
}

fn number(beats: u64) -> Vec<u8> {
    format!("{beats:020}\n").into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fixtures::Folder;

    /// The text of a file of a process on another machine, after so many beats.
    pub(crate) fn foreign(beats: u64) -> Vec<u8> {
        let holder = Holder { boot: "other".into(), machine: "other".into(), host: "elsewhere".into(), ..Holder::this() };
        let mut text = serde_json::to_vec(&holder).unwrap();
        text.push(b'\n');
        text.extend_from_slice(&number(beats));
        text
    }

    #[test]
    fn a_file_is_taken_once_and_freed_when_dropped() {
        let folder = Folder::new();
        let path = folder.path().join("holder");
        let Take::Taken(hold) = Hold::take(&path).unwrap() else { panic!("it was free") };
        let Take::Held(text) = Hold::take(&path).unwrap() else { panic!("it was taken twice") };
        let holder = Holder::parse(&text).unwrap();
        assert_eq!((holder.pid, holder.place(), holder.is_seen()), (std::process::id(), Where::Here, true));
        hold.beat();
        let after = read(&path).unwrap().unwrap();
        assert!(after.len() == text.len() && after != text && Holder::parse(&after) == Some(holder));
        assert!(!hold.is_lost());
        drop(hold);
        assert!(!path.exists());
        assert!(matches!(Hold::take(&folder.path().join("none/holder")).unwrap(), Take::Vanished));
    }

    #[test]
    fn of_many_that_take_over_one_wins_and_the_old_holder_learns_of_it() {
        let folder = Folder::new();
        let path = folder.path().join("holder");
        let Take::Taken(old) = Hold::take(&path).unwrap() else { panic!("it was free") };
        let judged = read(&path).unwrap().unwrap();
        let Take::Taken(new) = Hold::take_over(&path, &judged).unwrap() else { panic!("it was dead") };
        // Whoever judged the same text too late gets nothing, and takes nothing away.
        assert!(matches!(Hold::take_over(&path, &judged).unwrap(), Take::Held(_)));
        assert!(new.is_in_place() && !old.is_in_place());
        old.beat();
        assert!(old.is_lost());
        drop(old);
        assert!(new.is_in_place());
    }

    #[test]
    fn places_are_told_apart() {
        let this = Holder::this();
        let earlier = Holder { boot: "earlier".into(), ..this.clone() };
        let same_name = Holder { boot: "x".into(), machine: "y".into(), ..this.clone() };
        let expected = if this.machine.is_empty() { Where::Elsewhere } else { Where::Before };
        assert_eq!((this.place(), earlier.place(), same_name.place()), (Where::Here, expected, Where::Elsewhere));
        assert!(!Holder { began: 1, ..this }.is_seen());
        assert!(Holder::parse(b"").is_none() && Holder::parse(b"{}").is_none());
    }
}
