//! From token files to training batches: what an instance is, their order, mixes of several sources.
//!
//! As OLMo-core's datasets: files become instances (windows, packed or single documents, pieces of variable length), which
//! are shuffled anew each epoch with NumPy's generator seeded by `seed + epoch`. Any batch is reached directly by its
//! number, so a run resumes without replaying. Knows no model and no tokenizer.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Tokens};
use crate::shuffle::Pcg64;

pub mod batches;
pub mod directory;
mod files;
mod mix;
mod packed;
mod padded;
pub mod recorded;
mod repetition;
mod variable;
mod windows;

use batches::{Place, Segment};
use files::{Files, Units};
use recorded::Recorded;

pub use packed::LongDocuments;
pub use padded::PaddedDocuments;
pub use repetition::RepetitionFilter;
pub use variable::{Curriculum, Cycles};

/// Why tokens could not be read.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// Why batches cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// Tokens could not be read.
    #[error("cannot read tokens: {0}")]
    Read(#[source] ReadError),
    /// A directory has no such source.
    #[error("{} has no source `{name}`; it has: {known}", dir.display())]
    Source {
        /// What was asked for.
        name: String,
        /// The directory.
        dir: PathBuf,
        /// The sources it has.
        known: String,
    },
    /// The tokens were made for a larger vocabulary than the model's.
    #[error(
        "source `{label}` has ids up to {ids}, but the model has a vocabulary of {model}; give the model the tokenizer's vocabulary size"
    )]
    Vocabulary {
        /// The source.
        label: String,
        /// Vocabulary of the tokens.
        ids: u64,
        /// Vocabulary of the model.
        model: usize,
    },
    /// The files are too short.
    #[error(
        "source `{label}` has {windows} windows of {length} tokens, fewer than the {wanted} of one batch; use a shorter sequence, a smaller batch, or more text"
    )]
    TooSmall {
        /// The source.
        label: String,
        /// Whole windows it has.
        windows: u64,
        /// Tokens of a window.
        length: usize,
        /// Windows of a batch.
        wanted: u64,
    },
    /// The ratios are no mix.
    #[error("mix: {0}")]
    Mix(String),
    /// A recording cannot be replayed as asked.
    #[error("recorded batches: {0}")]
    Recording(String),
    /// Settings do not go together.
    #[error("data order: {0}")]
    Settings(String),
    /// The batch is not a whole number of sequences.
    #[error("a batch of {batch_tokens} tokens is not a whole number of sequences of {length}")]
    Batch {
        /// Tokens of a batch.
        batch_tokens: u64,
        /// Tokens of a sequence.
        length: usize,
    },
}

/// Files of token ids, without headers, in a fixed order.
pub trait TokenSource: Send + Sync {
    /// Number of tokens of every file.
    fn file_lengths(&self) -> Vec<u64>;

    /// Reads `out.len()` tokens of file `file` from token `start` on.
    ///
    /// # Errors
    /// When the file cannot be read there.
    fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError>;

    /// Sets `labels` to false where the tokens of file `file` from `start` on are not to be predicted. Without a mask all
    /// are.
    ///
    /// # Errors
    /// When the mask cannot be read there.
    fn read_labels(&self, _file: usize, _start: u64, _labels: &mut [bool]) -> Result<(), ReadError> {
        Ok(())
    }

    /// The documents of a file in order, each ending with `eos`; what follows the last end is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn documents(&self, file: usize, eos: u32) -> Result<Vec<Range<u64>>, ReadError> {
        files::documents_by_end(self, file, eos)
    }

    /// All ids are below this, if known.
    fn vocab_size(&self) -> Option<u64> {
        None
    }

    /// The batches that the tokens are, if they are to be trained on as they come.
    fn recorded(&self) -> Option<Recorded> {
        None
    }

    /// The id that ends documents, if known.
    fn eos(&self) -> Option<u32> {
        None
    }
}

