//! The window on a run. Records are folded into a [`State`], a [`Ui`] says what the person looks at, and [`draw`] is a pure function
//! of both and of the time; [`App`] alone touches a terminal. This crate knows no store, database, script or tensor.
//!
//! ```text
//! Record ──State::apply──> State ──┐
//! key ──keys::action──> Action     ├──draw──> frame   (or svg::render: a picture)
//!          └──Ui::act──> Ui ───────┘
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod figures;
pub mod keys;
pub mod state;
pub mod svg;
pub mod ui;
pub mod view;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use app::{App, AtEnd, Exit, Options};
pub use state::{Counts, Done, Eta, RunEnd, RunInfo, State, Step, StepState};
pub use ui::{Colour, Mode, Pane, Request, Ui};
pub use view::draw;
