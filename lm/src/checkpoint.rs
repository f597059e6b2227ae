//! Checkpoints on disk in Hugging Face's layout, with the state of training beside the model.
//!
//! ```text
//! DIR/config.json            the model's configuration, readable by transformers
//! DIR/model.safetensors      32-bit weights, sorted by name: the same weights give the same bytes
//! DIR/training.json          where training stands (absent for a model that is not to be trained on)
//! DIR/training.safetensors   AdamW's moments: `first.<name>`, `second.<name>`
//! ```
//!
//! Knows no training loop. `Progress` keeps the last state of a long run in a directory of its own.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fs_err as fs;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{ConfigError, ModelConfig};
use crate::growth::GrowthRecord;
use crate::model::{Model, WeightsError};
use crate::optim::OptimizerState;
use crate::weights::{Array, NamedArrays};

mod layout;
pub mod progress;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A JSON file is not what it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A tensor file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The configuration is not usable.
    #[error("{}: {source}", path.display())]
    Config {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The tensors do not fit the configuration.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: WeightsError,
    },
    /// The checkpoint holds a model only.
    #[error("{}: there is no training.json, so the optimiser's state is unknown; start from a checkpoint that a training step wrote, or reset the optimiser", path.display())]
    NoTrainingState {
        /// The checkpoint.
        path: PathBuf,
    },
}

/// Where training stands, without the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// Updates done over the whole life of the model.
    pub step: u64,
    /// Tokens trained on over the whole life of the model.
    pub tokens: u64,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Largest learning rate of the last stage.
    pub peak_lr: f64,
    /// Growth operators applied so far, oldest first.
    pub growth: Vec<GrowthRecord>,
}

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingState {
    /// Counters and learning rates.
    pub record: TrainingRecord,
    /// The optimiser's memory; its step counter is kept here.
    pub optimizer: OptimizerState,
}

/// What `training.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingFile {
    format: u32,
    optimizer_step: u64,
    record: TrainingRecord,
}

/// Version of `training.json` and `training.safetensors`.
const TRAINING_FORMAT: u32 = 1;

/// A model and, if it is to be trained on, the state of its training.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The model's shape.
    pub config: ModelConfig,
    /// The parameters by Hugging Face name.
    pub weights: NamedArrays,
    /// State of training.
    pub training: Option<TrainingState>,
}

impl Checkpoint {
    /// A checkpoint of a model alone.
    pub fn new(config: ModelConfig, weights: NamedArrays) -> Self {
        Self { config, weights, training: None }
    }

    /// Reads a checkpoint directory, also one that Hugging Face wrote: bf16 and f16 weights are widened, shards joined.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of an unsupported model.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let config = ModelConfig::from_hf(&read_json::<Value>(&dir.join("config.json"))?)
            .map_err(|source| CheckpointError::Config { path: dir.join("config.json"), source })?;
        let index = dir.join("model.safetensors.index.json");
        let mut weights = NamedArrays::new();
        if fs::exists(&index)? {
            let index: ShardIndex = read_json(&index)?;
            let mut shards: Vec<String> = index.weight_map.into_values().collect();
            shards.sort();
            shards.dedup();
            for shard in shards {
                weights.extend(read_tensors(&dir.join(shard))?);
            }
        } else {
            weights = read_tensors(&dir.join("model.safetensors"))?;
        }
        let weights = layout::from_files(&config, weights)
            .map_err(|reason| CheckpointError::Tensors { path: dir.to_path_buf(), reason })?;
        let training = dir.join("training.json");
        let training = if fs::exists(&training)? { Some(read_training(dir)?) } else { None };
        Ok(Self { config, weights, training })
    }

    /// Writes the checkpoint into the existing directory `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), CheckpointError> {
        write_json(&dir.join("config.json"), &self.config.to_hf())?;
        write_tensors(&dir.join("model.safetensors"), &layout::to_files(&self.config, &self.weights))?;
        if let Some(training) = &self.training {
            let TrainingState { record, optimizer } = training;
            let file = TrainingFile { format: TRAINING_FORMAT, optimizer_step: optimizer.step, record: record.clone() };
            write_json(&dir.join("training.json"), &file)?;
            let named = |prefix: &str, arrays: &NamedArrays| -> Vec<(String, Array)> {
                arrays.iter().map(|(name, array)| (format!("{prefix}.{name}"), array.clone())).collect()
            };
            let mut moments: NamedArrays = named("first", &optimizer.first).into_iter().collect();
            moments.extend(named("second", &optimizer.second));
            write_tensors(&dir.join("training.safetensors"), &moments)?;
        }
        Ok(())
    }

    /// The model on `device`, without gradients.
    ///
    /// # Errors
    /// When the weights do not fit the configuration.
    pub fn model(&self, device: &Device) -> Result<Model, WeightsError> {
        Model::from_weights(&self.config, self.weights.clone(), device)
    }
}

