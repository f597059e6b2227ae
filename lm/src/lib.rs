//! Tokens to models to scores: architectures, training, growth, averaging, decoding.
//!
//! Owns Burn. Knows no step, key, store or event: files come in and go out by path, numbers through an `Observer`.
//! Everything random takes a seed; on the CPU results are the same bits for any number of threads.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod average;
pub mod batch;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod evaluate;
pub mod flex;
pub mod generate;
pub mod growth;
mod head;
pub mod init;
pub mod kernels;
pub mod loader;
pub mod model;
pub mod observe;
pub mod optim;
pub mod parallel;
pub mod pretrain;
pub mod random;
pub mod reward;
pub mod rlvr;
pub mod schedule;
pub mod score;
pub mod sft;
pub mod shuffle;
pub mod weights;
