//! What is in the store and how large it is. It removes nothing.

use fs_err as fs;
use plan::{Key, Preimage};

use crate::lock::{self, Owner};
use crate::slot::attempts;
use crate::store::{parse_preimage, read_if_there};
use crate::tree::size_on_disk;
use crate::{Result, SlotPaths, Store};

/// How much is in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of committed keys.
    pub keys: u64,
    /// Number of objects; fewer than keys where keys share them.
    pub objects: u64,
    /// Size of the objects in bytes.
    pub object_bytes: u64,
    /// Number of slots.
    pub slots: u64,
    /// Size of the slots in bytes.
    pub slot_bytes: u64,
    /// Size of damaged things set aside and of leftovers of killed processes, in bytes.
    pub leftover_bytes: u64,
}

/// A slot, busy or interrupted.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkInHand {
    /// Key.
    pub key: Key,
    /// What is being made, if that can be read.
    pub preimage: Option<Preimage>,
    /// Who holds it, or fills it on another machine; none when it was interrupted.
    pub owner: Option<Owner>,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Wall time of all attempts, in seconds, as far as it was added.
    pub seconds: f64,
    /// Size in bytes.
    pub bytes: u64,
    /// Where its log and progress lie.
    pub paths: SlotPaths,
}

impl Store {
    /// How much is in the store.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn usage(&self) -> Result<Usage> {
        let objects = self.objects()?;
        let slots = self.slots()?;
        Ok(Usage {
            keys: self.keys()?.len() as u64,
            objects: objects.len() as u64,
            object_bytes: objects.iter().map(|digest| size_on_disk(&self.artifact(digest))).sum(),
            slots: slots.len() as u64,
            slot_bytes: slots.iter().map(|slot| slot.bytes).sum(),
            leftover_bytes: ["aside", "tmp"].iter().map(|bucket| size_on_disk(&self.layout().bucket(bucket))).sum(),
        })
    }

    /// All work in hand, sorted by key.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn slots(&self) -> Result<Vec<WorkInHand>> {
        let mut keys: Vec<Key> = Vec::new();
        for entry in fs::read_dir(self.layout().bucket("slots"))? {
            keys.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Key>().ok()));
        }
        keys.sort_unstable();
        keys.into_iter()
            .map(|key| {
                let paths = self.slot_paths(&key);
                let so_far = attempts(&paths)?;
                let preimage = read_if_there(&paths.preimage())?;
                Ok(WorkInHand {
                    key,
                    preimage: preimage.and_then(|text| parse_preimage(&key, &text).ok()),
                    owner: lock::owner(&paths, self.watch())?.map_or_else(|| paths.guest(), |owner| Ok(Some(owner)))?,
                    attempts: so_far.attempts,
                    seconds: so_far.seconds,
                    bytes: size_on_disk(paths.folder()),
                    paths,
                })
            })
            .collect()
    }
}
