//! The operations a transformer is made of, each in two versions that compute the same function.
//!
//! `plain` composes Burn's tensor operations and runs on any backend. `fused` registers custom operations with their
//! own backward pass for the `flex` CPU backend through Burn's extension points; tests hold the two against each other.
//! Activations are matrices of `n` rows (one per token) throughout; weights are `[out, in]` as in PyTorch.
//! Knows no model and no batch.

use std::sync::Arc;

use burn::backend::{Dispatch, DispatchDevice, Flex};
use burn::tensor::{DType, Device, Tensor};

mod attention;
#[cfg(feature = "gpu")]
mod cube;
mod cross_entropy;
pub(crate) mod fused;
mod layers;
pub(crate) mod matmul;
pub(crate) mod plain;
pub(crate) mod rows;
pub(crate) mod simd;
#[cfg(test)]
mod tests;

use fused::FusedOps;
pub use rows::UpdateScale;

pub(crate) use attention::{Layout as AttentionLayout, one_row as attend_one_row};

/// Which implementation of the operations a model uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Custom operations for the `flex` CPU backend: faster, and the same bits for any number of threads.
    #[default]
    Fused,
    /// Compositions of Burn's tensor operations, for any backend.
    Plain,
    /// Custom operations for GPUs, see the features `cuda` and `wgpu`.
    #[cfg(feature = "gpu")]
    Cube,
}

impl Kernels {
    /// The fastest kernels that run on `device`.
    pub fn on(device: &Device) -> Self {
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Flex(_) => Self::Fused,
            #[cfg(feature = "gpu")]
            DispatchDevice::Cube(_) => Self::Cube,
            #[allow(unreachable_patterns, reason = "other backends exist only in builds that ask for them")]
            _ => Self::Plain,
        }
    }
}

/// The type that activations and matrix products are computed in. Parameters, norms, softmax, losses and the optimiser
/// are always 32-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16: weights are rounded where they are used. For GPUs.
    Bf16,
}

impl Precision {
    /// The type of activations.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// Cosines and sines of rotary position embeddings (half-split layout; Su et al., arXiv 2104.09864).
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `cos(position * frequency)`, `[length, head_dim / 2]`.
    pub cos: Arc<[f32]>,
    /// `sin(position * frequency)`, `[length, head_dim / 2]`.
    pub sin: Arc<[f32]>,
}

