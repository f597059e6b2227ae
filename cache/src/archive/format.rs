//! How an archive is read: in one pass, where each entry must be the one that may come now, in the size that was announced. What is
//! announced is limited, so that nothing unpacks to more than it says and nothing is written that will not be kept. It writes no
//! file: a [`Receive`] does.
//!
//! ```text
//! workbench-archive.json     what follows: run, number and size of everything
//! journal.jsonl              the journal of the run
//! records/<key>.json         manifest and preimage of each artifact, sorted
//! blobs/<digest>             each file once, sorted
//! ```

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};

use plan::{Digest, Key};
use serde::{Deserialize, Serialize};
use tar::{Archive, EntryType};

use crate::hashing::FileHash;
use crate::record::{self, Record};
use crate::{Result, StoreError};

/// Version of the layout.
pub(crate) const FORMAT: u32 = 1;
/// Name of the first entry.
pub(crate) const CONTENTS: &str = "workbench-archive.json";
/// Name of the second.
pub(crate) const JOURNAL: &str = "journal.jsonl";
/// Largest table of contents, in bytes.
const MOST_CONTENTS: u64 = 64 << 10;
/// Largest journal, in bytes.
const MOST_JOURNAL: u64 = 1 << 30;
/// Most artifacts.
const MOST_RECORDS: u64 = 1 << 20;
/// Largest size of all records together, in bytes.
const MOST_RECORD_BYTES: u64 = 1 << 30;
/// Most bytes after the last entry.
const MOST_PADDING: u64 = 64 << 10;
/// Largest window that the compression may ask memory for, as a power of two.
pub(crate) const WINDOW_LOG: u32 = 27;

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Version of the layout.
    pub format: u32,
    /// Name of the run.
    pub run: String,
    /// Size of its journal in bytes.
    pub journal: u64,
    /// Its digest.
    pub journal_digest: Digest,
    /// Number of artifacts.
    pub artifacts: u64,
    /// Size of their records in bytes.
    pub record_bytes: u64,
    /// Number of different files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Takes what an archive holds, in its order. What it refuses ends the reading.
pub(crate) trait Receive {
    /// Everything that is announced; nothing has been unpacked yet.
    fn contents(&mut self, contents: &Contents) -> Result<()>;
    /// The journal.
    fn journal(&mut self, journal: Vec<u8>) -> Result<()>;
    /// All artifacts.
    fn records(&mut self, records: Vec<Record>) -> Result<()>;
    /// One file; what is read must have this size and digest.
    fn blob(&mut self, file: FileHash, from: &mut dyn Read) -> Result<()>;
}

/// Reads a plain archive.
pub(crate) fn read(from: impl Read, place: &str, receiver: &mut dyn Receive) -> Result<()> {
    Reader { place }.read(from, receiver)
}

/// Reads no more than the table of contents.
pub(crate) fn peek(from: impl Read, place: &str) -> Result<Contents> {
    let reader = Reader { place };
    let mut archive = Archive::new(from);
    let mut entries = reader.trouble(archive.entries())?.raw(true);
    reader.contents(&mut entries)
}

struct Reader<'a> {
    place: &'a str,
}

