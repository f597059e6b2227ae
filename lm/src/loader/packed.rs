//! Units as bins that whole documents are packed into, best fit first (Ding et al., arXiv 2404.10830, appendix B;
//! OLMo-core's `NumpyPackedFSLDataset`).
//!
//! Documents go from long to short into the bin with the smallest space they fit in, the one that has had that space
//! longest where several have it, else into a new bin. Documents of the same length keep their order; NumPy's sort,
//! which OLMo-core uses, leaves that order open. A bin is filled up with padding that is not predicted.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ReadError;
use super::files::{Files, Units};

/// What becomes of a document that is longer than a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LongDocuments {
    /// Its end is dropped.
    #[default]
    Truncate,
    /// It becomes several.
    Fragment,
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    file: usize,
    start: u64,
    length: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Packed {
    files: Files,
    pieces: Vec<Piece>,
    /// The pieces of each bin, in order.
    bins: Vec<Vec<u32>>,
    pad: u32,
}

impl Packed {
    /// Packs every `group` consecutive files together into bins of `length` tokens.
    pub(super) fn new(
        files: Files,
        length: usize,
        long: LongDocuments,
        group: usize,
        eos: u32,
        pad: u32,
    ) -> Result<Self, ReadError> {
        let (mut pieces, mut bins) = (Vec::new(), Vec::new());
        for first in (0..files.len()).step_by(group.max(1)) {
            let mut these = Vec::new();
            for file in first..(first + group.max(1)).min(files.len()) {
                for document in files.documents(file, eos)? {
                    let starts = document.clone().step_by(length).take(match long {
                        LongDocuments::Truncate => 1,
                        LongDocuments::Fragment => usize::MAX,
                    });
                    these.extend(starts.map(|start| Piece {
                        file,
                        start,
                        length: ((document.end - start) as usize).min(length),
                    }));
                }
            }
            these.sort_by_key(|piece| std::cmp::Reverse(piece.length));
            let lengths: Vec<usize> = these.iter().map(|piece| piece.length).collect();
            let known = pieces.len() as u32;
            bins.extend(pack(&lengths, length).into_iter().map(|bin| bin.into_iter().map(|i| known + i).collect::<Vec<u32>>()));
            pieces.extend(these);
        }
        Ok(Self { files, pieces, bins, pad })
    }
}

/// The bins of items of these lengths, which do not grow; each bin as indices in order of placement.
fn pack(lengths: &[usize], size: usize) -> Vec<Vec<u32>> {
    let mut bins: Vec<Vec<u32>> = Vec::new();
    let mut by_space: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for (item, &length) in lengths.iter().enumerate() {
        let fits = by_space.range(length..).next().map(|(space, _)| *space);
        let (space, bin) = match fits {
            None => {
                bins.push(Vec::new());
                (size, bins.len() - 1)
            }
            Some(space) => {
                let waiting = by_space.get_mut(&space).expect("the space was just found");
                let bin = waiting.pop_front().expect("a space is only kept while a bin has it");
                if waiting.is_empty() {
                    by_space.remove(&space);
                }
                (space, bin)
            }
        };
        bins[bin].push(item as u32);
        if space > length {
            by_space.entry(space - length).or_default().push_back(bin);
        }
    }
    bins
}

impl Units for Packed {
    fn n(&self) -> u64 {
        self.bins.len() as u64
    }

    fn read(&self, unit: u64, _offset: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError> {
        let mut at = 0;
        for piece in &self.bins[unit as usize] {
            let Piece { file, start, length } = self.pieces[*piece as usize];
            self.files.read(file, start, &mut ids[at..at + length], &mut labels[at..at + length])?;
            at += length;
        }
        ids[at..].fill(self.pad);
        labels[at..].fill(false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_space_and_the_oldest_bin_come_first() {
        // 6 and 6 open two bins with space 2 each; 5 a third with 3; then 3 | 2, 2 | 1.
        assert_eq!(pack(&[6, 6, 5, 3, 2, 2, 1], 8), vec![vec![0, 4], vec![1, 5], vec![2, 3], vec![6]]);
        // Both have a space of 1 in the end; bin 1 has had it longer, although bin 0 is older.
        assert_eq!(pack(&[12, 10, 9, 7, 1], 20), vec![vec![0, 3], vec![1, 2, 4]]);
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_bin_that_holds_it(mut lengths in prop::collection::vec(1..=16_usize, 0..80)) {
            lengths.sort_by_key(|length| std::cmp::Reverse(*length));
            let bins = pack(&lengths, 16);
            let mut seen: Vec<u32> = bins.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..lengths.len() as u32));
            for bin in bins {
                prop_assert!(bin.iter().map(|i| lengths[*i as usize]).sum::<usize>() <= 16);
            }
        }
    }
}
