//! Bars, columns and shades of a table as inline SVG. It does not know what the numbers are.

use std::fmt::Write;

use data::analysis::{Cell, Table};

use super::super::figures;
use super::{escape, shown};

const WIDTH: f64 = 720.0;
const COLOUR: &str = "#3367b1";
/// Bars of one drawing.
const BARS: usize = 20;
/// Columns of one drawing.
const COLUMNS: usize = 80;

fn number(cell: Option<&Cell>) -> f64 {
    match cell {
        Some(Cell::Count(count)) => *count as f64,
        Some(Cell::Number(number)) if number.is_finite() => *number,
        _ => 0.0,
    }
}

fn label(row: &[Cell], column: usize, longest: usize) -> String {
    let text = row.get(column).map(shown).unwrap_or_default();
    let short: String =
        if text.chars().count() <= longest { text } else { text.chars().take(longest - 1).chain(['…']).collect() };
    escape(&short)
}

fn open(height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui,sans-serif\" \
         font-size=\"11\">\n"
    )
}

/// A bar from the left for each of the first rows.
pub(super) fn bars(table: &Table, name: usize, value: usize) -> String {
    let rows = &table.rows[..table.rows.len().min(BARS)];
    let most = rows.iter().map(|row| number(row.get(value)).abs()).fold(0.0, f64::max);
    if rows.is_empty() || most == 0.0 {
        return String::new();
    }
    let (left, right) = (230.0, 90.0);
    let mut text = open(rows.len() as f64 * 18.0 + 12.0);
    for (index, row) in rows.iter().enumerate() {
        let (y, value) = (8.0 + index as f64 * 18.0, number(row.get(value)));
        let width = (value.abs() / most * (WIDTH - left - right)).max(0.5);
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text><rect x=\"{left}\" y=\"{y:.0}\" width=\"{width:.1}\" \
             height=\"13\" fill=\"{COLOUR}\"/><text x=\"{:.1}\" y=\"{:.0}\" fill=\"#667\">{}</text>",
            left - 6.0,
            y + 10.5,
            label(row, name, 36),
            left + width + 5.0,
            y + 10.5,
            figures::count(value)
        );
    }
    text + "</svg>\n"
}

/// A column upwards for each row, in order.
pub(super) fn columns(table: &Table, name: usize, value: usize) -> String {
    let rows = &table.rows[..table.rows.len().min(COLUMNS)];
    let most = rows.iter().map(|row| number(row.get(value))).fold(0.0, f64::max);
    if rows.is_empty() || most == 0.0 {
        return String::new();
    }
    let (left, height) = (50.0, 190.0);
    let step = (WIDTH - left - 10.0) / rows.len() as f64;
    let mut text = open(height + 50.0);
    let _ = writeln!(
        text,
        "<line x1=\"{left}\" x2=\"{:.0}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#99a\"/><text x=\"{:.0}\" y=\"16\" \
         text-anchor=\"end\" fill=\"#667\">{}</text>",
        WIDTH - 10.0,
        height + 10.0,
        height + 10.0,
        left - 5.0,
        figures::count(most)
    );
    // As many labels as there is room for.
    let every = (rows.len() as f64 * 48.0 / (WIDTH - left)).ceil().max(1.0) as usize;
    for (index, row) in rows.iter().enumerate() {
        let tall = number(row.get(value)) / most * height;
        let x = left + index as f64 * step;
        let _ = write!(
            text,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{COLOUR}\"/>",
            x + step * 0.1,
            height + 10.0 - tall,
            step * 0.8
        );
        if index % every == 0 {
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#667\">{}</text>",
                x + step / 2.0,
                height + 26.0,
                label(row, name, 12)
            );
        }
    }
    text + "</svg>\n"
}

/// A square for each number, the darker the larger; the first column names the rows.
pub(super) fn matrix(table: &Table) -> String {
    let most = table.rows.iter().flat_map(|row| row.iter().skip(1)).map(|cell| number(Some(cell))).fold(0.0, f64::max);
    if table.rows.is_empty() || most == 0.0 {
        return String::new();
    }
    let (left, side) = (180.0, 56.0);
    let mut text = open(table.rows.len() as f64 * side + 34.0);
    for (index, column) in table.columns.iter().enumerate().skip(1) {
        let x = left + (index as f64 - 0.5) * side;
        let _ = writeln!(
            text,
            "<text x=\"{x:.0}\" y=\"18\" text-anchor=\"middle\">{}</text>",
            label(&[column.as_str().into()], 0, 9)
        );
    }
    for (line, row) in table.rows.iter().enumerate() {
        let y = 26.0 + line as f64 * side;
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + side / 2.0 + 4.0,
            label(row, 0, 28)
        );
        for (index, cell) in row.iter().enumerate().skip(1) {
            let (share, x) = ((number(Some(cell)) / most).max(0.0), left + (index as f64 - 1.0) * side);
            let ink = if share > 0.55 { "#fff" } else { "#223" };
            let _ = writeln!(
                text,
                "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{:.0}\" height=\"{:.0}\" fill=\"{COLOUR}\" fill-opacity=\"{share:.3}\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text>",
                side - 2.0,
                side - 2.0,
                x + side / 2.0 - 1.0,
                y + side / 2.0 + 4.0,
                escape(&shown(cell))
            );
        }
    }
    text + "</svg>\n"
}
