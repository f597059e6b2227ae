//! Writes token files and their sidecars.
//! Knows ids and labels, not where they come from.

use super::{Dtype, SourceTokens, TokenFile, TokensMeta};
use crate::error::DataError;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Ids after which a file is closed at the end of a document, unless it is said otherwise.
const MAX_FILE_TOKENS: u64 = 1 << 30;

/// Where a document was before it was tokens, for its line in the sidecar.
#[derive(Clone, Copy, Debug)]
pub struct DocumentPlace<'a> {
    /// Its id.
    pub id: &'a str,
    /// The document file.
    pub src: &'a str,
    /// Its line there, from 1.
    pub loc: u64,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
}

/// Writes a tokens artifact.
#[derive(Debug)]
pub struct TokenWriter {
    dir: PathBuf,
    dtype: Dtype,
    vocab_size: usize,
    eos: u32,
    tokenizer: String,
    sources: BTreeMap<String, Source>,
    max_file_tokens: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Source {
    stem: String,
    masked: bool,
    meta: SourceTokens,
    open: Option<Open>,
}

struct Open {
    tokens: BufWriter<fs_err::File>,
    sidecar: flate2::write::GzEncoder<BufWriter<fs_err::File>>,
    mask: Option<BufWriter<fs_err::File>>,
    written: u64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("written", &self.written).finish_non_exhaustive()
    }
}

impl TokenWriter {
    /// Starts an artifact in `dir`, which is created when it does not exist. `tokenizer` is the digest of the tokenizer.
    pub fn create(dir: &Path, vocab_size: usize, eos: u32, tokenizer: String) -> Result<TokenWriter, DataError> {
        fs_err::create_dir_all(dir)?;
        let dtype = Dtype::for_vocab(vocab_size);
        Ok(TokenWriter {
            dir: dir.to_path_buf(),
            dtype,
            vocab_size,
            eos,
            tokenizer,
            sources: BTreeMap::new(),
            max_file_tokens: MAX_FILE_TOKENS,
            buffer: Vec::new(),
        })
    }

    /// Closes files after this many ids, at the end of a document; a document of more has a file of its own.
    #[must_use]
    pub fn closing_at(self, max_file_tokens: u64) -> TokenWriter {
        TokenWriter { max_file_tokens: max_file_tokens.max(1), ..self }
    }

    /// Appends a document to the files of its source; the end-of-text id is added unless it is the last one already.
    ///
    /// Fails on an id that is not in the vocabulary.
    pub fn write(&mut self, source: &str, ids: &[u32], place: DocumentPlace<'_>) -> Result<(), DataError> {
        self.append(source, ids, None, place)
    }

    /// Appends a conversation with its label mask: per id, whether it is trained on. The end-of-text id is added unless it is the last
    /// one already, and is then trained on if the id before it is. A source has masks for all of its documents or for none.
    pub fn write_masked(&mut self, source: &str, ids: &[u32], mask: &[bool], place: DocumentPlace<'_>) -> Result<(), DataError> {
        self.append(source, ids, Some(mask), place)
    }

    /// Counts bytes of texts that were not known document by document.
    pub(super) fn add_bytes(&mut self, source: &str, bytes: u64) {
        if let Some(source) = self.sources.get_mut(source) {
            source.meta.bytes += bytes;
        }
    }

