//! The custom operations as Burn sees them: dispatch, graph registration, backward passes.
//!
//! All arithmetic is in the sibling files and works on slices; this file moves tensors in and out.

#![expect(clippy::too_many_arguments, reason = "each parameter of an attention layer is a node of the graph")]

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::TensorData;

use super::cross_entropy::{self, Head, HeadGradients, Slope};
use super::layers::{self, AttentionParameters, AttentionSaved, FeedForwardParameters, FeedForwardSaved};
use super::matmul::{self, Precision, Write};
use super::{AttentionShape, LossScale, rows, simd};

/// Registers gradients with the parents that want them, in order.
macro_rules! register {
    ($grads:ident, $parents:expr, [$($gradient:expr),+ $(,)?]) => {{
        let mut parents = $parents.into_iter();
        $(
            if let Some(node) = parents.next().flatten() {
                $grads.register::<Flex>(node.id, $gradient);
            }
        )+
    }};
}

/// Declares a backward pass: name, number of parents, state, and what to do with `(state, dy, parents, grads)`.
macro_rules! backward {
    ($name:ident, $n:literal, $state:ty, |$s:pat_param, $dy:ident, $parents:ident, $grads:ident| $body:block) => {
        #[derive(Debug)]
        struct $name;

        impl Backward<Flex, $n> for $name {
            type State = $state;

            fn backward(self, ops: Ops<Self::State, $n>, $grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let $dy = $grads.consume::<Flex>(&ops.node).to_contiguous();
                let $s = ops.state;
                let $parents = ops.parents;
                $body
            }
        }
    };
}

mod delta;
mod experts;
mod norm;
mod router;

pub(crate) use delta::DeltaOps;
pub(crate) use experts::ExpertOps;
pub(crate) use norm::NormOps;
pub(crate) use router::RouterOps;

/// The custom operations of this crate. Tensors are contiguous 32-bit floats.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedOps: Backend {
    /// See `Kernels::embedding`.
    fn lm_embedding(weight: FloatTensor<Self>, ids: Arc<[u32]>) -> FloatTensor<Self>;
    /// See `Kernels::rms_norm`.
    fn lm_rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// See `Kernels::add_rms_norm`.
    fn lm_add_rms_norm(residual: FloatTensor<Self>, x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32)
    -> FloatTensor<Self>;
    /// See `Kernels::linear`.
    fn lm_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;
    /// See `Kernels::attention`.
    fn lm_attention(
        x: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        o: FloatTensor<Self>,
        q_norm: FloatTensor<Self>,
        k_norm: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self>;
    /// See `Kernels::feed_forward`.
    fn lm_feed_forward(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// See `Kernels::cross_entropy`.
    fn lm_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        scale: LossScale,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// See `Kernels::token_log_probs`.
    fn lm_token_log_probs(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// The elements of a contiguous tensor.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("inputs were made contiguous 32-bit floats")
}

fn tensor(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape.to_vec()))
}

