//! What was met before: a set of hashes, exact or a Bloom filter, entered batch by batch as if by a single thread.
//! Does not know what is hashed.
//!
//! A key belongs to one of 64 shards by its bits, and a shard enters its keys in their order; so shards can work beside each other
//! and which of two equal keys is the first is still decided by their order.

use super::bloom::BloomShard;
use rayon::prelude::*;

/// Number of shards; fixed, since a Bloom filter is laid out by it.
pub(super) const SHARDS: usize = 64;

/// A hash that names a content.
pub(super) trait Key: Copy + Eq + Send + Sync {
    /// The value that stands for an empty slot.
    const ZERO: Self;
    /// 64 bits of it.
    fn low(self) -> u64;
    /// 64 bits as independent of `low` as the key allows.
    fn high(self) -> u64;
}

impl Key for u128 {
    const ZERO: u128 = 0;
    fn low(self) -> u64 {
        self as u64
    }
    fn high(self) -> u64 {
        (self >> 64) as u64
    }
}

impl Key for u64 {
    const ZERO: u64 = 0;
    fn low(self) -> u64 {
        self
    }
    fn high(self) -> u64 {
        mix(self ^ 0x9e37_79b9_7f4a_7c15)
    }
}

/// A bijection that spreads every bit (the finaliser of SplitMix64; Steele, Lea and Flood 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(super) fn shard_of<K: Key>(key: K) -> usize {
    (key.low() >> 58) as usize
}

/// An exact set: open addressing, at most three quarters full.
#[derive(Debug)]
pub(super) struct Table<K> {
    slots: Vec<K>,
    filled: usize,
    has_zero: bool,
}

impl<K: Key> Table<K> {
    fn new() -> Table<K> {
        Table { slots: vec![K::ZERO; 64], filled: 0, has_zero: false }
    }

    /// Whether the key is new.
    fn insert(&mut self, key: K) -> bool {
        if key == K::ZERO {
            return !std::mem::replace(&mut self.has_zero, true);
        }
        if (self.filled + 1) * 4 > self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![K::ZERO; old.len() * 2];
            for key in old.into_iter().filter(|key| *key != K::ZERO) {
                let slot = self.slot(key);
                self.slots[slot] = key;
            }
        }
        let slot = self.slot(key);
        let new = self.slots[slot] == K::ZERO;
        if new {
            self.slots[slot] = key;
            self.filled += 1;
        }
        new
    }

    /// The slot that holds the key, or the empty one where it belongs.
    fn slot(&self, key: K) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = key.low() as usize & mask;
        while self.slots[slot] != key && self.slots[slot] != K::ZERO {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// One shard.
#[derive(Debug)]
pub(super) enum Shard<K> {
    Exact(Table<K>),
    Bloom(BloomShard),
    /// A Bloom filter that is asked and never changed.
    Frozen(BloomShard),
}

impl<K: Key> Shard<K> {
    fn insert(&mut self, key: K) -> bool {
        match self {
            Shard::Exact(table) => table.insert(key),
            Shard::Bloom(bits) => bits.insert(key),
            Shard::Frozen(bits) => !bits.contains(key),
        }
    }
}

/// The keys met so far.
#[derive(Debug)]
pub(super) struct Seen<K> {
    shards: Vec<Shard<K>>,
}

impl<K: Key> Seen<K> {
    /// Nothing yet; exact, about 12 to 24 bytes per distinct key of 64 bits and twice that for 128.
    pub(super) fn exact() -> Seen<K> {
        Seen { shards: (0..SHARDS).map(|_| Shard::Exact(Table::new())).collect() }
    }

    pub(super) fn of(shards: impl IntoIterator<Item = Shard<K>>) -> Seen<K> {
        Seen { shards: shards.into_iter().collect() }
    }

    pub(super) fn into_shards(self) -> Vec<Shard<K>> {
        self.shards
    }

    /// Enters the keys of consecutive documents and says of each whether it was there before.
    pub(super) fn enter(&mut self, keys: &[&[K]]) -> Vec<Vec<bool>> {
        let mut total = 0u32;
        // Where the keys of each chunk of documents begin.
        let chunk = keys.len().div_ceil(rayon::current_num_threads() * 4).max(1);
        let starts: Vec<u32> = keys
            .chunks(chunk)
            .map(|chunk| {
                let start = total;
                total += chunk.iter().map(|keys| keys.len() as u32).sum::<u32>();
                start
            })
            .collect();
        let sorted: Vec<Vec<Vec<(K, u32)>>> = keys
            .par_chunks(chunk)
            .zip(starts)
            .map(|(chunk, start)| {
                let count: usize = chunk.iter().map(|keys| keys.len()).sum();
                let mut shards: Vec<Vec<(K, u32)>> = (0..SHARDS).map(|_| Vec::with_capacity(count / SHARDS * 5 / 4)).collect();
                for (index, key) in (start..).zip(chunk.iter().flat_map(|keys| keys.iter())) {
                    shards[shard_of(*key)].push((*key, index));
                }
                shards
            })
            .collect();
        let repeated: Vec<Vec<u32>> = self
            .shards
            .par_iter_mut()
            .enumerate()
            .map(|(at, shard)| {
                let entries = sorted.iter().flat_map(|chunk| &chunk[at]);
                entries.filter(|(key, _)| !shard.insert(*key)).map(|(_, index)| *index).collect()
            })
            .collect();
        let mut flags = vec![false; total as usize];
        for index in repeated.into_iter().flatten() {
            flags[index as usize] = true;
        }
        let mut rest = flags.as_slice();
        keys.iter()
            .map(|keys| {
                let (mine, others) = rest.split_at(keys.len());
                rest = others;
                mine.to_vec()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn as_a_set_of_one_thread(batches in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(0u64..40, 0..9), 0..9), 0..5)) {
            let (mut seen, mut set) = (Seen::<u64>::exact(), BTreeSet::new());
            for batch in batches {
                // Spread over the shards, zero included.
                let batch: Vec<Vec<u64>> = batch.into_iter().map(|keys| keys.into_iter().map(|key| key.wrapping_mul(0x0765_4321_1234_5678)).collect()).collect();
                let keys: Vec<&[u64]> = batch.iter().map(Vec::as_slice).collect();
                let expected: Vec<Vec<bool>> = batch.iter().map(|keys| keys.iter().map(|key| !set.insert(*key)).collect()).collect();
                prop_assert_eq!(seen.enter(&keys), expected);
            }
        }
    }
}
