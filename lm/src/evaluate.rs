//! Measuring models: held-out bits per byte, rank classification, generated answers judged by verifiers.
//!
//! Each kind of measurement is a submodule that turns a model and instances into records, and records into metrics, so
//! that every number can be recomputed from what is stored. This file puts them together into results on disk:
//! `results.json` in the layout of lm-evaluation-harness and one `samples_TASK.jsonl` per task.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub mod answers;
pub mod choices;
pub mod perplexity;
mod scoring;
mod statistics;
pub mod tasks;
#[cfg(test)]
mod tests;

pub use statistics::Estimate;

/// The instances of a task as scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    /// Documents with their log-likelihood.
    Perplexity(Vec<perplexity::PerplexityRecord>),
    /// Multiple-choice questions.
    Choices(Vec<choices::ChoiceRecord>),
    /// Generated answers.
    Answers(Vec<answers::AnswerRecord>),
}

impl Records {
    /// Number of instances.
    pub fn len(&self) -> usize {
        match self {
            Records::Perplexity(records) => records.len(),
            Records::Choices(records) => records.len(),
            Records::Answers(records) => records.len(),
        }
    }

    /// Whether there are no instances.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        fn each<T: Serialize>(records: &[T]) -> serde_json::Result<Vec<String>> {
            records.iter().map(serde_json::to_string).collect()
        }
        match self {
            Records::Perplexity(records) => each(records),
            Records::Choices(records) => each(records),
            Records::Answers(records) => each(records),
        }
    }
}

/// What a task measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task's name.
    pub task: String,
    /// The metric to report first; a key of `metrics`.
    pub primary: String,
    /// All metrics by name.
    pub metrics: BTreeMap<String, Estimate>,
    /// The primary metric per group of instances (family, source), where the task has groups.
    pub groups: BTreeMap<String, Estimate>,
    /// The instances.
    pub records: Records,
}

impl TaskResult {
    /// The result of scored documents: bits per byte, grouped by source.
    pub fn perplexity(task: &str, records: Vec<perplexity::PerplexityRecord>) -> Self {
        let mut metrics = perplexity::metrics(&records);
        let is_group = |name: &str| name.contains('/');
        let groups = metrics.iter().filter_map(|(name, e)| name.split_once('/').map(|(_, source)| (source.into(), *e)));
        let groups = groups.collect();
        metrics.retain(|name, _| !is_group(name));
        TaskResult { task: task.into(), primary: "bits_per_byte".into(), metrics, groups, records: Records::Perplexity(records) }
    }

    /// The result of multiple-choice questions.
    pub fn choices(task: &choices::ChoiceTask, records: Vec<choices::ChoiceRecord>) -> Self {
        TaskResult {
            task: task.name.clone(),
            primary: task.primary.as_str().into(),
            metrics: choices::metrics(&records),
            groups: BTreeMap::new(),
            records: Records::Choices(records),
        }
    }

    /// The result of generated answers: accuracy, grouped by family.
    pub fn answers(task: &str, records: Vec<answers::AnswerRecord>) -> Self {
        TaskResult {
            task: task.into(),
            primary: "accuracy".into(),
            metrics: answers::metrics(&records),
            groups: answers::accuracy_by_family(&records),
            records: Records::Answers(records),
        }
    }

    /// The primary metric.
    pub fn primary_estimate(&self) -> Estimate {
        self.metrics[&self.primary]
    }

    /// Whether a larger value of a metric is better.
    pub fn higher_is_better(metric: &str) -> bool {
        !matches!(metric, "bits_per_byte" | "bpb" | "ce_loss" | "n_tokens")
    }
}

/// The results in the layout of lm-evaluation-harness: `results.TASK."METRIC,none"` and `"METRIC_stderr,none"`, groups as
/// tasks named `TASK/GROUP`, plus `higher_is_better`, `n-samples` and `config.model`.
pub fn harness_json(model: &str, results: &[TaskResult]) -> Value {
    let (mut tasks, mut better, mut n_samples) = (Map::new(), Map::new(), Map::new());
    let mut add = |name: String, metrics: &mut dyn Iterator<Item = (&str, Estimate)>, n: usize| {
        let mut row = Map::from_iter([("alias".to_string(), json!(name))]);
        let mut directions = Map::new();
        for (metric, estimate) in metrics {
            row.insert(format!("{metric},none"), json!(estimate.value));
            let stderr = estimate.stderr.map_or(json!("N/A"), |stderr| json!(stderr));
            row.insert(format!("{metric}_stderr,none"), stderr);
            directions.insert(metric.to_string(), json!(TaskResult::higher_is_better(metric)));
        }
        tasks.insert(name.clone(), Value::Object(row));
        better.insert(name.clone(), Value::Object(directions));
        n_samples.insert(name, json!({"original": n, "effective": n}));
    };
    for result in results {
        let mut metrics = result.metrics.iter().map(|(name, estimate)| (name.as_str(), *estimate));
        add(result.task.clone(), &mut metrics, result.records.len());
        for (group, estimate) in &result.groups {
            let name = format!("{}/{group}", result.task);
            add(name, &mut std::iter::once((result.primary.as_str(), *estimate)), estimate.n);
        }
    }
    json!({
        "results": tasks,
        "higher_is_better": better,
        "n-samples": n_samples,
        "config": {"model": model},
    })
}

/// Writes `results.json` and `samples_TASK.jsonl` for every task into `dir`, which is created.
///
/// # Errors
/// If a file cannot be written.
pub fn write_results(dir: &Path, model: &str, results: &[TaskResult]) -> std::io::Result<()> {
    fs_err::create_dir_all(dir)?;
    let mut text = serde_json::to_string_pretty(&harness_json(model, results))?;
    text.push('\n');
    fs_err::write(dir.join("results.json"), text)?;
    for result in results {
        let mut lines = result.records.lines()?.join("\n");
        lines.push('\n');
        fs_err::write(dir.join(format!("samples_{}.jsonl", result.task.replace('/', "_"))), lines)?;
    }
    Ok(())
}
