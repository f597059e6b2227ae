//! Removes exact repetitions of long passages, wherever they stand, by a suffix array (Lee et al. 2022).
//! Knows texts only; a passage may begin and end anywhere.
//!
//! Of every passage of at least `least` bytes (or words) the first occurrence in document order stays; others are marked, marks that
//! touch or overlap are one, and what is marked is cut out, to whole characters. Afterwards no passage of `least` units stands twice,
//! but where a cut has joined what was apart. A document of which nothing but space is left is dropped.
//!
//! The corpus is taken in shards of consecutive documents of up to `shard_bytes` of text, since a suffix array needs nine bytes of
//! memory for each unit (and 8 more for each word); repetitions between shards stay, as in Dolma 3. The report says how many shards
//! there were.

use crate::dedup::changed;
use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, Span, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::wordbreak::tokens;
use libsais::SuffixArrayConstruction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::path::Path;

/// What a passage is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes of UTF-8.
    Bytes,
    /// Words, numbers and marks of UAX 29; white space between them does not count.
    Words,
}

/// What is done about repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They are cut out.
    Remove,
    /// Documents get spans `substring__substring__repeated` and keep their texts.
    Annotate,
}

/// What counts as a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubstringParams {
    /// What passages are measured in.
    pub unit: Unit,
    /// Shortest passage: 500 bytes in Dolma 3.
    pub least: usize,
    /// Bytes of text that are looked through together.
    pub shard_bytes: usize,
    /// What is done.
    pub action: Action,
}

impl SubstringParams {
    /// Passages of 500 bytes, in shards of 256 MiB.
    pub fn bytes() -> SubstringParams {
        SubstringParams { unit: Unit::Bytes, least: 500, shard_bytes: 256 << 20, action: Action::Remove }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubstringReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Documents that hold a repetition.
    pub repeating: u64,
    /// Passages cut out.
    pub passages: u64,
    /// Shards that were looked through one by one.
    pub shards: u64,
}

/// Largest shard: positions are of 31 bits.
const MOST_BYTES: usize = (1 << 31) - (1 << 20);

/// Cuts out or marks the repetitions of `input` into `output`.
pub fn dedup_substrings(
    input: &Path,
    output: &Path,
    params: &SubstringParams,
    observer: &dyn Observer,
) -> Result<SubstringReport, DataError> {
    if params.least < 2 || params.shard_bytes == 0 || params.shard_bytes > MOST_BYTES {
        let message = format!("a passage has at least 2 units, and a shard 1 to {MOST_BYTES} bytes");
        return Err(DataError::Params(message));
    }
    let mut report = SubstringReport::default();
    let mut cuts: BTreeMap<u64, Vec<Range<usize>>> = BTreeMap::new();
    let mut shard = Shard::default();
    for_each_lines(input, observer, |batch| {
        for row in decode_all::<Row<'_>>(batch)? {
            if row.text.len() >= MOST_BYTES {
                return Err(DataError::Document { id: row.id.into_owned(), message: "the text has 2 GiB or more".to_owned() });
            }
            if !shard.texts.is_empty() && shard.bytes + row.text.len() > params.shard_bytes {
                std::mem::take(&mut shard).find(report.read.documents, params, &mut cuts)?;
                report.shards += 1;
            }
            shard.bytes += row.text.len() + 1;
            report.read += Totals { documents: 1, bytes: row.text.len() as u64 };
            shard.texts.push(row.text.into_owned());
        }
        Ok(())
    })?;
    if !shard.texts.is_empty() {
        shard.find(report.read.documents, params, &mut cuts)?;
        report.shards += 1;
    }
    report.repeating = cuts.len() as u64;
    report.passages = cuts.values().map(|cuts| cuts.len() as u64).sum();
    report.kept = write(input, output, &cuts, params.action, observer)?;
    observer.metric("removed_bytes", (report.read - report.kept).bytes as f64);
    Ok(report)
}

fn write(
    input: &Path,
    output: &Path,
    cuts: &BTreeMap<u64, Vec<Range<usize>>>,
    action: Action,
    observer: &dyn Observer,
) -> Result<Totals, DataError> {
    let mut writer = LineWriter::create(output)?;
    let mut first = 0;
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        write_lines(
            &mut writer,
            batch,
            &rows,
            |row| row.text.len(),
            |index, row, number, line| {
                let Some(cuts) = cuts.get(&(first + index as u64)) else { return Ok(Fate::Keep) };
                let mut document: Document = decode(batch, number, line)?;
                if action == Action::Annotate {
                    let count = |bytes: &str| bytes.chars().count() as u64;
                    let (mut at, mut characters) = (0, 0);
                    let spans = cuts.iter().map(|cut| {
                        let start = characters + count(&row.text[at..cut.start]);
                        (at, characters) = (cut.end, start + count(&row.text[cut.clone()]));
                        Span { start, end: characters, score: 1.0 }
                    });
                    document.attributes.insert("substring__substring__repeated".to_owned(), spans.collect());
                    return changed(&document);
                }
                let (mut text, mut at) = (String::with_capacity(row.text.len()), 0);
                for cut in cuts {
                    text.push_str(&row.text[at..cut.start]);
                    at = cut.end;
                }
                text.push_str(&row.text[at..]);
                if text.trim().is_empty() {
                    return Ok(Fate::Drop);
                }
                document.replace_text(text);
                changed(&document)
            },
        )?;
        first += rows.len() as u64;
        Ok(())
    })?;
    writer.finish()
}

/// Documents that are looked through together.
#[derive(Default)]
struct Shard {
    texts: Vec<String>,
    bytes: usize,
}

