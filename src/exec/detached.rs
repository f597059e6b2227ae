//! A step in a process that has no parent to talk to, perhaps on another machine with the same file system. All talk goes through
//! files in the slot: a ticket that names the process, the request, events as the step goes, and the answer, which is whole or
//! absent. SIGTERM asks it to stop and save. It does not know what started it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache::{Entry, Guest, Slot, SlotPaths};
use fs_err as fs;
use plan::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGTERM;

use super::child::{Answer, Line, Request, answer};
use super::{journal, worker};
use crate::steps::{Registry, Reporter};

/// How often a running step looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a step that is not wanted any more may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How long a process waits for another one to leave its slot.
const ENTER_WITHIN: Duration = Duration::from_secs(90);
/// Exit status of a step that failed.
const FAILED: u8 = 1;
/// Exit status of a step that was stopped: what a shell says of SIGTERM.
const STOPPED: u8 = 143;

/// Names the process that fills a slot, for that process and for whoever claims the slot next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What started the process: `slurm`.
    pub backend: String,
    /// Unique to one start of the step; the process is given it.
    pub token: String,
    /// What the backend calls the process; none until it has said so.
    pub handle: Option<String>,
    /// The run it was started for.
    pub run: String,
    /// The step's name in that run.
    pub step: String,
    /// Digest of the request.
    pub request: Digest,
    /// When it was started, in milliseconds since the Unix epoch.
    pub submitted_ms: u64,
    /// Length of the log when it was started.
    pub log_bytes: u64,
}

impl Ticket {
    /// The ticket of a slot.
    ///
    /// # Errors
    /// When the operating system refuses. A ticket that cannot be understood counts as none.
    pub fn read(paths: &SlotPaths) -> cache::Result<Option<Self>> {
        let text = paths.read_fresh(&paths.ticket())?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Leaves it in a slot.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn leave(&self, slot: &Slot) -> cache::Result<()> {
        slot.leave_ticket(&serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?)
    }
}

/// A token that nobody had before.
pub fn new_token(run: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let mut hasher = Hasher::new("workbench ticket");
    hasher.field(run.as_bytes()).field(worker::host().as_bytes());
    hasher.field(&std::process::id().to_le_bytes()).field(&now.to_le_bytes());
    hasher.field(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Digest::from_bytes(hasher.finish()).to_string().chars().take(16).collect()
}

/// What a request asks for, whatever threads it has.
pub fn request_digest(request: &Request) -> Digest {
    let mut hasher = Hasher::new("workbench request");
    let request = Request { threads: 0, ..request.clone() };
    hasher.field(&serde_json::to_vec(&request).unwrap_or_default());
    Digest::from_bytes(hasher.finish())
}

/// An answer, and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// Token of the process that answers.
    pub token: String,
    /// Where it ran.
    pub host: String,
    /// Wall seconds that it ran.
    pub seconds: f64,
    /// What it answers.
    pub answer: Answer,
}

impl Sealed {
    /// The answer to a token, once it is there.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn read(paths: &SlotPaths, token: &str) -> cache::Result<Option<Self>> {
        let text = paths.read_fresh(&paths.answer())?;
        let sealed = text.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        Ok(sealed.filter(|sealed| sealed.token == token))
    }
}

/// Reads a file that grows, line by line.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at: u64,
    partial: Vec<u8>,
}

impl Tail {
    /// Of the file at `path`, which need not exist yet, from byte `at`.
    pub fn new(path: PathBuf, at: u64) -> Self {
        Self { path, at, partial: Vec::new() }
    }

    /// The whole lines that were not read yet.
    pub fn lines(&mut self) -> Vec<String> {
        let mut fresh = Vec::new();
        let read = std::fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut fresh)
        });
        // A file that is not there yet, or out of reach for a moment, is read next time.
        if read.is_err() || fresh.is_empty() {
            return Vec::new();
        }
        self.at += fresh.len() as u64;
        self.partial.append(&mut fresh);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }

    /// The last line, which nobody ended.
    pub fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.partial);
        Some(String::from_utf8_lossy(&rest).into_owned()).filter(|rest| !rest.is_empty())
    }
}

/// Tells a reporter what the lines of a step say.
pub fn tell(lines: &[String], reporter: &dyn Reporter) {
    lines.iter().for_each(|line| Line::tell(line, reporter));
}

struct Recorder {
    events: Mutex<std::fs::File>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    fn record(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Ok(mut events) = self.events.lock() {
            // Progress that cannot be told does not stop a step; what it makes cannot be written then either.
            let _ = events.write_all(&text);
        }
    }
}

impl Reporter for Recorder {
    fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        self.record(&Line::Progress { done, total, unit: unit.into() });
    }
    fn metrics(&self, at: u64, values: std::collections::BTreeMap<String, f64>) {
        self.record(&Line::Metrics { at, values });
    }
    fn log(&self, line: &str) {
        self.record(&Line::Log { line: line.into() });
    }
    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a process finds when it comes to its slot.
