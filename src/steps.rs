//! What steps are: the trait a kind implements, the description a recipe and `workbench docs` read, and what a running step may
//! touch. It does not know keys, the store or the order in which steps run.

pub mod params;
pub mod registry;

pub mod add_expert;
pub mod analyze;
pub mod anneal;
pub mod average;
pub mod batches;
mod bridge;
pub mod cargo_crates;
pub mod classify;
pub mod compare_corpora;
pub mod concat;
pub mod corpus_report;
pub mod curve;
pub mod decontaminate;
pub mod dedup;
pub mod dedup_attributes;
pub mod dedup_substrings;
pub mod demonstrations;
pub mod dolma;
pub mod drop_repetitive;
pub mod evaluate;
pub mod exercises;
pub mod fetch;
pub mod filter;
pub mod grow;
pub mod import_hf;
pub mod index;
pub mod jsonl;
mod layout;
pub mod mask_pii;
pub mod merge;
pub mod merge_experts;
pub mod merge_tokens;
pub mod minhash;
pub mod mix;
pub mod model;
pub mod parquet;
pub mod pretrain;
pub mod problems;
pub mod quality;
pub mod remove_expert;
pub mod replace_spans;
pub mod report;
pub mod rlvr;
pub mod seen;
pub mod sft;
pub mod shell;
pub mod split;
pub mod tag;
pub mod tag_urls;
pub mod text;
pub mod tokenize;
mod tokens_input;
pub mod train_classifier;
pub mod train_tokenizer;
pub mod training_order;
pub mod upsample;
pub mod warc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lm::device::{Device, Devices};
use plan::{ErrorClass, Place, Resources};

pub use params::{Field, ParamError, ParamType, Script};
pub use registry::{Kind, Registry};

/// Every kind this program has, in the order of the flow.
pub fn standard() -> Registry {
    Registry::new()
        .with::<cargo_crates::CargoCrates>()
        .with::<jsonl::Jsonl>()
        .with::<dolma::Dolma>()
        .with::<parquet::Parquet>()
        .with::<warc::Warc>()
        .with::<text::Text>()
        .with::<fetch::Fetch>()
        .with::<shell::Shell>()
        .with::<concat::Concat>()
        .with::<merge::Merge>()
        .with::<tag::Tag>()
        .with::<tag_urls::TagUrls>()
        .with::<quality::Quality>()
        .with::<train_classifier::TrainClassifier>()
        .with::<classify::Classify>()
        .with::<dedup::Dedup>()
        .with::<seen::Seen>()
        .with::<dedup_attributes::DedupAttributes>()
        .with::<minhash::MinHash>()
        .with::<dedup_substrings::DedupSubstrings>()
        .with::<drop_repetitive::DropRepetitive>()
        .with::<filter::Filter>()
        .with::<replace_spans::ReplaceSpans>()
        .with::<mask_pii::MaskPii>()
        .with::<decontaminate::Decontaminate>()
        .with::<mix::Mix>()
        .with::<upsample::Upsample>()
        .with::<split::Split>()
        .with::<analyze::Analyze>()
        .with::<compare_corpora::CompareCorpora>()
        .with::<corpus_report::CorpusReport>()
        .with::<index::Index>()
        .with::<train_tokenizer::TrainTokenizer>()
        .with::<tokenize::Tokenize>()
        .with::<merge_tokens::MergeTokens>()
        .with::<batches::Batches>()
        .with::<import_hf::ImportHf>()
        .with::<pretrain::Pretrain>()
        .with::<grow::Grow>()
        .with::<anneal::Anneal>()
        .with::<average::Average>()
        .with::<add_expert::AddExpert>()
        .with::<merge_experts::MergeExperts>()
        .with::<remove_expert::RemoveExpert>()
        .with::<problems::Problems>()
        .with::<demonstrations::Demonstrations>()
        .with::<exercises::Exercises>()
        .with::<sft::Sft>()
        .with::<rlvr::Rlvr>()
        .with::<evaluate::Evaluate>()
        .with::<report::Report>()
}

