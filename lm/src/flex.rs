//! Experts trained apart by their owners and put together afterwards (FlexOlmo, arXiv 2507.07024).
//!
//! A dense public model becomes a mixture of two copies of its feed-forward layers; an owner trains the second copy and
//! its router row on data that never leaves the owner, everything else frozen. [`merge`] stacks the owners' experts on
//! the public one without further training, [`without`] takes an expert out again. Knows no training loop.

use burn::tensor::Device;

use crate::batch::Tokens;
use crate::checkpoint::Checkpoint;
use crate::config::{Experts, Family, FeedForward, Layer, ModelConfig};
use crate::model::parameters::host;
use crate::model::{Model, WeightsError};
use crate::random::{Cut, Stream};
use crate::weights::{Array, NamedArrays};

#[cfg(test)]
mod tests;

/// Why experts cannot be made or merged.
#[derive(Debug, thiserror::Error)]
pub enum FlexError {
    /// The model has not the shape the operation is for.
    #[error("experts: {0}")]
    Shape(String),
    /// Two owners' models differ where they must be the same bits.
    #[error(
        "experts: `{tensor}` of model {number} differs from that of model 1; everything but each owner's expert must be the frozen public model"
    )]
    Differs {
        /// The tensor.
        tensor: String,
        /// Which model, from 1.
        number: usize,
    },
    /// The weights do not make a model.
    #[error("experts: {0}")]
    Weights(#[from] WeightsError),
}

/// Where a router's row comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum RouterRow {
    /// A domain's embedding `[d]`, the same in every layer.
    Embedding(Vec<f32>),
    /// Normal of mean 0 and standard deviation 0.002 cut to [-0.006, 0], by this seed.
    Random(u64),
}

impl RouterRow {
    fn values(&self, layer: usize, d: usize) -> Vec<f32> {
        match self {
            Self::Embedding(values) => values.clone(),
            Self::Random(seed) => {
                let stream = Stream::new(*seed, &format!("router.{layer}"));
                let at = |i| -0.002 * stream.truncated_normal(i, Cut::THREE_SIGMA).abs();
                (0..d as u64).map(|i| at(i) as f32).collect()
            }
        }
    }
}

/// Longest piece of text an embedding is taken over.
const EMBEDDED_TOKENS: usize = 512;

/// The mean of the documents' embeddings, of length 1, `[d]`: a document's embedding is the mean of the activations below
/// the head over its first tokens, of length 1. (FlexOlmo takes them from a separate embedding model.)
///
/// # Errors
/// When there is no document with a token.
pub fn domain_embedding(model: &Model, documents: &[Vec<u32>]) -> Result<Vec<f32>, FlexError> {
    let d = model.config().hidden_size;
    let mut sum = vec![0.0_f64; d];
    for document in documents.iter().filter(|document| !document.is_empty()) {
        let length = document.len().min(EMBEDDED_TOKENS);
        let hidden = host(model.hidden(&Tokens::new(document[..length].to_vec(), length)));
        let mut mean = vec![0.0_f64; d];
        hidden.chunks_exact(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x)));
        scale_to_unit(&mut mean);
        sum.iter_mut().zip(&mean).for_each(|(s, m)| *s += m);
    }
    if !scale_to_unit(&mut sum) {
        return Err(FlexError::Shape("there is no document to embed".into()));
    }
    Ok(sum.into_iter().map(|x| x as f32).collect())
}

/// Scales a vector to length 1; false if it has none.
fn scale_to_unit(values: &mut [f64]) -> bool {
    let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|x| *x /= length);
    }
    length > 0.0
}

const PARTS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

fn place(layer: usize) -> String {
    format!("model.layers.{layer}.mlp")
}

fn experts_of(layer: &Layer) -> Result<Experts, FlexError> {
    match layer.feed_forward {
        FeedForward::Experts(experts) => Ok(experts),
        FeedForward::SwiGlu { .. } => Err(FlexError::Shape("the model has a layer without experts".into())),
    }
}

/// The configuration with every feed-forward layer a mixture of `n_experts`, `top_k` of them active.
fn with_experts(config: &ModelConfig, n_experts: usize, top_k: usize) -> ModelConfig {
    let layers = config.map_layers(|layer| {
        let intermediate_size = match layer.feed_forward {
            FeedForward::SwiGlu { intermediate_size } => intermediate_size,
            FeedForward::Experts(experts) => experts.intermediate_size,
        };
        let experts = Experts { n_experts, top_k: top_k.min(n_experts), normalize: false, intermediate_size };
        Layer { feed_forward: FeedForward::Experts(experts), ..layer }
    });
    ModelConfig { family: Family::FlexOlmo, ..layers }
}