impl RopeTable {
    /// The table of positions `first..first + length` for heads of `head_dim` and frequencies `theta^(-2i / head_dim)`.
    pub fn new(first: usize, length: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let mut cos = Vec::with_capacity(length * half);
        let mut sin = Vec::with_capacity(length * half);
        for position in first..first + length {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { cos: cos.into(), sin: sin.into() }
    }
}

/// The shape of an attention layer's input and what its tokens may see.
#[derive(Clone, Debug)]
pub struct AttentionShape {
    /// Number of sequences in the batch.
    pub n_sequences: usize,
    /// Tokens per sequence.
    pub length: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; query head `i` reads key head `i / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Epsilon of the norms of queries and keys.
    pub eps: f32,
    /// Rotations of the positions `0..length`.
    pub rope: RopeTable,
    /// Per token, the first position of its sequence it attends to; `None`: all up to itself.
    pub visible_from: Option<Arc<[u32]>>,
}

/// Parameters of an attention layer.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// `[H * D, d]`.
    pub q: Tensor<2>,
    /// `[K * D, d]`.
    pub k: Tensor<2>,
    /// `[K * D, d]`.
    pub v: Tensor<2>,
    /// `[d, H * D]`.
    pub o: Tensor<2>,
    /// Gain of the norm over all query heads, `[H * D]`.
    pub q_norm: Tensor<1>,
    /// Gain of the norm over all key heads, `[K * D]`.
    pub k_norm: Tensor<1>,
}

/// What the loss of a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// Weight of the squared log-partition function, 0 for none (PaLM, arXiv 2204.02311, section 5).
    pub z_loss: f64,
    /// What the sums over tokens are divided by: the number of targets of the whole batch.
    pub divisor: f64,
}

impl Kernels {
    /// Rows of `weight` `[V, d]` picked by `ids`: `[n, d]`, in the type of `precision` (always 32 bits on the CPU), which
    /// all that is computed from them keeps.
    pub(crate) fn embedding(self, weight: Tensor<2>, ids: &Arc<[u32]>, precision: Precision) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::embedding(weight, ids, precision),
            Self::Plain => plain::embedding(weight, ids, precision),
            Self::Fused => Tensor::from_dispatch(Dispatch::lm_embedding(weight.into_dispatch(), ids.clone())),
        }
    }

    /// `x / sqrt(mean(x^2) + eps) * gain` for each row of `x` `[n, d]`.
    pub(crate) fn rms_norm(self, x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::rms_norm(x, gain, eps),
            Self::Plain => plain::rms_norm(x, gain, eps),
            Self::Fused => Tensor::from_dispatch(Dispatch::lm_rms_norm(x.into_dispatch(), gain.into_dispatch(), eps)),
        }
    }

    /// `residual + rms_norm(x)`.
    pub(crate) fn add_rms_norm(self, residual: Tensor<2>, x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::add_rms_norm(residual, x, gain, eps),
            Self::Plain => plain::add_rms_norm(residual, x, gain, eps),
            Self::Fused => {
                let (residual, x, gain) = (residual.into_dispatch(), x.into_dispatch(), gain.into_dispatch());
                Tensor::from_dispatch(Dispatch::lm_add_rms_norm(residual, x, gain, eps))
            }
        }
    }

    /// Causal self-attention of `x` `[n, d]` with norms on queries and keys and rotary positions: `[n, d]`.
    pub(crate) fn attention(self, x: Tensor<2>, weights: AttentionWeights, shape: &AttentionShape) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::attention(x, weights, shape),
            Self::Plain => plain::attention(x, weights, shape),
            Self::Fused => {
                let AttentionWeights { q, k, v, o, q_norm, k_norm } = weights;
                Tensor::from_dispatch(Dispatch::lm_attention(
                    x.into_dispatch(),
                    q.into_dispatch(),
                    k.into_dispatch(),
                    v.into_dispatch(),
                    o.into_dispatch(),
                    q_norm.into_dispatch(),
                    k_norm.into_dispatch(),
                    shape.clone(),
                ))
            }
        }
    }

    /// `down(silu(gate(x)) * up(x))` for `x` `[n, d]`: `[n, d]` (SwiGLU, Shazeer, arXiv 2002.05202).
    pub(crate) fn feed_forward(self, x: Tensor<2>, gate: Tensor<2>, up: Tensor<2>, down: Tensor<2>) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::feed_forward(x, gate, up, down),
            Self::Plain => plain::feed_forward(x, gate, up, down),
            Self::Fused => {
                let (x, gate) = (x.into_dispatch(), gate.into_dispatch());
                let (up, down) = (up.into_dispatch(), down.into_dispatch());
                Tensor::from_dispatch(Dispatch::lm_feed_forward(x, gate, up, down))
            }
        }
    }

    /// `x w^T`: `[n, out]` from `x` `[n, in]` and `w` `[out, in]`.
    pub(crate) fn linear(self, x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => plain::linear(x, w),
            Self::Plain => plain::linear(x, w),
            Self::Fused => Tensor::from_dispatch(Dispatch::lm_linear(x.into_dispatch(), w.into_dispatch())),
        }
    }

    /// Three numbers: the loss `(sum(nll) + z_loss * sum(lse^2)) / divisor`, `sum(nll)` and `sum(lse^2)`, over the rows
    /// whose target counts. The gradient flows through the first number only.
    pub(crate) fn cross_entropy(self, hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>, scale: LossScale) -> Tensor<1> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::cross_entropy(hidden, head, targets, scale),
            Self::Plain => plain::cross_entropy(hidden, head, targets, scale),
            Self::Fused => {
                let (hidden, head) = (hidden.into_dispatch(), head.into_dispatch());
                Tensor::from_dispatch(Dispatch::lm_cross_entropy(hidden, head, targets.clone(), scale))
            }
        }
    }

    /// Log-probability of each row's target, 0 where the target is ignored: `[n]`.
    pub(crate) fn token_log_probs(self, hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>) -> Tensor<1> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::token_log_probs(hidden, head, targets),
            Self::Plain => plain::token_log_probs(hidden, head, targets),
            Self::Fused => {
                let (hidden, head) = (hidden.into_dispatch(), head.into_dispatch());
                Tensor::from_dispatch(Dispatch::lm_token_log_probs(hidden, head, targets.clone()))
            }
        }
    }

    /// Rows `rows` of `x` `[n, d]`: `[rows, d]`. To gather the tokens of experts.
    pub fn pick_rows(self, x: Tensor<2>, rows: &Arc<[u32]>) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::pick_rows(x, rows),
            _ => plain::pick_rows(x, rows),
        }
    }

    /// The rows of `x` `[rows, d]` added up where `rows` says, `[n, d]` in 32-bit floats; the opposite of `pick_rows`.
    pub fn add_rows(self, x: Tensor<2>, rows: &Arc<[u32]>, n: usize) -> Tensor<2> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::add_rows(x, rows, n),
            _ => plain::add_rows(x, rows, n),
        }
    }

    /// `(I + L)^-1` for every matrix of `below` `[m, c, c]`, where `L` is its part below the diagonal (the rest is not
    /// read). The triangular system of the chunked gated delta rule (arXiv 2412.06464, section 3.3).
    pub fn unit_lower_inverse(self, below: Tensor<3>) -> Tensor<3> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::unit_lower_inverse(below),
            _ => plain::unit_lower_inverse(below),
        }
    }

    /// One AdamW update of a parameter without gradient: value, first and second moment. In place when they are owned
    /// uniquely.
    pub(crate) fn adamw(
        self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        [first, second]: [Tensor<1>; 2],
        scale: UpdateScale,
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        match self {
            #[cfg(feature = "gpu")]
            Self::Cube => cube::adamw(value, gradient, [first, second], scale),
            Self::Plain => plain::adamw(value, gradient, [first, second], scale),
            Self::Fused => {
                let [mut value, gradient, mut first, mut second] = [value, gradient, first, second].map(flex);
                rows::adamw(value.storage_mut(), fused::elements(&gradient), first.storage_mut(), second.storage_mut(), scale);
                let back = Tensor::from_primitive::<Flex>;
                (back(value), [back(first), back(second)])
            }
        }
    }

    /// The sum of squares of tensors without gradient, added up in a fixed order.
    pub(crate) fn sum_of_squares<'a>(self, values: impl Iterator<Item = &'a Tensor<1>>) -> f64 {
        match self {
            Self::Fused => values.map(|values| rows::sum_of_squares(fused::elements(&flex(values.clone())))).sum(),
            _ => plain::sum_of_squares(values),
        }
    }
}

/// The contiguous CPU tensor behind a tensor without gradient.
pub(crate) fn flex<const D: usize>(tensor: Tensor<D>) -> burn::backend::flex::FlexTensor {
    let tensor = tensor.try_into_primitive::<Flex>().expect("fused kernels are for the flex backend");
    let whole = tensor.is_contiguous() && tensor.bytes().len() == 4 * tensor.layout().num_elements();
    if whole { tensor } else { tensor.to_contiguous() }
}
