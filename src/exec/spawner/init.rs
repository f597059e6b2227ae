//! The spawner's own side: enters the namespaces, becomes process 1 in them, starts commands as asked and tells how they end. One
//! thread. It does not know runs or steps.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Ended, Network, Reply, Request, Task, isolation, socket};
use crate::exec::usage;

/// Serves requests on standard input, a socket, until it closes. `network` is `none` or `host`.
///
/// # Errors
/// If the process cannot fork.
pub fn serve(network: &str, writable: &Path) -> std::io::Result<()> {
    let socket = socket();
    let network = if network == "host" { Network::Host } else { Network::None };
    let (gaps, separate) = isolation::enter(network, writable);
    if separate {
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => return Err(std::io::Error::last_os_error()),
            0 => die_with_parent(),
            inner => {
                drop(socket);
                let mut status = 0;
                // SAFETY: the pointer is valid for the length of the call.
                unsafe { libc::waitpid(inner, &raw mut status, 0) };
                return Ok(());
            }
        }
    }
    Init { socket, commands: BTreeMap::new(), children: Children::watch()? }.serve(gaps)
}

fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: touches nothing but this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
}

/// Tells through a descriptor that a child has ended.
struct Children(UnixStream);

impl Children {
    fn watch() -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, writer)?;
        Ok(Self(reader))
    }

    fn forget(&mut self) {
        let mut buffer = [0; 256];
        while self.0.read(&mut buffer).is_ok_and(|bytes| bytes == buffer.len()) {}
    }
}

struct Init {
    socket: UnixStream,
    // Number of the request by process.
    commands: BTreeMap<i32, u64>,
    children: Children,
}

impl Init {
    fn serve(mut self, gaps: Vec<String>) -> std::io::Result<()> {
        self.tell(&Reply::Ready { gaps });
        let mut pending = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut polled = [self.socket.as_raw_fd(), self.children.0.as_raw_fd()].map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            });
            // SAFETY: the array is valid for the length of the call.
            if unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) } < 0 {
                continue;
            }
            if polled[1].revents != 0 {
                self.children.forget();
                self.reap();
            }
            if polled[0].revents != 0 {
                match self.socket.read(&mut buffer) {
                    Ok(0) | Err(_) => return self.end(),
                    Ok(bytes) => pending.extend_from_slice(&buffer[..bytes]),
                }
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    if let Ok(request) = serde_json::from_slice(&line) {
                        self.obey(request);
                    }
                }
            }
        }
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Start { id, task } => match start(&task) {
                Ok(process) => drop(self.commands.insert(process, id)),
                Err(error) => {
                    let error = Some(format!("{}: {error}", task.arguments.first().map_or("", String::as_str)));
                    let ended = Ended { status: None, signal: None, cpu_seconds: 0.0, peak_memory_mib: 0, error };
                    self.tell(&Reply::Ended { id, ended });
                }
            },
            Request::Stop { id, force } => {
                if let Some((process, _)) = self.commands.iter().find(|(_, known)| **known == id) {
                    let signal = if force { libc::SIGKILL } else { libc::SIGTERM };
                    // SAFETY: the process was not waited for yet, so its group is its own.
                    unsafe { libc::kill(-process, signal) };
                }
            }
        }
    }

    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: an all-zero rusage is a valid one.
            let mut used: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are valid for the length of the call.
            let process = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut used) };
            if process <= 0 {
                return;
            }
            // Others are grandchildren whose parent ended before them.
            if let Some(id) = self.commands.remove(&process) {
                // What it left behind in its group would write into folders that are being committed.
                // SAFETY: kill fails when the group is empty, nothing else.
                unsafe { libc::kill(-process, libc::SIGKILL) };
                let (cpu_seconds, peak_memory_mib) = usage::of(&used);
                let exited = libc::WIFEXITED(status);
                let ended = Ended {
                    status: exited.then(|| libc::WEXITSTATUS(status)),
                    signal: (!exited).then(|| libc::WTERMSIG(status)),
                    cpu_seconds,
                    peak_memory_mib,
                    error: None,
                };
                self.tell(&Reply::Ended { id, ended });
            }
        }
    }

    fn tell(&mut self, reply: &Reply) {
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            // Without anybody to hear it, the next read ends this process.
            let _ = self.socket.write_all(&line);
        }
    }

    /// Ends everything that was started; as process 1 its own end would do.
    fn end(self) -> std::io::Result<()> {
        for process in self.commands.keys() {
            // SAFETY: these processes were not waited for yet.
            unsafe { libc::kill(-process, libc::SIGKILL) };
        }
        Ok(())
    }
}

fn start(task: &Task) -> std::io::Result<i32> {
    let (program, arguments) = task.arguments.split_first().ok_or_else(|| std::io::Error::other("there is no command"))?;
    let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
    let out = append(&task.stdout)?;
    let err = if task.stderr == task.stdout { out.try_clone()? } else { append(&task.stderr)? };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&task.environment).current_dir(&task.folder);
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    // The handle is not needed: all children are waited for together.
    Ok(command.spawn()?.id() as i32)
}
