//! Summary statistics: documents, words, bytes, and the longest and shortest document. Also how lengths are distributed.
//! Knows one document at a time.

use super::records::Record;
use super::table::{Plot, Table};
use super::tally::{Bins, Tally};
use crate::tagger::{class, in_ranges, is_space};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A document's words, and where it stands.
#[derive(Clone, Default)]
struct Extreme {
    words: u64,
    place: String,
}

/// `summary`.
#[derive(Default)]
pub(crate) struct Summary {
    documents: u64,
    words: u64,
    bytes: u64,
    most: Option<Extreme>,
    least: Option<Extreme>,
}

impl Tally for Summary {
    fn fresh(&self) -> Self {
        Summary::default()
    }

    fn add(&mut self, record: &Record<'_>, words: u64) {
        self.documents += 1;
        self.words += words;
        self.bytes += record.document.text.len() as u64;
        let here = || Some(Extreme { words, place: record.place() });
        if self.most.as_ref().is_none_or(|most| words > most.words) {
            self.most = here();
        }
        if self.least.as_ref().is_none_or(|least| words < least.words) {
            self.least = here();
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), crate::DataError> {
        self.documents += later.documents;
        self.words += later.words;
        self.bytes += later.bytes;
        if let Some(most) = later.most
            && self.most.as_ref().is_none_or(|mine| most.words > mine.words)
        {
            self.most = Some(most);
        }
        if let Some(least) = later.least
            && self.least.as_ref().is_none_or(|mine| least.words < mine.words)
        {
            self.least = Some(least);
        }
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, crate::DataError> {
        let (most, least) = (self.most.unwrap_or_default(), self.least.unwrap_or_default());
        let average = self.words as f64 / self.documents.max(1) as f64;
        let row = |name: &str, value: super::Cell, place: String| vec![name.into(), value, place.into()];
        let none = String::new;
        Ok(vec![
            Table::new("summary", "Summary statistics", &["statistic", "value", "document"])
                .note("Tokens are the words of Unicode Standard Annex 29, punctuation marks among them, without white space. The first longest and shortest document are named.")
                .rows([
                    row("total_documents", self.documents.into(), none()),
                    row("total_tokens", self.words.into(), none()),
                    row("total_bytes", self.bytes.into(), none()),
                    row("document_max_tokens", most.words.into(), most.place),
                    row("document_min_tokens", least.words.into(), least.place),
                    row("document_mean_tokens", average.into(), none()),
                ]),
        ])
    }
}

/// `lengths`: code points and word-or-punctuation tokens (NLTK's `wordpunct`) of documents.
#[derive(Default)]
pub(crate) struct Lengths {
    chars: BTreeMap<u64, u64>,
    tokens: BTreeMap<u64, u64>,
}

impl Tally for Lengths {
    fn fresh(&self) -> Self {
        Lengths::default()
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        *self.chars.entry(record.document.text.chars().count() as u64).or_default() += 1;
        *self.tokens.entry(wordpunct(&record.document.text)).or_default() += 1;
    }

    fn merge(&mut self, later: Self) -> Result<(), crate::DataError> {
        for (mine, more) in [(&mut self.chars, later.chars), (&mut self.tokens, later.tokens)] {
            for (length, count) in more {
                *mine.entry(length).or_default() += count;
            }
        }
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, crate::DataError> {
        let mut tables = Vec::new();
        for (unit, title, lengths) in
            [("chars", "Characters of documents", self.chars), ("tokens", "Tokens of documents", self.tokens)]
        {
            let mut bins = Bins::default();
            lengths.iter().for_each(|(&length, &count)| bins.add(length, count));
            tables.push(
                Table::new(&format!("lengths_{unit}"), title, &[unit, "documents"])
                    .note("Each row is a power of two up to the next. Every single length is in the table of exact lengths.")
                    .plot(Plot::Columns { label: 0, value: 1 })
                    .rows(bins.rows()),
            );
            tables.push(
                Table::new(&format!("lengths_{unit}_exact"), &format!("{title}, each length"), &[unit, "count"])
                    .rows(lengths.into_iter().map(|(length, count)| vec![length.into(), count.into()])),
            );
        }
        Ok(tables)
    }
}

/// What Python's `\w` matches beyond ASCII: letters and numbers.
static WORD: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| class(r"[\p{L}\p{N}]"));

/// Number of tokens `\w+|[^\w\s]+`, as Python's `re` finds them.
fn wordpunct(text: &str) -> u64 {
    let kind = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => 1,
        _ if is_space(c) => 0,
        _ if c.is_ascii() => 2,
        _ if in_ranges(&WORD, c) => 1,
        _ => 2,
    };
    let (mut tokens, mut last) = (0, 0);
    for c in text.chars() {
        let now = kind(c);
        tokens += u64::from(now != last && now != 0);
        last = now;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_as_nltk_counts_them() {
        // Can ' t stop -- été (...). naïve
        assert_eq!(wordpunct("Can't stop -- été (...). naïve\u{1c}x"), 9);
        assert_eq!(wordpunct(" \n"), 0);
    }
}
