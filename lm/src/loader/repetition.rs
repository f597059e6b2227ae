//! The instance filter of the Olmo 3 32B and Hybrid runs: rows in which a short pattern repeats many times make the loss
//! spike, so they are not trained on.

use serde::{Deserialize, Serialize};

/// Leaves out rows in which some pattern of `min_period..=max_period` tokens repeats at least `max_count` times in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepetitionFilter {
    /// Tokens of the longest pattern.
    pub max_period: usize,
    /// Tokens of the shortest pattern.
    pub min_period: usize,
    /// Repetitions from which on a row is left out, at least 3.
    pub max_count: usize,
}

impl Default for RepetitionFilter {
    /// OLMo-core's: periods 1 to 13, 32 times.
    fn default() -> Self {
        Self { max_period: 13, min_period: 1, max_count: 32 }
    }
}

impl RepetitionFilter {
    /// Whether `row` is to be left out.
    pub fn leaves_out(&self, row: &[u32]) -> bool {
        (self.min_period.max(1)..=self.max_period.min(row.len() / 3)).any(|period| {
            // A stretch that equals itself one period earlier for `n` tokens is `n + period` tokens of repetition.
            let mut equal = 0;
            (period..row.len()).any(|i| {
                equal = if row[i] == row[i - period] { equal + 1 } else { 0 };
                (equal + period) / period >= self.max_count.max(3)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_repetitions_of_a_short_pattern_are_left_out() {
        let filter = RepetitionFilter::default();
        for (period, times, wanted) in [(1, 32, true), (1, 31, false), (13, 32, true), (13, 31, false), (14, 40, false)] {
            let mut row: Vec<u32> = (100..137).collect();
            row.extend((0..period * times).map(|i| i % period));
            row.extend(200..219);
            assert_eq!(filter.leaves_out(&row), wanted, "{times} times {period}");
        }
        assert!(!filter.leaves_out(&[]));
    }
}
