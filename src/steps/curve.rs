//! Hears a training run: forwards its measurements, and keeps those that are reproducible as the artifact's `metrics.jsonl`, the
//! same whether or not the run was interrupted. It does not know what is trained.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{Reporter, StepError, Work};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimiser step, from 1.
    pub step: u64,
    /// Measurements at that step.
    pub values: BTreeMap<String, f64>,
}

/// The artifact's file of measurements.
pub const FILE: &str = "metrics.jsonl";

/// See the module.
pub struct Curve<'a> {
    reporter: &'a dyn Reporter,
    unit: &'static str,
    path: PathBuf,
    file: Option<std::fs::File>,
    started: Instant,
    pending: Point,
    error: Option<std::io::Error>,
}

impl<'a> Curve<'a> {
    /// A listener whose progress counts `unit`.
    pub fn new(work: &'a Work<'_>, unit: &'static str) -> Self {
        let pending = Point { step: 0, values: BTreeMap::new() };
        Self {
            reporter: work.reporter,
            unit,
            path: work.progress.join(FILE),
            file: None,
            started: Instant::now(),
            pending,
            error: None,
        }
    }

    /// Moves the kept measurements into the artifact.
    ///
    /// # Errors
    /// If they could not be written.
    pub fn finish(mut self, out: &Path) -> Result<Vec<Point>, StepError> {
        self.flush();
        if let Some(error) = self.error {
            return Err(error.into());
        }
        let points = read(&self.path)?;
        let mut text = String::new();
        for point in &points {
            text.push_str(&serde_json::to_string(point)?);
            text.push('\n');
        }
        fs::write(out.join(FILE), text)?;
        Ok(points)
    }

    fn flush(&mut self) {
        if self.pending.values.is_empty() {
            return;
        }
        let point = Point { step: self.pending.step, values: std::mem::take(&mut self.pending.values) };
        self.reporter.metrics(point.step, point.values.clone());
        // Wall-clock figures are events, not results.
        let timed = |name: &str| name.starts_with("throughput/device") || name.starts_with("time/") || name.ends_with("(s)");
        let values = point.values.into_iter().filter(|(name, _)| !timed(name));
        let kept = Point { step: point.step, values: values.collect() };
        if self.error.is_none()
            && let Err(error) = self.keep(&kept)
        {
            self.error = Some(error);
        }
    }

    fn keep(&mut self, point: &Point) -> std::io::Result<()> {
        if self.file.is_none() {
            // A run that goes on takes its last steps again: theirs replace the old ones.
            let before: Vec<Point> = read(&self.path)?.into_iter().filter(|old| old.step < point.step).collect();
            let mut text = Vec::new();
            for old in before {
                serde_json::to_writer(&mut text, &old)?;
                text.push(b'\n');
            }
            fs::write(&self.path, text)?;
            self.file = Some(std::fs::OpenOptions::new().append(true).open(&self.path)?);
        }
        let mut line = serde_json::to_vec(point)?;
        line.push(b'\n');
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&line))
    }
}

/// All whole lines of a file of measurements; none if it does not exist.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> std::io::Result<Vec<Point>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

impl lm::observe::Observer for Curve<'_> {
    fn metric(&mut self, step: u64, name: &str, value: f64) {
        if step != self.pending.step {
            self.flush();
            self.pending.step = step;
        }
        self.pending.values.insert(name.to_owned(), value);
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.flush();
        self.reporter.progress(done, Some(total), self.unit);
    }

    fn should_stop(&self) -> bool {
        self.reporter.should_stop()
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use lm::observe::Observer;

    use super::*;

    struct Quiet;
    impl Reporter for Quiet {
        fn progress(&self, _: u64, _: Option<u64>, _: &str) {}
        fn metrics(&self, _: u64, _: BTreeMap<String, f64>) {}
        fn log(&self, _: &str) {}
        fn should_stop(&self) -> bool {
            false
        }
    }

    fn run(dir: &Path, steps: std::ops::Range<u64>) -> Vec<Point> {
        let work = Work {
            inputs: vec![],
            out: dir.to_owned(),
            progress: dir.join("progress"),
            threads: 1,
            device: "cpu".into(),
            reporter: &Quiet,
        };
        fs::create_dir_all(&work.progress).unwrap();
        let mut curve = Curve::new(&work, "tokens");
        for step in steps {
            curve.metric(step, "train/CE loss", 1.0 / step as f64);
            curve.metric(step, "throughput/device/TPS", 5.0);
            curve.progress(step, 9);
        }
        curve.finish(dir).unwrap()
    }

    #[test]
    fn an_interruption_leaves_no_trace() {
        let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = run(whole.path(), 1..9);
        run(cut.path(), 1..6);
        assert_eq!(run(cut.path(), 4..9), expected);
        assert!(expected.iter().all(|point| point.values.len() == 1));
        assert_eq!(fs::read(cut.path().join(FILE)).unwrap(), fs::read(whole.path().join(FILE)).unwrap());
    }
}
