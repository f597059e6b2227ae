//! Counts the n-grams of a sequence exactly, for any n, in bounded memory.
//! Knows word numbers and positions, no words.
//!
//! An n-gram is known by the position of its first occurrence; a table maps a rolling hash to it, and every hit is compared
//! with the sequence itself, so that no collision is ever counted. The n-grams are dealt into parts by hash, one table after
//! another (or side by side on several threads), so that a table fits its share of the budget; what comes out does not depend
//! on how many parts there are.

use super::sequence::BETWEEN;
use rayon::prelude::*;
use std::cmp::Reverse;

/// How often an n-gram stands in the sequence, and where first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ngram {
    pub(crate) count: u64,
    pub(crate) first: u64,
}

/// What counting finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NgramCounts {
    /// N-grams, repetitions included.
    pub(crate) total: u64,
    /// Distinct ones.
    pub(crate) distinct: u64,
    /// Those that stand in the sequence once.
    pub(crate) once: u64,
    /// The most frequent, by falling count and then by first occurrence.
    pub(crate) common: Vec<Ngram>,
    /// The least frequent, by rising count and then by first occurrence.
    pub(crate) rare: Vec<Ngram>,
}

/// What is asked of a count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Words of an n-gram, from 1.
    pub(crate) n: usize,
    /// How many of the most frequent.
    pub(crate) common: usize,
    /// How many of the least frequent.
    pub(crate) rare: usize,
    /// Bytes that all tables may take together; each has room for 1024 n-grams at least.
    pub(crate) budget: usize,
}

const FIRST_BITS: u32 = 40;
const FIRST_MASK: u64 = (1 << FIRST_BITS) - 1;
const BASE: u64 = 0xd6e8_feb8_6659_fd93;
/// N-grams whose slots are loaded together, so that the waits for memory overlap.
const TOGETHER: usize = 32;

/// Counts the n-grams of `ids` that do not cross [`BETWEEN`].
pub(crate) fn count(ids: &[u32], question: Question) -> NgramCounts {
    assert!((ids.len() as u64) < FIRST_MASK, "positions have 40 bits");
    let estimate = distinct(ids, question.n);
    let mut room = estimate + estimate / 16 + 64;
    loop {
        let threads = rayon::current_num_threads();
        let slots = room * 8 / 5;
        let share = (question.budget / threads / std::mem::size_of::<Slot>()).max(1024);
        let parts = slots.div_ceil(share).max(if room > 1 << 16 { threads } else { 1 });
        let size = slots.div_ceil(parts).max(64);
        let counted: Option<Vec<Part>> =
            (0..parts).into_par_iter().with_max_len(1).map(|part| Table::fill(ids, question, (part, parts), size)).collect();
        if let Some(counted) = counted {
            return merged(counted, question);
        }
        // The estimate was too small for one of the parts.
        room *= 2;
    }
}

fn merged(parts: Vec<Part>, question: Question) -> NgramCounts {
    let mut all = NgramCounts::default();
    for part in parts {
        all.total += part.total;
        all.distinct += part.distinct;
        all.once += part.once;
        all.common.extend(part.common);
        all.rare.extend(part.rare);
    }
    all.common.sort_unstable_by_key(|found| (Reverse(found.count), found.first));
    all.common.truncate(question.common);
    all.rare.sort_unstable();
    all.rare.truncate(question.rare);
    all
}

struct Part {
    total: u64,
    distinct: u64,
    once: u64,
    common: Vec<Ngram>,
    rare: Vec<Ngram>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// First occurrence plus one in the lower 40 bits, bits of the hash above; 0 for a free slot.
    place: u64,
    count: u64,
}

