//! Leaving out updates whose loss or gradient norm is far above what the last steps had (OLMo 2 32B, Olmo 3).
//!
//! Knows no tensor: the caller asks before an update and does not make it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// When an update is left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkipStepConfig {
    /// Steps before the current one that it is compared with.
    pub window: usize,
    /// Until this many steps are recorded, the current one included, none is left out.
    pub min_history: usize,
    /// Standard deviations above the mean at which a step is left out.
    pub sigma: f64,
}

impl Default for SkipStepConfig {
    /// OLMo-core's `SkipStepAdamW`.
    fn default() -> Self {
        Self { window: 128, min_history: 64, sigma: 6.0 }
    }
}

/// Losses and gradient norms of the last steps, skipped ones included, oldest first. Stored as bits, so that they
/// survive a text file exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    losses: VecDeque<u64>,
    norms: VecDeque<u64>,
}

impl History {
    /// Whether the step is to be left out: its loss or norm is more than `sigma` (unbiased) standard deviations above
    /// the mean of the window. The step enters the history either way.
    pub fn skips(&mut self, loss: f64, norm: f64, config: SkipStepConfig) -> bool {
        let known = self.losses.len() + 1 >= config.min_history.max(3);
        let outlier = known && (outlies(&self.losses, loss, config.sigma) || outlies(&self.norms, norm, config.sigma));
        for (history, value) in [(&mut self.losses, loss), (&mut self.norms, norm)] {
            history.push_back(value.to_bits());
            while history.len() > config.window {
                history.pop_front();
            }
        }
        outlier
    }
}

fn outlies(history: &VecDeque<u64>, value: f64, sigma: f64) -> bool {
    let n = history.len() as f64;
    let mean = history.iter().map(|bits| f64::from_bits(*bits)).sum::<f64>() / n;
    let squares: f64 = history.iter().map(|bits| (f64::from_bits(*bits) - mean).powi(2)).sum();
    value - mean > sigma * (squares / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_far_above_a_full_history_is_skipped() {
        let config = SkipStepConfig::default();
        let mut history = History::default();
        for step in 1..64 {
            let loss = if step == 40 { 1e3 } else { 3.0 + f64::from(step % 2) };
            assert!(!history.skips(loss, 1.0 + f64::from(step % 3), config), "{step}");
        }
        // Step 40 is in the history, so the standard deviation is about 125.
        let mut before = history.clone();
        assert!(!before.skips(700.0, 2.0, config));
        assert!(history.clone().skips(800.0, 2.0, config));
        assert!(history.clone().skips(3.0, 8.0, config));
        assert!(!history.skips(-1e6, -1e6, config), "what lies below is no spike");
    }

    #[test]
    fn the_window_forgets_and_skipped_steps_are_remembered() {
        let config = SkipStepConfig { window: 8, min_history: 4, sigma: 6.0 };
        let mut history = History::default();
        for step in 0..8 {
            assert!(!history.skips(f64::from(step % 2), f64::from(step % 2), config));
        }
        assert!(history.skips(100.0, 0.0, config));
        assert!(!history.skips(100.0, 0.0, config), "the spike is in the history now");
        assert_eq!((history.losses.len(), history.norms.len()), (8, 8));
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    }
}
