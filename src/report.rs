//! Everything a person or program reads from a run: printers of events, tables, the terminal itself. It does not know how steps
//! run.

pub mod corpus;
pub mod figures;
pub mod page;
pub mod sweep;
pub mod terminal;
pub mod text;
