//! Sorts the suffixes of a corpus: part after part by induced sorting (libsais), then merged on disk.
//! Knows symbols, of which 0 ends a document; no text.
//!
//! A suffix reaches to the end of its document; of two that are equal the one that stands first comes first. That order has no
//! regard to parts, so any division gives the same array. Held in memory: for each thread one part with its positions, at most
//! 12 bytes a symbol. Merging compares suffixes to their first difference, at worst to the end of a document: two copies of one
//! very long document in different parts make it slow.

use super::file::{Mapped, place_bytes};
use crate::analysis::sequence::unnamed;
use crate::error::DataError;
use crate::observe::{Observer, check};
use libsais::SuffixArrayConstruction;
use libsais::suffix_array::ExtraSpace;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A number that stands for a token; 0 for the end of a document.
pub(crate) trait Symbol: Copy + Ord + Send + Sync + Default + bytemuck::Pod {
    fn number(self) -> u32;
    /// The sorted suffixes of some whole documents.
    fn sort(part: &[Self]) -> Result<Vec<i32>, DataError>;
}

fn failed(error: impl std::fmt::Debug) -> DataError {
    DataError::Params(format!("sorting suffixes failed: {error:?}; give the index smaller parts"))
}

macro_rules! small {
    ($type:ty) => {
        impl Symbol for $type {
            fn number(self) -> u32 {
                u32::from(self)
            }
            fn sort(part: &[Self]) -> Result<Vec<i32>, DataError> {
                // Ends of documents are taken for different symbols, in their order.
                let sorted = |text: &[Self]| {
                    let construction = SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded();
                    Ok::<_, DataError>(construction.generalized_suffix_array().run().map_err(failed)?.into_vec())
                };
                without_empty(part, sorted)
            }
        }
    };
}
small!(u8);
small!(u16);

impl Symbol for u32 {
    fn number(self) -> u32 {
        self
    }

    fn sort(part: &[Self]) -> Result<Vec<i32>, DataError> {
        // Each end of a document is made a symbol of its own, and the alphabet is closed up to what the part uses.
        let documents = part.iter().filter(|&&symbol| symbol == 0).count();
        let mut used = vec![false; part.iter().max().map_or(0, |&max| max as usize + 1)];
        part.iter().for_each(|&symbol| used[symbol as usize] = true);
        let mut next = documents as i32;
        let dense: Vec<i32> = used
            .iter()
            .enumerate()
            .map(|(symbol, used)| {
                let number = next;
                next += i32::from(*used && symbol > 0);
                number
            })
            .collect();
        let mut ended = 0;
        let mut text: Vec<i32> = part
            .iter()
            .map(|&symbol| {
                if symbol > 0 {
                    return dense[symbol as usize];
                }
                ended += 1;
                ended - 1
            })
            .collect();
        let construction = SuffixArrayConstruction::for_text_mut(&mut text).in_owned_buffer32().single_threaded();
        let construction = construction.with_extra_space_in_buffer(ExtraSpace::Recommended);
        Ok(construction.run().map_err(failed)?.into_vec())
    }
}

/// Sorts without empty documents, which libsais does not take, and puts their ends among the others: these are the smallest suffixes,
/// in the order in which they stand.
fn without_empty<S: Symbol>(part: &[S], sorted: impl Fn(&[S]) -> Result<Vec<i32>, DataError>) -> Result<Vec<i32>, DataError> {
    let is_end = |at: usize| part[at].number() == 0;
    let is_empty = |at: usize| is_end(at) && (at == 0 || is_end(at - 1));
    if !(0..part.len()).any(is_empty) {
        return sorted(part);
    }
    let origins: Vec<i32> = (0..part.len()).filter(|&at| !is_empty(at)).map(|at| at as i32).collect();
    let text: Vec<S> = origins.iter().map(|&at| part[at as usize]).collect();
    let inner = sorted(&text)?.into_iter().map(|at| origins[at as usize]).filter(|&at| !is_end(at as usize));
    Ok((0..part.len()).filter(|&at| is_end(at)).map(|at| at as i32).chain(inner).collect())
}

/// The order of the suffixes at two positions, of which the first `same` symbols are known to be equal and no ends.
fn compare<S: Symbol>(text: &[S], a: u64, b: u64, same: usize) -> Ordering {
    let (left, right) = (&text[a as usize + same..], &text[b as usize + same..]);
    for (x, y) in left.iter().zip(right) {
        match x.cmp(y) {
            Ordering::Equal if x.number() == 0 => return a.cmp(&b),
            Ordering::Equal => {}
            other => return other,
        }
    }
    a.cmp(&b)
}

