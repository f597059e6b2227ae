//! Starts commands through a small process of its own, the spawner, which keeps them away from the network and from the rest of the
//! file system and ends them all when the run ends, however it ends. One spawner serves a whole run: namespaces are made once, and a
//! command costs one spawn of a small process. It does not know what commands are for.
//!
//! ```text
//! run ==socket==> spawner (outer): makes user, network, mount and process namespaces
//!                     '--> spawner (init): process 1 of its namespace, serves requests, reaps
//!                               '--> commands
//! ```
//! Commands are in the process namespace of init: when it ends, because its socket closes or anybody kills it, the kernel ends them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod init;
mod isolation;

pub use init::serve;

/// Whether commands may reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// They have none.
    None,
    /// They have that of this process.
    Host,
}

/// A command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// Folder it starts in.
    pub folder: PathBuf,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// File its standard output is appended to.
    pub stdout: PathBuf,
    /// File its standard error is appended to.
    pub stderr: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Processor seconds, children included.
    pub cpu_seconds: f64,
    /// Most memory one of its processes had, in MiB.
    pub peak_memory_mib: u64,
    /// Why it could not be started.
    pub error: Option<String>,
}

/// What is asked of a spawner, one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Start {
        id: u64,
        task: Task,
    },
    /// Ends a command and its process group: politely, and if it does not listen at all.
    Stop {
        id: u64,
        force: bool,
    },
}

/// What a spawner says, one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// The first line: what could not be kept apart, and why.
    Ready {
        gaps: Vec<String>,
    },
    Ended {
        id: u64,
        ended: Ended,
    },
}

/// A running spawner; it and all its commands end when this is dropped.
pub struct Spawner {
    child: Mutex<Child>,
    socket: Mutex<UnixStream>,
    waiting: Arc<Mutex<Waiting>>,
    gaps: Vec<String>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    replies: BTreeMap<u64, Sender<Ended>>,
    gone: bool,
}

impl Spawner {
    /// Starts the spawner of `program`; commands may write below `writable` only, as far as the system can see to it.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(program: &Path, network: Network, writable: &Path) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        let way = match network {
            Network::None => "none",
            Network::Host => "host",
        };
        command.arg("spawner").arg(way).arg(writable).env_clear();
        // Without it, a program linked with a shared library does not start.
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        command.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?))).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        let child = command.spawn()?;
        // Both hold the other end, which must close when the spawner ends.
        drop((command, theirs));
        let mut reader = BufReader::new(ours.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Ok(Reply::Ready { gaps }) = serde_json::from_str(&line) else {
            return Err(std::io::Error::other("the process that starts commands ended at once"));
        };
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let shared = waiting.clone();
        std::thread::Builder::new().name("spawner".into()).spawn(move || listen(reader, &shared))?;
        Ok(Self { child: Mutex::new(child), socket: Mutex::new(ours), waiting, gaps })
    }

    /// Whether it still answers.
    pub fn is_alive(&self) -> bool {
        !lock(&self.waiting).gone
    }

    /// What commands are not kept away from, and why.
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    /// Runs a command to its end; asks `tick` ten times a second whether to go on, and ends the command when it says no.
    ///
    /// # Errors
    /// If the spawner is gone.
    pub fn run(&self, task: Task, tick: &mut dyn FnMut() -> Go) -> std::io::Result<Ended> {
        let (sender, receiver) = channel();
        let id = {
            let mut waiting = lock(&self.waiting);
            if waiting.gone {
                return Err(gone());
            }
            let id = waiting.next;
            waiting.next += 1;
            waiting.replies.insert(id, sender);
            id
        };
        self.tell(&Request::Start { id, task })?;
        let outcome = self.wait(id, &receiver, tick);
        lock(&self.waiting).replies.remove(&id);
        outcome
    }

    fn wait(&self, id: u64, receiver: &Receiver<Ended>, tick: &mut dyn FnMut() -> Go) -> std::io::Result<Ended> {
        let mut asked: Option<std::time::Instant> = None;
        let mut pause = Duration::from_millis(20);
        loop {
            match receiver.recv_timeout(pause) {
                Ok(ended) => return Ok(ended),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            pause = Duration::from_millis(100);
            match (tick(), asked) {
                (Go::On, _) => {}
                (Go::Stop, None) => {
                    asked = Some(std::time::Instant::now());
                    self.tell(&Request::Stop { id, force: false })?;
                }
                (Go::Stop, Some(since)) if since.elapsed() > GRACE => self.tell(&Request::Stop { id, force: true })?,
                (Go::Stop, Some(_)) => {}
            }
        }
    }

    fn tell(&self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        lock(&self.socket).write_all(&line)
    }
}

/// Time a command has between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(5);

/// Whether a command may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// It may.
    On,
    /// It is to end.
    Stop,
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // Init sees the end of its socket and ends with all it has started.
        let _ = lock(&self.socket).shutdown(std::net::Shutdown::Both);
        let _ = lock(&self.child).wait();
    }
}

fn listen(mut reader: BufReader<UnixStream>, waiting: &Mutex<Waiting>) {
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Ok(Reply::Ended { id, ended }) = serde_json::from_str(&line)
            && let Some(sender) = lock(waiting).replies.remove(&id)
        {
            // Nobody waits for what was given up.
            let _ = sender.send(ended);
        }
        line.clear();
    }
    let mut waiting = lock(waiting);
    waiting.gone = true;
    waiting.replies.clear();
}

fn gone() -> std::io::Error {
    std::io::Error::other("the process that starts commands is gone; it was killed, perhaps for want of memory")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The descriptor that a spawner is given its socket as.
fn socket() -> UnixStream {
    use std::os::fd::FromRawFd;
    // SAFETY: standard input is open, and nobody else in this process uses it.
    let socket = unsafe { UnixStream::from_raw_fd(0) };
    // SAFETY: the descriptor is open. Commands must not inherit it: it would keep init alive.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    socket
}
