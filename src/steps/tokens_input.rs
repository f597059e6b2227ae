//! Token files and checkpoints as steps hand them to the `lm` room. It does not know any kind.

use std::path::Path;
use std::sync::Arc;

use data::shard::TokenFiles;
use fs_err as fs;
use lm::loader::recorded::{Recorded, Recording};
use lm::loader::{Ingredient, TokenSource};
use lm::pretrain::HeldOut;

use super::{InputArtifact, StepError, Work};

/// Files that make a tokenizer: they go from token files to every checkpoint.
const TOKENIZER_FILES: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

struct Files(TokenFiles);

impl TokenSource for Files {
    fn file_lengths(&self) -> Vec<u64> {
        self.0.files().iter().map(|file| file.end - file.start).collect()
    }

    fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let files = self.0.files();
        let range = files.get(file).ok_or("there is no such file")?;
        Ok(self.0.read(range.start + start, out)?)
    }

    fn documents(&self, file: usize, _eos: u32) -> Result<Vec<std::ops::Range<u64>>, Box<dyn std::error::Error + Send + Sync>> {
        let files = self.0.files();
        let range = files.get(file).ok_or("there is no such file")?;
        let documents = self.0.documents(range.clone())?;
        Ok(documents.into_iter().map(|place| place.start - range.start..place.end - range.start).collect())
    }

    fn eos(&self) -> Option<u32> {
        Some(self.0.meta().eos)
    }
}

impl From<lm::loader::LoaderError> for StepError {
    fn from(error: lm::loader::LoaderError) -> Self {
        Self::failed(error)
    }
}

/// The shape of the recorded batches that a step trains on, if it is recorded batches.
pub(super) fn recorded(work: &Work<'_>) -> Result<Option<Recorded>, StepError> {
    let path = &work.input("tokens")?.path;
    Ok(if Recording::is_at(path) { Some(Recording::open(path)?.shape()) } else { None })
}

/// A token artifact as the loader takes it.
pub(super) fn open(dir: &Path) -> Result<Arc<dyn TokenSource>, StepError> {
    Ok(if Recording::is_at(dir) { Arc::new(Recording::open(dir)?) } else { Arc::new(Files(TokenFiles::open(dir)?)) })
}

/// The token artifacts of a port as the ingredients of a mix; equal shares of their sizes without ratios.
pub(super) fn ingredients(work: &Work<'_>, ratios: &[f64]) -> Result<Vec<Ingredient>, StepError> {
    let inputs = work.all("tokens");
    if !ratios.is_empty() && ratios.len() != inputs.len() {
        let text = format!("{} ratios are given for {} token artifacts; give one each", ratios.len(), inputs.len());
        return Err(StepError::Failed(text));
    }
    let opened: Vec<_> = inputs.iter().map(|input| open(&input.path)).collect::<Result<_, _>>()?;
    let sizes: Vec<f64> = opened.iter().map(|tokens| tokens.file_lengths().iter().sum::<u64>() as f64).collect();
    let shares = if ratios.is_empty() { &sizes } else { ratios };
    let sum: f64 = shares.iter().sum();
    let ingredient = |((index, tokens), share): ((usize, Arc<dyn TokenSource>), &f64)| Ingredient {
        label: format!("tokens {}", index + 1),
        tokens,
        ratio: share / sum,
    };
    Ok(opened.into_iter().enumerate().zip(shares).map(ingredient).collect())
}

/// The token artifacts of the port `validation`, by the names of the steps that made them.
pub(super) fn held_out(work: &Work<'_>) -> Result<Vec<HeldOut>, StepError> {
    let open = |input: &InputArtifact| -> Result<HeldOut, StepError> {
        Ok(HeldOut { label: input.name.clone(), tokens: Arc::new(Files(TokenFiles::open(&input.path)?)) })
    };
    work.all("validation").into_iter().map(open).collect()
}

/// Copies the tokenizer that lies beside tokens or a checkpoint.
pub(super) fn carry_tokenizer(from: &Path, out: &Path) -> Result<(), StepError> {
    for name in TOKENIZER_FILES {
        let (source, target) = (from.join(name), out.join(name));
        if source.exists() && !target.exists() {
            // Bytes only: the store's files are read-only.
            fs::write(&target, fs::read(&source)?)?;
        }
    }
    Ok(())
}

/// The tokenizer and chat template of a checkpoint.
pub(super) fn chat(checkpoint: &InputArtifact, eos: u32) -> Result<lm::chat::Chat, StepError> {
    lm::chat::Chat::open(&checkpoint.path, eos).map_err(StepError::failed)
}
