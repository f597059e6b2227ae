//! JSON: numbers keep all their digits; what JSON has no number for (NaN, infinities) is null.

use std::io::{self, Write};

use serde_json::Value as Json;

use crate::table::{Cell, Table};

pub(super) fn write_array(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let names = table.unique_names();
    out.write_all(b"[")?;
    for (index, row) in table.rows().enumerate() {
        out.write_all(if index > 0 { b",\n " } else { b"" })?;
        write_object(names.iter().zip(&row), out)?;
    }
    out.write_all(b"]\n")
}

pub(super) fn write_lines(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let names = table.unique_names();
    table.rows().try_for_each(|row| {
        write_object(names.iter().zip(&row), out)?;
        out.write_all(b"\n")
    })
}

fn write_object<'a>(entries: impl Iterator<Item = (&'a String, &'a Cell)>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (name, cell)) in entries.enumerate() {
        write!(out, "{}{}:", if index > 0 { "," } else { "" }, Json::from(name.as_str()))?;
        write_cell(cell, out)?;
    }
    out.write_all(b"}")
}

fn write_cell(cell: &Cell, out: &mut dyn Write) -> io::Result<()> {
    match cell {
        Cell::Null => out.write_all(b"null"),
        Cell::Float(value) if !value.is_finite() => out.write_all(b"null"),
        Cell::Text(text) => write!(out, "{}", Json::from(text.as_str())),
        Cell::List(items) => {
            out.write_all(b"[")?;
            for (index, item) in items.iter().enumerate() {
                out.write_all(if index > 0 { b"," } else { b"" })?;
                write_cell(item, out)?;
            }
            out.write_all(b"]")
        }
        Cell::Map(entries) => write_object(entries.iter().map(|(name, cell)| (name, cell)), out),
        Cell::Bool(_) | Cell::Int(_) | Cell::Float(_) | Cell::Decimal(_) => write!(out, "{cell}"),
    }
}
