//! `index`: a searchable corpus, for `workbench index` and `workbench trace`.

use data::index::{IndexParams, Unit as Indexed, build_index, build_index_of_tokens};
use data::tokenizer::Tokenizer;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// What is indexed.
    pub enum Unit {
        /// Bytes of UTF-8.
        Bytes = "bytes",
        /// Words of Unicode Standard Annex 29.
        Words = "words",
        /// Such words in lower case, without punctuation.
        Folded = "folded",
        /// Tokens of a tokenizer.
        Tokens = "tokens",
    }
}

crate::params! {
    /// Parameters of [`Index`].
    pub struct Params {
        /// What is indexed. Words find phrases at word boundaries, folded ones however they are written; bytes find any string and need
        /// the most room; tokens give next-token probabilities of a tokenizer. `()` takes tokens where a tokenizer or tokens are
        /// connected, else words.
        unit: Option<Unit> = None;
        /// Millions of symbols that are sorted at once; a thread needs about 12 MB for each. 0 shares the corpus among the
        /// threads, up to 134 million. Without influence on the bytes.
        part_millions: u64 = 0, in 0.0..=2000.0;
    }
}

/// See the module.
pub struct Index;

impl Step for Index {
    type Params = Params;

    fn about() -> About {
        About {
            name: "index",
            version: 1,
            doc: "Sorts every suffix of a corpus, so that any phrase is counted and found at once: `workbench index` asks, `workbench \
                  trace` finds the spans of a text in it. Of tokens it has the positions of the training data, and a trace can name \
                  training steps; the documents go along for their licences.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::Any, doc: "The corpus." },
                Port {
                    name: "tokens",
                    accepts: &[ArtifactType::Tokens],
                    arity: Arity::Optional,
                    doc: "Token files to index as they are, with the tokenizer beside them; documents then give metadata alone.",
                },
                Port {
                    name: "tokenizer",
                    accepts: &[ArtifactType::Tokenizer],
                    arity: Arity::Optional,
                    doc: "Makes tokens of documents.",
                },
            ],
            positional: &["unit"],
            output: ArtifactType::Index,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn fits(params: &Params, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        let has = |port| connected.iter().any(|(connected, _)| *connected == port);
        let wrong = |message: &str| Err(vec![ParamError::new("unit", message)]);
        match params.unit {
            _ if !has("documents") && !has("tokens") => wrong("there is nothing to index: connect documents or tokens"),
            Some(Unit::Tokens) if !has("tokens") && !has("tokenizer") => wrong("tokens need a tokenizer: connect one"),
            Some(Unit::Bytes | Unit::Words | Unit::Folded) if has("tokens") => wrong("token files are indexed as tokens"),
            _ => Ok(()),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let observer = DataObserver::new(work.reporter, "bytes");
        let documents: Vec<_> = work.all("documents").iter().map(|input| input.path.as_path()).collect();
        let scratch = work.progress.join("index");
        let places = (work.out.as_path(), scratch.as_path());
        let tokens = work.maybe("tokens");
        let tokenizer = match tokens.or_else(|| work.maybe("tokenizer")) {
            Some(from) => Some(Tokenizer::load(&from.path.join("tokenizer.json"))?),
            None => None,
        };
        let unit = match params.unit {
            Some(Unit::Bytes) => Indexed::Bytes,
            Some(Unit::Words) => Indexed::Words,
            Some(Unit::Folded) => Indexed::Folded,
            Some(Unit::Tokens) => Indexed::Tokens,
            None if tokenizer.is_some() => Indexed::Tokens,
            None => Indexed::Words,
        };
        let settings = IndexParams { unit, part_symbols: params.part_millions * 1_000_000 };
        let meta = match (tokens, &tokenizer) {
            (Some(tokens), Some(tokenizer)) => {
                build_index_of_tokens(&tokens.path, tokenizer, &documents, settings, places, &observer)?
            }
            _ => build_index(&documents, tokenizer.as_ref(), settings, places, &observer)?,
        };
        Ok(Closing::from([("symbols".into(), meta.symbols as f64), ("documents".into(), meta.documents as f64)]))
    }
}
