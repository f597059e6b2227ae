//! The content-addressed store. A step's key is claimed; the claim is a hit, or a slot that the step fills and commits.
//!
//! ```text
//! <store>/
//! ├── FORMAT                       version of this layout
//! ├── lease                        shared lock of everybody at work, exclusive lock of gc and repair
//! ├── keys/ab/<key>.json           manifest; its rename into place is the commit point
//! ├── preimages/ab/<key>.json      what was asked; in place before the manifest
//! ├── objects/ab/<digest>/...      the files of an artifact, read-only; keys with the same bytes share one
//! ├── slots/<key>/                 work in hand, kept after an interruption:
//! │                                lock preimage.json attempts.json request.json answer.json log.txt out/ progress/,
//! │                                and while another machine fills it: ticket.json events.jsonl guest.lock
//! ├── names/<recipe and step>.json the key last executed under a name
//! ├── stat-cache                   digests of files outside the store, by their stat
//! ├── aside/                       damaged records and objects that were taken out of use
//! └── tmp/                         files on their way into place or out of existence
//! ```
//!
//! Whatever line a process dies at, the next claim finds a whole artifact or a slot, never half of one: files are synced, the
//! object is renamed into place, then the preimage, last the manifest. Locks are `flock`s and die with their process.
//!
//! This crate does not know what a step does, reads no clock but the times of files, and reports no events.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod commit;
#[cfg(test)]
mod crash_tests;
mod damage;
mod disk;
mod error;
#[cfg(test)]
mod fixtures;
mod gc;
mod hashing;
mod layout;
mod lock;
mod slot;
mod stat_cache;
mod store;
mod tree;
mod usage;
mod verify;

pub use damage::{Damage, Problem};
pub use error::{Result, StoreError};
pub use gc::{Freed, GcPlan};
pub use hashing::FileHash;
pub use lock::{Lease, Owner};
pub use slot::{Claim, Entry, Guest, Slot, SlotPaths};
pub use stat_cache::{StatCache, hash_file};
pub use store::{Manifests, Store};
pub use usage::{Usage, WorkInHand};
pub use verify::{Observer, Repaired, Report, verify};
