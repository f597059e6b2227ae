//! How often loss or gradient norm spike (OLMo-core's `StabilityMonitor`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps a value is compared with.
const WINDOW: usize = 128;
/// Steps the running score counts.
const ROLLING: u64 = 10_000;
/// Standard deviations above the mean that make a spike.
const SIGMA: f64 = 6.0;

/// The steps of a run that spiked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spikes {
    losses: VecDeque<u64>,
    norms: VecDeque<u64>,
    /// Spiking steps among the last [`ROLLING`].
    recent: VecDeque<u64>,
    total: u64,
    steps: u64,
}

impl Spikes {
    /// Takes in one more step.
    pub(super) fn push(&mut self, loss: f64, norm: f64) {
        self.steps += 1;
        let spiked = [(&mut self.losses, loss), (&mut self.norms, norm)].map(|(history, value)| {
            let spike = history.len() >= WINDOW && is_spike(history, value);
            history.push_back(value.to_bits());
            if history.len() > WINDOW {
                history.pop_front();
            }
            spike
        });
        if spiked.contains(&true) {
            self.total += 1;
            self.recent.push_back(self.steps);
        }
        while self.recent.front().is_some_and(|step| step + ROLLING <= self.steps) {
            self.recent.pop_front();
        }
    }

    /// Share of spiking steps among the last 10,000, once there are as many.
    pub(super) fn score(&self) -> Option<f64> {
        (self.steps >= ROLLING).then(|| self.recent.len() as f64 / ROLLING as f64)
    }

    /// Share of spiking steps of the run, once a window is full.
    pub(super) fn total_score(&self) -> Option<f64> {
        (self.steps >= WINDOW as u64).then(|| self.total as f64 / self.steps as f64)
    }
}

fn is_spike(history: &VecDeque<u64>, value: f64) -> bool {
    let values = history.iter().map(|bits| f64::from_bits(*bits));
    let mean = values.clone().sum::<f64>() / history.len() as f64;
    let deviation = (values.map(|x| (x - mean).powi(2)).sum::<f64>() / history.len() as f64).sqrt();
    deviation >= 1e-10 && value > mean + SIGMA * deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_are_counted_over_the_run_and_the_last_steps() {
        let mut spikes = Spikes::default();
        for step in 1..=20_000_u64 {
            let loss = if step == 100 || step == 5000 || step == 15_000 { 100.0 } else { (step % 2) as f64 };
            spikes.push(loss, 1.0);
            assert_eq!(spikes.total_score().is_some(), step >= 128);
        }
        // Step 100 had no full window before it.
        assert_eq!((spikes.total, spikes.recent.len()), (2, 1));
        assert_eq!((spikes.total_score(), spikes.score()), (Some(1e-4), Some(1e-4)));
    }
}
