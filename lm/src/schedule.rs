//! Learning-rate curves as pure functions of the step.
//!
//! Steps are 1-based, as in OLMo-core: the first update uses `peak / warmup`, not 0. Knows no optimiser.

use serde::{Deserialize, Serialize};

/// The curve after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Stays at the peak.
    Constant,
    /// Straight to `floor * peak` at the last step.
    Linear {
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Half a cosine down to `floor * peak` at the last step.
    Cosine {
        /// Fraction of the peak at the end; 0.1 in the OLMo runs.
        floor: f64,
    },
    /// Stays at the peak and falls straight to `floor * peak` over the last `decay` steps (warmup-stable-decay).
    Wsd {
        /// Steps of the decay.
        decay: u64,
        /// Fraction of the peak at the end.
        floor: f64,
    },
}

/// A learning rate for every step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The largest learning rate.
    pub peak: f64,
    /// Steps of linear warm-up from 0; 0 for none.
    pub warmup: u64,
    /// The last step of the curve; later steps keep the final value.
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
    /// The step before the first one of the new run.
    pub start: u64,
    /// Number of steps until the curve is reached.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of step `step` (1-based).
    pub fn at(&self, step: u64) -> f64 {
        match self.rewarm {
            Some(Rewarm { start, steps }) if step < start + steps => {
                self.curve(start + steps) * step.saturating_sub(start) as f64 / steps as f64
            }
            _ => self.curve(step),
        }
    }

    fn curve(&self, step: u64) -> f64 {
        let Self { peak, warmup, total, shape, .. } = *self;
        if step < warmup {
            return peak * step as f64 / warmup as f64;
        }
        let step = step.min(total.max(warmup));
        // How far the part after the warm-up is done, in [0, 1].
        let done = |start: u64| {
            let length = total.saturating_sub(start);
            if length == 0 { 1.0 } else { step.saturating_sub(start) as f64 / length as f64 }
        };
        match shape {
            Shape::Constant => peak,
            Shape::Linear { floor } => peak - (peak - floor * peak) * done(warmup),
            Shape::Cosine { floor } => {
                let end = floor * peak;
                end + (peak - end) * (1.0 + (std::f64::consts::PI * done(warmup)).cos()) / 2.0
            }
            Shape::Wsd { decay, floor } => {
                let start = total.saturating_sub(decay).max(warmup);
                peak - (peak - floor * peak) * done(start)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(shape: Shape) -> Schedule {
        Schedule { peak: 1.0, warmup: 10, total: 110, shape, rewarm: None }
    }

    #[test]
    fn first_warmup_and_last_steps() {
        for (shape, last) in [
            (Shape::Constant, 1.0),
            (Shape::Linear { floor: 0.0 }, 0.0),
            (Shape::Cosine { floor: 0.1 }, 0.1),
            (Shape::Wsd { decay: 20, floor: 0.0 }, 0.0),
        ] {
            let schedule = schedule(shape);
            assert!((schedule.at(1) - 0.1).abs() < 1e-12, "{shape:?}");
            assert!((schedule.at(10) - 1.0).abs() < 1e-12, "{shape:?}");
            assert!((schedule.at(110) - last).abs() < 1e-12, "{shape:?}");
            assert_eq!(schedule.at(110), schedule.at(500), "{shape:?}");
        }
        assert_eq!(schedule(Shape::Wsd { decay: 20, floor: 0.0 }).at(90), 1.0);
        assert!((schedule(Shape::Cosine { floor: 0.1 }).at(60) - 0.55).abs() < 1e-12);
        assert!((schedule(Shape::Linear { floor: 0.0 }).at(60) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn without_warmup_the_linear_anneal_ends_at_zero() {
        let anneal = Schedule { peak: 2e-4, warmup: 0, total: 50, shape: Shape::Linear { floor: 0.0 }, rewarm: None };
        assert!((anneal.at(1) - 2e-4 * 0.98).abs() < 1e-12);
        assert_eq!(anneal.at(50), 0.0);
    }

    #[test]
    fn restart_after_growth_follows_the_published_curve() {
        // Peak .00213289, warm-up 3000, straight to 0 at step 250000, restart at 3319 with 200 steps.
        let restarted = Schedule {
            peak: 0.002_132_89,
            warmup: 3000,
            total: 250_000,
            shape: Shape::Linear { floor: 0.0 },
            rewarm: Some(Rewarm { start: 3319, steps: 200 }),
        };
        for (step, lr) in
            [(3319, 0.0), (3369, 5.3210e-4), (3419, 1.06420e-3), (3518, 2.11777e-3), (3519, 2.12841e-3), (4319, 2.12150e-3)]
        {
            assert!((restarted.at(step) - lr).abs() < 2e-8, "step {step}: {} is not {lr}", restarted.at(step));
        }
    }

    proptest! {
        #[test]
        fn the_rate_never_leaves_its_range(step in 1_u64..3000, warmup in 0_u64..200, total in 1_u64..2000, decay in 0_u64..500, pick in 0..4) {
            let shape = match pick {
                0 => Shape::Constant,
                1 => Shape::Linear { floor: 0.0 },
                2 => Shape::Cosine { floor: 0.1 },
                _ => Shape::Wsd { decay, floor: 0.05 },
            };
            let schedule = Schedule { peak: 3e-3, warmup, total, shape, rewarm: None };
            let lr = schedule.at(step);
            prop_assert!((0.0..=3e-3 + 1e-15).contains(&lr), "{lr}");
            // After the warm-up the rate only falls.
            prop_assert!(step < warmup || schedule.at(step + 1) <= lr + 1e-15);
        }
    }
}
