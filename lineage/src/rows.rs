//! Records, manifests and preimages become rows of the tables in tables.sql, in bulk. It does not know when a transaction ends.

use std::collections::{BTreeMap, HashSet};

use duckdb::types::{TimeUnit, Value as Sql};
use duckdb::{Appender, Connection, ToSql, params};
use plan::{Difference, Event, Manifest, Place, Preimage, Record, RunStatus, StepId, StepSummary, Value};

use crate::error::{Error, while_doing};
use crate::params::{self, Row};

/// Tables whose rows belong to one run.
pub(crate) const OF_RUNS: [&str; 15] = [
    "journals", "warnings", "runs", "run_ends", "settings", "outputs", "steps", "edges", "events", "reasons", "progress",
    "metrics", "closing", "machine", "gpus",
];

/// Tables whose rows belong to one artifact.
pub(crate) const OF_ARTIFACTS: [&str; 4] = ["artifacts", "files", "inputs", "results"];

/// A run, as far as its journal has told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// Its name.
    pub(crate) name: String,
    /// Its `run_started` is in the tables.
    pub(crate) started: bool,
    /// Its `run_finished` is in the tables.
    pub(crate) ended: bool,
    /// Name and kind of its steps, in plan order.
    pub(crate) steps: Vec<(String, String)>,
}

impl Run {
    fn step(&self, StepId(id): StepId) -> (Option<&str>, Option<&str>) {
        self.steps.get(id).map_or((None, None), |(name, kind)| (Some(name), Some(kind)))
    }
}

/// Adds rows to the tables.
pub(crate) struct Rows<'c> {
    connection: &'c Connection,
    appenders: BTreeMap<&'static str, Appender<'c>>,
    // Sets of parameters that the tables hold.
    params: HashSet<String>,
    added: u64,
}

impl<'c> Rows<'c> {
    /// Rows for the tables of `connection`.
    pub(crate) fn new(connection: &'c Connection) -> Result<Self, Error> {
        let failed = while_doing("listing known parameters");
        let mut statement = connection.prepare("SELECT DISTINCT params FROM raw.params").map_err(&failed)?;
        let params = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(&failed)?;
        Ok(Self { connection, appenders: BTreeMap::new(), params, added: 0 })
    }

