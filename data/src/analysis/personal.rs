//! How many e-mail addresses, phone numbers and IP addresses a corpus holds, by the patterns and precision rules of WIMBD.
//! Knows one document at a time and masks nothing.

use super::records::Record;
use super::table::{Plot, Table};
use super::tally::Tally;
use crate::error::DataError;
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// Documents of more characters are left out and counted.
const LONGEST: usize = 500_000;
/// Characters on either side of a match that are looked at.
const AROUND: usize = 50;

static PATTERNS: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("a constant pattern");
    [
        ("email", pattern(r"[.\s@,?!;:)(]*([^\s@]+@[^\s@,?!;:)(]+?)[.\s@,?!;:)(]?[\s\n\r]")),
        ("phone", pattern(r"\s+\(?\d{3}\)?[-. ]*\d{3}[-. ]?\d{4}")),
        ("ip", pattern(r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)")),
    ]
});

/// `pii`.
#[derive(Default)]
pub(crate) struct Personal {
    /// Matches and documents by kind.
    found: [(u64, u64); 3],
    long: u64,
}

/// Whether a match is what its pattern is for.
fn precise(kind: &str, text: &str, range: &Range<usize>) -> bool {
    let from = text[..range.start].char_indices().rev().take(AROUND).last().map_or(range.start, |(at, _)| at);
    let to = text[range.end..].char_indices().nth(AROUND).map_or(text.len(), |(at, _)| range.end + at);
    let context = &text[from..to];
    match kind {
        "email" => {
            let mention = &text[range.clone()];
            let mut parts = mention.split('@');
            parts.next().is_some_and(|addressee| addressee.trim() != "(")
                && parts.next().is_some_and(|domain| domain.contains('.'))
        }
        "phone" => !["isbn", "doi", "#", "http://", "https://", "www."].iter().any(|word| context.contains(word)),
        _ => !["isbn", "doi", "#"].iter().any(|word| context.contains(word)),
    }
}

impl Tally for Personal {
    fn fresh(&self) -> Self {
        Personal::default()
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        let text = &record.document.text;
        if text.len() > LONGEST && text.chars().count() > LONGEST {
            self.long += 1;
            return;
        }
        let bytes = text.as_bytes();
        let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
        let (at, dots) = (memchr::memchr(b'@', bytes).is_some(), memchr::memchr_iter(b'.', bytes).take(3).count());
        // Without these a pattern cannot match; digits may be other than ASCII.
        let possible = [at, digits >= 10 || !text.is_ascii(), digits >= 4 && dots == 3];
        if !possible.contains(&true) {
            return;
        }
        let lower = text.to_lowercase();
        for ((entry, (kind, pattern)), possible) in self.found.iter_mut().zip(PATTERNS.iter()).zip(possible) {
            if possible {
                let count = pattern.find_iter(&lower).filter(|found| precise(kind, &lower, &found.range())).count() as u64;
                *entry = (entry.0 + count, entry.1 + u64::from(count > 0));
            }
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        for (mine, later) in self.found.iter_mut().zip(later.found) {
            *mine = (mine.0 + later.0, mine.1 + later.1);
        }
        self.long += later.long;
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, DataError> {
        let rows = PATTERNS
            .iter()
            .zip(self.found)
            .map(|((kind, _), (count, documents))| vec![(*kind).into(), count.into(), documents.into()]);
        let note = format!(
            "In lower case; numbers with isbn, doi or # within {AROUND} characters are none, nor are phone numbers near an address. {} documents of more than {LONGEST} characters were left out.",
            self.long
        );
        Ok(vec![
            Table::new("pii", "Personal data", &["pii", "count", "documents"])
                .note(note)
                .plot(Plot::Bars { label: 0, value: 1 })
                .rows(rows),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn numbers_near_other_words_are_none() {
        let mut personal = Personal::default();
        for text in [
            "Mail Me@Host.org now or me@host here",
            "call (555) 123-4567 today",
            "see www.site.org 555-123-4567",
            "ISBN 10.0.0.1 and then a long, long way of words until at last there is 10.0.0.2",
        ] {
            let document = Document::new("d", text, "");
            personal.add(&Record { document: &document, file: "f", line: 1, ordinal: 0 }, 0);
        }
        assert_eq!(personal.found, [(1, 1), (1, 1), (1, 1)]);
    }
}
