//! The shape of a model: sizes, family, named configurations, parameter and FLOP counts, `config.json`.
//!
//! Knows no tensor and no file; `checkpoint` reads and writes the JSON that this file converts.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a model configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A size is inconsistent with another one.
    #[error("model configuration: {0}")]
    Invalid(String),
    /// A field of a Hugging Face `config.json` is missing or has the wrong type.
    #[error("config.json: field `{0}` is missing or has the wrong type")]
    Field(String),
    /// The `model_type` is not one this crate implements.
    #[error("config.json: model_type `{0}` is not supported; supported: olmo2")]
    Family(String),
    /// No configuration has that name.
    #[error("unknown model size `{name}`; known sizes: {known}")]
    Size {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// The architecture family, which decides the block's structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// OLMo 2: norms on the sub-layer outputs, full-width QK-norm, RoPE, SwiGLU, untied head (arXiv 2501.00656).
    Olmo2,
}

/// Sizes and constants of a decoder-only transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Architecture family.
    pub family: Family,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream, `d`.
    pub hidden_size: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Number of query heads, `H`.
    pub n_heads: usize,
    /// Number of key and value heads, `K`; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of one head, `D`; even.
    pub head_dim: usize,
    /// Hidden width of the feed-forward layer, `F`.
    pub intermediate_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Longest sequence the model is meant for (written to `config.json`, not enforced).
    pub max_position_embeddings: usize,
    /// Token that ends a document.
    pub eos_token_id: u32,
    /// Token that fills up a row.
    pub pad_token_id: u32,
}

