//! `evaluate`: scores a model: held-out bits per byte, multiple choice, answers that a verifier judges.

use data::document::{Document, read_documents};
use data::problem::{Family, Problem, ProblemMix, read_jsonl};
use lm::checkpoint::Checkpoint;
use lm::evaluate::perplexity::{ScoredDocument, Windows};
use lm::evaluate::tasks::{HeldOutDocument, next_line, problem_choices};
use lm::evaluate::{TaskResult, answers, choices, perplexity, write_results};
use lm::generate::Sampling;
use lm::reward::ByVerifier;
use plan::{Place, Resources};

use super::problems::FILE;
use super::tokens_input::chat;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};
use crate::report::page::{ModelScores, Score, TaskScore};

crate::params! {
    /// Parameters of [`Evaluate`].
    pub struct Params {
        /// What the model is called in tables.
        label: String;
        /// Most held-out documents scored; the first ones in document order.
        documents: u64 = 200, in 0.0..=1e9;
        /// Tokens the model sees at once when it scores documents.
        window: u64 = 256, in 2.0..=1e7;
        /// Questions of the next-line task.
        next_line: u64 = 200, in 0.0..=1e6;
        /// Problem families asked as multiple choice.
        choices: Vec<String> = vec!["addition".into(), "comparison".into(), "membership".into()];
        /// Questions of each such family.
        n_choices: u64 = 100, in 0.0..=1e6;
        /// Longest generated answer, in tokens.
        max_new_tokens: u64 = 16, in 1.0..=1e6;
        /// Decides which questions are made.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Evaluate;

/// The file of scores that reports read.
pub(super) const SCORES: &str = "scores.json";

impl Step for Evaluate {
    type Params = Params;

    fn about() -> About {
        About {
            name: "evaluate",
            version: 2,
            doc: "Scores a model with standard errors: bits per byte of held-out documents by source; rank classification (which line \
                  comes next in held-out documents, problems as multiple choice); greedy answers to held-out problems, judged by their \
                  verifiers. Results are written as lm-evaluation-harness writes them, with every instance.",
            ports: &[
                Port { name: "checkpoint", accepts: &[ArtifactType::Checkpoint], arity: Arity::One, doc: "The model." },
                Port {
                    name: "documents",
                    accepts: &[ArtifactType::Documents],
                    arity: Arity::Optional,
                    doc: "Held-out documents.",
                },
                Port { name: "problems", accepts: &[ArtifactType::Problems], arity: Arity::Optional, doc: "Held-out problems." },
            ],
            positional: &["label"],
            output: ArtifactType::Scores,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 1, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<super::ParamError>> {
        let unknown = params.choices.iter().enumerate().filter(|(_, name)| Family::from_name(name).is_none());
        let errors: Vec<_> = unknown
            .map(|(index, name)| super::ParamError {
                path: format!("choices[{index}]"),
                message: format!("there is no family `{name}`"),
                suggestion: super::params::closest(name, Family::ALL.iter().map(|family| family.as_str())),
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let results = results(&params, work)?;
        write_results(&work.out, &params.label, &results)?;
        let scores = summary(&params.label, &results);
        fs_err::write(work.out(SCORES), serde_json::to_vec_pretty(&scores)?)?;
        let named = |score: &TaskScore| (format!("eval/{}/{}", score.task, score.metric), score.score.value);
        Ok(scores.scores.iter().map(named).collect())
    }
}

fn results(params: &Params, work: &Work<'_>) -> Result<Vec<TaskResult>, StepError> {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let input = work.input("checkpoint")?;
    let checkpoint = Checkpoint::read(&input.path).map_err(StepError::failed)?;
    let chat = chat(input, checkpoint.config.eos_token_id)?;
    let model = checkpoint.model(&work.one_device()?).map_err(StepError::failed)?;
    let (window, mut results) = (size(params.window), Vec::new());
    let tasks = 2 + params.choices.len() as u64;
    let stop = |done: u64| {
        work.reporter.progress(done, Some(tasks), "tasks");
        if work.reporter.should_stop() { Err(StepError::Interrupted) } else { Ok(()) }
    };
    if let Some(documents) = work.maybe("documents") {
        let documents = sample(&documents.path, size(params.documents))?;
        let scored = documents.iter().map(|document| {
            let (id, source) = (document.id.clone(), document.source.clone());
            Ok(ScoredDocument { id, source, ids: chat.encode(&document.text)?, n_bytes: document.text.len() })
        });
        let scored: Vec<_> = scored.collect::<Result<_, lm::chat::ChatError>>().map_err(StepError::failed)?;
        let records = perplexity::score(&model, &scored, chat.eos(), Windows { window, stride: window });
        results.push(TaskResult::perplexity("held_out", records));
        stop(1)?;
        let held_out: Vec<_> =
            documents.iter().map(|document| HeldOutDocument { id: &document.id, text: &document.text }).collect();
        let task = next_line(&held_out, size(params.next_line), params.seed);
        if !task.instances.is_empty() {
            let records = choices::score(&model, &chat, &task.instances, window).map_err(StepError::failed)?;
            results.push(TaskResult::choices(&task, records));
        }
        stop(2)?;
    }
    for (index, family) in params.choices.iter().filter_map(|name| Family::from_name(name)).enumerate() {
        let mix = ProblemMix { families: vec![family], level: data::problem::Level::Easy };
        let task = problem_choices(family, &mix, size(params.n_choices), params.seed);
        let records = choices::score(&model, &chat, &task.instances, window).map_err(StepError::failed)?;
        results.push(TaskResult::choices(&task, records));
        stop(3 + index as u64)?;
    }
    if let Some(problems) = work.maybe("problems") {
        let problems: Vec<Problem> = read_jsonl(&problems.path.join(FILE))?;
        let sampling = Sampling::greedy(size(params.max_new_tokens));
        let records =
            answers::answer(&model, &chat, &problems, &sampling, &ByVerifier, params.seed).map_err(StepError::failed)?;
        results.push(TaskResult::answers("problems", records));
    }
    Ok(results)
}

/// The first documents, as many of each source as fit.
fn sample(dir: &std::path::Path, n: usize) -> Result<Vec<Document>, StepError> {
    let mut documents = Vec::new();
    for batch in read_documents(dir)? {
        documents.extend(batch?.documents);
    }
    let sources: std::collections::BTreeSet<String> = documents.iter().map(|document| document.source.clone()).collect();
    let each = n.div_ceil(sources.len().max(1));
    let mut taken = std::collections::BTreeMap::<String, usize>::new();
    documents.retain(|document| {
        let count = taken.entry(document.source.clone()).or_default();
        *count += 1;
        *count <= each
    });
    Ok(documents)
}

fn summary(label: &str, results: &[TaskResult]) -> ModelScores {
    let mut scores = Vec::new();
    for result in results {
        let higher_is_better = TaskResult::higher_is_better(&result.primary);
        let mut add = |task: String, estimate: lm::evaluate::Estimate| {
            scores.push(TaskScore {
                task,
                metric: result.primary.clone(),
                higher_is_better,
                instances: estimate.n as u64,
                score: Score { value: estimate.value, stderr: estimate.stderr },
            });
        };
        add(result.task.clone(), result.primary_estimate());
        result.groups.iter().for_each(|(group, estimate)| add(format!("{}/{group}", result.task), *estimate));
    }
    ModelScores { label: label.to_owned(), scores }
}
