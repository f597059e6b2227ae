//! A step in a process of its own. Parent and child share two files in the slot, the request and the answer, and two pipes: the
//! child tells progress on its standard output, the parent asks it to stop on its standard input. It does not know what steps do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache::Slot;
use fs_err as fs;
use plan::{Digest, ErrorClass, Value};
use serde::{Deserialize, Serialize};

use super::usage::{self, Ending};
use crate::steps::{Closing, InputArtifact, Registry, Reporter, StepError, Work};

/// What a child is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Step kind.
    pub kind: String,
    /// The kind's VERSION; another program version must not answer.
    pub version: u32,
    /// Checked parameters.
    pub params: Value,
    /// Inputs in port order.
    pub inputs: Vec<RequestInput>,
    /// Folder to fill.
    pub out: PathBuf,
    /// Folder for progress.
    pub progress: PathBuf,
    /// Threads it has.
    pub threads: usize,
    /// Device that tensors compute on.
    pub device: String,
    /// Numbers of the GPUs it has to itself.
    #[serde(default)]
    pub gpus: Vec<u32>,
}

impl Request {
    /// The same request with whole paths, for a process that starts in another folder.
    ///
    /// # Errors
    /// If the current folder cannot be told.
    pub fn with_whole_paths(mut self) -> std::io::Result<Self> {
        self.out = std::path::absolute(self.out)?;
        self.progress = std::path::absolute(self.progress)?;
        for input in &mut self.inputs {
            input.path = std::path::absolute(&input.path)?;
        }
        Ok(self)
    }
}

/// One input of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestInput {
    port: String,
    name: String,
    path: PathBuf,
    label: String,
    metrics: BTreeMap<String, f64>,
    digest: Digest,
}

impl From<InputArtifact> for RequestInput {
    fn from(input: InputArtifact) -> Self {
        let InputArtifact { port, name, path, label, metrics, digest } = input;
        Self { port, name, path, label, metrics, digest }
    }
}

impl From<RequestInput> for InputArtifact {
    fn from(input: RequestInput) -> Self {
        let RequestInput { port, name, path, label, metrics, digest } = input;
        Self { port, name, path, label, metrics, digest }
    }
}

/// What a child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done; closing figures.
    Done(Closing),
    /// It was asked to stop and saved its progress.
    Interrupted,
    /// It failed.
    Failed(String),
    /// It failed for a reason that may pass.
    Passing(ErrorClass, String),
}

/// What a child tells as it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// As [`Reporter::progress`].
    Progress { done: u64, total: Option<u64>, unit: String },
    /// As [`Reporter::metrics`].
    Metrics {
        at: u64,
        #[serde(deserialize_with = "plan::event::measurements")]
        values: BTreeMap<String, f64>,
    },
    /// As [`Reporter::log`].
    Log { line: String },
}

impl Line {
    /// Tells what a line of a step says; what is no such line is told as it is.
    pub(super) fn tell(text: &str, reporter: &dyn Reporter) {
        match serde_json::from_str(text) {
            Ok(Self::Progress { done, total, unit }) => reporter.progress(done, total, &unit),
            Ok(Self::Metrics { at, values }) => reporter.metrics(at, values),
            Ok(Self::Log { line }) => reporter.log(&line),
            Err(_) => reporter.log(text),
        }
    }
}

/// Runs a request in a child process and waits for it.
///
/// # Errors
/// The step's own error, or how its process ended.
pub fn run(program: &Path, request: &Request, slot: &Slot, reporter: &dyn Reporter) -> Result<Closing, StepError> {
    let (request_path, answer_path, log_path) = (slot.request_path(), slot.answer_path(), slot.log_path());
    let failed = |what: &str, error: std::io::Error| StepError::Failed(format!("{what}: {error}"));
    fs::write(&request_path, serde_json::to_vec_pretty(request).map_err(StepError::failed)?).map_err(StepError::failed)?;
    if answer_path.exists() {
        fs::remove_file(&answer_path).map_err(StepError::failed)?;
    }
    let mut command = Command::new(program);
    command.arg("step").arg(&request_path).arg(&answer_path);
    command.env("RAYON_NUM_THREADS", request.threads.to_string());
    if !request.gpus.is_empty() {
        command.env("CUDA_VISIBLE_DEVICES", request.gpus.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: prctl is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| {
            // The child must not outlive a run that is killed: the next run would find its slot in use.
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    slot.hold_in_child(&mut command);
    let mut child = command.spawn().map_err(|error| failed("the step's process cannot be started", error))?;
    let mut stop = Some(child.stdin.take().expect("stdin is piped"));
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| forward(stdout, reporter));
        scope.spawn(|| keep_log(stderr, &log_path, reporter));
        wait(&mut child, &mut stop, reporter)
    });
    let Ending { status, cpu_seconds, peak_memory_mib } =
        ended.map_err(|error| failed("the step's process cannot be waited for", error))?;
    reporter.used(cpu_seconds, peak_memory_mib);
    match fs::read(&answer_path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        Some(Answer::Done(closing)) if status.success() => Ok(closing),
        Some(Answer::Interrupted) => Err(StepError::Interrupted),
        Some(Answer::Failed(error)) => Err(StepError::Failed(error)),
        Some(Answer::Passing(class, error)) => Err(StepError::Passing(class, error)),
        _ if reporter.should_stop() => Err(StepError::Interrupted),
        _ => {
            let error = format!("{}; its log is {}", ending(status), log_path.display());
            Err(if status.signal().is_some() { StepError::Passing(ErrorClass::Killed, error) } else { StepError::Failed(error) })
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGKILL) => "the step's process was killed (signal 9), perhaps for want of memory; its saved progress is \
            kept and the next run goes on from there"
            .into(),
        Some(signal) => format!("the step's process died of signal {signal}; the next run goes on from its saved progress"),
        None => format!("the step's process ended with status {} without an answer", status.code().unwrap_or(-1)),
    }
}

