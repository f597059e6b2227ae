//! The losses that keep the routers of a mixture of experts in balance.
//!
//! Load balancing `(E / k) sum_e n_e P_e / N`, 1 when uniform, where `n_e` counts the slots of expert `e` (not
//! differentiated), `P_e` is its mean probability and `N` the number of tokens; and the router z-loss, the mean squared
//! log-partition function of the logits. Both are averaged over layers (OLMoE, arXiv 2409.02060, section 2).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::config::Experts;
use crate::kernels::plain;

/// Weights of the routers' losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterScale {
    /// Weight of the load-balancing loss; 0.01 in OLMoE.
    pub load_balancing: f64,
    /// Weight of the router z-loss; 0.001 in OLMoE.
    pub z_loss: f64,
    /// Share of the whole batch's tokens that this forward pass sees, which its losses are weighted by.
    pub share: f64,
}

/// What the router of one layer said.
#[derive(Clone, Debug)]
pub(super) struct RouterOutput {
    /// `[n, E]`.
    pub(super) logits: Tensor<2>,
    /// Their softmax.
    pub(super) probabilities: Tensor<2>,
    /// The layer's experts.
    pub(super) experts: Experts,
}

/// The routers' losses of a forward pass.
#[derive(Clone, Debug)]
pub struct RouterLosses {
    /// What they add to the loss, `[1]`.
    pub(super) total: Tensor<1>,
    /// Per layer of experts: load-balancing loss, router z-loss (both unscaled), and slots per expert.
    layers: Vec<(Tensor<1>, Tensor<1>, Tensor<1>)>,
}

/// The figures of one layer's router.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterFigures {
    /// Load-balancing loss, 1 when uniform.
    pub load_balancing: f64,
    /// Router z-loss.
    pub z_loss: f64,
    /// Slots per expert.
    pub counts: Vec<f64>,
}

impl RouterLosses {
    /// The numbers, one entry per layer of experts.
    pub fn read(&self) -> Vec<RouterFigures> {
        let number = |x: &Tensor<1>| f64::from(super::parameters::host(x.clone())[0]);
        let layers = self.layers.iter();
        layers
            .map(|(balance, z, counts)| RouterFigures {
                load_balancing: number(balance),
                z_loss: number(z),
                counts: super::parameters::host(counts.clone()).into_iter().map(f64::from).collect(),
            })
            .collect()
    }
}

/// The losses of all routers, `None` when there is no router.
pub(super) fn losses(routers: &[RouterOutput], scale: RouterScale) -> Option<RouterLosses> {
    if routers.is_empty() {
        return None;
    }
    let mut total: Option<Tensor<1>> = None;
    let mut layers = Vec::with_capacity(routers.len());
    for RouterOutput { logits, probabilities, experts } in routers {
        let [n, n_experts] = logits.dims();
        let counts: Tensor<1> = plain::experts::chosen(probabilities.clone(), experts.top_k).sum_dim(0).reshape([n_experts]);
        let mean = probabilities.clone().mean_dim(0).reshape([n_experts]);
        let factor = n_experts as f64 / (experts.top_k as f64 * n as f64);
        let balance = counts.clone().mul(mean).sum().mul_scalar(factor);
        let max = logits.clone().max_dim(1).detach();
        let lse = logits.clone().sub(max.clone()).exp().sum_dim(1).log().add(max);
        let z = lse.clone().mul(lse).mean();
        let share = scale.share / routers.len() as f64;
        let weighted = balance.clone().mul_scalar(scale.load_balancing * share);
        let weighted = weighted.add(z.clone().mul_scalar(scale.z_loss * share));
        total = Some(match total {
            Some(total) => total.add(weighted),
            None => weighted,
        });
        layers.push((balance.detach(), z.detach(), counts));
    }
    total.map(|total| RouterLosses { total, layers })
}
