//! Byte-level BPE tokenizers in the Hugging Face layout: load, save, encode, decode.
//! Knows no document or shard. Training is in `train`, the splitting of text into words in `pretokenize`.
//!
//! Text is encoded as text: the name of a special token inside a document (`<|endoftext|>` in a file about language models, say) becomes
//! ordinary tokens, never the special one. Templates that need special tokens use [`Tokenizer::encode_special`].

mod bytes;
mod merges;
mod pretokenize;
mod train;
mod words;

use crate::error::DataError;
use merges::Merges;
use pretokenize::Splits;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokenizers::models::ModelWrapper;
use words::WordEncoder;

pub use pretokenize::Digits;
pub use train::{TokenizerParams, train_tokenizer};

/// The end of every document in a token file.
pub const EOS: &str = "<|endoftext|>";
/// Filler behind the end of a sequence.
pub const PAD: &str = "<|pad|>";

/// A tokenizer ready to use.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    plain: Plain,
    /// Ids of tokens that stand for their own name.
    added: BTreeSet<u32>,
    vocab_size: usize,
    eos: u32,
    pad: u32,
    bos: Option<u32>,
}

/// How text without special tokens is encoded.
#[derive(Clone)]
enum Plain {
    /// Words are found by our scanner and looked up in a cache; those not met before are merged by tables of our own, or encoded by the
    /// library's model where there are none. The tables are made when they are first needed.
    Words(Splits, Arc<OnceLock<Option<Merges>>>),
    /// The library does everything, with special tokens taken for text.
    Library(Box<tokenizers::Tokenizer>),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("eos", &self.eos)
            .field("pad", &self.pad)
            .finish()
    }
}

fn library(error: impl std::fmt::Display) -> DataError {
    DataError::Tokenizer(error.to_string())
}

