//! Choosing one token from logits: temperature, top-k, top-p, and the counter-based draw.
//!
//! Pure functions of logits and counters.

use super::Sampling;
use crate::kernels::simd::{self, multiversion};
use crate::random::Stream;

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub id: u32,
    /// Its log-probability, see [`Sample::logprobs`](super::Sample::logprobs).
    pub logprob: f64,
}

/// Which draw of a seed this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) prompt: u32,
    pub(super) sample: u32,
    pub(super) token: u32,
}

/// Chooses a token. The cumulative sums run in a fixed order, so the choice is the same on any machine that computes
/// the same logits.
pub(super) fn draw(logits: &[f32], sampling: &Sampling, seed: u64, at: Position) -> Drawn {
    let best = argmax(logits);
    let max = f64::from(logits[best]);
    let scale = if sampling.temperature == 0.0 { 1.0 } else { 1.0 / sampling.temperature };
    let mut weights = vec![0.0; logits.len()];
    exponentiate(&mut weights, logits, logits[best], scale as f32);
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let drawn = |id: usize| Drawn { id: id as u32, logprob: (f64::from(logits[id]) - max) * scale - total.ln() };
    if sampling.temperature == 0.0 {
        return drawn(best);
    }
    let u = uniform(seed, at);
    if sampling.top_k == 0 && sampling.top_p >= 1.0 {
        return drawn(inverse_cdf(weights.iter().copied().enumerate(), u * total).unwrap_or(best));
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    // The nucleus is measured on what top-k left.
    let kept_by_k: f64 = order.iter().map(|&id| f64::from(weights[id])).sum();
    let mut kept = 0.0;
    let mut n = 0;
    while n < order.len() && (n == 0 || kept < sampling.top_p * kept_by_k) {
        kept += f64::from(weights[order[n]]);
        n += 1;
    }
    order.truncate(n);
    drawn(inverse_cdf(order.iter().map(|&id| (id, weights[id])), u * kept).unwrap_or(order[0]))
}

multiversion! {
    /// `exp((logit - max) * scale)` of every logit.
    fn exponentiate(weights: &mut [f32], logits: &[f32], max: f32, scale: f32) {
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = simd::exp((*logit - max) * scale);
        }
    }
}

fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best
}

fn inverse_cdf(weights: impl Iterator<Item = (usize, f32)>, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    for (id, weight) in weights {
        sum += f64::from(weight);
        if sum > target {
            return Some(id);
        }
    }
    None
}

fn uniform(seed: u64, at: Position) -> f64 {
    let counter = u128::from(at.prompt) << 64 | u128::from(at.sample) << 32 | u128::from(at.token);
    let words = Stream::new(seed, "sample").words(counter);
    let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
    (bits as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(token: u32) -> Position {
        Position { prompt: 0, sample: 0, token }
    }

    fn frequencies(logits: &[f32], sampling: &Sampling, n: u32) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for token in 0..n {
            counts[draw(logits, sampling, 9, at(token)).id as usize] += 1.0 / f64::from(n);
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax_with_temperature() {
        let logits = [0.0, 1.0, 2.0];
        for temperature in [1.0, 0.5] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (got, weight) in frequencies(&logits, &sampling, 20_000).iter().zip(&weights) {
                assert!((got - weight / total).abs() < 0.015, "{got} {}", weight / total);
            }
            let drawn = draw(&logits, &sampling, 0, at(0));
            assert!((drawn.logprob - (weights[drawn.id as usize] / total).ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn greedy_takes_the_first_maximum() {
        let drawn = draw(&[1.0, 3.0, 3.0], &Sampling::greedy(1), 0, at(0));
        assert_eq!(drawn.id, 1);
        assert!((drawn.logprob + (2.0 + (-2.0_f64).exp()).ln()).abs() < 1e-6);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.1_f32.ln(), 0.5_f32.ln(), 0.15_f32.ln(), 0.25_f32.ln()];
        let top_k = frequencies(&logits, &Sampling { top_k: 2, ..Sampling::default() }, 10_000);
        assert_eq!((top_k[0], top_k[2]), (0.0, 0.0));
        assert!((top_k[1] - 2.0 / 3.0).abs() < 0.02);
        let top_p = frequencies(&logits, &Sampling { top_p: 0.7, ..Sampling::default() }, 10_000);
        assert_eq!((top_p[0], top_p[2]), (0.0, 0.0));
        let nearly_none = frequencies(&logits, &Sampling { top_p: 1e-9, ..Sampling::default() }, 100);
        assert!((nearly_none[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = Sampling { top_p: 0.0, ..Sampling::default() };
        assert!(bad.validate().unwrap_err().contains("top_p"));
        assert!(Sampling { temperature: -1.0, ..Sampling::default() }.validate().is_err());
        assert!(Sampling { max_new_tokens: 0, ..Sampling::default() }.validate().is_err());
    }

    proptest! {
        #[test]
        fn the_drawn_token_is_always_a_candidate(
            logits in prop::collection::vec(-5.0..5.0_f32, 1..40), top_k in 0..5_usize, top_p in 0.05..1.0_f64, token: u32,
        ) {
            let sampling = Sampling { top_k, top_p, ..Sampling::default() };
            let drawn = draw(&logits, &sampling, 3, at(token));
            prop_assert!((drawn.id as usize) < logits.len());
            prop_assert!(drawn.logprob <= 1e-6);
            if top_k > 0 {
                let above = logits.iter().filter(|l| **l > logits[drawn.id as usize]).count();
                prop_assert!(above < top_k);
            }
        }
    }
}