/// What an artifact is, as ports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArtifactType {
    /// Dolma documents.
    Documents,
    /// A Bloom filter of what documents hold.
    Seen,
    /// Two sets of documents, `train` and `valid`.
    Split,
    /// A `tokenizer.json`.
    Tokenizer,
    /// A fastText `model.bin`.
    Classifier,
    /// Token files.
    Tokens,
    /// Recorded training batches.
    Batches,
    /// A model in the Hugging Face layout, with optimiser state when it can be trained on.
    Checkpoint,
    /// Problems whose answers a program checks.
    Problems,
    /// Conversations.
    Chats,
    /// Scores of one model.
    Scores,
    /// A page.
    Report,
    /// Tables about a corpus.
    Analysis,
    /// A searchable corpus.
    Index,
    /// Files from outside the store.
    Files,
}

impl ArtifactType {
    /// All types.
    pub const ALL: &[Self] = &[
        Self::Documents,
        Self::Seen,
        Self::Split,
        Self::Tokenizer,
        Self::Classifier,
        Self::Tokens,
        Self::Batches,
        Self::Checkpoint,
        Self::Problems,
        Self::Chats,
        Self::Scores,
        Self::Report,
        Self::Analysis,
        Self::Index,
        Self::Files,
    ];

    /// The type of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|artifact| artifact.name() == name)
    }

    /// The name users read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Seen => "seen",
            Self::Split => "split",
            Self::Tokenizer => "tokenizer",
            Self::Classifier => "classifier",
            Self::Tokens => "tokens",
            Self::Batches => "batches",
            Self::Checkpoint => "checkpoint",
            Self::Problems => "problems",
            Self::Chats => "chats",
            Self::Scores => "scores",
            Self::Report => "report",
            Self::Analysis => "analysis",
            Self::Index => "index",
            Self::Files => "files",
        }
    }
}

/// How many artifacts a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// One or more, in order.
    Many,
    /// Any number, in order.
    Any,
    /// Any number of any type, in order; entries can have names, given as a map.
    Named,
}

/// An input of a kind.
#[derive(Debug, Clone)]
pub struct Port {
    /// Name.
    pub name: &'static str,
    /// Types it takes.
    pub accepts: &'static [ArtifactType],
    /// How many.
    pub arity: Arity,
    /// What it is for.
    pub doc: &'static str,
}

/// The fixed part of a kind's description.
#[derive(Debug, Clone)]
pub struct About {
    /// Name in recipes.
    pub name: &'static str,
    /// Raised whenever the same params and inputs give other bytes.
    pub version: u32,
    /// What it does, for `workbench docs`.
    pub doc: &'static str,
    /// Inputs, in the order recipes give them.
    pub ports: &'static [Port],
    /// Parameters that can be given without a name, in order.
    pub positional: &'static [&'static str],
    /// What it makes.
    pub output: ArtifactType,
    /// Named folders of the output and what each holds.
    pub parts: &'static [(&'static str, ArtifactType)],
    /// Where it runs.
    pub place: Place,
    /// What it occupies unless the recipe says otherwise.
    pub resources: Resources,
}

/// A kind of step.
pub trait Step: Send + Sync + 'static {
    /// Its parameters.
    type Params: ParamType;

    /// Its description.
    fn about() -> About;

    /// Fills in what depends on several parameters, and checks them together, when the step is declared. Pure.
    ///
    /// # Errors
    /// Everything wrong with the parameters.
    fn complete(_params: &mut Self::Params) -> Result<(), Vec<ParamError>> {
        Ok(())
    }

    /// Checks the completed parameters against the types of what is connected, by port, when the step is declared. Pure.
    ///
    /// # Errors
    /// Everything wrong with the parameters.
    fn fits(_params: &Self::Params, _connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        Ok(())
    }

    /// Runs: reads `work.inputs`, writes `work.out`.
    ///
    /// # Errors
    /// What went wrong and what to do, or that it was stopped.
    fn run(params: Self::Params, work: &Work<'_>) -> Result<Closing, StepError>;
}

