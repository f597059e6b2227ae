//! The forward pass below the head: one loop over blocks, each composed as its configuration says.

use burn::tensor::{DType, Tensor};

use super::router::RouterOutput;
use super::{Block, FeedForward, Gain, LinearAttention, Model, SelfAttention};
use crate::batch::Tokens;
use crate::config::{self, Attention, Experts, GatedDelta, Layer, Mixer, NormKind, NormOrder};
use crate::kernels::{
    AttentionShape, AttentionWeights, DeltaProjections, DeltaShape, DeltaWeights, ExpertTensors, RopeTable, plain,
};

const CHECKED: &str = "the model was built from its configuration";

impl Model {
    /// The activations the head reads, after the last norm: `[n, d]`, one row per token.
    pub fn hidden(&self, tokens: &Tokens) -> Tensor<2> {
        self.forward(tokens).0
    }

    /// The activations after the last norm and what the routers said, one entry per layer of experts.
    pub(super) fn forward(&self, tokens: &Tokens) -> (Tensor<2>, Vec<RouterOutput>) {
        let mut routers = Vec::new();
        let mut x = self.embed(tokens);
        let mut ropes = RopeCache::default();
        for (block, layer) in self.model.layers.iter().zip(&self.config.layers) {
            x = self.block(x, block, layer, tokens, &mut ropes, &mut routers);
        }
        (self.norm(x, self.model.norm.as_ref()), routers)
    }

