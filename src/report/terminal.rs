//! The process's own streams: data to standard output, everything else to standard error. A closed pipe ends output quietly. It
//! does not know what is written.

use std::io::{IsTerminal, Write};

/// Writes data to standard output.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away (`| head`) wants no more.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes data and a line end to standard output.
pub fn line(text: &str) {
    data(&format!("{text}\n"));
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(format!("{text}\n").as_bytes());
}

/// Whether a dashboard can be shown: both ends are a terminal that can move its cursor.
pub fn is_interactive() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// Whether to colour: a terminal, and nobody said otherwise (`NO_COLOR`).
pub fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of the terminal, if standard output is one.
pub fn width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns))).flatten()
}
