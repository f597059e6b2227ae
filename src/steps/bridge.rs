//! Joins the step protocol to the rooms below: observers, errors, figures about documents. It does not know any kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use data::{DataError, Observer};

use super::{Closing, Reporter, StepError};

/// Hears a data operation and tells the run.
pub(super) struct DataObserver<'a> {
    reporter: &'a dyn Reporter,
    unit: &'static str,
    at: AtomicU64,
}

impl<'a> DataObserver<'a> {
    /// Progress counts `unit`.
    pub(super) fn new(reporter: &'a dyn Reporter, unit: &'static str) -> Self {
        Self { reporter, unit, at: AtomicU64::new(0) }
    }
}

impl Observer for DataObserver<'_> {
    fn progress(&self, done: u64, total: Option<u64>) {
        self.at.store(done, Ordering::Relaxed);
        self.reporter.progress(done, total, self.unit);
    }
    fn metric(&self, name: &str, value: f64) {
        self.reporter.metrics(self.at.load(Ordering::Relaxed), BTreeMap::from([(name.to_owned(), value)]));
    }
    fn note(&self, line: &str) {
        self.reporter.log(line);
    }
    fn should_stop(&self) -> bool {
        self.reporter.should_stop()
    }
}

impl From<DataError> for StepError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Cancelled => Self::Interrupted,
            other => Self::failed(other),
        }
    }
}

impl From<std::io::Error> for StepError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

impl From<serde_json::Error> for StepError {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(error)
    }
}

/// What a set of documents holds: documents and bytes in all and by source, documents by licence.
pub(super) fn census(dir: &Path) -> Result<Closing, DataError> {
    let mut closing = Closing::from([("documents".into(), 0.0), ("bytes".into(), 0.0)]);
    let mut add = |name: String, value: f64| *closing.entry(name).or_default() += value;
    for batch in data::document::read_documents(dir)? {
        for document in batch?.documents {
            let bytes = document.text.len() as f64;
            add("documents".into(), 1.0);
            add("bytes".into(), bytes);
            add(format!("source/{}", document.source), 1.0);
            add(format!("bytes/{}", document.source), bytes);
            if let Some(licence) = document.metadata.get("license").and_then(|value| value.as_str()) {
                add(format!("licence/{licence}"), 1.0);
            }
        }
    }
    Ok(closing)
}

/// The figures of `census` that an input carries on to what is made of it.
pub(super) fn provenance_figures(metrics: &BTreeMap<String, f64>) -> Closing {
    let carried = |name: &str| name.starts_with("licence/") || name.starts_with("source/");
    metrics.iter().filter(|(name, _)| carried(name)).map(|(name, value)| (name.clone(), *value)).collect()
}
