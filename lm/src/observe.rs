//! How a long computation reports: numbers per step, progress, and the question whether to go on.
//!
//! Knows no event, file or terminal; the caller adapts it.

/// Receives what a training run has to say.
///
/// This crate reads no clock of its own; throughput is reported when the observer has one.
pub trait Observer {
    /// A number of optimisation step `step` (1-based). Names are OLMo-core's, for example `train/CE loss`.
    fn metric(&mut self, step: u64, name: &str, value: f64);

    /// `done` of `total` units of work are finished.
    fn progress(&mut self, done: u64, total: u64);

    /// Whether to stop at the next step boundary, keeping the progress made.
    fn should_stop(&self) -> bool {
        false
    }

    /// Seconds on any steady clock. Decides only what is reported and when progress is saved, never a result.
    fn elapsed(&self) -> f64 {
        0.0
    }

    /// Floating-point operations per second that the device can do, if known. Decides only what is reported.
    fn peak_flops(&self) -> Option<f64> {
        None
    }
}

/// Ignores everything and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn metric(&mut self, _step: u64, _name: &str, _value: f64) {}
    fn progress(&mut self, _done: u64, _total: u64) {}
}
