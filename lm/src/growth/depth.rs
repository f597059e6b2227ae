//! The depth operator: new blocks that copy existing ones but add nothing to the residual stream.
//!
//! With norms on the sub-layer outputs, a block whose two output gains are 0 is exactly the identity, whatever its other
//! weights are. Gradients of all existing parameters stay the same bits; a new block's gains get gradients at once, and
//! the rest of it as soon as they have moved. (Zeroing the output matrices instead would put a division by the root of
//! epsilon into the gradient.)

use super::{Growth, Moment, NewBlocks, Placement};
use crate::config::ModelConfig;
use crate::weights::{Array, NamedArrays};

const PREFIX: &str = "model.layers.";

/// The grown blocks in order: which block each copies, and whether it is that block itself.
fn blocks(growth: &Growth, n_layers: usize) -> Vec<(usize, bool)> {
    let &Growth::Depth { factor, placement, .. } = growth else { unreachable!("only depths come here") };
    match placement {
        Placement::Append => (0..factor).flat_map(|copy| (0..n_layers).map(move |old| (old, copy == 0))).collect(),
        Placement::Interleave => (0..n_layers).flat_map(|old| (0..factor).map(move |copy| (old, copy == 0))).collect(),
    }
}

/// Whether `part` of a block is the gain of an output norm.
fn is_output_gain(part: &str) -> bool {
    matches!(part, "post_attention_layernorm.weight" | "post_feedforward_layernorm.weight")
}

/// Arrays of the grown model; `new` makes those of a new block from the part's name and the copied array.
fn grow(growth: &Growth, n_layers: usize, small: &NamedArrays, new: impl Fn(&str, &Array) -> Array) -> NamedArrays {
    let mut grown = NamedArrays::new();
    let blocks = blocks(growth, n_layers);
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
            grown.insert(format!("{PREFIX}{index}.{part}"), new(part, array));
        }
    }
    grown
}

pub(super) fn weights(growth: &Growth, before: &ModelConfig, small: &NamedArrays) -> NamedArrays {
    let &Growth::Depth { new_blocks, .. } = growth else { unreachable!("only depths come here") };
    grow(growth, before.n_layers(), small, |part, array| {
        if new_blocks == NewBlocks::Identity && is_output_gain(part) { array.map(|_| 0.0) } else { array.clone() }
    })
}

/// New blocks start without a first moment; the second is copied, so that their first steps are small, except for the
/// output gains, whose gradients are not those of the copied ones.
pub(super) fn moments(growth: &Growth, before: &ModelConfig, small: &NamedArrays, moment: Moment) -> NamedArrays {
    grow(growth, before.n_layers(), small, |part, array| match moment {
        Moment::Second if !is_output_gain(part) => array.clone(),
        _ => array.map(|_| 0.0),
    })
}