/// Calls `each` with hash and position of every n-gram, document after document.
fn for_each_hash(ids: &[u32], n: usize, mut each: impl FnMut(u64, usize)) {
    let leading = (1..n).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut start = 0;
    while start < ids.len() {
        let end = start + ids[start..].iter().position(|&id| id == BETWEEN).unwrap_or(ids.len() - start);
        let document = &ids[start..end];
        if document.len() >= n {
            let mut hash =
                document[..n - 1].iter().fold(0u64, |hash, &id| hash.wrapping_mul(BASE).wrapping_add(u64::from(id) + 1));
            for (at, (&first, &last)) in document.iter().zip(&document[n - 1..]).enumerate() {
                hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(last) + 1);
                each(finish(hash), start + at);
                hash = hash.wrapping_sub((u64::from(first) + 1).wrapping_mul(leading));
            }
        }
        start = end + 1;
    }
}

/// Spreads a rolling hash over all its bits.
fn finish(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xe703_7ed1_a0b4_28db);
    mixed ^ (mixed >> 29)
}

/// About how many distinct n-grams there are: HyperLogLog with 2¹⁴ registers (Flajolet et al. 2007), off by 0.8 % as a rule.
fn distinct(ids: &[u32], n: usize) -> usize {
    let mut registers = vec![0u8; 1 << 14];
    for_each_hash(ids, n, |hash, _| {
        let register = &mut registers[(hash >> 50) as usize];
        let rank = ((hash << 14) | (1 << 13)).leading_zeros() as u8 + 1;
        *register = (*register).max(rank);
    });
    let m = registers.len() as f64;
    let sum: f64 = registers.iter().map(|&rank| 0.5f64.powi(i32::from(rank))).sum();
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let empty = registers.iter().filter(|&&rank| rank == 0).count();
    let estimate = if raw < 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    (estimate as usize).min(ids.len())
}

struct Table<'a> {
    ids: &'a [u32],
    n: usize,
    slots: Vec<Slot>,
    used: usize,
    total: u64,
}

impl Table<'_> {
    /// Counts the n-grams of one part; `None` when there are more than the table has room for.
    fn fill(ids: &[u32], question: Question, (part, parts): (usize, usize), size: usize) -> Option<Part> {
        let mut table = Table { ids, n: question.n, slots: vec![Slot::default(); size], used: 0, total: 0 };
        let limit = size - size / 8;
        let mut waiting = [(0u64, 0usize); TOGETHER];
        let mut filled = 0;
        for_each_hash(ids, question.n, |hash, at| {
            // The upper half of the hash chooses the part, the lower one the slot.
            if ((hash >> 32) * parts as u64) >> 32 != part as u64 {
                return;
            }
            waiting[filled] = (hash, at);
            filled += 1;
            if filled == TOGETHER {
                if table.used < limit {
                    table.add(&waiting);
                }
                filled = 0;
            }
        });
        if table.used < limit {
            table.add(&waiting[..filled]);
        }
        (table.used < limit).then(|| table.close(question))
    }

    fn slot(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.slots.len() as u64) >> 32) as usize
    }

    /// Counts some n-grams. All slots are read before any is changed, and so are the words they point to.
    fn add(&mut self, ngrams: &[(u64, usize)]) {
        let mut places = [0u64; TOGETHER];
        for (place, (hash, _)) in places.iter_mut().zip(ngrams) {
            *place = self.slots[self.slot(*hash)].place;
        }
        let mut touched = 0u32;
        for place in &places[..ngrams.len()] {
            touched ^= self.ids[((place & FIRST_MASK) as usize).saturating_sub(1)];
        }
        std::hint::black_box(touched);
        for &(hash, at) in ngrams {
            self.one(hash, at);
        }
        self.total += ngrams.len() as u64;
    }

    fn one(&mut self, hash: u64, at: usize) {
        let tag = (hash ^ (hash << 24)) & !FIRST_MASK;
        let mut index = self.slot(hash);
        loop {
            let slot = &mut self.slots[index];
            if slot.place == 0 {
                *slot = Slot { place: tag | (at as u64 + 1), count: 1 };
                self.used += 1;
                return;
            }
            if slot.place & !FIRST_MASK == tag {
                let first = (slot.place & FIRST_MASK) as usize - 1;
                if self.ids[first..first + self.n] == self.ids[at..at + self.n] {
                    slot.count += 1;
                    return;
                }
            }
            index += 1;
            if index == self.slots.len() {
                index = 0;
            }
        }
    }

    fn close(self, question: Question) -> Part {
        let found = |slot: &Slot| Ngram { count: slot.count, first: (slot.place & FIRST_MASK) - 1 };
        let used = || self.slots.iter().filter(|slot| slot.place != 0);
        let common = smallest(used().map(|slot| (Reverse(slot.count), found(slot).first)), question.common);
        let rare = smallest(used().map(|slot| (slot.count, found(slot).first)), question.rare);
        Part {
            total: self.total,
            distinct: self.used as u64,
            once: used().filter(|slot| slot.count == 1).count() as u64,
            common: common.into_iter().map(|(Reverse(count), first)| Ngram { count, first }).collect(),
            rare: rare.into_iter().map(|(count, first)| Ngram { count, first }).collect(),
        }
    }
}

