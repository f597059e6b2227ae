//! How large the batches of a run are and where each one begins, also when batch or sequence length change on the way.
//!
//! Knows counts of tokens only.

use serde::{Deserialize, Serialize};

/// Consecutive batches of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Number of batches.
    pub n_batches: u64,
    /// Tokens of a batch, a multiple of the sequence length.
    pub batch_tokens: u64,
    /// Tokens of a sequence.
    pub sequence_length: usize,
}

/// A value that holds from some point of a run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// It holds from the first step before which the run has seen this many tokens.
    pub after_tokens: u64,
    /// The new value, in tokens.
    pub tokens: u64,
}

/// The batches of a run of `total` tokens that begins with batches of `batch` tokens and sequences of `length`; the last
/// batch may exceed the total by less than its size. Changes are in order of their tokens.
pub fn segments(total: u64, batch: u64, length: u64, batches: &[Change], lengths: &[Change]) -> Vec<Segment> {
    let value = |start: u64, changes: &[Change], seen: u64| {
        changes.iter().take_while(|change| change.after_tokens <= seen).last().map_or(start, |change| change.tokens)
    };
    let mut segments = Vec::new();
    let mut seen = 0;
    while seen < total {
        let batch_tokens = value(batch, batches, seen).max(1);
        let sequence_length = value(length, lengths, seen) as usize;
        let changes = batches.iter().chain(lengths).map(|change| change.after_tokens);
        let until = changes.filter(|after| *after > seen).min().unwrap_or(total).min(total);
        let n_batches = (until - seen).div_ceil(batch_tokens);
        seen += n_batches * batch_tokens;
        segments.push(Segment { n_batches, batch_tokens, sequence_length });
    }
    segments
}

/// Where a batch of a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Tokens of the run before it.
    pub tokens: u64,
    /// Its size and the length of its sequences.
    pub segment: Segment,
    /// Number of its segment.
    pub(super) index: usize,
    /// Its number in the segment.
    pub(super) number: u64,
}

/// The position of batch `number` (0-based), if the run has it.
pub fn position(segments: &[Segment], number: u64) -> Option<Position> {
    let (mut tokens, mut number) = (0, number);
    for (index, segment) in segments.iter().enumerate() {
        if number < segment.n_batches {
            return Some(Position { tokens: tokens + number * segment.batch_tokens, segment: *segment, index, number });
        }
        tokens += segment.n_batches * segment.batch_tokens;
        number -= segment.n_batches;
    }
    None
}

/// A place in the data: an epoch (from 1) and tokens into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

impl Segment {
    /// Where batch `number` of a segment that begins at `start` lies, when an epoch has `tokens` tokens. No batch spans
    /// two epochs: what is left of an epoch and too short for a batch is dropped.
    pub(super) fn place(&self, start: Place, tokens: u64, number: u64) -> Place {
        let offset = start.offset.next_multiple_of(self.sequence_length as u64);
        let left = tokens.saturating_sub(offset) / self.batch_tokens;
        match number.checked_sub(left) {
            None => Place { epoch: start.epoch, offset: offset + number * self.batch_tokens },
            Some(further) => {
                let per_epoch = tokens / self.batch_tokens;
                let (epochs, number) = (further / per_epoch, further % per_epoch);
                Place { epoch: start.epoch + 1 + epochs, offset: number * self.batch_tokens }
            }
        }
    }

    /// Where the segment behind one that begins at `start` begins.
    pub(super) fn end(&self, start: Place, tokens: u64) -> Place {
        match self.n_batches.checked_sub(1) {
            None => start,
            Some(last) => {
                let last = self.place(start, tokens, last);
                Place { epoch: last.epoch, offset: last.offset + self.batch_tokens }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_change_at_the_first_step_past_a_threshold() {
        let change = |after_tokens, tokens| Change { after_tokens, tokens };
        let found = segments(100, 8, 4, &[change(20, 16)], &[change(24, 8), change(56, 16)]);
        let segment = |n_batches, batch_tokens, sequence_length| Segment { n_batches, batch_tokens, sequence_length };
        assert_eq!(found, [segment(3, 8, 4), segment(2, 16, 8), segment(3, 16, 16)]);
        assert_eq!(position(&found, 4).unwrap().tokens, 40);
        assert_eq!(position(&found, 7).unwrap().tokens, 88);
        assert_eq!(position(&found, 8), None);
        assert_eq!(segments(100, 16, 4, &[], &[]), [segment(7, 16, 4)]);
    }

    #[test]
    fn batches_do_not_span_epochs() {
        let segment = Segment { n_batches: 7, batch_tokens: 12, sequence_length: 4 };
        let start = Place { epoch: 1, offset: 0 };
        let at = |number| segment.place(start, 40, number);
        assert_eq!((at(2), at(3)), (Place { epoch: 1, offset: 24 }, Place { epoch: 2, offset: 0 }));
        assert_eq!(at(7), Place { epoch: 3, offset: 12 });
        assert_eq!(segment.end(start, 40), Place { epoch: 3, offset: 12 });
        // A longer sequence begins at a multiple of its length; what does not fit any more is left.
        let next = Segment { n_batches: 2, batch_tokens: 16, sequence_length: 16 };
        assert_eq!(next.place(Place { epoch: 3, offset: 12 }, 40, 0), Place { epoch: 3, offset: 16 });
        assert_eq!(next.place(Place { epoch: 3, offset: 12 }, 40, 1), Place { epoch: 4, offset: 0 });
    }
}
