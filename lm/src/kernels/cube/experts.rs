//! A mixture of experts on a GPU: the tokens of each expert are gathered, so that only chosen experts work.
//!
//! Which experts a token chose is read back to the host, once per layer: the sizes of the products depend on it.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use super::{add_rows, feed_forward, pick_rows};
use crate::config::Experts;
use crate::kernels::{ExpertTensors, plain};

/// See `Kernels::experts`.
pub(in crate::kernels) fn experts(x: Tensor<2>, probabilities: Tensor<2>, weights: ExpertTensors, experts: Experts) -> Tensor<2> {
    let [n, n_experts] = probabilities.dims();
    let (_, chosen) = probabilities.clone().detach().topk_with_indices(experts.top_k, 1);
    let chosen: Vec<usize> = chosen.into_data().iter::<i64>().map(|expert| expert as usize).collect();
    // Slots by expert, then by token.
    let mut slots: Vec<(usize, usize)> = chosen.iter().enumerate().map(|(i, expert)| (*expert, i / experts.top_k)).collect();
    slots.sort_unstable();
    let tokens: Arc<[u32]> = slots.iter().map(|(_, token)| *token as u32).collect();
    let places: Vec<i64> = slots.iter().map(|(expert, token)| (token * n_experts + expert) as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [slots.len()]), &x.device());
    let mut share: Tensor<2> = probabilities.reshape([n * n_experts]).select(0, places).reshape([slots.len(), 1]);
    if experts.normalize {
        let whole = pick_rows(add_rows(share.clone(), &tokens, n), &tokens);
        share = share.div(whole);
    }
    let dtype = x.dtype();
    let gathered = pick_rows(x, &tokens);
    let of = |stack: &Tensor<3>, expert: usize| stack.clone().narrow(0, expert, 1).squeeze_dim::<2>(0);
    let mut given = Vec::new();
    let mut start = 0;
    for group in slots.chunk_by(|a, b| a.0 == b.0) {
        let (expert, n) = (group[0].0, group.len());
        let (gate, up, down) = (of(&weights.gate, expert), of(&weights.up, expert), of(&weights.down, expert));
        given.push(feed_forward(gathered.clone().narrow(0, start, n), gate, up, down));
        start += n;
    }
    let given = Tensor::cat(given, 0).mul(plain::like(share, dtype));
    plain::like(add_rows(given, &tokens, n), dtype)
}
