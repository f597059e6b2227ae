//! Which instances of benchmarks stand in a corpus: an instance does when all of its fields are phrases of one document.
//! Knows words in lower case without punctuation, as phrase queries of search engines do; no answer is checked.

use super::records::Record;
use super::table::{Plot, Table};
use super::tally::Tally;
use super::vocabulary::{Vocabulary, WordKey};
use super::words::for_each_folded;
use crate::document::open_lines;
use crate::error::DataError;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// A benchmark: its name and its files of JSON lines.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// What tables call it.
    pub name: String,
    /// A file or a directory of files.
    pub path: PathBuf,
}

struct Instance {
    benchmark: usize,
    /// File line, or id where there is one.
    name: String,
    fields: Vec<u32>,
}

/// All phrases that are looked for.
pub(crate) struct Phrases {
    benchmarks: Vec<(String, u64)>,
    instances: Vec<Instance>,
    /// Instances with a field, by phrase.
    of_phrase: Vec<Vec<u32>>,
    phrases: Vec<Vec<u32>>,
    words: Vocabulary,
    /// Phrases by their first words, as many as there are up to three.
    starts: HashMap<[u32; 3], Vec<u32>>,
}

const NOTHING: u32 = u32::MAX;

fn start(words: &[u32]) -> [u32; 3] {
    std::array::from_fn(|at| words.get(at).copied().unwrap_or(NOTHING))
}

/// The texts of a field: a string, or the strings or `content`s of a list.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(object) => object.get("content").into_iter().for_each(|content| texts(content, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Phrases {
    /// Reads benchmarks. `fields` names the fields of an instance, dots reach into objects; all strings at the top but `id` where it
    /// is empty. An instance without any words is left out.
    pub(crate) fn read(benchmarks: &[Benchmark], fields: &[String]) -> Result<Phrases, DataError> {
        let mut all = Phrases {
            benchmarks: Vec::new(),
            instances: Vec::new(),
            of_phrase: Vec::new(),
            phrases: Vec::new(),
            words: Vocabulary::default(),
            starts: HashMap::new(),
        };
        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        for benchmark in benchmarks {
            let before = all.instances.len();
            for batch in open_lines(&benchmark.path)? {
                let batch = batch?.strict()?;
                // In order: instances are numbered.
                let lines: Vec<(u64, &[u8])> = batch.lines().collect();
                for (number, line) in lines {
                    let wrong = |message: String| DataError::Line { path: batch.path.clone(), line: number, message };
                    let row = serde_json::from_slice(line).map_err(|error| wrong(format!("not an instance: {error}")))?;
                    all.read_row(&row, number, fields, &mut numbers).map_err(wrong)?;
                }
            }
            all.benchmarks.push((benchmark.name.clone(), (all.instances.len() - before) as u64));
        }
        for (number, phrase) in all.phrases.iter().enumerate() {
            all.starts.entry(start(phrase)).or_default().push(number as u32);
        }
        Ok(all)
    }

    fn read_row(
        &mut self,
        row: &Value,
        line: u64,
        fields: &[String],
        numbers: &mut HashMap<Vec<u32>, u32>,
    ) -> Result<(), String> {
        let mut found = Vec::new();
        if fields.is_empty() {
            let object = row.as_object().ok_or("not an instance: it is no object")?;
            object
                .iter()
                .filter(|(name, value)| *name != "id" && value.is_string())
                .for_each(|(_, value)| texts(value, &mut found));
        }
        for field in fields {
            let value = field.split('.').try_fold(row, |value, name| value.get(name));
            texts(value.ok_or_else(|| format!("it has no field `{field}`"))?, &mut found);
        }
        let mut phrases = BTreeSet::new();
        for text in found {
            let mut words = Vec::new();
            for_each_folded(&text, &mut String::new(), |word| {
                words.push(self.words.intern(WordKey::of(word.as_bytes()), word.as_bytes()));
            });
            if !words.is_empty() {
                let next = self.phrases.len() as u32;
                let number = *numbers.entry(words.clone()).or_insert(next);
                if number == next {
                    self.phrases.push(words);
                    self.of_phrase.push(Vec::new());
                }
                phrases.insert(number);
            }
        }
        if phrases.is_empty() {
            return Ok(());
        }
        let instance = self.instances.len() as u32;
        phrases.iter().for_each(|&phrase| self.of_phrase[phrase as usize].push(instance));
        let id = row.get("id").and_then(|id| id.as_str().map(str::to_owned).or_else(|| id.as_u64().map(|id| id.to_string())));
        let name = id.unwrap_or_else(|| format!("line {line}"));
        self.instances.push(Instance { benchmark: self.benchmarks.len(), name, fields: phrases.into_iter().collect() });
        Ok(())
    }

    /// The instances of which every field stands in a text.
    fn contained(&self, text: &str) -> Vec<u32> {
        let mut words = Vec::new();
        for_each_folded(text, &mut String::new(), |word| {
            words.push(self.words.find(WordKey::of(word.as_bytes()), word.as_bytes()).unwrap_or(NOTHING));
        });
        let mut found = BTreeSet::new();
        for at in 0..words.len() {
            if words[at] == NOTHING {
                continue;
            }
            for length in 1..=3.min(words.len() - at) {
                for &phrase in self.starts.get(&start(&words[at..at + length])).into_iter().flatten() {
                    if words[at..].starts_with(&self.phrases[phrase as usize]) {
                        found.insert(phrase);
                    }
                }
            }
        }
        let touched: BTreeSet<u32> = found.iter().flat_map(|&phrase| &self.of_phrase[phrase as usize]).copied().collect();
        let whole = |instance: &u32| self.instances[*instance as usize].fields.iter().all(|field| found.contains(field));
        touched.into_iter().filter(whole).collect()
    }
}

