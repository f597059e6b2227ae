//! Packing: sequences of different lengths into rows of one length.
//!
//! Knows lengths only, no tokens.

use std::collections::BTreeSet;

/// Best-fit decreasing: sequences in order of falling length (ties by position) go into the fullest row they still fit
/// in, else into a new row. Returns the rows as lists of positions into `lengths`.
///
/// # Panics
/// If a sequence is longer than a row.
pub fn best_fit_decreasing(lengths: &[usize], row_length: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // (free space, row), so that the smallest sufficient space, and then the earliest row, comes first.
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    for i in order {
        let length = lengths[i];
        assert!(length <= row_length, "sequence {i} has {length} tokens, a row only {row_length}");
        let found = free.range((length, 0)..).next().copied();
        let (space, row) = found.unwrap_or((row_length, rows.len()));
        if found.is_some() {
            free.remove(&(space, row));
        } else {
            rows.push(Vec::new());
        }
        rows[row].push(i);
        free.insert((space - length, row));
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fullest_fitting_row_is_taken() {
        assert_eq!(best_fit_decreasing(&[4, 6, 3, 5, 2], 10), vec![vec![1, 0], vec![3, 2, 4]]);
        assert_eq!(best_fit_decreasing(&[], 10), Vec::<Vec<usize>>::new());
        assert_eq!(best_fit_decreasing(&[10, 10], 10), vec![vec![0], vec![1]]);
    }

    proptest! {
        #[test]
        fn every_sequence_is_in_exactly_one_row_that_is_not_too_full(lengths in prop::collection::vec(1..=32_usize, 0..200)) {
            let rows = best_fit_decreasing(&lengths, 32);
            let mut seen: Vec<usize> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                let used: usize = row.iter().map(|&i| lengths[i]).sum();
                prop_assert!(used <= 32 && !row.is_empty());
            }
            // Any two rows together hold more than one row, so at most twice the optimum is used.
            let total: usize = lengths.iter().sum();
            prop_assert!(rows.len() <= 2 * total.div_ceil(32) + 1);
        }
    }
}
