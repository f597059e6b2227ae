//! A run with its artifacts as one file, and back: `pack` and `unpack`. The file is a compressed tar archive, the same to the byte
//! for the same run. Nothing that an archive says is believed: every name, size and digest is checked before an artifact is
//! committed, through a slot and the barriers of a commit. It does not know what a journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::File;
use plan::{Digest, Key};

use crate::hashing::FileHash;
use crate::intake::Blobs;
use crate::record::Record;
use crate::store::to_line;
use crate::{Claim, Result, Store, StoreError};

pub(crate) mod format;

pub use format::Contents;
use format::{CONTENTS, FORMAT, JOURNAL, Receive, WINDOW_LOG};

/// Level of compression: fast, since weights hardly compress.
const LEVEL: i32 = 3;

/// What an archive brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Name of the run.
    pub run: String,
    /// Its journal.
    pub journal: Vec<u8>,
    /// Keys of its artifacts, which are all in the store now.
    pub keys: Vec<Key>,
    /// How many of them were there before.
    pub present: u64,
    /// Size in bytes of the files that came.
    pub bytes: u64,
}

/// Writes the artifacts of `keys` and a journal to a new file. Keys without a whole artifact are left out; the contents say how many
/// there are.
///
/// # Errors
/// When the file exists; when an artifact is not what was committed; when the operating system refuses.
pub fn pack(store: &Store, run: &str, journal: &[u8], keys: &BTreeSet<Key>, to: &Path) -> Result<Contents> {
    let exists = || StoreError::Refused { place: to.display().to_string(), reason: "it exists; name a new file".into() };
    if to.exists() {
        return Err(exists());
    }
    let _lease = store.lease()?;
    let (mut records, mut files) = (Vec::new(), BTreeMap::new());
    for key in keys {
        let (Some(artifact), Some(preimage)) = (store.lookup(key)?, store.preimage(key)?) else { continue };
        for file in artifact.manifest.files.iter().filter(|file| file.bytes > 0) {
            files.entry(file.digest).or_insert_with(|| (file.bytes, artifact.path.join(&file.path)));
        }
        records.push((*key, to_line(&Record { manifest: artifact.manifest, preimage })?));
    }
    let contents = Contents {
        format: FORMAT,
        run: run.to_owned(),
        journal: journal.len() as u64,
        journal_digest: Digest::from_bytes(*blake3::hash(journal).as_bytes()),
        artifacts: records.len() as u64,
        record_bytes: records.iter().map(|(_, text)| text.len() as u64).sum(),
        files: files.len() as u64,
        bytes: files.values().map(|(bytes, _)| bytes).sum(),
    };
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let draft = to.with_file_name(format!("{name}.partial-{}", std::process::id()));
    let written = write(&draft, &contents, journal, &records, &files).and_then(|()| {
        // A link, unlike a rename, replaces nothing.
        match fs::hard_link(&draft, to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists()),
            Err(_) if !to.exists() => Ok(fs::rename(&draft, to)?),
            other => Ok(other?),
        }
    });
    if draft.exists() {
        fs::remove_file(&draft)?;
    }
    written.map(|()| contents)
}

fn write(
    to: &Path,
    contents: &Contents,
    journal: &[u8],
    records: &[(Key, Vec<u8>)],
    files: &BTreeMap<Digest, (u64, PathBuf)>,
) -> Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(BufWriter::new(File::create(to)?), LEVEL)?;
    encoder.include_checksum(true)?;
    let mut builder = tar::Builder::new(encoder);
    append(&mut builder, CONTENTS, &to_line(contents)?)?;
    append(&mut builder, JOURNAL, journal)?;
    for (key, text) in records {
        append(&mut builder, &format!("records/{key}.json"), text)?;
    }
    for (digest, (bytes, path)) in files {
        let mut hashing = Checked { file: File::open(path)?.take(*bytes), hasher: blake3::Hasher::new() };
        append_from(&mut builder, &format!("blobs/{digest}"), *bytes, &mut hashing)?;
        let found = Digest::from_bytes(*hashing.hasher.finalize().as_bytes());
        if found != *digest {
            return Err(StoreError::WrongBytes {
                place: path.display().to_string(),
                wanted: format!("digest {}", digest.short()),
                found: format!("digest {}", found.short()),
            });
        }
    }
    let file = builder.into_inner()?.finish()?.into_inner().map_err(|error| error.into_error())?;
    Ok(file.sync_all()?)
}

fn append(builder: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    append_from(builder, name, bytes.len() as u64, &mut &*bytes)
}

