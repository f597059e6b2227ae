//! Comma-separated values (RFC 4180), with line feeds as line ends.

use std::io::{self, Write};

use crate::table::{Cell, Table};

pub(super) fn write(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<String> = table.columns().iter().map(|column| quoted(&column.name)).collect();
    writeln!(out, "{}", names.join(","))?;
    for row in table.rows() {
        let cells: Vec<String> = row.iter().map(field).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        // An empty text differs from no value.
        Cell::Text(text) if text.is_empty() => "\"\"".to_owned(),
        other => quoted(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