/// Divides a corpus into ranges of whole documents of about `part` symbols; a longer document is a part of its own.
fn divide(starts: &[u64], symbols: u64, part: u64) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut from = 0;
    for &end in starts.iter().skip(1).chain([&symbols]) {
        // `end` is where a document ends; the last one that fits closes the part.
        if let Some(last) = parts.last_mut().filter(|last: &&mut Range<u64>| end - last.start <= part) {
            last.end = end;
        } else {
            parts.push(from..end);
        }
        from = end;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Writes the positions of all suffixes to `path`.
pub(crate) fn write_suffixes<S: Symbol>(
    text: &[S],
    starts: &[u64],
    part: u64,
    (path, scratch): (&Path, &Path),
    observer: &dyn Observer,
) -> Result<(), DataError> {
    let width = usize::from(place_bytes(text.len() as u64));
    let parts = divide(starts, text.len() as u64, part);
    if let Some(long) = parts.iter().find(|part| part.end - part.start > i32::MAX as u64) {
        let message = format!(
            "a document at position {} has {} symbols, and 2,147,483,647 can be sorted",
            long.start,
            long.end - long.start
        );
        return Err(DataError::Params(message));
    }
    let out = fs_err::File::create(path)?;
    if let [_] = parts.as_slice() {
        let sorted = S::sort(text)?;
        let mut writer = BufWriter::with_capacity(1 << 20, out);
        for place in sorted {
            writer.write_all(&(place as u64).to_le_bytes()[..width])?;
        }
        writer.flush()?;
        return Ok(());
    }
    check(observer)?;
    let runs: Vec<Result<std::fs::File, DataError>> = parts
        .par_iter()
        .with_max_len(1)
        .map(|part| {
            check(observer)?;
            let sorted = S::sort(&text[part.start as usize..part.end as usize])?;
            let mut file = unnamed(scratch)?;
            file.write_all(bytemuck::cast_slice(&sorted))?;
            Ok(file)
        })
        .collect();
    let files = runs.into_iter().collect::<Result<Vec<_>, DataError>>()?;
    let maps: Vec<Mapped> = files.iter().map(Mapped::of).collect::<Result<_, _>>()?;
    let runs: Vec<Run<'_>> = parts.iter().zip(&maps).map(|(part, map)| Run { base: part.start, places: map.numbers() }).collect();
    merge(text, &runs, width, out.file(), observer)
}

/// The sorted suffixes of a part.
struct Run<'a> {
    base: u64,
    places: &'a [i32],
}

impl Run<'_> {
    fn at(&self, rank: usize) -> u64 {
        self.base + self.places[rank] as u64
    }
}