/// Figures that a step closes with, e.g. `cost/tokens`; kept with the artifact.
pub type Closing = BTreeMap<String, f64>;

/// Why a step did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It was asked to stop; its progress is kept.
    #[error("stopped on request")]
    Interrupted,
    /// It cannot go on.
    #[error("{0}")]
    Failed(String),
    /// It cannot go on for a reason that may pass.
    #[error("{1}")]
    Passing(ErrorClass, String),
}

impl StepError {
    /// Whether another attempt could help.
    pub fn class(&self) -> ErrorClass {
        if let Self::Passing(class, _) = self { *class } else { ErrorClass::Failed }
    }

    /// Wraps an error with its causes in one line.
    pub fn failed(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let more = inner.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = inner.source();
        }
        Self::Failed(text)
    }
}

/// One artifact that a running step reads.
#[derive(Debug, Clone)]
pub struct InputArtifact {
    /// Port.
    pub port: String,
    /// Name of the step that made it, for tables and messages.
    pub name: String,
    /// Folder, or for a file from outside the file.
    pub path: PathBuf,
    /// Path as the recipe gave it, for files from outside.
    pub label: String,
    /// Closing figures of the step that made it; for files from outside none.
    pub metrics: BTreeMap<String, f64>,
    /// Content digest.
    pub digest: plan::Digest,
}

/// Where a step tells how it goes.
pub trait Reporter: Send + Sync {
    /// Work done, and all work if known.
    fn progress(&self, done: u64, total: Option<u64>, unit: &str);
    /// Measurements at the step's own abscissa.
    fn metrics(&self, at: u64, values: BTreeMap<String, f64>);
    /// A line for people.
    fn log(&self, line: &str);
    /// Whether to save and return [`StepError::Interrupted`].
    fn should_stop(&self) -> bool;
    /// What a process that the step started has used: processor seconds, and the most memory it had in MiB.
    fn used(&self, _cpu_seconds: f64, _peak_memory_mib: u64) {}
}

/// What a running step may touch.
pub struct Work<'a> {
    /// Its inputs, in port order.
    pub inputs: Vec<InputArtifact>,
    /// Folder to fill.
    pub out: PathBuf,
    /// Folder for progress that survives interruption; it exists in a child process, others make it when they need it.
    pub progress: PathBuf,
    /// Threads it has; the global rayon pool has as many.
    pub threads: usize,
    /// What tensors compute on, as `lm::device::Devices` names it: `cpu`, `cuda:1`, `cuda:0,1`, `wgpu`.
    pub device: String,
    /// Where to report.
    pub reporter: &'a dyn Reporter,
}

impl Work<'_> {
    /// The artifact on a port that takes one.
    ///
    /// # Errors
    /// If nothing is connected.
    pub fn input(&self, port: &str) -> Result<&InputArtifact, StepError> {
        self.maybe(port).ok_or_else(|| StepError::Failed(format!("nothing is connected to port `{port}`")))
    }

    /// The artifact on a port that may be free.
    pub fn maybe(&self, port: &str) -> Option<&InputArtifact> {
        self.inputs.iter().find(|input| input.port == port)
    }

    /// All artifacts on a port.
    pub fn all(&self, port: &str) -> Vec<&InputArtifact> {
        self.inputs.iter().filter(|input| input.port == port).collect()
    }

    /// What tensors compute on, for kinds that share the work among several devices.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn devices(&self) -> Result<Vec<Device>, StepError> {
        self.device.parse::<Devices>().and_then(|devices| devices.open()).map_err(StepError::failed)
    }

    /// What tensors compute on, for kinds that use one device: the first of several, which is told.
    ///
    /// # Errors
    /// If it is not there.
    pub fn one_device(&self) -> Result<Device, StepError> {
        let mut devices = self.devices()?;
        if devices.len() > 1 {
            self.reporter.log(&format!("this kind computes on one device: the first of {}", self.device));
        }
        Ok(devices.swap_remove(0))
    }

    /// A path in the output folder.
    pub fn out(&self, name: impl AsRef<Path>) -> PathBuf {
        self.out.join(name)
    }
}
