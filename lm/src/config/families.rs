//! The published families as ways to fill in a configuration, and the OLMo 2 sizes by name.
//!
//! The larger sizes of all families are in the recipe library; here is what this crate's own programs and tests need.

use serde::{Deserialize, Serialize};

use super::{
    Attention, ConfigError, Experts, FeedForward, GatedDelta, Layer, Mixer, ModelConfig, NormKind, NormOrder, Rope, RopeScaling,
};

/// How a configuration is spelled in files; `Custom` is a composition that no Hugging Face class computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// OLMo: pre-norm without parameters, no QK-norm (arXiv 2402.00838).
    Olmo,
    /// OLMo 2: norms on the sub-layer outputs, full-width QK-norm, RoPE, SwiGLU, untied head (arXiv 2501.00656).
    Olmo2,
    /// Olmo 3: OLMo 2 with sliding windows in three blocks of four (arXiv 2512.13961).
    Olmo3,
    /// Olmo Hybrid: a gated delta rule in three blocks of four (arXiv 2604.03444).
    OlmoHybrid,
    /// OLMoE: pre-norm with a mixture of small experts (arXiv 2409.02060).
    Olmoe,
    /// FlexOlmo: OLMo 2 with a mixture of full-size experts (arXiv 2507.07024).
    FlexOlmo,
    /// Any other composition.
    Custom,
}

/// The sizes that a family's structure is filled in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Hidden width of the feed-forward layer or of one expert.
    pub intermediate_size: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
}

impl Family {
    /// All families, in the order of their publication.
    pub const ALL: [Self; 7] =
        [Self::Olmo, Self::Olmo2, Self::Olmo3, Self::OlmoHybrid, Self::Olmoe, Self::FlexOlmo, Self::Custom];

    /// The `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Olmo => "olmo",
            Self::Olmo2 => "olmo2",
            Self::Olmo3 => "olmo3",
            Self::OlmoHybrid => "olmo_hybrid",
            Self::Olmoe => "olmoe",
            Self::FlexOlmo => "flex_olmo",
            Self::Custom => "workbench",
        }
    }

    /// The structure of the family at some sizes, with the constants of its pretraining: contexts of 2048 (OLMo), 4096
    /// (OLMo 2, OLMoE, FlexOlmo) or 8192 (Olmo 3, Hybrid) tokens, windows of 4096, 64 experts of which 8 (OLMoE) or 7 of
    /// which 5 (FlexOlmo).
    pub fn model(self, sizes: &Sizes) -> ModelConfig {
        let theta = if matches!(self, Self::Olmo | Self::Olmoe) { 10_000.0 } else { 500_000.0 };
        let head_dim = sizes.hidden_size / sizes.n_heads.max(1);
        let attention = Attention {
            n_heads: sizes.n_heads,
            n_kv_heads: sizes.n_kv_heads,
            head_dim,
            qk_norm: self != Self::Olmo,
            clip_qkv: None,
            window: None,
            rope: Some(Rope { theta, scaling: None }),
        };
        let key_head_dim = head_dim * 3 / 4;
        let delta = GatedDelta {
            n_key_heads: sizes.n_heads,
            n_value_heads: sizes.n_heads,
            key_head_dim,
            value_head_dim: 2 * key_head_dim,
            conv_size: 4,
            allow_negative_eigenvalues: true,
        };
        let experts = |n_experts, top_k| {
            FeedForward::Experts(Experts { n_experts, top_k, normalize: false, intermediate_size: sizes.intermediate_size })
        };
        let feed_forward = match self {
            Self::Olmoe => experts(64, 8),
            Self::FlexOlmo => experts(7, 5),
            _ => FeedForward::SwiGlu { intermediate_size: sizes.intermediate_size },
        };
        let order = if matches!(self, Self::Olmo | Self::Olmoe) { NormOrder::Pre } else { NormOrder::Post };
        let layer = |index: usize| {
            let full = index % 4 == 3 || index + 1 == sizes.n_layers;
            match self {
                Self::Olmo3 if !full => {
                    Layer { mixer: Mixer::Attention(Attention { window: Some(4096), ..attention }), order, feed_forward }
                }
                Self::OlmoHybrid if index % 4 != 3 => {
                    Layer { mixer: Mixer::GatedDelta(delta), order: NormOrder::Pre, feed_forward }
                }
                _ => Layer { mixer: Mixer::Attention(attention), order, feed_forward },
            }
        };
        let dolma2 = sizes.vocab_size > 100_000;
        ModelConfig {
            family: self,
            vocab_size: sizes.vocab_size,
            hidden_size: sizes.hidden_size,
            norm: if self == Self::Olmo { NormKind::Layer } else { NormKind::Rms },
            norm_eps: if matches!(self, Self::Olmo | Self::Olmoe) { 1e-5 } else { 1e-6 },
            layers: (0..sizes.n_layers).map(layer).collect(),
            tie_word_embeddings: false,
            max_position_embeddings: match self {
                Self::Olmo => 2048,
                Self::Olmo3 | Self::OlmoHybrid => 8192,
                _ => 4096,
            },
            further_eos_token_ids: Vec::new(),
            eos_token_id: if dolma2 { 100_257 } else { 0 },
            pad_token_id: if dolma2 { 100_277 } else { 1 },
        }
    }
}

