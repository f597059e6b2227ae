//! The operations that change the disk, one method each, so that a test can end the process before any of them. It does not know
//! what the files mean.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::File;

/// Most threads that wait for the disk at the same time.
const AT_ONCE: usize = 16;
/// More files than this are synced with their whole file system at once: one such call costs about as much as three single ones.
const MOST_SINGLE_SYNCS: usize = 16;
/// More files than this are removed several at a time: some file systems wait for the disk at each.
const MOST_SINGLE_REMOVALS: usize = 8;

/// Changes the disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) fuse: fuse::Fuse,
}

impl Disk {
    /// Makes a folder; its parent must exist, the folder may.
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { Ok(()) } else { self.create_new_dir(path).map(drop) }
    }

    /// Makes a folder that is probably not there yet, and says whether it was not.
    pub(crate) fn create_new_dir(&self, path: &Path) -> io::Result<bool> {
        self.point()?;
        match fs::create_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves a file or folder; replaces a file.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.point()?;
        fs::rename(from, to)
    }

    /// Writes a whole file; whoever dies in it leaves half of it.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Err(death) = self.point() {
            if self.fuse.is_first() {
                fs::write(path, &bytes[..bytes.len() / 2])?;
            }
            return Err(death);
        }
        fs::write(path, bytes)
    }

    /// Copies a file.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.point()?;
        fs::copy(from, to).map(drop)
    }

    /// Gives a file another name, which must be free.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.point()?;
        fs::hard_link(from, to)
    }

    /// Removes a file, which may be gone already.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.point()?;
        absent_is_fine(fs::remove_file(path))
    }

    /// Removes an empty folder, which may be gone already.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.point()?;
        absent_is_fine(fs::remove_dir(path))
    }

    /// Removes a folder if it is empty.
    pub(crate) fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        self.point()?;
        std::fs::remove_dir(path)
    }

    /// Sets the permission bits.
    pub(crate) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.point()?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Removes a file or a folder with all it holds, read-only or not, if it is there.
    pub(crate) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        self.open_tree(path, &mut files, &mut folders)?;
        if files.len() > MOST_SINGLE_REMOVALS {
            at_once(&files, |file| self.remove_file(file))?;
        } else {
            files.iter().try_for_each(|file| self.remove_file(file))?;
        }
        folders.iter().rev().try_for_each(|folder| self.remove_dir(folder))
    }

    /// Lists what is at `path`, each folder before what it holds, and makes the folders writable.
    fn open_tree(&self, path: &Path, files: &mut Vec<PathBuf>, folders: &mut Vec<PathBuf>) -> io::Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if !metadata.is_dir() {
            files.push(path.to_path_buf());
            return Ok(());
        }
        if metadata.permissions().mode() & 0o700 != 0o700 {
            self.set_mode(path, 0o755)?;
        }
        folders.push(path.to_path_buf());
        match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(mut entries) => entries.try_for_each(|entry| self.open_tree(&entry?.path(), files, folders)),
        }
    }

    /// Brings files and folders to the disk before anything later is.
    pub(crate) fn sync(&self, paths: &[PathBuf]) -> io::Result<()> {
        self.point()?;
        // The tests of this crate end processes, not machines, and commit thousands of times.
        if cfg!(test) {
            return Ok(());
        }
        match paths {
            [] => Ok(()),
            [only] => File::open(only)?.sync_all(),
            [first, ..] if paths.len() > MOST_SINGLE_SYNCS && sync_file_system(first)? => Ok(()),
            // A journalling file system then writes its journal once for all.
            _ => at_once(paths, |path| File::open(path)?.sync_all()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests may fail here")]
    fn point(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn point(&self) -> io::Result<()> {
        self.fuse.burn()
    }
}

/// Does the same to many paths, several at a time however few processors there are, since each mostly waits for the disk. Stops at
/// the first that fails.
fn at_once(paths: &[PathBuf], act: impl Fn(&Path) -> io::Result<()> + Sync) -> io::Result<()> {
    if paths.len() <= 1 {
        return paths.iter().try_for_each(|path| act(path));
    }
    std::thread::scope(|scope| {
        let chunks = paths.chunks(paths.len().div_ceil(AT_ONCE));
        let threads: Vec<_> = chunks.map(|chunk| scope.spawn(|| chunk.iter().try_for_each(|path| act(path)))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Syncs the file system that holds `path`; false where the operating system cannot.
#[cfg(target_os = "linux")]
fn sync_file_system(path: &Path) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let file = File::open(path)?;
    // SAFETY: the descriptor is open for the length of the call.
    if unsafe { libc::syncfs(file.file().as_raw_fd()) } == 0 { Ok(true) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
pub(crate) mod fuse {
    //! Ends a process, or fills the disk, as far as the disk can tell, after a chosen number of operations.

    use std::io;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    /// Operations left until something happens, and how many it happens to.
    #[derive(Debug)]
    pub(crate) struct Fuse {
        left: AtomicI64,
        full: AtomicI64,
    }

    impl Default for Fuse {
        fn default() -> Self {
            Self { left: AtomicI64::new(i64::MAX), full: AtomicI64::new(0) }
        }
    }

    impl Fuse {
        /// Lets `operations` more happen, then no more.
        pub(crate) fn set(&self, operations: i64) {
            self.left.store(operations, SeqCst);
        }

        /// Lets `operations` more happen, then finds the disk full so many times, then all is well.
        pub(crate) fn fill(&self, operations: i64, times: i64) {
            self.full.store(times, SeqCst);
            self.set(operations);
        }

        /// How many are left; negative after death.
        pub(crate) fn left(&self) -> i64 {
            self.left.load(SeqCst)
        }

        pub(super) fn burn(&self) -> io::Result<()> {
            let (left, full) = (self.left.fetch_sub(1, SeqCst), self.full.load(SeqCst));
            match left {
                1.. => Ok(()),
                _ if full == 0 => Err(io::Error::other("the process died here")),
                _ if left > -full => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
                _ => Ok(()),
            }
        }

        pub(super) fn is_first(&self) -> bool {
            self.left() == -1
        }
    }
}