fn columns(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

/// An array of pairs as a pair of arrays.
fn unzip<A, B, const N: usize>(pairs: [(A, B); N]) -> ([A; N], [B; N]) {
    let mut pairs = pairs.map(|(a, b)| (Some(a), Some(b)));
    let first = pairs.each_mut().map(|pair| pair.0.take().expect("each is taken once"));
    (first, pairs.map(|pair| pair.1.expect("each is taken once")))
}

/// A tensor of the shape of `like`.
fn shaped(data: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    tensor(data, &like.shape().to_vec())
}

impl FusedOps for Flex {
    fn lm_embedding(weight: FlexTensor, ids: Arc<[u32]>) -> FlexTensor {
        let weight = weight.to_contiguous();
        let width = columns(&weight);
        tensor(rows::gather(elements(&weight), &ids, width), &[ids.len(), width])
    }

    fn lm_rms_norm(x: FlexTensor, gain: FlexTensor, eps: f32) -> FlexTensor {
        let (x, gain) = (x.to_contiguous(), gain.to_contiguous());
        let mut out = simd::unwritten(elements(&x).len());
        rows::rms_norm(&mut out, elements(&x), elements(&gain), None, eps);
        shaped(out, &x)
    }

    fn lm_add_rms_norm(residual: FlexTensor, x: FlexTensor, gain: FlexTensor, eps: f32) -> FlexTensor {
        let (residual, x, gain) = (residual.to_contiguous(), x.to_contiguous(), gain.to_contiguous());
        let mut out = simd::unwritten(elements(&x).len());
        rows::rms_norm(&mut out, elements(&x), elements(&gain), Some(elements(&residual)), eps);
        shaped(out, &x)
    }

    fn lm_linear(x: FlexTensor, w: FlexTensor, precision: Precision) -> FlexTensor {
        let (x, w) = (x.to_contiguous(), w.to_contiguous());
        let (n, outputs) = (x.shape()[0], w.shape()[0]);
        let mut out = simd::unwritten(n * outputs);
        matmul::forward_in(&mut out, elements(&x), elements(&w), columns(&x), precision);
        tensor(out, &[n, outputs])
    }

    fn lm_attention(
        x: FlexTensor,
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        o: FlexTensor,
        q_norm: FlexTensor,
        k_norm: FlexTensor,
        shape: AttentionShape,
    ) -> FlexTensor {
        let inputs = AttentionInputs::new([x, q, k, v, o, q_norm, k_norm], shape);
        inputs.forward().0
    }

    fn lm_feed_forward(x: FlexTensor, gate: FlexTensor, up: FlexTensor, down: FlexTensor, precision: Precision) -> FlexTensor {
        FeedForwardInputs::new([x, gate, up, down], precision).forward().0
    }

    fn lm_cross_entropy(
        hidden: FlexTensor,
        head: FlexTensor,
        targets: Arc<[u32]>,
        scale: LossScale,
        precision: Precision,
    ) -> FlexTensor {
        let (hidden, weight) = (hidden.to_contiguous(), head.to_contiguous());
        let losses = cross_entropy::losses(head_of(&hidden, &weight, &targets, precision));
        loss_tensor(&losses, scale)
    }

    fn lm_token_log_probs(hidden: FlexTensor, head: FlexTensor, targets: Arc<[u32]>, precision: Precision) -> FlexTensor {
        let (hidden, weight) = (hidden.to_contiguous(), head.to_contiguous());
        let losses = cross_entropy::losses(head_of(&hidden, &weight, &targets, precision));
        log_prob_tensor(losses)
    }
}

fn head_of<'a>(hidden: &'a FlexTensor, weight: &'a FlexTensor, targets: &'a [u32], precision: Precision) -> Head<'a> {
    Head { hidden: elements(hidden), weight: elements(weight), targets, width: columns(weight), precision }
}

fn loss_tensor(losses: &cross_entropy::RowLosses, scale: LossScale) -> FlexTensor {
    let (nll, squares) = cross_entropy::totals(losses);
    let loss = (nll + scale.z_loss * squares) / scale.divisor;
    tensor(vec![loss as f32, nll as f32, squares as f32], &[3])
}

fn log_prob_tensor(losses: cross_entropy::RowLosses) -> FlexTensor {
    let values: Vec<f32> = losses.nll.into_iter().map(|nll| -nll).collect();
    let n = values.len();
    tensor(values, &[n])
}

#[derive(Clone, Debug)]
struct AttentionInputs {
    tensors: [FlexTensor; 7],
    shape: AttentionShape,
}

impl AttentionInputs {
    fn new(tensors: [FlexTensor; 7], shape: AttentionShape) -> Self {
        Self { tensors: tensors.map(|tensor| tensor.to_contiguous()), shape }
    }

    fn x(&self) -> &[f32] {
        elements(&self.tensors[0])
    }

    fn parameters(&self) -> AttentionParameters<'_> {
        let [_, q, k, v, o, q_norm, k_norm] = &self.tensors;
        AttentionParameters {
            q: elements(q),
            k: elements(k),
            v: elements(v),
            o: elements(o),
            q_norm: elements(q_norm),
            k_norm: elements(k_norm),
            precision: self.shape.precision,
        }
    }

    fn forward(&self) -> (FlexTensor, AttentionSaved) {
        let (y, saved) = layers::self_attention(self.x(), self.parameters(), &self.shape);
        (shaped(y, &self.tensors[0]), saved)
    }
}

