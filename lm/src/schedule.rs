//! Learning-rate curves as pure functions of a position: a step, or the tokens trained on, this one included.
//!
//! Positions are 1-based, as in OLMo-core: the first update of a warm-up over `W` steps uses `peak / W`, not 0. Every
//! length of a curve is in the unit of its positions. Knows no optimiser.

use serde::{Deserialize, Serialize};

/// The curve after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Stays at the peak.
    Constant,
    /// Straight to `floor * peak` at the end.
    Linear {
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Half a cosine down to `floor * peak` at the end.
    Cosine {
        /// Fraction of the peak at the end; 0.1 in the OLMo runs.
        floor: f64,
    },
    /// The second half of that cosine alone: the warm-up ends midway between `floor * peak` and the peak (Olmo 3's
    /// change of horizon).
    HalfCosine {
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Stays at the peak and falls straight to `floor * peak` over the last `decay` (warmup-stable-decay).
    Wsd {
        /// Length of the decay.
        decay: u64,
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Periods of their own, each of which ends in a decay and after which the rate is back at the peak
    /// (warmup-stable-decay-simplified, Wen et al., arXiv 2410.05192). After the last one the rate stays at the floor.
    WsdS {
        /// Length of each period; the first one holds the warm-up.
        periods: Vec<u64>,
        /// Share of each period that decays; 0.1 in OLMo-core's ladder.
        decay: f64,
        /// Fraction of the peak at the end of a period.
        floor: f64,
    },
    /// `floor * peak + (1 - floor) * peak * sqrt(warmup / position)`; never ends.
    InverseSqrt {
        /// Fraction of the peak that is approached.
        floor: f64,
    },
    /// One curve after another; the peak of each is the last rate of the one before.
    Sequence(Vec<Part>),
}

/// A piece of a [`Shape::Sequence`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its length; that of the last part is not read: it goes on to the end of the curve.
    pub length: u64,
    /// Length of a linear warm-up from 0; the first part has the schedule's instead.
    pub warmup: u64,
    /// Its curve.
    pub shape: Shape,
}

/// A learning rate for every position of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The largest learning rate.
    pub peak: f64,
    /// Length of the linear warm-up from 0; 0 for none.
    pub warmup: u64,
    /// The last position of the curve; later ones keep the final value.
    pub total: u64,
    /// What follows the warm-up.
    pub shape: Shape,
    /// A second warm-up onto this curve, after a model has been grown in the middle of it.
    #[serde(default)]
    pub rewarm: Option<Rewarm>,
}

/// A linear warm-up that starts in the middle of a schedule (Shen et al., arXiv 2203.06211, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewarm {
    /// The position before the first one of the new run.
    pub start: u64,
    /// Length until the curve is reached.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate at `position` (1-based).
    pub fn at(&self, position: u64) -> f64 {
        match self.rewarm {
            Some(Rewarm { start, steps }) if position < start + steps => {
                self.curve(start + steps) * position.saturating_sub(start) as f64 / steps as f64
            }
            _ => self.curve(position),
        }
    }

    fn curve(&self, position: u64) -> f64 {
        rate(&self.shape, self.peak, self.warmup, self.total, position)
    }
}

/// The rate of a curve at `at`.
fn rate(shape: &Shape, peak: f64, warmup: u64, total: u64, at: u64) -> f64 {
    if let Shape::Sequence(parts) = shape {
        return sequence(parts, peak, warmup, total, at);
    }
    if at < warmup {
        let top = match shape {
            Shape::HalfCosine { floor } => peak * (floor + (1.0 - floor) / 2.0),
            _ => peak,
        };
        return top * at as f64 / warmup as f64;
    }
    let capped = at.min(total.max(warmup));
    // How far the part after `start` is done, in [0, 1].
    let done = |start: u64| {
        let length = total.saturating_sub(start);
        if length == 0 { 1.0 } else { capped.saturating_sub(start) as f64 / length as f64 }
    };
    let cosine = |floor: f64, done: f64| {
        let end = floor * peak;
        end + (peak - end) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
    };
    match shape {
        Shape::Constant | Shape::Sequence(_) => peak,
        Shape::Linear { floor } => peak - (peak - floor * peak) * done(warmup),
        Shape::Cosine { floor } => cosine(*floor, done(warmup)),
        Shape::HalfCosine { floor } => cosine(*floor, 0.5 + done(warmup) / 2.0),
        Shape::Wsd { decay, floor } => {
            let start = total.saturating_sub(*decay).max(warmup);
            peak - (peak - floor * peak) * done(start)
        }
        Shape::WsdS { periods, decay, floor } => periodic(periods, *decay, *floor, peak, at),
        Shape::InverseSqrt { floor } => {
            let end = floor * peak;
            end + (peak - end) * (warmup.max(1) as f64 / at.max(1) as f64).sqrt()
        }
    }
}

fn sequence(parts: &[Part], mut peak: f64, warmup: u64, mut total: u64, mut at: u64) -> f64 {
    for (index, part) in parts.iter().enumerate() {
        let warmup = if index == 0 { warmup } else { part.warmup };
        if index + 1 == parts.len() {
            return rate(&part.shape, peak, warmup, total, at);
        }
        if at <= part.length {
            return rate(&part.shape, peak, warmup, total.min(part.length), at);
        }
        peak = rate(&part.shape, peak, warmup, part.length, part.length);
        at -= part.length;
        total = total.saturating_sub(part.length);
    }
    peak
}

fn periodic(periods: &[u64], decay: f64, floor: f64, peak: f64, at: u64) -> f64 {
    let end = floor * peak;
    let mut start = 0;
    for length in periods {
        if at <= start + length {
            // Half a unit goes to the even side, as Python rounds.
            let decay = (decay * *length as f64).round_ties_even();
            let left = (start + length - at) as f64;
            return if left >= decay { peak } else { end + (peak - end) * left / decay };
        }
        start += length;
    }
    end
}

#[cfg(test)]
mod tests;
