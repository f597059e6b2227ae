//! Decoding with cached keys and values: many sequences of different lengths advance together.
//!
//! Works on the weights' memory directly, without tensors or gradients; knows no sampling.

use burn::module::Param;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Gain, Matrix, Model};
use crate::config::{Attention, ModelConfig};
use crate::device;
use crate::kernels::rows::{self, Turn};
use crate::kernels::{self, AttentionLayout, RopeTable, attend_one_row, fused, matmul, simd};

/// Weights on the CPU, shared with a model that is there too.
#[derive(Clone, Debug)]
struct Shared(burn::backend::flex::FlexTensor);

impl Shared {
    fn new<const D: usize>(parameter: &Param<Tensor<D>>) -> Self {
        let value = parameter.val().without_autodiff();
        let here = device::cpu();
        Self(kernels::flex(if value.device() == here { value } else { value.to_device(&here) }))
    }

    fn matrix(matrix: &Matrix) -> Self {
        Self::new(&matrix.weight)
    }

    fn gain(gain: &Gain) -> Self {
        Self::new(&gain.weight)
    }

    fn get(&self) -> &[f32] {
        fused::elements(&self.0)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    q: Shared,
    k: Shared,
    v: Shared,
    o: Shared,
    q_norm: Shared,
    k_norm: Shared,
    attention_norm: Shared,
    gate: Shared,
    up: Shared,
    down: Shared,
    feed_forward_norm: Shared,
}

/// A model ready to generate. Later updates of the model do not change it.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: ModelConfig,
    embedding: Shared,
    layers: Vec<Layer>,
    norm: Shared,
    head: Shared,
    /// Rotations of the positions the model is meant for.
    rope: RopeTable,
}

/// Keys and values of one sequence, per layer `[positions, K * D]`.
#[derive(Clone, Debug)]
struct Sequence {
    length: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// Keys and values of the tokens seen so far, for several sequences.
#[derive(Clone, Debug)]
pub struct KvCache {
    sequences: Vec<Sequence>,
    kv_width: usize,
}

impl KvCache {
    /// Number of sequences.
    pub fn n_sequences(&self) -> usize {
        self.sequences.len()
    }

    /// Tokens of sequence `sequence` seen so far.
    pub fn len_of(&self, sequence: usize) -> usize {
        self.sequences[sequence].length
    }

    /// A cache of `n` copies of sequence `sequence`, to continue one prompt in several ways.
    #[must_use]
    pub fn fork(&self, sequence: usize, n: usize) -> Self {
        self.select(&vec![sequence; n])
    }

    /// A cache whose sequence `i` is a copy of sequence `picked[i]`.
    #[must_use]
    pub fn select(&self, picked: &[usize]) -> Self {
        Self { sequences: picked.iter().map(|i| self.sequences[*i].clone()).collect(), kv_width: self.kv_width }
    }