/// Stretches that are merged independently, each with the range of every run.
fn stretches<S: Symbol>(text: &[S], runs: &[Run<'_>], count: usize) -> Vec<Vec<Range<usize>>> {
    let longest = (0..runs.len()).max_by_key(|&run| runs[run].places.len()).unwrap_or(0);
    let mut cuts = vec![vec![0; runs.len()]];
    for i in 1..count {
        let pivot = runs[longest].at(runs[longest].places.len() * i / count);
        cuts.push(
            runs.iter()
                .map(|run| {
                    run.places.partition_point(|&place| compare(text, run.base + place as u64, pivot, 0) == Ordering::Less)
                })
                .collect(),
        );
    }
    cuts.push(runs.iter().map(|run| run.places.len()).collect());
    cuts.windows(2).map(|pair| pair[0].iter().zip(&pair[1]).map(|(&from, &to)| from..to.max(from)).collect()).collect()
}

fn merge<S: Symbol>(
    text: &[S],
    runs: &[Run<'_>],
    width: usize,
    out: &std::fs::File,
    observer: &dyn Observer,
) -> Result<(), DataError> {
    let count = (text.len() >> 20).max(1);
    let mut offset = 0u64;
    let stretches: Vec<(u64, Vec<Range<usize>>)> = stretches(text, runs, count)
        .into_iter()
        .map(|stretch| {
            let at = offset;
            offset += stretch.iter().map(|range| range.len() as u64).sum::<u64>();
            (at, stretch)
        })
        .collect();
    stretches.into_par_iter().with_max_len(1).try_for_each(|(at, stretch)| {
        check(observer)?;
        let total: usize = stretch.iter().map(Range::len).sum();
        let mut merged = Vec::with_capacity(total * width);
        let mut heads: Vec<Head<'_, S>> =
            runs.iter().zip(stretch).filter_map(|(run, range)| Head::new(text, run, range)).collect();
        // The smallest head is the last.
        heads.sort_by(|a, b| b.compare(a, text));
        while let Some(mut head) = heads.pop() {
            merged.extend_from_slice(&head.place.to_le_bytes()[..width]);
            if head.advance(text) {
                let at = heads.partition_point(|other| other.compare(&head, text) == Ordering::Greater);
                heads.insert(at, head);
            }
        }
        out.write_all_at(&merged, at * width as u64)?;
        Ok(())
    })
}

/// Symbols that are packed into a key.
const KEY_SYMBOLS: usize = 4;
/// Keys that are made together, so that the waits for memory overlap.
const AHEAD: usize = 32;

/// The next suffix of a run, with its first symbols at hand.
struct Head<'a, S> {
    run: &'a Run<'a>,
    range: Range<usize>,
    place: u64,
    key: u128,
    ready: Vec<(u64, u128)>,
    symbols: std::marker::PhantomData<S>,
}

/// The first symbols of a suffix; zeros behind its end.
fn key<S: Symbol>(text: &[S], place: u64) -> u128 {
    let mut key = 0u128;
    for at in 0..KEY_SYMBOLS {
        let symbol = text[place as usize + at].number();
        key |= u128::from(symbol) << (32 * (KEY_SYMBOLS - 1 - at));
        if symbol == 0 {
            break;
        }
    }
    key
}

impl<'a, S: Symbol> Head<'a, S> {
    fn new(text: &[S], run: &'a Run<'a>, range: Range<usize>) -> Option<Self> {
        let mut head = Head { run, range, place: 0, key: 0, ready: Vec::with_capacity(AHEAD), symbols: std::marker::PhantomData };
        head.advance(text).then_some(head)
    }

    fn advance(&mut self, text: &[S]) -> bool {
        if self.ready.is_empty() {
            let end = self.range.end.min(self.range.start + AHEAD);
            self.ready.extend((self.range.start..end).rev().map(|rank| {
                let place = self.run.at(rank);
                (place, key(text, place))
            }));
            self.range.start = end;
        }
        let Some((place, key)) = self.ready.pop() else { return false };
        (self.place, self.key) = (place, key);
        true
    }

    fn compare(&self, other: &Self, text: &[S]) -> Ordering {
        self.key.cmp(&other.key).then_with(|| {
            // A key that ends with zero ends a document within it: equal keys are equal suffixes.
            if self.key as u32 == 0 { self.place.cmp(&other.place) } else { compare(text, self.place, other.place, KEY_SYMBOLS) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::threads;
    use proptest::prelude::*;

    fn sorted<S: Symbol>(text: &[S], starts: &[u64], part: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("suffixes.bin");
        write_suffixes(text, starts, part, (&path, dir.path()), &()).unwrap();
        std::fs::read(path).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(120))]
        #[test]
        fn as_defined_for_any_division(documents in proptest::collection::vec(proptest::collection::vec(1u8..5, 0..30), 1..12)) {
            let (mut text, mut starts) = (Vec::new(), Vec::new());
            for document in documents {
                starts.push(text.len() as u64);
                text.extend(document);
                text.push(0);
            }
            let end = |at: usize| at + text[at..].iter().position(|&symbol| symbol == 0).unwrap();
            let mut places: Vec<usize> = (0..text.len()).collect();
            places.sort_by_key(|&at| (text[at..end(at)].to_vec(), at));
            let expected: Vec<u8> = places.iter().flat_map(|&place| (place as u32).to_le_bytes()).collect();
            let (two, four): (Vec<u16>, Vec<u32>) = text.iter().map(|&symbol| (u16::from(symbol), u32::from(symbol) * 1000)).unzip();
            for part in [1, 20, 1000] {
                for workers in [1, 2] {
                    threads(workers, || {
                        assert_eq!(sorted(&text, &starts, part), expected);
                        assert_eq!(sorted(&two, &starts, part), expected);
                        assert_eq!(sorted(&four, &starts, part), expected);
                    });
                }
            }
        }
    }

    #[test]
    fn parts_are_whole_documents() {
        assert_eq!(divide(&[0, 3, 5, 20, 21], 22, 6), [0..5, 5..20, 20..22]);
        assert_eq!(divide(&[], 0, 6), Vec::<Range<u64>>::new());
    }
}
