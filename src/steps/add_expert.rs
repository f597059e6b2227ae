//! `add_expert`: a dense public model as a mixture of itself and a copy that one owner trains.

use std::path::Path;

use data::shard::TokenFiles;
use lm::checkpoint::Checkpoint;
use lm::flex::{self, RouterRow};
use plan::{Place, Resources};

use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`AddExpert`].
    pub struct Params {
        /// Documents that a domain's embedding is taken over.
        documents: u64 = 1000, in 1.0..=1e7;
        /// Seed of the public expert's router row where no public tokens are given; the same for every owner.
        public_seed: u64 = 0;
        /// Seed of the own expert's router row where no domain tokens are given.
        seed: u64 = 1;
    }
}

/// See the module.
pub struct AddExpert;

impl Step for AddExpert {
    type Params = Params;

    fn about() -> About {
        About {
            name: "add_expert",
            version: 1,
            doc: "A dense public model as a mixture of two (FlexOlmo, arXiv 2507.07024): expert 0 is the public feed-forward layer of every \
                  block, expert 1 a copy for its owner to train, with everything else frozen. Router rows are embeddings of the domains \
                  under the public model where tokens are given, random where not.",
            ports: &[
                Port {
                    name: "checkpoint",
                    accepts: &[ArtifactType::Checkpoint],
                    arity: Arity::One,
                    doc: "The dense public model.",
                },
                Port {
                    name: "domain",
                    accepts: &[ArtifactType::Tokens],
                    arity: Arity::Optional,
                    doc: "Tokens of the owner's domain.",
                },
                Port {
                    name: "public",
                    accepts: &[ArtifactType::Tokens],
                    arity: Arity::Optional,
                    doc: "Tokens of the public domain.",
                },
            ],
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let input = work.input("checkpoint")?;
        let public = Checkpoint::read(&input.path).map_err(StepError::failed)?;
        let row = |port: &str, seed: u64| match work.maybe(port) {
            None => Ok(RouterRow::Random(seed)),
            Some(tokens) => {
                let documents = documents(&tokens.path, params.documents)?;
                let embedding = flex::embed(&public, &documents, &work.one_device()?).map_err(StepError::failed)?;
                Ok::<_, StepError>(RouterRow::Embedding(embedding))
            }
        };
        let (public_row, own_row) = (row("public", params.public_seed)?, row("domain", params.seed)?);
        let mixture = flex::with_own_expert(&public, &public_row, &own_row).map_err(StepError::failed)?;
        write(&mixture, &input.path, work)
    }
}

/// The first documents of token files, each in full.
fn documents(tokens: &Path, n: u64) -> Result<Vec<Vec<u32>>, StepError> {
    /// Tokens looked through at a time.
    const PIECE: u64 = 1 << 16;
    let files = TokenFiles::open(tokens)?;
    let mut documents = Vec::new();
    let mut start = 0;
    while start < files.len() && (documents.len() as u64) < n {
        let piece = start..(start + PIECE).min(files.len());
        for place in files.documents(piece.clone())?.into_iter().filter(|place| place.start >= piece.start) {
            if (documents.len() as u64) < n {
                documents.push(files.tokens(place)?);
            }
        }
        start = piece.end;
    }
    Ok(documents)
}

/// Writes a model without training state beside the tokenizer it came with.
pub(super) fn write(model: &Checkpoint, from: &Path, work: &Work<'_>) -> Result<Closing, StepError> {
    model.write(&work.out).map_err(StepError::failed)?;
    carry_tokenizer(from, &work.out)?;
    Ok(Closing::from([("model/parameters".into(), model.config.n_parameters() as f64)]))
}
