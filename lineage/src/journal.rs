//! Reading a journal from where the last reading ended: whole lines only, each a record or a complaint. It does not know what
//! becomes of the records.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fs_err::File;
use plan::{Digest, Hasher, Record};
use serde_json::Value as Json;

/// How many first bytes of a journal tell it from another one.
const HEAD: u64 = 256;

/// How far a journal has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Lines.
    pub(crate) lines: u64,
    /// Digest of the first [`HEAD`] bytes, or of as many as have been read.
    pub(crate) head: String,
}

/// Whether the journal at `path` still begins with what was read of it.
pub(crate) fn continues(path: &Path, position: &Position) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    Ok(file.metadata()?.len() >= position.bytes && head(&mut file, position.bytes)? == position.head)
}

/// Reads all complete lines after `position` and advances it. `each` gets the line's number, from 1, and the record or what is
/// wrong with the line; a last line without its end is left for the next time.
pub(crate) fn read<E: From<std::io::Error>>(
    path: &Path,
    position: &mut Position,
    mut each: impl FnMut(u64, Result<Record, String>) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(position.bytes))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        position.bytes += line.len() as u64;
        position.lines += 1;
        if !line.trim_ascii().is_empty() {
            each(position.lines, parse(&line))?;
        }
    }
    position.head = head(reader.get_mut(), position.bytes)?;
    Ok(())
}

fn head(file: &mut File, bytes: u64) -> std::io::Result<String> {
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(bytes.min(HEAD)).read_to_end(&mut first)?;
    let mut hasher = Hasher::new("workbench journal head");
    hasher.field(&first);
    Ok(Digest::from_bytes(hasher.finish()).to_string())
}

/// A record from its line. JSON has no NaN: a number that is not finite was written as null and is read as NaN.
fn parse(line: &[u8]) -> Result<Record, String> {
    let error = match serde_json::from_slice(line) {
        Ok(record) => return Ok(record),
        Err(error) => error,
    };
    let complaint = |error: serde_json::Error| format!("not a record ({error}); the line is left out");
    let Ok(mut json) = serde_json::from_slice::<Json>(line) else { return Err(complaint(error)) };
    let mut not_finite = Vec::new();
    for figures in ["values", "metrics"] {
        if let Some(figures) = json.get_mut(figures).and_then(Json::as_object_mut) {
            not_finite.extend(figures.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()));
            figures.retain(|_, value| !value.is_null());
        }
    }
    if not_finite.is_empty() {
        return Err(complaint(error));
    }
    let mut record: Record = serde_json::from_value(json).map_err(complaint)?;
    if let plan::Event::Metrics { values, .. } | plan::Event::StepFinished { metrics: values, .. } = &mut record.event {
        values.extend(not_finite.into_iter().map(|name| (name, f64::NAN)));
    }
    Ok(record)
}
