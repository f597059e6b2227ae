//! The losses of a router as Burn sees them.

use super::*;
use crate::kernels::router::{self, RouterSums};

/// The losses of a router by its logits and their softmax.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait RouterOps: Backend {
    /// See `Kernels::router_losses`.
    fn lm_router_losses(logits: FloatTensor<Self>, probabilities: FloatTensor<Self>, top_k: usize) -> FloatTensor<Self>;
}

fn forward(logits: &FlexTensor, probabilities: &FlexTensor, top_k: usize) -> (FlexTensor, RouterSums) {
    let sums = router::forward(elements(logits), elements(probabilities), columns(logits), top_k);
    let mut values = vec![sums.balance, sums.z];
    values.extend(&sums.counts);
    let n = values.len();
    (tensor(values, &[n]), sums)
}

impl RouterOps for Flex {
    fn lm_router_losses(logits: FlexTensor, probabilities: FlexTensor, top_k: usize) -> FlexTensor {
        forward(&logits.to_contiguous(), &probabilities.to_contiguous(), top_k).0
    }
}

backward!(RouterLosses, 2, (FlexTensor, RouterSums, usize), |(logits, sums, top_k), dy, parents, grads| {
    let slopes = elements(&dy);
    let (d_logits, d_probabilities) = router::backward([slopes[0], slopes[1]], elements(&logits), &sums, top_k);
    register!(grads, parents, [shaped(d_logits, &logits), shaped(d_probabilities, &logits)]);
});

impl<C: CheckpointStrategy> RouterOps for Autodiff<Flex, C> {
    fn lm_router_losses(logits: FloatTensor<Self>, probabilities: FloatTensor<Self>, top_k: usize) -> FloatTensor<Self> {
        let ((logits, logits_node), (probabilities, node)) = (logits.into_parts(), probabilities.into_parts());
        let logits = logits.to_contiguous();
        let (y, sums) = forward(&logits, &probabilities.to_contiguous(), top_k);
        match RouterLosses.prepare::<C>([logits_node, node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((logits, sums, top_k), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