    /// Number of rows added so far.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// Writes what is buffered; without it a commit would miss rows.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.appenders.values_mut().try_for_each(|appender| appender.flush()).map_err(while_doing("adding rows"))
    }

    fn add(&mut self, table: &'static str, row: &[&dyn ToSql]) -> Result<(), Error> {
        let failed = while_doing("adding rows");
        self.added += 1;
        let appender = match self.appenders.entry(table) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(self.connection.appender_to_db(table, "raw").map_err(&failed)?)
            }
        };
        appender.append_row(row).map_err(failed)
    }

    fn add_params(&mut self, params: &Value) -> Result<String, Error> {
        let digest = params::digest(params);
        if self.params.insert(digest.clone()) {
            for Row { path, value, number, type_name } in params::explode(params) {
                self.add("params", params![digest, path, value, number, type_name])?;
            }
        }
        Ok(digest)
    }

    /// How far a journal has been read, with the time of its last record.
    pub(crate) fn journal(
        &mut self,
        run: &str,
        path: &str,
        position: &crate::journal::Position,
        seen_ms: Option<u64>,
    ) -> Result<(), Error> {
        let (bytes, lines, head) = (int(position.bytes), int(position.lines), &position.head);
        self.add("journals", params![run, path, bytes, lines, head, seen_ms.map(time)])
    }

    /// A line that was left out.
    pub(crate) fn warning(&mut self, run: &str, path: &str, line: u64, text: &str) -> Result<(), Error> {
        self.add("warnings", params![run, path, int(line), text])
    }

    /// One record of a run; what a run may say only once is a complaint when it is said again.
    pub(crate) fn record(&mut self, run: &mut Run, record: &Record) -> Result<Result<(), String>, Error> {
        let again = |event: &str| Ok(Err(format!("a second {event} in one journal; the line is left out")));
        match &record.event {
            Event::RunStarted { .. } if run.started => return again("run_started"),
            Event::RunFinished { .. } if run.ended => return again("run_finished"),
            Event::RunStarted { steps, .. } => {
                run.started = true;
                run.steps = steps.iter().map(|step| (step.name.clone(), step.kind.clone())).collect();
            }
            Event::RunFinished { .. } => run.ended = true,
            _ => {}
        }
        self.event(run, record).map(Ok)
    }

    fn event(&mut self, told: &Run, record: &Record) -> Result<(), Error> {
        let run = told.name.as_str();
        let at = At { run, seq: int(record.seq), time: time(record.time_ms) };
        match &record.event {
            Event::RunStarted {
                recipe, recipe_digest, settings, program, host, pid, device, capacity, steps, outputs, ..
            } => {
                let (digest, threads, memory) = (recipe_digest.to_string(), capacity.cpus, int(capacity.memory_mib));
                let row = params![run, at.time, recipe, digest, program, host, pid, device, threads, memory];
                self.add("runs", row)?;
                for (name, value) in settings {
                    let Row { value, number, type_name, .. } = params::leaf(name, value);
                    self.add("settings", params![run, name, value, number, type_name])?;
                }
                for step in steps {
                    self.declared(run, step)?;
                }
                for (name, step) in outputs {
                    self.add("outputs", params![run, name, int(step.0)])?;
                }
                self.mark(&at, &Mark { text: Some(recipe), ..Mark::new("run_started") })
            }
            Event::StepKeyed { step, key, hit, because } => {
                let reasons: Vec<_> = because.iter().map(ToString::to_string).collect();
                let text = match (hit, because.is_empty()) {
                    (true, _) => "in the store".to_owned(),
                    (false, true) => "never ran under this name".to_owned(),
                    (false, false) => reasons.join("; "),
                };
                if !hit {
                    self.reasons(&at, int(step.0), because)?;
                }
                let (key, text) = (Some(key.to_string()), Some(text.as_str()));
                self.mark(&at, &Mark { step: Some(step.0), key, hit: Some(*hit), text, ..Mark::new("step_keyed") })
            }
            Event::StepStarted { step, key, threads, resumed } => {
                let text = resumed.then_some("from saved progress");
                let (threads, resumed) = (Some(*threads), Some(*resumed));
                let mark =
                    Mark { step: Some(step.0), key: Some(key.to_string()), threads, resumed, text, ..Mark::new("step_started") };
                self.mark(&at, &mark)
            }
            Event::StepProgress { step, done, total, unit } => {
                let (name, _) = told.step(*step);
                self.add("progress", params![run, at.seq, at.time, name, int(*done), total.map(int), unit])
            }
            Event::Metrics { step, at: abscissa, values } => {
                let ((name, kind), abscissa) = (told.step(*step), int(*abscissa));
                for (metric, value) in values {
                    self.add("metrics", params![run, at.seq, at.time, name, kind, abscissa, metric, value])?;
                }
                Ok(())
            }
            Event::Log { step, line } => self.mark(&at, &Mark { step: Some(step.0), text: Some(line), ..Mark::new("log") }),
            Event::StepFinished { step, key, digest, hit, seconds, bytes, cpu_seconds, peak_memory_mib, metrics } => {
                let key = key.to_string();
                // The figures of a hit are those of the execution that made it.
                if !hit {
                    for (metric, value) in metrics {
                        self.add("closing", params![run, at.seq, int(step.0), key, metric, value])?;
                    }
                    let used = [("cost/cpu_seconds", *cpu_seconds), ("cost/peak_memory_mib", *peak_memory_mib as f64)];
                    for (metric, value) in used.iter().filter(|(metric, value)| *value > 0.0 && !metrics.contains_key(*metric)) {
                        self.add("closing", params![run, at.seq, int(step.0), key, metric, value])?;
                    }
                }
                let (step, digest) = (Some(step.0), Some(digest.to_string()));
                let (hit, seconds, bytes) = (Some(*hit), Some(*seconds), Some(*bytes));
                self.mark(&at, &Mark { step, key: Some(key), digest, hit, seconds, bytes, ..Mark::new("step_finished") })
            }
            Event::StepFailed { step, error, seconds, .. } => {
                let (seconds, text) = (Some(*seconds), Some(error.as_str()));
                self.mark(&at, &Mark { step: Some(step.0), seconds, text, ..Mark::new("step_failed") })
            }
            Event::StepBlocked { step, by } => {
                self.mark(&at, &Mark { step: Some(step.0), blocker: Some(by.0), ..Mark::new("step_blocked") })
            }
            Event::StepRetried { step, error, wait_s, .. } => {
                let (seconds, text) = (Some(*wait_s), Some(error.as_str()));
                self.mark(&at, &Mark { step: Some(step.0), seconds, text, ..Mark::new("step_retried") })
            }
            Event::StepAccepted { step, key, from, differences } => {
                self.reasons(&at, int(step.0), differences)?;
                let (key, from) = (Some(key.to_string()), from.to_string());
                self.mark(&at, &Mark { step: Some(step.0), key, text: Some(&from), ..Mark::new("step_accepted") })
            }
            Event::StepInterrupted { step } => self.mark(&at, &Mark { step: Some(step.0), ..Mark::new("step_interrupted") }),
            Event::Machine(load) => {
                let (memory, total) = (int(load.memory_mib), int(load.memory_total_mib));
                self.add("machine", params![run, at.seq, at.time, load.cpu_percent, memory, total, load.load])?;
                for (index, (name, percent, memory, total)) in load.gpus.iter().enumerate() {
                    let (memory, total) = (int(*memory), int(*total));
                    self.add("gpus", params![run, at.seq, at.time, int(index), name, percent, memory, total])?;
                }
                Ok(())
            }
            Event::RunFinished { status, executed, hits, failed, seconds } => {
                let status = match status {
                    RunStatus::Succeeded => "succeeded",
                    RunStatus::Failed => "failed",
                    RunStatus::Interrupted => "interrupted",
                };
                let (executed, hits, failed) = (int(*executed), int(*hits), int(*failed));
                self.add("run_ends", params![run, at.seq, at.time, status, executed, hits, failed, seconds])?;
                self.mark(&at, &Mark { seconds: Some(*seconds), text: Some(status), ..Mark::new("run_finished") })
            }
        }
    }

    fn declared(&mut self, run: &str, step: &StepSummary) -> Result<(), Error> {
        let (id, set) = (int(step.id.0), self.add_params(&step.params)?);
        let place = match step.place {
            Place::Thread => "thread",
            Place::Child => "child",
        };
        let (plan_id, site, memory) = (step.plan_id.to_string(), step.site.to_string(), int(step.resources.memory_mib));
        let row = params![
            run,
            id,
            step.name,
            step.kind,
            step.version,
            plan_id,
            set,
            site,
            place,
            step.resources.cpus,
            memory,
            step.wanted
        ];
        self.add("steps", row)?;
        let from_steps = step.inputs.iter().map(|(port, source)| (port, Some(int(source.0)), None));
        let from_files = step.files.iter().map(|(port, path)| (port, None, Some(path)));
        for (position, (port, source, path)) in from_steps.chain(from_files).enumerate() {
            self.add("edges", params![run, id, int(position), port, source, path])?;
        }
        Ok(())
    }

    fn reasons(&mut self, at: &At<'_>, step: i64, because: &[Difference]) -> Result<(), Error> {
        type Shown = Option<String>;
        if because.is_empty() {
            let (path, before, after): (Shown, Shown, Shown) = (None, None, None);
            self.add("reasons", params![at.run, at.seq, step, 0, "first", path, before, after])?;
        }
        for (position, difference) in because.iter().enumerate() {
            let (what, path, before, after): (_, Option<&str>, Shown, Shown) = match difference {
                Difference::Format { before, after } => ("format", None, Some(before.to_string()), Some(after.to_string())),
                Difference::Kind { before, after } => ("kind", None, Some(before.clone()), Some(after.clone())),
                Difference::Version { before, after } => ("version", None, Some(before.to_string()), Some(after.to_string())),
                Difference::Param { path, before, after } => {
                    ("param", Some(path), before.as_ref().map(params::text), after.as_ref().map(params::text))
                }
                Difference::Input { port, before, after } => {
                    ("input", Some(port), before.map(|digest| digest.to_string()), after.map(|digest| digest.to_string()))
                }
            };
            self.add("reasons", params![at.run, at.seq, step, int(position), what, path, before, after])?;
        }
        Ok(())
    }

    fn mark(&mut self, at: &At<'_>, mark: &Mark<'_>) -> Result<(), Error> {
        let row = params![
            at.run,
            at.seq,
            at.time,
            mark.event,
            mark.step.map(int),
            mark.key,
            mark.digest,
            mark.hit,
            mark.threads,
            mark.resumed,
            mark.seconds,
            mark.bytes.map(int),
            mark.blocker.map(int),
            mark.text
        ];
        self.add("events", row)
    }

    /// A finished step with the preimage of its key.
    pub(crate) fn artifact(&mut self, manifest: &Manifest, preimage: &Preimage) -> Result<(), Error> {
        let (key, digest, made) = (manifest.key.to_string(), manifest.digest.to_string(), &manifest.provenance);
        let set = self.add_params(&preimage.params)?;
        let (bytes, files, finished) = (int(manifest.bytes()), int(manifest.files.len()), time(made.finished_ms));
        let row = params![
            key,
            digest,
            manifest.kind,
            preimage.version,
            set,
            bytes,
            files,
            made.run,
            made.step,
            finished,
            made.seconds,
            made.host,
            made.device,
            made.threads,
            made.program
        ];
        self.add("artifacts", row)?;
        for file in &manifest.files {
            self.add("files", params![key, digest, file.path, int(file.bytes), file.digest.to_string()])?;
        }
        for (position, input) in manifest.inputs.iter().enumerate() {
            let (port, path) = match input.key {
                Some(_) => (input.port.as_str(), None),
                None => outside(&input.port),
            };
            let (producer, digest) = (input.key.map(|key| key.to_string()), input.digest.to_string());
            self.add("inputs", params![key, int(position), port, producer, digest, path])?;
        }
        for (metric, value) in &manifest.metrics {
            self.add("results", params![key, metric, value])?;
        }
        Ok(())
    }
}

