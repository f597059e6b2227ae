//! Which operators lead from one shape to another.

use super::axes::units;
use super::{Growth, GrowthError, KvHeads, NewBlocks, Placement};
use crate::config::{Attention, GatedDelta, Layer, Mixer, ModelConfig};

fn refuse<T>(text: String) -> Result<T, GrowthError> {
    Err(GrowthError::Unsupported(text))
}

fn times(name: &str, before: usize, after: usize) -> Result<usize, GrowthError> {
    if after.is_multiple_of(before) && after > 0 {
        Ok(after / before)
    } else {
        refuse(format!("{name} = {after} is not a multiple of {before}"))
    }
}

/// How the heads of the first block grow: the factor, and what key heads do.
fn heads(old: &Layer, new: &Layer) -> Result<(usize, KvHeads), GrowthError> {
    match (old.mixer, new.mixer) {
        (Mixer::Attention(a), Mixer::Attention(b)) => {
            if a.head_dim != b.head_dim {
                let why = "rotary frequencies depend on it; grow the number of heads";
                return refuse(format!("head_dim must stay {}, not become {}: {why}", a.head_dim, b.head_dim));
            }
            let factor = times("n_heads", a.n_heads, b.n_heads)?;
            match b.n_kv_heads {
                n if n == factor * a.n_kv_heads => Ok((factor, KvHeads::Grow)),
                n if n == a.n_kv_heads => Ok((factor, KvHeads::Keep)),
                n => refuse(format!("n_kv_heads must become {} or {}, not {n}", a.n_kv_heads, factor * a.n_kv_heads)),
            }
        }
        (Mixer::GatedDelta(a), Mixer::GatedDelta(b)) => {
            let factor = times("n_key_heads", a.n_key_heads, b.n_key_heads)?;
            if b != (GatedDelta { n_key_heads: factor * a.n_key_heads, n_value_heads: factor * a.n_value_heads, ..a }) {
                return refuse("a gated delta rule grows by all its heads together".into());
            }
            Ok((factor, KvHeads::Grow))
        }
        _ => refuse("a block cannot change what mixes its positions".into()),
    }
}

pub(super) fn operators(from: &ModelConfig, to: &ModelConfig, noise: f64, seed: u64) -> Result<Vec<Growth>, GrowthError> {
    if from.vocab_size != to.vocab_size {
        let (before, after) = (from.vocab_size, to.vocab_size);
        return refuse(format!("vocab_size must stay {before}, not become {after}: the tokenizer would change"));
    }
    if from.tie_word_embeddings != to.tie_word_embeddings {
        return refuse("a head cannot become tied to the embedding, or untied from it".into());
    }
    if (from.norm, from.norm_eps) != (to.norm, to.norm_eps) {
        return refuse("the norm and norm_eps must stay".into());
    }
    let (Some(first), Some(target)) = (from.layers.first(), to.layers.first()) else {
        return refuse("a model without blocks cannot grow".into());
    };
    let mut operators = Vec::new();
    let residual = times("hidden_size", from.hidden_size, to.hidden_size)?;
    // Attention says whether key heads grow; a gated delta rule always takes them along.
    let pair = from.layers.iter().zip(&to.layers).find(|(old, new)| old.attention().and(new.attention()).is_some());
    let (factor, kv_heads) = pair.map_or_else(|| heads(first, target), |(old, new)| heads(old, new))?;
    let intermediate_size = units(target);
    if residual > 1 {
        if factor != residual {
            return refuse(format!("n_heads must become {residual} times as many, not {factor} times"));
        }
        operators.push(Growth::Width { factor, noise, seed, kv_heads, intermediate_size: Some(intermediate_size) });
    } else {
        if factor > 1 {
            operators.push(Growth::Heads { factor, noise, seed, kv_heads });
        }
        if intermediate_size != units(first) {
            operators.push(Growth::FeedForward { intermediate_size, seed });
        }
    }
    let factor = times("n_layers", from.n_layers(), to.n_layers())?;
    if factor > 1 {
        let (placement, new_blocks) = (Placement::default(), NewBlocks::default());
        operators.push(Growth::Depth { factor, placement, new_blocks });
    }
    let reached = operators.iter().try_fold(from.clone(), |config, operator| operator.config(&config))?;
    let differs = reached.layers.iter().zip(&to.layers).position(|(reached, wanted)| reached != wanted);
    if let Some(index) = differs {
        let what = match (reached.layers[index].mixer, to.layers[index].mixer) {
            (Mixer::Attention(a), Mixer::Attention(b)) if a != (Attention { rope: a.rope, window: a.window, ..b }) => "heads",
            (Mixer::Attention(a), Mixer::Attention(b)) if a != b => "window or rotary positions",
            _ => "mixer, norms or feed-forward layer",
        };
        return refuse(format!("block {index} would have another {what} than growth gives it"));
    }
    Ok(operators)
}