/// `contamination`.
pub(crate) struct Contamination {
    phrases: Arc<Phrases>,
    /// Place of the first document and number of documents, by instance.
    found: BTreeMap<u32, (String, u64)>,
}

impl Contamination {
    pub(crate) fn new(phrases: Arc<Phrases>) -> Contamination {
        Contamination { phrases, found: BTreeMap::new() }
    }
}

impl Tally for Contamination {
    fn fresh(&self) -> Self {
        Contamination::new(self.phrases.clone())
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        for instance in self.phrases.contained(&record.document.text) {
            self.found.entry(instance).or_insert_with(|| (record.place(), 0)).1 += 1;
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        for (instance, (place, documents)) in later.found {
            self.found.entry(instance).or_insert((place, 0)).1 += documents;
        }
        Ok(())
    }

    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        let mut counts = vec![0u64; self.phrases.benchmarks.len()];
        for &instance in self.found.keys() {
            counts[self.phrases.instances[instance as usize].benchmark] += 1;
        }
        let benchmarks = self.phrases.benchmarks.iter().zip(counts).map(|((name, instances), count)| {
            let share = 100.0 * count as f64 / (*instances).max(1) as f64;
            vec![name.as_str().into(), (*instances).into(), count.into(), share.into()]
        });
        let instances = self.found.into_iter().take(rows).map(|(instance, (place, documents))| {
            let instance = &self.phrases.instances[instance as usize];
            let name = self.phrases.benchmarks[instance.benchmark].0.as_str();
            vec![name.into(), instance.name.as_str().into(), documents.into(), place.into()]
        });
        Ok(vec![
            Table::new("contamination", "Benchmarks in the corpus", &["benchmark", "instances", "contaminated", "percent"])
                .note("An instance is contaminated when all of its fields stand in one document, whatever their case and punctuation.")
                .plot(Plot::Bars { label: 0, value: 3 })
                .rows(benchmarks),
            Table::new("contaminated_instances", "Contaminated instances", &["benchmark", "instance", "documents", "first"])
                .rows(instances),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_in_one_document() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bench.jsonl");
        let rows = [
            r#"{"id":"a","q":"What is the capital of France?","a":"Paris","m":{"x":[{"content":"deep"}]}}"#,
            r#"{"q":"Who?","a":"me","m":{"x":[]}}"#,
        ];
        std::fs::write(&path, rows.join("\n")).unwrap();
        let of = |fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
            Phrases::read(&[Benchmark { name: "b".into(), path: path.clone() }], &fields)
        };
        let phrases = of(&[]).unwrap();
        assert_eq!(phrases.contained("PARIS - what is the capital of france"), [0]);
        assert_eq!(phrases.contained("what is the capital of Germany? Paris"), Vec::<u32>::new());
        assert_eq!(phrases.contained("who me"), [1]);
        let deep = of(&["a", "m.x"]).unwrap();
        assert_eq!(deep.contained("deep Paris"), [0]);
        assert!(of(&["zz"]).err().unwrap().to_string().contains("bench.jsonl:1: it has no field `zz`"));
    }
}
