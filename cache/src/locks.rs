//! Who holds what in a store, on this machine and on others. It takes nothing and removes nothing but what the dead left.

use std::path::PathBuf;

use fs_err as fs;
use plan::{Key, Preimage};

use crate::holder::{self, Holder, Where};
use crate::lock::{Locks, Owner, is_locked};
use crate::watch::Pulse;
use crate::{Result, Store};

/// What is held.
#[derive(Debug, Clone, PartialEq)]
pub enum Holding {
    /// The whole store, against removal of what is in it: a run is going on.
    Store,
    /// The making of one artifact.
    Slot {
        /// Key.
        key: Key,
        /// What is being made, if that can be read.
        preimage: Option<Preimage>,
    },
}

/// One thing that is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// What.
    pub what: Holding,
    /// By whom.
    pub owner: Owner,
    /// Whether the owner lives.
    pub pulse: Pulse,
}

impl Store {
    /// Who holds what. Where others hold things on other machines, this watches until it knows whether they live: seconds for
    /// those that do, half a minute for those that do not.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn held(&self) -> Result<Vec<Held>> {
        let mut held = Vec::new();
        for slot in self.slots()? {
            if let Some(owner) = slot.owner.filter(|_| is_locked(&slot.paths.lock()).unwrap_or(false)) {
                let what = Holding::Slot { key: slot.key, preimage: slot.preimage };
                held.push(Held { what, owner, pulse: Pulse::Alive });
            }
        }
        for path in self.holders()? {
            let Some(holder) = holder::read(&path)?.and_then(|text| Holder::parse(&text)) else { continue };
            if holder.place() == Where::Here && holder.is_seen() {
                held.push(Held { what: Holding::Store, owner: holder.owner(), pulse: Pulse::Alive });
            }
        }
        for (path, pulse) in self.others()? {
            let key: Option<Key> = path.parent().and_then(|slot| slot.file_name()?.to_str()?.parse().ok());
            let what = match key {
                Some(key) => Holding::Slot { key, preimage: self.preimage(&key).ok().flatten() },
                None => Holding::Store,
            };
            let Some(holder) = holder::read(&path)?.and_then(|text| Holder::parse(&text)) else { continue };
            held.push(Held { what, owner: holder.owner(), pulse });
        }
        Ok(held)
    }

    /// What is held on other machines, and whether its holder lives. Watches until that is known.
    pub(crate) fn others(&self) -> Result<Vec<(PathBuf, Pulse)>> {
        let is_elsewhere = |text: &[u8]| Holder::parse(text).is_none_or(|holder| holder.place() == Where::Elsewhere);
        let mut elsewhere = Vec::new();
        for path in self.holders()? {
            if holder::read(&path)?.is_some_and(|text| is_elsewhere(&text)) {
                elsewhere.push(path);
            }
        }
        for entry in fs::read_dir(self.layout().bucket("slots"))? {
            let path = crate::SlotPaths::at(entry?.path()).holder();
            if holder::read(&path)?.is_some_and(|text| is_elsewhere(&text)) {
                elsewhere.push(path);
            }
        }
        let judged = self.watch().settle(&elsewhere)?;
        Ok(judged.into_iter().map(|(path, _, pulse)| (path, pulse)).collect())
    }

    /// Whether somebody else works with the store, for a process that has its lock. Removes the records of the dead.
    pub(crate) fn is_shared(&self, locks: Locks) -> Result<bool> {
        for path in self.holders()? {
            let holder = holder::read(&path)?.and_then(|text| Holder::parse(&text));
            match holder.map(|holder| (holder.place(), holder.is_seen())) {
                // The lock would not be ours.
                Some((Where::Here, true)) if locks == Locks::Missing => return Ok(true),
                Some((Where::Here | Where::Before, _)) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        for (path, pulse) in self.others()? {
            if pulse != Pulse::Dead {
                return Ok(true);
            }
            if path.parent().is_some_and(|folder| folder == self.layout().bucket("holders")) {
                fs::remove_file(&path)?;
            }
        }
        Ok(false)
    }

    /// Everybody who says that it holds the store.
    fn holders(&self) -> Result<Vec<PathBuf>> {
        match fs::read_dir(self.layout().bucket("holders")) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