    /// The input of the first block, `[n, d]`.
    pub(super) fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        self.kernels.embedding(self.model.embed_tokens.weight.val(), &tokens.ids, self.precision)
    }

    fn eps(&self) -> f32 {
        self.config.norm_eps as f32
    }

    pub(super) fn norm(&self, x: Tensor<2>, gain: Option<&Gain>) -> Tensor<2> {
        match self.config.norm {
            NormKind::Layer => self.kernels.layer_norm(x, self.eps()),
            NormKind::Rms => self.kernels.rms_norm(x, gain.expect(CHECKED).weight.val(), self.eps()),
        }
    }

    /// `residual + norm(x)`.
    fn add_norm(&self, residual: Tensor<2>, x: Tensor<2>, gain: Option<&Gain>) -> Tensor<2> {
        match self.config.norm {
            NormKind::Layer => residual.add(self.kernels.layer_norm(x, self.eps())),
            NormKind::Rms => self.kernels.add_rms_norm(residual, x, gain.expect(CHECKED).weight.val(), self.eps()),
        }
    }

    pub(super) fn block(
        &self,
        x: Tensor<2>,
        block: &Block,
        layer: &Layer,
        tokens: &Tokens,
        ropes: &mut RopeCache,
        routers: &mut Vec<RouterOutput>,
    ) -> Tensor<2> {
        let mut mix = |x: Tensor<2>| match &layer.mixer {
            Mixer::Attention(attention) => self.attention(x, block.self_attn.as_ref().expect(CHECKED), attention, tokens, ropes),
            Mixer::GatedDelta(delta) => self.gated_delta(x, block.linear_attn.as_ref().expect(CHECKED), delta, tokens),
        };
        match layer.order {
            NormOrder::Pre => {
                let y = mix(self.norm(x.clone(), block.input_layernorm.as_ref()));
                let x = x.add(y);
                let normed = self.norm(x.clone(), block.post_attention_layernorm.as_ref());
                x.add(self.feed_forward(normed, &block.mlp, &layer.feed_forward, routers))
            }
            NormOrder::Post => {
                let y = mix(x.clone());
                let x = self.add_norm(x, y, block.post_attention_layernorm.as_ref());
                let y = self.feed_forward(x.clone(), &block.mlp, &layer.feed_forward, routers);
                self.add_norm(x, y, block.post_feedforward_layernorm.as_ref())
            }
        }
    }

    fn attention(
        &self,
        x: Tensor<2>,
        weights: &SelfAttention,
        attention: &Attention,
        tokens: &Tokens,
        ropes: &mut RopeCache,
    ) -> Tensor<2> {
        let shape = AttentionShape {
            n_sequences: tokens.n_sequences,
            length: tokens.length,
            n_heads: attention.n_heads,
            n_kv_heads: attention.n_kv_heads,
            head_dim: attention.head_dim,
            eps: self.eps(),
            precision: self.kernels.precision(),
            clip: attention.clip_qkv.map(|clip| clip as f32),
            window: attention.window,
            rope: ropes.table(attention, tokens.length),
            visible_from: tokens.visible_from.clone(),
        };
        let gain = |gain: &Option<Gain>| gain.as_ref().map(|gain| gain.weight.val());
        let weights = AttentionWeights {
            q: weights.q_proj.weight.val(),
            k: weights.k_proj.weight.val(),
            v: weights.v_proj.weight.val(),
            o: weights.o_proj.weight.val(),
            norms: gain(&weights.q_norm).zip(gain(&weights.k_norm)).map(|(q, k)| [q, k]),
        };
        self.kernels.attention(x, weights, &shape)
    }

    fn gated_delta(&self, x: Tensor<2>, weights: &LinearAttention, delta: &GatedDelta, tokens: &Tokens) -> Tensor<2> {
        let shape = DeltaShape {
            n_sequences: tokens.n_sequences,
            length: tokens.length,
            delta: *delta,
            eps: GatedDelta::OUTPUT_NORM_EPS as f32,
            visible_from: tokens.visible_from.clone(),
        };
        let project = |w: &super::Matrix| self.kernels.linear(x.clone(), w.weight.val());
        let inputs = DeltaProjections {
            q: project(&weights.q_proj),
            k: project(&weights.k_proj),
            v: project(&weights.v_proj),
            a: project(&weights.a_proj),
            b: project(&weights.b_proj),
            gate: project(&weights.g_proj),
        };
        let between = DeltaWeights {
            conv: weights.conv1d.weight.val(),
            a_log: weights.A_log.val(),
            dt_bias: weights.dt_bias.val(),
            o_norm: weights.o_norm.weight.val(),
        };
        let y = self.kernels.gated_delta(inputs, between, &shape);
        self.kernels.linear(y, weights.o_proj.weight.val())
    }

    fn feed_forward(
        &self,
        x: Tensor<2>,
        weights: &FeedForward,
        kind: &config::FeedForward,
        routers: &mut Vec<RouterOutput>,
    ) -> Tensor<2> {
        let matrix = |matrix: &Option<super::Matrix>| matrix.as_ref().expect(CHECKED).weight.val();
        match kind {
            config::FeedForward::SwiGlu { .. } => {
                let (gate, up, down) = (matrix(&weights.gate_proj), matrix(&weights.up_proj), matrix(&weights.down_proj));
                self.kernels.feed_forward(x, gate, up, down)
            }
            config::FeedForward::Experts(experts) => self.experts(x, weights, matrix(&weights.gate), *experts, routers),
        }
    }

    fn experts(
        &self,
        x: Tensor<2>,
        weights: &FeedForward,
        router: Tensor<2>,
        experts: Experts,
        routers: &mut Vec<RouterOutput>,
    ) -> Tensor<2> {
        let stacks = weights.experts.as_ref().expect(CHECKED);
        // As OLMo-core: a router decides in single precision whatever the rest computes in.
        let logits = plain::like(self.kernels.full_precision().linear(x.clone(), router), DType::F32);
        let probabilities = softmax(logits.clone());
        routers.push(RouterOutput { logits, probabilities: probabilities.clone(), experts });
        let tensors = ExpertTensors {
            gate: stacks.gate_proj.weight.val(),
            up: stacks.up_proj.weight.val(),
            down: stacks.down_proj.weight.val(),
        };
        self.kernels.experts(x, probabilities, tensors, experts)
    }
}

/// The softmax of each row, by the same operations with and without a graph: Burn's own rounds differently in the two.
fn softmax(logits: Tensor<2>) -> Tensor<2> {
    let max = logits.clone().max_dim(1).detach();
    let powers = logits.sub(max).exp();
    powers.clone().div(powers.sum_dim(1))
}

/// Rotations by their parameters: blocks that share them share a table.
#[derive(Default)]
pub(super) struct RopeCache {
    tables: Vec<(config::Rope, usize, RopeTable)>,
}

impl RopeCache {
    fn table(&mut self, attention: &Attention, length: usize) -> Option<RopeTable> {
        let rope = attention.rope?;
        let head_dim = attention.head_dim;
        if let Some((.., table)) = self.tables.iter().find(|(known, dim, _)| (known, *dim) == (&rope, head_dim)) {
            return Some(table.clone());
        }
        let table = RopeTable::shared(length, head_dim, &rope);
        self.tables.push((rope, head_dim, table.clone()));
        Some(table)
    }
}
