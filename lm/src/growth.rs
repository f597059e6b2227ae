//! Growing a trained model without changing what it computes: wider by an integer factor, more heads, more hidden units,
//! deeper by identity blocks.
//!
//! After "Staged Training for Transformer Language Models" (Shen et al., arXiv 2203.06211), for every composition of
//! `config`: norms on inputs or outputs, QK-norm over all heads, gated delta rules, mixtures of experts. The optimiser's
//! moments grow along. Knows no device and no file.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, TrainingState};
use crate::config::{ConfigError, ModelConfig, NormKind};
use crate::optim::OptimizerState;

mod axes;
mod between;
mod depth;
pub mod verify;
mod width;

use axes::Factors;

/// Why a model cannot be grown.
#[derive(Debug, thiserror::Error)]
pub enum GrowthError {
    /// The operator is not defined for this request.
    #[error("grow: {0}")]
    Unsupported(String),
    /// The grown configuration is inconsistent.
    #[error("grow: {0}")]
    Config(#[from] ConfigError),
    /// A parameter is missing or has the wrong shape.
    #[error("grow: {0}")]
    Weights(#[from] crate::model::WeightsError),
    /// The grown model computes something else.
    #[error("grow: the logits moved by {difference:e}, more than the {allowed:e} that rounding explains")]
    NotPreserved {
        /// Largest difference of a logit.
        difference: f64,
        /// Largest difference allowed.
        allowed: f64,
    },
}

/// What happens to key and value heads when the model gets wider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvHeads {
    /// They multiply with the query heads; the group size stays.
    #[default]
    Grow,
    /// Their number stays; each serves more query heads.
    Keep,
}

/// Where new blocks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// All new blocks after the existing ones.
    #[default]
    Append,
    /// New blocks right after the block they copy.
    Interleave,
}

/// What new blocks compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewBlocks {
    /// Nothing at first: the gains of their output norms are 0, all else is copied. Preserves the loss.
    #[default]
    Identity,
    /// What the copied block computes ("stacking", arXiv 2405.15319). Does not preserve the loss; for comparisons.
    Copy,
}

/// A growth operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Growth {
    /// Multiplies the width: residual stream, heads and feed-forward units; the head width stays.
    Width {
        /// How many copies, at least 2.
        factor: usize,
        /// Size of the noise that tells the copies apart, relative to each matrix's root mean square; the function
        /// computed does not depend on it. 0.1 is a good value.
        noise: f64,
        /// Seed of the noise.
        seed: u64,
        /// Key and value heads.
        kv_heads: KvHeads,
        /// Feed-forward units afterwards, at least `factor` times those before; `None`: exactly that.
        intermediate_size: Option<usize>,
    },
    /// Multiplies the heads; the residual stream and the head width stay.
    Heads {
        /// How many copies, at least 2.
        factor: usize,
        /// Size of the noise that tells the copies apart in the output projection, relative to its root mean square.
        noise: f64,
        /// Seed of the noise.
        seed: u64,
        /// Key and value heads.
        kv_heads: KvHeads,
    },
    /// Adds hidden units to every feed-forward layer or expert.
    FeedForward {
        /// Hidden units afterwards, more than before.
        intermediate_size: usize,
        /// Seed of what the new units read.
        seed: u64,
    },
    /// Multiplies the number of blocks.
    Depth {
        /// How many times as many blocks, at least 2.
        factor: usize,
        /// Where new blocks go.
        placement: Placement,
        /// What they compute.
        new_blocks: NewBlocks,
    },
}

/// A growth operator in a model's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthRecord {
    /// The operator.
    pub growth: Growth,
    /// Updates the model had seen.
    pub step: u64,
    /// Tokens the model had seen.
    pub tokens: u64,
}

impl Growth {
    /// Twice the width, with noise of a tenth of the weights' size.
    pub fn double_width(seed: u64) -> Self {
        Self::Width { factor: 2, noise: 0.1, seed, kv_heads: KvHeads::Grow, intermediate_size: None }
    }

