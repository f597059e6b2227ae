//! BLAKE3 of files, streamed; large ones on all threads. The digest of a file is the plain BLAKE3 of its bytes, as `b3sum` prints
//! it. It does not know where files lie.

use std::io::Read;
use std::path::Path;

use fs_err::File;
use plan::Digest;

use crate::Result;

/// Size of a read.
const SMALL: usize = 1 << 17;
/// Size of a read in files that are hashed on all threads.
const LARGE: usize = 1 << 23;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHash {
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
}

/// Hashes the file at `path`.
pub(crate) fn hash_path(path: &Path) -> Result<FileHash> {
    hash(&mut File::open(path)?)
}

/// Hashes the rest of an open file; the result does not depend on the number of threads.
pub(crate) fn hash(file: &mut File) -> Result<FileHash> {
    let size = file.metadata()?.len();
    let parallel = size >= LARGE as u64;
    let mut buffer = vec![0; if parallel { LARGE } else { SMALL.min(size as usize + 1) }];
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0_u64;
    loop {
        let filled = fill(file, &mut buffer)?;
        if filled == 0 {
            break;
        }
        bytes += filled as u64;
        if parallel {
            hasher.update_rayon(&buffer[..filled]);
        } else {
            hasher.update(&buffer[..filled]);
        }
    }
    Ok(FileHash { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), bytes })
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_files_have_the_plain_digest() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, SMALL - 1, SMALL, SMALL + 1, LARGE + 12_345] {
            let bytes: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
            let path = folder.path().join("file");
            fs_err::write(&path, &bytes).unwrap();
            let found = hash_path(&path).unwrap();
            assert_eq!(found.digest.as_bytes(), blake3::hash(&bytes).as_bytes(), "{size} bytes");
            assert_eq!(found.bytes, size as u64);
        }
    }
}
