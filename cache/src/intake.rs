//! [`Blobs`]: files that arrived from elsewhere, each under its digest, on their way into artifacts. It does not know where they
//! came from and does not check their bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plan::{Digest, FileEntry};

use crate::hashing::FileHash;
use crate::{Result, Store};

/// A folder of files by digest, and how often each is still needed.
#[derive(Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
    uses: BTreeMap<Digest, (u64, u64)>,
}

impl Blobs {
    /// None are needed yet. The folder must exist before files arrive.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, uses: BTreeMap::new() }
    }

    /// Notes that these files are needed once more.
    pub(crate) fn expect(&mut self, files: &[FileEntry]) {
        for file in files.iter().filter(|file| file.bytes > 0) {
            self.uses.entry(file.digest).or_insert((file.bytes, 0)).1 += 1;
        }
    }

    /// What has to arrive, sorted by digest; empty files need not.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = FileHash> {
        self.uses.iter().map(|(digest, (bytes, _))| FileHash { digest: *digest, bytes: *bytes })
    }

    /// Whether a file is needed.
    pub(crate) fn wants(&self, digest: &Digest) -> bool {
        self.uses.contains_key(digest)
    }

    /// Where a file arrives.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Makes the files of an artifact below `out`, which is empty. The last use of a file moves it.
    pub(crate) fn place(&mut self, store: &Store, files: &[FileEntry], out: &Path) -> Result<()> {
        let disk = store.disk();
        for file in files {
            let to = out.join(&file.path);
            let mut folder = out.to_path_buf();
            for part in Path::new(&file.path).parent().into_iter().flat_map(Path::components) {
                folder.push(part);
                disk.create_dir(&folder)?;
            }
            let from = self.path(&file.digest);
            match self.uses.get_mut(&file.digest) {
                Some((_, uses)) if *uses > 1 => {
                    *uses -= 1;
                    disk.copy(&from, &to)?;
                }
                Some(_) => {
                    self.uses.remove(&file.digest);
                    disk.rename(&from, &to)?;
                }
                None => disk.write(&to, b"")?,
            }
        }
        Ok(())
    }
}
