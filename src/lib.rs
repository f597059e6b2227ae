//! The workbench: recipes become plans, plans run cached, and everything that happened can be asked for. This crate is the wiring
//! over the rooms `plan`, `cache`, `lineage`, `data`, `lm` and `tui`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

/// As in the program: a limit of scripts asks it how much they hold.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod cli;
pub mod error;
pub mod exec;
pub mod home;
pub mod recipe;
pub mod report;
pub mod steps;
