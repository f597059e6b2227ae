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
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{ConfigError, ModelConfig};
use crate::growth::GrowthRecord;
use crate::model::{Model, WeightsError};
use crate::optim::OptimizerState;
use crate::weights::{Array, NamedArrays};

mod export;
mod layout;
pub mod progress;
pub mod tensors;
pub mod tokenizer;
mod weights;

pub use export::ExportOptions;
pub use tensors::Precision;

use tensors::{TensorFile, TensorWriter};

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
    /// The model is a composition of its own.
    #[error(
        "no class of transformers computes this model (it is a composition of its own, not {family} as published); `--format all` copies it as it is"
    )]
    NoClass {
        /// The family it is spelled as.
        family: String,
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
    /// Tensors are read one by one; nothing is held twice but the one at hand.
    ///
    /// # Errors
    /// When a file is missing or damaged, the model is not supported, or the tensors do not fit it; the message names file
    /// and tensor.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let model = Self::read_model(dir)?;
        let training = dir.join("training.json");
        let training = if fs::exists(&training)? { Some(read_training(dir)?) } else { None };
        Ok(Self { training, ..model })
    }

    /// Reads a checkpoint directory without its state of training.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_model(dir: &Path) -> Result<Self, CheckpointError> {
        let config = read_config(dir)?;
        let weights = weights::read(dir, &config)?;
        Ok(Self::new(config, weights))
    }

    /// Checks the configuration of a checkpoint directory, and names and shapes of its tensors against it, without reading
    /// their values.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn verify(dir: &Path) -> Result<ModelConfig, CheckpointError> {
        let config = read_config(dir)?;
        weights::verify(dir, &config)?;
        Ok(config)
    }

    /// Writes the checkpoint into the existing directory `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), CheckpointError> {
        write_json(&dir.join("config.json"), &self.config.to_hf())?;
        let tensors = layout::to_files(&self.config, &self.weights);
        export::write_file(&dir.join(weights::WHOLE), Precision::F32, &tensors)?;
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
        let Checkpoint { config, weights, .. } = Checkpoint::read_model(dir)?;
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

fn read_config(dir: &Path) -> Result<ModelConfig, CheckpointError> {
    let path = dir.join("config.json");
    let config = ModelConfig::from_hf(&read_json::<Value>(&path)?);
    let mut config = config.map_err(|source| CheckpointError::Config { path, source })?;
    let path = dir.join("generation_config.json");
    if fs::exists(&path)? && config.add_generation_config(&read_json::<Value>(&path)?).is_err() {
        let reason = "`eos_token_id` is neither a token id nor a list of them".into();
        return Err(CheckpointError::Tensors { path, reason });
    }
    Ok(config)
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
    let file = TensorFile::open(path)?;
    file.entries().iter().map(|entry| Ok((entry.name.clone(), file.floats(entry)?))).collect()
}

/// Writes 32-bit tensors to a safetensors file, sorted by name; equal arrays give equal bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(path: &Path, arrays: &NamedArrays) -> Result<(), CheckpointError> {
    let header: Vec<_> = arrays.iter().map(|(name, array)| (name.as_str(), array.shape.as_slice(), Precision::F32)).collect();
    let mut writer = TensorWriter::create(path, &header)?;
    for array in arrays.values() {
        writer.write(&array.data)?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transformers;
