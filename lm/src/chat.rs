//! Conversations to text and to tokens: the chat template, the loss mask, and `tokenizer_config.json`.
//!
//! The template is Tulu's: `<|user|>\n...\n<|assistant|>\n...EOS`, with BOS once at the start (OLMo 2 has no BOS of its
//! own and uses EOS). The tags are ordinary text, so a base model needs no new tokens. Tokens are built turn by turn
//! from segments, and the mask is emitted while building: it is never derived from a rendered text afterwards.
//!
//! A token is trained on when it belongs to the body of an assistant turn or is the EOS that ends it; headers, other
//! turns and the line break after an EOS are context.
//!
//! Text inside a conversation that spells a special token is encoded as ordinary text, so a user cannot end a turn.
//! Rendering the same messages through [`CHAT_TEMPLATE`] and tokenising the result in one go gives the same ids unless
//! a body starts with white space (which may merge with the header's line break).

use std::path::Path;

use data::problem::{Message, Role};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

mod stop;
#[cfg(test)]
pub(crate) mod tests;

pub use stop::StopStrings;

/// The template as `transformers` reads it from `tokenizer_config.json` (Jinja).
pub const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + eos_token }}\
{% if not loop.last %}{{ '\\n' }}{% endif %}\
{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{% if messages and messages[-1]['role'] == 'assistant' %}{{ '\\n' }}{% endif %}\
{{ '<|assistant|>\\n' }}{% endif %}";

/// The text that starts an assistant turn.
const ASSISTANT: &str = "<|assistant|>\n";

/// A conversation cannot be turned into tokens.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The tokenizer has no token of that id.
    #[error("the tokenizer has no token with the end-of-text id {id}; is it the tokenizer the model was trained with?")]
    NoEos {
        /// The id asked for.
        id: u32,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer cannot encode {text:?}: {source}")]
    Encode {
        /// The text.
        text: String,
        /// What the tokenizer said.
        source: tokenizers::Error,
    },
    /// The tokenizer refused some ids.
    #[error("the tokenizer cannot decode: {0}")]
    Decode(tokenizers::Error),
    /// A file cannot be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// `tokenizer_config.json` is not a JSON object.
    #[error("{}: not a JSON object", path.display())]
    TokenizerConfig {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A tokenizer file holds something else.
    #[error("not a tokenizer.json: {0}")]
    Tokenizer(tokenizers::Error),
}

/// Whether a rendering ends where the model should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is added after the last turn: training data.
    Complete,
    /// The header of an assistant turn is added: a prompt.
    AssistantHeader,
}

/// The tokens of a conversation and which of them are trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTokens {
    /// Token ids, BOS first.
    pub ids: Vec<u32>,
    /// Per token, whether it is a target of supervised finetuning.
    pub trained: Vec<bool>,
}

impl ChatTokens {
    /// Number of tokens that are trained on.
    pub fn n_trained(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }

    fn push(&mut self, ids: impl IntoIterator<Item = u32>, trained: bool) {
        self.ids.extend(ids);
        self.trained.resize(self.ids.len(), trained);
    }
}

/// A tokenizer with the chat template around it.
#[derive(Clone)]
pub struct Chat {
    tokenizer: Tokenizer,
    /// `tokenizer.json` as it was read, so that it is passed on byte for byte.
    file: Vec<u8>,
    eos: u32,
    eos_text: String,
}

impl Chat {
    /// A tokenizer from the bytes of its `tokenizer.json`; `eos` ends documents and turns and also serves as BOS.
    ///
    /// # Errors
    /// If it is no tokenizer or has no such token.
    pub fn new(file: Vec<u8>, eos: u32) -> Result<Chat, ChatError> {
        let mut tokenizer = Tokenizer::from_bytes(&file).map_err(ChatError::Tokenizer)?;
        let eos_text = tokenizer.id_to_token(eos).ok_or(ChatError::NoEos { id: eos })?;
        tokenizer.set_encode_special_tokens(true);
        Ok(Chat { tokenizer, file, eos, eos_text })
    }

    /// Reads `tokenizer.json` from a checkpoint or tokenizer directory.
    ///
    /// # Errors
    /// If the file cannot be read, is no tokenizer, or has no token `eos`.
    pub fn open(dir: &Path, eos: u32) -> Result<Chat, ChatError> {
        Chat::new(fs_err::read(dir.join("tokenizer.json"))?, eos)
    }