    /// Forgets all but the first `length` tokens of sequence `sequence`.
    pub fn truncate(&mut self, sequence: usize, length: usize) {
        let sequence = &mut self.sequences[sequence];
        sequence.length = sequence.length.min(length);
        for cached in sequence.keys.iter_mut().chain(&mut sequence.values) {
            cached.truncate(sequence.length * self.kv_width);
        }
    }
}

impl Decoder {
    /// A decoder over the present weights of `model`; decoding is always on the CPU, which a model elsewhere is copied to.
    pub fn new(model: &Model) -> Self {
        let gain = |gain: &Option<Gain>| Shared::gain(gain.as_ref().expect("OLMo 2"));
        let matrix = |matrix: &Option<Matrix>| Shared::matrix(matrix.as_ref().expect("OLMo 2"));
        let layers = model.model.layers.iter().map(|block| {
            let attention = block.self_attn.as_ref().expect("OLMo 2");
            Layer {
                q: Shared::matrix(&attention.q_proj),
                k: Shared::matrix(&attention.k_proj),
                v: Shared::matrix(&attention.v_proj),
                o: Shared::matrix(&attention.o_proj),
                q_norm: gain(&attention.q_norm),
                k_norm: gain(&attention.k_norm),
                attention_norm: gain(&block.post_attention_layernorm),
                gate: matrix(&block.mlp.gate_proj),
                up: matrix(&block.mlp.up_proj),
                down: matrix(&block.mlp.down_proj),
                feed_forward_norm: gain(&block.post_feedforward_layernorm),
            }
        });
        Self {
            config: model.config.clone(),
            embedding: Shared::matrix(&model.model.embed_tokens),
            layers: layers.collect(),
            norm: gain(&model.model.norm),
            head: Shared::matrix(model.lm_head.as_ref().unwrap_or(&model.model.embed_tokens)),
            rope: rope_table(&model.config, model.config.max_position_embeddings),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache for `n` sequences.
    pub fn cache(&self, n: usize) -> KvCache {
        let n_layers = self.config.n_layers();
        let empty = Sequence { length: 0, keys: vec![Vec::new(); n_layers], values: vec![Vec::new(); n_layers] };
        KvCache { sequences: vec![empty; n], kv_width: attention(&self.config).kv_width() }
    }

    /// Feeds every sequence its new tokens and returns the logits `[V]` after its last one.
    ///
    /// A sequence with no new tokens stays as it is and gets an empty vector.
    ///
    /// # Panics
    /// When there is not one slice of tokens per sequence of the cache.
    pub fn advance(&self, cache: &mut KvCache, new_tokens: &[&[u32]]) -> Vec<Vec<f32>> {
        assert_eq!(new_tokens.len(), cache.n_sequences(), "one slice of new tokens per sequence");
        let config = &self.config;
        let eps = config.norm_eps as f32;
        let d = config.hidden_size;
        // One row per new token; each belongs to a sequence and has a position in it.
        let rows: Vec<(usize, usize)> = new_tokens
            .iter()
            .enumerate()
            .flat_map(|(s, tokens)| {
                let start = cache.len_of(s);
                (0..tokens.len()).map(move |i| (s, start + i))
            })
            .collect();
        let ids: Vec<u32> = new_tokens.iter().flat_map(|tokens| tokens.iter().copied()).collect();
        if ids.is_empty() {
            return vec![Vec::new(); new_tokens.len()];
        }
        let last = rows.iter().map(|row| row.1).max().unwrap_or(0);
        let rope = if last < config.max_position_embeddings { self.rope.clone() } else { rope_table(config, last + 1) };
        let mut x = rows::gather(self.embedding.get(), &ids, d);
        for (index, layer) in self.layers.iter().enumerate() {
            let y = self.attend(layer, index, &x, cache, &rows, &rope);
            let residual = x;
            x = simd::unwritten(residual.len());
            rows::rms_norm(&mut x, &y, layer.attention_norm.get(), Some(&residual), eps);
            let y = feed_forward(layer, &x, d);
            let residual = x;
            x = simd::unwritten(residual.len());
            rows::rms_norm(&mut x, &y, layer.feed_forward_norm.get(), Some(&residual), eps);
        }
        for (sequence, tokens) in cache.sequences.iter_mut().zip(new_tokens) {
            sequence.length += tokens.len();
        }
        // Only the last row of each sequence goes through the head.
        let mut picked = Vec::new();
        let mut end = 0;
        for tokens in new_tokens.iter().filter(|tokens| !tokens.is_empty()) {
            end += tokens.len();
            picked.extend_from_slice(&x[(end - 1) * d..end * d]);
        }
        let mut normed = simd::unwritten(picked.len());
        rows::rms_norm(&mut normed, &picked, self.norm.get(), None, eps);
        let logits = project(&normed, &self.head, d);
        let mut logits = logits.chunks_exact(config.vocab_size);
        new_tokens
            .iter()
            .map(|tokens| if tokens.is_empty() { Vec::new() } else { logits.next().map_or_else(Vec::new, <[f32]>::to_vec) })
            .collect()
    }

    fn attend(
        &self,
        layer: &Layer,
        index: usize,
        x: &[f32],
        cache: &mut KvCache,
        rows: &[(usize, usize)],
        rope: &RopeTable,
    ) -> Vec<f32> {
        let config = &self.config;
        let attention = attention(config);
        let (d, width, kv_width) = (config.hidden_size, attention.query_width(), attention.kv_width());
        let half = attention.head_dim / 2;
        let turned = |w: &Shared, gain: &Shared| {
            let raw = project(x, w, d);
            let mut out = simd::unwritten(raw.len());
            rows::rms_norm(&mut out, &raw, gain.get(), None, config.norm_eps as f32);
            for (row, (_, position)) in out.chunks_exact_mut(gain.get().len()).zip(rows) {
                let at = position * half..(position + 1) * half;
                rows::rotate_row(row, &rope.cos[at.clone()], &rope.sin[at], Turn::Forward);
            }
            out
        };
        let q = turned(&layer.q, &layer.q_norm);
        let k = turned(&layer.k, &layer.k_norm);
        let v = project(x, &layer.v, d);
        for ((s, _), (k, v)) in rows.iter().zip(k.chunks_exact(kv_width).zip(v.chunks_exact(kv_width))) {
            cache.sequences[*s].keys[index].extend_from_slice(k);
            cache.sequences[*s].values[index].extend_from_slice(v);
        }
        let layout = AttentionLayout {
            n_sequences: 1,
            length: 1,
            n_heads: attention.n_heads,
            n_kv_heads: attention.n_kv_heads,
            head_dim: attention.head_dim,
            visible_from: None,
            window: None,
        };
        let cache = &*cache;
        let mut out = simd::unwritten(q.len());
        out.par_chunks_exact_mut(width).zip(q.par_chunks_exact(width)).zip(rows.par_iter()).for_each(
            |((out, q), (s, position))| {
                let seen = (position + 1) * kv_width;
                let sequence = &cache.sequences[*s];
                attend_one_row(layout, out, q, &sequence.keys[index][..seen], &sequence.values[index][..seen]);
            },
        );
        project(&out, &layer.o, width)
    }
}

fn rope_table(config: &ModelConfig, length: usize) -> RopeTable {
    let attention = attention(config);
    RopeTable::new(0, length, attention.head_dim, &attention.rope.expect("OLMo 2"))
}

fn attention(config: &ModelConfig) -> &Attention {
    config.attention().expect("OLMo 2")
}

fn project(x: &[f32], w: &Shared, inputs: usize) -> Vec<f32> {
    let n = x.len() / inputs;
    let mut out = simd::unwritten(n * (w.get().len() / inputs));
    matmul::forward(&mut out, x, w.get(), inputs);
    out
}

fn feed_forward(layer: &Layer, x: &[f32], d: usize) -> Vec<f32> {
    let (gate, up) = (project(x, &layer.gate, d), project(x, &layer.up, d));
    let mut product = simd::unwritten(gate.len());
    rows::swiglu(&mut product, &gate, &up);
    let f = layer.gate.get().len() / d;
    project(&product, &layer.down, f)
}
