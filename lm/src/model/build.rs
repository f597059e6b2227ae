//! A model's modules from named arrays that have been checked against the configuration.

use burn::tensor::Device;

use super::{Block, ExpertStacks, FeedForward, Gain, LinearAttention, Matrix, SelfAttention, Stack, Taps, Trunk, parameters};
use crate::config::{self, Layer, Mixer, ModelConfig};
use crate::weights::{Array, NamedArrays};

/// Takes arrays out of `weights` and puts them on `device`.
pub(super) struct Builder<'a> {
    pub(super) weights: &'a mut NamedArrays,
    pub(super) device: &'a Device,
}

impl Builder<'_> {
    fn take(&mut self, name: &str) -> Array {
        self.weights.remove(name).expect("the caller checked that every parameter is there")
    }

    pub(super) fn matrix(&mut self, name: &str) -> Matrix {
        Matrix { weight: parameters::parameter(self.take(&format!("{name}.weight")), self.device) }
    }

    fn gain(&mut self, name: &str) -> Gain {
        Gain { weight: parameters::parameter(self.take(&format!("{name}.weight")), self.device) }
    }

    fn gain_if_any(&mut self, name: &str) -> Option<Gain> {
        if self.weights.contains_key(&format!("{name}.weight")) { Some(self.gain(name)) } else { None }
    }

    fn stack(&mut self, name: &str) -> Stack {
        Stack { weight: parameters::parameter(self.take(&format!("{name}.weight")), self.device) }
    }

    pub(super) fn trunk(&mut self, config: &ModelConfig) -> Trunk {
        let embed_tokens = self.matrix("model.embed_tokens");
        let layers = config.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| self.block(layer, &format!("model.layers.{index}"))).collect();
        Trunk { embed_tokens, layers, norm: self.gain_if_any("model.norm") }
    }

    fn block(&mut self, layer: &Layer, place: &str) -> Block {
        let (self_attn, linear_attn) = match layer.mixer {
            Mixer::Attention(_) => (Some(self.attention(&format!("{place}.self_attn"))), None),
            Mixer::GatedDelta(_) => (None, Some(self.gated_delta(&format!("{place}.linear_attn")))),
        };
        Block {
            input_layernorm: self.gain_if_any(&format!("{place}.input_layernorm")),
            self_attn,
            linear_attn,
            post_attention_layernorm: self.gain_if_any(&format!("{place}.post_attention_layernorm")),
            mlp: self.feed_forward(&layer.feed_forward, &format!("{place}.mlp")),
            post_feedforward_layernorm: self.gain_if_any(&format!("{place}.post_feedforward_layernorm")),
        }
    }

    fn attention(&mut self, place: &str) -> SelfAttention {
        SelfAttention {
            q_proj: self.matrix(&format!("{place}.q_proj")),
            k_proj: self.matrix(&format!("{place}.k_proj")),
            v_proj: self.matrix(&format!("{place}.v_proj")),
            o_proj: self.matrix(&format!("{place}.o_proj")),
            q_norm: self.gain_if_any(&format!("{place}.q_norm")),
            k_norm: self.gain_if_any(&format!("{place}.k_norm")),
        }
    }

    fn gated_delta(&mut self, place: &str) -> LinearAttention {
        LinearAttention {
            q_proj: self.matrix(&format!("{place}.q_proj")),
            k_proj: self.matrix(&format!("{place}.k_proj")),
            v_proj: self.matrix(&format!("{place}.v_proj")),
            a_proj: self.matrix(&format!("{place}.a_proj")),
            b_proj: self.matrix(&format!("{place}.b_proj")),
            g_proj: self.matrix(&format!("{place}.g_proj")),
            conv1d: Taps { weight: parameters::parameter(self.take(&format!("{place}.conv1d.weight")), self.device) },
            A_log: parameters::parameter(self.take(&format!("{place}.A_log")), self.device),
            dt_bias: parameters::parameter(self.take(&format!("{place}.dt_bias")), self.device),
            o_norm: self.gain(&format!("{place}.o_norm")),
            o_proj: self.matrix(&format!("{place}.o_proj")),
        }
    }

    fn feed_forward(&mut self, kind: &config::FeedForward, place: &str) -> FeedForward {
        let none = FeedForward { gate_proj: None, up_proj: None, down_proj: None, gate: None, experts: None };
        match kind {
            config::FeedForward::SwiGlu { .. } => FeedForward {
                gate_proj: Some(self.matrix(&format!("{place}.gate_proj"))),
                up_proj: Some(self.matrix(&format!("{place}.up_proj"))),
                down_proj: Some(self.matrix(&format!("{place}.down_proj"))),
                ..none
            },
            config::FeedForward::Experts(_) => FeedForward {
                gate: Some(self.matrix(&format!("{place}.gate"))),
                experts: Some(ExpertStacks {
                    gate_proj: self.stack(&format!("{place}.experts.gate_proj")),
                    up_proj: self.stack(&format!("{place}.experts.up_proj")),
                    down_proj: self.stack(&format!("{place}.experts.down_proj")),
                }),
                ..none
            },
        }
    }
}
