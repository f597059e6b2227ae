//! The shape of a model as a recipe gives it, and the files of a checkpoint. It does not know any kind.

use std::path::Path;

use data::tokenizer::Tokenizer;
use lm::config::{Family, ModelConfig};

use super::{ParamError, StepError};

crate::choices! {
    /// Architecture families.
    pub enum Architecture {
        /// OLMo 2: norms on sub-layer outputs, full-width QK-norm, RoPE, SwiGLU, untied head.
        Olmo2 = "olmo2",
    }
}

crate::params! {
    /// The shape of a model.
    pub struct Model {
        /// Architecture family.
        family: Architecture = Architecture::Olmo2;
        /// Rows of the embedding; `()`: the tokenizer's vocabulary, padded to a multiple of 128.
        vocab_size: Option<u64> = None, in 2.0..=1e8;
        /// Width of the residual stream.
        hidden_size: u64, in 2.0..=1e6;
        /// Blocks.
        n_layers: u64, in 1.0..=1e4;
        /// Query heads.
        n_heads: u64, in 1.0..=1e4;
        /// Key and value heads; divides `n_heads`.
        n_kv_heads: u64, in 1.0..=1e4;
        /// Width of a head; even.
        head_dim: u64, in 2.0..=1e4;
        /// Hidden width of the feed-forward layer.
        intermediate_size: u64, in 1.0..=1e7;
        /// Base of the rotary frequencies.
        rope_theta: f64 = 500_000.0, in 1.0..=1e12;
        /// Epsilon of every RMSNorm.
        rms_norm_eps: f64 = 1e-6, in 0.0..=1.0;
        /// Positions the model is meant for.
        max_position_embeddings: u64 = 4096, in 1.0..=1e9;
    }
}

impl Model {
    fn shape(&self, vocab_size: u64, eos: u32, pad: u32) -> ModelConfig {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        ModelConfig {
            family: match self.family {
                Architecture::Olmo2 => Family::Olmo2,
            },
            vocab_size: size(vocab_size),
            hidden_size: size(self.hidden_size),
            n_layers: size(self.n_layers),
            n_heads: size(self.n_heads),
            n_kv_heads: size(self.n_kv_heads),
            head_dim: size(self.head_dim),
            intermediate_size: size(self.intermediate_size),
            rope_theta: self.rope_theta,
            rms_norm_eps: self.rms_norm_eps,
            max_position_embeddings: size(self.max_position_embeddings),
            eos_token_id: eos,
            pad_token_id: pad,
        }
    }

    /// What is wrong with the shape.
    pub(super) fn check(&self, path: &str) -> Vec<ParamError> {
        let shape = self.shape(self.vocab_size.unwrap_or(1 << 16), 0, 1);
        shape.validate().err().map(|error| ParamError::new(path, error.to_string())).into_iter().collect()
    }

    /// The configuration for the tokenizer that lies beside token files.
    pub(super) fn config(&self, tokens: &Path) -> Result<ModelConfig, String> {
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