/// One row of the table of named sizes: name, layers, width, heads, key/value heads, feed-forward width, vocabulary.
type NamedSize = (&'static str, usize, usize, usize, usize, usize, usize);

/// OLMo 2 sizes. The larger ones are those of OLMo-core and of the released models (arXiv 2501.00656, table 2);
/// the head width is 64 in the ladder up to `370M` and 128 in the released models.
const OLMO2_SIZES: &[NamedSize] = &[
    ("pico", 2, 64, 2, 2, 192, 512),
    ("nano", 4, 128, 4, 4, 512, 4096),
    ("micro", 6, 256, 8, 8, 1024, 4096),
    ("190M", 12, 768, 12, 12, 3072, 100_352),
    ("370M", 16, 1024, 16, 16, 4096, 100_352),
    ("1B", 16, 2048, 16, 16, 8192, 100_352),
    ("7B", 32, 4096, 32, 32, 11_008, 100_352),
    ("13B", 40, 5120, 40, 40, 13_824, 100_352),
    ("32B", 64, 5120, 40, 8, 27_648, 100_352),
];

impl ModelConfig {
    /// The OLMo 2 configuration called `size`, for example `nano`, `190M`, `1B`, `7B`.
    ///
    /// # Errors
    /// [`ConfigError::Size`] when there is none of that name.
    pub fn olmo2(size: &str) -> Result<Self, ConfigError> {
        let &(_, n_layers, hidden_size, n_heads, n_kv_heads, intermediate_size, vocab_size) =
            OLMO2_SIZES.iter().find(|row| row.0 == size).ok_or_else(|| ConfigError::Size {
                family: "OLMo 2".into(),
                name: size.into(),
                known: Self::olmo2_sizes().join(", "),
            })?;
        let sizes = Sizes { n_layers, hidden_size, n_heads, n_kv_heads, intermediate_size, vocab_size };
        let config = Family::Olmo2.model(&sizes);
        Ok(if vocab_size > 100_000 { config } else { Self { max_position_embeddings: 256, ..config } })
    }

    /// Names that [`ModelConfig::olmo2`] accepts, from small to large.
    pub fn olmo2_sizes() -> Vec<&'static str> {
        OLMO2_SIZES.iter().map(|row| row.0).collect()
    }

    /// The long-context form of Olmo 3: YaRN by `factor` on the blocks that see everything, windows as they are
    /// (arXiv 2512.13961, long-context stage).
    #[must_use]
    pub fn with_yarn(&self, factor: f64) -> Self {
        let before = self.max_position_embeddings;
        let scaling = RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: before,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
        };
        let scaled = self.map_attention(|attention| match attention.window {
            Some(_) => attention,
            None => Attention { rope: attention.rope.map(|rope| Rope { scaling: Some(scaling), ..rope }), ..attention },
        });
        Self { max_position_embeddings: (before as f64 * factor) as usize, ..scaled }
    }
}
