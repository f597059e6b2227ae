//! The backward passes of the differentiable operations.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, Slice};

use super::{Attend, CubeKernels, CubeOps, Lazy, Turn};
use crate::kernels::LossScale;

/// Registers gradients with the parents that want them, in order.
macro_rules! register {
    ($grads:ident, $parents:expr, [$($gradient:expr),+ $(,)?]) => {{
        let mut parents = $parents.into_iter();
        $(
            if let Some(node) = parents.next().flatten() {
                $grads.register::<Cube>(node.id, $gradient);
            }
        )+
    }};
}

/// Declares a backward pass: name, number of parents, state, and what to do with `(state, dy, parents, grads)`.
macro_rules! backward {
    ($name:ident, $n:literal, $state:ty, |$s:pat_param, $dy:ident, $parents:ident, $grads:ident| $body:block) => {
        #[derive(Debug)]
        struct $name;

        impl Backward<Cube, $n> for $name {
            type State = $state;

            fn backward(self, ops: Ops<Self::State, $n>, $grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let $parents = ops.parents;
                let $dy = $grads.consume::<Cube>(&ops.node);
                let $s = ops.state;
                $body
            }
        }
    };
}

backward!(Norm, 2, (Lazy, Lazy, f32), |(x, gain, eps), dy, parents, grads| {
    let (dx, dgain) = Cube::cube_norm_backward(x, gain, dy, eps);
    register!(grads, parents, [dx, dgain]);
});

backward!(AddNorm, 3, (Lazy, Lazy, f32), |(x, gain, eps), dy, parents, grads| {
    let (dx, dgain) = Cube::cube_norm_backward(x, gain, dy.clone(), eps);
    register!(grads, parents, [dy, dx, dgain]);
});

backward!(Rotate, 1, (Lazy, Lazy), |(cos, sin), dy, parents, grads| {
    register!(grads, parents, [Cube::cube_rotate(dy, cos, sin, Turn::Back)]);
});

backward!(Swiglu, 2, (Lazy, Lazy), |(gate, up), dy, parents, grads| {
    let (dgate, dup) = Cube::cube_swiglu_backward(gate, up, dy);
    register!(grads, parents, [dgate, dup]);
});

backward!(Attention, 3, ([Lazy; 5], Attend), |([q, k, v, out, lse], shape), dy, parents, grads| {
    let (dq, dk, dv) = Cube::cube_attend_backward(q, k, v, out, lse, dy, shape);
    register!(grads, parents, [dq, dk, dv]);
});

backward!(Loss, 2, (Lazy, Lazy), |(dhidden, dhead), dy, parents, grads| {
    // The gradients were computed along with the loss; only the factor from above is missing.
    let factor = Cube::float_reshape(Cube::float_slice(dy, &[Slice::from(0..1)]), Shape::new([1, 1]));
    let narrow = float_dtype(dhidden.dtype());
    let dhidden = Cube::float_mul(dhidden, Cube::float_cast(factor.clone(), narrow));
    register!(grads, parents, [dhidden, Cube::float_mul(dhead, factor)]);
});

backward!(LogProbs, 2, ([Lazy; 3], Arc<[u32]>), |([hidden, head, lse], targets), dy, parents, grads| {
    let (dhidden, dhead) = Cube::cube_log_probs_backward(hidden, head, lse, dy, targets);
    register!(grads, parents, [dhidden, dhead]);
});

backward!(Pick, 1, (Arc<[u32]>, usize, DType), |(ids, n, dtype), dy, parents, grads| {
    let sum = Cube::cube_add_up(dy, ids, n);
    register!(grads, parents, [if dtype == DType::F32 { sum } else { Cube::float_cast(sum, float_dtype(dtype)) }]);
});

backward!(AddUp, 1, (Arc<[u32]>, DType), |(ids, dtype), dy, parents, grads| {
    register!(grads, parents, [Cube::cube_pick(dy, ids, dtype)]);
});

backward!(UnitLowerInverse, 1, Lazy, |inverse, dy, parents, grads| {
    register!(grads, parents, [Cube::cube_unit_lower_inverse_backward(inverse, dy)]);
});

fn float_dtype(dtype: DType) -> FloatDType {
    if dtype == DType::BF16 { FloatDType::BF16 } else { FloatDType::F32 }
}

impl<C: CheckpointStrategy> CubeOps for Autodiff<Cube, C> {
    fn lm_cube_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let y = Cube::cube_norm(x.clone(), gain.clone(), eps);
        match Norm.prepare::<C>([x_node, gain_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, gain, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_add_norm(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let [(residual, n0), (x, n1), (gain, n2)] = [residual, x, gain].map(|tensor| tensor.into_parts());
        let y = Cube::cube_add_norm(residual, x.clone(), gain.clone(), eps);
        match AddNorm.prepare::<C>([n0, n1, n2]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, gain, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let ((cos, _), (sin, _)) = (cos.into_parts(), sin.into_parts());
        let y = Cube::cube_rotate(x, cos.clone(), sin.clone(), Turn::Forward);
        match Rotate.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let y = Cube::cube_swiglu(gate.clone(), up.clone());
        match Swiglu.prepare::<C>([gate_node, up_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((gate, up), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, shape: Attend) -> FloatTensor<Self> {
        let [(q, n0), (k, n1), (v, n2)] = [q, k, v].map(|tensor| tensor.into_parts());
        let (out, lse) = Cube::cube_attend(q.clone(), k.clone(), v.clone(), shape.clone());
        match Attention.prepare::<C>([n0, n1, n2]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([q, k, v, out.clone(), lse], shape), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn lm_cube_loss(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[u32]>,
        scale: LossScale,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (head, head_node)) = (hidden.into_parts(), head.into_parts());
        match Loss.prepare::<C>([hidden_node, head_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, dhidden, dhead) = Cube::cube_loss_and_gradients(hidden, head, targets, scale);
                prep.finish((dhidden, dhead), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(Cube::cube_loss(hidden, head, targets, scale)),
        }
    }

    fn lm_cube_log_probs(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (head, head_node)) = (hidden.into_parts(), head.into_parts());
        let (y, lse) = Cube::cube_log_probs(hidden.clone(), head.clone(), targets.clone());
        match LogProbs.prepare::<C>([hidden_node, head_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([hidden, head, lse], targets), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_pick(weight: FloatTensor<Self>, ids: Arc<[u32]>, dtype: DType) -> FloatTensor<Self> {
        let (weight, node) = weight.into_parts();
        let (n, of) = (weight.shape()[0], weight.dtype());
        let y = Cube::cube_pick(weight, ids.clone(), dtype);
        match Pick.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((ids, n, of), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_add_up(x: FloatTensor<Self>, ids: Arc<[u32]>, n: usize) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let dtype = x.dtype();
        let y = Cube::cube_add_up(x, ids.clone(), n);
        match AddUp.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((ids, dtype), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn lm_cube_unit_lower_inverse(below: FloatTensor<Self>) -> FloatTensor<Self> {
        let (below, node) = below.into_parts();
        let y = Cube::cube_unit_lower_inverse(below);
        match UnitLowerInverse.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