    fn append(&mut self, source: &str, ids: &[u32], mask: Option<&[bool]>, place: DocumentPlace<'_>) -> Result<(), DataError> {
        let wrong = |message: String| DataError::Document { id: place.id.to_owned(), message };
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(wrong(format!("id {id} is not below the vocabulary size {}", self.vocab_size)));
        }
        let end = (ids.last() != Some(&self.eos)).then_some(self.eos);
        self.buffer.clear();
        self.dtype.encode(ids, &mut self.buffer);
        self.dtype.encode(end.as_slice(), &mut self.buffer);
        let n = ids.len() as u64 + u64::from(end.is_some());
        if !self.sources.contains_key(source) {
            let stem = self.stem(source);
            let meta = SourceTokens { source: source.to_owned(), tokens: 0, documents: 0, bytes: 0, files: Vec::new() };
            self.sources.insert(source.to_owned(), Source { stem, masked: mask.is_some(), meta, open: None });
        }
        let entry = self.sources.get_mut(source).expect("inserted above");
        if entry.masked != mask.is_some() || mask.is_some_and(|mask| mask.len() != ids.len()) {
            return Err(wrong(format!("source `{source}` has label masks for some ids and none for others")));
        }
        if entry.open.as_ref().is_none_or(|open| open.written + n > self.max_file_tokens && open.written > 0) {
            entry.close()?;
            entry.open(&self.dir)?;
        }
        let open = entry.open.as_mut().expect("opened above");
        open.tokens.write_all(&self.buffer)?;
        if let (Some(file), Some(mask)) = (&mut open.mask, mask) {
            self.buffer.clear();
            self.buffer.extend(mask.iter().chain(end.and(mask.last())).map(|&trained| u8::from(trained)));
            file.write_all(&self.buffer)?;
        }
        let (start, stop) = (open.written, open.written + n);
        writeln!(open.sidecar, "{start},{stop},{},{},{}", quoted(place.id), quoted(place.src), place.loc)?;
        open.written = stop;
        entry.meta.tokens += n;
        entry.meta.documents += 1;
        entry.meta.bytes += place.bytes;
        Ok(())
    }

    /// Closes all files and writes `tokens.json`.
    pub fn finish(mut self) -> Result<TokensMeta, DataError> {
        let mut sources = Vec::new();
        for mut source in std::mem::take(&mut self.sources).into_values() {
            source.close()?;
            sources.push(source.meta);
        }
        let meta = TokensMeta {
            dtype: self.dtype,
            vocab_size: self.vocab_size as u64,
            eos: self.eos,
            tokenizer: std::mem::take(&mut self.tokenizer),
            sources,
        };
        let json = serde_json::to_string_pretty(&meta).map_err(std::io::Error::from)?;
        fs_err::write(self.dir.join("tokens.json"), json + "\n")?;
        Ok(meta)
    }

    /// A file name for a source: its name where that is harmless, and unlike those of all other sources.
    fn stem(&self, source: &str) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = source.chars().take(64).map(safe).collect();
        let name = if name.is_empty() || name.starts_with('.') { format!("part{name}") } else { name };
        let taken = |stem: &str| self.sources.values().any(|source| source.stem.eq_ignore_ascii_case(stem));
        if !taken(&name) {
            return name;
        }
        (2..).map(|i| format!("{name}.{i}")).find(|stem| !taken(stem)).expect("some number is free")
    }
}

impl Source {
    fn open(&mut self, dir: &Path) -> Result<(), DataError> {
        let number = self.meta.files.len();
        // Conversations are called what OLMo-core's scripts for finetuning look for.
        let (stem, mask) = match self.masked {
            true => (
                format!("token_ids_part_{}_{number:04}", self.stem),
                Some(format!("labels_mask_part_{}_{number:04}.npy", self.stem)),
            ),
            false => (format!("{}-{number:05}", self.stem), None),
        };
        let create = |name: &str| Ok::<_, DataError>(BufWriter::new(fs_err::File::create(dir.join(name))?));
        let sidecar = create(&format!("{stem}.csv.gz"))?;
        let sidecar = flate2::GzBuilder::new().mtime(0).write(sidecar, flate2::Compression::new(6));
        let tokens = create(&format!("{stem}.npy"))?;
        self.open = Some(Open { tokens, sidecar, mask: mask.as_deref().map(create).transpose()?, written: 0 });
        self.meta.files.push(TokenFile { name: format!("{stem}.npy"), tokens: 0, mask });
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        if let Some(mut open) = self.open.take() {
            open.tokens.flush()?;
            open.sidecar.finish()?.flush()?;
            open.mask.map_or(Ok(()), |mut mask| mask.flush())?;
            if let Some(file) = self.meta.files.last_mut() {
                file.tokens = open.written;
            }
        }
        Ok(())
    }
}

/// A CSV field, quoted where it must be.
fn quoted(field: &str) -> std::borrow::Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")).into() } else { field.into() }
}
