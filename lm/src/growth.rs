//! Growing a trained model without changing what it computes: wider by an integer factor, deeper by identity blocks.
//!
//! After "Staged Training for Transformer Language Models" (Shen et al., arXiv 2203.06211), for OLMo 2's norms on
//! sub-layer outputs and its QK-norm over all heads. The optimiser's moments grow along. Knows no device and no file.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, TrainingState};
use crate::config::{Attention, ConfigError, FeedForward, Layer, Mixer, ModelConfig};
use crate::optim::OptimizerState;

mod depth;
pub mod verify;
mod width;

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

    /// The operators that turn the shape `from` into the shape `to`, width first.
    ///
    /// # Errors
    /// When no exact operator leads there, saying why.
    pub fn between(from: &ModelConfig, to: &ModelConfig, noise: f64, seed: u64) -> Result<Vec<Self>, GrowthError> {
        let refuse = |text: String| Err(GrowthError::Unsupported(text));
        let ((a, f), (b, g)) = (uniform(from)?, uniform(to)?);
        let same = [
            ("head_dim", a.head_dim, b.head_dim, "rotary frequencies depend on it; grow the number of heads"),
            ("vocab_size", from.vocab_size, to.vocab_size, "the tokenizer would change"),
        ];
        for (name, before, after, why) in same {
            if before != after {
                return refuse(format!("{name} must stay {before}, not become {after}: {why}"));
            }
        }
        if (a.rope, from.norm_eps) != (b.rope, to.norm_eps) {
            return refuse("rotary positions and norm_eps must stay".into());
        }
        let mut operators = Vec::new();
        let times = |name: &str, before: usize, after: usize| {
            if after.is_multiple_of(before) {
                Ok(after / before)
            } else {
                Err(GrowthError::Unsupported(format!("{name} = {after} is not a multiple of {before}")))
            }
        };
        let factor = times("hidden_size", from.hidden_size, to.hidden_size)?;
        if factor > 1 {
            if b.n_heads != factor * a.n_heads {
                return refuse(format!("n_heads must become {}, not {}", factor * a.n_heads, b.n_heads));
            }
            let kv_heads = match b.n_kv_heads {
                n if n == a.n_kv_heads => KvHeads::Keep,
                n if n == factor * a.n_kv_heads => KvHeads::Grow,
                n => {
                    let (keep, grow) = (a.n_kv_heads, factor * a.n_kv_heads);
                    return refuse(format!("n_kv_heads must become {keep} or {grow}, not {n}"));
                }
            };
            let intermediate_size = Some(g);
            operators.push(Self::Width { factor, noise, seed, kv_heads, intermediate_size });
        } else if (b.n_heads, b.n_kv_heads, g) != (a.n_heads, a.n_kv_heads, f) {
            return refuse("heads and feed-forward units grow only together with hidden_size".into());
        }
        let factor = times("n_layers", from.n_layers(), to.n_layers())?;
        if factor > 1 {
            let (placement, new_blocks) = (Placement::default(), NewBlocks::default());
            operators.push(Self::Depth { factor, placement, new_blocks });
        }
        Ok(operators)
    }

    /// The configuration after growth.
    ///
    /// # Errors
    /// When the operator is not defined for `config`.
    pub fn config(&self, config: &ModelConfig) -> Result<ModelConfig, GrowthError> {
        config.validate()?;
        let at_least_two = |factor: usize| {
            if factor >= 2 {
                Ok(())
            } else {
                Err(GrowthError::Unsupported(format!("factor {factor} does not grow anything; use 2 or more")))
            }
        };
        let grown = match *self {
            Self::Width { factor, noise, kv_heads, intermediate_size, .. } => {
                at_least_two(factor)?;
                if !(noise.is_finite() && noise >= 0.0) {
                    return Err(GrowthError::Unsupported(format!("noise {noise} is not a number of 0 or more")));
                }
                let (_, before) = uniform(config)?;
                let units = factor * before;
                let wanted = intermediate_size.unwrap_or(units);
                if wanted < units {
                    let text = format!("intermediate_size {wanted} is below {units}, which the copies need");
                    return Err(GrowthError::Unsupported(text));
                }
                let grown =
                    config.map_layers(|layer| Layer { feed_forward: FeedForward::SwiGlu { intermediate_size: wanted }, ..layer });
                let grown = grown.map_attention(|a| Attention {
                    n_heads: factor * a.n_heads,
                    n_kv_heads: if kv_heads == KvHeads::Grow { factor * a.n_kv_heads } else { a.n_kv_heads },
                    ..a
                });
                ModelConfig { hidden_size: factor * config.hidden_size, ..grown }
            }
            Self::Depth { factor, .. } => {
                at_least_two(factor)?;
                ModelConfig { layers: config.layers.repeat(factor), ..config.clone() }
            }
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
        let weights = match self {
            Self::Width { .. } => width::weights(self, before, &config, weights),
            Self::Depth { .. } => depth::weights(self, before, weights),
        };
        let training = checkpoint.training.as_ref().map(|TrainingState { record, optimizer }| {
            let moments = |arrays, moment| match self {
                Self::Width { .. } => width::moments(self, before, &config, arrays, moment),
                Self::Depth { .. } => depth::moments(self, before, arrays, moment),
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

/// The attention and the feed-forward width that all blocks share.
fn uniform(config: &ModelConfig) -> Result<(Attention, usize), GrowthError> {
    let first = config.layers.first().copied();
    let same = first.filter(|first| config.layers.iter().all(|layer| layer == first));
    match same.map(|layer| (layer.mixer, layer.feed_forward)) {
        Some((Mixer::Attention(attention), FeedForward::SwiGlu { intermediate_size })) => Ok((attention, intermediate_size)),
        _ => Err(GrowthError::Unsupported("the blocks differ or are not made of attention and SwiGLU".into())),
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
