//! How parameters are spelled in files, and how files of other programs spell them.
//!
//! In memory the experts of a layer are one tensor per matrix; files hold one tensor per expert and matrix, as OLMoE and
//! FlexOlmo are published. All other names are the same. Reading also accepts what `transformers` saves for Olmo Hybrid
//! (convolutions apart, norms renamed), what OLMo-core's converter writes, stacked experts, and names without `model.`.

use std::collections::BTreeMap;

use crate::config::{FeedForward, Mixer, ModelConfig};
use crate::weights::{Array, NamedArrays};

const STACKS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// Names in memory from names in files.
///
/// # Errors
/// A message naming a tensor whose shape cannot be what its name says.
pub(super) fn from_files(config: &ModelConfig, arrays: NamedArrays) -> Result<NamedArrays, String> {
    let bare = !arrays.keys().any(|name| name.starts_with("model."));
    let mut result = NamedArrays::new();
    let mut experts: BTreeMap<(String, usize), Array> = BTreeMap::new();
    for (name, array) in arrays {
        let name = if bare && !name.starts_with("lm_head.") { format!("model.{name}") } else { name };
        if name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight") {
            continue;
        }
        if let Some((place, rest)) = name.split_once(".mlp.experts.") {
            match rest.split_once('.') {
                Some((number, part)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                    let number = number.parse().map_err(|_| format!("tensor `{name}` has no usable expert number"))?;
                    experts.insert((format!("{place}.mlp.experts.{part}"), number), array);
                }
                _ => stacked(place, rest, array, &mut result)?,
            }
            continue;
        }
        result.insert(renamed(config, &name), array);
    }
    for (name, parts) in by_name(experts) {
        result.insert(name.clone(), join(&name, &parts, true)?);
    }
    join_convolutions(config, &mut result)?;
    Ok(result)
}

/// A tensor of all experts as `transformers` has it in memory.
fn stacked(place: &str, rest: &str, array: Array, result: &mut NamedArrays) -> Result<(), String> {
    let name = |part: &str| format!("{place}.mlp.experts.{part}.weight");
    match rest.trim_end_matches(".weight") {
        "gate_up_proj" => {
            let &[n, both, d] = array.shape.as_slice() else {
                return Err(format!("tensor `{place}.mlp.experts.{rest}` has {} axes, not 3", array.shape.len()));
            };
            let half = both / 2 * d;
            let part = |offset: usize| {
                let data = array.data.chunks_exact(2 * half.max(1)).flat_map(|e| e[offset..offset + half].iter().copied());
                Array::new(vec![n, both / 2, d], data.collect())
            };
            result.insert(name("gate_proj"), part(0));
            result.insert(name("up_proj"), part(half));
        }
        other => {
            result.insert(name(other), array);
        }
    }
    Ok(())
}

/// One name of a file as the name in memory.
fn renamed(config: &ModelConfig, name: &str) -> String {
    let delta = config.layers.iter().any(|layer| matches!(layer.mixer, Mixer::GatedDelta(_)));
    if !delta {
        return name.to_string();
    }
    for (file, memory) in [
        ("attention_layer_norm.weight", "input_layernorm.weight"),
        ("feedforward_layer_norm.weight", "post_attention_layernorm.weight"),
        ("linear_attn.out_proj.weight", "linear_attn.o_proj.weight"),
        ("linear_attn.norm.weight", "linear_attn.o_norm.weight"),
    ] {
        if let Some(place) = name.strip_suffix(file) {
            return format!("{place}{memory}");
        }
    }
    name.to_string()
}

fn by_name(parts: BTreeMap<(String, usize), Array>) -> BTreeMap<String, Vec<Array>> {
    let mut result: BTreeMap<String, Vec<Array>> = BTreeMap::new();
    for ((name, _), array) in parts {
        result.entry(name).or_default().push(array);
    }
    result
}

/// Arrays one after the other along the first axis, or along a new one in front.
fn join(name: &str, parts: &[Array], new_axis: bool) -> Result<Array, String> {
    let first = &parts[0].shape;
    let from = usize::from(!new_axis);
    if let Some(other) = parts.iter().find(|part| part.shape.len() != first.len() || part.shape[from..] != first[from..]) {
        return Err(format!("the parts of `{name}` have shapes {first:?} and {:?}", other.shape));
    }
    let data = parts.iter().flat_map(|part| part.data.iter().copied()).collect();
    let shape = if new_axis {
        [&[parts.len()], first.as_slice()].concat()
    } else {
        let rows = parts.iter().map(|part| part.shape[0]).sum();
        [&[rows], &first[1..]].concat()
    };
    Ok(Array::new(shape, data))
}

/// Convolutions of queries, keys and values apart are one tensor in memory. Their lengths in the file do not matter:
/// `transformers` cuts the whole into thirds.
fn join_convolutions(config: &ModelConfig, arrays: &mut NamedArrays) -> Result<(), String> {
    for index in 0..config.n_layers() {
        let name = |part: &str| format!("model.layers.{index}.linear_attn.{part}.weight");
        let parts = ["q_conv1d", "k_conv1d", "v_conv1d"].map(|part| arrays.remove(&name(part)));
        let [Some(q), Some(k), Some(v)] = parts else { continue };
        arrays.insert(name("conv1d"), join(&name("conv1d"), &[q, k, v], false)?);
    }
    Ok(())
}

/// Names in files from names in memory: experts apart.
pub(super) fn to_files(config: &ModelConfig, arrays: &NamedArrays) -> NamedArrays {
    let mut result = arrays.clone();
    for (index, layer) in config.layers.iter().enumerate() {
        let FeedForward::Experts(experts) = layer.feed_forward else { continue };
        for part in STACKS {
            let Some(stack) = result.remove(&format!("model.layers.{index}.mlp.experts.{part}.weight")) else { continue };
            let size = stack.len() / experts.n_experts;
            for (e, data) in stack.data.chunks_exact(size).enumerate() {
                let name = format!("model.layers.{index}.mlp.experts.{e}.{part}.weight");
                result.insert(name, Array::new(stack.shape[1..].to_vec(), data.to_vec()));
            }
        }
    }
    result
}