impl Tokenizer {
    /// Loads a `tokenizer.json`, or the one in a directory. A `tokenizer_config.json` beside it names the end-of-text and padding
    /// tokens; without one, the usual names are tried. A tokenizer without a padding token pads with its end-of-text token.
    pub fn load(path: &Path) -> Result<Tokenizer, DataError> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let inner = tokenizers::Tokenizer::from_bytes(fs_err::read(&file)?).map_err(|error| DataError::format(&file, error))?;
        let config_path = file.with_file_name("tokenizer_config.json");
        let config: serde_json::Value = match config_path.is_file() {
            true => {
                serde_json::from_slice(&fs_err::read(&config_path)?).map_err(|error| DataError::format(&config_path, error))?
            }
            false => serde_json::Value::Null,
        };
        let named = |field: &str| {
            let value = &config[field];
            value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
        };
        let find = |named: Option<String>, usual: &[&str]| match named {
            Some(name) => inner.token_to_id(&name),
            None => usual.iter().find_map(|name| inner.token_to_id(name)),
        };
        let eos = find(named("eos_token"), &[EOS, "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>"]).ok_or_else(|| {
            DataError::format(&file, "it has no end-of-text token; name one as `eos_token` in a tokenizer_config.json beside it")
        })?;
        let pad = find(named("pad_token"), &[PAD, "<|padding|>", "<pad>", "[PAD]"]).unwrap_or(eos);
        let bos = find(named("bos_token"), &["<|begin_of_text|>", "<s>", "<bos>"]);
        Ok(Tokenizer { bos, ..Tokenizer::new(inner, eos, pad) })
    }

    fn new(inner: tokenizers::Tokenizer, eos: u32, pad: u32) -> Tokenizer {
        let plain = match pretokenize::recognise(&inner) {
            Some(splits) => Plain::Words(splits, Arc::default()),
            None => {
                let mut text_only = inner.clone();
                text_only.set_encode_special_tokens(true);
                Plain::Library(Box::new(text_only))
            }
        };
        let added: BTreeSet<u32> = inner.get_added_tokens_decoder().into_keys().collect();
        // The library counts tokens, and ids may have gaps.
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |max| max as usize + 1);
        Tokenizer { inner, plain, added, vocab_size, eos, pad, bos: None }
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` to a directory, as `transformers` reads them.
    /// Returns the path of the first.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, DataError> {
        fs_err::create_dir_all(dir)?;
        let file = dir.join("tokenizer.json");
        fs_err::write(&file, self.inner.to_string(true).map_err(library)?)?;
        let (eos, pad) = (self.token(self.eos)?, self.token(self.pad)?);
        let special = serde_json::json!({ "eos_token": eos, "pad_token": pad });
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": eos,
            "pad_token": pad,
            "clean_up_tokenization_spaces": false,
            "model_input_names": ["input_ids", "attention_mask"],
        });
        for (name, value) in [("tokenizer_config.json", config), ("special_tokens_map.json", special)] {
            fs_err::write(dir.join(name), format!("{value:#}\n"))?;
        }
        Ok(file)
    }

    /// Number of ids, special tokens included; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that ends a document.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The token that fills up sequences.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The id of a token by its name in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn token(&self, id: u32) -> Result<String, DataError> {
        self.inner.id_to_token(id).ok_or_else(|| DataError::Tokenizer(format!("no token has id {id}")))
    }

    /// BLAKE3 of the tokenizer's canonical JSON, hexadecimal: equal for tokenizers that do the same.
    pub fn digest(&self) -> Result<String, DataError> {
        Ok(blake3::hash(self.inner.to_string(false).map_err(library)?.as_bytes()).to_hex().to_string())
    }

    /// The ids of a text, without any special token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        self.encoder().encode(text)
    }

    /// The ids of many texts, in their order; encoded in parallel.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, DataError> {
        let encoders = self.encoders();
        texts.par_iter().map_init(|| encoders.borrow(), |encoder, text| encoder.encode(text)).collect()
    }

    /// The ids of a text in which the names of special tokens stand for those tokens. Nothing is added at either end.
    pub fn encode_special(&self, text: &str) -> Result<Vec<u32>, DataError> {
        Ok(self.inner.encode_fast(text, false).map_err(library)?.get_ids().to_vec())
    }

    /// The text of ids; special tokens appear by name, and bytes that are no UTF-8 as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decode(ids, false).map_err(library)
    }

    /// The text of ids without special tokens.
    pub fn decode_text(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decode(ids, true).map_err(library)
    }

    /// The bytes a token stands for (byte-level tokenizers); the name's bytes for a special token. Fails for an id without a token.
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>, DataError> {
        let token = self.token(id)?;
        if self.added.contains(&id) {
            return Ok(token.into_bytes());
        }
        Ok(bytes::from_chars(&token).unwrap_or_else(|| token.into_bytes()))
    }

    /// UTF-8 bytes per token on a sample: how much the tokenizer compresses.
    pub fn bytes_per_token(&self, sample: &str) -> Result<f64, DataError> {
        let ids = self.encode(sample)?;
        Ok(sample.len() as f64 / ids.len().max(1) as f64)
    }

    /// The token that begins a text, by the name that a `tokenizer_config.json` gave it or by the usual ones.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// An encoder that remembers words; one per thread.
    fn encoder(&self) -> Encoder<'_> {
        match &self.plain {
            Plain::Words(splits, merges) => {
                let merges = merges.get_or_init(|| Merges::of(self.inner.get_model())).as_ref();
                Encoder::Words(Box::new(WordEncoder::new(self.inner.get_model(), merges, *splits)))
            }
            Plain::Library(inner) => Encoder::Library(inner),
        }
    }

    /// Encoders for threads, which keep what they remember from one text to the next.
    pub(crate) fn encoders(&self) -> Encoders<'_> {
        Encoders { tokenizer: self, idle: Mutex::new(Vec::new()) }
    }
}

/// Encoders that threads borrow and give back.
pub(crate) struct Encoders<'a> {
    tokenizer: &'a Tokenizer,
    idle: Mutex<Vec<Encoder<'a>>>,
}

impl<'a> Encoders<'a> {
    /// An encoder that nobody else uses, until it is dropped.
    pub(crate) fn borrow(&self) -> Borrowed<'a, '_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { encoder: Some(idle.unwrap_or_else(|| self.tokenizer.encoder())), home: self }
    }
}

/// See [`Encoders::borrow`].
pub(crate) struct Borrowed<'a, 'b> {
    encoder: Option<Encoder<'a>>,
    home: &'b Encoders<'a>,
}

impl Borrowed<'_, '_> {
    /// The ids of a text, without any special token.
    pub(crate) fn encode(&mut self, text: &str) -> Result<Vec<u32>, DataError> {
        self.encoder.as_mut().expect("it is given back on drop only").encode(text)
    }
}

impl Drop for Borrowed<'_, '_> {
    fn drop(&mut self) {
        self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.encoder.take());
    }
}

/// Encodes texts one after another.
enum Encoder<'a> {
    Words(Box<WordEncoder<'a, ModelWrapper>>),
    Library(&'a tokenizers::Tokenizer),
}

impl Encoder<'_> {
    fn encode(&mut self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Encoder::Words(words) => words.encode(text),
            Encoder::Library(inner) => Ok(inner.encode_fast(text, false).map_err(library)?.get_ids().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