impl Reader<'_> {
    fn read(&self, mut from: impl Read, receiver: &mut dyn Receive) -> Result<()> {
        self.read_entries(&mut from, receiver)?;
        // What follows an archive is padding; reading it lets the decompression check its own sum.
        let mut rest = Vec::new();
        self.trouble(from.take(MOST_PADDING).read_to_end(&mut rest))?;
        if rest.len() as u64 == MOST_PADDING || rest.iter().any(|&byte| byte != 0) {
            return Err(self.refuse("it goes on after its end".into()));
        }
        Ok(())
    }

    fn read_entries(&self, from: &mut impl Read, receiver: &mut dyn Receive) -> Result<()> {
        let mut archive = Archive::new(from);
        let mut entries = self.trouble(archive.entries())?.raw(true);
        let contents = self.contents(&mut entries)?;
        receiver.contents(&contents)?;
        let (_, size, mut entry) = self.next(&mut entries, JOURNAL)?;
        if size != contents.journal {
            return Err(self.refuse(format!("its journal has {size} bytes, {} were announced", contents.journal)));
        }
        let journal = self.all(&mut entry, size)?;
        if blake3::hash(&journal).as_bytes() != contents.journal_digest.as_bytes() {
            return Err(self.refuse("its journal does not have the digest that it should have".into()));
        }
        receiver.journal(journal)?;
        let records = self.records(&mut entries, &contents)?;
        let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
        for file in records.iter().flat_map(|record| &record.manifest.files).filter(|file| file.bytes > 0) {
            if *wanted.entry(file.digest).or_insert(file.bytes) != file.bytes {
                return Err(self.refuse(format!("file {} has two sizes in it", file.digest.short())));
            }
        }
        let announced = wanted.values().try_fold(0_u64, |sum, bytes| sum.checked_add(*bytes));
        if (wanted.len() as u64, announced) != (contents.files, Some(contents.bytes)) {
            return Err(self.refuse("its table of contents is not that of its records".into()));
        }
        receiver.records(records)?;
        for (digest, bytes) in wanted {
            let (name, size, mut entry) = self.next(&mut entries, "blobs/")?;
            if name != digest.to_string() || size != bytes {
                let found = name.escape_debug().to_string();
                return Err(
                    self.refuse(format!("it holds `blobs/{found}` of {size} bytes where {digest} of {bytes} bytes belongs"))
                );
            }
            self.pass_on(FileHash { digest, bytes }, &mut entry, receiver)?;
        }
        match entries.next() {
            None => Ok(()),
            Some(_) => Err(self.refuse("it goes on after its end".into())),
        }
    }

    fn contents<R: Read>(&self, entries: &mut tar::Entries<'_, R>) -> Result<Contents> {
        let (_, size, mut entry) = self.next(entries, CONTENTS)?;
        if size > MOST_CONTENTS {
            return Err(self.refuse(format!("its table of contents has {size} bytes, {MOST_CONTENTS} are allowed")));
        }
        let text = self.all(&mut entry, size)?;
        let contents: Contents =
            serde_json::from_slice(&text).map_err(|error| self.refuse(format!("its table of contents: {error}")))?;
        if contents.format != FORMAT {
            return Err(self.refuse(format!("it has format {}, this program reads format {FORMAT}", contents.format)));
        }
        for (what, size, most) in [
            ("bytes of journal", contents.journal, MOST_JOURNAL),
            ("artifacts", contents.artifacts, MOST_RECORDS),
            ("bytes of records", contents.record_bytes, MOST_RECORD_BYTES),
        ] {
            if size > most {
                return Err(self.refuse(format!("it announces {size} {what}, {most} are allowed")));
            }
        }
        Ok(contents)
    }

    fn records<R: Read>(&self, entries: &mut tar::Entries<'_, R>, contents: &Contents) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        let mut left = contents.record_bytes;
        for _ in 0..contents.artifacts {
            let (name, size, mut entry) = self.next(entries, "records/")?;
            let key: Key = name
                .strip_suffix(".json")
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| self.refuse(format!("`records/{}` is no record", name.escape_debug())))?;
            if size > record::MOST_BYTES.min(left) {
                return Err(self.refuse(format!("the record of key {} has {size} bytes, which is too large", key.short())));
            }
            left -= size;
            let text = self.all(&mut entry, size)?;
            let record =
                Record::parse(&key, &text).map_err(|error| self.refuse(format!("the record of key {}: {error}", key.short())))?;
            if records.last().is_some_and(|last| last.manifest.key >= key) {
                return Err(self.refuse("its records are not in order".into()));
            }
            records.push(record);
        }
        Ok(records)
    }

    /// The next entry, which must be a plain file whose name begins with `prefix`: the rest of its name, and its size.
    fn next<'e, R: Read>(&self, entries: &mut tar::Entries<'e, R>, prefix: &str) -> Result<(String, u64, tar::Entry<'e, R>)> {
        let Some(entry) = entries.next() else { return Err(self.refuse(format!("it is cut short before `{prefix}`"))) };
        let entry = self.trouble(entry)?;
        let name = entry.path_bytes();
        let shown = String::from_utf8_lossy(&name).escape_debug().to_string();
        let kind = entry.header().entry_type();
        if kind != EntryType::Regular {
            return Err(self.refuse(format!("`{shown}` in it is no plain file")));
        }
        let rest = std::str::from_utf8(&name).ok().and_then(|name| name.strip_prefix(prefix)).map(str::to_owned);
        let rest = rest.ok_or_else(|| self.refuse(format!("it holds `{shown}` where `{prefix}` belongs")))?;
        let size = entry.size();
        Ok((rest, size, entry))
    }

    fn all(&self, from: &mut impl Read, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.trouble(from.take(size).read_to_end(&mut bytes))?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(self.refuse("it is cut short".into())) }
    }

    /// Hands a file on, and checks what the receiver read of it.
    fn pass_on(&self, file: FileHash, from: &mut dyn Read, receiver: &mut dyn Receive) -> Result<()> {
        let mut hashing = Hashing { from: from.take(file.bytes), hasher: blake3::Hasher::new(), bytes: 0, trouble: None };
        let received = receiver.blob(file, &mut hashing);
        if let Some(trouble) = hashing.trouble.take() {
            return self.trouble(Err(trouble));
        }
        received?;
        let digest = Digest::from_bytes(*hashing.hasher.finalize().as_bytes());
        if hashing.bytes == file.bytes && digest == file.digest {
            return Ok(());
        }
        if hashing.bytes < file.bytes {
            return Err(self.refuse(format!("it is cut short in file {}", file.digest)));
        }
        Err(StoreError::WrongBytes {
            place: format!("{}: blobs/{}", self.place, file.digest),
            wanted: format!("digest {}", file.digest.short()),
            found: format!("digest {}", digest.short()),
        })
    }

    /// What cannot be read of the archive: that it ends too early, or is none.
    fn trouble<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.refuse("it is cut short".into()),
            _ => self.refuse(format!("it cannot be unpacked: {error}")),
        })
    }

    fn refuse(&self, reason: String) -> StoreError {
        StoreError::Refused { place: self.place.to_owned(), reason: format!("{reason}; nothing of it was kept") }
    }
}

/// Hashes what is read, and keeps the archive's own trouble apart from that of whoever reads.
struct Hashing<R> {
    from: R,
    hasher: blake3::Hasher,
    bytes: u64,
    trouble: Option<io::Error>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buffer) {
            Ok(count) => {
                self.hasher.update(&buffer[..count]);
                self.bytes += count as u64;
                Ok(count)
            }
            Err(error) => {
                let again = io::Error::from(error.kind());
                self.trouble = Some(error);
                Err(again)
            }
        }
    }
}
