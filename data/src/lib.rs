//! Text to tokens: documents from sources, tagged, deduplicated, filtered, masked, mixed and split; a tokenizer; token files.
//!
//! The flow, in the order of reading:
//!
//! 1. [`source`] turns archives, JSON lines, Parquet and text files into a documents artifact ([`document`]).
//! 2. [`tagger`] measures every document, with [`fasttext`] classifiers too; [`filter`], [`mask`] and closures of the caller decide by
//!    what was measured.
//! 3. [`dedup`] removes what was there before, [`minhash`] what is nearly the same; [`mix`] gives groups their shares; [`split`] sets
//!    documents aside.
//! 4. [`tokenizer`] is trained on the documents; [`shard`] stores their tokens for training and evaluation.
//! 5. [`analysis`] tells what is in a corpus, [`index`] finds phrases in it.
//! 6. [`problem`] makes problems from a seed, for finetuning and reinforcement learning.
//!
//! Every operation reads directories and writes a new one. Its outcome depends on its input, parameters and seed only: not on the
//! number of threads, the clock, or where the directories are. What takes long reports to an [`Observer`], which may stop it. This
//! crate knows no step, key, store or event, and prints nothing.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod document;
pub mod source;

pub mod tagger;

pub mod fasttext;
pub mod filter;
pub mod mask;

pub mod decontaminate;
pub mod dedup;
pub mod minhash;
pub mod mix;
pub mod split;
pub mod substring;

pub mod tokenizer;

pub mod shard;

pub mod problem;

pub mod analysis;
pub mod index;

mod error;
pub mod fuzz;
mod hash;
mod observe;
#[cfg(test)]
mod testing;
mod transform;
mod wordbreak;

pub use document::{Document, Totals};
pub use error::DataError;
pub use observe::Observer;
