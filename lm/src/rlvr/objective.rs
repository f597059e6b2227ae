//! The policy-gradient objective, on plain numbers: advantages, importance weights, clipping, KL, and the exact
//! derivative by which the learner steers the model.
//!
//! The objective is OlmoRL's (Olmo 3 report, section on RL): GRPO without division by the standard deviation, with
//! clip-higher, token-level normalisation and truncated importance sampling. Per token
//!
//! `loss = -w * min(r * A, clip(r, 1 - clip_low, 1 + clip_high) * A) + beta * kl`, with
//! `r = exp(logp - logp_old)`, `w = min(exp(logp_old - logp_behaviour), cap)`,
//! `kl = exp(-d) - 1 + d` and `d = logp - logp_reference` (the `k3` estimator),
//!
//! summed over all response tokens of the batch and divided by their number. No tensors here: the loss depends on the
//! model only through each token's `logp`, so the derivative with respect to it is all the backward pass needs.

use serde::{Deserialize, Serialize};

/// How rewards of a group become advantages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// `R - mean(R)` (Dr. GRPO, Olmo 3).
    #[default]
    Centred,
    /// `(R - mean(R)) / (sd(R) + 1e-8)` with the population standard deviation (original GRPO).
    Standardised,
}

impl Advantage {
    /// The advantages of one group of rewards.
    pub fn of(self, rewards: &[f64]) -> Vec<f64> {
        let n = rewards.len().max(1) as f64;
        let mean = rewards.iter().sum::<f64>() / n;
        let scale = match self {
            Advantage::Centred => 1.0,
            Advantage::Standardised => {
                let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
                1.0 / (variance.sqrt() + 1e-8)
            }
        };
        rewards.iter().map(|r| (r - mean) * scale).collect()
    }
}

/// The constants of the objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objective {
    /// The ratio is clipped below at `1 - clip_low`.
    pub clip_low: f64,
    /// The ratio is clipped above at `1 + clip_high` (clip-higher keeps exploration alive).
    pub clip_high: f64,
    /// Upper bound of the importance weight between sampler and learner; `None` leaves the weight out.
    pub importance_cap: Option<f64>,
    /// Weight of the KL penalty towards the reference (starting) policy; 0 needs no reference.
    pub beta: f64,
    /// How rewards become advantages.
    pub advantage: Advantage,
}

impl Default for Objective {
    fn default() -> Self {
        Objective { clip_low: 0.2, clip_high: 0.272, importance_cap: Some(2.0), beta: 0.0, advantage: Advantage::Centred }
    }
}

/// The log-probabilities of one response token under the policies that matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogProbs {
    /// Under the model being trained.
    pub current: f64,
    /// Under the learner's model before this step's updates.
    pub old: f64,
    /// As recorded by the sampler.
    pub behaviour: f64,
    /// Under the reference model; not used when `beta` is 0.
    pub reference: f64,
}

/// One token's share of the loss, before the division by the number of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to `current`.
    pub gradient: f64,
    /// `exp(current - old)`.
    pub ratio: f64,
    /// Whether the clipped branch is active (its policy gradient is zero).
    pub clipped: bool,
    /// The importance weight after capping.
    pub weight: f64,
    /// The `k3` estimate of the KL divergence from the reference; 0 when `beta` is 0.
    pub kl: f64,
}

impl Objective {
    /// The loss of one token with advantage `advantage`. Log-ratios are clamped to +-10 (KL: +-40) before `exp`.
    pub fn token_loss(&self, logp: TokenLogProbs, advantage: f64) -> TokenLoss {
        let ratio = (logp.current - logp.old).clamp(-10.0, 10.0).exp();
        let weight = match self.importance_cap {
            Some(cap) => (logp.old - logp.behaviour).clamp(-10.0, 10.0).exp().min(cap),
            None => 1.0,
        };
        let free = ratio * advantage;
        let bounded = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high) * advantage;
        let clipped = bounded < free;
        let mut loss = -weight * free.min(bounded);
        let mut gradient = if clipped { 0.0 } else { -weight * free };
        let mut kl = 0.0;
        if self.beta > 0.0 {
            let d = (logp.current - logp.reference).clamp(-40.0, 40.0);
            kl = k3(d);
            loss += self.beta * kl;
            gradient += self.beta * -(-d).exp_m1();
        }
        TokenLoss { loss, gradient, ratio, clipped, weight, kl }
    }
}

