//! The decoder-only transformer: parameters by their Hugging Face names, forward pass, loss, log-probabilities.
//!
//! Knows no optimiser, schedule or file format. The operations come from `kernels`, the checkpoint from `checkpoint`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::batch::{Batch, Tokens};
use crate::config::ModelConfig;
use crate::init::{initial_weights, parameter_shapes};
use crate::kernels::{AttentionShape, AttentionWeights, Kernels, LossScale, Precision, RopeTable};
use crate::weights::{Array, NamedArrays};

pub mod decode;
pub mod parameters;

/// Why weights do not make a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The configuration itself is inconsistent.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A parameter is not there.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// A tensor belongs to no parameter.
    #[error("tensor `{0}` belongs to no parameter of this configuration")]
    Unexpected(String),
    /// A tensor's shape is not the parameter's.
    #[error("tensor `{name}` has shape {found:?}, the configuration wants {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The parameter's shape.
        wanted: Vec<usize>,
    },
}

/// A linear map without bias.
#[derive(Module, Debug)]
pub struct Matrix {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
}

/// The gain of an RMSNorm.
#[derive(Module, Debug)]
pub struct Gain {
    /// `[d]`.
    pub weight: Param<Tensor<1>>,
}

/// Parameters of an attention layer.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q_proj: Matrix,
    k_proj: Matrix,
    v_proj: Matrix,
    o_proj: Matrix,
    q_norm: Gain,
    k_norm: Gain,
}

/// Parameters of a SwiGLU feed-forward layer.
#[derive(Module, Debug)]
pub struct FeedForward {
    gate_proj: Matrix,
    up_proj: Matrix,
    down_proj: Matrix,
}

/// One block: `h = x + norm(attention(x))`, `y = h + norm(feed_forward(h))`.
#[derive(Module, Debug)]
pub struct Block {
    self_attn: SelfAttention,
    post_attention_layernorm: Gain,
    mlp: FeedForward,
    post_feedforward_layernorm: Gain,
}

/// Everything below the head.
#[derive(Module, Debug)]
pub struct Trunk {
    embed_tokens: Matrix,
    layers: Vec<Block>,
    norm: Gain,
}

/// A language model. `model.train()` (Burn's `Module`) turns gradients on, `model.valid()` off.
#[derive(Module, Debug)]
pub struct Model {
    model: Trunk,
    lm_head: Matrix,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    kernels: Kernels,
    #[module(skip)]
    precision: Precision,
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct Loss {
    values: Tensor<1>,
}

/// A loss read back to the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossValues {
    /// `(cross_entropy + z_loss * squared_lse) / divisor`.
    pub value: f64,
    /// Sum over targets of the negative log-likelihood, in nats.
    pub cross_entropy: f64,
    /// Sum over targets of the squared log-partition function.
    pub squared_lse: f64,
}

impl Loss {
    /// The scalar to differentiate, `[1]`.
    pub fn tensor(&self) -> Tensor<1> {
        self.values.clone().narrow(0, 0, 1)
    }

    /// The numbers.
    pub fn read(&self) -> LossValues {
        let values: Vec<f32> = parameters::host(self.values.clone());
        LossValues { value: f64::from(values[0]), cross_entropy: f64::from(values[1]), squared_lse: f64::from(values[2]) }
    }
}

