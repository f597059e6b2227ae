//! The custom operations for GPUs, as Burn sees them: dispatch, fusion, graph registration, backward passes.
//!
//! The kernels are in the files below, written in CubeCL, and run on every GPU it knows (CUDA; Vulkan through wgpu).
//! Tensors are 32-bit floats or bfloat16; weights, gains, statistics and sums are always 32-bit floats. Nothing here
//! depends on the order in which threads run: the same bits every time on the same device.

#![allow(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]

use std::sync::Arc;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use super::{AttentionShape, AttentionWeights, LossScale, Precision, UpdateScale, plain};

mod angles;
mod attention;
mod delta;
pub(super) mod experts;
mod gradients;
mod head;
mod launch;
mod rows;
#[cfg(all(test, feature = "wgpu"))]
mod tests;

/// Which operand of a matrix product is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turned {
    None,
    Left,
    Right,
}

/// The shape of an attention over projected queries, keys and values, and what each query may see.
#[derive(Clone, Debug)]
pub(crate) struct Attend {
    pub(crate) n_sequences: usize,
    pub(crate) length: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    /// A query sees this many keys up to itself; `None`: all.
    pub(crate) window: Option<usize>,
    /// Per token, the first position of its sequence it sees.
    pub(crate) visible_from: Option<Arc<[u32]>>,
}

impl Attend {
    /// What scores are multiplied by.
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Direction of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Forward,
    Back,
}

/// The kernels on tensors without gradient.
#[backend_extension(Cube, Fusion)]
pub(crate) trait CubeKernels: Backend {
    #[fusion(dtype = x, shape = x)]
    fn cube_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;

    #[fusion(dtype = x, shape = x)]
    fn cube_add_norm(residual: FloatTensor<Self>, x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;

    #[fusion(meta = |x, gain, _dy, _eps| (x.clone(), gain.clone()))]
    fn cube_norm_backward(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = x, shape = x)]
    fn cube_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, turn: Turn) -> FloatTensor<Self>;

    #[fusion(dtype = gate, shape = gate)]
    fn cube_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(meta = |gate, up, _dy| (gate.clone(), up.clone()))]
    fn cube_swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |q, _k, _v, shape| (q.clone(), spec([q.shape[0], shape.n_heads], DType::F32)))]
    fn cube_attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: Attend,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |q, k, v, _out, _lse, _dout, _shape| (q.clone(), k.clone(), v.clone()))]
    fn cube_attend_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        shape: Attend,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |_hidden, _head, _targets, _scale| spec([3], DType::F32))]
    fn cube_loss(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Arc<[u32]>, scale: LossScale) -> FloatTensor<Self>;

    #[fusion(meta = |hidden, head, _targets, _scale| (spec([3], DType::F32), hidden.clone(), head.clone()))]
    fn cube_loss_and_gradients(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        scale: LossScale,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |hidden, _head, _targets| (spec([hidden.shape[0]], DType::F32), spec([hidden.shape[0]], DType::F32)))]
    fn cube_log_probs(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |hidden, head, _lse, _upstream, _targets| (hidden.clone(), head.clone()))]
    fn cube_log_probs_backward(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
        targets: Arc<[u32]>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |weight, ids, dtype| spec([ids.len(), weight.shape[1]], *dtype))]
    fn cube_pick(weight: FloatTensor<Self>, ids: Arc<[u32]>, dtype: DType) -> FloatTensor<Self>;

    #[fusion(meta = |dy, _ids, vocab| spec([*vocab, dy.shape[1]], DType::F32))]
    fn cube_add_up(dy: FloatTensor<Self>, ids: Arc<[u32]>, vocab: usize) -> FloatTensor<Self>;

    #[fusion(dtype = below, shape = below)]
    fn cube_unit_lower_inverse(below: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(dtype = inverse, shape = inverse)]
    fn cube_unit_lower_inverse_backward(inverse: FloatTensor<Self>, upstream: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(meta = |value, _gradient, first, second, _scale| (value.clone(), first.clone(), second.clone()))]
    fn cube_adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        scale: UpdateScale,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn spec<const D: usize>(shape: [usize; D], dtype: DType) -> TensorSpec {
    TensorSpec::new(Shape::from(shape), dtype)
}

type Floats = FloatTensor<CubeBackend>;

impl CubeKernels for CubeBackend {
    fn cube_norm(x: Floats, gain: Floats, eps: f32) -> Floats {
        rows::norm(x, gain, None, eps)
    }

    fn cube_add_norm(residual: Floats, x: Floats, gain: Floats, eps: f32) -> Floats {
        rows::norm(x, gain, Some(residual), eps)
    }

    fn cube_norm_backward(x: Floats, gain: Floats, dy: Floats, eps: f32) -> (Floats, Floats) {
        rows::norm_backward(x, gain, dy, eps)
    }

    fn cube_rotate(x: Floats, cos: Floats, sin: Floats, turn: Turn) -> Floats {
        rows::rotate(x, cos, sin, turn)
    }

