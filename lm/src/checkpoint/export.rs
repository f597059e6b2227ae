//! A checkpoint as `transformers` has it: the model alone, in a chosen precision, cut into files of a chosen size.
//!
//! Knows no tokenizer and no state of training.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::layout::{self, Written};
use super::tensors::{Precision, TensorWriter};
use super::weights::{INDEX, WHOLE};
use super::{Checkpoint, CheckpointError, write_json};
use crate::config::NO_TOKEN;

/// How a model is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// How weights are stored.
    pub precision: Precision,
    /// Largest size of a file of weights, in bytes; a larger tensor has a file of its own.
    pub shard_bytes: u64,
}

impl Default for ExportOptions {
    /// 32 bits, files of at most 50 GB, as `transformers` cuts them.
    fn default() -> Self {
        Self { precision: Precision::F32, shard_bytes: 50_000_000_000 }
    }
}

impl Checkpoint {
    /// Writes `config.json`, `generation_config.json` and the weights into the existing directory `dir`; with several
    /// files also `model.safetensors.index.json`.
    ///
    /// # Errors
    /// When no class of `transformers` computes the model, a weight is too large for the precision, or a file cannot be
    /// written.
    pub fn export(&self, dir: &Path, options: ExportOptions) -> Result<(), CheckpointError> {
        let mut config = self.config.to_hf();
        if config["model_type"] == "workbench" {
            return Err(CheckpointError::NoClass { family: self.config.family.model_type().into() });
        }
        config["dtype"] = options.precision.name().into();
        write_json(&dir.join("config.json"), &config)?;
        write_json(&dir.join("generation_config.json"), &self.generation_config())?;
        let tensors = layout::to_files(&self.config, &self.weights);
        let shards = shards(&tensors, options);
        if let [all] = shards.as_slice() {
            return write_file(&dir.join(WHOLE), options.precision, all);
        }
        let mut weight_map = Map::new();
        for (number, shard) in shards.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
            write_file(&dir.join(&name), options.precision, shard)?;
            weight_map.extend(shard.iter().map(|tensor| (tensor.name.clone(), Value::from(name.clone()))));
        }
        weight_map.sort_keys();
        let values: u64 = tensors.iter().map(|tensor| tensor.data.len() as u64).sum();
        let bytes: u64 = tensors.iter().map(|tensor| size(tensor, options.precision)).sum();
        let metadata = json!({ "total_parameters": values, "total_size": bytes });
        write_json(&dir.join(INDEX), &json!({ "metadata": metadata, "weight_map": weight_map }))
    }

    /// What `generate` of `transformers` needs to stop and to pad.
    fn generation_config(&self) -> Value {
        let mut fields = json!({ "_from_model_config": true });
        if self.config.eos_token_id != NO_TOKEN {
            fields["eos_token_id"] = self.config.eos_json();
        }
        if self.config.pad_token_id != NO_TOKEN {
            fields["pad_token_id"] = self.config.pad_token_id.into();
        }
        fields
    }
}

/// Consecutive tensors that fit into a file together.
fn shards<'a, 'b>(tensors: &'a [Written<'b>], options: ExportOptions) -> Vec<&'a [Written<'b>]> {
    let mut shards = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, tensor) in tensors.iter().enumerate() {
        let size = size(tensor, options.precision);
        if index > start && bytes + size > options.shard_bytes {
            shards.push(&tensors[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    shards.push(&tensors[start..]);
    shards
}

/// How a tensor is stored: decay rates keep their 32 bits, as `transformers` keeps them.
fn stored(tensor: &Written<'_>, precision: Precision) -> Precision {
    if tensor.name.ends_with(".A_log") { Precision::F32 } else { precision }
}

/// Bytes of a tensor.
fn size(tensor: &Written<'_>, precision: Precision) -> u64 {
    tensor.data.len() as u64 * stored(tensor, precision).size()
}

/// Writes tensors to a file: the wider ones first, then by name.
pub(super) fn write_file(path: &Path, precision: Precision, tensors: &[Written<'_>]) -> Result<(), CheckpointError> {
    let mut tensors: Vec<_> = tensors.iter().map(|tensor| (tensor, stored(tensor, precision))).collect();
    tensors.sort_by_key(|(_, precision)| std::cmp::Reverse(precision.size()));
    let header: Vec<_> = tensors.iter().map(|(tensor, precision)| (tensor.name.as_str(), tensor.shape, *precision)).collect();
    let mut writer = TensorWriter::create(path, &header)?;
    for (tensor, _) in tensors {
        writer.write(tensor.data)?;
    }
    writer.finish()
}
