//! Runs whose steps are jobs of a real Slurm, which each test starts on the loopback address (`tests/slurm/up.sh`) and ends. Needs
//! root and Debian's packages munge, slurmctld, slurmd and slurm-client; without them the tests say so and pass, unless
//! WORKBENCH_SLURM=1 demands them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plan::{Event, Record};

use crate::bench::{Bench, Ran, ran, repository};

/// Data steps that go two by two, then four at once.
const FAN: &str = r#"
let raw = text("texts/*.txt");
let clean = raw.tag(["gopher"]).dedup(#{ by: "document" });
let parts = [1, 2, 3, 4].map(|seed| clean.split(#{ valid: 0.3, seed: seed }).needs(#{ cpus: 1, memory_mib: 64 }));
let tok = parts[0].train.train_tokenizer(#{ vocab_size: 300 });
for seed in 0..4 { output(`valid ${seed}`, parts[seed].valid.tokenize(tok)); }
"#;

/// A training step that takes some seconds, and what it needs.
const LONG: &str = r#"
import "olmo2" as olmo2;
let raw = text("texts/*.txt");
let tok = raw.train_tokenizer(#{ vocab_size: 320 });
let tokens = raw.tokenize(tok);
let shape = olmo2::model("pico");
shape.n_layers = 1;
let base = pretrain(shape, tokens, #{ sequence: 32, batch: 128, micro_batch: 2, clip: 1.0, tokens: TOKENS, lr: 0.003, warmup: 256 });
output("base", base);
"#;

/// Only one Slurm at a time: the machine has few processors.
static ONE: Mutex<()> = Mutex::new(());

/// A Slurm of this test's own.
struct Cluster {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts Slurm; none where it is not installed and not demanded.
    fn start(test: &str) -> Option<Self> {
        let there = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")]).output().unwrap();
            found.status.success()
        };
        let missing: Vec<&str> =
            ["munged", "slurmctld", "slurmd", "sbatch"].into_iter().filter(|program| !there(program)).collect();
        // SAFETY: it cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        if !missing.is_empty() || !is_root {
            let why = if is_root { format!("{missing:?} not installed") } else { "not run as root".into() };
            assert!(std::env::var("WORKBENCH_SLURM").as_deref() != Ok("1"), "WORKBENCH_SLURM=1 but {why}");
            // The harness keeps what print macros say of a test that passes.
            let _ = std::io::stderr().write_all(format!("SKIPPED slurm::{test}: {why}\n").as_bytes());
            return None;
        }
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self { folder: tempfile::tempdir().unwrap(), _alone: alone };
        let output = cluster.script("up.sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(cluster)
    }

    fn script(&self, name: &str) -> Output {
        // Daemons keep what they inherit: the test would wait for its end.
        let path = self.folder.path().join("script.log");
        let log = || Stdio::from(std::fs::File::create(&path).unwrap());
        let mut command = Command::new(repository().join("tests/slurm").join(name));
        let status = command.arg(self.folder.path()).stdin(Stdio::null()).stdout(log()).stderr(log()).status().unwrap();
        Output { status, stdout: Vec::new(), stderr: std::fs::read(&path).unwrap() }
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("slurm.conf")
    }

    /// One of Slurm's programs.
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", self.conf()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Jobs that have not ended.
    fn live(&self) -> Vec<String> {
        self.ask("squeue", &["--noheader", "--array", "--format=%i"]).lines().map(str::to_owned).collect()
    }

    /// All jobs there ever were.
    fn all(&self) -> Vec<String> {
        let mut jobs: Vec<String> =
            self.ask("squeue", &["--noheader", "--array", "--states=all", "--format=%i"]).lines().map(str::to_owned).collect();
        jobs.sort();
        jobs
    }

    fn pid(&self, daemon: &str) -> i32 {
        std::fs::read_to_string(self.folder.path().join(format!("{daemon}.pid"))).unwrap().trim().parse().unwrap()
    }

    fn command(&self, bench: &Bench, arguments: &[&str]) -> Command {
        let mut command = bench.command(arguments);
        command.env("SLURM_CONF", self.conf());
        command
    }

    /// `run r.rhai` on this Slurm to its end.
    fn run(&self, bench: &Bench, arguments: &[&str]) -> Done {
        let mut all = vec!["run", "--json", "r.rhai", "--executor", "slurm", "--slurm-grace", "4"];
        all.extend(arguments);
        let output = self.command(bench, &all).output().unwrap();
        let events = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        Done { ran: ran(&events, output.status.code().unwrap_or(-1)), said: logs(&events), err }
    }

    fn run_ok(&self, bench: &Bench) -> Done {
        let done = self.run(bench, &[]);
        assert_eq!(done.ran.code, 0, "{:?} {}", done.ran.failed, done.err);
        done
    }

    /// Starts a run and waits until training has told of its progress.
    fn start_training(&self, bench: &Bench) -> Child {
        let out = std::fs::File::create(bench.path("cut.jsonl")).unwrap();
        let arguments = ["run", "--json", "r.rhai", "--executor", "slurm", "--slurm-grace", "4"];
        let mut child = self.command(bench, &arguments).stdout(out).stderr(Stdio::null()).spawn().unwrap();
        let trains = |record: &Record| matches!(&record.event, Event::Metrics { at, values, .. } if *at > 10 && values.contains_key("train/CE loss"));
        assert!(bench.wait_for(&mut child, "cut.jsonl", &trains), "it never trained");
        child
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script("down.sh");
    }
}

/// A run that has ended.
struct Done {
    ran: Ran,
    /// Lines that steps told.
    said: Vec<String>,
    err: String,
}

impl Done {
    fn tells(&self, part: &str) -> bool {
        self.said.iter().any(|line| line.contains(part))
    }
}

fn records(events: &str) -> impl Iterator<Item = Record> {
    events.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok())
}

fn logs(events: &str) -> Vec<String> {
    records(events)
        .filter_map(|record| match record.event {
            Event::Log { line, .. } => Some(line),
            _ => None,
        })
        .collect()
}

fn bench(recipe: &str) -> Bench {
    let bench = crate::rerun::bench();
    bench.write("r.rhai", recipe);
    bench
}

fn training(tokens: u32) -> Bench {
    bench(&LONG.replace("TOKENS", &tokens.to_string()))
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

fn wait_until(what: &str, test: impl Fn() -> bool) {
    let started = Instant::now();
    while !test() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The process that fills a slot of this home.
fn job_process(bench: &Bench) -> u32 {
    let pids = || -> Vec<u64> {
        let slots = std::fs::read_dir(bench.path(".workbench/store/slots")).unwrap();
        let holders = slots.filter_map(|slot| std::fs::read_to_string(slot.ok()?.path().join("guest.holder")).ok());
        // A heartbeat follows in the second line.
        let owners = holders.filter_map(|text| serde_json::from_str::<serde_json::Value>(text.lines().next()?).ok());
        owners.filter_map(|owner| owner["pid"].as_u64()).collect()
    };
    wait_until("one process in a slot", || pids().len() == 1);
    pids()[0] as u32
}

/// As if the run had been killed before `sbatch` told it which job it is.
fn forget_job(bench: &Bench) {
    for slot in std::fs::read_dir(bench.path(".workbench/store/slots")).unwrap() {
        let path = slot.unwrap().path().join("ticket.json");
        let mut ticket: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        ticket["handle"] = serde_json::Value::Null;
        std::fs::write(&path, ticket.to_string()).unwrap();
    }
}

/// Tokens of a training that takes some seconds.
const SECONDS: u32 = 256_000;

#[test]
fn a_flow_on_slurm_has_the_bytes_of_one_on_this_machine() {
    let Some(cluster) = Cluster::start("a_flow") else { return };
    let local = bench(FAN).run_ok(&["r.rhai"]);
    let there = bench(FAN);
    let first = cluster.run_ok(&there);
    assert_eq!(first.ran.digests, local.digests);
    assert_eq!(first.ran.executed.len(), local.executed.len());
    let outputs = std::fs::read_dir(there.path(".workbench/runs/r-1/slurm")).unwrap();
    let names: Vec<String> = outputs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for task in 0..4 {
        let count = names.iter().filter(|name| name.ends_with(&format!("_{task}.out"))).count();
        assert!(count >= 1, "the splits were no array: {names:?}");
    }
    assert!(first.tells("_3 "), "{:?}", first.said);
    let before = cluster.all();
    let second = cluster.run_ok(&there);
    assert!(second.ran.executed.is_empty());
    assert_eq!(cluster.all(), before);
    assert!(cluster.live().is_empty());
    assert!(there.ok(&["cache", "verify"]).contains("0 damaged"));
    let shown = there.ok(&["show", "tok", "--run", "r-1"]);
    assert!(shown.contains("path "), "{shown}");
}

#[test]
fn failures_and_impossible_requests_are_told_in_words() {
    let Some(cluster) = Cluster::start("failures") else { return };
    let recipe = r#"
let raw = text("texts/*.txt");
let none = raw.filter(|doc| doc.text.len() > 100000);
let fine = raw.tag(["gopher"]);
let much = fine.dedup().needs(#{ memory_mib: 100000000 });
output("none", none); output("much", much);
"#;
    let local = bench(&recipe.replace("100000000", "100")).run(&["r.rhai"]);
    let there = bench(recipe);
    let done = cluster.run(&there, &["--keep-going"]);
    assert_eq!(done.ran.code, 1);
    assert_eq!(done.ran.failed["none"], local.failed["none"]);
    assert!(done.ran.digests.contains_key("fine"), "a failure stops what does not depend on it");
    let error = &done.ran.failed["much"];
    assert!(error.contains("configuration is not available") || error.contains("Memory"), "{error}");
    let again = cluster.run(&there, &["--keep-going"]);
    assert_eq!(again.ran.failed["none"], local.failed["none"], "a step that failed is tried again");
    let nowhere = cluster.run(&bench(FAN), &["--slurm-partition", "nowhere"]);
    assert!(nowhere.ran.failed["raw"].contains("partition"), "{:?}", nowhere.ran.failed);
    let own = bench(FAN).say(&["run", "r.rhai", "--executor", "slurm", "--slurm-args", "--array=0-3"]);
    assert!(own.code == 2 && own.err.contains("--array"), "{}", own.err);
    let local = bench(FAN).say(&["run", "r.rhai", "--slurm-partition", "main"]);
    assert!(local.code == 2 && local.err.contains("--executor slurm"), "{}", local.err);
    assert!(cluster.live().is_empty());
}

#[test]
fn interrupted_runs_go_on_from_their_progress() {
    let Some(cluster) = Cluster::start("interrupted") else { return };
    let whole = training(SECONDS).run_ok(&["r.rhai"]);
    let there = training(SECONDS);
    let mut child = cluster.start_training(&there);
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until("the end of the job", || cluster.live().is_empty());
    let before = cluster.all().len();
    let done = cluster.run_ok(&there);
    assert_eq!(done.ran.digests, whole.digests);
    assert_eq!(done.ran.executed, ["base"]);
    assert_eq!(cluster.all().len(), before + 1);

    // Before any task of an array has begun: others hold the node.
    let waiting = bench(FAN);
    waiting.run_ok(&["r.rhai"]);
    waiting.write("r.rhai", &FAN.replace("0.3", "0.31"));
    let other = cluster.ask("sbatch", &["--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"]);
    let out = std::fs::File::create(waiting.path("cut.jsonl")).unwrap();
    let mut child = cluster
        .command(&waiting, &["run", "--json", "r.rhai", "--executor", "slurm"])
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("an array that waits", || cluster.live().len() == 5);
    let asked = Instant::now();
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert_eq!(cluster.live(), [other.trim()]);
    cluster.ask("scancel", &[other.trim()]);
    assert!(cluster.run_ok(&waiting).ran.executed.len() >= 4);

    // Cancelled by somebody else, and killed on its node.
    let there = training(SECONDS);
    let mut child = cluster.start_training(&there);
    let job = cluster.live().remove(0);
    cluster.ask("scancel", &[&job]);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let failed = ran(&std::fs::read_to_string(there.path("cut.jsonl")).unwrap(), 1).failed;
    assert!(failed["base"].contains("cancelled from outside") && failed["base"].contains("progress"), "{failed:?}");
    let mut child = cluster.start_training(&there);
    signal(job_process(&there), "KILL");
    assert_eq!(child.wait().unwrap().code(), Some(0), "a step that a machine lost is tried once more");
    let events = std::fs::read_to_string(there.path("cut.jsonl")).unwrap();
    let retried: Vec<String> = records(&events)
        .filter_map(|record| match record.event {
            Event::StepRetried { error, .. } => Some(error),
            _ => None,
        })
        .collect();
    assert_eq!(retried.len(), 1, "{retried:?}");
    assert!(retried[0].contains("without an answer (status") && retried[0].contains(".out"), "{retried:?}");
    assert_eq!(ran(&events, 0).digests, whole.digests);
}

#[test]
fn jobs_outlive_a_killed_run_and_are_taken_over() {
    let Some(cluster) = Cluster::start("killed") else { return };
    let whole = training(SECONDS).run_ok(&["r.rhai"]);
    let there = training(SECONDS);
    // Killed while the job runs.
    let mut child = cluster.start_training(&there);
    let job = cluster.live();
    signal(child.id(), "KILL");
    child.wait().unwrap();
    let before = cluster.all();
    assert_eq!(cluster.live(), job);
    forget_job(&there);
    let done = cluster.run_ok(&there);
    assert!(done.tells(&format!("takes over Slurm job {}", job[0])), "{:?}", done.said);
    assert_eq!(done.ran.digests, whole.digests);
    assert_eq!(cluster.all(), before, "the step was submitted twice");

    // Killed, and the job ends before anybody comes back.
    let there = training(SECONDS);
    let mut child = cluster.start_training(&there);
    signal(child.id(), "KILL");
    child.wait().unwrap();
    wait_until("the end of the job", || cluster.live().is_empty());
    let before = cluster.all();
    let done = cluster.run_ok(&there);
    assert_eq!(done.ran.digests, whole.digests);
    assert_eq!(cluster.all(), before);
    assert!(done.tells("takes over"), "{:?}", done.said);

    // Killed, and the step is then run on this machine: the job leaves.
    let there = training(SECONDS);
    let mut child = cluster.start_training(&there);
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(there.run_ok(&["r.rhai"]).digests, whole.digests);
    wait_until("the end of the job", || cluster.live().is_empty());

    // Killed, and not wanted any more.
    let there = training(SECONDS);
    let mut child = cluster.start_training(&there);
    signal(child.id(), "KILL");
    child.wait().unwrap();
    let output = cluster.command(&there, &["runs", "--cancel", "r-1"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("base"), "{said}");
    wait_until("the end of the job", || cluster.live().is_empty());
    assert_eq!(cluster.run_ok(&there).ran.digests, whole.digests);
    assert!(there.ok(&["cache", "verify"]).contains("0 damaged"));
}

#[test]
fn a_controller_that_restarts_is_not_missed() {
    let Some(cluster) = Cluster::start("restart") else { return };
    let whole = training(SECONDS).run_ok(&["r.rhai"]);
    for name in ["TERM", "KILL"] {
        let there = training(SECONDS);
        let mut child = cluster.start_training(&there);
        let pid = cluster.pid("slurmctld");
        signal(pid as u32, name);
        wait_until("the end of the controller", || !Path::new(&format!("/proc/{pid}/exe")).exists());
        std::thread::sleep(Duration::from_secs(2));
        assert!(cluster.script("control.sh").status.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "after SIG{name}");
        let ended = ran(&std::fs::read_to_string(there.path("cut.jsonl")).unwrap(), 0);
        assert_eq!(ended.digests, whole.digests);
    }
}
