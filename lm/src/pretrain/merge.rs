//! The running mean of the weights over the last steps of a run (OLMo-core's model merging; Olmo 3 reports averages of the
//! last checkpoints).

use crate::weights::NamedArrays;

/// See the module.
#[derive(Debug)]
pub(super) struct RunningMean {
    n_steps: u64,
    mean: Option<NamedArrays>,
}

impl RunningMean {
    /// A mean over `n_steps` steps so far.
    pub(super) fn new(n_steps: u64, mean: Option<NamedArrays>) -> Self {
        Self { n_steps, mean }
    }

    /// Takes the weights after one more step into the mean: `mean += (w - mean) / n`.
    pub(super) fn push(&mut self, weights: NamedArrays) {
        self.n_steps += 1;
        let n = self.n_steps as f32;
        match &mut self.mean {
            None => self.mean = Some(weights),
            Some(mean) => {
                for (mean, new) in mean.values_mut().zip(weights.values()) {
                    mean.data.iter_mut().zip(&new.data).for_each(|(mean, new)| *mean += (new - *mean) / n);
                }
            }
        }
    }

    pub(super) fn n_steps(&self) -> u64 {
        self.n_steps
    }

    pub(super) fn weights(&self) -> Option<&NamedArrays> {
        self.mean.as_ref()
    }

    pub(super) fn into_weights(self) -> Option<NamedArrays> {
        self.mean
    }
}