impl Model {
    /// The model of a checkpoint directory, without gradients.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and when the weights do not fit the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, CheckpointError> {
        let Checkpoint { config, weights, .. } = Checkpoint::read(dir)?;
        Self::from_weights(&config, weights, device)
            .map_err(|source| CheckpointError::Weights { path: dir.to_path_buf(), source })
    }

    /// Writes the model, without training state, into the existing directory `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), CheckpointError> {
        Checkpoint::new(self.config().clone(), self.weights()).write(dir)
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

fn read_training(dir: &Path) -> Result<TrainingState, CheckpointError> {
    let path = dir.join("training.json");
    let file: TrainingFile = read_json(&path)?;
    if file.format != TRAINING_FORMAT {
        let reason = format!("format {} is not {TRAINING_FORMAT}, the one this program reads", file.format);
        return Err(CheckpointError::Tensors { path, reason });
    }
    let path = dir.join("training.safetensors");
    let mut optimizer = OptimizerState { step: file.optimizer_step, ..OptimizerState::default() };
    for (name, array) in read_tensors(&path)? {
        match name.split_once('.') {
            Some(("first", name)) => optimizer.first.insert(name.to_string(), array),
            Some(("second", name)) => optimizer.second.insert(name.to_string(), array),
            _ => {
                let reason = format!("tensor `{name}` is neither a first nor a second moment");
                return Err(CheckpointError::Tensors { path, reason });
            }
        };
    }
    Ok(TrainingState { record: file.record, optimizer })
}

/// Reads a JSON file.
///
/// # Errors
/// When it is missing or does not have the wanted form.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Json { path: path.to_path_buf(), source })
}

/// Writes a JSON file, indented, ending in a newline.
///
/// # Errors
/// When it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), CheckpointError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|source| CheckpointError::Json { path: path.to_path_buf(), source })?;
    text.push('\n');
    fs::write(path, text)?;
    Ok(())
}

/// Reads all tensors of a safetensors file as 32-bit floats.
///
/// # Errors
/// When the file is missing or damaged, or a tensor is not of a floating-point type.
pub fn read_tensors(path: &Path) -> Result<NamedArrays, CheckpointError> {
    let fail = |reason: String| CheckpointError::Tensors { path: path.to_path_buf(), reason };
    let bytes = fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
    tensors
        .iter()
        .map(|(name, view)| {
            let data = floats(&view).ok_or_else(|| fail(format!("tensor `{name}` has type {:?}", view.dtype())))?;
            Ok((name.to_string(), Array::new(view.shape().to_vec(), data)))
        })
        .collect()
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let pairs = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    match view.dtype() {
        Dtype::F32 => Some(bytemuck::pod_collect_to_vec(view.data())),
        Dtype::BF16 => Some(pairs().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect()),
        Dtype::F16 => Some(pairs().map(|b| half::f16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// Writes 32-bit tensors to a safetensors file, sorted by name; equal arrays give equal bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(path: &Path, arrays: &NamedArrays) -> Result<(), CheckpointError> {
    let fail =
        |error: safetensors::SafeTensorError| CheckpointError::Tensors { path: path.to_path_buf(), reason: error.to_string() };
    let views: Vec<(&str, TensorView<'_>)> = arrays
        .iter()
        .map(|(name, array)| {
            let bytes = bytemuck::cast_slice(&array.data);
            Ok((name.as_str(), TensorView::new(Dtype::F32, array.shape.clone(), bytes).map_err(fail)?))
        })
        .collect::<Result<_, CheckpointError>>()?;
    let metadata = std::iter::once(("format".to_string(), "pt".to_string())).collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(fail)?;
    fs::write(path, bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests;
