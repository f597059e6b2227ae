//! Aligned columns, measured as a terminal shows them.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Width;
use crate::table::{Cell, Table};

/// Columns are not cut below this.
const LEAST: usize = 6;
const GAP: &str = "  ";

pub(super) fn write(table: &Table, limit: Width, out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<String> = table.columns().into_iter().map(|column| column.name).collect();
    // A plan is a drawing and must not be squeezed into a line.
    if names == ["explain_key", "explain_value"] {
        return table.rows().try_for_each(|row| writeln!(out, "{}", row[1]));
    }
    let rows: Vec<Vec<Cell>> = table.rows().collect();
    let texts: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(&cell.to_string())).collect()).collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    for row in &texts {
        widths.iter_mut().zip(row).for_each(|(width, text)| *width = (*width).max(text.width()));
    }
    if let Width::Columns(columns) = limit {
        shrink(&mut widths, columns);
    }
    let is_number = |cell: &Cell| matches!(cell, Cell::Int(_) | Cell::Float(_) | Cell::Decimal(_));
    let right: Vec<bool> = (0..names.len())
        .map(|column| {
            rows.iter().any(|row| is_number(&row[column]))
                && rows.iter().all(|row| is_number(&row[column]) || row[column] == Cell::Null)
        })
        .collect();
    let line = |out: &mut dyn Write, texts: &[String]| {
        let cells: Vec<String> =
            texts.iter().enumerate().map(|(column, text)| fit(text, widths[column], right[column])).collect();
        writeln!(out, "{}", cells.join(GAP).trim_end())
    };
    line(out, &names)?;
    let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    writeln!(out, "{}", rules.join(GAP))?;
    texts.iter().try_for_each(|row| line(out, row))
}

/// Control characters would break the lines of a terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '↵',
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Takes from the widest columns until all fit into `limit`, or all are at [`LEAST`].
fn shrink(widths: &mut [usize], limit: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        let Some(widest) = (0..widths.len()).max_by_key(|&column| (widths[column], std::cmp::Reverse(column))) else { return };
        if widths[widest] <= LEAST {
            return;
        }
        widths[widest] -= 1;
    }
}

/// The text cut or padded to `width`.
fn fit(text: &str, width: usize, right: bool) -> String {
    let length = text.width();
    if length <= width {
        let padding = " ".repeat(width - length);
        return if right { padding + text } else { text.to_owned() + &padding };
    }
    let mut cut = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide + 1 > width {
            break;
        }
        cut.push(c);
        taken += wide;
    }
    cut.push('…');
    cut + &" ".repeat(width - taken - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_measured_in_terminal_columns() {
        assert_eq!(fit("日本語", 8, false), "日本語  ");
        assert_eq!(fit("日本語", 4, false), "日… ");
        assert_eq!(fit("12", 4, true), "  12");
        let mut widths = [30, 4, 10];
        shrink(&mut widths, 28);
        assert_eq!(widths, [10, 4, 10]);
        shrink(&mut widths, 1);
        assert_eq!(widths, [6, 4, 6]);
    }
}