#[derive(Clone, Debug)]
struct FeedForwardInputs {
    tensors: [FlexTensor; 4],
    precision: Precision,
}

impl FeedForwardInputs {
    fn new(tensors: [FlexTensor; 4], precision: Precision) -> Self {
        Self { tensors: tensors.map(|tensor| tensor.to_contiguous()), precision }
    }

    fn parameters(&self) -> FeedForwardParameters<'_> {
        let [_, gate, up, down] = &self.tensors;
        FeedForwardParameters { gate: elements(gate), up: elements(up), down: elements(down), precision: self.precision }
    }

    fn forward(&self) -> (FlexTensor, FeedForwardSaved) {
        let x = &self.tensors[0];
        let (y, saved) = layers::feed_forward(elements(x), self.parameters(), columns(x));
        (shaped(y, x), saved)
    }
}

backward!(Embedding, 1, (Arc<[u32]>, usize), |(ids, vocab), dy, parents, grads| {
    let width = columns(&dy);
    register!(grads, parents, [tensor(rows::scatter_add(elements(&dy), &ids, vocab, width), &[vocab, width])]);
});

backward!(RmsNorm, 2, (FlexTensor, FlexTensor, f32), |(x, gain, eps), dy, parents, grads| {
    let (dx, dgain) = rows::rms_norm_backward(elements(&dy), elements(&x), elements(&gain), eps);
    register!(grads, parents, [shaped(dx, &x), shaped(dgain, &gain)]);
});

backward!(AddRmsNorm, 3, (FlexTensor, FlexTensor, f32), |(x, gain, eps), dy, parents, grads| {
    let (dx, dgain) = rows::rms_norm_backward(elements(&dy), elements(&x), elements(&gain), eps);
    register!(grads, parents, [dy, shaped(dx, &x), shaped(dgain, &gain)]);
});

backward!(Linear, 2, (FlexTensor, FlexTensor, Precision), |(x, w, precision), dy, parents, grads| {
    let inputs = columns(&x);
    let dx = || {
        let mut dx = simd::unwritten(elements(&x).len());
        matmul::backward_input(&mut dx, elements(&dy), elements(&w), inputs, Write::Set, precision);
        shaped(dx, &x)
    };
    let dw = || {
        let mut dw = simd::unwritten(elements(&w).len());
        matmul::backward_weight(&mut dw, elements(&dy), elements(&x), inputs, Write::Set, precision);
        shaped(dw, &w)
    };
    register!(grads, parents, [dx(), dw()]);
});

backward!(Attention, 7, (AttentionInputs, AttentionSaved), |(inputs, saved), dy, parents, grads| {
    let g = layers::self_attention_backward(elements(&dy), inputs.x(), inputs.parameters(), &saved, &inputs.shape);
    let [x, q, k, v, o, q_norm, k_norm] = &inputs.tensors;
    register!(
        grads,
        parents,
        [
            shaped(g.x, x),
            shaped(g.q, q),
            shaped(g.k, k),
            shaped(g.v, v),
            shaped(g.o, o),
            shaped(g.q_norm, q_norm),
            shaped(g.k_norm, k_norm),
        ]
    );
});

backward!(FeedForward, 4, (FeedForwardInputs, FeedForwardSaved), |(inputs, saved), dy, parents, grads| {
    let [x, gate, up, down] = &inputs.tensors;
    let g = layers::feed_forward_backward(elements(&dy), elements(x), inputs.parameters(), saved, columns(x));
    register!(grads, parents, [shaped(g.x, x), shaped(g.gate, gate), shaped(g.up, up), shaped(g.down, down)]);
});

backward!(CrossEntropy, 2, (FlexTensor, FlexTensor), |(dhidden, dweight), dy, parents, grads| {
    // The gradients were computed along with the loss; only the factor from above is missing.
    let factor = elements(&dy)[0];
    let scaled = |gradient: FlexTensor| {
        if factor == 1.0 { gradient } else { Flex::float_mul_scalar(gradient, factor.into()) }
    };
    register!(grads, parents, [scaled(dhidden), scaled(dweight)]);
});

