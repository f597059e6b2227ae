//! `tokenize`: token files from documents, as OLMo-core reads them.

use data::shard::tokenize;
use data::tokenizer::Tokenizer;
use plan::{Place, Resources};

use super::bridge::{DataObserver, provenance_figures};
use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Tokenize`].
    pub struct Params {}
}

/// See the module.
pub struct Tokenize;

impl Step for Tokenize {
    type Params = Params;

    fn about() -> About {
        About {
            name: "tokenize",
            version: 1,
            doc: "Writes headerless little-endian token files (uint16, or uint32 for large vocabularies) and document offsets, a set for \
                  each source, every document ending with EOS; the tokenizer goes along.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::Many, doc: "What to tokenise." },
                Port { name: "tokenizer", accepts: &[ArtifactType::Tokenizer], arity: Arity::One, doc: "With what." },
            ],
            positional: &[],
            output: ArtifactType::Tokens,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn run(_: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs = work.all("documents");
        let paths: Vec<_> = inputs.iter().map(|input| input.path.as_path()).collect();
        let from = work.input("tokenizer")?;
        let tokenizer = Tokenizer::load(&from.path.join("tokenizer.json"))?;
        let meta = tokenize(&paths, &tokenizer, &work.out, &DataObserver::new(work.reporter, "bytes"))?;
        carry_tokenizer(&from.path, &work.out)?;
        let mut closing = Closing::new();
        for input in &inputs {
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
        Ok(closing)
    }
}
