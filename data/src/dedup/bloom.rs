//! A Bloom filter for corpora whose keys do not fit into memory, and its file. Knows bits and keys; does not know what keys stand for,
//! but keeps a note of it so that a filter is never asked about keys of another kind.
//!
//! Size: bytes start at 1 MiB and double until `p = (1 − (1 − 1/8m)^{kn})^k` is at most the rate wanted with `k = ⌈8m/n · ln 2⌉`, as in
//! the Dolma toolkit. Of the counts of hashes that reach the rate the smallest is then taken, since a filter that is too large needs
//! few. Keys are 64 or 128 bits of XXH3 and place their bits by double hashing, so a file means the same on every machine.
//!
//! File, little-endian: magic `WBLOOM\0\0`, u32 version 1, u32 hashes, u64 bytes, u64 keys entered, u32 length of the note, the note,
//! then the bits, shard by shard.

use super::seen::{Key, SHARDS, Seen, Shard};
use crate::error::DataError;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::Path;

const MAGIC: [u8; 8] = *b"WBLOOM\0\0";
const VERSION: u32 = 1;
const SMALLEST: u64 = 1 << 20;
/// 16 TiB; a header that asks for more is damaged.
const LARGEST: u64 = 1 << 44;

/// How large a filter is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BloomSize {
    /// Keys that are expected: documents, paragraphs or n-grams.
    pub keys: u64,
    /// Share of new keys that may be taken for known ones, once that many are entered.
    pub false_positives: f64,
}

impl BloomSize {
    /// Bytes, and hashes of a key.
    pub(super) fn plan(self) -> Result<(u64, u32), DataError> {
        if self.keys == 0 || !(self.false_positives > 0.0 && self.false_positives < 1.0) {
            return Err(DataError::Params(
                "a Bloom filter needs the number of keys that are expected, and a rate of false positives between 0 and 1"
                    .to_owned(),
            ));
        }
        let n = self.keys as f64;
        let rate = |bytes: u64, k: f64| (1.0 - (k * n * (-1.0 / (8.0 * bytes as f64)).ln_1p()).exp()).powf(k);
        let mut bytes = SMALLEST;
        loop {
            let k = (8.0 * bytes as f64 / n * std::f64::consts::LN_2).ceil();
            if rate(bytes, k) <= self.false_positives {
                // More than 64 hashes are never needed: 2⁻⁶⁴ is below any rate that can be measured.
                let fewest = (1..=64).find(|&k| rate(bytes, f64::from(k)) <= self.false_positives).unwrap_or(64);
                return Ok((bytes, fewest));
            }
            if bytes >= LARGEST {
                return Err(DataError::Params(
                    "a Bloom filter of more than 16 TiB would be needed; allow more false positives".to_owned(),
                ));
            }
            bytes *= 2;
        }
    }
}

/// The part of the bits that keys of one shard use.
#[derive(Debug)]
pub(super) struct BloomShard {
    words: Vec<u64>,
    hashes: u32,
    entered: u64,
}

