//! What decoding remembers of each sequence: pages of keys and values, and the states of gated delta rules.
//!
//! Copies of a sequence share pages and states until one of them writes, so a prompt is in memory once however many
//! samples continue it. Knows no weights.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::{Attention, GatedDelta, Mixer, ModelConfig};

/// Positions of a page.
pub(super) const PAGE: usize = 32;

/// Keys and values of up to 32 consecutive positions.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// `[K, D, 32]`.
    pub(super) keys: Box<[f32]>,
    /// `[K, 32, D]`.
    pub(super) values: Box<[f32]>,
}

/// The keys and values of one attention layer that later positions can still see.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    n_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    /// Pages that were dropped because no later position sees them.
    dropped: usize,
    pages: VecDeque<Arc<Page>>,
}

impl Pages {
    fn new(attention: &Attention) -> Self {
        let Attention { n_kv_heads, head_dim, window, .. } = *attention;
        Self { n_kv_heads, head_dim, window, dropped: 0, pages: VecDeque::new() }
    }

    /// First position that position `position` sees.
    pub(super) fn first_visible(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Drops the pages that `position` and later ones do not see.
    pub(super) fn forget_before(&mut self, position: usize) {
        let needed = self.first_visible(position) / PAGE;
        while self.dropped < needed && self.pages.pop_front().is_some() {
            self.dropped += 1;
        }
    }

    /// Stores key and value `[K * D]` of `position`, the one after the last.
    pub(super) fn push(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let (index, at, d) = (position / PAGE - self.dropped, position % PAGE, self.head_dim);
        if index == self.pages.len() {
            let empty = || vec![0.0; self.n_kv_heads * d * PAGE].into_boxed_slice();
            self.pages.push_back(Arc::new(Page { keys: empty(), values: empty() }));
        }
        let page = Arc::make_mut(&mut self.pages[index]);
        for (to, key) in page.keys.chunks_exact_mut(PAGE).zip(key) {
            to[at] = *key;
        }
        for (to, value) in page.values.chunks_exact_mut(PAGE * d).zip(value.chunks_exact(d)) {
            to[at * d..(at + 1) * d].copy_from_slice(value);
        }
    }

    /// The pages from the one that holds `position` on.
    pub(super) fn from(&self, position: usize) -> impl Iterator<Item = &Page> {
        self.pages.range(position / PAGE - self.dropped..).map(AsRef::as_ref)
    }

    /// Whether the layer still has everything it needs to go on after `length` positions.
    fn reaches_back_to(&self, length: usize) -> bool {
        self.dropped <= self.first_visible(length) / PAGE
    }

    fn truncate(&mut self, length: usize) {
        self.pages.truncate(length.div_ceil(PAGE).saturating_sub(self.dropped));
    }
}

/// What one key head of a gated delta layer remembers.
#[derive(Clone, Debug)]
pub(super) struct HeadState {
    /// The projections of the last `K - 1` tokens, oldest first, `[K - 1, channels]`: the key head's query and key, then
    /// the values of the heads that read it.
    pub(super) recent: Vec<f32>,
    /// The state of every value head of this key head, `[group, d_k, d_v]`.
    pub(super) states: Vec<f32>,
}

impl HeadState {
    fn new(delta: &GatedDelta) -> Self {
        let group = delta.n_value_heads / delta.n_key_heads;
        let channels = 2 * delta.key_head_dim + group * delta.value_head_dim;
        Self {
            recent: vec![0.0; (delta.conv_size - 1) * channels],
            states: vec![0.0; group * delta.key_head_dim * delta.value_head_dim],
        }
    }
}

/// The memory of one layer.
#[derive(Clone, Debug)]
pub(super) enum Memory {
    Attention(Pages),
    /// Per key head.
    Delta(Vec<Arc<HeadState>>),
}

/// Everything decoding remembers of one sequence. A clone costs little until it is written to.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(super) length: usize,
    pub(super) layers: Vec<Memory>,
}

impl Sequence {
    /// An empty sequence.
    pub(super) fn new(config: &ModelConfig) -> Self {
        let layers = config.layers.iter().map(|layer| match &layer.mixer {
            Mixer::Attention(attention) => Memory::Attention(Pages::new(attention)),
            Mixer::GatedDelta(delta) => {
                // Heads share the empty state until they write to it.
                let empty = Arc::new(HeadState::new(delta));
                Memory::Delta((0..delta.n_key_heads).map(|_| empty.clone()).collect())
            }
        });
        Self { length: 0, layers: layers.collect() }
    }

    /// Tokens seen so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no token was seen yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// A sequence cannot be taken back to an earlier length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer} has forgotten what it knew after {length} tokens; keep a copy of the sequence from before")]
pub struct Forgotten {
    /// The layer.
    pub layer: usize,
    /// The length asked for.
    pub length: usize,
}

/// What decoding remembers of several sequences.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) sequences: Vec<Sequence>,
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
        Self { sequences: picked.iter().map(|i| self.sequences[*i].clone()).collect() }
    }

    /// Forgets all but the first `length` tokens of sequence `sequence`.
    ///
    /// # Errors
    /// When a window has moved past what would be needed, or there is a gated delta layer, whose state cannot be undone;
    /// the sequence stays as it was. A copy taken earlier ([`fork`](Self::fork)) always works and shares its memory.
    pub fn truncate(&mut self, sequence: usize, length: usize) -> Result<(), Forgotten> {
        let sequence = &mut self.sequences[sequence];
        if length >= sequence.length {
            return Ok(());
        }
        let keeps = |memory: &Memory| match memory {
            Memory::Attention(pages) => pages.reaches_back_to(length),
            Memory::Delta(_) => length == 0,
        };
        if let Some(layer) = sequence.layers.iter().position(|memory| !keeps(memory)) {
            return Err(Forgotten { layer, length });
        }
        sequence.length = length;
        for memory in &mut sequence.layers {
            match memory {
                Memory::Attention(pages) => pages.truncate(length),
                Memory::Delta(heads) => {
                    for head in heads {
                        let head = Arc::make_mut(head);
                        head.recent.fill(0.0);
                        head.states.fill(0.0);
                    }
                }
            }
        }
        Ok(())
    }
}
