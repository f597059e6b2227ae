//! What a model is fed: rows of token ids, and for training the id each position should predict.
//!
//! Knows no file and no tensor; `loader` makes batches from token files.

use std::sync::Arc;

/// Target of a position that does not count in the loss.
pub const IGNORED: u32 = u32::MAX;

/// A rectangle of token ids, row after row.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `n_sequences * length` token ids.
    pub ids: Arc<[u32]>,
    /// Number of rows.
    pub n_sequences: usize,
    /// Tokens per row.
    pub length: usize,
    /// Per position, the first position of the same row it may attend to. `None`: position 0 for all (plain causal).
    pub visible_from: Option<Arc<[u32]>>,
}

impl Tokens {
    /// Rows of `length` tokens with plain causal attention.
    ///
    /// # Panics
    /// When `ids` is not a whole number of rows.
    pub fn new(ids: Vec<u32>, length: usize) -> Self {
        assert!(ids.len().is_multiple_of(length), "{} ids are not rows of {length}", ids.len());
        Self { n_sequences: ids.len() / length, ids: ids.into(), length, visible_from: None }
    }

    /// The same rows, where a token attends only inside its own document.
    ///
    /// A document ends with `eos`, which belongs to it; the next token starts another one.
    #[must_use]
    pub fn within_documents(mut self, eos: u32) -> Self {
        let mut visible = Vec::with_capacity(self.ids.len());
        for row in self.ids.chunks(self.length) {
            let mut start = 0;
            for (position, id) in row.iter().enumerate() {
                visible.push(start);
                if *id == eos {
                    start = position as u32 + 1;
                }
            }
        }
        self.visible_from = Some(visible.into());
        self
    }

    /// The same rows with an explicit first visible position per token (packed rows, left padding).
    ///
    /// # Panics
    /// When there is not one value per token, or one lies after its own position.
    #[must_use]
    pub fn visible_from(mut self, first: Vec<u32>) -> Self {
        assert_eq!(first.len(), self.ids.len(), "one first visible position per token");
        let causal = first.iter().enumerate().all(|(i, start)| (*start as usize) <= i % self.length);
        assert!(causal, "a token must at least see itself");
        self.visible_from = Some(first.into());
        self
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn rows(&self, first: usize, n: usize) -> Self {
        let range = first * self.length..(first + n) * self.length;
        Self {
            ids: self.ids[range.clone()].into(),
            n_sequences: n,
            length: self.length,
            visible_from: self.visible_from.as_ref().map(|all| all[range].into()),
        }
    }
}

/// Tokens and, for each, the id that should follow it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The input.
    pub tokens: Tokens,
    /// One target per token, [`IGNORED`] where the position does not count.
    pub targets: Arc<[u32]>,
    /// Targets that an instance filter took out, which the divisor of the loss counts all the same.
    pub filtered: usize,
    /// Rows it took out.
    pub filtered_rows: usize,
}

impl Batch {
    /// A batch with explicit targets.
    ///
    /// # Panics
    /// When there is not one target per token.
    pub fn new(tokens: Tokens, targets: Vec<u32>) -> Self {
        assert_eq!(tokens.len(), targets.len(), "one target per token");
        Self { tokens, targets: targets.into(), filtered: 0, filtered_rows: 0 }
    }

    /// Next-token targets inside each row; the last position of a row is ignored.
    pub fn next_token(tokens: Tokens) -> Self {
        let mut targets = Vec::with_capacity(tokens.len());
        for row in tokens.ids.chunks(tokens.length) {
            targets.extend_from_slice(&row[1..]);
            targets.push(IGNORED);
        }
        Self::new(tokens, targets)
    }

    /// Next-token targets inside each row where the next token is one of `labels`; the last position of a row is ignored.
    ///
    /// # Panics
    /// When there is not one label mark per token.
    pub fn labelled(tokens: Tokens, labels: &[bool]) -> Self {
        assert_eq!(tokens.len(), labels.len(), "one mark per token");
        let mut batch = Self::next_token(tokens);
        let length = batch.tokens.length;
        let targets = batch.targets.iter().enumerate().map(|(i, target)| {
            let trained = (i + 1) % length != 0 && labels[i + 1];
            if trained { *target } else { IGNORED }
        });
        batch.targets = targets.collect();
        batch
    }

    /// The same batch without the targets of the rows that `leaves_out` picks.
    #[must_use]
    pub fn filter_rows(mut self, leaves_out: impl Fn(&[u32]) -> bool) -> Self {
        let length = self.tokens.length;
        let mut targets = self.targets.to_vec();
        for (row, targets) in self.tokens.ids.chunks(length).zip(targets.chunks_mut(length)) {
            if leaves_out(row) {
                self.filtered += targets.iter().filter(|target| **target != IGNORED).count();
                self.filtered_rows += 1;
                targets.fill(IGNORED);
            }
        }
        self.targets = targets.into();
        self
    }

    /// What the sums of the loss are divided by: the targets that count and those that a filter took out.
    pub fn divisor(&self) -> usize {
        self.n_targets() + self.filtered
    }

    /// Number of targets that count.
    pub fn n_targets(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORED).count()
    }

    /// Consecutive pieces of at most `n_sequences` rows; what was filtered stays with the whole.
    pub fn micro_batches(&self, n_sequences: usize) -> impl Iterator<Item = Batch> + '_ {
        let step = n_sequences.max(1);
        (0..self.tokens.n_sequences).step_by(step).map(move |first| {
            let n = step.min(self.tokens.n_sequences - first);
            let range = first * self.tokens.length..(first + n) * self.tokens.length;
            Batch { tokens: self.tokens.rows(first, n), targets: self.targets[range].into(), filtered: 0, filtered_rows: 0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_with_eos() {
        let tokens = Tokens::new(vec![5, 0, 6, 7, 8, 9, 0, 0], 4).within_documents(0);
        assert_eq!(&*tokens.visible_from.unwrap(), &[0, 0, 2, 2, 0, 0, 0, 3]);
    }

    #[test]
    fn next_token_targets_ignore_the_row_end() {
        let batch = Batch::next_token(Tokens::new(vec![1, 2, 3, 4, 5, 6], 3));
        assert_eq!(&*batch.targets, &[2, 3, IGNORED, 5, 6, IGNORED]);
        assert_eq!(batch.n_targets(), 4);
        let parts: Vec<_> = batch.micro_batches(1).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(&*parts[1].tokens.ids, &[4, 5, 6]);
        assert_eq!(&*parts[1].targets, &[5, 6, IGNORED]);
    }

    #[test]
    fn labels_and_filters_decide_what_is_trained() {
        let tokens = Tokens::new(vec![1, 2, 3, 4, 5, 6], 3);
        let batch = Batch::labelled(tokens, &[false, true, false, true, false, true]);
        assert_eq!(&*batch.targets, &[2, IGNORED, IGNORED, IGNORED, 6, IGNORED]);
        let batch = batch.filter_rows(|row| row[0] == 4);
        assert_eq!(&*batch.targets, &[2, IGNORED, IGNORED, IGNORED, IGNORED, IGNORED]);
        assert_eq!((batch.n_targets(), batch.divisor(), batch.filtered_rows), (1, 2, 1));
    }
}