    /// Twice the depth, new identity blocks after the existing ones.
    pub fn double_depth() -> Self {
        Self::Depth { factor: 2, placement: Placement::Append, new_blocks: NewBlocks::Identity }
    }

    /// The operators that turn the shape `from` into the shape `to`: width, heads, hidden units, depth.
    ///
    /// # Errors
    /// When no exact operator leads there, saying why.
    pub fn between(from: &ModelConfig, to: &ModelConfig, noise: f64, seed: u64) -> Result<Vec<Self>, GrowthError> {
        between::operators(from, to, noise, seed)
    }

    /// The configuration after growth.
    ///
    /// # Errors
    /// When the operator is not defined for `config`.
    pub fn config(&self, config: &ModelConfig) -> Result<ModelConfig, GrowthError> {
        config.validate()?;
        let refuse = |text: String| Err(GrowthError::Unsupported(text));
        if let Self::Width { factor, .. } | Self::Heads { factor, .. } | Self::Depth { factor, .. } = *self
            && factor < 2
        {
            return refuse(format!("factor {factor} does not grow anything; use 2 or more"));
        }
        if let Self::Width { noise, .. } | Self::Heads { noise, .. } = *self
            && !(noise.is_finite() && noise >= 0.0)
        {
            return refuse(format!("noise {noise} is not a number of 0 or more"));
        }
        let grown = match (self, Factors::of(self)) {
            (Self::Width { intermediate_size, .. }, Some(factors)) => {
                if config.tie_word_embeddings && config.norm == NormKind::Layer {
                    return refuse("a tied head under a norm without gain adds up the copies; no exact width exists".into());
                }
                axes::grown_config(config, factors, *intermediate_size)?
            }
            (Self::Heads { .. }, Some(factors)) => axes::grown_config(config, factors, None)?,
            (&Self::FeedForward { intermediate_size, .. }, Some(factors)) => {
                let most = config.layers.iter().map(axes::units).max().unwrap_or(0);
                if intermediate_size <= most {
                    return refuse(format!("intermediate_size {intermediate_size} does not grow {most}"));
                }
                axes::grown_config(config, factors, Some(intermediate_size))?
            }
            _ => depth::config(self, config)?,
        };
        grown.validate()?;
        Ok(grown)
    }

    /// The grown checkpoint: weights, moments and history. Step and token counters stay.
    ///
    /// # Errors
    /// When the operator is not defined for this model, or a parameter is missing.
    pub fn apply(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, GrowthError> {
        let config = self.config(&checkpoint.config)?;
        for (name, wanted) in crate::init::parameter_shapes(&checkpoint.config) {
            let Some(array) = checkpoint.weights.get(&name) else {
                return Err(crate::model::WeightsError::Missing(name).into());
            };
            if array.shape != wanted {
                let found = array.shape.clone();
                return Err(crate::model::WeightsError::Shape { name, found, wanted }.into());
            }
        }
        let (before, weights) = (&checkpoint.config, &checkpoint.weights);
        let factors = Factors::of(self);
        let weights = match factors {
            Some(factors) => width::weights(factors, before, &config, weights),
            None => depth::weights(self, before, weights),
        };
        let training = checkpoint.training.as_ref().map(|TrainingState { record, optimizer }| {
            let moments = |arrays, moment| match factors {
                Some(factors) => width::moments(factors, before, &config, arrays, moment),
                None => depth::moments(self, before, arrays, moment),
            };
            let mut record = record.clone();
            record.growth.push(GrowthRecord { growth: self.clone(), step: record.step, tokens: record.tokens });
            let optimizer = OptimizerState {
                step: optimizer.step,
                first: moments(&optimizer.first, Moment::First),
                second: moments(&optimizer.second, Moment::Second),
            };
            TrainingState { record, optimizer }
        });
        Ok(Checkpoint { config, weights, training })
    }

    /// Whether the grown model computes the same function.
    pub fn preserves_function(&self) -> bool {
        !matches!(self, Self::Depth { new_blocks: NewBlocks::Copy, .. })
    }
}

/// Which of Adam's moments: gradients enter the first one linearly, the second one squared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    First,
    Second,
}

#[cfg(test)]
mod tests;