/// The `k` smallest, in no order. Holds at most 2·k + 1024.
fn smallest<T: Ord + Copy>(items: impl Iterator<Item = T>, k: usize) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    let mut bound = None;
    if k == 0 {
        return kept;
    }
    for item in items {
        if bound.is_some_and(|bound| item >= bound) {
            continue;
        }
        kept.push(item);
        if kept.len() >= 2 * k + 1024 {
            kept.select_nth_unstable(k);
            bound = Some(kept[k]);
            kept.truncate(k);
        }
    }
    if kept.len() > k {
        kept.select_nth_unstable(k);
        kept.truncate(k);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::threads;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn brute(ids: &[u32], question: Question) -> NgramCounts {
        let mut found: HashMap<&[u32], Ngram> = HashMap::new();
        let mut start = 0;
        for document in ids.split(|&id| id == BETWEEN) {
            for (at, ngram) in document.windows(question.n).enumerate() {
                found.entry(ngram).or_insert(Ngram { count: 0, first: (start + at) as u64 }).count += 1;
            }
            start += document.len() + 1;
        }
        let mut all: Vec<Ngram> = found.into_values().collect();
        all.sort();
        let mut common = all.clone();
        common.sort_by_key(|found| (Reverse(found.count), found.first));
        NgramCounts {
            total: all.iter().map(|found| found.count).sum(),
            distinct: all.len() as u64,
            once: all.iter().filter(|found| found.count == 1).count() as u64,
            common: common[..question.common.min(all.len())].to_vec(),
            rare: all[..question.rare.min(all.len())].to_vec(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn as_brute_force(
            documents in proptest::collection::vec(proptest::collection::vec(0u32..6, 0..90), 0..40),
            n in 1usize..14,
            k in 0usize..300,
        ) {
            let ids: Vec<u32> = documents.into_iter().flat_map(|document| [document, vec![BETWEEN]].concat()).collect();
            for (budget, workers) in [(1 << 20, 1), (1, 1), (1, 2)] {
                let question = Question { n, common: k, rare: k / 2, budget };
                prop_assert_eq!(threads(workers, || count(&ids, question)), brute(&ids, question));
            }
        }
    }

    #[test]
    fn many_ngrams_in_many_parts() {
        // A linear congruential sequence: no short period, hence many distinct n-grams.
        let mut state = 1u64;
        let ids: Vec<u32> = (0..200_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if state >> 58 == 0 { BETWEEN } else { (state >> 54) as u32 & 0xff }
            })
            .collect();
        for n in [2, 3, 9] {
            let question = Question { n, common: 500, rare: 500, budget: 1 << 16 };
            assert_eq!(count(&ids, question), brute(&ids, question));
        }
    }
}