backward!(
    TokenLogProbs,
    2,
    (FlexTensor, FlexTensor, Arc<[u32]>, Precision),
    |(hidden, weight, targets, precision), dy, parents, grads| {
        let upstream = elements(&dy);
        let slope = |row: usize, _lse: f32| Slope { a: -upstream[row], b: -upstream[row] };
        let (_, gradients) = cross_entropy::losses_and_gradients(head_of(&hidden, &weight, &targets, precision), &slope);
        register!(grads, parents, [shaped(gradients.hidden, &hidden), shaped(gradients.weight, &weight)]);
    }
);

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn lm_embedding(weight: FloatTensor<Self>, ids: Arc<[u32]>) -> FloatTensor<Self> {
        let (weight, node) = weight.into_parts();
        let vocab = weight.shape()[0];
        match Embedding.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((ids.clone(), vocab), Flex::lm_embedding(weight, ids)),
            OpsKind::UnTracked(prep) => prep.finish(Flex::lm_embedding(weight, ids)),
        }
    }

    fn lm_rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let (x, gain) = (x.to_contiguous(), gain.to_contiguous());
        let y = Flex::lm_rms_norm(x.clone(), gain.clone(), eps);
        match RmsNorm.prepare::<C>([x_node, gain_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, gain, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_add_rms_norm(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let (residual, residual_node) = residual.into_parts();
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let (x, gain) = (x.to_contiguous(), gain.to_contiguous());
        let y = Flex::lm_add_rms_norm(residual, x.clone(), gain.clone(), eps);
        match AddRmsNorm.prepare::<C>([residual_node, x_node, gain_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, gain, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        let ((x, x_node), (w, w_node)) = (x.into_parts(), w.into_parts());
        let (x, w) = (x.to_contiguous(), w.to_contiguous());
        let y = Flex::lm_linear(x.clone(), w.clone(), precision);
        match Linear.prepare::<C>([x_node, w_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, w, precision), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_attention(
        x: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        o: FloatTensor<Self>,
        q_norm: FloatTensor<Self>,
        k_norm: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        let [(x, n0), (q, n1), (k, n2), (v, n3), (o, n4), (q_norm, n5), (k_norm, n6)] =
            [x, q, k, v, o, q_norm, k_norm].map(|tensor| tensor.into_parts());
        let inputs = AttentionInputs::new([x, q, k, v, o, q_norm, k_norm], shape);
        let (y, saved) = inputs.forward();
        match Attention.prepare::<C>([n0, n1, n2, n3, n4, n5, n6]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, saved), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_feed_forward(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let [(x, n0), (gate, n1), (up, n2), (down, n3)] = [x, gate, up, down].map(|tensor| tensor.into_parts());
        let inputs = FeedForwardInputs::new([x, gate, up, down], precision);
        let (y, saved) = inputs.forward();
        match FeedForward.prepare::<C>([n0, n1, n2, n3]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, saved), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        scale: LossScale,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (weight, weight_node)) = (hidden.into_parts(), head.into_parts());
        match CrossEntropy.prepare::<C>([hidden_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (hidden, weight) = (hidden.to_contiguous(), weight.to_contiguous());
                let slope = |_row: usize, lse: f32| Slope {
                    a: ((1.0 + 2.0 * scale.z_loss * f64::from(lse)) / scale.divisor) as f32,
                    b: (1.0 / scale.divisor) as f32,
                };
                let (losses, HeadGradients { hidden: dhidden, weight: dweight }) =
                    cross_entropy::losses_and_gradients(head_of(&hidden, &weight, &targets, precision), &slope);
                let state = (shaped(dhidden, &hidden), shaped(dweight, &weight));
                prep.finish(state, loss_tensor(&losses, scale))
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::lm_cross_entropy(hidden, weight, targets, scale, precision)),
        }
    }

    fn lm_token_log_probs(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (weight, weight_node)) = (hidden.into_parts(), head.into_parts());
        let (hidden, weight) = (hidden.to_contiguous(), weight.to_contiguous());
        let y = Flex::lm_token_log_probs(hidden.clone(), weight.clone(), targets.clone(), precision);
        match TokenLogProbs.prepare::<C>([hidden_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((hidden, weight, targets, precision), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
