//! Choosing one token from logits: temperature, top-k, top-p, min-p, and the counter-based draw.
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

/// Chooses a token. Sums run in a fixed order, so the choice is the same on any machine that computes the same logits.
/// `weights` is memory to work in.
pub(super) fn draw(logits: &[f32], sampling: &Sampling, seed: u64, at: Position, weights: &mut Vec<f32>) -> Drawn {
    let best = argmax(logits);
    let max = f64::from(logits[best]);
    let scale = if sampling.temperature == 0.0 { 1.0 } else { 1.0 / sampling.temperature };
    weights.resize(logits.len(), 0.0);
    exponentiate(weights, logits, logits[best], scale as f32);
    let total = total(weights);
    let drawn = |id: usize| Drawn { id: id as u32, logprob: (f64::from(logits[id]) - max) * scale - total.ln() };
    if sampling.temperature == 0.0 {
        return drawn(best);
    }
    let u = uniform(seed, at);
    if sampling.top_k > 0 || sampling.top_p < 1.0 {
        let order = nucleus(weights, total, sampling);
        let kept: f64 = order.iter().map(|&id| f64::from(weights[id])).sum();
        return drawn(walk(order.iter().map(|&id| (id, weights[id])), u * kept).unwrap_or(order[0]));
    }
    let total = if sampling.min_p > 0.0 { cut_below(weights, sampling.min_p as f32) } else { total };
    drawn(inverse_cdf(weights, u * total).unwrap_or(best))
}

/// The tokens that `top_k`, `top_p` and `min_p` leave, most likely first, on ties the lower id.
fn nucleus(weights: &[f32], total: f64, sampling: &Sampling) -> Vec<usize> {
    let by_weight = |a: &usize, b: &usize| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b));
    // Tokens below this weight have less than `1 - top_p` of the probability together, so the nucleus has no need of them.
    let floor = match sampling.top_k {
        0 => 0.999 * (1.0 - sampling.top_p) * total / weights.len() as f64,
        _ => 0.0,
    };
    let mut order: Vec<usize> = (0..weights.len()).filter(|id| f64::from(weights[*id]) >= floor).collect();
    if sampling.top_k > 0 && sampling.top_k < order.len() {
        order.select_nth_unstable_by(sampling.top_k, by_weight);
        order.truncate(sampling.top_k);
    }
    order.sort_unstable_by(by_weight);
    let left = if sampling.top_k == 0 { total } else { order.iter().map(|&id| f64::from(weights[id])).sum() };
    let (mut kept, mut n) = (0.0, 0);
    while n < order.len() && (n == 0 || kept < sampling.top_p * left) {
        kept += f64::from(weights[order[n]]);
        n += 1;
    }
    order.truncate(n);
    // The largest weight is 1.
    order.retain(|id| f64::from(weights[*id]) >= sampling.min_p);
    order
}

/// Weights that are summed up together.
const BLOCK: usize = 256;

multiversion! {
    /// `exp((logit - max) * scale)` of every logit.
    fn exponentiate(weights: &mut [f32], logits: &[f32], max: f32, scale: f32) {
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = simd::exp((*logit - max) * scale);
        }
    }
}

multiversion! {
    fn total(weights: &[f32]) -> f64 {
        weights.chunks(BLOCK).map(|block| f64::from(simd::sum1(block, |x| x))).sum()
    }
}

multiversion! {
    fn largest(values: &[f32]) -> f32 {
        simd::max(values)
    }
}

/// Sets weights below `least` to 0; returns the sum of the others.
fn cut_below(weights: &mut [f32], least: f32) -> f64 {
    weights.iter_mut().filter(|weight| **weight < least).for_each(|weight| *weight = 0.0);
    total(weights)
}

fn argmax(logits: &[f32]) -> usize {
    let max = largest(logits);
    logits.iter().position(|logit| *logit == max).unwrap_or(0)
}

fn walk(weights: impl Iterator<Item = (usize, f32)>, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    for (id, weight) in weights {
        sum += f64::from(weight);
        if sum > target {
            return Some(id);
        }
    }
    None
}

