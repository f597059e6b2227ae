//! One line per change, for logs and pipes; progress at most every ten seconds a step. It does not know where lines go.

use std::collections::BTreeMap;

use plan::{Event, Record, RunStatus, StepId, StepSummary};

use super::figures;

const PROGRESS_EVERY_MS: u64 = 10_000;

/// Turns records into lines.
#[derive(Default)]
pub struct Printer {
    started_ms: u64,
    run: String,
    steps: BTreeMap<StepId, StepSummary>,
    told: BTreeMap<StepId, u64>,
    latest: BTreeMap<StepId, BTreeMap<String, f64>>,
}

/// Metrics worth a place on a progress line, best first.
const SHOWN: [&str; 6] =
    ["train/CE loss", "objective/verifiable_correct_rate", "optim/LR", "throughput/device/TPS", "documents/s", "eval/accuracy"];

impl Printer {
    /// A printer that has heard nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines for a record; mostly none or one.
    pub fn lines(&mut self, record: &Record) -> Vec<String> {
        let text = match &record.event {
            Event::RunStarted { run, recipe, steps, capacity, device, .. } => {
                self.started_ms = record.time_ms;
                self.run.clone_from(run);
                self.steps = steps.iter().map(|step| (step.id, step.clone())).collect();
                let wanted = steps.iter().filter(|step| step.wanted).count();
                let memory = figures::size(capacity.memory_mib << 20);
                format!("run {run} of {recipe}: {wanted} steps, {} threads, {memory}, device {device}", capacity.cpus)
            }
            Event::StepKeyed { step, hit: false, because, .. } if !because.is_empty() => {
                let reasons = because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                format!("{}: runs again: {reasons}", self.name(*step))
            }
            Event::StepStarted { step, threads, resumed, .. } => {
                let how = if *resumed { "goes on from saved progress" } else { "starts" };
                format!("{}: {how} on {threads} {}", self.name(*step), if *threads == 1 { "thread" } else { "threads" })
            }
            Event::Metrics { step, values, .. } => {
                self.latest.entry(*step).or_default().extend(values.clone());
                return Vec::new();
            }
            Event::StepProgress { step, done, total, unit } => {
                let told = self.told.entry(*step).or_insert(record.time_ms);
                if record.time_ms < *told + PROGRESS_EVERY_MS {
                    return Vec::new();
                }
                *told = record.time_ms;
                let done_text = figures::count(*done as f64);
                let progress = match total {
                    Some(total) if *total > 0 => {
                        let percent = *done as f64 / *total as f64 * 100.0;
                        format!("{done_text} of {} {unit}, {percent:.0} %", figures::count(*total as f64))
                    }
                    _ => format!("{done_text} {unit}"),
                };
                let latest = self.latest.get(step);
                let shown = SHOWN.iter().filter_map(|name| Some((name, latest?.get(*name)?)));
                let metrics: String =
                    shown.take(3).map(|(name, value)| format!(", {name} {}", figures::number(*value))).collect();
                format!("{}: {progress}{metrics}", self.name(*step))
            }
            Event::Log { step, line } => format!("{}: {line}", self.name(*step)),
            Event::StepFinished { step, hit: true, digest, .. } => format!("{}: cached {}", self.name(*step), digest.short()),
            Event::StepFinished { step, digest, seconds, bytes, .. } => {
                let (seconds, size) = (figures::duration(*seconds), figures::size(*bytes));
                format!("{}: done in {seconds}, {size}, {}", self.name(*step), digest.short())
            }
            Event::StepFailed { step, error, .. } => {
                let site = self.steps.get(step).map(|step| format!(" ({})", step.site)).unwrap_or_default();
                format!("{}: failed{site}: {error}", self.name(*step))
            }
            Event::StepRetried { step, attempt, error, class, wait_s } => {
                let (name, class, wait) = (self.name(*step), class.name(), figures::duration(*wait_s));
                format!("{name}: attempt {attempt} failed ({class}): {error}; the next begins in {wait}")
            }
            Event::StepAccepted { step, from, differences, .. } => {
                let what = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                format!("{}: accepted as made for {}, in spite of {what}", self.name(*step), from.short())
            }
            Event::StepBlocked { step, by } => format!("{}: blocked by {}", self.name(*step), self.name(*by)),
            Event::StepInterrupted { step } => format!("{}: interrupted; its progress is kept", self.name(*step)),
            Event::StepKeyed { .. } | Event::Machine(_) => return Vec::new(),
            Event::RunFinished { status, executed, hits, failed, seconds } => {
                let status = match status {
                    RunStatus::Succeeded => "succeeded",
                    RunStatus::Failed => "failed",
                    RunStatus::Interrupted => "interrupted",
                };
                let seconds = figures::duration(*seconds);
                format!("run {} {status} in {seconds}: {executed} executed, {hits} cached, {failed} failed", self.run)
            }
        };
        let since = record.time_ms.saturating_sub(self.started_ms) as f64 / 1e3;
        vec![format!("[{since:7.1} s] {text}")]
    }

    fn name(&self, step: StepId) -> String {
        self.steps.get(&step).map_or_else(|| format!("step {}", step.0), |step| step.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_error() {
        let record = Record {
            seq: 0,
            time_ms: 1500,
            event: Event::StepFailed {
                step: StepId(3),
                error: "out of luck".into(),
                seconds: 1.0,
                class: plan::ErrorClass::Failed,
            },
        };
        assert_eq!(Printer::new().lines(&record), ["[    1.5 s] step 3: failed: out of luck"]);
    }
}
