//! The shape of a model: what each block is made of, layer by layer, and how the pieces fit together.
//!
//! A family is a way to fill in this type (`families`) and a spelling in files (`hf`); nothing else in this crate asks
//! for it. Knows no tensor and no file.

use serde::{Deserialize, Serialize};

mod count;
mod families;
mod hf;
#[cfg(test)]
mod tests;

pub use families::{Family, Sizes};

/// The id of a token that a model does not have.
pub const NO_TOKEN: u32 = u32::MAX;

/// Why a model configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A size is inconsistent with another one.
    #[error("model configuration: {0}")]
    Invalid(String),
    /// A field of a Hugging Face `config.json` is missing or has the wrong type.
    #[error("config.json: field `{0}` is missing or has the wrong type")]
    Field(String),
    /// A field of a Hugging Face `config.json` has a value that this crate does not compute.
    #[error("config.json: `{field}` = {value} is not supported: {reason}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What is supported instead.
        reason: String,
    },
    /// The `model_type` is not one this crate implements.
    #[error("config.json: model_type `{name}` is not supported; supported: {known}")]
    Family {
        /// What was found.
        name: String,
        /// The types that exist.
        known: String,
    },
    /// No configuration has that name.
    #[error("{family} has no size `{name}`; known sizes: {known}")]
    Size {
        /// The family.
        family: String,
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// Normalisation of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * gain`.
    Rms,
    /// `(x - mean) / sqrt(var + eps)` without gain or bias: OLMo 1.
    Layer,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOrder {
    /// `h = x + mix(norm(x))`, `y = h + ffn(norm(h))`.
    Pre,
    /// `h = x + norm(mix(x))`, `y = h + norm(ffn(h))`: the norm on what a sub-layer gives (OLMo 2, section 3).
    Post,
}

/// How rotary frequencies are changed for contexts longer than those of pretraining.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// All frequencies divided by `factor` (position interpolation, Chen et al., arXiv 2306.15595).
    Linear {
        /// Old positions per new one.
        factor: f64,
    },
    /// Low frequencies interpolated, high ones kept, logits sharpened (YaRN, Peng et al., arXiv 2309.00071).
    Yarn {
        /// Length after over length before.
        factor: f64,
        /// Length before.
        original_max_position_embeddings: usize,
        /// Rotations over the old length above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is interpolated in full.
        beta_slow: f64,
        /// What cosines and sines are multiplied by; `None`: `0.1 ln(factor) + 1`.
        attention_factor: Option<f64>,
    },
}

/// Rotary position embeddings (half-split layout; Su et al., arXiv 2104.09864).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies for long contexts.
    pub scaling: Option<RopeScaling>,
}

/// Causal softmax attention.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Query heads, `H`.
    pub n_heads: usize,
    /// Key and value heads, `K`; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head, `D`; even.
    pub head_dim: usize,
    /// Whether queries and keys pass an RMSNorm over all heads together.
    pub qk_norm: bool,
    /// Queries, keys and values are clamped to `[-clip, clip]`, after the norms.
    pub clip_qkv: Option<f64>,
    /// A query sees this many keys, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Rotary positions; `None`: none (NoPE).
    pub rope: Option<Rope>,
}

impl Attention {
    /// Width of all query heads together, `H * D`.
    pub fn query_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key heads together, `K * D`.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// The gated delta rule with short convolutions (Gated DeltaNet, Yang et al., arXiv 2412.06464).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedDelta {
    /// Query and key heads.
    pub n_key_heads: usize,
    /// Value heads, a multiple of the key heads.
    pub n_value_heads: usize,
    /// Width of a query or key head.
    pub key_head_dim: usize,
    /// Width of a value head.
    pub value_head_dim: usize,
    /// Taps of the causal depthwise convolution.
    pub conv_size: usize,
    /// Whether the write strength lies in (0, 2), so that a state's eigenvalue may be negative.
    pub allow_negative_eigenvalues: bool,
}

impl GatedDelta {
    /// Epsilon of the norm of the output, fixed in every implementation.
    pub const OUTPUT_NORM_EPS: f64 = 1e-5;

    /// Width of all query (or key) heads.
    pub fn key_width(&self) -> usize {
        self.n_key_heads * self.key_head_dim
    }

    /// Width of all value heads.
    pub fn value_width(&self) -> usize {
        self.n_value_heads * self.value_head_dim
    }

    /// Channels of the convolution: queries, keys, values.
    pub fn conv_width(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }
}

