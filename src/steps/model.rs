//! The shape of a model as a recipe gives it, and the files of a checkpoint. It does not know any kind.

use std::path::Path;

use data::tokenizer::Tokenizer;
use lm::config::{
    Attention, Experts, Family, FeedForward, GatedDelta, Layer as Block, Mixer, ModelConfig, NO_TOKEN, NormKind, NormOrder, Rope,
    RopeScaling,
};

use super::{ParamError, StepError};

crate::choices! {
    /// How the model is spelled in `config.json`; the other fields say what it computes.
    pub enum Architecture {
        /// OLMo.
        Olmo = "olmo",
        /// OLMo 2.
        Olmo2 = "olmo2",
        /// Olmo 3.
        Olmo3 = "olmo3",
        /// Olmo Hybrid.
        OlmoHybrid = "olmo_hybrid",
        /// OLMoE.
        Olmoe = "olmoe",
        /// FlexOlmo.
        FlexOlmo = "flex_olmo",
        /// A composition of your own.
        Custom = "custom",
    }
}

crate::choices! {
    /// What mixes positions in a block.
    pub enum Mixing {
        /// Causal softmax attention.
        Attention = "attention",
        /// The gated delta rule with short convolutions.
        GatedDelta = "gated_delta",
    }
}

crate::choices! {
    /// Where the norms of a block stand.
    pub enum Order {
        /// On the input of each sub-layer.
        Pre = "pre",
        /// On the output of each sub-layer.
        Post = "post",
    }
}

crate::choices! {
    /// Normalisation of activations.
    pub enum Norm {
        /// RMSNorm with a gain.
        Rms = "rms",
        /// LayerNorm without parameters.
        Layer = "layer",
    }
}

crate::params! {
    /// One block of a model.
    pub struct Layer {
        /// What mixes positions.
        mixer: Mixing = Mixing::Attention;
        /// Where the norms stand.
        order: Order = Order::Post;
        /// Keys a query sees, itself included; `()`: all before it.
        window: Option<u64> = None, in 1.0..=1e9;
        /// Whether attention has rotary positions.
        rope: bool = true;
        /// Whether the feed-forward layer is the model's mixture of experts, if it has one.
        experts: bool = true;
    }
}

crate::params! {
    /// Rotary frequencies for a longer context (YaRN), on the blocks without a window.
    pub struct Yarn {
        /// Length after over length before.
        factor: f64, in 1.0..=1e6;
        /// Length before.
        original: u64, in 1.0..=1e9;
        /// Rotations over the old length above which a frequency is kept.
        beta_fast: f64 = 32.0, in 0.0..=1e6;
        /// Rotations below which a frequency is interpolated in full.
        beta_slow: f64 = 1.0, in 0.0..=1e6;
        /// What cosines and sines are multiplied by; `()`: `0.1 ln(factor) + 1`.
        attention_factor: Option<f64> = None, in 0.0..=1e3;
    }
}

