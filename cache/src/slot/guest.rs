//! A slot that is filled on another machine. Whoever claimed it leaves a ticket that names the process to come; that process enters
//! as a [`Guest`], alone, and answers. The ticket outlives the claim, so that the next claim can take the work over; taking the
//! ticket away turns the guest out. It does not know what a ticket says or how the guest was started.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use fs_err as fs;
use plan::Preimage;

use super::{Claim, Slot, SlotPaths};
use crate::lock::{self, Attempt, Lease, Owner, SlotLock};
use crate::watch::Watch;
use crate::{Result, Store};

/// What a claim does with the output, the request and the answer of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// Removes them, and turns out whoever still writes them.
    Clear,
    /// Leaves them if there is a ticket.
    KeepWithTicket,
}

/// The right to fill a slot on behalf of the process that claimed it. Ends when dropped, or with the process.
#[derive(Debug)]
pub struct Guest {
    store: Store,
    paths: SlotPaths,
    _lock: SlotLock,
    _lease: Arc<Lease>,
}

/// What came of entering a slot.
#[derive(Debug)]
pub enum Entry {
    /// It may be filled.
    Entered(Guest),
    /// Somebody else is filling it.
    Busy(Owner),
    /// There is no such slot any more.
    Gone,
}

impl Store {
    /// As [`Store::claim_wait`], for a claimer that fills slots on other machines: output, request, answer and ticket of an earlier
    /// claim stay where they are if there is a ticket, which [`Slot::in_flight`] then tells.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn claim_in_flight(&self, preimage: &Preimage, keep_waiting: &dyn Fn(&Owner) -> bool) -> Result<Claim> {
        self.wait_for(preimage, Leftovers::KeepWithTicket, keep_waiting)
    }

    /// Takes the ticket of a slot that is to be cleared away. Tells who is still in it; that process leaves when it misses its
    /// ticket.
    pub(crate) fn turn_out(&self, paths: &SlotPaths) -> Result<Option<Owner>> {
        self.disk().remove_file(&paths.ticket())?;
        lock::owner_at(&paths.guest_lock(), &paths.guest_holder(), self.watch())
    }

    fn put_durably(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let disk = self.disk();
        let tmp = self.layout().fresh_tmp();
        disk.write(&tmp, bytes)?;
        disk.sync(std::slice::from_ref(&tmp))?;
        disk.rename(&tmp, path)?;
        Ok(disk.sync(&[path.parent().unwrap_or(path).to_path_buf()])?)
    }
}

impl Slot {
    /// Whether an earlier claim left a ticket, and with it all else.
    pub fn in_flight(&self) -> bool {
        self.paths.ticket().exists()
    }

    /// Brings a ticket to the disk: what the guest and the next claim read.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn leave_ticket(&self, text: &[u8]) -> Result<()> {
        self.store.put_durably(&self.paths.ticket(), text)
    }

    /// Brings a request to the disk.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn leave_request(&self, text: &[u8]) -> Result<()> {
        self.store.put_durably(&self.paths.request(), text)
    }

    /// Takes the ticket away, and clears output, request, answer and events if no guest is in the slot any more. Otherwise tells who
    /// is; ask again.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn evict(&self) -> Result<Option<Owner>> {
        match self.store.turn_out(&self.paths)? {
            Some(owner) => Ok(Some(owner)),
            None => self.store.clear_leftovers(&self.paths).map(|()| None),
        }
    }
}

impl Guest {
    /// Enters a slot whose owner left a ticket.
    ///
    /// # Errors
    /// When the operating system refuses, or the store is of another layout version.
    pub fn enter(paths: &SlotPaths) -> Result<Entry> {
        let root = paths.folder().parent().and_then(Path::parent);
        let Some(root) = root.filter(|_| paths.folder().is_dir()) else { return Ok(Entry::Gone) };
        let store = Store::open(root)?;
        let lease = store.lease()?;
        match SlotLock::attempt_at(&paths.guest_lock(), &paths.guest_holder(), store.watch())? {
            Attempt::Locked(lock) => Ok(Entry::Entered(Self { store, paths: paths.clone(), _lock: lock, _lease: lease })),
            Attempt::Busy(owner) => Ok(Entry::Busy(owner)),
            Attempt::Vanished => Ok(Entry::Gone),
        }
    }

    /// Empties the output folder and takes back an earlier answer, for a step that starts anew.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn start_anew(&self) -> Result<()> {
        let disk = self.store.disk();
        disk.remove_file(&self.paths.answer())?;
        disk.remove_tree(&self.paths.out())?;
        Ok(disk.create_dir(&self.paths.out())?)
    }

    /// Brings the answer to the disk.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn answer(&self, text: &[u8]) -> Result<()> {
        self.store.put_durably(&self.paths.answer(), text)
    }
}

impl SlotPaths {
    /// Who is filling the slot as a guest; none when nobody is.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn guest(&self) -> Result<Option<Owner>> {
        // What this process has seen of other machines' heartbeats.
        static WATCH: LazyLock<Watch> = LazyLock::new(Watch::default);
        lock::owner_at(&self.guest_lock(), &self.guest_holder(), &WATCH)
    }

    /// Reads a file of the slot that a process on another machine may just have written; none while it is not there. Lists the folder
    /// first: a network file system then looks for the file again instead of remembering that it was missing.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn read_fresh(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        if let Ok(entries) = fs::read_dir(self.folder()) {
            entries.for_each(drop);
        }
        crate::store::read_if_there(path)
    }
}

#[cfg(test)]
mod tests;