impl Shard {
    /// Finds the repetitions; `next` is the number of the document after the last one.
    fn find(self, next: u64, params: &SubstringParams, cuts: &mut BTreeMap<u64, Vec<Range<usize>>>) -> Result<(), DataError> {
        let first = next - self.texts.len() as u64;
        let mut add = |index: usize, found: Vec<Range<usize>>| {
            if !found.is_empty() {
                cuts.insert(first + index as u64, found);
            }
        };
        match params.unit {
            Unit::Bytes => {
                // 0xFF is in no text.
                let mut text = Vec::with_capacity(self.bytes);
                let mut ends = Vec::with_capacity(self.texts.len());
                for one in &self.texts {
                    text.extend_from_slice(one.as_bytes());
                    ends.push(text.len());
                    text.push(0xff);
                }
                let marked = repeated(&array_of_bytes(&text)?, &ends, params.least);
                let mut start = 0;
                for (index, (one, end)) in self.texts.iter().zip(&ends).enumerate() {
                    let snap = |range: Range<usize>| {
                        let (mut from, mut to) = (range.start - start, range.end - start);
                        while !one.is_char_boundary(from) {
                            from += 1;
                        }
                        while !one.is_char_boundary(to) {
                            to -= 1;
                        }
                        from..to
                    };
                    let runs = marked.runs(start..*end).into_iter().map(snap);
                    add(index, runs.filter(|range| range.start < range.end).collect());
                    start = end + 1;
                }
            }
            Unit::Words => {
                let mut numbers: HashMap<u64, i32, BuildHasherDefault<Hashed>> = HashMap::default();
                let (mut text, mut ends, mut places) = (Vec::new(), Vec::new(), Vec::new());
                for one in &self.texts {
                    for place in tokens(one) {
                        let next = numbers.len() as i32 + 1;
                        text.push(*numbers.entry(xxhash_rust::xxh3::xxh3_64(&one.as_bytes()[place.clone()])).or_insert(next));
                        places.push(place);
                    }
                    ends.push(text.len());
                    text.push(0);
                    places.push(0..0);
                }
                let marked = repeated(&array_of_words(&mut text)?, &ends, params.least);
                let mut start = 0;
                for (index, end) in ends.iter().enumerate() {
                    let runs = marked.runs(start..*end).into_iter();
                    add(index, runs.map(|range| places[range.start].start..places[range.end - 1].end).collect());
                    start = end + 1;
                }
            }
        }
        Ok(())
    }
}

/// Passes a hash through.
#[derive(Default)]
struct Hashed(u64);

impl std::hash::Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A set of positions.
struct Marks {
    words: Vec<u64>,
}

impl Marks {
    fn set(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (first, last) = (range.start / 64, (range.end - 1) / 64);
        for word in first..=last {
            let from = if word == first { range.start % 64 } else { 0 };
            let to = if word == last { (range.end - 1) % 64 + 1 } else { 64 };
            self.words[word] |= (u64::MAX >> (64 - (to - from))) << from;
        }
    }

    /// Runs of marked positions within a range.
    fn runs(&self, within: Range<usize>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = within.start;
        while at < within.end {
            let rest = self.words[at / 64] >> (at % 64);
            if rest == 0 {
                at = (at / 64 + 1) * 64;
            } else if rest & 1 == 0 {
                at += rest.trailing_zeros() as usize;
            } else {
                let end = (at + rest.trailing_ones() as usize).min(within.end);
                match found.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => found.push(at..end),
                }
                at = end;
            }
        }
        found
    }
}

/// Marks every later occurrence of a passage of `least` units. `ends` are the ends of documents, each followed by a separator.
///
/// In the suffix array, suffixes that share a passage are a run whose longest common prefixes are at least `least`; the one that
/// stands first stays. An occurrence that overlaps the first is marked from where the first ends, so that what stays is whole.
fn repeated((order, shared): &(Vec<i32>, Vec<i32>), ends: &[usize], least: usize) -> Marks {
    let mut marks = Marks { words: vec![0; order.len().div_ceil(64)] };
    let common = |rank: usize| shared[order[rank] as usize] as usize;
    let mut rank = 1;
    while rank < order.len() {
        if common(rank) < least {
            rank += 1;
            continue;
        }
        let start = rank - 1;
        while rank < order.len() && common(rank) >= least {
            rank += 1;
        }
        let run = &order[start..rank];
        let first = run.iter().min().copied().unwrap_or(0) as usize;
        // All of a run end their document within the passage, or none does.
        let end = ends[ends.partition_point(|end| *end < first)];
        if first + least > end {
            continue;
        }
        for &position in run {
            let position = position as usize;
            if position != first {
                marks.set(position.max(first + least)..position + least);
            }
        }
    }
    marks
}

fn failed(error: libsais::LibsaisError) -> DataError {
    DataError::Params(format!("the suffix array cannot be built: {error:?}; take smaller shards"))
}

/// The suffix array, and the longest common prefixes with the suffix before, by position in the text.
fn array_of_bytes(text: &[u8]) -> Result<(Vec<i32>, Vec<i32>), DataError> {
    let array = SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded().run().map_err(failed)?;
    let (order, shared, _) = array.plcp_construction().single_threaded().run().map_err(failed)?.into_parts();
    Ok((order, shared))
}

/// The same of numbered words.
fn array_of_words(text: &mut [i32]) -> Result<(Vec<i32>, Vec<i32>), DataError> {
    let array = SuffixArrayConstruction::for_text_mut(text).in_owned_buffer32().single_threaded().run().map_err(failed)?;
    let (order, shared, _) = array.plcp_construction().single_threaded().run().map_err(failed)?.into_parts();
    Ok((order, shared))
}

#[cfg(test)]
mod tests;
