//! `batches`: recorded training batches from a tensor of token ids.

use lm::checkpoint::tensors::TensorFile;
use lm::loader::recorded::Recording;
use plan::{Place, Resources};

use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Batches`].
    pub struct Params {
        /// The tensor of token ids, `[steps, rows, tokens]`.
        tensor: String;
    }
}

/// See the module.
pub struct Batches;

impl Step for Batches {
    type Params = Params;

    fn about() -> About {
        About {
            name: "batches",
            version: 1,
            doc: "Recorded batches, `batches(\"trace.safetensors\", \"tensor\")`: a tensor of token ids `[steps, rows, tokens]`. \
                  `pretrain` takes them as its tokens and then does one optimiser step per batch in the recorded order, without \
                  shuffling; targets are the next tokens of each row. A tokenizer, if given, goes to what is trained.",
            ports: &[
                Port {
                    name: "file",
                    accepts: &[ArtifactType::Files],
                    arity: Arity::One,
                    doc: "A safetensors file, relative to the recipe, or a fetched one.",
                },
                Port {
                    name: "tokenizer",
                    accepts: &[ArtifactType::Tokenizer],
                    arity: Arity::Optional,
                    doc: "The tokenizer that the ids are of.",
                },
            ],
            positional: &["tensor"],
            output: ArtifactType::Batches,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let files = super::import_hf::files(work, "file")?;
        let [path] = files.as_slice() else {
            return Err(StepError::Failed(format!("one file of batches is read at a time, and {} are given", files.len())));
        };
        let file = TensorFile::open(path).map_err(StepError::failed)?;
        let entry = file.entry(&params.tensor).map_err(StepError::failed)?;
        let &[steps, rows, length] = entry.shape.as_slice() else {
            let (name, shape) = (&params.tensor, &entry.shape);
            let text = format!("{}: tensor `{name}` has shape {shape:?}, not [steps, rows, tokens]", path.display());
            return Err(StepError::Failed(text));
        };
        let ids = file.integers(entry).map_err(StepError::failed)?;
        let bad = ids.iter().enumerate().find(|(_, id)| u32::try_from(**id).is_err());
        if let Some((index, id)) = bad {
            let (step, row, position) = (index / (rows * length), index / length % rows, index % length);
            let text = format!("{}: {id} at [{step}, {row}, {position}] is no token id", path.display());
            return Err(StepError::Failed(text));
        }
        let ids: Vec<u32> = ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
        let shape = Recording::write(&work.out, [steps, rows, length], &ids)?;
        if let Some(tokenizer) = work.maybe("tokenizer") {
            carry_tokenizer(&tokenizer.path, &work.out)?;
        }
        Ok(Closing::from([
            ("tokens".into(), shape.tokens() as f64),
            ("batches".into(), shape.steps as f64),
            ("batch/sequences".into(), shape.rows as f64),
            ("batch/sequence length".into(), shape.length as f64),
        ]))
    }
}
