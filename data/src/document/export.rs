//! Writes documents and their attributes as the Dolma toolkit 1.2.1 keeps them: `documents/<file>.jsonl.gz`, and beside it
//! `attributes/<experiment or tagger>/<file>.jsonl.gz`, byte for byte what its mixer and its taggers write, once decompressed.
//! Knows the layout and the order of keys; measures nothing itself.
//!
//! Documents have their keys sorted, as its mixer sorts them. Rows of attributes have theirs in the order in which the tagger found
//! the first span of each type, which documents keep.
//!
//! Held are a batch of documents and, for every file being written, up to 16 MiB before compression.

use super::dolma::{parts, sanitised};
use super::{Document, InputFile, LineReader, Span, document_files, named};
use crate::error::DataError;
use crate::observe::Observer;
use crate::tagger::taggers;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How to export.
#[derive(Clone, Copy, Debug, Default)]
pub struct DolmaExport<'a> {
    /// One attribute file for all taggers, under this name; without it, one for each tagger (or experiment the attributes came with).
    pub experiment: Option<&'a str>,
    /// The taggers whose attributes are written, in this order; all that are found, by name, when empty.
    pub taggers: &'a [String],
    /// Dolma documents, a folder or file, whose files the exported rows are cut and named like. They must be the same documents, id by
    /// id. Without it, the files are those of the artifact.
    pub like: Option<&'a Path>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Document files.
    pub files: u64,
    /// Documents.
    pub documents: u64,
}

/// One directory under `attributes/`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// Its name.
    dir: String,
    /// Experiment and tagger of what goes there, as in the keys of the artifact, in the order of writing.
    members: Vec<(String, String)>,
}

/// Writes the documents artifact `input` to the folder `output`.
///
/// Fails when a tagger that is asked for was never run, an experiment cannot be a name, or the documents are not those of `like`.
pub fn export_dolma(input: &Path, output: &Path, how: DolmaExport<'_>, observer: &dyn Observer) -> Result<Exported, DataError> {
    let mut found: BTreeSet<(String, String)> = BTreeSet::new();
    for_each_batch(input, &Quiet(observer), |batch| {
        let keys: BTreeSet<&str> =
            batch.documents.iter().flat_map(|document| document.attributes.keys()).map(String::as_str).collect();
        found.extend(keys.into_iter().map(owner).map(|(experiment, tagger)| (experiment.to_owned(), tagger.to_owned())));
        Ok(())
    })?;
    let groups = groups(found, how)?;
    let mut layout = how.like.map(Layout::open).transpose()?;
    let mut exported = Exported::default();
    let mut open: Option<(String, Vec<GzFile>)> = None;
    for_each_batch(input, observer, |batch| {
        let rows: Vec<Result<Rows, serde_json::Error>> =
            batch.documents.par_iter().map(|document| rows(document, &groups, how.experiment)).collect();
        for (document, rows) in batch.documents.iter().zip(rows) {
            let rows = rows.map_err(std::io::Error::from)?;
            let name = match &mut layout {
                None => Cow::Borrowed(&*batch.file),
                Some(layout) => Cow::Owned(layout.expect(document, &mut |name| {
                    exported.files += 1;
                    close(open.replace((name.to_owned(), create(output, name, &groups)?)))
                })?),
            };
            if open.as_ref().is_none_or(|(current, _)| *current != *name) {
                exported.files += 1;
                close(open.replace((name.to_string(), create(output, &name, &groups)?)))?;
            }
            let Some((_, files)) = &mut open else { continue };
            for (file, row) in files.iter_mut().zip(rows) {
                file.write(&row)?;
            }
            exported.documents += 1;
        }
        Ok(())
    })?;
    if let Some(layout) = layout {
        layout.finish(&mut |name| {
            exported.files += 1;
            close(open.replace((name.to_owned(), create(output, name, &groups)?)))
        })?;
    }
    if open.is_none() {
        exported.files += 1;
        open = Some(("part-00000.jsonl.zst".to_owned(), create(output, "part-00000.jsonl.zst", &groups)?));
    }
    close(open)?;
    Ok(exported)
}

/// Passes requests to stop on, and no progress: for the first of two passes.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn should_stop(&self) -> bool {
        self.0.should_stop()
    }
}

/// Experiment and tagger of a key; both are the whole key where it has no parts, as with attributes of deduplication.
fn owner(key: &str) -> (&str, &str) {
    parts(key).map_or((key, key), |(experiment, tagger, _)| (experiment, tagger))
}

