//! Conversations as rows of a batch: shuffled, packed, with targets on trained tokens only.
//!
//! Knows token ids and masks; no model and no tokenizer.

use crate::batch::{Batch, IGNORED, Tokens};
use crate::chat::ChatTokens;
use crate::random::Stream;

use super::packing::best_fit_decreasing;

/// Sequences packed into rows, and where each one went.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// The rows. A token attends inside its own sequence only; rows are filled up with `pad`.
    pub(crate) batch: Batch,
    /// Per sequence, the position of its first token in the batch (row after row).
    pub(crate) starts: Vec<usize>,
}

/// Packs sequences into rows of at most `row_length` positions, best-fit decreasing. The last token of a sequence is
/// only predicted, never read, so a sequence of `n` tokens takes `n - 1` positions. The rows are as long as the fullest.
///
/// # Panics
/// If a sequence has fewer than two tokens or does not fit into a row.
pub(crate) fn pack<'a>(sequences: impl Iterator<Item = (&'a [u32], &'a [bool])>, row_length: usize, pad: u32) -> Packed {
    let sequences: Vec<(&[u32], &[bool])> = sequences.collect();
    let lengths: Vec<usize> = sequences
        .iter()
        .map(|(ids, _)| {
            assert!(ids.len() >= 2, "a sequence needs a token to read and a token to predict");
            ids.len() - 1
        })
        .collect();
    let rows = best_fit_decreasing(&lengths, row_length);
    let length = rows.iter().map(|row| row.iter().map(|&i| lengths[i]).sum()).max().unwrap_or(1);
    let n = rows.len().max(1) * length;
    let mut starts = vec![0; sequences.len()];
    let (mut ids, mut targets, mut visible) = (vec![pad; n], vec![IGNORED; n], vec![0; n]);
    for (row, members) in rows.iter().enumerate() {
        let mut at = 0;
        for &i in members {
            let (tokens, trained) = sequences[i];
            starts[i] = row * length + at;
            for (j, &id) in tokens[..lengths[i]].iter().enumerate() {
                ids[starts[i] + j] = id;
                visible[starts[i] + j] = at as u32;
                if trained[j + 1] {
                    targets[starts[i] + j] = tokens[j + 1];
                }
            }
            at += lengths[i];
        }
        for position in at..length {
            visible[row * length + position] = position as u32;
        }
    }
    let tokens = Tokens::new(ids, length).visible_from(visible);
    Packed { batch: Batch::new(tokens, targets), starts }
}

/// Packs conversations.
pub(super) fn pack_conversations(conversations: &[&ChatTokens], row_length: usize, pad: u32) -> Batch {
    pack(conversations.iter().map(|c| (c.ids.as_slice(), c.trained.as_slice())), row_length, pad).batch
}

/// The order of `0..n` in epoch `epoch` (Fisher-Yates with counter-based draws).
pub(crate) fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let stream = Stream::new(seed, &format!("epoch {epoch}"));
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, stream.below(i as u64, i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packed_row_is_pinned() {
        let long: (&[u32], &[bool]) = (&[10, 11, 12, 13], &[false, false, true, true]);
        let short: (&[u32], &[bool]) = (&[20, 21, 22], &[false, true, true]);
        let packed = pack([short, long].into_iter(), 6, 9);
        assert_eq!(packed.starts, vec![3, 0]);
        assert_eq!(&*packed.batch.tokens.ids, &[10, 11, 12, 20, 21]);
        assert_eq!(&*packed.batch.targets, &[IGNORED, 12, 13, 21, 22]);
        assert_eq!(packed.batch.tokens.visible_from.as_deref(), Some(&[0, 0, 0, 3, 3][..]));
        let two_rows = pack([short, long].into_iter(), 3, 9);
        assert_eq!(&*two_rows.batch.tokens.ids, &[10, 11, 12, 20, 21, 9]);
        assert_eq!(two_rows.batch.targets[5], IGNORED);
        assert_eq!(two_rows.batch.tokens.visible_from.as_deref(), Some(&[0, 0, 0, 0, 0, 2][..]));
    }

    proptest! {
        #[test]
        fn every_trained_token_is_a_target_once(lengths in prop::collection::vec(2..20_usize, 1..40), row in 19..60_usize) {
            let sequences: Vec<(Vec<u32>, Vec<bool>)> = lengths
                .iter()
                .enumerate()
                .map(|(i, &n)| {
                    let ids = (0..n).map(|j| (100 * i + j) as u32).collect();
                    (ids, (0..n).map(|j| (i + j) % 3 == 0 && j > 0).collect())
                })
                .collect();
            let packed = pack(sequences.iter().map(|(a, b)| (a.as_slice(), b.as_slice())), row, 7);
            let mut got: Vec<u32> = packed.batch.targets.iter().copied().filter(|t| *t != IGNORED).collect();
            got.sort_unstable();
            let mut wanted: Vec<u32> = sequences
                .iter()
                .flat_map(|(ids, trained)| ids.iter().zip(trained).filter(|(_, t)| **t).map(|(id, _)| *id))
                .collect();
            wanted.sort_unstable();
            prop_assert_eq!(got, wanted);
            for (i, &start) in packed.starts.iter().enumerate() {
                prop_assert_eq!(packed.batch.tokens.ids[start], (100 * i) as u32);
            }
        }

        #[test]
        fn permutations_are_complete_and_seeded(n in 0..100_usize, seed: u64, epoch in 0..5_u64) {
            let order = permutation(n, seed, epoch);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            prop_assert_eq!(&order, &permutation(n, seed, epoch));
            if n > 30 {
                prop_assert_ne!(order, permutation(n, seed, epoch + 1));
            }
        }
    }
}
