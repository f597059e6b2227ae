//! `tokenize`: token files from documents and conversations, as OLMo-core reads them.

use data::problem::{Conversation, read_jsonl};
use data::shard::{Chats, Encoded, TokenizeOptions, TokensMeta, tokenize};
use data::tokenizer::Tokenizer;
use lm::chat::{Chat, Ending};
use plan::{Place, Resources};

use super::bridge::{DataObserver, provenance_figures};
use super::demonstrations::CHATS;
use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Tokenize`].
    pub struct Params {
        /// Ids after which a file is closed, at the end of a document.
        max_size: u64 = 1 << 30, in 1.0..=1e15;
        /// Shuffles the documents of each source by this seed; `()` leaves them in their order.
        shuffle: Option<u64> = None;
        /// Puts the tokenizer's token for the beginning of a text before every document.
        bos: bool = false;
        /// Removes space around texts, as the Dolma toolkit does.
        strip: bool = false;
    }
}

/// See the module.
pub struct Tokenize;

/// What token files close with.
pub(super) fn closing(work: &Work<'_>, port: &str, meta: &TokensMeta) -> Closing {
    let mut closing = Closing::new();
    for input in work.all(port) {
        for (name, value) in provenance_figures(&input.metrics) {
            *closing.entry(name).or_default() += value;
        }
    }
    let totals = meta.totals();
    closing.insert("tokens".into(), meta.tokens() as f64);
    closing.insert("bytes per token".into(), totals.bytes as f64 / meta.tokens().max(1) as f64);
    for source in &meta.sources {
        closing.insert(format!("tokens/{}", source.source), source.tokens as f64);
    }
    closing
}

/// The ids and labels of a conversation: the chat template without a token before it, up to the end of the last answer.
fn encode(chat: &Chat, conversation: &Conversation) -> Result<Encoded, data::DataError> {
    let refused =
        |error: lm::chat::ChatError| data::DataError::Document { id: conversation.id.clone(), message: error.to_string() };
    let tokens = chat.tokens(&conversation.messages, Ending::Complete).map_err(refused)?;
    let end = tokens.trained.iter().rposition(|&trained| trained).map_or(tokens.ids.len(), |last| last + 1);
    let start = usize::from(tokens.ids.first() == Some(&chat.eos())).min(end);
    Ok(Encoded { ids: tokens.ids[start..end].to_vec(), mask: Some(tokens.trained[start..end].to_vec()) })
}

impl Step for Tokenize {
    type Params = Params;

    fn about() -> About {
        About {
            name: "tokenize",
            version: 2,
            doc: "Writes headerless little-endian token files (uint16, or uint32 for large vocabularies) and document offsets, a set for \
                  each source, every document ending with EOS; the tokenizer goes along. Conversations become `token_ids_part_*.npy` with \
                  `labels_mask_part_*.npy` beside them, true on what assistants say. A run that was interrupted goes on after the last \
                  document file that was done.",
            ports: &[
                Port {
                    name: "documents",
                    accepts: &[ArtifactType::Documents, ArtifactType::Chats],
                    arity: Arity::Many,
                    doc: "What to tokenise.",
                },
                Port { name: "tokenizer", accepts: &[ArtifactType::Tokenizer], arity: Arity::One, doc: "With what." },
            ],
            positional: &[],
            output: ArtifactType::Tokens,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn fits(params: &Params, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        let chats = connected.iter().any(|(port, artifact)| *port == "documents" && *artifact == ArtifactType::Chats);
        if chats && params.bos {
            let message = "conversations begin as the chat template says; tokenise them apart from documents that have a BOS";
            return Err(vec![ParamError::new("bos", message)]);
        }
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let from = work.input("tokenizer")?;
        let tokenizer = Tokenizer::load(&from.path.join("tokenizer.json"))?;
        let bos = match params.bos {
            true => Some(tokenizer.bos().ok_or_else(|| {
                let text = "the tokenizer has no token for the beginning of a text; name one as `bos_token` in its tokenizer_config.json";
                StepError::Failed(text.into())
            })?),
            false => None,
        };
        let options = TokenizeOptions { max_file_tokens: params.max_size, shuffle: params.shuffle, bos, strip: params.strip };
        let (mut paths, mut conversations, mut chats) = (Vec::new(), Vec::<Conversation>::new(), false);
        for input in work.all("documents") {
            if input.path.join(CHATS).is_file() {
                chats = true;
                conversations.extend(read_jsonl::<Conversation>(&input.path.join(CHATS))?);
            } else {
                paths.push(input.path.as_path());
            }
        }
        let chat = if chats { Some(super::tokens_input::chat(from, tokenizer.eos())?) } else { None };
        let encoder = chat.as_ref().map(|chat| |conversation: &Conversation| encode(chat, conversation));
        let chats = encoder.as_ref().map(|encode| Chats { conversations: &conversations, encode });
        let observer = DataObserver::new(work.reporter, "bytes");
        let meta = tokenize(&paths, chats, &tokenizer, options, &work.out, &work.progress, &observer)?;
        carry_tokenizer(&from.path, &work.out)?;
        Ok(closing(work, "documents", &meta))
    }
}