fn groups(found: BTreeSet<(String, String)>, how: DolmaExport<'_>) -> Result<Vec<Group>, DataError> {
    let mut members: Vec<(String, String)> = found.into_iter().collect();
    if !how.taggers.is_empty() {
        let mut chosen = Vec::new();
        for name in how.taggers {
            let mut of_name: Vec<_> = members.iter().filter(|(_, tagger)| tagger == name).cloned().collect();
            if of_name.is_empty() {
                // A tagger that found nothing in any document leaves no trace, and has a file all the same.
                let is_known = taggers(&[name]).is_ok_and(|found| found.iter().any(|tagger| tagger.name() == name));
                if !is_known {
                    let names: Vec<_> = members.iter().map(|(_, tagger)| tagger.as_str()).collect();
                    let message = format!("no document has attributes of `{name}`; there are {}", names.join(", "));
                    return Err(DataError::Params(message));
                }
                of_name.push((name.clone(), name.clone()));
            }
            chosen.append(&mut of_name);
        }
        members = chosen;
    }
    match how.experiment {
        Some(experiment) => Ok(vec![Group { dir: sanitised(experiment)?, members }]),
        None => {
            let mut groups: Vec<Group> = Vec::new();
            for (experiment, tagger) in members {
                match groups.iter_mut().find(|group| group.dir == experiment) {
                    Some(group) => group.members.push((experiment, tagger)),
                    None => groups.push(Group { dir: experiment.clone(), members: vec![(experiment, tagger)] }),
                }
            }
            Ok(groups)
        }
    }
}

/// The line of a document, and its row for every group.
type Rows = Vec<Vec<u8>>;

fn rows(document: &Document, groups: &[Group], experiment: Option<&str>) -> Result<Rows, serde_json::Error> {
    let mut rows = vec![serde_json::to_vec(&as_mixed(document))?];
    rows[0].push(b'\n');
    for group in groups {
        let mut entries: Vec<(Cow<'_, str>, &[Span])> = Vec::new();
        for (of, tagger) in &group.members {
            let keys = document.attributes.keys().filter_map(|key| match parts(key) {
                Some((experiment, name, kind)) if experiment == of && name == tagger => Some((kind, key)),
                None if key == of => Some((key.as_str(), key)),
                _ => None,
            });
            entries.extend(keys.map(|(kind, key)| {
                let name = match experiment {
                    // The tagger's name and type are sanitised already.
                    Some(_) => Cow::Owned(format!("{}__{tagger}__{kind}", group.dir)),
                    None => Cow::Borrowed(key.as_str()),
                };
                (name, document.attributes[key].as_slice())
            }));
        }
        let mut row = serde_json::to_vec(&Row { id: &document.id, attributes: InOrder(&entries), source: &document.source })?;
        row.push(b'\n');
        rows.push(row);
    }
    Ok(rows)
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    attributes: InOrder<'a>,
    source: &'a str,
}

struct InOrder<'a>(&'a [(Cow<'a, str>, &'a [Span])]);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, spans) in self.0 {
            map.serialize_entry(key, spans)?;
        }
        map.end()
    }
}