/// Tokens in memory, one file.
impl TokenSource for Vec<u32> {
    fn file_lengths(&self) -> Vec<u64> {
        vec![self.len() as u64]
    }

    fn read(&self, _file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
        let start = start as usize;
        let range = self.get(start..start + out.len()).ok_or("the window lies outside the tokens")?;
        out.copy_from_slice(range);
        Ok(())
    }
}

/// A source and its share of the training tokens.
#[derive(Clone)]
pub struct Ingredient {
    /// Name for messages.
    pub label: String,
    /// The tokens.
    pub tokens: Arc<dyn TokenSource>,
    /// Share of the batch tokens; the shares of a mix add up to 1.
    pub ratio: f64,
}

impl Ingredient {
    /// `ratio` of the tokens of a mix, from `tokens`.
    pub fn new(label: &str, tokens: impl TokenSource + 'static, ratio: f64) -> Self {
        Self { label: label.into(), tokens: Arc::new(tokens), ratio }
    }
}

impl std::fmt::Debug for Ingredient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingredient").field("label", &self.label).field("ratio", &self.ratio).finish_non_exhaustive()
    }
}

/// Documents a token may attend to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentMask {
    /// All earlier tokens of the window, whatever document they are from (all OLMo pretraining).
    #[default]
    None,
    /// Only the token's own document.
    Within,
}

/// What an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Instances {
    /// Consecutive windows of each file; a file's remainder is dropped.
    #[default]
    Windows,
    /// Whole documents packed into sequences, best fit first.
    Packed {
        /// What becomes of documents longer than a sequence.
        long_documents: LongDocuments,
        /// Consecutive files that are packed together; 1 in OLMo-core, 8 in Olmo 3's long-context stage.
        group: usize,
    },
    /// One document each, cut off or filled up to the length of a sequence.
    Padded,
    /// Pieces of documents whose lengths are powers of two up to the sequence length, a batch of one length each.
    Variable {
        /// Tokens of the shortest piece; what is shorter is dropped.
        shortest: usize,
        /// In which order lengths are seen.
        curriculum: Curriculum,
    },
}

/// The part of every batch that one of several processes has: instances `rank`, `rank + world`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of this process.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
}

impl Share {
    /// The whole batch.
    pub const WHOLE: Self = Self { rank: 0, world: 1 };
}

/// How batches are cut and ordered.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// The batches of the whole run; a mix of several sources needs it to fix how often each instance is seen.
    pub batches: Vec<Segment>,
    /// What an instance is.
    pub instances: Instances,
    /// Windows are shuffled in groups of this many tokens, so that their order stays the same when the sequence length
    /// changes (OLMo-core's `max_target_sequence_length`); `None`: the longest sequence of the run.
    pub max_sequence_length: Option<usize>,
    /// Seed of the order.
    pub seed: u64,
    /// Seed of CPython's permutation of the files, before they are cut; `None`: files as they are.
    pub file_order_seed: Option<u64>,
    /// What a token may attend to.
    pub document_mask: DocumentMask,
    /// Which instances are not trained on.
    pub filter: Option<RepetitionFilter>,
    /// The process's share of a batch.
    pub share: Share,
    /// Vocabulary of the model; sources with larger ids are refused.
    pub vocab_size: usize,
    /// The token that ends a document, where the source does not know it.
    pub eos: u32,
    /// The token that fills up a sequence.
    pub pad: u32,
}

impl LoaderConfig {
    /// Windows of one length in batches of one size, ordered by `seed`, for ids below `vocab_size`.
    pub fn windows(sequence_length: usize, batch_tokens: u64, n_batches: u64, seed: u64, vocab_size: usize) -> Self {
        Self {
            batches: vec![Segment { n_batches, batch_tokens, sequence_length }],
            instances: Instances::Windows,
            max_sequence_length: None,
            seed,
            file_order_seed: None,
            document_mask: DocumentMask::None,
            filter: None,
            share: Share::WHOLE,
            vocab_size,
            eos: 0,
            pad: 1,
        }
    }

