//! Running a plan: the dispatcher owns the schedule and tells what happens, workers run one step each, in a thread, in a child
//! process, or on another machine by a backend. It does not know recipes, terminals or the database.

pub mod backend;
pub mod child;
pub mod detached;
pub mod dispatcher;
pub mod journal;
pub mod keying;
pub mod machine;
pub mod slurm;
pub mod worker;

pub use dispatcher::{Outcome, RunConfig, execute};