/// One row of the table of named sizes: name, layers, width, heads, key/value heads, feed-forward width, vocabulary.
type Size = (&'static str, usize, usize, usize, usize, usize, usize);

/// OLMo 2 sizes. The larger ones are those of OLMo-core and of the released models (arXiv 2501.00656, table 2);
/// the head width is 64 in the ladder up to `370M` and 128 in the released models.
const OLMO2_SIZES: &[Size] = &[
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
        let &(_, n_layers, hidden_size, n_heads, n_kv_heads, intermediate_size, vocab_size) = OLMO2_SIZES
            .iter()
            .find(|row| row.0 == size)
            .ok_or_else(|| ConfigError::Size { name: size.into(), known: Self::olmo2_sizes().join(", ") })?;
        let dolma2 = vocab_size > 100_000;
        Ok(Self {
            family: Family::Olmo2,
            vocab_size,
            hidden_size,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim: hidden_size / n_heads,
            intermediate_size,
            rope_theta: 500_000.0,
            rms_norm_eps: 1e-6,
            max_position_embeddings: if dolma2 { 4096 } else { 256 },
            eos_token_id: if dolma2 { 100_257 } else { 0 },
            pad_token_id: if dolma2 { 100_277 } else { 1 },
        })
    }

    /// Names that [`ModelConfig::olmo2`] accepts, from small to large.
    pub fn olmo2_sizes() -> Vec<&'static str> {
        OLMO2_SIZES.iter().map(|row| row.0).collect()
    }

    /// The same model at half the width: half the heads, half the feed-forward units, the same head width and depth.
    ///
    /// Growing the result with factor 2 gives back this configuration.
    ///
    /// # Errors
    /// When a size is odd.
    pub fn half_width(&self) -> Result<Self, ConfigError> {
        let half = |name: &str, n: usize| {
            if n.is_multiple_of(2) { Ok(n / 2) } else { Err(ConfigError::Invalid(format!("{name} = {n} cannot be halved"))) }
        };
        let config = Self {
            hidden_size: half("hidden_size", self.hidden_size)?,
            n_heads: half("n_heads", self.n_heads)?,
            n_kv_heads: half("n_kv_heads", self.n_kv_heads)?,
            intermediate_size: half("intermediate_size", self.intermediate_size)?,
            ..self.clone()
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the first mismatch.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
        ];
        let fail = |text: String| Err(ConfigError::Invalid(text));
        if let Some((name, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return fail(format!("{name} is 0"));
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return fail(format!("n_heads = {} is not a multiple of n_kv_heads = {}", self.n_heads, self.n_kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim = {} is odd, but rotary embeddings need pairs", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return fail(format!("rope_theta = {} is not a positive number", self.rope_theta));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0) {
            return fail(format!("rms_norm_eps = {} is not a positive number", self.rms_norm_eps));
        }
        Ok(())
    }

    /// Width of all query heads together, `H * D`.
    pub fn query_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key heads together, `K * D`.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Weights of one block's matrices: q, k, v, o, gate, up, down.
    fn block_matrix_parameters(&self) -> usize {
        let d = self.hidden_size;
        d * (2 * self.query_width() + 2 * self.kv_width() + 3 * self.intermediate_size)
    }

    /// Number of parameters.
    pub fn n_parameters(&self) -> usize {
        let norms = self.query_width() + self.kv_width() + 2 * self.hidden_size;
        self.n_layers * (self.block_matrix_parameters() + norms) + self.hidden_size + 2 * self.vocab_size * self.hidden_size
    }

    /// Number of parameters without the input embedding, the count that names the sizes.
    pub fn n_non_embedding_parameters(&self) -> usize {
        self.n_parameters() - self.vocab_size * self.hidden_size
    }

    /// Training FLOPs per token (forward and backward) at sequence length `length`:
    /// `6 N + 12 L H D T`, where `N` counts the weights of all matrices including the head but not the embedding
    /// (a lookup), and the second term is the two attention products over `T` keys, causality not deducted
    /// (Kaplan et al., arXiv 2001.08361; as OLMo-core counts it).
    pub fn flops_per_token(&self, length: usize) -> f64 {
        let matrices = self.n_layers * self.block_matrix_parameters() + self.vocab_size * self.hidden_size;
        6.0 * matrices as f64 + 12.0 * (self.n_layers * self.query_width() * length) as f64
    }

    /// The Hugging Face `config.json` of this model.
    pub fn to_hf(&self) -> Value {
        let Family::Olmo2 = self.family;
        json!({
            "architectures": ["Olmo2ForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "dtype": "float32",
            "eos_token_id": self.eos_token_id,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": "olmo2",
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            "pad_token_id": self.pad_token_id,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": { "rope_theta": self.rope_theta, "rope_type": "default" },
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": self.vocab_size,
        })
    }

    /// Reads a Hugging Face `config.json`, of either generation (`rope_parameters` or top-level `rope_theta`).
    ///
    /// # Errors
    /// When the model type is not supported, a field is missing, or the sizes do not fit together.
    pub fn from_hf(config: &Value) -> Result<Self, ConfigError> {
        let missing = |name: &str| ConfigError::Field(name.into());
        let size = |name: &str| -> Result<usize, ConfigError> {
            config.get(name).and_then(Value::as_u64).map(|n| n as usize).ok_or_else(|| missing(name))
        };
        let token = |name: &str, default: u32| match config.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| missing(name)),
        };
        let model_type = config.get("model_type").and_then(Value::as_str).ok_or_else(|| missing("model_type"))?;
        if model_type != "olmo2" {
            return Err(ConfigError::Family(model_type.into()));
        }
        if config.get("tie_word_embeddings").and_then(Value::as_bool) == Some(true) {
            return Err(ConfigError::Invalid("tied embeddings are not supported by this family".into()));
        }
        let rope = config.get("rope_parameters").filter(|value| !value.is_null());
        if let Some(kind) = rope.and_then(|rope| rope.get("rope_type")).and_then(Value::as_str)
            && kind != "default"
        {
            return Err(ConfigError::Invalid(format!("rope_type `{kind}` is not supported by this family")));
        }
        // The class default of Hugging Face's Olmo2Config when a file names no theta.
        let rope_theta = rope
            .and_then(|rope| rope.get("rope_theta"))
            .or_else(|| config.get("rope_theta"))
            .and_then(Value::as_f64)
            .unwrap_or(10_000.0);
        let n_heads = size("num_attention_heads")?;
        let hidden_size = size("hidden_size")?;
        let result = Self {
            family: Family::Olmo2,
            vocab_size: size("vocab_size")?,
            hidden_size,
            n_layers: size("num_hidden_layers")?,
            n_heads,
            n_kv_heads: size("num_key_value_heads").unwrap_or(n_heads),
            head_dim: size("head_dim").unwrap_or(hidden_size / n_heads.max(1)),
            intermediate_size: size("intermediate_size")?,
            rope_theta,
            rms_norm_eps: config.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-5),
            max_position_embeddings: size("max_position_embeddings").unwrap_or(4096),
            eos_token_id: token("eos_token_id", 0)?,
            pad_token_id: token("pad_token_id", 1)?,
        };
        result.validate()?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_of_the_released_models() {
        for (size, total, non_embedding) in [
            ("1B", 1_484_916_736, 1_279_395_840),
            ("7B", 7_298_617_344, 6_887_575_552),
            ("13B", 13_716_198_400, 13_202_396_160),
            ("32B", 32_234_279_936, 31_720_477_696),
        ] {
            let config = ModelConfig::olmo2(size).unwrap();
            assert_eq!(config.n_parameters(), total, "{size}");
            assert_eq!(config.n_non_embedding_parameters(), non_embedding, "{size}");
        }
        let small = ModelConfig::olmo2("190M").unwrap().n_non_embedding_parameters();
        assert!((190_300_000..190_500_000).contains(&small), "{small}");
    }

    #[test]
    fn every_named_size_is_valid_and_survives_hf() {
        for size in ModelConfig::olmo2_sizes() {
            let config = ModelConfig::olmo2(size).unwrap();
            config.validate().unwrap();
            assert_eq!(ModelConfig::from_hf(&config.to_hf()).unwrap(), config, "{size}");
        }
    }

    #[test]
    fn half_width_keeps_depth_and_head_width() {
        let config = ModelConfig::olmo2("nano").unwrap();
        let half = config.half_width().unwrap();
        assert_eq!(half.hidden_size * 2, config.hidden_size);
        assert_eq!(half.n_heads * 2, config.n_heads);
        assert_eq!((half.head_dim, half.n_layers), (config.head_dim, config.n_layers));
        let odd = ModelConfig { n_heads: 5, n_kv_heads: 5, ..config };
        assert!(odd.half_width().unwrap_err().to_string().contains("n_heads = 5"));
    }

    #[test]
    fn unknown_sizes_and_types_are_named() {
        let error = ModelConfig::olmo2("8B").unwrap_err().to_string();
        assert!(error.contains("8B") && error.contains("7B"), "{error}");
        let error = ModelConfig::from_hf(&json!({"model_type": "llama"})).unwrap_err().to_string();
        assert!(error.contains("llama"), "{error}");
    }

    #[test]
    fn legacy_rope_theta_and_class_defaults_are_read() {
        let mut config = ModelConfig::olmo2("nano").unwrap().to_hf();
        let map = config.as_object_mut().unwrap();
        map.remove("rope_parameters");
        assert_eq!(ModelConfig::from_hf(&config).unwrap().rope_theta, 500_000.0);
        config.as_object_mut().unwrap().remove("rope_theta");
        assert_eq!(ModelConfig::from_hf(&config).unwrap().rope_theta, 10_000.0);
    }
}
