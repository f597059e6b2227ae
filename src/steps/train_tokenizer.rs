//! `train_tokenizer`: a byte-level BPE tokenizer from documents.

use data::tokenizer::{Digits, TokenizerParams, train_tokenizer};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::choices! {
    /// How numbers are cut before merging.
    pub enum Cut {
        /// Digit by digit.
        Individual = "individual",
        /// In groups of up to three.
        Triples = "triples",
    }
}

crate::params! {
    /// Parameters of [`TrainTokenizer`].
    pub struct Params {
        /// Number of tokens: 256 bytes, the special ones, and merges.
        vocab_size: u64 = 4096, in 258.0..=1e7;
        /// How numbers are cut before merging.
        digits: Cut = Cut::Individual;
        /// Special tokens after `<|endoftext|>` and `<|pad|>`.
        special_tokens: Vec<String> = Vec::new();
        /// A pair that occurs less often is not merged.
        min_frequency: u64 = 2;
    }
}

/// See the module.
pub struct TrainTokenizer;

impl Step for TrainTokenizer {
    type Params = Params;

    fn about() -> About {
        About {
            name: "train_tokenizer",
            version: 1,
            doc: "Trains a byte-level BPE tokenizer and saves it as a Hugging Face tokenizer.json.",
            ports: &[Port {
                name: "documents",
                accepts: &[ArtifactType::Documents],
                arity: Arity::Many,
                doc: "What to learn merges from.",
            }],
            positional: &["vocab_size"],
            output: ArtifactType::Tokenizer,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs: Vec<_> = work.all("documents").iter().map(|input| input.path.as_path()).collect();
        let trained = TokenizerParams {
            vocab_size: usize::try_from(params.vocab_size).unwrap_or(usize::MAX),
            special_tokens: params.special_tokens,
            digits: match params.digits {
                Cut::Individual => Digits::Individual,
                Cut::Triples => Digits::Triples,
            },
            min_frequency: params.min_frequency,
        };
        let tokenizer = train_tokenizer(&inputs, &trained, &DataObserver::new(work.reporter, "bytes"))?;
        tokenizer.save(&work.out)?;
        Ok(Closing::from([("vocab_size".into(), tokenizer.vocab_size() as f64)]))
    }
}