/// The mixture of two that an owner trains: expert 0 is the public model's feed-forward layer, expert 1 a copy.
///
/// # Errors
/// When the public model has experts already, or a weight is missing.
pub fn with_own_expert(public: &Checkpoint, public_row: &RouterRow, own_row: &RouterRow) -> Result<Checkpoint, FlexError> {
    if public.config.has_experts() {
        return Err(FlexError::Shape("the public model must be dense".into()));
    }
    let d = public.config.hidden_size;
    let mut weights = public.weights.clone();
    for layer in 0..public.config.n_layers() {
        let place = place(layer);
        for part in PARTS {
            let name = format!("{place}.{part}.weight");
            let one = weights.remove(&name).ok_or(WeightsError::Missing(name))?;
            let shape = [&[2], one.shape.as_slice()].concat();
            let stack = Array::new(shape, [one.data.as_slice(), &one.data].concat());
            weights.insert(format!("{place}.experts.{part}.weight"), stack);
        }
        let rows = [public_row.values(layer, d), own_row.values(layer, d)].concat();
        weights.insert(format!("{place}.gate.weight"), Array::new(vec![2, d], rows));
    }
    let config = with_experts(&public.config, 2, 2);
    checked(config, weights)
}

/// The checkpoint, once its weights have been found to fit its configuration.
fn checked(config: ModelConfig, weights: NamedArrays) -> Result<Checkpoint, FlexError> {
    for (name, wanted) in crate::init::parameter_shapes(&config) {
        let Some(array) = weights.get(&name) else { return Err(WeightsError::Missing(name).into()) };
        if array.shape != wanted {
            return Err(WeightsError::Shape { name, found: array.shape.clone(), wanted }.into());
        }
    }
    Ok(Checkpoint::new(config, weights))
}

/// One array of a stack along the first axis.
fn slice(stack: &Array, index: usize) -> &[f32] {
    let size = stack.len() / stack.shape[0];
    &stack.data[index * size..(index + 1) * size]
}

/// Whether the parameter belongs to the experts of a layer, router included.
fn is_expert_part(name: &str) -> bool {
    name.contains(".mlp.experts.") || name.ends_with(".mlp.gate.weight")
}

/// The mixture of the public expert and every owner's, `top_k` of them active; no weight is changed.
///
/// # Errors
/// When a model is not a mixture of two, or differs from the first anywhere but in its own expert and router row.
pub fn merge(owners: &[Checkpoint], top_k: usize) -> Result<Checkpoint, FlexError> {
    let first = owners.first().ok_or_else(|| FlexError::Shape("there is nothing to merge".into()))?;
    for (index, owner) in owners.iter().enumerate() {
        if owner.config != first.config {
            return Err(FlexError::Shape(format!("model {} has another configuration than model 1", index + 1)));
        }
        for layer in &owner.config.layers {
            let n = experts_of(layer)?.n_experts;
            if n != 2 {
                return Err(FlexError::Shape(format!("model {} has {n} experts in a layer, not 2", index + 1)));
            }
        }
        for (name, array) in &owner.weights {
            let reference = first.weights.get(name).ok_or_else(|| WeightsError::Unexpected(name.clone()))?;
            let same = match is_expert_part(name) {
                true => slice(array, 0) == slice(reference, 0),
                false => array.data == reference.data,
            };
            if !same {
                return Err(FlexError::Differs { tensor: name.clone(), number: index + 1 });
            }
        }
    }
    let n = owners.len() + 1;
    let weights = first.weights.iter().map(|(name, array)| {
        if !is_expert_part(name) {
            return (name.clone(), array.clone());
        }
        let own = owners.iter().flat_map(|owner| slice(&owner.weights[name], 1).iter().copied());
        let data = slice(array, 0).iter().copied().chain(own).collect();
        (name.clone(), Array::new([&[n], &array.shape[1..]].concat(), data))
    });
    checked(with_experts(&first.config, n, top_k), weights.collect())
}

/// The model without expert `expert`: its matrices and its router rows are gone, all else stays.
///
/// # Errors
/// When there is no such expert, or it is the only one.
pub fn without(model: &Checkpoint, expert: usize) -> Result<Checkpoint, FlexError> {
    let layers = model.config.layers.iter().map(experts_of).collect::<Result<Vec<_>, _>>()?;
    let n = layers.iter().map(|experts| experts.n_experts).min().unwrap_or(0);
    if n < 2 || expert >= n {
        return Err(FlexError::Shape(format!("expert {expert} cannot be taken out of {n}; they are numbered from 0")));
    }
    let weights = model.weights.iter().map(|(name, array)| {
        if !is_expert_part(name) {
            return (name.clone(), array.clone());
        }
        let kept = (0..array.shape[0]).filter(|e| *e != expert);
        let data = kept.flat_map(|e| slice(array, e).iter().copied()).collect();
        (name.clone(), Array::new([&[array.shape[0] - 1], &array.shape[1..]].concat(), data))
    });
    let config = model.config.map_layers(|layer| match layer.feed_forward {
        FeedForward::Experts(e) => {
            let n_experts = e.n_experts - 1;
            let experts = Experts { n_experts, top_k: e.top_k.min(n_experts), ..e };
            Layer { feed_forward: FeedForward::Experts(experts), ..layer }
        }
        FeedForward::SwiGlu { .. } => layer,
    });
    checked(config, weights.collect())
}

/// The embedding of a domain under a checkpoint's model, see [`domain_embedding`].
///
/// # Errors
/// When the weights do not make a model or there is no document.
pub fn embed(public: &Checkpoint, documents: &[Vec<u32>], device: &Device) -> Result<Vec<f32>, FlexError> {
    let model = Model::from_weights(&public.config, public.weights.clone(), device)?;
    domain_embedding(&model, documents)
}