/// Waits for the child; when the run is asked to stop, asks it once, and kills it if it has not stopped after a minute.
fn wait(child: &mut std::process::Child, stop: &mut Option<ChildStdin>, reporter: &dyn Reporter) -> std::io::Result<Ending> {
    let mut asked: Option<Instant> = None;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(ending) = usage::try_wait(child)? {
            return Ok(ending);
        }
        if reporter.should_stop() && asked.is_none() {
            if let Some(mut stdin) = stop.take() {
                // A child that is already gone is seen by the next try_wait.
                let _ = stdin.write_all(b"stop\n");
            }
            asked = Some(Instant::now());
        }
        if asked.is_some_and(|since| since.elapsed() > Duration::from_secs(60)) {
            usage::kill(child);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn forward(stdout: impl Read, reporter: &dyn Reporter) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        Line::tell(&line, reporter);
    }
}

fn keep_log(stderr: impl Read, log_path: &Path, reporter: &dyn Reporter) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log_path).ok();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        reporter.log(&line);
        if let Some(file) = &mut file {
            // The event carries the line as well.
            let _ = writeln!(file, "{line}");
        }
    }
}

struct Pipe {
    out: Mutex<std::io::Stdout>,
    stop: std::sync::Arc<AtomicBool>,
}

impl Pipe {
    fn tell(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Ok(mut out) = self.out.lock() {
            // Without a parent nobody listens; the stop flag is then set as well.
            let _ = out.write_all(&text).and_then(|()| out.flush());
        }
    }
}

impl Reporter for Pipe {
    fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        self.tell(&Line::Progress { done, total, unit: unit.into() });
    }
    fn metrics(&self, at: u64, values: BTreeMap<String, f64>) {
        self.tell(&Line::Metrics { at, values });
    }
    fn log(&self, line: &str) {
        self.tell(&Line::Log { line: line.into() });
    }
    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The child's side: runs the request in this process and writes the answer.
///
/// # Errors
/// If the request cannot be read or the answer cannot be written.
pub fn serve(registry: &Registry, request_path: &Path, answer_path: &Path) -> Result<(), String> {
    let text = fs::read(request_path).map_err(|error| error.to_string())?;
    let request: Request = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", request_path.display()))?;
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    std::thread::spawn(move || {
        let mut line = String::new();
        let asked = std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0);
        if !asked {
            // The parent is gone: leave the slot to the next run at once.
            std::process::exit(1);
        }
        flag.store(true, Ordering::Relaxed);
    });
    let pipe = Pipe { out: Mutex::new(std::io::stdout()), stop };
    let answer = answer(registry, request, &pipe);
    let text = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
    fs::write(answer_path, text).map_err(|error| error.to_string())
}

/// Runs a request in this process, which has the threads it asks for.
pub(super) fn answer(registry: &Registry, request: Request, reporter: &dyn Reporter) -> Answer {
    let kind = match registry.get(&request.kind) {
        Some(kind) if kind.about.version == request.version => kind,
        _ => return Answer::Failed(format!("this program has no kind `{}` of version {}", request.kind, request.version)),
    };
    let work = Work {
        inputs: request.inputs.into_iter().map(Into::into).collect(),
        out: request.out,
        progress: request.progress,
        threads: request.threads,
        device: request.device,
        reporter,
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kind.run(&request.params, &work))) {
        // JSON cannot hold the others, and no artifact keeps them.
        Ok(Ok(closing)) => Answer::Done(closing.into_iter().filter(|(_, figure)| figure.is_finite()).collect()),
        Ok(Err(StepError::Interrupted)) => Answer::Interrupted,
        Ok(Err(StepError::Failed(error))) => Answer::Failed(error),
        Ok(Err(StepError::Passing(class, error))) => Answer::Passing(class, error),
        Err(panic) => Answer::Failed(super::worker::panic_text(&*panic)),
    }
}