    /// The id that ends documents and turns.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// One more than the largest token id.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).values().max().map_or(0, |max| *max as usize + 1)
    }

    /// The tokenizer; special tokens in a text are encoded as ordinary text.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids of a plain text, without BOS or EOS.
    ///
    /// # Errors
    /// If the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|source| ChatError::Encode { text: text.to_string(), source })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    /// If the tokenizer refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ChatError> {
        self.tokenizer.decode(ids, true).map_err(ChatError::Decode)
    }

    /// The text of a conversation, as the Jinja template renders it.
    pub fn render(&self, messages: &[Message], ending: Ending) -> String {
        let mut text = self.eos_text.clone();
        for (i, message) in messages.iter().enumerate() {
            if message.role == Role::Assistant {
                text += ASSISTANT;
                text += &message.content;
                text += &self.eos_text;
                if i + 1 < messages.len() || ending == Ending::AssistantHeader {
                    text.push('\n');
                }
            } else {
                text += &turn(message);
            }
        }
        if ending == Ending::AssistantHeader {
            text += ASSISTANT;
        }
        text
    }

    /// The tokens of a conversation with their loss mask.
    ///
    /// # Errors
    /// If the tokenizer refuses a text.
    pub fn tokens(&self, messages: &[Message], ending: Ending) -> Result<ChatTokens, ChatError> {
        let mut tokens = ChatTokens::default();
        tokens.push([self.eos], false);
        let mut context = String::new();
        for (i, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                context += &turn(message);
                continue;
            }
            context += ASSISTANT;
            tokens.push(self.encode(&context)?, false);
            context.clear();
            tokens.push(self.encode(&message.content)?, true);
            tokens.push([self.eos], true);
            if i + 1 < messages.len() || ending == Ending::AssistantHeader {
                context.push('\n');
            }
        }
        if ending == Ending::AssistantHeader {
            context += ASSISTANT;
        }
        tokens.push(self.encode(&context)?, false);
        Ok(tokens)
    }

    /// The ids a model is given to answer a conversation. A trailing assistant turn is dropped, as RLVR rows have it.
    ///
    /// # Errors
    /// If the tokenizer refuses a text.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ChatError> {
        let n = messages.len() - usize::from(messages.last().is_some_and(|m| m.role == Role::Assistant));
        Ok(self.tokens(&messages[..n], Ending::AssistantHeader)?.ids)
    }

    /// Writes `tokenizer.json` and, with the chat template, `tokenizer_config.json` into an existing directory. Other
    /// fields of an existing `tokenizer_config.json` stay as they are.
    ///
    /// # Errors
    /// If a file cannot be read or written, or `tokenizer_config.json` is not a JSON object.
    pub fn write(&self, dir: &Path, pad: u32, max_length: usize) -> Result<(), ChatError> {
        fs_err::write(dir.join("tokenizer.json"), &self.file)?;
        write_config(self, dir, pad, max_length)
    }
}

/// Turns ids that arrive one by one into text, holding back bytes that are not yet whole characters.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    ids: Vec<u32>,
    n_sent: usize,
}

impl TextStream {
    /// Adds an id; returns the text that is new, often nothing while a character is incomplete.
    ///
    /// # Errors
    /// If the tokenizer refuses the id.
    pub fn push(&mut self, chat: &Chat, id: u32) -> Result<String, ChatError> {
        self.ids.push(id);
        let text = chat.decode(&self.ids)?;
        let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let new = whole.get(self.n_sent..).unwrap_or_default().to_string();
        self.n_sent += new.len();
        Ok(new)
    }
}

fn turn(message: &Message) -> String {
    format!("<|{}|>\n{}\n", message.role.as_str(), message.content)
}

/// Writes the chat template and the special tokens into `dir/tokenizer_config.json`; other fields of an existing file
/// stay as they are.
fn write_config(chat: &Chat, dir: &Path, pad: u32, max_length: usize) -> Result<(), ChatError> {
    let path = dir.join("tokenizer_config.json");
    let mut config = match fs_err::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| ChatError::TokenizerConfig { path: path.clone() })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(e) => return Err(e.into()),
    };
    let Value::Object(fields) = &mut config else { return Err(ChatError::TokenizerConfig { path }) };
    fields.entry("tokenizer_class").or_insert(json!("PreTrainedTokenizerFast"));
    fields.entry("clean_up_tokenization_spaces").or_insert(json!(false));
    fields.entry("model_max_length").or_insert(json!(max_length));
    fields.insert("bos_token".to_string(), json!(chat.eos_text));
    fields.insert("eos_token".to_string(), json!(chat.eos_text));
    if let Some(pad) = chat.tokenizer.id_to_token(pad) {
        fields.insert("pad_token".to_string(), json!(pad));
    }
    fields.insert("chat_template".to_string(), json!(CHAT_TEMPLATE));
    let mut text = serde_json::to_string_pretty(&config).map_err(std::io::Error::from)?;
    text.push('\n');
    fs_err::write(&path, text)?;
    Ok(())
}
