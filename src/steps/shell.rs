//! `shell`: a command in a folder of its own, with nothing but its declared inputs, environment and outputs.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use plan::{ErrorClass, Place, Resources};

use super::layout::Layout;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Reporter, Step, StepError, Work};
use crate::exec::spawner::{Go, Network, Spawner, Task};

mod secrets;

use secrets::Secrets;

crate::params! {
    /// Parameters of [`Shell`].
    pub struct Params {
        /// The command, for `/bin/sh -e`.
        cmd: String;
        /// Files and folders that it makes, relative to its folder; they are the artifact.
        outputs: Vec<String>;
        /// Its environment, beside PATH, HOME, TMPDIR and LANG.
        env: BTreeMap<String, String> = BTreeMap::new();
        /// Names of variables that it gets from the environment of the run. Their values are kept out of keys, journals, logs and
        /// artifacts.
        secrets: Vec<String> = Vec::new();
        /// Output that its standard output is written to.
        stdout: Option<String> = None;
        /// Whether it may reach the network.
        network: bool = false;
        /// What its outputs are to the steps that take them.
        makes: String = "files".to_owned();
    }
}

/// See the module.
pub struct Shell;

impl Step for Shell {
    type Params = Params;

    fn about() -> About {
        About {
            name: "shell",
            version: 1,
            doc: "A shell command in a private folder that holds its inputs: artifacts and files without a name at the top, those of \
                  a map below their names. It sees no other environment and no network, and can write nowhere else, as far as the \
                  system allows; the log says where it does not.",
            ports: &[Port {
                name: "inputs",
                accepts: ArtifactType::ALL,
                arity: Arity::Named,
                doc: "Artifacts, or globs relative to the recipe.",
            }],
            positional: &["cmd"],
            output: ArtifactType::Files,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 256, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let mut errors = Vec::new();
        let outputs = params.outputs.iter().chain(&params.stdout);
        errors.extend(outputs.filter_map(|output| Layout::check("outputs", output).err()));
        if params.outputs.is_empty() && params.stdout.is_none() {
            errors.push(ParamError::new("outputs", "a command must make something: name a file, or use `stdout`"));
        }
        for name in params.env.keys().chain(&params.secrets) {
            let odd = name.is_empty()
                || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                || name.starts_with(char::is_numeric);
            if odd {
                errors.push(ParamError::new("env", format!("`{name}` is no name of a variable")));
            }
        }
        if let Some(name) = params.secrets.iter().find(|name| params.env.contains_key(*name)) {
            errors.push(ParamError::new("secrets", format!("`{name}` is given in `env` too")));
        }
        if ArtifactType::named(&params.makes).is_none() {
            let names: Vec<_> = ArtifactType::ALL.iter().map(|artifact| artifact.name()).collect();
            let mut error = ParamError::new("makes", format!("`{}` is no type; there are: {}", params.makes, names.join(", ")));
            error.suggestion = super::params::closest(&params.makes, names);
            errors.push(error);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let slot = work.out.parent().map_or_else(|| work.out.clone(), Path::to_path_buf);
        let folder = Folder::make(slot.join("work"), work)?;
        let secrets = Secrets::read(&params.secrets)?;
        let log = slot.join("log.txt");
        let spawner = spawner(if params.network { Network::Host } else { Network::None }, &slot)?;
        spawner.gaps().iter().for_each(|gap| work.reporter.log(gap));
        let stdout = params.stdout.as_ref().map(|name| folder.path.join(name));
        for output in params.outputs.iter().chain(&params.stdout) {
            if let Some(parent) = folder.path.join(output).parent().filter(|parent| *parent != folder.path) {
                fs::create_dir_all(parent).map_err(StepError::failed)?;
            }
        }
        let task = Task {
            arguments: vec!["/bin/sh".into(), "-e".into(), "-c".into(), params.cmd.clone()],
            environment: environment(&params, &secrets, &folder.path, work.threads),
            folder: folder.path.clone(),
            stdout: stdout.unwrap_or_else(|| log.clone()),
            stderr: log.clone(),
        };
        let mut tail = Tail::new(&log, &secrets);
        let reporter = work.reporter;
        let mut tick = || {
            tail.forward(reporter);
            if reporter.should_stop() { Go::Stop } else { Go::On }
        };
        let ended = spawner.run(task, &mut tick).map_err(|error| StepError::Passing(ErrorClass::Killed, error.to_string()))?;
        tail.forward(reporter);
        tail.finish(reporter);
        secrets.redact(&log)?;
        reporter.used(ended.cpu_seconds, ended.peak_memory_mib);
        let log_name = log.display();
        match (ended.status, ended.signal, ended.error) {
            (Some(0), ..) => {}
            _ if reporter.should_stop() => return Err(StepError::Interrupted),
            (_, _, Some(error)) => return Err(StepError::Failed(format!("the command cannot be started: {error}"))),
            (Some(status), ..) => {
                let text = format!(
                    "the command ended with status {status}; its log is {log_name}, its folder {}",
                    folder.path.display()
                );
                return Err(StepError::Failed(text));
            }
            (None, signal, None) => {
                let signal = signal.unwrap_or_default();
                let why = if signal == libc::SIGKILL { ", perhaps for want of memory" } else { "" };
                let text = format!("the command was ended by signal {signal}{why}; its log is {log_name}");
                return Err(StepError::Passing(ErrorClass::Killed, text));
            }
        }
        folder.check_inputs()?;
        let mut outputs: Vec<&String> = params.outputs.iter().chain(&params.stdout).collect();
        outputs.dedup();
        for output in outputs {
            folder.take(output, &work.out)?;
        }
        secrets.refuse_in(&work.out)?;
        folder.remove();
        Ok(Closing::new())
    }
}

/// The spawners of this process, by network and store.
static SPAWNERS: Mutex<BTreeMap<(Network, PathBuf), Arc<Spawner>>> = Mutex::new(BTreeMap::new());

/// Ends the processes that started commands; the next command starts them again.
pub fn rest() {
    SPAWNERS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn spawner(network: Network, slot: &Path) -> Result<Arc<Spawner>, StepError> {
    // All slots of a store lie in one folder.
    let writable = slot.parent().unwrap_or(slot).to_path_buf();
    let mut spawners = SPAWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = (network, writable);
    if let Some(spawner) = spawners.get(&place).filter(|spawner| spawner.is_alive()) {
        return Ok(spawner.clone());
    }
    let program = std::env::current_exe().map_err(StepError::failed)?;
    let started = Spawner::start(&program, network, &place.1);
    let started = Arc::new(started.map_err(|error| StepError::Failed(format!("commands cannot be started: {error}")))?);
    spawners.insert(place, started.clone());
    Ok(started)
}

fn environment(params: &Params, secrets: &Secrets, folder: &Path, threads: usize) -> BTreeMap<String, String> {
    let folder = folder.display().to_string();
    let mut environment: BTreeMap<String, String> = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME", folder.clone()),
        ("TMPDIR", folder),
        ("LANG", "C.UTF-8".to_owned()),
        // How many threads there are is not to decide the result, only the time it takes.
        ("WORKBENCH_THREADS", threads.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    environment.extend(params.env.clone());
    environment.extend(secrets.variables());
    environment
}

/// The private folder.
struct Folder {
    path: PathBuf,
    // Inputs that share their bytes with the store, with size and modification time.
    linked: Vec<(PathBuf, u64, std::time::SystemTime)>,
}

/// Larger inputs share the bytes of the store instead of being copied.
const MOST_COPIED: u64 = 1 << 20;

impl Folder {
    fn make(path: PathBuf, work: &Work<'_>) -> Result<Self, StepError> {
        if path.exists() {
            remove(&path).map_err(StepError::failed)?;
        }
        fs::create_dir(&path).map_err(StepError::failed)?;
        let mut folder = Self { path, linked: Vec::new() };
        for (place, from) in super::layout::files(&work.inputs)? {
            folder.put(&place, &from).map_err(StepError::failed)?;
        }
        Ok(folder)
    }

    fn put(&mut self, place: &Path, from: &Path) -> std::io::Result<()> {
        let to = self.path.join(place);
        if place.components().count() > 1
            && let Some(parent) = to.parent()
        {
            fs::create_dir_all(parent)?;
        }
        let metadata = fs::metadata(from)?;
        // Only what is in the store is read-only; a file from outside could change under the command.
        let is_stored = metadata.permissions().readonly();
        if metadata.len() > MOST_COPIED && is_stored && fs::hard_link(from, &to).is_ok() {
            self.linked.push((from.to_path_buf(), metadata.len(), metadata.modified()?));
            return Ok(());
        }
        fs::copy(from, &to).map(drop)
    }

    /// Whether the command has left alone what it shares with the store.
    fn check_inputs(&self) -> Result<(), StepError> {
        for (path, bytes, modified) in &self.linked {
            let now = fs::metadata(path).map_err(StepError::failed)?;
            if now.len() != *bytes || now.modified().map_err(StepError::failed)? != *modified {
                return Err(StepError::Failed(format!(
                    "the command wrote into one of its inputs, {}; `workbench cache verify --repair` sets it aside; let the command \
                     write to another file",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Moves an output to the artifact.
    fn take(&self, output: &str, out: &Path) -> Result<(), StepError> {
        let (from, to) = (self.path.join(output), out.join(output));
        let missing = || {
            StepError::Failed(format!("the command did not make its output `{output}`; its folder is {}", self.path.display()))
        };
        fs::symlink_metadata(&from).map_err(|_| missing())?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(StepError::failed)?;
        }
        fs::rename(&from, &to).map_err(StepError::failed)
    }

    fn remove(self) {
        // What stays goes with the slot.
        let _ = remove(&self.path);
    }
}

/// Removes a folder in which commands may have made read-only folders.
fn remove(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    let mut open = vec![path.to_path_buf()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

/// Follows the log while the command runs.
struct Tail<'a> {
    path: PathBuf,
    at: u64,
    partial: Vec<u8>,
    lines: usize,
    secrets: &'a Secrets,
}

/// Most lines of a log that become events; all are in the log file.
const MOST_LINES: usize = 2000;

impl<'a> Tail<'a> {
    fn new(path: &Path, secrets: &'a Secrets) -> Self {
        let at = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_path_buf(), at, partial: Vec::new(), lines: 0, secrets }
    }

    fn forward(&mut self, reporter: &dyn Reporter) {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        if file.metadata().map_or(0, |metadata| metadata.len()) <= self.at || file.seek(SeekFrom::Start(self.at)).is_err() {
            return;
        }
        let read = file.read_to_end(&mut self.partial).unwrap_or(0);
        self.at += read as u64;
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.say(&line[..end], reporter);
        }
    }

    /// The last line, if it has no end.
    fn finish(&mut self, reporter: &dyn Reporter) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.say(&rest, reporter);
        }
    }

    fn say(&mut self, line: &[u8], reporter: &dyn Reporter) {
        self.lines += 1;
        match self.lines.cmp(&MOST_LINES) {
            std::cmp::Ordering::Less => reporter.log(&self.secrets.hide(&String::from_utf8_lossy(line))),
            std::cmp::Ordering::Equal => reporter.log(&format!("more is in {}", self.path.display())),
            std::cmp::Ordering::Greater => {}
        }
    }
}

/// Replaces a file as a whole.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::File::create(&draft)?;
    file.write_all(bytes)?;
    fs::rename(draft, path)
}
