//! What an analysis comes to: a table, and how it is drawn. Knows no analysis and draws nothing itself.

use crate::error::DataError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Rows of a table that go into `analysis.json`, for pages; the whole table is in a file of its own.
const SHOWN: usize = 100;

/// One value of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number of something.
    Count(u64),
    /// A measurement.
    Number(f64),
    /// A name or a text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Number(number)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

/// How a table is drawn. Numbers are those of columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// Not at all.
    None,
    /// A bar for each of the first rows.
    Bars {
        /// Column of labels.
        label: usize,
        /// Column of lengths.
        value: usize,
    },
    /// A column for each row, in order: the rows are bins.
    Columns {
        /// Column of labels.
        label: usize,
        /// Column of heights.
        value: usize,
    },
    /// A square of shades: the first column names the rows, the others are the columns.
    Matrix,
}

/// A table with a name that is also that of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Lower-case letters, digits and `_`.
    pub name: String,
    /// Title.
    pub title: String,
    /// What the numbers mean, and what was left out.
    pub note: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// How it is drawn.
    pub plot: Plot,
    /// Number of rows, also of those that are not in `rows`.
    pub total: u64,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(name: &str, title: &str, columns: &[&str]) -> Table {
        Table {
            name: name.to_owned(),
            title: title.to_owned(),
            note: String::new(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            plot: Plot::None,
            total: 0,
            rows: Vec::new(),
        }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Table {
        self.note = note.into();
        self
    }

    pub(crate) fn plot(mut self, plot: Plot) -> Table {
        self.plot = plot;
        self
    }

    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Table {
        self.rows.extend(rows);
        self.total = self.rows.len() as u64;
        self
    }
}

/// All tables of an analysis as `analysis.json` holds them, each with its first 100 rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The tables, in the order of the analyses.
    pub tables: Vec<Table>,
}

/// The file of an [`Analysis`].
pub const ANALYSIS: &str = "analysis.json";

impl Analysis {
    /// Reads `analysis.json` of a directory.
    pub fn open(dir: &Path) -> Result<Analysis, DataError> {
        let path = dir.join(ANALYSIS);
        serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| DataError::format(&path, error))
    }

    /// Writes `analysis.json`, and each table with all its rows to `<name>.jsonl`. Keeps the rows that `analysis.json` has.
    pub(crate) fn write(mut self, dir: &Path) -> Result<Analysis, DataError> {
        fs_err::create_dir_all(dir)?;
        for table in &mut self.tables {
            let mut text = Vec::new();
            for row in &table.rows {
                let mut object = Map::new();
                for (column, cell) in table.columns.iter().zip(row) {
                    object.insert(column.clone(), serde_json::to_value(cell).map_err(std::io::Error::from)?);
                }
                serde_json::to_writer(&mut text, &Value::Object(object)).map_err(std::io::Error::from)?;
                text.push(b'\n');
            }
            fs_err::write(dir.join(format!("{}.jsonl", table.name)), text)?;
            table.rows.truncate(SHOWN);
        }
        fs_err::write(dir.join(ANALYSIS), serde_json::to_string_pretty(&self).map_err(std::io::Error::from)? + "\n")?;
        Ok(self)
    }
}
