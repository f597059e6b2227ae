//! The content-addressed store. A step's key is claimed; the claim is a hit, or a slot that the step fills and commits.
//!
//! ```text
//! <store>/
//! ├── FORMAT                       version of this layout
//! ├── lease                        shared lock of everybody at work, exclusive lock of gc and repair
//! ├── holders/<host-pid-n>         who is at work, with a heartbeat, for hosts that share a file system but no locks
//! ├── keys/ab/<key>.json           manifest; its rename into place is the commit point
//! ├── dropped/ab/<key>.json        manifest of a temporary artifact whose files are gone
//! ├── preimages/ab/<key>.json      what was asked; in place before the manifest
//! ├── objects/ab/<digest>/...      the files of an artifact, read-only; keys with the same bytes share one
//! ├── slots/<key>/                 work in hand, kept after an interruption:
//! │                                lock holder preimage.json attempts.json request.json answer.json log.txt out/ progress/
//! ├── names/<recipe and step>.json the key last executed under a name
//! ├── tags/<name>.json             keys that stay
//! ├── stat-cache                   digests of files outside the store, by their stat
//! ├── aside/                       damaged records and objects that were taken out of use
//! └── tmp/                         files on their way into place or out of existence
//! ```
//!
//! Whatever line a process dies at, the next claim finds a whole artifact or a slot, never half of one: files are synced, the
//! object is renamed into place, then the preimage, last the manifest. Locks are `flock`s and die with their process; beside each
//! is a file with a heartbeat, by which a host that shares the file system but no locks sees who lives.
//!
//! This crate does not know what a step does and reports no events. Apart from the times of files it reads the clock only to tell
//! people since when something is held, and one that never jumps to judge silence.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod commit;
#[cfg(test)]
mod crash_tests;
mod damage;
mod dedup;
mod disk;
mod du;
mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod full_tests;
#[doc(hidden)]
pub mod fuzz;
mod gc;
mod hashing;
mod holder;
mod intake;
mod layout;
mod lock;
mod locks;
mod parallel;
mod record;
mod remote;
mod slot;
mod stat_cache;
mod store;
mod tags;
mod temp;
mod tree;
mod usage;
mod verify;
mod watch;

pub use archive::{Contents, Unpacked, pack, peek, unpack};
pub use damage::{Damage, Problem};
pub use dedup::{DedupPlan, Deduped};
pub use du::{DiskUse, Share};
pub use error::{Result, StoreError};
pub use gc::{Candidate, Freed, GcPlan, Policy, Reason, Temporary};
pub use hashing::FileHash;
pub use lock::{Lease, Owner};
pub use locks::{Held, Holding};
pub use remote::{Filled, Pulled, Pushed, Remote};
pub use slot::{Claim, Slot, SlotPaths};
pub use stat_cache::{StatCache, hash_file};
pub use store::{Manifests, Store};
pub use tags::Tag;
pub use usage::{Usage, WorkInHand};
pub use verify::{Observer, Repaired, Report, verify};
pub use watch::Pulse;
