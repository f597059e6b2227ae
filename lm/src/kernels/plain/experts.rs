//! A mixture of experts composed of tensor operations: every expert on every token, weighted by 0 where not chosen.

use burn::tensor::{Int, Tensor};

use super::{feed_forward, like};
use crate::config::Experts;
use crate::kernels::ExpertTensors;

pub(crate) fn experts(x: Tensor<2>, probabilities: Tensor<2>, weights: ExpertTensors, experts: Experts) -> Tensor<2> {
    let chosen = chosen(probabilities.clone(), experts.top_k);
    let mut share = probabilities.mul(chosen);
    if experts.normalize {
        share = share.clone().div(share.sum_dim(1));
    }
    let of = |stack: &Tensor<3>, expert: usize| stack.clone().narrow(0, expert, 1).squeeze_dim::<2>(0);
    let mut y = x.zeros_like();
    for expert in 0..experts.n_experts {
        let (gate, up, down) = (of(&weights.gate, expert), of(&weights.up, expert), of(&weights.down, expert));
        let given = feed_forward(x.clone(), gate, up, down);
        let share = like(share.clone().narrow(1, expert, 1), given.dtype());
        y = y.add(given.mul(share));
    }
    y
}

/// 1 for the `k` most likely experts of each token, 0 elsewhere: `[n, E]`, without gradient.
pub(crate) fn chosen(probabilities: Tensor<2>, k: usize) -> Tensor<2> {
    let [n, n_experts] = probabilities.dims();
    let device = probabilities.device();
    let (_, indices) = probabilities.clone().detach().topk_with_indices(k, 1);
    let numbers: Tensor<2, Int> = Tensor::arange(0..n_experts as i64, &device).reshape([1, n_experts]);
    let mut mask: Tensor<2> = Tensor::zeros([n, n_experts], &device);
    for slot in 0..k {
        let index = indices.clone().narrow(1, slot, 1).repeat_dim(1, n_experts);
        mask = mask.add(index.equal(numbers.clone().repeat_dim(0, n)).float());
    }
    mask
}
