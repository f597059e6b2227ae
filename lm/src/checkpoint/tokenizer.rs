//! The tokenizer beside an exported model, with what `AutoTokenizer` wants to know about it.

use std::path::Path;

use fs_err as fs;
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{CheckpointError, read_json, write_json};
use crate::config::ModelConfig;

/// Files that are passed on as they are.
const FILES: [&str; 5] = ["tokenizer.json", "chat_template.jinja", "vocab.json", "merges.txt", "added_tokens.json"];
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Copies the tokenizer that lies in `from` to `to`, and completes its `tokenizer_config.json` and `special_tokens_map.json`:
/// class, longest input, and the model's special tokens where the files name none. `false` when there is none.
///
/// # Errors
/// When a file cannot be read or written, or is no tokenizer.
pub fn export(from: &Path, to: &Path, model: &ModelConfig) -> Result<bool, CheckpointError> {
    let path = from.join("tokenizer.json");
    if !fs::exists(&path)? {
        return Ok(false);
    }
    for name in FILES {
        if fs::exists(from.join(name))? {
            // Bytes only: files of a store are read-only.
            fs::write(to.join(name), fs::read(from.join(name))?)?;
        }
    }
    let tokenizer = Tokenizer::from_bytes(fs::read(&path)?)
        .map_err(|error| CheckpointError::Tensors { path, reason: format!("it is no tokenizer: {error}") })?;
    let object = |name: &str| -> Result<Map<String, Value>, CheckpointError> {
        let path = from.join(name);
        if fs::exists(&path)? { read_json(&path) } else { Ok(Map::new()) }
    };
    let (mut config, mut special) = (object(CONFIG)?, object(SPECIAL)?);
    for (name, id) in [("eos_token", model.eos_token_id), ("pad_token", model.pad_token_id)] {
        let known = [&config, &special].into_iter().find_map(|map| map.get(name).filter(|token| !token.is_null()).cloned());
        let Some(token) = known.or_else(|| tokenizer.id_to_token(id).map(Value::from)) else { continue };
        config.insert(name.into(), token.clone());
        special.insert(name.into(), token);
    }
    for (name, value) in [
        ("tokenizer_class", json!("PreTrainedTokenizerFast")),
        ("model_max_length", json!(model.max_position_embeddings)),
        ("clean_up_tokenization_spaces", json!(false)),
        ("model_input_names", json!(["input_ids", "attention_mask"])),
    ] {
        config.entry(name).or_insert(value);
    }
    write_json(&to.join(CONFIG), &config)?;
    write_json(&to.join(SPECIAL), &special)?;
    Ok(true)
}
