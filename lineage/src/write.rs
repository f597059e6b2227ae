//! Tables as text: aligned columns for people, csv and json for programs; and parquet files. It does not know what is asked.

mod aligned;
mod csv;
mod json;
mod parquet;

use std::io::{self, Write};
use std::path::Path;

use crate::error::Error;
use crate::table::Table;

/// How wide an aligned table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As wide as its longest cells.
    Full,
    /// At most so many columns of a terminal; the widest cells are cut, with `…`.
    Columns(usize),
}

/// A text format for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns under their names.
    Aligned(Width),
    /// Comma-separated values with a header (RFC 4180); nothing stands for no value.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl Table {
    /// Writes the table as text. Repeated column names get a number in JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Aligned(width) => aligned::write(self, width, out),
            Format::Csv => csv::write(self, out),
            Format::Json => json::write_array(self, out),
            Format::JsonLines => json::write_lines(self, out),
        }
    }

    /// The table as text.
    pub fn to_text(&self, format: Format) -> String {
        let mut out = Vec::new();
        // Writing to memory does not fail.
        let _ = self.write(format, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Writes the table as a parquet file, which appears complete or not at all.
    ///
    /// # Errors
    /// The file cannot be written, or a column's type has no parquet form.
    pub fn write_parquet(&self, path: &Path) -> Result<(), Error> {
        parquet::write(self, path)
    }
}