impl BloomShard {
    fn bits<K: Key>(&self, key: K) -> impl Iterator<Item = (usize, u64)> + use<K> {
        let mask = self.words.len() as u64 * 64 - 1;
        let (first, step) = (key.low() & (u64::MAX >> 6), key.high() | 1);
        (0..u64::from(self.hashes)).map(move |i| {
            let bit = first.wrapping_add(i.wrapping_mul(step)) & mask;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    pub(super) fn contains<K: Key>(&self, key: K) -> bool {
        self.bits(key).all(|(word, bit)| self.words[word] & bit != 0)
    }

    pub(super) fn insert<K: Key>(&mut self, key: K) -> bool {
        let mut new = false;
        for (word, bit) in self.bits(key) {
            new |= self.words[word] & bit == 0;
            self.words[word] |= bit;
        }
        self.entered += u64::from(new);
        new
    }
}

/// An empty filter.
pub(super) fn empty<K: Key>(size: BloomSize) -> Result<Seen<K>, DataError> {
    let (bytes, hashes) = size.plan()?;
    let words = (bytes / 8) as usize / SHARDS;
    Ok(Seen::of((0..SHARDS).map(|_| Shard::Bloom(BloomShard { words: vec![0; words], hashes, entered: 0 }))))
}

/// Writes a filter to a file; `note` says what its keys are. Returns the number of keys entered.
pub(super) fn save<K: Key>(seen: Seen<K>, note: &str, path: &Path) -> Result<u64, DataError> {
    let shards: Vec<BloomShard> = seen
        .into_shards()
        .into_iter()
        .filter_map(|shard| match shard {
            Shard::Bloom(bits) | Shard::Frozen(bits) => Some(bits),
            Shard::Exact(_) => None,
        })
        .collect();
    let entered = shards.iter().map(|shard| shard.entered).sum();
    let bytes: u64 = shards.iter().map(|shard| shard.words.len() as u64 * 8).sum();
    let mut file = std::io::BufWriter::new(fs_err::File::create(path)?);
    file.write_all(&MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&shards.first().map_or(0, |shard| shard.hashes).to_le_bytes())?;
    file.write_all(&bytes.to_le_bytes())?;
    file.write_all(&u64::to_le_bytes(entered))?;
    file.write_all(&(note.len() as u32).to_le_bytes())?;
    file.write_all(note.as_bytes())?;
    for word in shards.iter().flat_map(|shard| &shard.words) {
        file.write_all(&word.to_le_bytes())?;
    }
    file.flush()?;
    Ok(entered)
}

/// The header of a filter's file.
struct Header {
    hashes: u32,
    bytes: u64,
    note: String,
}

fn header(file: &mut impl Read, path: &Path) -> Result<Header, DataError> {
    let damaged = |message: &str| DataError::format(path, message);
    let mut fixed = [0; 36];
    file.read_exact(&mut fixed).map_err(|_| damaged("it is too short for a Bloom filter"))?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    if fixed[..8] != MAGIC || half(8) != VERSION {
        return Err(damaged("it is no Bloom filter of this program (magic `WBLOOM`, version 1)"));
    }
    let (hashes, bytes, length) = (half(12), number(16), half(32));
    if !(1..=64).contains(&hashes) || !bytes.is_power_of_two() || !(SMALLEST..=LARGEST).contains(&bytes) || length > 1 << 16 {
        return Err(damaged("its header is damaged"));
    }
    let mut note = vec![0; length as usize];
    file.read_exact(&mut note).map_err(|_| damaged("it ends in its header"))?;
    let note = String::from_utf8(note).map_err(|_| damaged("its header is damaged"))?;
    Ok(Header { hashes, bytes, note })
}

/// Reads a filter to ask it; its note must be `note`.
pub(super) fn load<K: Key>(path: &Path, note: &str) -> Result<Seen<K>, DataError> {
    let damaged = |message: &str| DataError::format(path, message);
    let mut file = std::io::BufReader::with_capacity(1 << 20, fs_err::File::open(path)?);
    let header = header(&mut file, path)?;
    if header.note != note {
        let message = format!("the filter holds {}, and is asked about {note}; make both with the same parameters", header.note);
        return Err(DataError::Params(message));
    }
    let words = (header.bytes / 8) as usize / SHARDS;
    let mut shards = Vec::with_capacity(SHARDS);
    for _ in 0..SHARDS {
        let mut bytes = vec![0; words * 8];
        file.read_exact(&mut bytes).map_err(|_| damaged("it ends within its bits; make it again"))?;
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(std::array::from_fn(|i| word[i]))).collect();
        shards.push(Shard::Frozen(BloomShard { words, hashes: header.hashes, entered: 0 }));
    }
    if file.read(&mut [0])? != 0 {
        return Err(damaged("bytes follow its bits; make it again"));
    }
    Ok(Seen::of(shards))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::seen::mix;

    #[test]
    fn sizes_are_dolmas() {
        let plan = |keys, false_positives| BloomSize { keys, false_positives }.plan().unwrap();
        assert_eq!(plan(3_000_000, 1e-5).0, 16 << 20, "as measured for 1.2.1");
        assert_eq!(plan(30_000_000, 1e-5).0, 128 << 20);
        assert_eq!(plan(1000, 1e-5), (1 << 20, 2));
        assert!(BloomSize { keys: 0, false_positives: 0.1 }.plan().is_err());
    }

    #[test]
    fn the_rate_is_met_and_the_file_is_read_back() {
        let size = BloomSize { keys: 600_000, false_positives: 0.01 };
        let mut seen = empty::<u64>(size).unwrap();
        let known: Vec<u64> = (1..=600_000).map(mix).collect();
        seen.enter(&[&known]);
        assert!(seen.enter(&[&known])[0].iter().all(|seen| *seen), "a known key is never taken for a new one");
        let path = tempfile::tempdir().unwrap().keep().join("f.bloom");
        let entered = save(seen, "numbers", &path).unwrap();
        assert!((590_000..=600_000).contains(&entered), "{entered}");
        let other: Vec<u64> = (1_000_001..=1_200_000).map(mix).collect();
        let mut read = load::<u64>(&path, "numbers").unwrap();
        let wrong = read.enter(&[&other])[0].iter().filter(|seen| **seen).count();
        assert!((200..2400).contains(&wrong), "{wrong} of 200000");
        assert_eq!(read.enter(&[&other])[0].iter().filter(|seen| **seen).count(), wrong, "asking changes nothing");
        assert!(load::<u64>(&path, "words").unwrap_err().to_string().contains("holds numbers"));
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(load::<u64>(&path, "numbers").is_err());
    }
}