enum Arrival {
    Enter(Guest),
    /// There is nothing to do for it; why.
    Leave(&'static str),
}

/// Runs the request of the slot in `folder` in this process, if the slot's ticket has `token`, and leaves the answer there. Gives
/// the exit status.
///
/// # Errors
/// If the slot cannot be entered, or the answer cannot be written.
pub fn serve(registry: &Registry, folder: &Path, token: &str, say: &dyn Fn(&str)) -> Result<u8, String> {
    let paths = SlotPaths::at(folder);
    let text = |error: cache::StoreError| error.to_string();
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, stop.clone()).map_err(|error| error.to_string())?;
    let guest = match arrive(&paths, token, &stop)? {
        Arrival::Enter(guest) => guest,
        Arrival::Leave(why) => {
            say(why);
            return Ok(0);
        }
    };
    guest.start_anew().map_err(text)?;
    speak_into(&paths.log()).map_err(|error| error.to_string())?;
    let request = fs::read(paths.request()).map_err(|error| error.to_string())?;
    let request: Request = serde_json::from_slice(&request).map_err(|error| format!("{}: {error}", paths.request().display()))?;
    let events = fs::OpenOptions::new().create(true).append(true).open(paths.events()).map_err(|error| error.to_string())?;
    let recorder = Recorder { events: Mutex::new(events.into_file()), stop: stop.clone() };
    let started = Instant::now();
    watch_ticket(paths.clone(), token.to_owned(), stop);
    let answer = answer(registry, request, &recorder);
    let status = match &answer {
        Answer::Done(_) => 0,
        Answer::Failed(_) | Answer::Passing(..) => FAILED,
        Answer::Interrupted => STOPPED,
    };
    if !is_wanted(&paths, token) {
        say("nobody waits for this step any more");
        return Ok(STOPPED);
    }
    let sealed = Sealed { token: token.to_owned(), host: worker::host(), seconds: started.elapsed().as_secs_f64(), answer };
    guest.answer(&serde_json::to_vec(&sealed).map_err(|error| error.to_string())?).map_err(text)?;
    Ok(status)
}

/// Standard output and error become the slot's log.
fn speak_into(log: &Path) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    for standard in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors are open; the file may be closed afterwards.
        if unsafe { libc::dup2(file.file().as_raw_fd(), standard) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Enters the slot, unless its ticket is for another process or it has been answered. Waits while another process is in it, such as
/// an earlier start of the same job that is not quite gone.
fn arrive(paths: &SlotPaths, token: &str, stop: &AtomicBool) -> Result<Arrival, String> {
    let since = Instant::now();
    loop {
        if !is_wanted(paths, token) {
            return Ok(Arrival::Leave("nobody waits for this step any more"));
        }
        match Guest::enter(paths).map_err(|error| error.to_string())? {
            Entry::Entered(_) if !is_wanted(paths, token) => return Ok(Arrival::Leave("nobody waits for this step any more")),
            Entry::Entered(guest) => {
                return match Sealed::read(paths, token).map_err(|error| error.to_string())? {
                    // It was stopped, as at preemption, and is started again to go on.
                    Some(Sealed { answer: Answer::Interrupted, .. }) if !stop.load(Ordering::Relaxed) => {
                        Ok(Arrival::Enter(guest))
                    }
                    Some(_) => Ok(Arrival::Leave("this step has been answered before")),
                    None => Ok(Arrival::Enter(guest)),
                };
            }
            Entry::Gone => return Ok(Arrival::Leave("nobody waits for this step any more")),
            Entry::Busy(owner) if since.elapsed() > ENTER_WITHIN => return Err(format!("{owner} is running the same step")),
            Entry::Busy(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

fn is_wanted(paths: &SlotPaths, token: &str) -> bool {
    matches!(Ticket::read(paths), Ok(Some(ticket)) if ticket.token == token)
}

/// Stops the step when its ticket is taken away, and the process when the step does not stop.
fn watch_ticket(paths: SlotPaths, token: String, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut missing: Option<Instant> = None;
        loop {
            std::thread::sleep(LOOK_EVERY);
            match Ticket::read(&paths) {
                Ok(Some(ticket)) if ticket.token == token => missing = None,
                // Out of reach for a moment.
                Err(_) => {}
                Ok(_) => {
                    let since = *missing.get_or_insert_with(Instant::now);
                    stop.store(true, Ordering::Relaxed);
                    if since.elapsed() > STOP_WITHIN {
                        std::process::exit(i32::from(STOPPED));
                    }
                }
            }
        }
    });
}

/// A ticket for a step that is started now.
pub fn ticket(backend: &str, token: String, run: &str, step: &str, request: &Request, paths: &SlotPaths) -> Ticket {
    Ticket {
        backend: backend.to_owned(),
        token,
        handle: None,
        run: run.to_owned(),
        step: step.to_owned(),
        request: request_digest(request),
        submitted_ms: journal::now_ms(),
        log_bytes: fs::metadata(paths.log()).map_or(0, |metadata| metadata.len()),
    }
}

#[cfg(test)]
mod tests;
