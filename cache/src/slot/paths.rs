//! [`SlotPaths`]: where things lie in a slot. It touches no file.

use std::path::{Path, PathBuf};

/// The paths of a slot, for the process that claimed it and for the one that fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPaths {
    folder: PathBuf,
}

impl SlotPaths {
    /// Those of the slot in `folder`, as [`SlotPaths::folder`] of its owner named it.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The slot itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the step writes the files of its artifact; empty when the slot is claimed.
    pub fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Where the step keeps what it needs to go on after an interruption; survives everything but a commit.
    pub fn progress(&self) -> PathBuf {
        self.folder.join("progress")
    }

    /// What the step says, over all attempts; to be appended to.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// What a child process is asked; absent when the slot is claimed.
    pub fn request(&self) -> PathBuf {
        self.folder.join("request.json")
    }

    /// What a child process answers; absent when the slot is claimed.
    pub fn answer(&self) -> PathBuf {
        self.folder.join("answer.json")
    }

    /// Where files wait that are brought from elsewhere, each under its digest; survives an interruption.
    pub(crate) fn fetched(&self) -> PathBuf {
        self.folder.join("fetched")
    }

    /// What a guest tells as it goes; absent when the slot is claimed.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// Who fills the slot on another machine.
    pub fn ticket(&self) -> PathBuf {
        self.folder.join("ticket.json")
    }

    /// What is being made.
    pub(crate) fn preimage(&self) -> PathBuf {
        self.folder.join("preimage.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// Who holds it, for other machines.
    pub(crate) fn holder(&self) -> PathBuf {
        self.folder.join("holder")
    }

    /// Held by the process that fills the slot on another machine.
    pub(crate) fn guest_lock(&self) -> PathBuf {
        self.folder.join("guest.lock")
    }

    /// Who holds that, for other machines.
    pub(crate) fn guest_holder(&self) -> PathBuf {
        self.folder.join("guest.holder")
    }

    pub(crate) fn attempts(&self) -> PathBuf {
        self.folder.join("attempts.json")
    }

    /// A file on its way out of the slot.
    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.draft"))
    }
}
