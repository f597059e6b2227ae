//! Analyses of corpora as markdown and as one self-contained page: a table and a drawing for each. Pure.

use std::fmt::Write;

use data::analysis::{Analysis, Cell, Plot, Table};

use super::figures;
use super::page::{STYLE, escape, html_table, markdown_table};

mod chart;

/// Rows of a table that a page shows; all of them are in the artifact of the analysis.
const SHOWN: usize = 25;
/// Characters of a cell that a page shows.
const CELL: usize = 120;

/// Analyses by the names of their corpora.
pub struct CorpusReport<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// Name and tables of each.
    pub analyses: &'a [(String, Analysis)],
}

fn shown(cell: &Cell) -> String {
    let text = match cell {
        Cell::Count(count) => count.to_string(),
        Cell::Number(number) => figures::number(*number),
        Cell::Text(text) => text.clone(),
        Cell::List(texts) => texts.join(" · "),
    };
    let flat = text.replace(['\n', '\r', '\t'], " ");
    if flat.chars().count() <= CELL { flat } else { flat.chars().take(CELL).chain(['…']).collect() }
}

fn table(table: &Table) -> (Vec<String>, Vec<Vec<String>>) {
    // The list of an n-gram's words says the same as its string.
    let lists = table.rows.first().map_or(0, |row| row.iter().rev().take_while(|cell| matches!(cell, Cell::List(_))).count());
    let columns = table.columns.len().saturating_sub(lists);
    let rows = table.rows.iter().take(SHOWN).map(|row| row.iter().take(columns).map(shown).collect());
    (table.columns[..columns].to_vec(), rows.collect())
}

/// How much of a table a page leaves out.
fn rest(table: &Table) -> Option<String> {
    let hidden = table.total.saturating_sub(SHOWN as u64);
    (hidden > 0).then(|| format!("{hidden} more rows are in {}.jsonl.", table.name))
}

impl CorpusReport<'_> {
    fn tables(&self) -> impl Iterator<Item = (String, &Table)> {
        self.analyses.iter().flat_map(|(name, analysis)| {
            analysis.tables.iter().map(move |table| {
                let heading = if name.is_empty() { table.title.clone() } else { format!("{name}: {}", table.title) };
                (heading, table)
            })
        })
    }

    /// As markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        for (heading, found) in self.tables() {
            let _ = write!(text, "\n## {heading}\n\n");
            if !found.note.is_empty() {
                let _ = write!(text, "{}\n\n", found.note);
            }
            text.push_str(&markdown_table(&table(found)));
            if let Some(rest) = rest(found) {
                let _ = write!(text, "\n{rest}\n");
            }
        }
        text
    }

    /// As one page that needs nothing else.
    pub fn html(&self) -> String {
        let mut body = format!("<h1>{}</h1>\n", escape(self.title));
        for (heading, found) in self.tables() {
            let _ = write!(body, "<h2>{}</h2>\n<p>{}</p>\n", escape(&heading), escape(&found.note));
            body.push_str(&match found.plot {
                Plot::None => String::new(),
                Plot::Bars { label, value } => chart::bars(found, label, value),
                Plot::Columns { label, value } => chart::columns(found, label, value),
                Plot::Matrix => chart::matrix(found),
            });
            body.push_str(&html_table(&table(found)));
            if let Some(rest) = rest(found) {
                let _ = writeln!(body, "<p>{}</p>", escape(&rest));
            }
        }
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{}</title>\n<style>\n{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
            escape(self.title)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Analysis {
        let table = |name: &str, plot, rows: Vec<Vec<Cell>>| Table {
            name: name.into(),
            title: format!("Title of {name}"),
            note: "A <note>.".into(),
            columns: ["word", "count", "tokens"][..rows[0].len()].iter().map(|&name| name.into()).collect(),
            plot,
            total: 40,
            rows,
        };
        let rows = |count: u64| vec![Cell::Text(format!("a|b\n<{count}>")), Cell::Count(count), Cell::List(vec!["a".into()])];
        let counts = |rows: Vec<Vec<Cell>>| rows.into_iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>();
        Analysis {
            tables: vec![
                table("ngrams", Plot::Bars { label: 0, value: 1 }, (0..30).map(rows).collect()),
                table("years", Plot::Columns { label: 0, value: 1 }, counts((0..3).map(rows).collect())),
                table("pairs", Plot::Matrix, counts((0..2).map(rows).collect())),
            ],
        }
    }

    #[test]
    fn every_table_has_its_drawing() {
        let analyses = [("web".to_owned(), report())];
        let page = CorpusReport { title: "What <is> in it", analyses: &analyses };
        let html = page.html();
        assert_eq!(html.matches("<svg").count(), 3);
        assert!(html.contains("What &lt;is&gt; in it") && html.contains("A &lt;note&gt;.") && !html.contains("<note>"));
        assert!(html.contains("15 more rows are in ngrams.jsonl.") && !html.contains("tokens"));
        assert!(!html.contains("src=") && !html.contains("href="));
        let markdown = page.markdown();
        assert!(markdown.contains("## web: Title of years") && markdown.contains("| a\\|b <2> | 2 |"), "{markdown}");
    }
}
