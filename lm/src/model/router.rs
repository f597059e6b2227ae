//! The losses that keep the routers of a mixture of experts in balance.
//!
//! Load balancing `(E / k) sum_e n_e P_e / N`, 1 when uniform, where `n_e` counts the slots of expert `e` (not
//! differentiated), `P_e` is its mean probability and `N` the number of tokens; and the router z-loss, the mean squared
//! log-partition function of the logits. Both are averaged over layers (OLMoE, arXiv 2409.02060, section 2).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::config::Experts;
use crate::kernels::Kernels;

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
    /// Per layer of experts: load-balancing loss, router z-loss (both unscaled), and slots per expert, `[2 + E]`.
    layers: Vec<Tensor<1>>,
}

/// The figures of one layer's router.
#[derive(Clone, Debug, Default, PartialEq)]
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
        let layers = self.layers.iter().map(|figures| super::parameters::host(figures.clone()));
        layers
            .map(|figures| {
                let figures: Vec<f64> = figures.into_iter().map(f64::from).collect();
                RouterFigures { load_balancing: figures[0], z_loss: figures[1], counts: figures[2..].to_vec() }
            })
            .collect()
    }
}

/// The losses of one router.
pub(super) struct LayerLosses {
    /// What they add to the loss, `[1]`.
    pub(super) weighted: Tensor<1>,
    figures: Tensor<1>,
}

/// The losses of one of `n_routers` routers.
pub(super) fn layer(kernels: Kernels, router: &RouterOutput, scale: RouterScale, n_routers: usize) -> LayerLosses {
    let RouterOutput { logits, probabilities, experts } = router;
    let losses = kernels.router_losses(logits.clone(), probabilities.clone(), experts.top_k);
    let share = scale.share / n_routers as f64;
    let weighted = losses.clone().narrow(0, 0, 1).mul_scalar(scale.load_balancing * share);
    let weighted = weighted.add(losses.clone().narrow(0, 1, 1).mul_scalar(scale.z_loss * share));
    LayerLosses { weighted, figures: losses.without_autodiff() }
}

/// The losses of all routers from those of each, in order; `None` when there is no router.
pub(super) fn sum(layers: Vec<LayerLosses>) -> Option<RouterLosses> {
    let mut total: Option<Tensor<1>> = None;
    let mut figures = Vec::with_capacity(layers.len());
    for layer in layers {
        total = Some(match total {
            Some(total) => total.add(layer.weighted),
            None => layer.weighted,
        });
        figures.push(layer.figures);
    }
    total.map(|total| RouterLosses { total, layers: figures })
}

/// The losses of all routers, `None` when there is no router.
pub(super) fn losses(kernels: Kernels, routers: &[RouterOutput], scale: RouterScale) -> Option<RouterLosses> {
    sum(routers.iter().map(|router| layer(kernels, router, scale, routers.len())).collect())
}
