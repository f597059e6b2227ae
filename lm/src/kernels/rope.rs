//! Cosines and sines of rotary position embeddings, with the changes for long contexts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Rope, RopeScaling};

/// Cosines and sines of rotary position embeddings (half-split layout; Su et al., arXiv 2104.09864).
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `cos(position * frequency)`, `[length, head_dim / 2]`.
    pub cos: Arc<[f32]>,
    /// `sin(position * frequency)`, `[length, head_dim / 2]`.
    pub sin: Arc<[f32]>,
}

/// How many shared tables are kept.
const KEPT: usize = 16;

/// Tables by their parameters, length and head width: a training run asks for the same one again and again.
static SHARED: Mutex<Vec<(Rope, [usize; 2], RopeTable)>> = Mutex::new(Vec::new());

impl RopeTable {
    /// The table of positions `0..length`, computed once as long as few others are asked for.
    pub fn shared(length: usize, head_dim: usize, rope: &Rope) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let size = [length, head_dim];
        if let Some((.., table)) = shared.iter().find(|(known, known_size, _)| (known, *known_size) == (rope, size)) {
            return table.clone();
        }
        let table = Self::new(0, length, head_dim, rope);
        if shared.len() == KEPT {
            shared.remove(0);
        }
        shared.push((*rope, size, table.clone()));
        table
    }

    /// Whether both are the same table in memory.
    #[cfg(feature = "gpu")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cos, &other.cos) && Arc::ptr_eq(&self.sin, &other.sin)
    }

    /// The table of positions `first..first + length` for heads of `head_dim`.
    pub fn new(first: usize, length: usize, head_dim: usize, rope: &Rope) -> Self {
        let (frequencies, factor) = frequencies(rope, head_dim);
        let half = head_dim / 2;
        let mut cos = Vec::with_capacity(length * half);
        let mut sin = Vec::with_capacity(length * half);
        for position in first..first + length {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push((c * factor) as f32);
                sin.push((s * factor) as f32);
            }
        }
        Self { cos: cos.into(), sin: sin.into() }
    }
}

/// The frequencies `[head_dim / 2]` and what cosines and sines are multiplied by.
fn frequencies(rope: &Rope, head_dim: usize) -> (Vec<f64>, f64) {
    let theta = rope.theta;
    let base = (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64));
    match rope.scaling {
        None => (base.collect(), 1.0),
        Some(RopeScaling::Linear { factor }) => (base.map(|f| f / factor).collect(), 1.0),
        Some(RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, attention_factor }) => {
            let d = head_dim as f64;
            let before = original_max_position_embeddings as f64;
            // The index of the frequency that turns `n` times over the old length (arXiv 2309.00071, section 3.2).
            let index = |n: f64| d * (before / (n * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln());
            let low = index(beta_fast).floor().max(0.0);
            let mut high = index(beta_slow).ceil().min(d - 1.0);
            if high == low {
                high += 0.001;
            }
            let scaled = base.enumerate().map(|(i, f)| {
                let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                f * (1.0 - ramp) + f / factor * ramp
            });
            let default = if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
            (scaled.collect(), attention_factor.unwrap_or(default))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yarn_keeps_fast_and_interpolates_slow_frequencies() {
        let plain = Rope { theta: 500_000.0, scaling: None };
        let scaling = RopeScaling::Yarn {
            factor: 8.0,
            original_max_position_embeddings: 8192,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
        };
        let (before, one) = frequencies(&plain, 128);
        let (after, factor) = frequencies(&Rope { scaling: Some(scaling), ..plain }, 128);
        assert_eq!(one, 1.0);
        assert!((factor - 1.207_944_154_167_983_6).abs() < 1e-15);
        // The published ramp runs from index 18 to 35.
        assert_eq!(after[..=18], before[..=18]);
        assert!((19..35).all(|i| after[i] < before[i] && after[i] > before[i] / 8.0));
        assert!((35..64).all(|i| (after[i] * 8.0 / before[i] - 1.0).abs() < 1e-12));
    }
}