/// Schulman's `k3` estimator of `KL(current || reference)` from `d = logp - logp_reference`: `exp(-d) - 1 + d >= 0`.
pub fn k3(d: f64) -> f64 {
    (-d).exp_m1() + d
}

/// The unbiased estimate of the probability that one of `k` samples is right, from `correct` right ones of `n`
/// (Chen et al. 2021): `1 - C(n - correct, k) / C(n, k)`.
///
/// # Panics
/// If `k > n` or `correct > n`.
pub fn pass_at_k(n: usize, correct: usize, k: usize) -> f64 {
    assert!(k <= n && correct <= n, "pass@{k} needs at least {k} samples, not {n}");
    if n - correct < k {
        return 1.0;
    }
    1.0 - (n - correct + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-5, "{got} is not {want}");
    }

    fn at(ratio: f64, weight: f64) -> TokenLogProbs {
        TokenLogProbs { current: ratio.ln(), old: 0.0, behaviour: -weight.ln(), reference: 0.0 }
    }

    #[test]
    fn advantages_of_the_golden_group() {
        let rewards = [10.0, 0.0, 0.0, 10.0, 10.0, 0.0, 0.0, 0.0];
        let centred = Advantage::Centred.of(&rewards);
        near(centred[0], 6.25);
        near(centred[1], -3.75);
        near(centred.iter().sum(), 0.0);
        let standard = Advantage::Standardised.of(&rewards);
        near(standard[0], 1.29099);
        near(standard[1], -0.774597);
        assert_eq!(Advantage::Centred.of(&[1.0, 1.0]), vec![0.0, 0.0]);
    }

    #[test]
    fn token_losses_are_the_golden_ones() {
        let objective = Objective::default();
        for (advantage, ratio, weight, loss, clipped) in [
            (6.25, 1.3, 1.0, -7.95, true),
            (6.25, 1.2, 3.0, -15.0, false),
            (-3.75, 0.7, 1.0, 3.0, true),
            (-3.75, 1.5, 1.0, 5.625, false),
            (6.25, 0.5, 0.5, -1.5625, false),
        ] {
            let token = objective.token_loss(at(ratio, weight), advantage);
            near(token.loss, loss);
            assert_eq!(token.clipped, clipped, "advantage {advantage}, ratio {ratio}");
        }
        let uncapped = Objective { importance_cap: None, ..objective };
        near(uncapped.token_loss(at(1.2, 3.0), 6.25).loss, -7.5);
    }

    #[test]
    fn k3_is_the_golden_one() {
        near(k3(0.3), 0.040818);
        near(k3(-0.3), 0.049859);
        near(k3(0.0), 0.0);
    }

    #[test]
    fn pass_at_k_is_the_golden_one() {
        near(pass_at_k(8, 3, 1), 0.375);
        near(pass_at_k(8, 3, 2), 0.642857);
        near(pass_at_k(8, 3, 4), 0.928571);
        near(pass_at_k(8, 8, 8), 1.0);
        near(pass_at_k(8, 0, 8), 0.0);
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_derivative(
            current in -3.0..0.0_f64, old in -3.0..0.0_f64, behaviour in -3.0..0.0_f64, reference in -3.0..0.0_f64,
            advantage in -5.0..5.0_f64, beta in prop::sample::select(vec![0.0, 0.1]),
        ) {
            let objective = Objective { beta, ..Objective::default() };
            let logp = TokenLogProbs { current, old, behaviour, reference };
            let h = 1e-6;
            let moved = |by: f64| objective.token_loss(TokenLogProbs { current: current + by, ..logp }, advantage);
            // The kinks at the clip bounds have no derivative.
            prop_assume!(moved(h).clipped == moved(-h).clipped);
            let numeric = (moved(h).loss - moved(-h).loss) / (2.0 * h);
            let exact = moved(0.0).gradient;
            prop_assert!((numeric - exact).abs() < 1e-4 * (1.0 + exact.abs()), "{} {}", numeric, exact);
        }

        #[test]
        fn on_policy_the_gradient_is_reinforce(logp in -5.0..0.0_f64, advantage in -5.0..5.0_f64) {
            let on_policy = TokenLogProbs { current: logp, old: logp, behaviour: logp, reference: 0.0 };
            let token = Objective::default().token_loss(on_policy, advantage);
            prop_assert!((token.gradient + advantage).abs() < 1e-12);
            prop_assert!(!token.clipped);
        }
    }
}
