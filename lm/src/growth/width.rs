//! The width operator: every channel, head and feed-forward unit becomes `k` copies of itself.
//!
//! Let a replicated vector be `k` copies of the small one. A matrix whose inputs are replicated gives the small result
//! iff the blocks that read the copies add up to the small matrix. So block row `a` is `W - sum_b R_ab` on the diagonal
//! and `R_ab` beside it, for any noise `R`; a matrix with outputs that are not replicated (the head) is cut into `k`
//! shares `W / k + S_b` with `sum_b S_b = 0`. RMSNorm of a replicated vector is replicated, and so is attention, because
//! whole heads are copied. Gradients of replicated outputs are divided by `k`; hence the moments.

use super::{Growth, KvHeads, Moment};
use crate::config::{Attention, ModelConfig};
use crate::init::{Role, STD, parameter_shapes, role};
use crate::random::Stream;
use crate::weights::{Array, NamedArrays};

/// Where an index of a grown axis comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// Copy number `copy` of index `old`.
    Copy { old: usize, copy: usize },
    /// A new index.
    New(usize),
}

/// One axis of a grown array.
#[derive(Clone, Debug)]
struct Axis {
    /// How many copies of an old index there are.
    copies: usize,
    origins: Vec<Origin>,
}

impl Axis {
    fn unchanged(n: usize) -> Self {
        Self { copies: 1, origins: (0..n).map(|old| Origin::Copy { old, copy: 0 }).collect() }
    }

    /// All of the old axis, `k` times, then `new` more.
    fn repeated(n: usize, k: usize, new: usize) -> Self {
        let copies = (0..k).flat_map(|copy| (0..n).map(move |old| Origin::Copy { old, copy }));
        Self { copies: k, origins: copies.chain((0..new).map(Origin::New)).collect() }
    }

    /// Query heads when key heads stay: the copies of a group's heads follow one another, so that all read its key head.
    fn repeated_in_groups(config: &Attention, k: usize) -> Self {
        let group = config.n_heads / config.n_kv_heads * config.head_dim;
        let origins = (0..config.n_kv_heads)
            .flat_map(|g| (0..k).map(move |copy| (g, copy)))
            .flat_map(|(g, copy)| (0..group).map(move |i| Origin::Copy { old: g * group + i, copy }));
        Self { copies: k, origins: origins.collect() }
    }
}

/// How every kind of axis grows.
struct Axes {
    vocab: Axis,
    residual: Axis,
    query: Axis,
    kv: Axis,
    units: Axis,
}

impl Axes {
    fn new(growth: &Growth, before: &ModelConfig, after: &ModelConfig) -> Self {
        let &Growth::Width { factor: k, kv_heads, .. } = growth else { unreachable!("only widths come here") };
        let attention = before.attention().expect("checked by the configuration's growth");
        let (query, kv) = match kv_heads {
            KvHeads::Grow => (Axis::repeated(attention.query_width(), k, 0), Axis::repeated(attention.kv_width(), k, 0)),
            KvHeads::Keep => (Axis::repeated_in_groups(attention, k), Axis::unchanged(attention.kv_width())),
        };
        let units = before.intermediate_size();
        Self {
            vocab: Axis::unchanged(before.vocab_size),
            residual: Axis::repeated(before.hidden_size, k, 0),
            query,
            kv,
            units: Axis::repeated(units, k, after.intermediate_size() - k * units),
        }
    }

    /// Output and input axis of the parameter called `name`; gains have an output only.
    fn of(&self, name: &str) -> (&Axis, Option<&Axis>) {
        let part = name.strip_suffix(".weight").unwrap_or(name).rsplit('.').next().unwrap_or(name);
        match part {
            "embed_tokens" | "lm_head" => (&self.vocab, Some(&self.residual)),
            "q_proj" => (&self.query, Some(&self.residual)),
            "k_proj" | "v_proj" => (&self.kv, Some(&self.residual)),
            "o_proj" => (&self.residual, Some(&self.query)),
            "gate_proj" | "up_proj" => (&self.units, Some(&self.residual)),
            "down_proj" => (&self.residual, Some(&self.units)),
            "q_norm" => (&self.query, None),
            "k_norm" => (&self.kv, None),
            _ => (&self.residual, None),
        }
    }
}

