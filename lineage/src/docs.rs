//! Documentation of the public views and macros, read back from the comments in views.sql. It does not know how it is laid out.

use std::fmt;

use crate::Lineage;
use crate::database::VIEWS;
use crate::error::Error;
use crate::table::Cell;

/// Documentation of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docs {
    /// Views, in the order of views.sql.
    pub views: Vec<ViewDoc>,
    /// Table macros, by name.
    pub macros: Vec<MacroDoc>,
}

/// Documentation of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewDoc {
    /// Name.
    pub name: String,
    /// What a row is.
    pub comment: String,
    /// Columns, in order.
    pub columns: Vec<ColumnDoc>,
}

/// Documentation of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDoc {
    /// Name.
    pub name: String,
    /// SQL type.
    pub type_name: String,
    /// What it says.
    pub comment: String,
}

/// Documentation of a table macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroDoc {
    /// Name.
    pub name: String,
    /// How it is called and what it gives.
    pub comment: String,
}

const COLUMNS: &str = "SELECT v.view_name, v.comment, c.column_name, c.data_type, c.comment
    FROM duckdb_views() v JOIN duckdb_columns() c ON c.table_oid = v.view_oid AND c.schema_oid = v.schema_oid
    WHERE NOT v.internal AND v.schema_name = 'main' ORDER BY v.view_name, c.column_index";
const MACROS: &str = "SELECT DISTINCT function_name, comment FROM duckdb_functions()
    WHERE function_type = 'table_macro' AND NOT internal AND schema_name = 'main' ORDER BY function_name";

pub(crate) fn describe(lineage: &Lineage) -> Result<Docs, Error> {
    let text = |cell: &Cell| if *cell == Cell::Null { String::new() } else { cell.to_string() };
    let mut views: Vec<ViewDoc> = Vec::new();
    for row in lineage.query(COLUMNS)?.rows() {
        let name = text(&row[0]);
        if views.last().is_none_or(|view| view.name != name) {
            views.push(ViewDoc { name, comment: text(&row[1]), columns: Vec::new() });
        }
        let column = ColumnDoc { name: text(&row[2]), type_name: text(&row[3]), comment: text(&row[4]) };
        views.last_mut().expect("a view was pushed if there was none").columns.push(column);
    }
    views.sort_by_key(|view| VIEWS.find(&format!("CREATE VIEW {} AS", view.name)));
    let macros = lineage.query(MACROS)?.rows().map(|row| MacroDoc { name: text(&row[0]), comment: text(&row[1]) }).collect();
    Ok(Docs { views, macros })
}

impl fmt::Display for ViewDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.comment)?;
        let name = self.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
        let type_name = self.columns.iter().map(|column| column.type_name.len()).max().unwrap_or(0);
        self.columns
            .iter()
            .try_for_each(|column| writeln!(f, "  {:name$}  {:type_name$}  {}", column.name, column.type_name, column.comment))
    }
}

/// All views, then all macros.
impl fmt::Display for Docs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.views.iter().try_for_each(|view| writeln!(f, "{view}"))?;
        self.macros.iter().try_for_each(|entry| writeln!(f, "{}", entry.comment))
    }
}
