//! The gated delta layer as Burn sees it.

use super::*;
use crate::kernels::DeltaShape;
use crate::kernels::delta_layer::{self, DeltaInputs, DeltaSaved};

/// The gated delta layer between its projections.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait DeltaOps: Backend {
    /// See `Kernels::gated_delta`; the convolution is `[channels, K]`.
    fn lm_gated_delta(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        conv: FloatTensor<Self>,
        a_log: FloatTensor<Self>,
        dt_bias: FloatTensor<Self>,
        o_norm: FloatTensor<Self>,
        shape: DeltaShape,
    ) -> FloatTensor<Self>;
}

#[derive(Clone, Debug)]
struct Parents {
    tensors: [FlexTensor; 10],
    shape: DeltaShape,
}

impl Parents {
    fn new(tensors: [FlexTensor; 10], shape: DeltaShape) -> Self {
        Self { tensors: tensors.map(|tensor| tensor.to_contiguous()), shape }
    }

    fn inputs(&self) -> DeltaInputs<'_> {
        let [q, k, v, a, b, gate, conv, a_log, dt_bias, o_norm] = self.tensors.each_ref().map(elements);
        DeltaInputs { q, k, v, a, b, gate, conv, a_log, dt_bias, o_norm }
    }

    fn forward(&self) -> (FlexTensor, DeltaSaved) {
        let (y, saved) = delta_layer::forward(self.inputs(), &self.shape);
        (shaped(y, &self.tensors[2]), saved)
    }
}

impl DeltaOps for Flex {
    fn lm_gated_delta(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        a: FlexTensor,
        b: FlexTensor,
        gate: FlexTensor,
        conv: FlexTensor,
        a_log: FlexTensor,
        dt_bias: FlexTensor,
        o_norm: FlexTensor,
        shape: DeltaShape,
    ) -> FlexTensor {
        Parents::new([q, k, v, a, b, gate, conv, a_log, dt_bias, o_norm], shape).forward().0
    }
}

backward!(GatedDelta, 10, (Parents, DeltaSaved), |(parents_of, saved), dy, parents, grads| {
    let g = delta_layer::backward(elements(&dy), parents_of.inputs(), &saved, &parents_of.shape);
    let [q, k, v, a, b, gate, conv, a_log, dt_bias, o_norm] = &parents_of.tensors;
    register!(
        grads,
        parents,
        [
            shaped(g.q, q),
            shaped(g.k, k),
            shaped(g.v, v),
            shaped(g.a, a),
            shaped(g.b, b),
            shaped(g.gate, gate),
            shaped(g.conv, conv),
            shaped(g.a_log, a_log),
            shaped(g.dt_bias, dt_bias),
            shaped(g.o_norm, o_norm),
        ]
    );
});

impl<C: CheckpointStrategy> DeltaOps for Autodiff<Flex, C> {
    fn lm_gated_delta(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        conv: FloatTensor<Self>,
        a_log: FloatTensor<Self>,
        dt_bias: FloatTensor<Self>,
        o_norm: FloatTensor<Self>,
        shape: DeltaShape,
    ) -> FloatTensor<Self> {
        let parts = [q, k, v, a, b, gate, conv, a_log, dt_bias, o_norm].map(|tensor| tensor.into_parts());
        let (tensors, nodes) = unzip(parts);
        let inputs = Parents::new(tensors, shape);
        let (y, saved) = inputs.forward();
        match GatedDelta.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, saved), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