fn append_from(builder: &mut tar::Builder<impl Write>, name: &str, bytes: u64, from: &mut dyn Read) -> Result<()> {
    // Nothing of this machine, nor of this moment.
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o444);
    header.set_mtime(0);
    Ok(builder.append_data(&mut header, name, from)?)
}

/// What is read from a file, hashed.
struct Checked {
    file: std::io::Take<File>,
    hasher: blake3::Hasher,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// What an archive says that it holds.
///
/// # Errors
/// When it is none; when the operating system refuses.
pub fn peek(archive: &Path) -> Result<Contents> {
    format::peek(decompress(File::open(archive)?)?, &archive.display().to_string())
}

/// Brings the artifacts of an archive into the store. Nothing is committed unless all of it is whole; artifacts that are there stay
/// as they are.
///
/// # Errors
/// When the archive is cut short, damaged, hostile, or larger than the disk has room for; when the operating system refuses.
pub fn unpack(store: &Store, archive: &Path) -> Result<Unpacked> {
    let _lease = store.lease()?;
    let folder = store.layout().fresh_tmp();
    store.disk().create_dir(&folder)?;
    let mut staging = Staging {
        store,
        blobs: Blobs::new(folder.clone()),
        here: BTreeSet::new(),
        run: String::new(),
        journal: Vec::new(),
        records: Vec::new(),
        bytes: 0,
    };
    let read = format::read(decompress(File::open(archive)?)?, &archive.display().to_string(), &mut staging);
    let unpacked = read.and_then(|()| staging.commit());
    store.discard(&folder);
    unpacked
}

/// Unpacks with bounded memory.
fn decompress(from: impl Read) -> Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::new(from)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(BufReader::new(decoder))
}

/// Files on their way from an archive into slots.
struct Staging<'a> {
    store: &'a Store,
    blobs: Blobs,
    here: BTreeSet<Key>,
    run: String,
    journal: Vec<u8>,
    records: Vec<Record>,
    bytes: u64,
}

impl Receive for Staging<'_> {
    fn contents(&mut self, contents: &Contents) -> Result<()> {
        contents.run.clone_into(&mut self.run);
        Ok(())
    }

    fn journal(&mut self, journal: Vec<u8>) -> Result<()> {
        self.journal = journal;
        Ok(())
    }

    fn records(&mut self, records: Vec<Record>) -> Result<()> {
        let mut needed = 0_u64;
        for record in &records {
            if self.store.lookup(&record.manifest.key)?.is_some() {
                self.here.insert(record.manifest.key);
            } else {
                self.blobs.expect(&record.manifest.files);
                needed = needed.saturating_add(record.manifest.bytes());
            }
        }
        let room = room(self.store.root())?;
        if needed > room {
            let reason = format!("its files need {needed} bytes, the disk of the store has room for {room}");
            return Err(StoreError::Full(std::io::Error::new(ErrorKind::StorageFull, reason)));
        }
        self.records = records;
        Ok(())
    }

    fn blob(&mut self, file: FileHash, from: &mut dyn Read) -> Result<()> {
        if self.blobs.wants(&file.digest) {
            let mut to = File::create(self.blobs.path(&file.digest))?;
            std::io::copy(from, &mut to)?;
            self.bytes += file.bytes;
        } else {
            // Artifacts that are here have it; it is read all the same, to know that the archive is whole.
            std::io::copy(from, &mut std::io::sink())?;
        }
        Ok(())
    }
}

impl Staging<'_> {
    /// All of it was whole: makes artifacts of it.
    fn commit(mut self) -> Result<Unpacked> {
        let keys: Vec<Key> = self.records.iter().map(|record| record.manifest.key).collect();
        for Record { manifest, preimage } in self.records {
            if self.here.contains(&manifest.key) {
                continue;
            }
            // Somebody else may have made it meanwhile.
            if let Claim::Slot(slot) = self.store.claim_wait(&preimage, &|_| true)? {
                self.blobs.place(self.store, &manifest.files, &slot.out())?;
                slot.adopt(manifest)?;
            }
        }
        Ok(Unpacked { run: self.run, journal: self.journal, keys, present: self.here.len() as u64, bytes: self.bytes })
    }
}

/// Bytes that ordinary users can still write to the disk of a folder.
fn room(folder: &Path) -> Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(std::io::Error::from)?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero byte, and the answer has room for what is asked.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call succeeded and filled it in.
    let answer = unsafe { answer.assume_init() };
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

#[cfg(test)]
mod tests;
