//! Problems of evaluation tasks, from rows of JSON. Knows the names that fields go by; does not know what is done with problems.

use crate::document::open_lines;
use crate::error::DataError;
use serde_json::{Map, Value};
use std::path::Path;

/// One problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The task it belongs to.
    pub task: String,
    /// Its number in the task, from 0.
    pub number: u64,
    /// What is asked.
    pub question: String,
    /// What is to be answered; empty when unknown.
    pub answer: String,
    /// What the question is about; empty when there is nothing.
    pub passage: String,
}

const QUESTION: [&str; 6] = ["question", "prompt", "problem", "query", "text", "input"];
const ANSWER: [&str; 5] = ["answer", "ground_truth", "solution", "target", "output"];
const PASSAGE: [&str; 2] = ["passage", "context"];
const TASK: [&str; 5] = ["eval_key", "task", "dataset", "source", "eval"];

/// Reads the problems of an artifact or file: rows of decon's evaluation files, problems with `messages` and `ground_truth`, documents,
/// or rows with fields of the usual names (`question` or `prompt`, `answer`, `passage` or `context`, `task`). A row without the name of
/// a task belongs to the task `name`.
///
/// Fails, naming file and line, on a row that is not a JSON object or asks nothing.
pub fn read_instances(path: &Path, name: &str) -> Result<Vec<Instance>, DataError> {
    let mut found: Vec<Instance> = Vec::new();
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for batch in open_lines(path)? {
        let batch = batch?.strict()?;
        for (index, line) in batch.numbers.iter().enumerate() {
            let wrong = |message: String| DataError::Line { path: batch.path.clone(), line: *line, message };
            let row: Map<String, Value> =
                serde_json::from_slice(batch.line(index)).map_err(|error| wrong(format!("not a problem: {error}")))?;
            let mut instance = read(&row);
            if instance.question.trim().is_empty() {
                let message = format!("a problem needs one of the fields `messages`, `{}`", QUESTION.join("`, `"));
                return Err(wrong(message));
            }
            if instance.task.is_empty() {
                name.clone_into(&mut instance.task);
            }
            let count = counts.entry(instance.task.clone()).or_default();
            instance.number = *count;
            *count += 1;
            found.push(instance);
        }
    }
    Ok(found)
}

fn read(row: &Map<String, Value>) -> Instance {
    let metadata = row.get("metadata").and_then(Value::as_object);
    let field = |names: &[&str]| {
        let of = |map: &Map<String, Value>| {
            names.iter().find_map(|name| map.get(*name).map(text)).filter(|text| !text.trim().is_empty())
        };
        of(row).or_else(|| metadata.and_then(of)).unwrap_or_default()
    };
    let mut question = field(&QUESTION);
    if let Some(turns) = row.get("messages").and_then(Value::as_array) {
        let asked = turns.iter().filter(|turn| turn.get("role").and_then(Value::as_str) == Some("user"));
        question = asked.filter_map(|turn| turn.get("content").and_then(Value::as_str)).collect::<Vec<_>>().join("\n");
    }
    Instance { task: field(&TASK), number: 0, question, answer: field(&ANSWER), passage: field(&PASSAGE) }
}

/// A value as text: the first of a list, and of a map its `text`.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Array(items) => items.first().map(text).unwrap_or_default(),
        Value::Object(map) => map.get("text").map(text).unwrap_or_default(),
        Value::Null => String::new(),
    }
}
