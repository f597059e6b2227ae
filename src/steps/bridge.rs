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
    let census = data::document::census(dir)?;
    let totals = census.totals();
    let mut closing = Closing::from([("documents".into(), totals.documents as f64), ("bytes".into(), totals.bytes as f64)]);
    for (source, totals) in census.sources {
        closing.insert(format!("source/{source}"), totals.documents as f64);
        closing.insert(format!("bytes/{source}"), totals.bytes as f64);
    }
    closing.extend(census.licences.into_iter().map(|(licence, documents)| (format!("licence/{licence}"), documents as f64)));
    Ok(closing)
}

/// The figures of `census` that an input carries on to what is made of it.
pub(super) fn provenance_figures(metrics: &BTreeMap<String, f64>) -> Closing {
    let carried = |name: &str| name.starts_with("licence/") || name.starts_with("source/");
    metrics.iter().filter(|(name, _)| carried(name)).map(|(name, value)| (name.clone(), *value)).collect()
}
