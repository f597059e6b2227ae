//! Running a plan: the dispatcher owns the schedule and tells what happens, workers run one step each, in a thread, in a child
//! process, or on another machine by a backend. It does not know recipes, terminals or the database.

pub mod backend;
pub mod child;
pub mod committer;
pub mod crew;
pub mod detached;
pub mod dispatcher;
pub mod files;
pub mod foresight;
pub mod journal;
pub mod keying;
pub mod machine;
pub mod pools;
pub mod slurm;
pub mod spawner;
mod summary;
pub mod usage;
pub mod worker;

pub use dispatcher::{OnFailure, Outcome, RunConfig, Wishes, execute};
