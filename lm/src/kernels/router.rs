//! The losses of a router on slices: load balancing and z-loss with the slope of each logit.
//!
//! Sums run row by row in double precision, so they do not depend on threads or on where a tensor lies in memory.

use rayon::prelude::*;

/// What a router's logits `[n, E]` say.
#[derive(Clone, Debug)]
pub(crate) struct RouterSums {
    /// `(E / k) sum_e n_e P_e / n`.
    pub(crate) balance: f32,
    /// Mean squared log-partition function.
    pub(crate) z: f32,
    /// Slots of each expert, `n_e`.
    pub(crate) counts: Vec<f32>,
    /// Log-partition function of each row.
    lse: Vec<f32>,
}

/// Rows per parallel piece of work.
const CHUNK: usize = 128;

/// The losses; `probabilities` are the softmax of the logits, of which each token's `k` largest choose its experts, the
/// one with the lower number first of equals.
pub(crate) fn forward(logits: &[f32], probabilities: &[f32], n_experts: usize, top_k: usize) -> RouterSums {
    let n = logits.len() / n_experts;
    let pieces: Vec<(Vec<f64>, Vec<f64>, Vec<f32>)> = logits
        .par_chunks(CHUNK * n_experts)
        .zip(probabilities.par_chunks(CHUNK * n_experts))
        .map(|(logits, probabilities)| {
            let (mut counts, mut sums) = (vec![0.0; n_experts], vec![0.0; n_experts]);
            let mut lse = Vec::with_capacity(CHUNK);
            let mut taken = vec![false; n_experts];
            for (logits, row) in logits.chunks_exact(n_experts).zip(probabilities.chunks_exact(n_experts)) {
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
                lse.push((f64::from(max) + total.ln()) as f32);
                sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p));
                taken.fill(false);
                for _ in 0..top_k {
                    let free = (0..n_experts).filter(|e| !taken[*e]);
                    let best = free.reduce(|best, e| if row[e] > row[best] { e } else { best }).unwrap_or(0);
                    taken[best] = true;
                    counts[best] += 1.0;
                }
            }
            (counts, sums, lse)
        })
        .collect();
    let (mut counts, mut sums) = (vec![0.0; n_experts], vec![0.0; n_experts]);
    let mut lse = Vec::with_capacity(n);
    for (more_counts, more_sums, more_lse) in pieces {
        counts.iter_mut().zip(more_counts).for_each(|(sum, x): (&mut f64, f64)| *sum += x);
        sums.iter_mut().zip(more_sums).for_each(|(sum, x): (&mut f64, f64)| *sum += x);
        lse.extend(more_lse);
    }
    let rows = n as f64;
    let balance: f64 = counts.iter().zip(&sums).map(|(count, sum)| count * sum / rows).sum();
    let z = lse.iter().map(|lse| f64::from(*lse).powi(2)).sum::<f64>() / rows;
    RouterSums {
        balance: (balance * n_experts as f64 / (top_k as f64 * rows)) as f32,
        z: z as f32,
        counts: counts.into_iter().map(|count| count as f32).collect(),
        lse,
    }
}

/// Gradients of logits and probabilities, where the balance has slope `d_balance` and the z-loss `d_z`.
pub(crate) fn backward([d_balance, d_z]: [f32; 2], logits: &[f32], sums: &RouterSums, top_k: usize) -> (Vec<f32>, Vec<f32>) {
    let n_experts = sums.counts.len();
    let n = sums.lse.len() as f32;
    let factor = d_balance * n_experts as f32 / (top_k as f32 * n * n);
    let slope: Vec<f32> = sums.counts.iter().map(|count| factor * count).collect();
    let mut d_probabilities = vec![0.0; logits.len()];
    d_probabilities.par_chunks_mut(n_experts).with_min_len(CHUNK).for_each(|row| row.copy_from_slice(&slope));
    let mut d_logits = vec![0.0; logits.len()];
    let rows = d_logits.par_chunks_mut(n_experts).zip(logits.par_chunks(n_experts)).zip(&sums.lse);
    rows.with_min_len(CHUNK).for_each(|((out, row), lse)| {
        let scale = 2.0 * d_z * lse / n;
        out.iter_mut().zip(row).for_each(|(out, x)| *out = scale * (x - lse).exp());
    });
    (d_logits, d_probabilities)
}
