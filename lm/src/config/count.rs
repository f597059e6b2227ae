//! Parameters and training FLOPs of a configuration.

use super::{FeedForward, Layer, Mixer, ModelConfig, NormKind, NormOrder};

/// Weights of matrices that every token meets, weights that it meets on average, and other parameters of a block.
struct Block {
    /// All parameters.
    parameters: usize,
    /// Matrix weights a token is multiplied with (for experts, those of the chosen ones).
    active_matrices: usize,
}

fn block(layer: &Layer, d: usize, norm: NormKind) -> Block {
    let (mixer_matrices, mixer_rest) = match layer.mixer {
        Mixer::Attention(a) => {
            let gains = if a.qk_norm { a.query_width() + a.kv_width() } else { 0 };
            (d * 2 * (a.query_width() + a.kv_width()), gains)
        }
        Mixer::GatedDelta(g) => {
            // q, k, v, gate and output; the two projections to one number per value head.
            let matrices = d * (2 * g.key_width() + 3 * g.value_width()) + 2 * d * g.n_value_heads;
            (matrices, g.conv_width() * g.conv_size + 2 * g.n_value_heads + g.value_head_dim)
        }
    };
    let (all, active) = match layer.feed_forward {
        FeedForward::SwiGlu { intermediate_size } => (3 * d * intermediate_size, 3 * d * intermediate_size),
        FeedForward::Experts(e) => {
            let expert = 3 * d * e.intermediate_size;
            (e.n_experts * (expert + d), e.top_k * expert + e.n_experts * d)
        }
    };
    let gains = match (norm, layer.order) {
        (NormKind::Layer, _) => 0,
        (NormKind::Rms, NormOrder::Pre | NormOrder::Post) => 2 * d,
    };
    Block { parameters: mixer_matrices + mixer_rest + all + gains, active_matrices: mixer_matrices + active }
}

impl ModelConfig {
    /// Number of parameters; a tied head counts once.
    pub fn n_parameters(&self) -> usize {
        let d = self.hidden_size;
        let blocks: usize = self.layers.iter().map(|layer| block(layer, d, self.norm).parameters).sum();
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let last = if self.norm == NormKind::Rms { d } else { 0 };
        blocks + last + tables * self.vocab_size * d
    }

    /// Number of parameters without the input embedding, the count that names the sizes.
    pub fn n_non_embedding_parameters(&self) -> usize {
        self.n_parameters() - self.vocab_size * self.hidden_size
    }

    /// Training FLOPs per token (forward and backward) at sequence length `length`: `6 N + sum over layers of`
    /// `12 H D min(window, T)` for attention and `24 H_v d_k d_v + 6 conv_size * channels` for a gated delta rule.
    ///
    /// `N` counts the weights of matrices that a token is multiplied with, head included, embedding (a lookup) not; of the
    /// experts, those it goes to. The attention term is its two products over all keys in reach, causality not deducted
    /// (Kaplan et al., arXiv 2001.08361; as OLMo-core counts it). The delta rule reads its state, corrects it and reads it
    /// out: four products with the state, `8 H_v d_k d_v`, in its recurrent form; OLMo-core counts these once, forward
    /// only, here backward counts twice as everywhere else.
    pub fn flops_per_token(&self, length: usize) -> f64 {
        let head = self.vocab_size * self.hidden_size;
        let layers = self.layers.iter().map(|layer| {
            let matrices = block(layer, self.hidden_size, self.norm).active_matrices;
            let mixing = match layer.mixer {
                Mixer::Attention(a) => 12 * a.query_width() * a.window.map_or(length, |window| window.min(length)),
                Mixer::GatedDelta(g) => {
                    24 * g.n_value_heads * g.key_head_dim * g.value_head_dim + 6 * g.conv_size * g.conv_width()
                }
            };
            6.0 * matrices as f64 + mixing as f64
        });
        6.0 * head as f64 + layers.sum::<f64>()
    }
}
