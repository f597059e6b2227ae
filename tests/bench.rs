//! A temporary home and recipe folder, and the program run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use plan::{Event, Record};

/// A folder with recipes and a home of its own.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

/// What a finished command said.
pub(crate) struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

/// What a run did, from its JSON events.
#[derive(Default)]
pub(crate) struct Ran {
    /// Names of steps that executed, in order of finishing.
    pub executed: Vec<String>,
    /// Digest of every finished step.
    pub digests: BTreeMap<String, String>,
    /// Errors by step.
    pub failed: BTreeMap<String, String>,
    /// Closing figures by step.
    pub figures: BTreeMap<String, BTreeMap<String, f64>>,
    /// Exit code.
    pub code: i32,
}

impl Bench {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The program with arguments, in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workbench"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_remove("WORKBENCH_HOME")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn say(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    /// Runs a prepared command to its end.
    pub(crate) fn finish(command: &mut Command) -> Said {
        said(command.output().unwrap())
    }

    /// Runs the program and requires success.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let said = self.say(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}\n{}", said.out, said.err);
        said.out
    }

    /// `run RECIPE` with JSON events.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["run", "--json"];
        all.extend(arguments);
        let said = self.say(&all);
        let ran = ran(&said.out, said.code);
        assert!(ran.code == 0 || !said.err.is_empty(), "a failure says why");
        if said.code != 0 {
            eprintln!("{}", said.err);
        }
        ran
    }

    /// `run` that must succeed.
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?} failed: {:?}", ran.failed);
        ran
    }

    /// Starts a run in the background, its events to a file.
    pub(crate) fn start(&self, arguments: &[&str], events: &str) -> Child {
        let mut all = vec!["run", "--json"];
        all.extend(arguments);
        let out = std::fs::File::create(self.path(events)).unwrap();
        self.command(&all).stdout(out).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the journal of the latest run shows what `test` looks for; false when the child ended first.
    pub(crate) fn wait_for(&self, child: &mut Child, events: &str, test: &dyn Fn(&Record) -> bool) -> bool {
        loop {
            let ended = child.try_wait().unwrap().is_some();
            let text = std::fs::read_to_string(self.path(events)).unwrap_or_default();
            if text.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|record: Record| test(&record)) {
                return !ended;
            }
            if ended {
                return false;
            }
            std::thread::yield_now();
        }
    }
}

fn said(output: Output) -> Said {
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// Folds the JSON events of a run.
pub(crate) fn ran(events: &str, code: i32) -> Ran {
    let mut ran = Ran { code, ..Ran::default() };
    let mut names = BTreeMap::new();
    for record in events.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()) {
        match record.event {
            Event::RunStarted { steps, .. } => names.extend(steps.into_iter().map(|step| (step.id, step.name))),
            Event::StepFinished { step, digest, hit, metrics, .. } => {
                let name = names[&step].clone();
                if !hit {
                    ran.executed.push(name.clone());
                }
                ran.figures.insert(name.clone(), metrics);
                ran.digests.insert(name, digest.to_string());
            }
            Event::StepFailed { step, error, .. } => drop(ran.failed.insert(names[&step].clone(), error)),
            _ => {}
        }
    }
    ran
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
