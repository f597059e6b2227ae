//! Slurm's programs, run with a time limit and out of reach of the terminal's Ctrl-C. It does not know what they print.

use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a program may take; Slurm's own time limit for a message is ten seconds, tried a few times.
const LIMIT: Duration = Duration::from_secs(120);

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    /// Standard output.
    pub(super) out: String,
    /// Standard error, without white space around it.
    pub(super) err: String,
    /// How it ended.
    pub(super) status: ExitStatus,
}

impl Said {
    /// What went wrong, in the program's own words.
    pub(super) fn trouble(&self, program: &str) -> String {
        match self.err.is_empty() {
            true => format!("{program} ended with status {} without a word", self.status.code().unwrap_or(-1)),
            false => self.err.clone(),
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started, or takes too long.
pub(super) fn run(program: &str, arguments: &[String]) -> io::Result<Said> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("`{program}` cannot be run: {error}"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C goes to the run, which then cancels its jobs by these programs.
    command.process_group(0);
    let mut child = command.spawn().map_err(named)?;
    let (stdout, stderr) = (child.stdout.take().expect("stdout is piped"), child.stderr.take().expect("stderr is piped"));
    std::thread::scope(|scope| {
        let out = scope.spawn(|| text(stdout));
        let err = scope.spawn(|| text(stderr));
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(named)? {
                break status;
            }
            if started.elapsed() > LIMIT {
                late = true;
                child.kill().map_err(named)?;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if late {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("`{program}` did not end within {} s", LIMIT.as_secs())));
        }
        Ok(Said { out, err: err.trim().to_owned(), status })
    })
}

fn text(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still worth telling.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_and_its_absence_is_named() {
        let said = run("sh", &["-c".into(), "echo out; echo err >&2; exit 3".into()]).unwrap();
        assert_eq!((said.out.as_str(), said.err.as_str(), said.status.code()), ("out\n", "err", Some(3)));
        assert_eq!(said.trouble("sh"), "err");
        let quiet = run("sh", &["-c".into(), "exit 3".into()]).unwrap();
        assert_eq!(quiet.trouble("sh"), "sh ended with status 3 without a word");
        let error = run("no-such-program-anywhere", &[]).unwrap_err();
        assert!(error.to_string().contains("no-such-program-anywhere"), "{error}");
    }
}
