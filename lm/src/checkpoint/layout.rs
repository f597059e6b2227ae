//! How parameters are spelled in files, and how files of other programs spell them.
//!
//! In memory the experts of a layer are one tensor per matrix; files hold one tensor per expert and matrix, as OLMoE and
//! FlexOlmo are published. All other names are the same. Reading also accepts what `transformers` saves for Olmo Hybrid
//! (convolutions apart, norms renamed), what OLMo-core's converter writes, stacked experts, and names without `model.`.
//!
//! Everything is decided on names and shapes, before a value is read.

use std::collections::BTreeMap;

use crate::config::{FeedForward, Mixer, ModelConfig};
use crate::init::parameter_shapes;
use crate::weights::NamedArrays;

const STACKS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
const CONVOLUTIONS: [&str; 3] = ["q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"];

/// A tensor of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// Number of the file.
    pub(super) file: usize,
    /// Its name there.
    pub(super) name: &'a str,
    /// Its shape there.
    pub(super) shape: &'a [usize],
}

/// Values that go from a tensor of a file to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The parameter.
    pub(super) parameter: String,
    /// First value in the file's tensor.
    pub(super) from: usize,
    /// First value in the parameter.
    pub(super) to: usize,
    /// Number of values.
    pub(super) n: usize,
}

/// What is wrong with the tensors, and in which file if it is one.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) file: Option<usize>,
    pub(super) reason: String,
}

/// What a name in a file means.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Nothing: a table that is computed, or a head that is the embedding.
    Ignored,
    /// The parameter of that name.
    Whole(String),
    /// One expert's part of a stack.
    Expert(String, usize),
    /// The gate and up matrices of all experts in one, `[E, 2F, d]`; the value is the name of the experts.
    GateUp(String),
    /// Queries', keys' or values' part of a convolution.
    Convolution(String, usize),
}

/// Where every tensor found goes, in the order of `found`.
///
/// # Errors
/// When a tensor belongs nowhere or has another shape than the configuration wants, or a parameter is not there in full.
pub(super) fn plan(config: &ModelConfig, found: &[Found<'_>]) -> Result<Vec<Vec<Piece>>, Fault> {
    let wanted: BTreeMap<String, Vec<usize>> = parameter_shapes(config).into_iter().collect();
    let bare = !found.iter().any(|tensor| tensor.name.starts_with("model."));
    let places: Vec<Place> = found.iter().map(|tensor| place(config, bare, tensor.name)).collect();
    // Rows of the three parts of each convolution: `transformers` cuts the whole into thirds, whatever they mean.
    let mut rows: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (tensor, place) in found.iter().zip(&places) {
        if let Place::Convolution(name, part) = place {
            rows.entry(name).or_default()[*part] = tensor.shape.iter().product();
        }
    }
    let mut filled: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plan = Vec::with_capacity(found.len());
    for (tensor, place) in found.iter().zip(&places) {
        let fault = |reason: String| Fault { file: Some(tensor.file), reason };
        let lookup = |name: &str| {
            let unknown = || fault(format!("tensor `{}` belongs to no parameter of this configuration", tensor.name));
            wanted.get_key_value(name).ok_or_else(unknown)
        };
        let mismatch = |shape: &[usize]| {
            fault(format!("tensor `{}` has shape {:?}, the configuration wants {shape:?}", tensor.name, tensor.shape))
        };
        let n: usize = tensor.shape.iter().product();
        let pieces = match place {
            Place::Ignored => Vec::new(),
            Place::Whole(name) => {
                let (_, shape) = lookup(name)?;
                if tensor.shape != shape {
                    return Err(mismatch(shape));
                }
                vec![Piece { parameter: name.clone(), from: 0, to: 0, n }]
            }
            Place::Expert(name, expert) => {
                let (_, shape) = lookup(name)?;
                if *expert >= shape[0] {
                    return Err(fault(format!("tensor `{}` is of an expert beyond the {} there are", tensor.name, shape[0])));
                }
                if tensor.shape != &shape[1..] {
                    return Err(mismatch(&shape[1..]));
                }
                vec![Piece { parameter: name.clone(), from: 0, to: expert * n, n }]
            }
            Place::GateUp(experts) => {
                let names = ["gate_proj", "up_proj"].map(|part| format!("{experts}.{part}.weight"));
                let (_, shape) = lookup(&names[0])?;
                let both = [shape[0], 2 * shape[1], shape[2]];
                if tensor.shape != both {
                    return Err(mismatch(&both));
                }
                let n = shape[1] * shape[2];
                let piece = |(expert, part): (usize, usize)| Piece {
                    parameter: names[part].clone(),
                    from: (2 * expert + part) * n,
                    to: expert * n,
                    n,
                };
                (0..shape[0]).flat_map(|expert| [(expert, 0), (expert, 1)]).map(piece).collect()
            }
            Place::Convolution(name, part) => {
                let (_, shape) = lookup(name)?;
                let parts = rows[name.as_str()];
                if tensor.shape.len() != 3
                    || tensor.shape[1..] != shape[1..]
                    || parts.iter().sum::<usize>() > shape.iter().product()
                {
                    return Err(fault(format!(
                        "tensor `{}` has shape {:?}; the three parts of `{name}` together have {shape:?}",
                        tensor.name, tensor.shape
                    )));
                }
                vec![Piece { parameter: name.clone(), from: 0, to: parts[..*part].iter().sum(), n }]
            }
        };
        for piece in &pieces {
            let (name, shape) = lookup(&piece.parameter)?;
            let sum = filled.entry(name).or_default();
            *sum += piece.n;
            if *sum > shape.iter().product() {
                return Err(fault(format!("tensor `{}` gives values of `{name}` that another tensor gives too", tensor.name)));
            }
        }
        plan.push(pieces);
    }
    for (name, shape) in &wanted {
        let (have, all) = (filled.get(name.as_str()).copied().unwrap_or(0), shape.iter().product::<usize>());
        if have == 0 {
            return Err(Fault { file: None, reason: format!("tensor `{name}` is missing") });
        }
        if have < all {
            return Err(Fault { file: None, reason: format!("of `{name}` only {have} of {all} values are there") });
        }
    }
    Ok(plan)
}

fn place(config: &ModelConfig, bare: bool, name: &str) -> Place {
    let name = if bare && !name.starts_with("lm_head.") { format!("model.{name}") } else { name.to_string() };
    if name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight") {
        return Place::Ignored;
    }
    if let Some((before, rest)) = name.split_once(".mlp.experts.") {
        let experts = format!("{before}.mlp.experts");
        let numbered = rest.split_once('.').and_then(|(number, part)| Some((number.parse().ok()?, part)));
        return match (numbered, rest.trim_end_matches(".weight")) {
            (Some((expert, part)), _) => Place::Expert(format!("{experts}.{part}"), expert),
            (None, "gate_up_proj") => Place::GateUp(experts),
            (None, part) => Place::Whole(format!("{experts}.{part}.weight")),
        };
    }
    for (part, spelling) in CONVOLUTIONS.iter().enumerate() {
        if let Some(before) = name.strip_suffix(spelling) {
            return Place::Convolution(format!("{before}conv1d.weight"), part);
        }
    }
    Place::Whole(renamed(config, &name))
}