/// An array with the grown axes whose elements `f` gives from `(output origin, input origin)`.
fn build(output: &Axis, input: Option<&Axis>, f: impl Fn(Origin, Origin) -> f32) -> Array {
    const NO_INPUT: [Origin; 1] = [Origin::Copy { old: 0, copy: 0 }];
    let inputs = input.map_or(NO_INPUT.as_slice(), |axis| &axis.origins);
    let data = output.origins.iter().flat_map(|o| inputs.iter().map(|i| f(*o, *i))).collect();
    let mut shape = vec![output.origins.len()];
    shape.extend(input.map(|axis| axis.origins.len()));
    Array::new(shape, data)
}

pub(super) fn weights(growth: &Growth, before: &ModelConfig, after: &ModelConfig, small: &NamedArrays) -> NamedArrays {
    let axes = Axes::new(growth, before, after);
    parameter_shapes(before)
        .into_iter()
        .map(|(name, _)| {
            let grown = weight(growth, &name, &axes, &small[&name]);
            (name, grown)
        })
        .collect()
}

fn weight(growth: &Growth, name: &str, axes: &Axes, small: &Array) -> Array {
    let &Growth::Width { factor: k, noise, seed, .. } = growth else { unreachable!("only widths come here") };
    let (output, input) = axes.of(name);
    let columns = small.shape.get(1).copied().unwrap_or(1);
    let at = |o: usize, i: usize| small.data[o * columns + i];
    // The embedding is read by row, so its columns are outputs: they are simply repeated, as gains are.
    let (Some(input), Role::Matrix | Role::Head) = (input, role(name)) else {
        return build(output, input, |o, i| match (o, i) {
            (Origin::Copy { old: o, .. }, Origin::Copy { old: i, .. }) => at(o, i),
            _ => unreachable!("new indices appear in matrices of the feed-forward layer only"),
        });
    };
    let mean_square = small.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / small.len().max(1) as f64;
    let size = noise * mean_square.sqrt();
    let stream = Stream::new(seed, &format!("grow.{name}"));
    let fresh = Stream::new(seed, &format!("grow.new.{name}"));
    // The noise that output copy `a` reads of input copy `b` at element `(o, i)`.
    let perturbation = |a: usize, b: usize, o: usize, i: usize| {
        if size == 0.0 {
            return 0.0;
        }
        let index = ((a * k + b) * small.len() + o * columns + i) as u64;
        size * stream.normal(index)
    };
    let width = input.origins.len();
    build(output, Some(input), |o, i| {
        let value = match (o, i) {
            // New feed-forward units: random inputs, and outputs that start at 0.
            (_, Origin::New(_)) => 0.0,
            (Origin::New(new), Origin::Copy { old, copy }) => STD * fresh.normal((new * width + copy * columns + old) as u64),
            (Origin::Copy { old: o, copy: a }, Origin::Copy { old: i, copy: b }) => {
                let w = f64::from(at(o, i));
                if output.copies == 1 {
                    // Shares of an output that is not replicated: the noise of all but the last adds up in the last.
                    let others = || (0..k - 1).map(|b| perturbation(a, b, o, i)).sum::<f64>();
                    w / k as f64 + if b + 1 < k { perturbation(a, b, o, i) } else { -others() }
                } else if a == b {
                    w - (0..k).filter(|b| *b != a).map(|b| perturbation(a, b, o, i)).sum::<f64>()
                } else {
                    perturbation(a, b, o, i)
                }
            }
        };
        value as f32
    })
}

pub(super) fn moments(
    growth: &Growth,
    before: &ModelConfig,
    after: &ModelConfig,
    small: &NamedArrays,
    moment: Moment,
) -> NamedArrays {
    let axes = Axes::new(growth, before, after);
    small
        .iter()
        .map(|(name, small)| {
            let (output, input) = axes.of(name);
            let columns = small.shape.get(1).copied().unwrap_or(1);
            // The columns of the embedding are outputs of the look-up.
            let copies = if role(name) == Role::Embedding { axes.residual.copies } else { output.copies };
            let scale = match moment {
                Moment::First => 1.0 / copies as f32,
                Moment::Second => 1.0 / (copies * copies) as f32,
            };
            let grown = build(output, input, |o, i| match (o, i) {
                (Origin::Copy { old: o, .. }, Origin::Copy { old: i, .. }) => scale * small.data[o * columns + i],
                _ => 0.0,
            });
            (name.clone(), grown)
        })
        .collect()
}
