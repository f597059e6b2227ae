//! The depth operator: new blocks that copy existing ones but add nothing to the residual stream.
//!
//! With norms on the sub-layer outputs, a block whose two output gains are 0 is exactly the identity, whatever its other
//! weights are; its gains get gradients at once, and the rest of it as soon as they have moved. (Zeroing the output
//! matrices instead would put a division by the root of epsilon into the gradient.) With norms on the inputs the two
//! output matrices are 0 and get gradients at once; zero gains would leave the feed-forward layer at a saddle. Gradients
//! of all existing parameters stay the same bits.

use super::{Growth, GrowthError, Moment, NewBlocks, Placement};
use crate::config::{Layer, ModelConfig, NormKind, NormOrder};
use crate::weights::{Array, NamedArrays};

const PREFIX: &str = "model.layers.";

/// The grown blocks in order: which block each copies, and whether it is that block itself.
pub(super) fn blocks(growth: &Growth, n_layers: usize) -> Vec<(usize, bool)> {
    let &Growth::Depth { factor, placement, .. } = growth else { unreachable!("only depths come here") };
    match placement {
        Placement::Append => (0..factor).flat_map(|copy| (0..n_layers).map(move |old| (old, copy == 0))).collect(),
        Placement::Interleave => (0..n_layers).flat_map(|old| (0..factor).map(move |copy| (old, copy == 0))).collect(),
    }
}

/// Whether `part` of a block decides what the block adds to the residual stream.
fn opens(layer: &Layer, part: &str) -> bool {
    match layer.order {
        NormOrder::Post => matches!(part, "post_attention_layernorm.weight" | "post_feedforward_layernorm.weight"),
        NormOrder::Pre => part.ends_with(".o_proj.weight") || part.ends_with("down_proj.weight"),
    }
}

/// The configuration of the grown model: every block keeps its mixer, window and norms.
pub(super) fn config(growth: &Growth, before: &ModelConfig) -> Result<ModelConfig, GrowthError> {
    let &Growth::Depth { new_blocks, .. } = growth else { unreachable!("only depths come here") };
    let no_gain = before.norm == NormKind::Layer && before.layers.iter().any(|layer| layer.order == NormOrder::Post);
    if new_blocks == NewBlocks::Identity && no_gain {
        let text = "a norm without gain on the output of a sub-layer cannot be opened slowly; use `copy` blocks";
        return Err(GrowthError::Unsupported(text.into()));
    }
    let layers = blocks(growth, before.n_layers()).into_iter().map(|(old, _)| before.layers[old]).collect();
    Ok(ModelConfig { layers, ..before.clone() })
}

/// Arrays of the grown model; `new` makes those of a new block from the part's name and the copied array.
fn grow(growth: &Growth, before: &ModelConfig, small: &NamedArrays, new: impl Fn(&Layer, &str, &Array) -> Array) -> NamedArrays {
    let mut grown = NamedArrays::new();
    let blocks = blocks(growth, before.n_layers());
    for (name, array) in small {
        let layer = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
        let Some((old, part)) = layer.and_then(|(layer, part)| Some((layer.parse::<usize>().ok()?, part))) else {
            grown.insert(name.clone(), array.clone());
            continue;
        };
        for (index, _) in blocks.iter().enumerate().filter(|(_, block)| **block == (old, true)) {
            grown.insert(format!("{PREFIX}{index}.{part}"), array.clone());
        }
        for (index, _) in blocks.iter().enumerate().filter(|(_, block)| **block == (old, false)) {
            grown.insert(format!("{PREFIX}{index}.{part}"), new(&before.layers[old], part, array));
        }
    }
    grown
}

pub(super) fn weights(growth: &Growth, before: &ModelConfig, small: &NamedArrays) -> NamedArrays {
    let &Growth::Depth { new_blocks, .. } = growth else { unreachable!("only depths come here") };
    grow(growth, before, small, |layer, part, array| {
        if new_blocks == NewBlocks::Identity && opens(layer, part) { array.map(|_| 0.0) } else { array.clone() }
    })
}

/// New blocks start without a first moment; the second is copied, so that their first steps are small, except for what
/// opens the block, whose gradients are not those of the copied ones.
pub(super) fn moments(growth: &Growth, before: &ModelConfig, small: &NamedArrays, moment: Moment) -> NamedArrays {
    grow(growth, before, small, |layer, part, array| match moment {
        Moment::Second if !opens(layer, part) => array.clone(),
        _ => array.map(|_| 0.0),
    })
}
