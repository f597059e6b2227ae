//! Where every index of a grown array comes from, by the parameter's name and its block's configuration.

use super::{Growth, GrowthError, KvHeads};
use crate::config::{Attention, FeedForward, GatedDelta, Layer, Mixer, ModelConfig};

/// Where an index of a grown axis comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Copy number `copy` of index `old`.
    Copy {
        /// Index before growth.
        old: usize,
        /// Number of the copy.
        copy: usize,
    },
    /// A new index.
    New(usize),
}

/// One axis of a grown array.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// How many copies of an old index there are.
    pub(super) copies: usize,
    /// One per index after growth.
    pub(super) origins: Vec<Origin>,
}

impl Axis {
    fn unchanged(n: usize) -> Self {
        Self::repeated(n, 1, 0)
    }

    /// All of the old axis, `k` times, then `new` more.
    fn repeated(n: usize, k: usize, new: usize) -> Self {
        let copies = (0..k).flat_map(|copy| (0..n).map(move |old| Origin::Copy { old, copy }));
        Self { copies: k, origins: copies.chain((0..new).map(Origin::New)).collect() }
    }

    /// Query heads when key heads stay: the copies of a group's heads follow one another, so that all read its key head.
    fn repeated_in_groups(attention: &Attention, k: usize) -> Self {
        let group = attention.n_heads / attention.n_kv_heads * attention.head_dim;
        let origins = (0..attention.n_kv_heads)
            .flat_map(|g| (0..k).map(move |copy| (g, copy)))
            .flat_map(|(g, copy)| (0..group).map(move |i| Origin::Copy { old: g * group + i, copy }));
        Self { copies: k, origins: origins.collect() }
    }

    /// Axes one after the other, each repeated by itself.
    fn joined(parts: &[usize], k: usize) -> Self {
        let starts = parts.iter().scan(0, |start, n| {
            *start += n;
            Some(*start - n)
        });
        let origins = starts
            .zip(parts)
            .flat_map(|(start, n)| (0..k).flat_map(move |copy| (start..start + n).map(move |old| Origin::Copy { old, copy })));
        Self { copies: k, origins: origins.collect() }
    }
}

/// The axes of one array.
#[derive(Clone, Debug)]
pub(super) struct Axes {
    /// Arrays stacked along the first axis, which does not grow.
    pub(super) stacked: usize,
    /// Rows.
    pub(super) output: Axis,
    /// Columns; a gain has none.
    pub(super) input: Option<Axis>,
    /// The rank that a matrix is written with: 3 for a convolution `[channels, 1, taps]`.
    pub(super) convolution: bool,
}

/// What an operator multiplies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors {
    /// Copies of the residual stream.
    pub(super) residual: usize,
    /// Copies of heads.
    pub(super) heads: usize,
    /// Whether key heads are copied with query heads.
    pub(super) kv_heads: KvHeads,
    /// Size of the noise that tells copies apart.
    pub(super) noise: f64,
    /// Seed of the noise and of new units.
    pub(super) seed: u64,
}

impl Factors {
    /// The factors of an operator that changes widths; `None` for depth.
    pub(super) fn of(growth: &Growth) -> Option<Self> {
        match *growth {
            Growth::Width { factor, noise, seed, kv_heads, .. } => {
                Some(Self { residual: factor, heads: factor, kv_heads, noise, seed })
            }
            Growth::Heads { factor, noise, seed, kv_heads } => Some(Self { residual: 1, heads: factor, kv_heads, noise, seed }),
            Growth::FeedForward { seed, .. } => Some(Self { residual: 1, heads: 1, kv_heads: KvHeads::Grow, noise: 0.0, seed }),
            Growth::Depth { .. } => None,
        }
    }

    /// The axes of the parameter called `name`.
    pub(super) fn axes(&self, name: &str, before: &ModelConfig, after: &ModelConfig) -> Axes {
        let d = before.hidden_size;
        let residual = || Axis::repeated(d, self.residual, 0);
        let matrix = |output: Axis, input: Axis| Axes { stacked: 1, output, input: Some(input), convolution: false };
        let gain = |output: Axis| Axes { stacked: 1, output, input: None, convolution: false };
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((index, part)) = layer.and_then(|(index, part)| Some((index.parse::<usize>().ok()?, part))) else {
            return match name {
                "model.norm.weight" => gain(residual()),
                _ => matrix(Axis::unchanged(before.vocab_size), residual()),
            };
        };
        let part = part.strip_suffix(".weight").unwrap_or(part);
        let (old, new) = (&before.layers[index], &after.layers[index]);
        if let Some(part) = part.strip_prefix("mlp.") {
            return self.feed_forward(part, old, new, residual());
        }
        match (&old.mixer, part.split_once('.')) {
            (Mixer::Attention(attention), Some(("self_attn", part))) => {
                let (q, kv) = self.attention(attention);
                match part {
                    "q_proj" => matrix(q, residual()),
                    "k_proj" | "v_proj" => matrix(kv, residual()),
                    "o_proj" => matrix(residual(), q),
                    "q_norm" => gain(q),
                    _ => gain(kv),
                }
            }
            (Mixer::GatedDelta(delta), Some(("linear_attn", part))) => self.gated_delta(part, delta, residual()),
            _ => gain(residual()),
        }
    }