    /// The longest sequence.
    fn longest(&self) -> usize {
        self.batches.iter().map(|segment| segment.sequence_length).max().unwrap_or(0)
    }

    /// Tokens of a unit of the order.
    fn unit(&self) -> usize {
        self.max_sequence_length.unwrap_or(self.longest())
    }

    fn check(&self) -> Result<(), LoaderError> {
        let fail = |text: String| Err(LoaderError::Settings(text));
        let unit = self.unit();
        for Segment { batch_tokens, sequence_length: length, .. } in &self.batches {
            if *length == 0 || *batch_tokens == 0 || !batch_tokens.is_multiple_of(*length as u64) {
                return Err(LoaderError::Batch { batch_tokens: *batch_tokens, length: *length });
            }
            if !unit.is_multiple_of(*length) {
                return fail(format!("sequences of {length} tokens do not divide the longest of {unit}; use powers of two"));
            }
            if !(batch_tokens / *length as u64).is_multiple_of(self.share.world as u64) {
                return fail(format!("a batch of {batch_tokens} tokens does not divide among {} processes", self.share.world));
            }
            if self.instances != Instances::Windows && *length != unit {
                return fail(format!("only windows can change their length; it is {length} here and {unit} elsewhere"));
            }
        }
        if matches!(self.instances, Instances::Variable { .. }) && self.batches.len() > 1 {
            return fail("batches of variable sequences cannot change their size".into());
        }
        Ok(())
    }
}

/// A sequence of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Number of the source.
    pub ingredient: usize,
    /// Number of the unit in the source: a window, bin or document.
    pub unit: u64,
    /// Its first token in the unit.
    pub offset: u64,
}

/// Makes the batches of a run.
#[derive(Debug)]
pub struct Loader {
    config: LoaderConfig,
    ingredients: Vec<Ingredient>,
    data: Data,
}

/// What there is to read and in which order.
#[derive(Debug)]
enum Data {
    /// One source: epoch after epoch; the shuffled epoch last used is kept. Where each segment starts.
    Epochs { units: Box<dyn Units>, starts: Vec<Place>, current: std::sync::Mutex<(u64, Arc<[u32]>)> },
    /// A mix: every unit of the run, as `(ingredient, unit)`.
    Run { units: Vec<Box<dyn Units>>, order: Vec<(u32, u32)>, starts: Vec<Place> },
    /// Sequences of different lengths.
    Variable(variable::Variable),
}

impl Loader {
    /// A loader over one source or a mix.
    ///
    /// # Errors
    /// When the sources are too short, the ratios do not add up to 1, or settings do not go together.
    pub fn new(config: LoaderConfig, ingredients: Vec<Ingredient>) -> Result<Self, LoaderError> {
        config.check()?;
        for Ingredient { label, tokens, .. } in &ingredients {
            if let Some(ids) = tokens.vocab_size().filter(|ids| *ids > config.vocab_size as u64) {
                return Err(LoaderError::Vocabulary { label: label.clone(), ids, model: config.vocab_size });
            }
        }
        let data = match (ingredients.as_slice(), config.instances) {
            ([], _) => return Err(LoaderError::Mix("there is no source".into())),
            (all, _) if all.iter().any(|ingredient| ingredient.tokens.recorded().is_some()) => replay(&config, all)?,
            ([only], Instances::Variable { shortest, curriculum }) => {
                let files = Files::new(only.tokens.clone(), config.file_order_seed);
                let lengths = [shortest, config.longest()];
                let batch = config.batches.first().map_or(0, |segment| segment.batch_tokens);
                Data::Variable(variable::Variable::new(files, lengths, curriculum, batch, config.seed, config.eos)?)
            }
            (_, Instances::Variable { .. }) => {
                return Err(LoaderError::Settings("variable sequences come from one source, not from a mix".into()));
            }
            ([only], _) => epochs(&config, only)?,
            (several, _) => run(&config, several)?,
        };
        Ok(Self { config, ingredients, data })
    }

