//! Names, shapes and initial values of a model's parameters.
//!
//! The names are Hugging Face's. Every value depends only on the seed, the tensor's name and the element's index.

use rayon::prelude::*;

use crate::config::ModelConfig;
use crate::random::{Cut, Stream};
use crate::weights::{Array, NamedArrays};

/// Standard deviation of every initial matrix (OLMo-core `InitMethod.normal`; no scaling by depth).
pub const STD: f64 = 0.02;

/// What a parameter is, as far as initialisation, weight decay and growth are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The input embedding, `[vocab, d]`.
    Embedding,
    /// The output projection, `[vocab, d]`.
    Head,
    /// A matrix inside a block, `[out, in]`.
    Matrix,
    /// A gain of a norm inside a block.
    Gain,
    /// The gain of the last norm.
    FinalGain,
}

/// The role of the parameter called `name`.
pub fn role(name: &str) -> Role {
    match name {
        "model.embed_tokens.weight" => Role::Embedding,
        "lm_head.weight" => Role::Head,
        "model.norm.weight" => Role::FinalGain,
        _ if name.ends_with("norm.weight") => Role::Gain,
        _ => Role::Matrix,
    }
}

/// Name and shape of every parameter of a model, embedding first, head last.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (d, q, kv, f) = (config.hidden_size, config.query_width(), config.kv_width(), config.intermediate_size);
    let mut shapes = vec![("model.embed_tokens.weight".to_string(), vec![config.vocab_size, d])];
    for layer in 0..config.n_layers {
        let block: [(&str, Vec<usize>); 11] = [
            ("self_attn.q_proj", vec![q, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, q]),
            ("self_attn.q_norm", vec![q]),
            ("self_attn.k_norm", vec![kv]),
            ("post_attention_layernorm", vec![d]),
            ("mlp.gate_proj", vec![f, d]),
            ("mlp.up_proj", vec![f, d]),
            ("mlp.down_proj", vec![d, f]),
            ("post_feedforward_layernorm", vec![d]),
        ];
        shapes.extend(block.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    shapes.push(("model.norm.weight".into(), vec![d]));
    shapes.push(("lm_head.weight".into(), vec![config.vocab_size, d]));
    shapes
}

/// Initial parameters: matrices from a normal distribution of standard deviation [`STD`] cut at three sigma, gains 1.
pub fn initial_weights(config: &ModelConfig, seed: u64) -> NamedArrays {
    parameter_shapes(config)
        .into_par_iter()
        .map(|(name, shape)| {
            let array = match role(&name) {
                Role::Gain | Role::FinalGain => Array::filled(&shape, 1.0),
                Role::Embedding | Role::Head | Role::Matrix => normal_array(&shape, &Stream::new(seed, &name)),
            };
            (name, array)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

fn normal_array(shape: &[usize], stream: &Stream) -> Array {
    let n: usize = shape.iter().product();
    let data = (0..n)
        .into_par_iter()
        .with_min_len(4096)
        .map(|i| (STD * stream.truncated_normal(i as u64, Cut::THREE_SIGMA)) as f32)
        .collect();
    Array::new(shape.to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_add_up_to_the_parameter_count() {
        for size in ["pico", "nano", "32B"] {
            let config = ModelConfig::olmo2(size).unwrap();
            let n: usize = parameter_shapes(&config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(n, config.n_parameters(), "{size}");
        }
    }

    #[test]
    fn initial_weights_depend_on_seed_and_name_only() {
        let config = ModelConfig::olmo2("pico").unwrap();
        let first = initial_weights(&config, 1);
        assert_eq!(first, initial_weights(&config, 1));
        assert_ne!(first["lm_head.weight"], initial_weights(&config, 2)["lm_head.weight"]);
        assert_ne!(first["lm_head.weight"].data, first["model.embed_tokens.weight"].data);
        assert!(first["lm_head.weight"].data.iter().all(|x| x.abs() <= 0.06 + 1e-6));
        assert!(first["model.norm.weight"].data.iter().all(|x| *x == 1.0));
    }
}
