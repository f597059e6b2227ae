//! `decontaminate`: finds documents that hold problems of evaluations.

use data::decontaminate::{Action, DeconParams, Rule, decontaminate, read_instances};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::dedup::What;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// The rule.
    pub enum Method {
        /// Any n-gram of words that a document shares with a problem.
        Ngram = "ngram",
        /// decon's: clusters of n-grams by rarity, question, answer and passage apart.
        Decon = "decon",
    }
}

crate::params! {
    /// Parameters of [`Decontaminate`].
    pub struct Params {
        /// The rule: "ngram" or "decon".
        method: Method = Method::Ngram;
        /// What is done: "remove" or "annotate".
        action: What = What::Remove;
        /// For "ngram": words of an n-gram.
        ngram: u64 = 13, in 1.0..=1000.0;
        /// Problems of fewer words are not looked for; () for 8, and 20 for "decon".
        least_words: Option<u64> = None;
        /// For "decon": least score; 0.88 in Olmo 3's run over the web, 0.78 over synthetic texts.
        threshold: f64 = 0.8, in 0.01..=1.0;
        /// For "decon": matched words up to which all must match, and from which the least score is enough.
        decay: Vec<u64> = vec![20, 50];
    }
}

/// See the module.
pub struct Decontaminate;

/// The account by task, in the artifact.
pub const REPORT: &str = "report.md";

/// Every match, one a line, in the artifact.
pub const MATCHES: &str = "matches.tsv";

impl Step for Decontaminate {
    type Params = Params;

    fn about() -> About {
        About {
            name: "decontaminate",
            version: 1,
            doc: "Removes or marks documents that hold problems of evaluations, `docs.decontaminate([held_out, \"gsm8k.jsonl\"])`: \
                  problems, documents, or rows with `question`, `answer`, `passage`. What was found of each task is in report.md, \
                  matches.tsv and the closing figures.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." },
                Port {
                    name: "evaluations",
                    accepts: &[ArtifactType::Problems, ArtifactType::Documents, ArtifactType::Files],
                    arity: Arity::Many,
                    doc: "What must not be in them.",
                },
            ],
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.least_words.get_or_insert(if params.method == Method::Decon { 20 } else { 8 });
        match params.decay.as_slice() {
            [start, end] if start <= end => Ok(()),
            _ => Err(vec![ParamError::new("decay", "is two numbers of words, the lower one first")]),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let mut instances = Vec::new();
        for input in work.all("evaluations") {
            // A file from outside is called after itself.
            let label = std::path::Path::new(&input.label);
            let stem = label.file_name().map(|name| name.to_string_lossy().split('.').next().unwrap_or_default().to_owned());
            let name = stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| input.name.clone());
            instances.extend(read_instances(&input.path, &name)?);
        }
        let least = size(params.least_words.unwrap_or_default());
        let decay = (size(params.decay[0]), size(params.decay[1]));
        let rule = match params.method {
            Method::Ngram => Rule::Ngram { length: size(params.ngram), least },
            Method::Decon => {
                Rule::Decon(DeconParams { threshold: params.threshold, decay, least_words: least, ..DeconParams::default() })
            }
        };
        let action = if params.action == What::Remove { Action::Remove } else { Action::Annotate };
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = decontaminate(&work.input("documents")?.path, &work.out, &instances, &rule, action, &observer)?;
        fs_err::write(work.out(REPORT), report.markdown())?;
        fs_err::write(work.out(MATCHES), report.table())?;
        let mut closing = census(&work.out)?;
        closing.insert("contaminated/documents".into(), report.contaminated.documents as f64);
        closing.insert("contaminated/bytes".into(), report.contaminated.bytes as f64);
        for (name, task) in &report.tasks {
            closing.insert(format!("task/{name}/problems"), task.instances as f64);
            closing.insert(format!("task/{name}/looked for"), task.checked as f64);
            closing.insert(format!("task/{name}/found"), task.contaminated as f64);
            closing.insert(format!("task/{name}/documents"), task.documents.documents as f64);
            closing.insert(format!("task/{name}/longest match"), task.longest as f64);
        }
        Ok(closing)
    }
}
