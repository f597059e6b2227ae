//! The years that documents were written in. Knows one document at a time.

use super::records::Record;
use super::table::{Plot, Table};
use super::tally::{Names, Tally};
use crate::error::DataError;
use serde_json::Value;

/// Metadata fields that hold a date, the best first; `created` of the document itself is the last resort.
const FIELDS: [&str; 3] = ["date", "timestamp", "created"];

/// `dates`.
#[derive(Default)]
pub(crate) struct Dates {
    years: Names,
    undated: u64,
}

/// The year of a date: the first number of four digits from 1000 to 2999 in a text, or that of seconds or milliseconds since 1970.
fn year(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => {
            let mut digits = text.as_bytes().split(|byte| !byte.is_ascii_digit());
            let found = digits.find_map(|run| {
                // Dates without separators: 20240131 and 20240131235959.
                let year = matches!(run.len(), 4 | 8 | 14).then(|| std::str::from_utf8(&run[..4]).ok()?.parse().ok()).flatten();
                year.filter(|year| (1000..3000).contains(year))
            });
            found.or_else(|| text.trim().parse::<f64>().ok().and_then(since_1970))
        }
        Value::Number(number) => match number.as_u64() {
            Some(year @ 1000..3000) => Some(year),
            _ => number.as_f64().and_then(since_1970),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn since_1970(seconds: f64) -> Option<u64> {
    let seconds = if seconds.abs() >= 1e11 { seconds / 1e3 } else { seconds };
    if seconds == 0.0 || seconds.abs() > 1e11 {
        return None;
    }
    // Days to civil year: Howard Hinnant's algorithm over 400-year eras of 146,097 days, years from March.
    let shifted = (seconds / 86_400.0).floor() as i64 + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let year = of_era + era * 400 + i64::from(of_year >= 306);
    u64::try_from(year).ok().filter(|year| (1000..3000).contains(year))
}

impl Tally for Dates {
    fn fresh(&self) -> Self {
        Dates::default()
    }

    fn add(&mut self, record: &Record<'_>, words: u64) {
        let of_metadata = FIELDS.iter().find_map(|field| record.document.metadata.get(*field).and_then(year));
        match of_metadata.or_else(|| year(&Value::String(record.document.created.clone()))) {
            Some(year) => self.years.add(&format!("{year:04}"), words),
            None => self.undated += 1,
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        self.years.merge(later.years);
        self.undated += later.undated;
        Ok(())
    }

    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        let mut years = self.years.by_documents(rows);
        years.sort_unstable();
        let years = years.into_iter().map(|(year, documents, words)| vec![year.into(), documents.into(), words.into()]);
        let note = format!(
            "From metadata.date, .timestamp or .created, else the document's created, which may be the day of the crawl. {} documents have no date.",
            self.undated
        );
        let table = Table::new("dates", "Documents by year", &["year", "count", "tokens"]).note(note);
        Ok(vec![table.plot(Plot::Columns { label: 0, value: 1 }).rows(years)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_dates() {
        let found = |text: &str| year(&Value::String(text.into()));
        assert_eq!(found("2024-01-31T00:00:00Z"), Some(2024));
        assert_eq!(found("Tue, 3 Mar 1998 10:00"), Some(1998));
        assert_eq!(found("20190203"), Some(2019));
        assert_eq!(
            [found("1577836800"), found("1577836800000"), found("no date"), found("")],
            [Some(2020), Some(2020), None, None]
        );
        assert_eq!([found("1577836799"), found("1609459199"), found("951868800")], [Some(2019), Some(2020), Some(2000)]);
        assert_eq!([year(&serde_json::json!(2001)), year(&serde_json::json!(946_684_800))], [Some(2001), Some(2000)]);
    }
}
