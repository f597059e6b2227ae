//! The losses of a router composed of tensor operations.

use burn::tensor::Tensor;

use super::experts::chosen;

pub(crate) fn router_losses(logits: Tensor<2>, probabilities: Tensor<2>, top_k: usize) -> Tensor<1> {
    let [n, n_experts] = logits.dims();
    let counts: Tensor<1> = chosen(probabilities.clone(), top_k).sum_dim(0).reshape([n_experts]);
    let mean = probabilities.mean_dim(0).reshape([n_experts]);
    let factor = n_experts as f64 / (top_k as f64 * n as f64);
    let balance = counts.clone().mul(mean).sum().mul_scalar(factor);
    let max = logits.clone().max_dim(1).detach();
    let lse = logits.sub(max.clone()).exp().sum_dim(1).log().add(max);
    let z = lse.clone().mul(lse).mean();
    Tensor::cat(vec![balance, z, counts.detach()], 0)
}
