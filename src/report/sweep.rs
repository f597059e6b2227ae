//! The table and the plot of a sweep: a row for each combination of settings. It does not know how the figures were made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::figures;

/// One combination.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Swept parameters and their values, in the order given.
    pub settings: Vec<(String, String)>,
    /// Figures by name.
    pub figures: BTreeMap<String, f64>,
}

/// All combinations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The rows.
    pub rows: Vec<Row>,
}

/// Most columns of figures that a terminal shows, and panels that a plot has.
const MOST_SHOWN: usize = 8;

impl Table {
    /// Names of all figures, those that differ between rows first; costs last.
    fn columns(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.rows.iter().flat_map(|row| row.figures.keys()).collect();
        let differs = |name: &str| {
            let bits: BTreeSet<Option<u64>> =
                self.rows.iter().map(|row| row.figures.get(name).map(|value| value.to_bits())).collect();
            bits.len() > 1
        };
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        names.sort_by_key(|name| (name.contains("cost/"), !differs(name), name.clone()));
        names
    }

    /// Aligned text of the settings and the first figures.
    pub fn text(&self) -> String {
        let Some(first) = self.rows.first() else { return String::new() };
        let columns: Vec<String> = self.columns().into_iter().take(MOST_SHOWN).collect();
        let mut cells: Vec<Vec<String>> =
            vec![first.settings.iter().map(|(name, _)| name.clone()).chain(columns.iter().cloned()).collect()];
        for row in &self.rows {
            let shown = |name: &String| row.figures.get(name).map_or("-".to_owned(), |value| figures::number(*value));
            cells.push(row.settings.iter().map(|(_, value)| value.clone()).chain(columns.iter().map(shown)).collect());
        }
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &cells {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "{}", line.join("  ").trim_end());
        }
        text
    }

    /// All figures as CSV (RFC 4180).
    pub fn csv(&self) -> String {
        let Some(first) = self.rows.first() else { return String::new() };
        let quote = |cell: &str| {
            if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
        };
        let columns = self.columns();
        let head: Vec<String> =
            first.settings.iter().map(|(name, _)| quote(name)).chain(columns.iter().map(|name| quote(name))).collect();
        let mut text = head.join(",") + "\r\n";
        for row in &self.rows {
            let figure = |name: &String| row.figures.get(name).map_or(String::new(), ToString::to_string);
            let cells: Vec<String> =
                row.settings.iter().map(|(_, value)| quote(value)).chain(columns.iter().map(figure)).collect();
            text += &(cells.join(",") + "\r\n");
        }
        text
    }

    /// A page with the table and a panel for each of the first figures, over the combinations in order.
    pub fn html(&self, title: &str) -> String {
        let mut page = format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<style>body{{font:14px system-ui,sans-serif;margin:2em}}\
             table{{border-collapse:collapse}}td,th{{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}}</style>\n<h1>{0}</h1>\n",
            escape(title)
        );
        let columns: Vec<String> = self.columns().into_iter().take(MOST_SHOWN).collect();
        for name in &columns {
            page += &self.panel(name);
        }
        page += "<table>\n<tr>";
        for (name, _) in self.rows.first().map(|row| row.settings.clone()).unwrap_or_default() {
            let _ = write!(page, "<th>{}</th>", escape(&name));
        }
        for name in &columns {
            let _ = write!(page, "<th>{}</th>", escape(name));
        }
        page += "</tr>\n";
        for row in &self.rows {
            page += "<tr>";
            for (_, value) in &row.settings {
                let _ = write!(page, "<td>{}</td>", escape(value));
            }
            for name in &columns {
                let shown = row.figures.get(name).map_or("-".to_owned(), |value| figures::number(*value));
                let _ = write!(page, "<td>{shown}</td>");
            }
            page += "</tr>\n";
        }
        page + "</table>\n"
    }

    fn panel(&self, name: &str) -> String {
        const WIDTH: f64 = 520.0;
        const HEIGHT: f64 = 200.0;
        let values: Vec<Option<f64>> =
            self.rows.iter().map(|row| row.figures.get(name).copied().filter(|value| value.is_finite())).collect();
        let known = || values.iter().flatten();
        let (mut low, mut high) = known().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        if low > high {
            return String::new();
        }
        if low == high {
            (low, high) = (low - 0.5, high + 0.5);
        }
        let x = |index: usize| 60.0 + (index as f64 + 0.5) / values.len() as f64 * (WIDTH - 70.0);
        let y = |value: f64| 24.0 + (high - value) / (high - low) * (HEIGHT - 70.0);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"system-ui,sans-serif\" font-size=\"11\">\n\
             <text x=\"60\" y=\"14\" font-weight=\"600\">{}</text>\n",
            escape(name)
        );
        for value in [low, high] {
            let _ = writeln!(
                svg,
                "<line x1=\"60\" x2=\"{0}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#e3e6ee\"/><text x=\"54\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                WIDTH - 10.0,
                y(value),
                y(value) + 4.0,
                figures::number(value)
            );
        }
        for (index, (row, value)) in self.rows.iter().zip(&values).enumerate() {
            let label = row.settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
            if let Some(value) = value {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#3367b1\"><title>{}: {}</title></circle>",
                    x(index),
                    y(*value),
                    escape(&label),
                    figures::number(*value)
                );
            }
            if values.len() <= 12 {
                let short = row.settings.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",");
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    x(index),
                    HEIGHT - 24.0,
                    escape(&short)
                );
            }
        }
        svg + "</svg>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |lr: &str, loss: f64| Row {
            settings: vec![("lr".into(), lr.into())],
            figures: BTreeMap::from([("same".into(), 1.0), ("loss".into(), loss), ("cost/flops".into(), loss)]),
        };
        Table { rows: vec![row("1e-4", 2.5), row("3,4", 2.25)] }
    }

    #[test]
    fn what_differs_comes_first_and_costs_last() {
        assert_eq!(
            table().text().lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["lr", "loss", "same", "cost/flops"]
        );
        assert_eq!(table().csv(), "lr,loss,same,cost/flops\r\n1e-4,2.5,1,2.5\r\n\"3,4\",2.25,1,2.25\r\n");
        let html = table().html("a<b");
        assert!(html.contains("a&lt;b") && html.matches("<circle").count() == 6);
        assert_eq!(Table::default().text(), "");
    }
}
