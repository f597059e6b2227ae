//! Attribute files of the Dolma toolkit: their rows, and the parts of their keys.
//! Knows the format; neither makes attributes nor decides which file belongs to which documents.
//!
//! A row `{"id", "attributes", "source"}` stands for every document, in order; a key is `<experiment>__<tagger>__<type>`, where
//! without an experiment the tagger stands in its place.

use super::{Attributes, InputFile, LineReader};
use crate::error::DataError;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::VecDeque;
use std::path::PathBuf;

/// A row of an attribute file, and where it stands.
pub(crate) struct AttributeRow {
    path: PathBuf,
    line: u64,
    pub(crate) id: String,
    pub(crate) attributes: Attributes,
}

impl AttributeRow {
    /// An error about this row.
    pub(crate) fn error(&self, message: String) -> DataError {
        DataError::Line { path: self.path.clone(), line: self.line, message }
    }
}

/// Reads the rows of one attribute file. Rows are parsed in parallel, a batch at a time.
pub(crate) struct AttributeRows {
    lines: LineReader,
    waiting: VecDeque<AttributeRow>,
}

impl AttributeRows {
    /// Opens a file; longer lines are errors.
    pub(crate) fn open(file: InputFile, max_line_bytes: usize) -> Result<AttributeRows, DataError> {
        Ok(AttributeRows { lines: LineReader::open(vec![file], max_line_bytes)?, waiting: VecDeque::new() })
    }

    /// The next row; what is no row is an error that names file and line, since rows are told apart by their place alone.
    pub(crate) fn next(&mut self) -> Result<Option<AttributeRow>, DataError> {
        while self.waiting.is_empty() {
            let Some(batch) = self.lines.next().transpose()? else { return Ok(None) };
            let batch = batch.strict()?;
            let rows: Vec<Result<AttributeRow, DataError>> = batch
                .lines()
                .map(|(line, bytes)| match parse_row(bytes) {
                    Ok((id, attributes)) => Ok(AttributeRow { path: batch.path.clone(), line, id, attributes }),
                    Err(message) => Err(DataError::Line { path: batch.path.clone(), line, message }),
                })
                .collect();
            self.waiting = rows.into_iter().collect::<Result<_, _>>()?;
        }
        Ok(self.waiting.pop_front())
    }
}

/// Id and attributes of a row, or what is wrong with it.
pub(crate) fn parse_row(bytes: &[u8]) -> Result<(String, Attributes), String> {
    #[derive(Deserialize)]
    struct Parsed {
        id: String,
        attributes: Attributes,
    }
    let Parsed { id, attributes } = serde_json::from_slice(bytes).map_err(|error| format!("not a row of attributes: {error}"))?;
    match attributes.iter().find(|(_, spans)| spans.iter().any(|span| span.start > span.end)) {
        Some((key, _)) => Err(format!("a span of `{key}` ends before it starts")),
        None => Ok((id, attributes)),
    }
}

/// Experiment, tagger and type of a key; `None` where it has not three parts. An experiment of several words joined by two underscores
/// is recognised when the tagger's name repeats it.
pub(crate) fn parts(key: &str) -> Option<(&str, &str, &str)> {
    let cuts = key.match_indices("__").map(|(at, _)| at);
    for at in cuts {
        let (first, rest) = (&key[..at], &key[at + 2..]);
        if let Some(name) = rest.strip_prefix(first).and_then(|rest| rest.strip_prefix("__"))
            && !first.is_empty()
            && !name.is_empty()
        {
            return Some((first, first, name));
        }
    }
    let (experiment, rest) = key.split_once("__")?;
    let (tagger, name) = rest.split_once("__")?;
    (!experiment.is_empty() && !tagger.is_empty() && !name.is_empty()).then_some((experiment, tagger, name))
}

/// A part of a key as Dolma writes it: every character but ASCII letters, digits and `_` becomes `_`.
///
/// Fails, as Dolma does, for a name that begins with a digit or is empty.
pub(crate) fn sanitised(name: &str) -> Result<String, DataError> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(DataError::Params(format!(
            "`{name}` cannot be part of an attribute's name: it is empty or begins with a digit"
        )));
    }
    Ok(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_three_parts() {
        let cases = [
            ("gopher_v1__gopher_v1__word_count", Some(("gopher_v1", "gopher_v1", "word_count"))),
            ("exp__ft__label__toxic", Some(("exp", "ft", "label__toxic"))),
            ("a__b__a__b____label__x", Some(("a__b", "a__b", "__label__x"))),
            ("dup", None),
            ("dup__x", None),
            ("____", None),
        ];
        for (key, expected) in cases {
            assert_eq!(parts(key), expected, "{key}");
        }
        assert_eq!(sanitised("my exp/é-1").unwrap(), "my_exp___1");
        assert!(sanitised("1st").is_err() && sanitised("").is_err());
    }

    #[test]
    fn rows_that_are_none() {
        assert!(parse_row(br#"{"id":"a","attributes":{"k":[[0,1,1]]},"source":"s"}"#).is_ok());
        for (row, expected) in [
            (&b"{\"id\":\"a\"}"[..], "missing field `attributes`"),
            (b"{\"id\":1,\"attributes\":{}}", "invalid type"),
            (b"{\"id\":\"a\",\"attributes\":{\"k\":[[0,1]]}}", "invalid length 2"),
            (b"{\"id\":\"a\",\"attributes\":{\"k\":[[2,1,1.0]]}}", "ends before it starts"),
            (b"{\"id\":\"\xff\",\"attributes\":{}}", "invalid unicode"),
        ] {
            let message = parse_row(row).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