    /// The sequence length and the instances of this process's share of batch `number` (0-based).
    ///
    /// # Panics
    /// When the run has no such batch.
    pub fn instances(&self, number: u64) -> (usize, Vec<Instance>) {
        let at = batches::position(&self.config.batches, number).expect("the run has this batch");
        let unit = self.config.unit() as u64;
        let length = at.segment.sequence_length as u64;
        let Share { rank, world } = self.config.share;
        let all = (0..at.segment.batch_tokens / length).skip(rank).step_by(world).map(|i| i * length);
        let instances = match &self.data {
            Data::Run { order, starts, .. } => {
                let start = at.segment.place(starts[at.index], u64::MAX, at.number).offset;
                all.map(|token| {
                    let (ingredient, number) = order[((start + token) / unit) as usize];
                    Instance { ingredient: ingredient as usize, unit: u64::from(number), offset: (start + token) % unit }
                })
                .collect()
            }
            Data::Epochs { units, starts, current } => {
                let n = units.n();
                let place = at.segment.place(starts[at.index], n * unit, at.number);
                let mut current = current.lock().expect("no code panics while holding the order");
                if current.0 != place.epoch {
                    *current = (place.epoch, shuffled(n, self.config.seed.wrapping_add(place.epoch)));
                }
                all.map(|token| Instance {
                    ingredient: 0,
                    unit: u64::from(current.1[((place.offset + token) / unit) as usize]),
                    offset: (place.offset + token) % unit,
                })
                .collect()
            }
            Data::Variable(variable) => {
                let (length, places) = variable.batch(number, [rank, world]);
                let instance = |(file, start): (usize, u64)| Instance { ingredient: 0, unit: file as u64, offset: start };
                return (length, places.into_iter().map(instance).collect());
            }
        };
        (length as usize, instances)
    }

    /// This process's share of batch `number` (0-based).
    ///
    /// # Errors
    /// When a file cannot be read.
    ///
    /// # Panics
    /// When the run has no such batch.
    pub fn batch(&self, number: u64) -> Result<Batch, LoaderError> {
        let (length, instances) = self.instances(number);
        let mut ids = vec![0; instances.len() * length];
        let mut labels = vec![true; ids.len()];
        for ((row, labels), instance) in ids.chunks_exact_mut(length).zip(labels.chunks_exact_mut(length)).zip(instances) {
            let Instance { ingredient, unit, offset } = instance;
            match &self.data {
                Data::Epochs { units, .. } => units.read(unit, offset, row, labels),
                Data::Run { units, .. } => units[ingredient].read(unit, offset, row, labels),
                Data::Variable(variable) => variable.read(unit as usize, offset, row, labels),
            }
            .map_err(LoaderError::Read)?;
        }
        let tokens = Tokens::new(ids, length);
        let tokens = match self.config.document_mask {
            DocumentMask::None => tokens,
            DocumentMask::Within => tokens.within_documents(self.ingredients[0].tokens.eos().unwrap_or(self.config.eos)),
        };
        let batch = Batch::labelled(tokens, &labels);
        Ok(match self.config.filter {
            None => batch,
            Some(filter) => batch.filter_rows(|row| filter.leaves_out(row)),
        })
    }
}

/// Recorded batches are taken alone, whole, and at most once.
fn check_recorded(config: &LoaderConfig, ingredients: &[Ingredient]) -> Result<(), LoaderError> {
    let ([Ingredient { label, .. }], Some(recorded)) = (ingredients, ingredients[0].tokens.recorded()) else {
        return Err(LoaderError::Recording("they are trained on alone, not in a mix".into()));
    };
    let Recorded { steps, rows, length, .. } = recorded;
    let &[Segment { n_batches, batch_tokens, sequence_length }] = config.batches.as_slice() else {
        return Err(LoaderError::Recording("their sizes cannot change during the run".into()));
    };
    if config.instances != Instances::Windows || config.filter.is_some() {
        return Err(LoaderError::Recording("they are trained on as they are: neither packed, padded nor filtered".into()));
    }
    if sequence_length != length || batch_tokens != recorded.batch_tokens() {
        let (wanted, tokens) = (sequence_length, batch_tokens);
        return Err(LoaderError::Recording(format!(
            "`{label}` has {rows} sequences of {length} tokens a batch, not batches of {tokens} tokens in sequences of {wanted}"
        )));
    }
    if n_batches > steps {
        return Err(LoaderError::Recording(format!("`{label}` has {steps} batches, fewer than the {n_batches} steps")));
    }
    Ok(())
}