    fn cube_swiglu(gate: Floats, up: Floats) -> Floats {
        rows::swiglu(gate, up)
    }

    fn cube_swiglu_backward(gate: Floats, up: Floats, dy: Floats) -> (Floats, Floats) {
        rows::swiglu_backward(gate, up, dy)
    }

    fn cube_attend(q: Floats, k: Floats, v: Floats, shape: Attend) -> (Floats, Floats) {
        attention::attend(q, k, v, &shape)
    }

    fn cube_attend_backward(
        q: Floats,
        k: Floats,
        v: Floats,
        out: Floats,
        lse: Floats,
        dout: Floats,
        shape: Attend,
    ) -> (Floats, Floats, Floats) {
        attention::attend_backward(attention::Attended { q, k, v, out, lse }, dout, &shape)
    }

    fn cube_loss(hidden: Floats, head: Floats, targets: Arc<[u32]>, scale: LossScale) -> Floats {
        head::loss(hidden, head, &targets, scale)
    }

    fn cube_loss_and_gradients(hidden: Floats, head: Floats, targets: Arc<[u32]>, scale: LossScale) -> (Floats, Floats, Floats) {
        head::loss_and_gradients(hidden, head, &targets, scale)
    }

    fn cube_log_probs(hidden: Floats, head: Floats, targets: Arc<[u32]>) -> (Floats, Floats) {
        head::log_probs(hidden, head, &targets)
    }

    fn cube_log_probs_backward(
        hidden: Floats,
        head: Floats,
        lse: Floats,
        upstream: Floats,
        targets: Arc<[u32]>,
    ) -> (Floats, Floats) {
        head::log_probs_backward(hidden, head, &targets, lse, upstream)
    }

    fn cube_pick(weight: Floats, ids: Arc<[u32]>, dtype: DType) -> Floats {
        rows::pick(weight, &ids, dtype)
    }

    fn cube_add_up(dy: Floats, ids: Arc<[u32]>, vocab: usize) -> Floats {
        rows::add_up(dy, &ids, vocab)
    }

    fn cube_unit_lower_inverse(below: Floats) -> Floats {
        delta::unit_lower_inverse(below)
    }

    fn cube_unit_lower_inverse_backward(inverse: Floats, upstream: Floats) -> Floats {
        delta::unit_lower_inverse_backward(inverse, upstream)
    }

    fn cube_adamw(
        value: Floats,
        gradient: Floats,
        first: Floats,
        second: Floats,
        scale: UpdateScale,
    ) -> (Floats, Floats, Floats) {
        rows::adamw(value, gradient, first, second, scale)
    }
}

/// The operations that gradients flow through.
#[backend_extension(Cube, Autodiff)]
pub(crate) trait CubeOps: Backend {
    fn lm_cube_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    fn lm_cube_add_norm(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    fn lm_cube_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
    fn lm_cube_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn lm_cube_attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, shape: Attend) -> FloatTensor<Self>;
    fn lm_cube_loss(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        scale: LossScale,
    ) -> FloatTensor<Self>;
    fn lm_cube_log_probs(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self>;
    fn lm_cube_pick(weight: FloatTensor<Self>, ids: Arc<[u32]>, dtype: DType) -> FloatTensor<Self>;
    fn lm_cube_add_up(x: FloatTensor<Self>, ids: Arc<[u32]>, n: usize) -> FloatTensor<Self>;
    fn lm_cube_unit_lower_inverse(below: FloatTensor<Self>) -> FloatTensor<Self>;
}

type Lazy = FloatTensor<Cube>;

impl CubeOps for Cube {
    fn lm_cube_norm(x: Lazy, gain: Lazy, eps: f32) -> Lazy {
        Cube::cube_norm(x, gain, eps)
    }

    fn lm_cube_add_norm(residual: Lazy, x: Lazy, gain: Lazy, eps: f32) -> Lazy {
        Cube::cube_add_norm(residual, x, gain, eps)
    }

    fn lm_cube_rotate(x: Lazy, cos: Lazy, sin: Lazy) -> Lazy {
        Cube::cube_rotate(x, cos, sin, Turn::Forward)
    }

    fn lm_cube_swiglu(gate: Lazy, up: Lazy) -> Lazy {
        Cube::cube_swiglu(gate, up)
    }

    fn lm_cube_attend(q: Lazy, k: Lazy, v: Lazy, shape: Attend) -> Lazy {
        Cube::cube_attend(q, k, v, shape).0
    }

    fn lm_cube_loss(hidden: Lazy, head: Lazy, targets: Arc<[u32]>, scale: LossScale) -> Lazy {
        Cube::cube_loss(hidden, head, targets, scale)
    }

    fn lm_cube_log_probs(hidden: Lazy, head: Lazy, targets: Arc<[u32]>) -> Lazy {
        Cube::cube_log_probs(hidden, head, targets).0
    }

