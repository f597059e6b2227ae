//! Reads a corpus for analyses: lines in parallel, while the next batch is being decompressed.
//! Knows what of a document is needed, not what for.

use crate::document::{Document, LineBatch, LineReader, open_lines};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::Deserialize;
use std::path::Path;

/// What is read of each document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// `id` and `text`; everything else is skipped unread.
    Text,
    /// All of it.
    All,
}

/// A document and where it stands.
pub(crate) struct Record<'a> {
    pub(crate) document: &'a Document,
    /// The file, relative to the corpus.
    pub(crate) file: &'a str,
    /// Line there, from 1.
    pub(crate) line: u64,
    /// Number of the document in the corpus, from 0.
    pub(crate) ordinal: u64,
}

impl Record<'_> {
    /// `file:line`.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

#[derive(Deserialize)]
struct Light {
    id: String,
    text: String,
}

fn parse(line: &[u8], fields: Fields) -> Result<Document, serde_json::Error> {
    match fields {
        Fields::All => serde_json::from_slice(line),
        Fields::Text => {
            let Light { id, text } = serde_json::from_slice(line)?;
            Ok(Document { id, text, ..Document::default() })
        }
    }
}

/// The next lines; one that cannot be read is an error.
fn following(reader: &mut LineReader) -> Result<Option<LineBatch>, DataError> {
    reader.next().map(|batch| batch.and_then(LineBatch::strict)).transpose()
}

/// Folds all documents of some directories. `work` makes something of consecutive documents, on any thread; `gather` gets what
/// was made in the order of the documents, whatever the number of threads.
pub(crate) fn for_each_piece<T: Send>(
    inputs: &[&Path],
    fields: Fields,
    observer: &dyn Observer,
    start: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, &Record<'_>) + Sync,
    mut gather: impl FnMut(Vec<T>) -> Result<(), DataError> + Send,
) -> Result<u64, DataError> {
    let mut ordinal = 0u64;
    for input in inputs {
        let mut reader = open_lines(input)?;
        let mut batch = following(&mut reader)?;
        while let Some(current) = batch {
            check(observer)?;
            let (done, total) = reader.position();
            let size = current.numbers.len().div_ceil(4 * rayon::current_num_threads());
            let first = ordinal;
            let (next, pieces) = rayon::join(
                || following(&mut reader),
                || {
                    let lines = current.lines().enumerate().chunks(size);
                    let pieces: Vec<Result<T, DataError>> = lines
                        .map(|lines| {
                            let mut made = start();
                            for (index, (line, bytes)) in lines {
                                let document = parse(bytes, fields).map_err(|error| DataError::Line {
                                    path: current.path.clone(),
                                    line,
                                    message: format!("not a document: {}", error.to_string().replace(" at line 1", " at")),
                                })?;
                                let ordinal = first + index as u64;
                                work(&mut made, &Record { document: &document, file: &current.file, line, ordinal });
                            }
                            Ok(made)
                        })
                        .collect();
                    // One after another: the error is that of the first bad line.
                    pieces.into_iter().collect::<Result<Vec<T>, DataError>>()
                },
            );
            gather(pieces?)?;
            ordinal += current.numbers.len() as u64;
            observer.progress(done, Some(total));
            batch = next?;
        }
    }
    check(observer)?;
    Ok(ordinal)
}
