//! The weights of a checkpoint folder: one file or several with an index, read a tensor at a time into their place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;
use serde::Deserialize;

use super::layout::{self, Found, Piece};
use super::tensors::TensorFile;
use super::{CheckpointError, read_json};
use crate::config::ModelConfig;
use crate::init::parameter_shapes;
use crate::weights::{Array, NamedArrays};

/// The file of a checkpoint that is not cut in pieces.
pub(super) const WHOLE: &str = "model.safetensors";
/// The list of the files of one that is.
pub(super) const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Checks names and shapes of the tensors of `dir`.
pub(super) fn verify(dir: &Path, config: &ModelConfig) -> Result<(), CheckpointError> {
    plan(dir, config, &open(dir)?).map(drop)
}

/// Where the values of every tensor go, file by file.
fn plan(dir: &Path, config: &ModelConfig, files: &[TensorFile]) -> Result<Vec<Vec<Piece>>, CheckpointError> {
    let found = |(file, opened): (usize, &TensorFile)| -> Vec<(usize, String, Vec<usize>)> {
        opened.entries().iter().map(|entry| (file, entry.name.clone(), entry.shape.clone())).collect()
    };
    let tensors: Vec<_> = files.iter().enumerate().flat_map(found).collect();
    let tensors: Vec<_> = tensors.iter().map(|(file, name, shape)| Found { file: *file, name, shape }).collect();
    layout::plan(config, &tensors).map_err(|fault| {
        let path = fault.file.map_or_else(|| dir.to_path_buf(), |file| files[file].path().to_path_buf());
        CheckpointError::Tensors { path, reason: fault.reason }
    })
}

/// The weights of `dir`, each of the shape that `config` wants.
pub(super) fn read(dir: &Path, config: &ModelConfig) -> Result<NamedArrays, CheckpointError> {
    let files = open(dir)?;
    let plan = plan(dir, config, &files)?;
    let shapes: BTreeMap<String, Vec<usize>> = parameter_shapes(config).into_iter().collect();
    let mut weights = NamedArrays::new();
    let entries = files.iter().flat_map(|file| file.entries().iter().map(move |entry| (file, entry)));
    for ((file, entry), pieces) in entries.zip(plan) {
        if pieces.is_empty() {
            continue;
        }
        let values = file.floats(entry)?;
        if let [piece] = pieces.as_slice()
            && shapes[&piece.parameter] == values.shape
        {
            weights.insert(piece.parameter.clone(), values);
            continue;
        }
        for piece in &pieces {
            let shape = &shapes[&piece.parameter];
            let array = weights.entry(piece.parameter.clone()).or_insert_with(|| Array::filled(shape, 0.0));
            array.data[piece.to..piece.to + piece.n].copy_from_slice(&values.data[piece.from..piece.from + piece.n]);
        }
    }
    Ok(weights)
}

/// The files of weights of a folder, checked against their index.
fn open(dir: &Path) -> Result<Vec<TensorFile>, CheckpointError> {
    let (whole, index) = (dir.join(WHOLE), dir.join(INDEX));
    if fs::exists(&whole)? {
        return Ok(vec![TensorFile::open(&whole)?]);
    }
    let fail = |path: &Path, reason: String| CheckpointError::Tensors { path: path.to_path_buf(), reason };
    if !fs::exists(&index)? {
        let other = fs::exists(dir.join("pytorch_model.bin"))? || fs::exists(dir.join("pytorch_model.bin.index.json"))?;
        let hint = if other { "; weights in pickled files are not read: save them as safetensors" } else { "" };
        return Err(fail(dir, format!("there is neither {WHOLE} nor {INDEX}{hint}")));
    }
    let ShardIndex { weight_map } = read_json(&index)?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    let mut files = Vec::new();
    for name in names {
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(fail(&index, format!("`{name}` is no name of a file beside it")));
        }
        let path = dir.join(name);
        if !fs::exists(&path)? {
            return Err(fail(&index, format!("it names `{name}`, which is not there; fetch or export the checkpoint again")));
        }
        let file = TensorFile::open(&path)?;
        let here: BTreeSet<&str> = file.entries().iter().map(|entry| entry.name.as_str()).collect();
        let listed = weight_map.iter().filter(|(_, shard)| *shard == name).map(|(tensor, _)| tensor.as_str());
        let listed: BTreeSet<&str> = listed.collect();
        if let Some(tensor) = listed.difference(&here).next() {
            return Err(fail(&path, format!("tensor `{tensor}` is not in it, although {INDEX} says so")));
        }
        if let Some(tensor) = here.difference(&listed).next() {
            return Err(fail(&path, format!("tensor `{tensor}` is in it, but {INDEX} does not say so")));
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(fail(&index, "it lists no tensors".into()));
    }
    Ok(files)
}
