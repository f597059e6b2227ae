//! The mixture of experts as Burn sees it.

use super::*;
use crate::config::Experts;
use crate::kernels::experts::{self, Choice, ExpertWeights, ExpertsSaved};

/// The mixture of experts by the routers' probabilities.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ExpertOps: Backend {
    /// See `Kernels::experts`.
    fn lm_experts(
        x: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        experts: Experts,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

#[derive(Clone, Debug)]
struct Parents {
    tensors: [FlexTensor; 5],
    choice: Choice,
    precision: Precision,
}

impl Parents {
    fn new(tensors: [FlexTensor; 5], experts: Experts, precision: Precision) -> Self {
        let choice = Choice { n_experts: experts.n_experts, top_k: experts.top_k, normalize: experts.normalize };
        Self { tensors: tensors.map(|tensor| tensor.to_contiguous()), choice, precision }
    }

    fn weights(&self) -> ExpertWeights<'_> {
        let [_, _, gate, up, down] = self.tensors.each_ref().map(elements);
        ExpertWeights { gate, up, down, precision: self.precision }
    }

    fn forward(&self) -> (FlexTensor, ExpertsSaved) {
        let [x, probabilities, ..] = &self.tensors;
        let (y, saved) = experts::forward(elements(x), elements(probabilities), self.weights(), self.choice, columns(x));
        (shaped(y, x), saved)
    }
}

impl ExpertOps for Flex {
    fn lm_experts(
        x: FlexTensor,
        probabilities: FlexTensor,
        gate: FlexTensor,
        up: FlexTensor,
        down: FlexTensor,
        experts: Experts,
        precision: Precision,
    ) -> FlexTensor {
        Parents::new([x, probabilities, gate, up, down], experts, precision).forward().0
    }
}

backward!(Mixture, 5, (Parents, ExpertsSaved), |(inputs, saved), dy, parents, grads| {
    let [x, probabilities, gate, up, down] = &inputs.tensors;
    let g = experts::backward(elements(&dy), elements(probabilities), inputs.weights(), saved, inputs.choice, columns(x));
    register!(
        grads,
        parents,
        [shaped(g.x, x), shaped(g.probabilities, probabilities), shaped(g.gate, gate), shaped(g.up, up), shaped(g.down, down),]
    );
});

impl<C: CheckpointStrategy> ExpertOps for Autodiff<Flex, C> {
    fn lm_experts(
        x: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        experts: Experts,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let parts = [x, probabilities, gate, up, down].map(|tensor| tensor.into_parts());
        let (tensors, nodes) = unzip(parts);
        let inputs = Parents::new(tensors, experts, precision);
        let (y, saved) = inputs.forward();
        match Mixture.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, saved), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
