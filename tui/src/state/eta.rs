//! When a run will end, from the progress of what runs and from what steps of the same kind took. It knows no clock.

use std::collections::BTreeMap;

use super::{State, StepState};

/// When a run will end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta {
    /// Seconds from now.
    pub seconds: f64,
    /// Whether the time of some steps is unknown and counted as nothing, so that this is a lower bound.
    pub at_least: bool,
}

impl State {
    /// When the run will end: the longest way through what is left, or the work left over the threads there are, whichever is longer.
    /// A step that has not started is taken to last as long as finished steps of its kind did on average. None when nothing is left
    /// or nothing is known.
    pub fn eta(&self, now_ms: u64) -> Option<Eta> {
        let capacity = self.run()?.capacity.cpus.max(1);
        if self.end().is_some() {
            return None;
        }
        let mut means: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for step in self.steps() {
            if let (StepState::Done(_), Some(seconds)) = (step.state, step.seconds) {
                let (sum, count) = means.entry(step.summary.kind.as_str()).or_default();
                *sum += seconds.max(0.0);
                *count += 1.0;
            }
        }
        let mut ends = vec![0.0_f64; self.steps().len()];
        let (mut work, mut at_least, mut open) = (0.0, false, false);
        for (position, step) in self.steps().iter().enumerate().filter(|(_, step)| step.state.is_open()) {
            open = true;
            let usual = means.get(step.summary.kind.as_str()).map(|(sum, count)| sum / count);
            let left = match step.state {
                StepState::Running => step.eta_seconds(now_ms).or_else(|| {
                    let spent = step.elapsed_ms(now_ms).unwrap_or(0) as f64 / 1000.0;
                    usual.map(|usual| usual - spent).filter(|left| *left > 0.0)
                }),
                _ => usual,
            };
            at_least |= left.is_none();
            let left = left.unwrap_or(0.0);
            let threads = if step.state == StepState::Running { step.threads } else { step.summary.resources.cpus };
            work += left * f64::from(threads.clamp(1, capacity));
            ends[position] = left + step.inputs.iter().map(|&input| ends[input]).fold(0.0, f64::max);
        }
        let seconds = ends.into_iter().fold(work / f64::from(capacity), f64::max);
        (open && seconds > 0.0).then_some(Eta { seconds, at_least })
    }
}
