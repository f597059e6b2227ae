//! Decoding with cached keys, values and states: many sequences of different lengths advance together.
//!
//! Works on packed copies of the weights, without tensors or gradients. Every row is computed by operations of its own in
//! a fixed order, so a sequence has the same bits alone and in any batch, read at once or token by token, on any number
//! of threads. Knows no sampling.

use std::path::Path;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Mixer, ModelConfig, NormKind, NormOrder};
use crate::kernels::{norms, rows, simd};
use crate::weights::NamedArrays;

use super::{Model, WeightsError};

mod attention;
mod cache;
pub(crate) mod crew;
mod delta;
mod feed_forward;
mod packed;
#[cfg(test)]
mod tests;
mod weights;

use attention::{AttentionLayer, Rotations};
pub use cache::{Forgotten, KvCache, Sequence};
use crew::Crew;
use delta::DeltaLayer;
use feed_forward::FeedForwardLayer;
use packed::Packed;
use weights::{Named, Values};

/// Rows that go through the layers together.
const BLOCK: usize = 128;
/// Weights that a token reads per thread worth having.
const WEIGHTS_PER_THREAD: usize = 1 << 17;

#[derive(Clone, Debug)]
enum Norm {
    Rms(Values),
    Layer,
}

impl Norm {
    fn new(named: &mut Named, kind: NormKind, name: &str) -> Self {
        match kind {
            NormKind::Rms => Self::Rms(named.take(&format!("{name}.weight"))),
            NormKind::Layer => Self::Layer,
        }
    }

    /// The norm of every row of `x` `[n, d]`, plus `residual` where there is one.
    fn apply(&self, crew: &Crew, x: &[f32], residual: Option<&[f32]>, (d, eps): (usize, f32)) -> Vec<f32> {
        let mut out = simd::unwritten(x.len());
        // One piece for few rows.
        let piece = (1_usize << 13).div_ceil(d) * d;
        let mut pieces: Vec<&mut [f32]> = out.chunks_mut(piece).collect();
        crew.each(&mut pieces, |i, out| {
            let at = i * piece..i * piece + out.len();
            let residual = residual.map(|all| &all[at.clone()]);
            match self {
                Self::Rms(gain) => rows::norm_rows(out, &x[at], gain, residual, eps),
                Self::Layer => {
                    norms::layer_norm_rows(out, &x[at], d, eps);
                    if let Some(residual) = residual {
                        simd::add(out, residual);
                    }
                }
            }
        });
        out
    }
}

#[derive(Clone, Debug)]
enum MixerLayer {
    Attention(AttentionLayer),
    Delta(DeltaLayer),
}

#[derive(Clone, Debug)]
struct Layer {
    order: NormOrder,
    mixer: MixerLayer,
    /// Before the mixer or after it.
    mixer_norm: Norm,
    feed_forward: FeedForwardLayer,
    feed_forward_norm: Norm,
}

/// A model ready to generate, on the CPU. Later updates of the model do not change it.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: ModelConfig,
    embedding: Values,
    layers: Vec<Layer>,
    norm: Norm,
    head: Packed,
}

/// New tokens of one sequence: `len` of them from position `start` on.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

impl Decoder {
    /// A decoder over the present weights of `model`.
    pub fn new(model: &Model) -> Self {
        Self::pack(model.config(), Named::of_model(model))
    }

    /// A decoder over `weights`, each of which is freed when it is packed: the least memory for a large model.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected, or of the wrong shape.
    pub fn from_weights(config: &ModelConfig, weights: NamedArrays) -> Result<Self, WeightsError> {
        super::check(config, &weights)?;
        Ok(Self::pack(config, Named::of_arrays(weights)))
    }

    /// A decoder over the weights of a checkpoint directory.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the weights do not fit the configuration.
    pub fn load(dir: &Path) -> Result<Self, CheckpointError> {
        let Checkpoint { config, weights, .. } = Checkpoint::read_model(dir)?;
        Self::from_weights(&config, weights).map_err(|source| CheckpointError::Weights { path: dir.to_path_buf(), source })
    }