/// A document as Dolma's mixer writes it, without attributes: keys sorted, also those inside the metadata. Fields it does not have are
/// left out, but for the source, which Dolma requires.
fn as_mixed(document: &Document) -> Value {
    let mut object = Map::new();
    let mut text = |key: &str, value: &str, always: bool| {
        if always || !value.is_empty() {
            object.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    };
    text("added", &document.added, false);
    text("created", &document.created, false);
    text("id", &document.id, true);
    text("source", &document.source, true);
    text("text", &document.text, true);
    if let Some(version) = &document.version {
        text("version", version, true);
    }
    if !document.metadata.is_empty() {
        object.insert("metadata".to_owned(), Value::Object(document.metadata.clone()));
    }
    let mut value = Value::Object(object);
    value.sort_all_objects();
    value
}

/// The files of another dataset and the ids in them, in order.
struct Layout {
    files: std::vec::IntoIter<InputFile>,
    current: Option<(String, Ids)>,
}

struct Ids {
    lines: LineReader,
    waiting: std::collections::VecDeque<(PathBuf, u64, String)>,
}

impl Ids {
    fn next(&mut self) -> Result<Option<(PathBuf, u64, String)>, DataError> {
        #[derive(Deserialize)]
        struct Parsed {
            id: String,
        }
        while self.waiting.is_empty() {
            let Some(batch) = self.lines.next().transpose()? else { return Ok(None) };
            let batch = batch.strict()?;
            let ids: Vec<Result<_, DataError>> = batch
                .lines()
                .map(|(line, bytes)| match serde_json::from_slice::<Parsed>(bytes) {
                    Ok(parsed) => Ok((batch.path.clone(), line, parsed.id)),
                    Err(error) => {
                        Err(DataError::Line { path: batch.path.clone(), line, message: format!("not a document: {error}") })
                    }
                })
                .collect();
            self.waiting = ids.into_iter().collect::<Result<_, _>>()?;
        }
        Ok(self.waiting.pop_front())
    }
}

impl Layout {
    fn open(dir: &Path) -> Result<Layout, DataError> {
        Ok(Layout { files: named(dir, document_files(dir)?).into_iter(), current: None })
    }

    /// The name of the file that holds a document, which must be the next one; `empty` hears of files passed that hold none.
    fn expect(&mut self, document: &Document, empty: &mut dyn FnMut(&str) -> Result<(), DataError>) -> Result<String, DataError> {
        let mut fresh: Option<String> = None;
        loop {
            if let Some((name, ids)) = &mut self.current
                && let Some((path, line, id)) = ids.next()?
            {
                if id != document.id {
                    let message = format!("here is `{id}`, but the next document to export is `{}`", document.id);
                    return Err(DataError::Line { path, line, message });
                }
                return Ok(name.clone());
            }
            if let Some(passed) = fresh.take() {
                empty(&passed)?;
            }
            let Some(file) = self.files.next() else {
                let message = "is to be exported, but the documents to be cut like have ended".to_owned();
                return Err(DataError::Document { id: document.id.clone(), message });
            };
            let name = file.name.clone();
            fresh = Some(name.clone());
            let lines = LineReader::open(vec![file], usize::MAX)?;
            self.current = Some((name, Ids { lines, waiting: Default::default() }));
        }
    }

    /// All documents are exported: none may be left.
    fn finish(mut self, empty: &mut dyn FnMut(&str) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut fresh: Option<String> = None;
        loop {
            if let Some((_, ids)) = &mut self.current
                && let Some((path, line, id)) = ids.next()?
            {
                return Err(DataError::Line { path, line, message: format!("`{id}` is not among the documents to export") });
            }
            if let Some(passed) = fresh.take() {
                empty(&passed)?;
            }
            let Some(file) = self.files.next() else { return Ok(()) };
            let name = file.name.clone();
            fresh = Some(name.clone());
            let lines = LineReader::open(vec![file], usize::MAX)?;
            self.current = Some((name, Ids { lines, waiting: Default::default() }));
        }
    }
}

/// Opens the documents file and the attribute file of every group.
fn create(output: &Path, name: &str, groups: &[Group]) -> Result<Vec<GzFile>, DataError> {
    let stem = [".gz", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let dirs =
        std::iter::once(PathBuf::from("documents")).chain(groups.iter().map(|group| Path::new("attributes").join(&group.dir)));
    dirs.map(|dir| GzFile::create(&output.join(dir).join(format!("{stem}.gz")))).collect()
}

fn close(files: Option<(String, Vec<GzFile>)>) -> Result<(), DataError> {
    files.map_or(Ok(()), |(_, files)| files.into_iter().try_for_each(GzFile::finish))
}

/// Bytes in a member of a gzip file; members are compressed in parallel.
const MEMBER_BYTES: usize = 1 << 20;

/// Members that wait for each other.
const MEMBERS: usize = 16;

/// A gzip file of members of [`MEMBER_BYTES`], so that its bytes do not depend on how they were written.
struct GzFile {
    file: fs_err::File,
    buffer: Vec<u8>,
    empty: bool,
}

impl GzFile {
    fn create(path: &Path) -> Result<GzFile, DataError> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Ok(GzFile { file: fs_err::File::create(path)?, buffer: Vec::new(), empty: true })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= MEMBER_BYTES * MEMBERS {
            let whole = self.buffer.len() / MEMBER_BYTES * MEMBER_BYTES;
            self.flush(whole)?;
        }
        Ok(())
    }

    fn flush(&mut self, bytes: usize) -> Result<(), DataError> {
        let members: Vec<std::io::Result<Vec<u8>>> = self.buffer[..bytes].par_chunks(MEMBER_BYTES).map(gzip).collect();
        for member in members {
            self.file.write_all(&member?)?;
            self.empty = false;
        }
        self.buffer.drain(..bytes);
        Ok(())
    }

    fn finish(mut self) -> Result<(), DataError> {
        self.flush(self.buffer.len())?;
        if self.empty {
            self.file.write_all(&gzip(&[])?)?;
        }
        self.file.flush()?;
        Ok(())
    }
}

/// One member, at gzip's usual level 6.
fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
