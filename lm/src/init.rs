//! Names, shapes and initial values of a model's parameters.
//!
//! The names are those that `transformers` has in memory, with the experts of a layer stacked into one tensor per
//! matrix; `checkpoint::layout` spells them as files do. Every value depends only on the seed, the tensor's name and the
//! element's index.

use rayon::prelude::*;

use crate::config::{FeedForward, Layer, Mixer, ModelConfig, NormKind, NormOrder};
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
    /// A matrix inside a block, `[out, in]`, or one per expert, `[E, out, in]`.
    Matrix,
    /// A router, `[E, d]`.
    Router,
    /// The taps of a depthwise convolution, `[channels, 1, taps]`.
    Convolution,
    /// The logarithm of the decay rates of a gated delta rule, `[H_v]`.
    DecayRate,
    /// The bias of its step sizes, `[H_v]`.
    StepBias,
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
        _ if name.ends_with("mlp.gate.weight") => Role::Router,
        _ if name.ends_with("conv1d.weight") => Role::Convolution,
        _ if name.ends_with("A_log") => Role::DecayRate,
        _ if name.ends_with("dt_bias") => Role::StepBias,
        _ => Role::Matrix,
    }
}

/// Name and shape of every parameter of a model, embedding first, head last.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let d = config.hidden_size;
    let mut shapes = vec![("model.embed_tokens.weight".to_string(), vec![config.vocab_size, d])];
    for (index, layer) in config.layers.iter().enumerate() {
        let block = block_shapes(layer, d, config.norm);
        shapes.extend(block.into_iter().map(|(name, shape)| (format!("model.layers.{index}.{name}"), shape)));
    }
    if config.norm == NormKind::Rms {
        shapes.push(("model.norm.weight".into(), vec![d]));
    }
    if !config.tie_word_embeddings {
        shapes.push(("lm_head.weight".into(), vec![config.vocab_size, d]));
    }
    shapes
}

fn block_shapes(layer: &Layer, d: usize, norm: NormKind) -> Vec<(&'static str, Vec<usize>)> {
    let mut shapes = match layer.mixer {
        Mixer::Attention(a) => {
            let (q, kv) = (a.query_width(), a.kv_width());
            let mut shapes = vec![
                ("self_attn.q_proj.weight", vec![q, d]),
                ("self_attn.k_proj.weight", vec![kv, d]),
                ("self_attn.v_proj.weight", vec![kv, d]),
                ("self_attn.o_proj.weight", vec![d, q]),
            ];
            if a.qk_norm {
                shapes.extend([("self_attn.q_norm.weight", vec![q]), ("self_attn.k_norm.weight", vec![kv])]);
            }
            shapes
        }
        Mixer::GatedDelta(g) => {
            let (key, value, heads) = (g.key_width(), g.value_width(), g.n_value_heads);
            vec![
                ("linear_attn.q_proj.weight", vec![key, d]),
                ("linear_attn.k_proj.weight", vec![key, d]),
                ("linear_attn.v_proj.weight", vec![value, d]),
                ("linear_attn.a_proj.weight", vec![heads, d]),
                ("linear_attn.b_proj.weight", vec![heads, d]),
                ("linear_attn.g_proj.weight", vec![value, d]),
                ("linear_attn.conv1d.weight", vec![g.conv_width(), 1, g.conv_size]),
                ("linear_attn.A_log", vec![heads]),
                ("linear_attn.dt_bias", vec![heads]),
                ("linear_attn.o_norm.weight", vec![g.value_head_dim]),
                ("linear_attn.o_proj.weight", vec![d, value]),
            ]
        }
    };
    if norm == NormKind::Rms {
        let names = match layer.order {
            NormOrder::Pre => ["input_layernorm.weight", "post_attention_layernorm.weight"],
            NormOrder::Post => ["post_attention_layernorm.weight", "post_feedforward_layernorm.weight"],
        };
        shapes.extend(names.map(|name| (name, vec![d])));
    }
    match layer.feed_forward {
        FeedForward::SwiGlu { intermediate_size: f } => shapes.extend([
            ("mlp.gate_proj.weight", vec![f, d]),
            ("mlp.up_proj.weight", vec![f, d]),
            ("mlp.down_proj.weight", vec![d, f]),
        ]),
        FeedForward::Experts(experts) => {
            let (e, f) = (experts.n_experts, experts.intermediate_size);
            shapes.extend([
                ("mlp.gate.weight", vec![e, d]),
                ("mlp.experts.gate_proj.weight", vec![e, f, d]),
                ("mlp.experts.up_proj.weight", vec![e, f, d]),
                ("mlp.experts.down_proj.weight", vec![e, d, f]),
            ]);
        }
    }
    shapes
}

/// Initial parameters: matrices and convolutions from a normal distribution of standard deviation [`STD`] cut at three
/// sigma, gains 1; decay rates `A` uniform in (0, 16) and step sizes log-uniform in (0.001, 0.1) (Gated DeltaNet).
pub fn initial_weights(config: &ModelConfig, seed: u64) -> NamedArrays {
    parameter_shapes(config)
        .into_par_iter()
        .map(|(name, shape)| {
            let stream = Stream::new(seed, &name);
            let array = match role(&name) {
                Role::Gain | Role::FinalGain => Array::filled(&shape, 1.0),
                Role::DecayRate => each(&shape, |i| (16.0 * (1.0 - stream.uniform(i))).max(1e-6).ln()),
                Role::StepBias => each(&shape, |i| step_bias(stream.uniform(i))),
                Role::Embedding | Role::Head | Role::Matrix | Role::Router | Role::Convolution => {
                    each(&shape, |i| STD * stream.truncated_normal(i, Cut::THREE_SIGMA))
                }
            };
            (name, array)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

/// The inverse softplus of a step size log-uniform in (0.001, 0.1).
fn step_bias(uniform: f64) -> f64 {
    let (low, high) = (0.001_f64.ln(), 0.1_f64.ln());
    let step = (low + uniform * (high - low)).exp().max(1e-4);
    step + (-(-step).exp_m1()).ln()
}

fn each(shape: &[usize], value: impl Fn(u64) -> f64 + Sync) -> Array {
    let n: usize = shape.iter().product();
    let data = (0..n).into_par_iter().with_min_len(4096).map(|i| value(i as u64) as f32).collect();
    Array::new(shape.to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;

    #[test]
    fn shapes_add_up_to_the_parameter_count() {
        let count = |config: &ModelConfig| -> usize {
            parameter_shapes(config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        for size in ["pico", "nano", "32B"] {
            let config = ModelConfig::olmo2(size).unwrap();
            assert_eq!(count(&config), config.n_parameters(), "{size}");
        }
        for family in Family::ALL {
            let config = family.model(&crate::config::Sizes {
                n_layers: 5,
                hidden_size: 64,
                n_heads: 4,
                n_kv_heads: 2,
                intermediate_size: 96,
                vocab_size: 256,
            });
            assert_eq!(count(&config), config.n_parameters(), "{family:?}");
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

    #[test]
    fn step_biases_are_inverse_softplus_of_their_range() {
        for (uniform, step) in [(0.0, 0.001), (1.0, 0.1), (0.5, 0.01)] {
            let softplus = step_bias(uniform).exp().ln_1p();
            assert!((softplus - step).abs() < 1e-9, "{softplus}");
        }
    }
}