crate::params! {
    /// The shape of a model.
    pub struct Model {
        /// How it is spelled in `config.json`.
        family: Architecture = Architecture::Olmo2;
        /// Rows of the embedding; `()`: the tokenizer's vocabulary, padded to a multiple of 128.
        vocab_size: Option<u64> = None, in 2.0..=1e8;
        /// Width of the residual stream.
        hidden_size: u64, in 2.0..=1e6;
        /// Blocks.
        n_layers: u64, in 1.0..=1e4;
        /// The blocks from the embedding up; fewer than `n_layers` are repeated in order.
        layers: Vec<Layer> = Vec::new();
        /// Query heads.
        n_heads: u64, in 1.0..=1e4;
        /// Key and value heads; divides `n_heads`.
        n_kv_heads: u64, in 1.0..=1e4;
        /// Width of a head; even.
        head_dim: u64, in 2.0..=1e4;
        /// Hidden width of the feed-forward layer, or of one expert.
        intermediate_size: u64, in 1.0..=1e7;
        /// Whether queries and keys pass an RMSNorm over all heads.
        qk_norm: bool = true;
        /// Queries, keys and values are clamped to this size; `()`: not.
        clip_qkv: Option<f64> = None, in 0.0..=1e6;
        /// Base of the rotary frequencies.
        rope_theta: f64 = 500_000.0, in 1.0..=1e12;
        /// Rotary frequencies for a longer context.
        yarn: Option<Yarn> = None;
        /// The norms of the blocks and before the head.
        norm: Norm = Norm::Rms;
        /// Epsilon of the norms.
        norm_eps: f64 = 1e-6, in 0.0..=1.0;
        /// Whether the head is the embedding.
        tie_word_embeddings: bool = false;
        /// Positions the model is meant for.
        max_position_embeddings: u64 = 4096, in 1.0..=1e9;
        /// Query and key heads of a gated delta rule; `()`: `n_heads`.
        delta_key_heads: Option<u64> = None, in 1.0..=1e4;
        /// Its value heads; `()`: as many as key heads.
        delta_value_heads: Option<u64> = None, in 1.0..=1e4;
        /// Width of its key heads; `()`: three quarters of `head_dim`.
        delta_key_dim: Option<u64> = None, in 1.0..=1e4;
        /// Width of its value heads; `()`: twice the key heads'.
        delta_value_dim: Option<u64> = None, in 1.0..=1e4;
        /// Taps of its convolution.
        delta_conv: u64 = 4, in 1.0..=64.0;
        /// Whether its write strength lies in (0, 2).
        delta_negative_eigenvalues: bool = true;
        /// Experts of a mixture; 0: none.
        n_experts: u64 = 0, in 0.0..=1e5;
        /// Experts a token goes to.
        experts_per_token: u64 = 1, in 1.0..=1e5;
        /// Whether the weights of a token's experts are scaled to sum to 1.
        normalize_experts: bool = false;
    }
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Model {
    fn shape(&self, vocab_size: u64, eos: u32, pad: u32) -> ModelConfig {
        let plain = [Layer { mixer: Mixing::Attention, order: Order::Post, window: None, rope: true, experts: true }];
        let pattern = if self.layers.is_empty() { plain.as_slice() } else { &self.layers };
        ModelConfig {
            family: match self.family {
                Architecture::Olmo => Family::Olmo,
                Architecture::Olmo2 => Family::Olmo2,
                Architecture::Olmo3 => Family::Olmo3,
                Architecture::OlmoHybrid => Family::OlmoHybrid,
                Architecture::Olmoe => Family::Olmoe,
                Architecture::FlexOlmo => Family::FlexOlmo,
                Architecture::Custom => Family::Custom,
            },
            vocab_size: size(vocab_size),
            hidden_size: size(self.hidden_size),
            norm: if self.norm == Norm::Rms { NormKind::Rms } else { NormKind::Layer },
            norm_eps: self.norm_eps,
            layers: pattern.iter().cycle().take(size(self.n_layers)).map(|layer| self.block(layer)).collect(),
            tie_word_embeddings: self.tie_word_embeddings,
            max_position_embeddings: size(self.max_position_embeddings),
            eos_token_id: eos,
            further_eos_token_ids: Vec::new(),
            pad_token_id: pad,
        }
    }

    fn block(&self, layer: &Layer) -> Block {
        let scaling = self.yarn.as_ref().filter(|_| layer.window.is_none()).map(|yarn| RopeScaling::Yarn {
            factor: yarn.factor,
            original_max_position_embeddings: size(yarn.original),
            beta_fast: yarn.beta_fast,
            beta_slow: yarn.beta_slow,
            attention_factor: yarn.attention_factor,
        });
        let mixer = match layer.mixer {
            Mixing::Attention => Mixer::Attention(Attention {
                n_heads: size(self.n_heads),
                n_kv_heads: size(self.n_kv_heads),
                head_dim: size(self.head_dim),
                qk_norm: self.qk_norm,
                clip_qkv: self.clip_qkv,
                window: layer.window.map(size),
                rope: layer.rope.then_some(Rope { theta: self.rope_theta, scaling }),
            }),
            Mixing::GatedDelta => {
                let key_heads = self.delta_key_heads.unwrap_or(self.n_heads);
                let key_dim = self.delta_key_dim.unwrap_or(self.head_dim * 3 / 4);
                Mixer::GatedDelta(GatedDelta {
                    n_key_heads: size(key_heads),
                    n_value_heads: size(self.delta_value_heads.unwrap_or(key_heads)),
                    key_head_dim: size(key_dim),
                    value_head_dim: size(self.delta_value_dim.unwrap_or(2 * key_dim)),
                    conv_size: size(self.delta_conv),
                    allow_negative_eigenvalues: self.delta_negative_eigenvalues,
                })
            }
        };
        let intermediate_size = size(self.intermediate_size);
        Block {
            mixer,
            order: if layer.order == Order::Pre { NormOrder::Pre } else { NormOrder::Post },
            feed_forward: if self.n_experts > 0 && layer.experts {
                FeedForward::Experts(Experts {
                    n_experts: size(self.n_experts),
                    top_k: size(self.experts_per_token),
                    normalize: self.normalize_experts,
                    intermediate_size,
                })
            } else {
                FeedForward::SwiGlu { intermediate_size }
            },
        }
    }

    /// What is wrong with the shape.
    pub(super) fn check(&self, path: &str) -> Vec<ParamError> {
        let shape = self.shape(self.vocab_size.unwrap_or(1 << 16), 0, 1);
        shape.validate().err().map(|error| ParamError::new(path, error.to_string())).into_iter().collect()
    }

    /// The configuration for the tokenizer that lies beside token files; without one, `vocab_size` must be given.
    pub(super) fn config(&self, tokens: &Path) -> Result<ModelConfig, String> {
        if !tokens.join("tokenizer.json").exists() {
            let vocab = self.vocab_size.ok_or("the tokens come without a tokenizer, so model.vocab_size must be given")?;
            return Ok(self.shape(vocab, NO_TOKEN, NO_TOKEN));
        }
        let tokenizer = Tokenizer::load(&tokens.join("tokenizer.json")).map_err(|error| error.to_string())?;
        let needed = tokenizer.vocab_size() as u64;
        let vocab = self.vocab_size.unwrap_or_else(|| needed.next_multiple_of(128));
        if vocab < needed {
            return Err(format!(
                "the model has {vocab} embeddings, fewer than the tokenizer's {needed} tokens; raise model.vocab_size"
            ));
        }
        Ok(self.shape(vocab, tokenizer.eos(), tokenizer.pad()))
    }
}

/// The configuration of a checkpoint folder.
pub(super) fn read_config(dir: &Path) -> Result<ModelConfig, StepError> {
    let text = fs_err::read_to_string(dir.join("config.json"))?;
    ModelConfig::from_hf(&serde_json::from_str(&text)?).map_err(StepError::failed)
}

/// Writes the chat template beside a checkpoint's `tokenizer.json`.
pub(super) fn write_tokenizer_config(dir: &Path) -> Result<(), StepError> {
    let config = read_config(dir)?;
    let chat = lm::chat::Chat::open(dir, config.eos_token_id).map_err(StepError::failed)?;
    chat.write(dir, config.pad_token_id, config.max_position_embeddings).map_err(StepError::failed)
}

#[cfg(test)]
mod tests;