    fn lm_cube_pick(weight: Lazy, ids: Arc<[u32]>, dtype: DType) -> Lazy {
        Cube::cube_pick(weight, ids, dtype)
    }

    fn lm_cube_add_up(x: Lazy, ids: Arc<[u32]>, n: usize) -> Lazy {
        Cube::cube_add_up(x, ids, n)
    }

    fn lm_cube_unit_lower_inverse(below: Lazy) -> Lazy {
        Cube::cube_unit_lower_inverse(below)
    }
}

/// Rows of `weight` picked by `ids`, in the type that the model computes in.
pub(super) fn embedding(weight: Tensor<2>, ids: &Arc<[u32]>, precision: Precision) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lm_cube_pick(weight.into_dispatch(), ids.clone(), precision.dtype()))
}

/// Rows `rows` of `x` `[n, d]`: `[rows, d]`.
fn pick_rows(x: Tensor<2>, rows: &Arc<[u32]>) -> Tensor<2> {
    let dtype = x.dtype();
    Tensor::from_dispatch(Dispatch::lm_cube_pick(x.into_dispatch(), rows.clone(), dtype))
}

/// The rows of `x` `[rows, d]` added up where `rows` says, `[n, d]` in 32-bit floats; the opposite of `pick_rows`.
fn add_rows(x: Tensor<2>, rows: &Arc<[u32]>, n: usize) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lm_cube_add_up(x.into_dispatch(), rows.clone(), n))
}

/// `(I + L)^-1` for every matrix of `below` `[m, c, c]`, where `L` is its part below the diagonal.
pub(super) fn unit_lower_inverse(below: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::lm_cube_unit_lower_inverse(below.into_dispatch()))
}

pub(super) fn rms_norm(x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lm_cube_norm(x.into_dispatch(), gain.into_dispatch(), eps))
}

pub(super) fn add_rms_norm(residual: Tensor<2>, x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
    let (residual, x) = (residual.into_dispatch(), x.into_dispatch());
    Tensor::from_dispatch(Dispatch::lm_cube_add_norm(residual, x, gain.into_dispatch(), eps))
}

pub(super) fn attention(x: Tensor<2>, weights: AttentionWeights, shape: &AttentionShape) -> Tensor<2> {
    let (q, k) = (plain::linear(x.clone(), weights.q), plain::linear(x.clone(), weights.k));
    let (q, k) = match weights.norms {
        Some([q_norm, k_norm]) => (rms_norm(q, q_norm, shape.eps), rms_norm(k, k_norm, shape.eps)),
        None => (q, k),
    };
    let clip = |x: Tensor<2>| match shape.clip {
        Some(clip) => x.clamp(-clip, clip),
        None => x,
    };
    let (mut q, mut k, v) = (clip(q), clip(k), clip(plain::linear(x, weights.v)));
    if let Some(rope) = &shape.rope {
        let (cos, sin) = angles::on(&q.device(), rope, [shape.length, shape.head_dim / 2]);
        q = rotate(q, &cos, &sin);
        k = rotate(k, &cos, &sin);
    }
    let attend = Attend {
        n_sequences: shape.n_sequences,
        length: shape.length,
        n_heads: shape.n_heads,
        n_kv_heads: shape.n_kv_heads,
        head_dim: shape.head_dim,
        window: shape.window,
        visible_from: shape.visible_from.clone(),
    };
    plain::linear(attend_to(q, k, v, attend), weights.o)
}

pub(super) fn feed_forward(x: Tensor<2>, gate: Tensor<2>, up: Tensor<2>, down: Tensor<2>) -> Tensor<2> {
    let (gate, up) = (plain::linear(x.clone(), gate), plain::linear(x, up));
    let hidden = Dispatch::lm_cube_swiglu(gate.into_dispatch(), up.into_dispatch());
    plain::linear(Tensor::from_dispatch(hidden), down)
}

/// `x` `[n, heads * D]` rotated by the angles of each row's position.
fn rotate(x: Tensor<2>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<2> {
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::lm_cube_rotate(x.into_dispatch(), cos, sin))
}

/// Attention of queries to keys and values, see [`Attend`].
pub(crate) fn attend_to(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, shape: Attend) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lm_cube_attend(q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), shape))
}

pub(super) fn cross_entropy(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>, scale: LossScale) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::lm_cube_loss(hidden.into_dispatch(), head.into_dispatch(), targets.clone(), scale))
}

pub(super) fn token_log_probs(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::lm_cube_log_probs(hidden.into_dispatch(), head.into_dispatch(), targets.clone()))
}

pub(super) fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    scale: UpdateScale,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let (value, gradient) = (value.into_dispatch(), gradient.into_dispatch());
    let (value, first, second) = Dispatch::cube_adamw(value, gradient, first.into_dispatch(), second.into_dispatch(), scale);
    (Tensor::from_dispatch(value), [Tensor::from_dispatch(first), Tensor::from_dispatch(second)])
}