    fn pack(config: &ModelConfig, mut named: Named) -> Self {
        let (d, eps) = (config.hidden_size, config.norm_eps as f32);
        let mut rotations: Vec<Rotations> = Vec::new();
        let layers = config.layers.iter().enumerate().map(|(index, layer)| {
            let place = format!("model.layers.{index}");
            let named = &mut named;
            let mixer = match &layer.mixer {
                Mixer::Attention(shape) => {
                    let length = config.max_position_embeddings;
                    let turn = shape.rope.map(|rope| Rotations::new(rope, shape.head_dim, length, &rotations));
                    let attention = AttentionLayer::new(named, &place, shape, turn, (d, eps));
                    rotations.extend(attention.rotations().cloned());
                    MixerLayer::Attention(attention)
                }
                Mixer::GatedDelta(shape) => MixerLayer::Delta(DeltaLayer::new(named, &place, shape, d)),
            };
            let [first, second] = match layer.order {
                NormOrder::Pre => ["input_layernorm", "post_attention_layernorm"],
                NormOrder::Post => ["post_attention_layernorm", "post_feedforward_layernorm"],
            };
            Layer {
                order: layer.order,
                mixer,
                mixer_norm: Norm::new(named, config.norm, &format!("{place}.{first}")),
                feed_forward: FeedForwardLayer::new(named, &place, &layer.feed_forward, d),
                feed_forward_norm: Norm::new(named, config.norm, &format!("{place}.{second}")),
            }
        });
        let layers = layers.collect();
        let embedding = named.take("model.embed_tokens.weight");
        let norm = Norm::new(&mut named, config.norm, "model.norm");
        let head = match named.find("lm_head.weight") {
            Some(head) => Packed::stack(&[&head], d),
            None => Packed::stack(&[&embedding], d),
        };
        Self { config: config.clone(), embedding, layers, norm, head }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty sequence.
    pub fn sequence(&self) -> Sequence {
        Sequence::new(&self.config)
    }

    /// An empty cache for `n` sequences.
    pub fn cache(&self, n: usize) -> KvCache {
        KvCache { sequences: vec![self.sequence(); n] }
    }

    /// Threads beside the caller's that are worth having, which the shapes decide.
    pub(crate) fn helpers(&self) -> usize {
        let of = |layer: &Layer| {
            let mixer = match &layer.mixer {
                MixerLayer::Attention(layer) => layer.active(),
                MixerLayer::Delta(layer) => layer.active(),
            };
            mixer + layer.feed_forward.active()
        };
        let active: usize = self.layers.iter().map(of).sum::<usize>() + self.head.len();
        active / WEIGHTS_PER_THREAD
    }

    /// Feeds every sequence its new tokens and returns the logits `[V]` after its last one.
    ///
    /// A sequence with no new tokens stays as it is and gets an empty vector.
    ///
    /// # Panics
    /// When there is not one slice of tokens per sequence of the cache, or a token is not in the vocabulary.
    pub fn advance(&self, cache: &mut KvCache, new_tokens: &[&[u32]]) -> Vec<Vec<f32>> {
        let mut sequences: Vec<&mut Sequence> = cache.sequences.iter_mut().collect();
        let logits = Crew::with(self.helpers(), |crew| self.feed(crew, &mut sequences, new_tokens));
        let mut rows = logits.chunks_exact(self.config.vocab_size);
        let row =
            |tokens: &&[u32]| if tokens.is_empty() { Vec::new() } else { rows.next().map_or_else(Vec::new, <[f32]>::to_vec) };
        new_tokens.iter().map(row).collect()
    }

    /// Feeds every sequence its new tokens: the logits `[n, V]` after the last one of each sequence that has any.
    pub(crate) fn feed(&self, crew: &Crew, sequences: &mut [&mut Sequence], new_tokens: &[&[u32]]) -> Vec<f32> {
        assert_eq!(new_tokens.len(), sequences.len(), "one slice of new tokens per sequence");
        let d = self.config.hidden_size;
        let n = new_tokens.iter().filter(|tokens| !tokens.is_empty()).count();
        let mut last = Vec::with_capacity(n * d);
        // Blocks of rows: sequences in order, a long one over several blocks.
        let (mut from, mut read) = (0, 0);
        while from < new_tokens.len() {
            let (mut to, mut free) = (from, BLOCK);
            let mut tokens: Vec<&[u32]> = Vec::new();
            while to < new_tokens.len() && free > 0 {
                let rest = &new_tokens[to][if to == from { read } else { 0 }..];
                let part = &rest[..rest.len().min(free)];
                free -= part.len();
                tokens.push(part);
                if part.len() < rest.len() {
                    break;
                }
                to += 1;
            }
            if tokens.iter().all(|part| part.is_empty()) {
                from = to;
                continue;
            }
            let x = self.block(crew, &mut sequences[from..from + tokens.len()], &tokens);
            let mut end = 0;
            for (i, part) in tokens.iter().enumerate() {
                end += part.len();
                if from + i < to && !new_tokens[from + i].is_empty() {
                    last.extend_from_slice(&x[(end - 1) * d..end * d]);
                }
            }
            // A sequence that was cut goes on where it was left.
            read = match from + tokens.len() > to {
                true => tokens[tokens.len() - 1].len() + if to == from { read } else { 0 },
                false => 0,
            };
            from = to;
        }
        let normed = self.norm.apply(crew, &last, None, self.row());
        self.head.apply(crew, &normed)
    }

    /// Width of a row and epsilon of the norms.
    fn row(&self) -> (usize, f32) {
        (self.config.hidden_size, self.config.norm_eps as f32)
    }

    /// The activations before the last norm `[n, d]` of new tokens, one row each.
    fn block(&self, crew: &Crew, sequences: &mut [&mut Sequence], tokens: &[&[u32]]) -> Vec<f32> {
        let d = self.config.hidden_size;
        let spans: Vec<Span> =
            sequences.iter().zip(tokens).map(|(sequence, tokens)| Span { start: sequence.length, len: tokens.len() }).collect();
        let mut x = Vec::with_capacity(spans.iter().map(|span| span.len).sum::<usize>() * d);
        for id in tokens.iter().copied().flatten() {
            x.extend_from_slice(&self.embedding[*id as usize * d..(*id as usize + 1) * d]);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let mut mix = |x: &[f32]| match &layer.mixer {
                MixerLayer::Attention(layer) => layer.forward(crew, index, x, sequences, &spans),
                MixerLayer::Delta(layer) => layer.forward(crew, index, x, sequences, &spans),
            };
            match layer.order {
                NormOrder::Pre => {
                    let y = mix(&layer.mixer_norm.apply(crew, &x, None, self.row()));
                    simd::add(&mut x, &y);
                    let normed = layer.feed_forward_norm.apply(crew, &x, None, self.row());
                    simd::add(&mut x, &layer.feed_forward.forward(crew, &normed));
                }
                NormOrder::Post => {
                    let y = mix(&x);
                    x = layer.mixer_norm.apply(crew, &y, Some(&x), self.row());
                    let y = layer.feed_forward.forward(crew, &x);
                    x = layer.feed_forward_norm.apply(crew, &y, Some(&x), self.row());
                }
            }
        }
        for (sequence, span) in sequences.iter_mut().zip(&spans) {
            sequence.length += span.len;
        }
        x
    }
}
