//! The decoder-only transformer: parameters by their Hugging Face names, forward pass, loss, log-probabilities.
//!
//! Knows no optimiser, schedule or file format. The operations come from `kernels`, the checkpoint from `checkpoint`.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::batch::{Batch, Tokens};
use crate::config::ModelConfig;
use crate::init::{initial_weights, parameter_shapes};
use crate::kernels::{Kernels, LossScale, Precision};
use crate::weights::NamedArrays;

mod build;
pub mod decode;
mod forward;
mod linear_attention;
pub mod parameters;
pub mod recompute;
mod router;

pub use linear_attention::{LinearAttention, Taps};
pub use router::{RouterFigures, RouterLosses, RouterScale};

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
    q_norm: Option<Gain>,
    k_norm: Option<Gain>,
}

/// One matrix per expert.
#[derive(Module, Debug)]
pub struct Stack {
    /// `[E, out, in]`.
    pub weight: Param<Tensor<3>>,
}

/// The stacked matrices of a layer's experts.
#[derive(Module, Debug)]
pub struct ExpertStacks {
    gate_proj: Stack,
    up_proj: Stack,
    down_proj: Stack,
}

/// Parameters of a feed-forward layer: one SwiGLU, or a router (`gate`) and experts.
#[derive(Module, Debug)]
pub struct FeedForward {
    gate_proj: Option<Matrix>,
    up_proj: Option<Matrix>,
    down_proj: Option<Matrix>,
    gate: Option<Matrix>,
    experts: Option<ExpertStacks>,
}

/// One block; which parts it has is the configuration's matter.
#[derive(Module, Debug)]
pub struct Block {
    input_layernorm: Option<Gain>,
    self_attn: Option<SelfAttention>,
    linear_attn: Option<LinearAttention>,
    post_attention_layernorm: Option<Gain>,
    mlp: FeedForward,
    post_feedforward_layernorm: Option<Gain>,
}

/// Everything below the head.
#[derive(Module, Debug)]
pub struct Trunk {
    embed_tokens: Matrix,
    layers: Vec<Block>,
    norm: Option<Gain>,
}

/// A language model. `model.train()` (Burn's `Module`) turns gradients on, `model.valid()` off.
#[derive(Module, Debug)]
pub struct Model {
    model: Trunk,
    lm_head: Option<Matrix>,
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
    routers: Option<RouterLosses>,
}

/// A loss read back to the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossValues {
    /// `(cross_entropy + z_loss * squared_lse) / divisor`, plus what the routers add.
    pub value: f64,
    /// Sum over targets of the negative log-likelihood, in nats.
    pub cross_entropy: f64,
    /// Sum over targets of the squared log-partition function.
    pub squared_lse: f64,
}

impl Loss {
    /// The head's three numbers, with what the routers add to the first.
    fn new(values: Tensor<1>, routers: Option<RouterLosses>) -> Self {
        match routers {
            None => Self { values, routers: None },
            Some(routers) => {
                let total = values.clone().narrow(0, 0, 1).add(routers.total.clone());
                let values = Tensor::cat(vec![total, values.narrow(0, 1, 2)], 0);
                Self { values, routers: Some(routers) }
            }
        }
    }

    /// The scalar to differentiate, `[1]`.
    pub fn tensor(&self) -> Tensor<1> {
        self.values.clone().narrow(0, 0, 1)
    }

    /// What the routers of a mixture of experts add, if there are any.
    pub fn routers(&self) -> Option<&RouterLosses> {
        self.routers.as_ref()
    }

    /// The numbers.
    pub fn read(&self) -> LossValues {
        let values: Vec<f32> = parameters::host(self.values.clone());
        LossValues { value: f64::from(values[0]), cross_entropy: f64::from(values[1]), squared_lse: f64::from(values[2]) }
    }
}

/// Whether `weights` are the parameters of `config`.
fn check(config: &ModelConfig, weights: &NamedArrays) -> Result<(), WeightsError> {
    config.validate()?;
    let shapes: BTreeMap<_, _> = parameter_shapes(config).into_iter().collect();
    for (name, wanted) in &shapes {
        let array = weights.get(name).ok_or_else(|| WeightsError::Missing(name.clone()))?;
        if array.shape != *wanted {
            return Err(WeightsError::Shape { name: name.clone(), found: array.shape.clone(), wanted: wanted.clone() });
        }
    }
    match weights.keys().find(|name| !shapes.contains_key(*name)) {
        Some(name) => Err(WeightsError::Unexpected(name.clone())),
        None => Ok(()),
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
        check(config, &weights)?;
        let mut build = build::Builder { weights: &mut weights, device };
        let trunk = build.trunk(config);
        let lm_head = if config.tie_word_embeddings { None } else { Some(build.matrix("lm_head")) };
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
        self.model.embed_tokens.weight.val().device()
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
        self.kernels = self.kernels.in_precision(precision);
        self
    }

    /// The head's weight, `[V, d]`: `hidden` times its transpose are the logits.
    pub fn head_weight(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.model.embed_tokens).weight.val()
    }

    /// The logits of hidden states `[n, d]` (see [`Model::hidden`]): `[n, V]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.kernels.linear(hidden, self.head_weight())
    }

    /// The logits of the next token: `[n_sequences, length, V]`.
    pub fn logits(&self, tokens: &Tokens) -> Tensor<3> {
        self.head(self.hidden(tokens)).reshape([tokens.n_sequences, tokens.length, self.config.vocab_size])
    }

    /// Cross-entropy with z-loss of a batch: sums over the targets, divided by `scale.divisor`.
    ///
    /// The divisor is the caller's because a batch may be a piece of a larger one.
    pub fn loss(&self, batch: &Batch, scale: LossScale) -> Loss {
        let (hidden, routers) = self.forward(&batch.tokens);
        let values = self.kernels.cross_entropy(hidden, self.head_weight(), &batch.targets, scale);
        Loss::new(values, router::losses(self.kernels, &routers, scale.router))
    }

    /// Log-probability of each target (natural logarithm), 0 where it is ignored: `[n]`, row after row; differentiable.
    pub fn token_log_probs(&self, batch: &Batch) -> Tensor<1> {
        let hidden = self.hidden(&batch.tokens);
        self.kernels.token_log_probs(hidden, self.head_weight(), &batch.targets)
    }
}

#[cfg(test)]
mod tests;