    fn attention(&self, attention: &Attention) -> (Axis, Axis) {
        let k = self.heads;
        match self.kv_heads {
            KvHeads::Grow => (Axis::repeated(attention.query_width(), k, 0), Axis::repeated(attention.kv_width(), k, 0)),
            KvHeads::Keep => (Axis::repeated_in_groups(attention, k), Axis::unchanged(attention.kv_width())),
        }
    }

    fn gated_delta(&self, part: &str, delta: &GatedDelta, residual: Axis) -> Axes {
        let k = self.heads;
        let axis = |n: usize| Axis::repeated(n, k, 0);
        let matrix = |output: Axis, input: Axis| Axes { stacked: 1, output, input: Some(input), convolution: false };
        let gain = |output: Axis| Axes { stacked: 1, output, input: None, convolution: false };
        match part {
            "q_proj" | "k_proj" => matrix(axis(delta.key_width()), residual),
            "v_proj" | "g_proj" => matrix(axis(delta.value_width()), residual),
            "a_proj" | "b_proj" => matrix(axis(delta.n_value_heads), residual),
            "o_proj" => matrix(residual, axis(delta.value_width())),
            "conv1d" => {
                let channels = Axis::joined(&[delta.key_width(), delta.key_width(), delta.value_width()], k);
                Axes { convolution: true, ..matrix(channels, Axis::unchanged(delta.conv_size)) }
            }
            // One gain for all heads.
            "o_norm" => gain(Axis::unchanged(delta.value_head_dim)),
            _ => gain(axis(delta.n_value_heads)),
        }
    }

    fn feed_forward(&self, part: &str, old: &Layer, new: &Layer, residual: Axis) -> Axes {
        let (before, after) = (units(old), units(new));
        let units = Axis::repeated(before, self.residual, after - self.residual * before);
        let stacked = match old.feed_forward {
            FeedForward::Experts(experts) if part != "gate" => experts.n_experts,
            _ => 1,
        };
        let (output, input) = match part {
            "gate" => match old.feed_forward {
                FeedForward::Experts(experts) => (Axis::unchanged(experts.n_experts), residual),
                FeedForward::SwiGlu { .. } => (residual.clone(), residual),
            },
            _ if part.ends_with("down_proj") => (residual, units),
            _ => (units, residual),
        };
        Axes { stacked, output, input: Some(input), convolution: false }
    }
}

/// Hidden units of a block's feed-forward layer or of one of its experts.
pub(super) fn units(layer: &Layer) -> usize {
    match layer.feed_forward {
        FeedForward::SwiGlu { intermediate_size } => intermediate_size,
        FeedForward::Experts(experts) => experts.intermediate_size,
    }
}

/// The configuration with residual stream, heads and hidden units multiplied.
pub(super) fn grown_config(config: &ModelConfig, factors: Factors, wanted: Option<usize>) -> Result<ModelConfig, GrowthError> {
    let Factors { residual, heads, kv_heads, .. } = factors;
    if let Some(wanted) = wanted
        && let Some(least) = config.layers.iter().map(|layer| residual * units(layer)).find(|least| wanted < *least)
    {
        let text = format!("intermediate_size {wanted} is below {least}, which the copies need");
        return Err(GrowthError::Unsupported(text));
    }
    let grown = config.map_layers(|layer| {
        let intermediate_size = wanted.unwrap_or(residual * units(&layer));
        Layer {
            mixer: match layer.mixer {
                Mixer::Attention(a) => Mixer::Attention(Attention {
                    n_heads: heads * a.n_heads,
                    n_kv_heads: if kv_heads == KvHeads::Grow { heads * a.n_kv_heads } else { a.n_kv_heads },
                    ..a
                }),
                Mixer::GatedDelta(g) => Mixer::GatedDelta(GatedDelta {
                    n_key_heads: heads * g.n_key_heads,
                    n_value_heads: heads * g.n_value_heads,
                    ..g
                }),
            },
            feed_forward: match layer.feed_forward {
                FeedForward::SwiGlu { .. } => FeedForward::SwiGlu { intermediate_size },
                FeedForward::Experts(e) => FeedForward::Experts(crate::config::Experts { intermediate_size, ..e }),
            },
            ..layer
        }
    });
    Ok(ModelConfig { hidden_size: residual * config.hidden_size, ..grown })
}