/// One name of a file as the name in memory.
fn renamed(config: &ModelConfig, name: &str) -> String {
    let delta = config.layers.iter().any(|layer| matches!(layer.mixer, Mixer::GatedDelta(_)));
    if !delta {
        return name.to_string();
    }
    for (file, memory) in [
        (".attention_layer_norm.weight", ".input_layernorm.weight"),
        (".feedforward_layer_norm.weight", ".post_attention_layernorm.weight"),
        (".linear_attn.out_proj.weight", ".linear_attn.o_proj.weight"),
        (".linear_attn.norm.weight", ".linear_attn.o_norm.weight"),
    ] {
        if let Some(place) = name.strip_suffix(file) {
            return format!("{place}{memory}");
        }
    }
    name.to_string()
}

/// A tensor as files have it.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) name: String,
    pub(super) shape: &'a [usize],
    pub(super) data: &'a [f32],
}

/// The tensors of a file from those in memory, sorted by name: experts apart.
pub(super) fn to_files<'a>(config: &ModelConfig, arrays: &'a NamedArrays) -> Vec<Written<'a>> {
    let mut written = Vec::new();
    for (name, array) in arrays {
        let stack = name.split_once(".mlp.experts.").and_then(|(place, rest)| {
            let part = rest.strip_suffix(".weight").filter(|part| STACKS.contains(part))?;
            let index: usize = place.strip_prefix("model.layers.")?.parse().ok()?;
            match config.layers.get(index)?.feed_forward {
                FeedForward::Experts(experts) => Some((place, part, experts.n_experts)),
                FeedForward::SwiGlu { .. } => None,
            }
        });
        let Some((place, part, n)) = stack else {
            written.push(Written { name: name.clone(), shape: &array.shape, data: &array.data });
            continue;
        };
        for (expert, data) in array.data.chunks_exact((array.len() / n).max(1)).enumerate() {
            let name = format!("{place}.mlp.experts.{expert}.{part}.weight");
            written.push(Written { name, shape: &array.shape[1..], data });
        }
    }
    written.sort_by(|a, b| a.name.cmp(&b.name));
    written
}
