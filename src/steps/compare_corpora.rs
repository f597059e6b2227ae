//! `compare_corpora`: what several corpora have in common.

use data::analysis::{CompareParams, compare};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work, corpus_report};
use crate::report::corpus::CorpusReport as Page;

crate::params! {
    /// Parameters of [`CompareCorpora`].
    pub struct Params {
        /// What each corpus is called, in the order they are given; those without a name are numbered.
        names: Vec<String> = Vec::new();
        /// Words of an n-gram.
        ngrams: Vec<u64> = vec![1, 2, 3, 5, 10];
        /// The most common n-grams of each corpus that are compared.
        top: u64 = 10_000, in 1.0..=1_000_000.0;
        /// Metadata field with the address of a document.
        url_field: String = "url".to_owned();
        /// Mebibytes that n-gram tables, word sequences and hashes may take, each; more is put on disk. Without influence on
        /// the results.
        memory_mib: u64 = 1024, in 1.0..=1_048_576.0;
    }
}

/// See the module.
pub struct CompareCorpora;

impl Step for CompareCorpora {
    type Params = Params;

    fn about() -> About {
        About {
            name: "compare_corpora",
            version: 1,
            doc: "Compares corpora two by two: distinct texts and addresses in common, and how alike the distributions of their most common \
                  n-grams are. Tables and pages as those of `analyze`.",
            ports: &[Port {
                name: "corpora",
                accepts: &[ArtifactType::Documents],
                arity: Arity::Many,
                doc: "Two corpora or more, in order.",
            }],
            positional: &["names"],
            output: ArtifactType::Analysis,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if params.ngrams.iter().any(|n| !(1..=10_000).contains(n)) {
            return Err(vec![ParamError::new("ngrams", "an n-gram has 1 to 10000 words")]);
        }
        Ok(())
    }

    fn fits(_: &Params, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        if connected.len() < 2 { Err(vec![ParamError::new("names", "two corpora at least can be compared")]) } else { Ok(()) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let named = |index: usize| params.names.get(index).cloned().unwrap_or_else(|| format!("corpus {}", index + 1));
        let inputs = work.all("corpora").into_iter().enumerate();
        let corpora: Vec<_> = inputs.map(|(index, input)| (named(index), vec![input.path.as_path()])).collect();
        let settings = CompareParams {
            ngrams: params.ngrams.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect(),
            top: usize::try_from(params.top).unwrap_or(usize::MAX),
            url_field: params.url_field,
            memory: usize::try_from(params.memory_mib << 20).unwrap_or(usize::MAX),
        };
        let places = (work.out.as_path(), work.progress.join("comparison"));
        let analysis = compare(&corpora, &settings, (places.0, &places.1), &DataObserver::new(work.reporter, "bytes"))?;
        let tables = analysis.tables.len();
        let analyses = [(String::new(), analysis)];
        corpus_report::write(work, &Page { title: "Corpora side by side", analyses: &analyses })?;
        Ok(Closing::from([("tables".into(), tables as f64)]))
    }
}