/// Recorded batches, one after the other.
fn replay(config: &LoaderConfig, ingredients: &[Ingredient]) -> Result<Data, LoaderError> {
    check_recorded(config, ingredients)?;
    let units: Vec<Box<dyn Units>> = vec![units(config, &ingredients[0])?];
    let order = (0..units[0].n() as u32).map(|window| (0, window)).collect();
    Ok(Data::Run { units, order, starts: starts(config, u64::MAX) })
}

/// The units of a source.
fn units(config: &LoaderConfig, ingredient: &Ingredient) -> Result<Box<dyn Units>, LoaderError> {
    let files = Files::new(ingredient.tokens.clone(), config.file_order_seed);
    let (unit, eos, pad) = (config.unit(), config.eos, config.pad);
    Ok(match config.instances {
        Instances::Windows => Box::new(windows::Windows::new(files, unit)),
        Instances::Padded => Box::new(padded::Padded::new(files, unit, eos, pad).map_err(LoaderError::Read)?),
        Instances::Packed { long_documents, group } => {
            Box::new(packed::Packed::new(files, unit, long_documents, group, eos, pad).map_err(LoaderError::Read)?)
        }
        Instances::Variable { .. } => return Err(LoaderError::Settings("variable sequences are not of one length".into())),
    })
}

fn epochs(config: &LoaderConfig, only: &Ingredient) -> Result<Data, LoaderError> {
    let units = units(config, only)?;
    let (n, unit) = (units.n(), config.unit());
    let tokens = n * unit as u64;
    let largest = config.batches.iter().map(|segment| segment.batch_tokens).max().unwrap_or(0);
    if tokens < largest {
        let wanted = largest.div_ceil(unit as u64);
        return Err(LoaderError::TooSmall { label: only.label.clone(), windows: n, length: unit, wanted });
    }
    let starts = starts(config, tokens);
    Ok(Data::Epochs { units, starts, current: std::sync::Mutex::new((0, Arc::new([]))) })
}

fn run(config: &LoaderConfig, several: &[Ingredient]) -> Result<Data, LoaderError> {
    let units: Vec<Box<dyn Units>> = several.iter().map(|ingredient| units(config, ingredient)).collect::<Result<_, _>>()?;
    let n_units: Vec<u64> = units.iter().map(|units| units.n()).collect();
    let starts = starts(config, u64::MAX);
    let end = config.batches.iter().zip(&starts).last().map_or(0, |(segment, start)| segment.end(*start, u64::MAX).offset);
    let total = end.div_ceil(config.unit() as u64);
    let order = mix::mix(several, &n_units, total, config.unit(), config.seed)?;
    Ok(Data::Run { units, order, starts })
}

/// Where each segment starts, when an epoch has `tokens` tokens.
fn starts(config: &LoaderConfig, tokens: u64) -> Vec<Place> {
    let first = Place { epoch: 1, offset: 0 };
    let each = config.batches.iter().scan(first, |at, segment| Some(std::mem::replace(at, segment.end(*at, tokens))));
    each.collect()
}

fn shuffled(n: u64, seed: u64) -> Arc<[u32]> {
    let mut units: Vec<u32> = (0..n as u32).collect();
    Pcg64::new(seed).shuffle(&mut units);
    units.into()
}

#[cfg(test)]
mod tests;