/// The token at which the running sum of the weights passes `target`: block by block, then one by one.
fn inverse_cdf(weights: &[f32], target: f64) -> Option<usize> {
    let mut sum = 0.0;
    for (block, of_block) in weights.chunks(BLOCK).enumerate() {
        let after = sum + total(of_block);
        if after > target {
            let first = block * BLOCK;
            let in_block = || of_block.iter().enumerate().map(|(i, weight)| (first + i, *weight));
            let last = in_block().rfind(|(_, weight)| *weight > 0.0);
            return walk(in_block(), target - sum).or(last.map(|(id, _)| id));
        }
        sum = after;
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
            counts[draw(logits, sampling, 9, at(token), &mut Vec::new()).id as usize] += 1.0 / f64::from(n);
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
            let drawn = draw(&logits, &sampling, 0, at(0), &mut Vec::new());
            assert!((drawn.logprob - (weights[drawn.id as usize] / total).ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn greedy_takes_the_first_maximum() {
        let drawn = draw(&[1.0, 3.0, 3.0], &Sampling::greedy(1), 0, at(0), &mut Vec::new());
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
    fn min_p_cuts_what_is_unlikely_beside_the_best() {
        let logits = [0.1_f32.ln(), 0.5_f32.ln(), 0.15_f32.ln(), 0.25_f32.ln()];
        for top_k in [0, 4] {
            let found = frequencies(&logits, &Sampling { min_p: 0.25, top_k, ..Sampling::default() }, 20_000);
            assert_eq!(found[0], 0.0);
            for (found, p) in found[1..].iter().zip([0.5, 0.15, 0.25]) {
                assert!((found - p / 0.9).abs() < 0.015, "{found}");
            }
        }
        let best = frequencies(&logits, &Sampling { min_p: 1.0, ..Sampling::default() }, 100);
        assert!((best[1] - 1.0).abs() < 1e-9);
        // The probability that is reported is the one before the cuts.
        let drawn = draw(&logits, &Sampling { min_p: 1.0, ..Sampling::default() }, 0, at(0), &mut Vec::new());
        assert!((drawn.logprob - 0.5_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn many_tokens_are_drawn_by_their_weights() {
        // More than one block; the odd ids are as good as impossible.
        let logits: Vec<f32> = (0..1000).map(|id| if id % 2 == 0 { id as f32 * 1e-3 } else { -80.0 }).collect();
        let all = frequencies(&logits, &Sampling::default(), 50_000);
        let weight: f64 = (0..1000).step_by(2).map(|id| (f64::from(id) * 1e-3).exp()).sum();
        let upper: f64 = (600..1000).step_by(2).map(|id| (f64::from(id) * 1e-3).exp()).sum::<f64>() / weight;
        assert!((all[600..].iter().sum::<f64>() - upper).abs() < 0.01);
        assert_eq!(all.iter().skip(1).step_by(2).sum::<f64>(), 0.0);
        // A nucleus of almost everything draws like everything but its tail.
        let most = frequencies(&logits, &Sampling { top_p: 0.9, ..Sampling::default() }, 20_000);
        assert_eq!(most[..100].iter().sum::<f64>(), 0.0);
        assert!(most[200..].iter().all(|f| *f < 0.02));
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
            logits in prop::collection::vec(-5.0..5.0_f32, 1..40), top_k in 0..5_usize, top_p in 0.05..1.0_f64,
            min_p in 0.0..0.5_f64, token: u32,
        ) {
            let sampling = Sampling { top_k, top_p, min_p, ..Sampling::default() };
            let drawn = draw(&logits, &sampling, 3, at(token), &mut Vec::new());
            prop_assert!((drawn.id as usize) < logits.len());
            prop_assert!(drawn.logprob <= 1e-6);
            let best = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            prop_assert!(f64::from(logits[drawn.id as usize] - best).exp() >= min_p * 0.999);
            if top_k > 0 {
                let above = logits.iter().filter(|l| **l > logits[drawn.id as usize]).count();
                prop_assert!(above < top_k);
            }
        }
    }
}
