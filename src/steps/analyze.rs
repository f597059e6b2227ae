//! `analyze`: what is in a corpus, as tables and drawings.

use data::analysis::{ANALYSES, AnalysisParams, Benchmark, analyze};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work, corpus_report};
use crate::report::corpus::CorpusReport as Page;

crate::params! {
    /// Parameters of [`Analyze`].
    pub struct Params {
        /// Analyses by name: summary, domains, schemes, suffixes, extensions, dates, geolocation (needs `countries`), common_ngrams,
        /// rare_ngrams, duplicates, lengths, language, quality (of attributes), toxicity (needs `toxic_lexicon` or `toxic_attributes`),
        /// pii, contamination (needs `benchmarks`), demographics.
        analyses: Vec<String>;
        /// Words of an n-gram, for common_ngrams and rare_ngrams.
        ngrams: Vec<u64> = vec![1, 2, 3, 5, 10, 100];
        /// Rows of a list at most: n-grams, domains, terms.
        rows: u64 = 10_000, in 1.0..=10_000_000.0;
        /// Metadata field with the address of a document.
        url_field: String = "url".to_owned();
        /// Tagger of `language`; it runs on documents that do not carry its attributes.
        language_tagger: String = "language".to_owned();
        /// Attributes of `quality`: those that contain one of these; with none, all that have one score for the document.
        quality: Vec<String> = Vec::new();
        /// Attributes of a classifier of toxicity: those that contain one of these.
        toxic_attributes: Vec<String> = Vec::new();
        /// From this score on a span is toxic.
        toxic_threshold: f64 = 0.5;
        /// Fields of an instance of a benchmark that all have to stand in one document; dots reach into objects, lists of messages give
        /// their contents. With none, all strings of a row but its id.
        benchmark_fields: Vec<String> = Vec::new();
        /// Mebibytes that n-gram tables, word sequences and hashes may take, each; more is put on disk. Without influence on
        /// the results.
        memory_mib: u64 = 1024, in 1.0..=1_048_576.0;
    }
}

/// See the module.
pub struct Analyze;

const fn file(name: &'static str, doc: &'static str) -> Port {
    Port { name, accepts: &[ArtifactType::Files], arity: Arity::Optional, doc }
}

const PORTS: &[Port] = &[
    Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::Many, doc: "The corpus." },
    Port {
        name: "benchmarks",
        accepts: &[ArtifactType::Documents, ArtifactType::Problems, ArtifactType::Chats, ArtifactType::Files],
        arity: Arity::Named,
        doc: "What `contamination` looks for: JSON lines, an instance each.",
    },
    file("countries", "Countries of hosts: lines `first,last,country`, `network/bits,country` or `host,country`."),
    file("toxic_lexicon", "Toxic terms: lines `term,category`."),
    file("people", "Terms for people: lines `term,group`, in place of a short list of genders, religions and origins."),
    file("sentiment", "Polar words: lines `word,polarity` with -1 to 1, in place of a short list."),
];

impl Params {
    fn settings(self) -> AnalysisParams {
        AnalysisParams {
            analyses: self.analyses,
            ngrams: self.ngrams.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect(),
            rows: usize::try_from(self.rows).unwrap_or(usize::MAX),
            url_field: self.url_field,
            countries: None,
            language_tagger: self.language_tagger,
            quality: self.quality,
            toxic_attributes: self.toxic_attributes,
            toxic_threshold: self.toxic_threshold,
            toxic_lexicon: None,
            people: None,
            sentiment: None,
            benchmarks: Vec::new(),
            benchmark_fields: self.benchmark_fields,
            memory: usize::try_from(self.memory_mib << 20).unwrap_or(usize::MAX),
        }
    }
}

impl Step for Analyze {
    type Params = Params;

    fn about() -> About {
        About {
            name: "analyze",
            version: 1,
            doc: "Looks through a corpus once and tells what is in it, as What's In My Big Data? does, with exact n-gram counts for any n: a \
                  table in <name>.jsonl and analysis.json for each analysis, and all of them with drawings in report.html and \
                  report.md. Words are those of Unicode Standard Annex 29.",
            ports: PORTS,
            positional: &[],
            output: ArtifactType::Analysis,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if let Some(unknown) = params.analyses.iter().find(|name| !ANALYSES.contains(&name.as_str())) {
            let suggestion = super::params::closest(unknown, ANALYSES.iter().copied());
            let message = format!("there is no analysis `{unknown}`; there are {}", ANALYSES.join(", "));
            return Err(vec![ParamError { path: "analyses".into(), message, suggestion }]);
        }
        if params.analyses.is_empty() {
            return Err(vec![ParamError::new("analyses", format!("names none; there are {}", ANALYSES.join(", ")))]);
        }
        if params.ngrams.iter().any(|n| !(1..=10_000).contains(n)) {
            return Err(vec![ParamError::new("ngrams", "an n-gram has 1 to 10000 words")]);
        }
        Ok(())
    }

    fn fits(params: &Params, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        let has = |port| connected.iter().any(|(connected, _)| *connected == port);
        let wants = |name: &str| params.analyses.iter().any(|wanted| wanted == name);
        let mut errors = Vec::new();
        let mut need = |wanted: bool, met: bool, what: &str| {
            if wanted && !met {
                errors.push(ParamError::new("analyses", what));
            }
        };
        need(wants("geolocation"), has("countries"), "geolocation needs the file `countries`");
        need(wants("contamination"), has("benchmarks"), "contamination needs `benchmarks`");
        let toxic = has("toxic_lexicon") || !params.toxic_attributes.is_empty();
        need(
            wants("toxicity"),
            toxic,
            "toxicity needs the file `toxic_lexicon`, or `toxic_attributes` of documents that a classifier tagged",
        );
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let mut settings = params.settings();
        let path = |port: &str| work.maybe(port).map(|input| input.path.clone());
        settings.countries = path("countries");
        settings.toxic_lexicon = path("toxic_lexicon");
        settings.people = path("people");
        settings.sentiment = path("sentiment");
        let benchmarks = work.inputs.iter().filter(|input| input.port == "benchmarks" || input.port.starts_with("benchmarks."));
        for input in benchmarks {
            let entry = input.port.strip_prefix("benchmarks.").filter(|name| !name.is_empty()).map(str::to_owned);
            let name = if input.label.is_empty() { &input.name } else { &input.label };
            settings.benchmarks.push(Benchmark { name: entry.unwrap_or_else(|| name.clone()), path: input.path.clone() });
        }
        let inputs: Vec<_> = work.all("documents").iter().map(|input| input.path.as_path()).collect();
        let observer = DataObserver::new(work.reporter, "bytes");
        let analysis = analyze(&inputs, &settings, &work.progress.join("analysis"), &work.out, &observer)?;
        let tables = analysis.tables.len();
        let analyses = [(String::new(), analysis)];
        corpus_report::write(work, &Page { title: "What is in the data", analyses: &analyses })?;
        Ok(Closing::from([("tables".into(), tables as f64)]))
    }
}
