//! Gradients in less memory: only the input of each block is kept, and a block is computed again when its gradient is due
//! (Chen et al., arXiv 1604.06174, with one segment per block).
//!
//! The forward pass runs without a graph. Then, from the head down, each piece is computed with one: the gradient of
//! `sum(y * dy)`, with `dy` a constant, is that of the whole loss through `y`. Every product and sum is the one of the
//! ordinary backward pass, so the bits are the same. Costs one more forward pass.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::forward::RopeCache;
use super::{Loss, Model, router};
use crate::batch::Batch;
use crate::kernels::LossScale;
use crate::optim::Gradients;

/// What is computed again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Nothing: all activations are kept.
    #[default]
    None,
    /// Every block, from its input.
    Blocks,
}

const TRACKED: &str = "the input of a piece takes part in its graph";

impl Model {
    /// Loss and gradients of a batch, as [`Model::loss`] and its differentiation give them, with recomputed blocks.
    pub(crate) fn recomputed_gradients(&self, batch: &Batch, scale: LossScale) -> (Loss, Gradients) {
        let tokens = &batch.tokens;
        let mut ropes = RopeCache::default();
        let (inputs, last) = {
            let plain = self.valid();
            let mut inputs = Vec::with_capacity(self.model.layers.len());
            let mut x = plain.embed(tokens);
            for (block, layer) in plain.model.layers.iter().zip(&self.config.layers) {
                inputs.push(x.clone());
                x = plain.block(x, block, layer, tokens, &mut ropes, &mut Vec::new());
            }
            (inputs, x)
        };
        let leaf = last.autodiff().require_grad();
        let hidden = self.norm(leaf.clone(), self.model.norm.as_ref());
        let values = self.kernels.cross_entropy(hidden, self.head_weight(), &batch.targets, scale);
        let (mut gradients, dx) = Gradients::with_input(&values.clone().narrow(0, 0, 1), self, Some(&leaf));
        let mut dx = dx.expect(TRACKED);
        let experts = |layer: &&crate::config::Layer| matches!(layer.feed_forward, crate::config::FeedForward::Experts(_));
        let n_routers = self.config.layers.iter().filter(experts).count();
        let mut losses = Vec::with_capacity(n_routers);
        for ((block, layer), input) in self.model.layers.iter().zip(&self.config.layers).zip(inputs).rev() {
            let leaf = input.autodiff().require_grad();
            let mut routers = Vec::new();
            let y = self.block(leaf.clone(), block, layer, tokens, &mut ropes, &mut routers);
            let mut loss = through(y, dx);
            for said in &routers {
                let mut layer = router::layer(self.kernels, said, scale.router, n_routers);
                loss = loss.add(layer.weighted.clone());
                layer.weighted = layer.weighted.without_autodiff();
                losses.push(layer);
            }
            let (more, below) = Gradients::with_input(&loss, self, Some(&leaf));
            gradients.add(more);
            dx = below.expect(TRACKED);
        }
        if self.model.embed_tokens.weight.val().is_require_grad() {
            gradients.add(Gradients::of(&through(self.embed(tokens), dx), self));
        }
        losses.reverse();
        (Loss::new(values.without_autodiff(), router::sum(losses)), gradients)
    }
}

/// A number whose gradient with respect to `y` is `dy`.
fn through(y: Tensor<2>, dy: Tensor<2>) -> Tensor<1> {
    y.mul(dy).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;
    use crate::config::{Family, ModelConfig, Sizes};
    use crate::device;
    use crate::model::RouterScale;

    #[test]
    fn recomputing_changes_no_bit() {
        let sizes = Sizes { n_layers: 5, hidden_size: 64, n_heads: 4, n_kv_heads: 2, intermediate_size: 96, vocab_size: 128 };
        let ids: Vec<u32> = (0..4 * 48).map(|i| (i * i + 7 * i + i / 5) % 128).collect();
        let batch = Batch::next_token(Tokens::new(ids, 48).within_documents(0));
        let router = RouterScale { load_balancing: 0.01, z_loss: 0.001, share: 0.5 };
        let scale = LossScale { z_loss: 1e-4, divisor: 300.0, router };
        for family in Family::ALL {
            let config = ModelConfig { tie_word_embeddings: family == Family::Olmo, ..family.model(&sizes) };
            let model = Model::init(&config, 3, &device::cpu()).unwrap().train();
            let loss = model.loss(&batch, scale);
            let wanted = Gradients::of(&loss.tensor(), &model).host();
            let (recomputed, gradients) = model.recomputed_gradients(&batch, scale);
            assert_eq!(recomputed.read(), loss.read(), "{family:?}");
            let figures = |loss: &Loss| loss.routers().map(|routers| routers.read());
            assert_eq!(figures(&recomputed), figures(&loss), "{family:?}");
            let gradients = gradients.host();
            assert_eq!(gradients.len(), wanted.len(), "{family:?}");
            for (name, gradient) in &gradients {
                let same = gradient.iter().zip(&wanted[name]).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{family:?} {name}");
            }
        }
    }
}
