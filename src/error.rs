//! What a command can fail with, how it is shown and which exit code it gives. It does not know any command.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, distinct for who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A step failed: 1.
    Step,
    /// The recipe, a flag or a name is wrong: 2.
    User,
    /// The machine, the disk or the store is in the way: 3.
    System,
    /// Stopped on request: 130.
    Interrupted,
}

/// A command's failure.
#[derive(Debug)]
pub struct CliError {
    /// Who must act.
    pub fault: Fault,
    /// What went wrong; may have several lines.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CliError {
    /// A mistake of the user.
    pub fn user(message: impl Into<String>) -> Self {
        Self { fault: Fault::User, message: message.into(), hint: None }
    }

    /// Trouble with the machine or the store.
    pub fn system(message: impl fmt::Display) -> Self {
        Self { fault: Fault::System, message: message.to_string(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self.fault {
            Fault::Step => 1,
            Fault::User => 2,
            Fault::System => 3,
            Fault::Interrupted => 130,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = if self.message.starts_with("error") { "" } else { "error: " };
        write!(f, "{start}{}", self.message.trim_end())?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for CliError {}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::system(error)
    }
}

impl From<cache::StoreError> for CliError {
    fn from(error: cache::StoreError) -> Self {
        match error {
            // Another name, file or archive is wanted.
            cache::StoreError::Refused { .. } => Self::user(error.to_string()),
            error => Self::system(error),
        }
    }
}

impl From<lineage::Error> for CliError {
    fn from(error: lineage::Error) -> Self {
        Self::system(error)
    }
}