/// What mixes positions in a block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixer {
    /// Softmax attention.
    Attention(Attention),
    /// The gated delta rule.
    GatedDelta(GatedDelta),
}

/// A mixture of SwiGLU experts without capacity limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Experts, `E`.
    pub n_experts: usize,
    /// Experts a token goes to, `k`.
    pub top_k: usize,
    /// Whether the weights of the chosen experts are scaled to sum to 1.
    pub normalize: bool,
    /// Hidden width of one expert, `F`.
    pub intermediate_size: usize,
}

/// What a block computes on each position alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// `down(silu(gate(x)) * up(x))` (Shazeer, arXiv 2002.05202).
    SwiGlu {
        /// Hidden width, `F`.
        intermediate_size: usize,
    },
    /// A mixture of experts.
    Experts(Experts),
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// What mixes positions.
    pub mixer: Mixer,
    /// Where the norms stand.
    pub order: NormOrder,
    /// What works on each position.
    pub feed_forward: FeedForward,
}

impl Layer {
    /// The attention of this block, if it has one.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::GatedDelta(_) => None,
        }
    }
}

/// A decoder-only language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// How the configuration is spelled in files.
    pub family: Family,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream, `d`.
    pub hidden_size: usize,
    /// The norms of the blocks and before the head.
    pub norm: NormKind,
    /// Epsilon of the norms, also of queries and keys.
    pub norm_eps: f64,
    /// The blocks, from the embedding up.
    pub layers: Vec<Layer>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Longest sequence the model is meant for (written to `config.json`, not enforced).
    pub max_position_embeddings: usize,
    /// Token that ends a document; [`NO_TOKEN`] when there is none.
    pub eos_token_id: u32,
    /// Further tokens that end what the model says, such as one that ends a turn; generating stops at any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_eos_token_ids: Vec<u32>,
    /// Token that fills up a row; [`NO_TOKEN`] when there is none.
    pub pad_token_id: u32,
}

