//! How an analysis that looks at one document at a time is written: something that counts, and can be added up.
//! Knows no analysis.

use super::records::Record;
use super::table::{Cell, Table};
use crate::error::DataError;
use std::collections::HashMap;

/// Counts over documents. What comes out must not depend on how the documents were divided: sums are of integers, and of two
/// documents that are alike the first one counts.
pub(crate) trait Tally: Send + Sync + Sized {
    /// One of the same settings that has seen nothing.
    fn fresh(&self) -> Self;
    /// Sees a document of so many words.
    fn add(&mut self, record: &Record<'_>, words: u64);
    /// Adds what was counted of the documents that follow.
    fn merge(&mut self, later: Self) -> Result<(), DataError>;
    /// What was found; lists have at most so many rows.
    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError>;
}

impl<T: Tally> Tally for Option<T> {
    fn fresh(&self) -> Self {
        self.as_ref().map(T::fresh)
    }
    fn add(&mut self, record: &Record<'_>, words: u64) {
        if let Some(tally) = self {
            tally.add(record, words);
        }
    }
    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        match (self, later) {
            (Some(mine), Some(later)) => mine.merge(later),
            _ => Ok(()),
        }
    }
    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        self.map_or(Ok(Vec::new()), |tally| tally.tables(rows))
    }
}

/// Declares a struct of optional tallies that is a tally itself.
macro_rules! tallies {
    ($(#[$meta:meta])* $visible:vis struct $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $visible struct $name { $($visible $field: Option<$type>),* }

        impl $crate::analysis::tally::Tally for $name {
            fn fresh(&self) -> Self {
                Self { $($field: self.$field.fresh()),* }
            }
            fn add(&mut self, record: &$crate::analysis::records::Record<'_>, words: u64) {
                $(self.$field.add(record, words);)*
            }
            fn merge(&mut self, later: Self) -> Result<(), $crate::DataError> {
                $(self.$field.merge(later.$field)?;)*
                Ok(())
            }
            fn tables(self, rows: usize) -> Result<Vec<$crate::analysis::Table>, $crate::DataError> {
                let mut tables = Vec::new();
                $(tables.extend(self.$field.tables(rows)?);)*
                Ok(tables)
            }
        }
    };
}
pub(crate) use tallies;

/// Documents and words by name. Holds an entry for every distinct name.
#[derive(Default)]
pub(crate) struct Names(HashMap<String, (u64, u64)>);

impl Names {
    pub(crate) fn add(&mut self, name: &str, words: u64) {
        match self.0.get_mut(name) {
            Some(entry) => *entry = (entry.0 + 1, entry.1 + words),
            None => drop(self.0.insert(name.to_owned(), (1, words))),
        }
    }

    pub(crate) fn merge(&mut self, later: Names) {
        for (name, (documents, words)) in later.0 {
            let entry = self.0.entry(name).or_default();
            *entry = (entry.0 + documents, entry.1 + words);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Name, documents and words of the largest by documents, then by name.
    pub(crate) fn by_documents(&self, rows: usize) -> Vec<(&str, u64, u64)> {
        self.sorted(rows, |(documents, _)| documents)
    }

    /// The same by words.
    pub(crate) fn by_words(&self, rows: usize) -> Vec<(&str, u64, u64)> {
        self.sorted(rows, |(_, words)| words)
    }

    fn sorted(&self, rows: usize, by: impl Fn((u64, u64)) -> u64) -> Vec<(&str, u64, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, entry)| (name.as_str(), *entry)).collect();
        all.sort_unstable_by(|a, b| by(b.1).cmp(&by(a.1)).then(a.0.cmp(b.0)));
        all.truncate(rows);
        all.into_iter().map(|(name, (documents, words))| (name, documents, words)).collect()
    }
}

/// A histogram over powers of two: 0, 1, 2 to 3, 4 to 7 and so on.
pub(crate) struct Bins([u64; 65]);

impl Default for Bins {
    fn default() -> Self {
        Bins([0; 65])
    }
}

impl Bins {
    pub(crate) fn add(&mut self, value: u64, count: u64) {
        self.0[(64 - value.leading_zeros()) as usize] += count;
    }

    /// A row for every bin up to the last one that is not empty.
    pub(crate) fn rows(&self) -> Vec<Vec<Cell>> {
        let last = self.0.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        let start = |bin: usize| if bin == 0 { 0 } else { 1u64 << (bin - 1) };
        (0..last).map(|bin| vec![Cell::Count(start(bin)), Cell::Count(self.0[bin])]).collect()
    }
}