impl Model {
    /// A freshly initialised model (see `init`), without gradients.
    ///
    /// # Errors
    /// When the configuration is inconsistent.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, WeightsError> {
        config.validate()?;
        Self::from_weights(config, initial_weights(config, seed), device)
    }

    /// A model with the given parameters, without gradients.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected, or of the wrong shape.
    pub fn from_weights(config: &ModelConfig, mut weights: NamedArrays, device: &Device) -> Result<Self, WeightsError> {
        config.validate()?;
        for (name, wanted) in parameter_shapes(config) {
            let array = weights.get(&name).ok_or_else(|| WeightsError::Missing(name.clone()))?;
            if array.shape != wanted {
                return Err(WeightsError::Shape { name, found: array.shape.clone(), wanted });
            }
        }
        let mut take = |name: &str| weights.remove(&format!("{name}.weight")).expect("checked above");
        let matrix = |array: Array| Matrix { weight: parameters::parameter::<2>(array, device) };
        let gain = |array: Array| Gain { weight: parameters::parameter::<1>(array, device) };
        let embed_tokens = matrix(take("model.embed_tokens"));
        let layers = (0..config.n_layers)
            .map(|layer| {
                let mut of = |name: &str| take(&format!("model.layers.{layer}.{name}"));
                Block {
                    self_attn: SelfAttention {
                        q_proj: matrix(of("self_attn.q_proj")),
                        k_proj: matrix(of("self_attn.k_proj")),
                        v_proj: matrix(of("self_attn.v_proj")),
                        o_proj: matrix(of("self_attn.o_proj")),
                        q_norm: gain(of("self_attn.q_norm")),
                        k_norm: gain(of("self_attn.k_norm")),
                    },
                    post_attention_layernorm: gain(of("post_attention_layernorm")),
                    mlp: FeedForward {
                        gate_proj: matrix(of("mlp.gate_proj")),
                        up_proj: matrix(of("mlp.up_proj")),
                        down_proj: matrix(of("mlp.down_proj")),
                    },
                    post_feedforward_layernorm: gain(of("post_feedforward_layernorm")),
                }
            })
            .collect();
        let trunk = Trunk { embed_tokens, layers, norm: gain(take("model.norm")) };
        let lm_head = matrix(take("lm_head"));
        if let Some(name) = weights.into_keys().next() {
            return Err(WeightsError::Unexpected(name));
        }
        Ok(Self { model: trunk, lm_head, config: config.clone(), kernels: Kernels::on(device), precision: Precision::F32 })
    }

    /// The parameters, copied to the host.
    pub fn weights(&self) -> NamedArrays {
        parameters::weights(self)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.lm_head.weight.val().device()
    }

    /// What the model computes with.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// The same model computing with `kernels`.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// The type the model computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same model computing in `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The activations the head reads, after the last norm: `[n, d]`, one row per token.
    pub fn hidden(&self, tokens: &Tokens) -> Tensor<2> {
        let (config, kernels) = (&self.config, self.kernels);
        let eps = config.rms_norm_eps as f32;
        let shape = AttentionShape {
            n_sequences: tokens.n_sequences,
            length: tokens.length,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            eps,
            rope: RopeTable::new(0, tokens.length, config.head_dim, config.rope_theta),
            visible_from: tokens.visible_from.clone(),
        };
        let mut x = kernels.embedding(self.model.embed_tokens.weight.val(), &tokens.ids, self.precision);
        for block in &self.model.layers {
            let attention = &block.self_attn;
            let weights = AttentionWeights {
                q: attention.q_proj.weight.val(),
                k: attention.k_proj.weight.val(),
                v: attention.v_proj.weight.val(),
                o: attention.o_proj.weight.val(),
                q_norm: attention.q_norm.weight.val(),
                k_norm: attention.k_norm.weight.val(),
            };
            let y = kernels.attention(x.clone(), weights, &shape);
            x = kernels.add_rms_norm(x, y, block.post_attention_layernorm.weight.val(), eps);
            let mlp = &block.mlp;
            let (gate, up, down) = (mlp.gate_proj.weight.val(), mlp.up_proj.weight.val(), mlp.down_proj.weight.val());
            let y = kernels.feed_forward(x.clone(), gate, up, down);
            x = kernels.add_rms_norm(x, y, block.post_feedforward_layernorm.weight.val(), eps);
        }
        kernels.rms_norm(x, self.model.norm.weight.val(), eps)
    }

    /// The head's weight, `[V, d]`: `hidden` times its transpose are the logits.
    pub fn head_weight(&self) -> Tensor<2> {
        self.lm_head.weight.val()
    }

    /// The logits of the next token: `[n_sequences, length, V]`.
    pub fn logits(&self, tokens: &Tokens) -> Tensor<3> {
        let logits = self.kernels.linear(self.hidden(tokens), self.lm_head.weight.val());
        logits.reshape([tokens.n_sequences, tokens.length, self.config.vocab_size])
    }

    /// Cross-entropy with z-loss of a batch: sums over the targets, divided by `scale.divisor`.
    ///
    /// The divisor is the caller's because a batch may be a piece of a larger one.
    pub fn loss(&self, batch: &Batch, scale: LossScale) -> Loss {
        let hidden = self.hidden(&batch.tokens);
        let values = self.kernels.cross_entropy(hidden, self.lm_head.weight.val(), &batch.targets, scale);
        Loss { values }
    }

    /// Log-probability of each target (natural logarithm), 0 where it is ignored: `[n]`, row after row; differentiable.
    pub fn token_log_probs(&self, batch: &Batch) -> Tensor<1> {
        let hidden = self.hidden(&batch.tokens);
        self.kernels.token_log_probs(hidden, self.lm_head.weight.val(), &batch.targets)
    }
}

#[cfg(test)]
mod tests;