impl ModelConfig {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Whether some block has experts.
    pub fn has_experts(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_)))
    }

    /// All tokens that end what the model says; none when there is none.
    pub fn eos_token_ids(&self) -> Vec<u32> {
        [self.eos_token_id].iter().chain(&self.further_eos_token_ids).copied().filter(|id| *id != NO_TOKEN).collect()
    }

    /// An id that can stand where no token counts: the padding token, else the one that ends documents, else 0.
    pub fn filler(&self) -> u32 {
        let exists = |id: &u32| (*id as usize) < self.vocab_size;
        [self.pad_token_id, self.eos_token_id].into_iter().find(exists).unwrap_or(0)
    }

    /// Hidden width of the first block's feed-forward layer, of one expert where there are several.
    pub fn intermediate_size(&self) -> usize {
        self.layers.first().map_or(0, |layer| match layer.feed_forward {
            FeedForward::SwiGlu { intermediate_size } => intermediate_size,
            FeedForward::Experts(experts) => experts.intermediate_size,
        })
    }

    /// The attention of the first block that has one.
    pub fn attention(&self) -> Option<&Attention> {
        self.layers.iter().find_map(Layer::attention)
    }

    /// The same model with every block changed by `f`.
    #[must_use]
    pub fn map_layers(&self, f: impl Fn(Layer) -> Layer) -> Self {
        Self { layers: self.layers.iter().map(|layer| f(*layer)).collect(), ..self.clone() }
    }

    /// The same model with every attention changed by `f`.
    #[must_use]
    pub fn map_attention(&self, f: impl Fn(Attention) -> Attention) -> Self {
        self.map_layers(|layer| match layer.mixer {
            Mixer::Attention(attention) => Layer { mixer: Mixer::Attention(f(attention)), ..layer },
            Mixer::GatedDelta(_) => layer,
        })
    }

    /// The same model at half the width: half the heads, half the feed-forward units, the same head width and depth.
    ///
    /// Growing the result with factor 2 gives back this configuration.
    ///
    /// # Errors
    /// When a size is odd.
    pub fn half_width(&self) -> Result<Self, ConfigError> {
        let odd = |n: usize| !n.is_multiple_of(2);
        let fail = |name: &str, n: usize| Err(ConfigError::Invalid(format!("{name} = {n} cannot be halved")));
        if odd(self.hidden_size) {
            return fail("hidden_size", self.hidden_size);
        }
        for layer in &self.layers {
            let sizes = match layer.mixer {
                Mixer::Attention(a) => [("n_heads", a.n_heads), ("n_kv_heads", a.n_kv_heads)],
                Mixer::GatedDelta(g) => [("n_key_heads", g.n_key_heads), ("n_value_heads", g.n_value_heads)],
            };
            let width = match layer.feed_forward {
                FeedForward::SwiGlu { intermediate_size } => intermediate_size,
                FeedForward::Experts(experts) => experts.intermediate_size,
            };
            if let Some((name, n)) = sizes.into_iter().chain([("intermediate_size", width)]).find(|(_, n)| odd(*n)) {
                return fail(name, n);
            }
        }
        let half = self.map_layers(|layer| Layer {
            mixer: match layer.mixer {
                Mixer::Attention(a) => Mixer::Attention(Attention { n_heads: a.n_heads / 2, n_kv_heads: a.n_kv_heads / 2, ..a }),
                Mixer::GatedDelta(g) => {
                    Mixer::GatedDelta(GatedDelta { n_key_heads: g.n_key_heads / 2, n_value_heads: g.n_value_heads / 2, ..g })
                }
            },
            feed_forward: match layer.feed_forward {
                FeedForward::SwiGlu { intermediate_size } => FeedForward::SwiGlu { intermediate_size: intermediate_size / 2 },
                FeedForward::Experts(e) => FeedForward::Experts(Experts { intermediate_size: e.intermediate_size / 2, ..e }),
            },
            ..layer
        });
        let half = Self { hidden_size: self.hidden_size / 2, ..half };
        half.validate()?;
        Ok(half)
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the first mismatch.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError::Invalid(text));
        let positive = |sizes: &[(&str, usize)], place: &str| match sizes.iter().find(|(_, n)| *n == 0) {
            Some((name, _)) => fail(format!("{name}{place} is 0")),
            None => Ok(()),
        };
        positive(&[("vocab_size", self.vocab_size), ("hidden_size", self.hidden_size), ("n_layers", self.n_layers())], "")?;
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return fail(format!("norm_eps = {} is not a positive number", self.norm_eps));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let place = format!(" of layer {index}");
            match layer.mixer {
                Mixer::Attention(a) => {
                    let sizes = [("n_heads", a.n_heads), ("n_kv_heads", a.n_kv_heads), ("head_dim", a.head_dim)];
                    positive(&sizes, &place)?;
                    a.validate(&place)?;
                }
                Mixer::GatedDelta(g) => {
                    let sizes = [
                        ("n_key_heads", g.n_key_heads),
                        ("n_value_heads", g.n_value_heads),
                        ("key_head_dim", g.key_head_dim),
                        ("value_head_dim", g.value_head_dim),
                        ("conv_size", g.conv_size),
                    ];
                    positive(&sizes, &place)?;
                    if !g.n_value_heads.is_multiple_of(g.n_key_heads) {
                        let (v, k) = (g.n_value_heads, g.n_key_heads);
                        return fail(format!("n_value_heads = {v}{place} is not a multiple of n_key_heads = {k}"));
                    }
                }
            }
            match layer.feed_forward {
                FeedForward::SwiGlu { intermediate_size } => positive(&[("intermediate_size", intermediate_size)], &place)?,
                FeedForward::Experts(e) => {
                    let sizes = [("n_experts", e.n_experts), ("top_k", e.top_k), ("intermediate_size", e.intermediate_size)];
                    positive(&sizes, &place)?;
                    if e.top_k > e.n_experts {
                        return fail(format!("top_k = {}{place} is more than its {} experts", e.top_k, e.n_experts));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Attention {
    fn validate(&self, place: &str) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError::Invalid(text));
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return fail(format!("n_heads = {}{place} is not a multiple of n_kv_heads = {}", self.n_heads, self.n_kv_heads));
        }
        if self.window == Some(0) {
            return fail(format!("the attention window{place} is 0"));
        }
        if let Some(clip) = self.clip_qkv
            && !(clip.is_finite() && clip > 0.0)
        {
            return fail(format!("clip_qkv = {clip}{place} is not a positive number"));
        }
        let Some(rope) = self.rope else { return Ok(()) };
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim = {}{place} is odd, but rotary embeddings need pairs", self.head_dim));
        }
        if !(rope.theta.is_finite() && rope.theta > 0.0) {
            return fail(format!("rope_theta = {}{place} is not a positive number", rope.theta));
        }
        let Some(RopeScaling::Linear { factor } | RopeScaling::Yarn { factor, .. }) = rope.scaling else { return Ok(()) };
        if !(factor.is_finite() && factor > 0.0) {
            return fail(format!("the rope scaling factor{place} is {factor}, not a positive number"));
        }
        Ok(())
    }
}