/// Whose record it is, where in the journal and when.
struct At<'a> {
    run: &'a str,
    seq: i64,
    time: Sql,
}

/// A row of `raw.events`.
struct Mark<'a> {
    event: &'static str,
    step: Option<usize>,
    key: Option<String>,
    digest: Option<String>,
    hit: Option<bool>,
    threads: Option<u32>,
    resumed: Option<bool>,
    seconds: Option<f64>,
    bytes: Option<u64>,
    blocker: Option<usize>,
    text: Option<&'a str>,
}

impl Mark<'_> {
    fn new(event: &'static str) -> Self {
        Self {
            event,
            step: None,
            key: None,
            digest: None,
            hit: None,
            threads: None,
            resumed: None,
            seconds: None,
            bytes: None,
            blocker: None,
            text: None,
        }
    }
}

/// Port and path of a file from outside, which a manifest gives as one text: the port is its leading identifier.
fn outside(text: &str) -> (&str, Option<&str>) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (port, path) = text.split_at(end);
    let path = path.trim_start_matches([' ', ':', '=']);
    (port, (!path.is_empty()).then_some(path))
}

fn int<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn time(milliseconds: u64) -> Sql {
    Sql::Timestamp(TimeUnit::Millisecond, int(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::outside;

    #[test]
    fn files_from_outside_have_a_port_and_a_path() {
        assert_eq!(outside("documents data/a.txt"), ("documents", Some("data/a.txt")));
        assert_eq!(outside("documents:data/a.txt"), ("documents", Some("data/a.txt")));
        assert_eq!(outside("documents/data/a.txt"), ("documents", Some("/data/a.txt")));
        assert_eq!(outside("documents"), ("documents", None));
    }
}
