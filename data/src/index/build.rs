//! Builds an index from documents, or from token files and the documents they were made of.
//! Knows the files of an index and their order; the sorting is in `suffixes`.

use super::file::{Symbols, place_bytes, with_symbols};
use super::suffixes::write_suffixes;
use super::{FORMAT, IndexMeta, Unit};
use crate::analysis::records::{Fields, Record, for_each_piece};
use crate::analysis::vocabulary::{Lookup, NEW, Vocabulary};
use crate::analysis::words::{for_each_folded, for_each_word};
use crate::document::Document;
use crate::error::DataError;
use crate::observe::Observer;
use crate::shard::{Dtype, TokenFiles};
use crate::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How an index is built. Only `unit` changes its bytes.
#[derive(Clone, Copy, Debug)]
pub struct IndexParams {
    /// What is indexed.
    pub unit: Unit,
    /// Symbols that are sorted at once; a thread needs about 12 bytes for each. 0 divides the corpus among the threads, up to 2²⁷.
    pub part_symbols: u64,
}

/// A line of `documents.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    file: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
}

/// Writes the files of an index that grow with every document.
struct Files {
    dir: PathBuf,
    width: u8,
    symbols: BufWriter<fs_err::File>,
    rows: BufWriter<fs_err::File>,
    texts: Option<BufWriter<fs_err::File>>,
    starts: Vec<u64>,
    lines: Vec<u64>,
    row_bytes: u64,
    text_bytes: u64,
    written: u64,
    largest: u32,
}

impl Files {
    fn create(dir: &Path, width: u8, texts: bool) -> Result<Files, DataError> {
        fs_err::create_dir_all(dir)?;
        let file = |name: &str| Ok::<_, DataError>(BufWriter::with_capacity(1 << 18, fs_err::File::create(dir.join(name))?));
        Ok(Files {
            dir: dir.to_path_buf(),
            width,
            symbols: file("symbols.bin")?,
            rows: file("documents.jsonl")?,
            texts: texts.then(|| file("texts.bin")).transpose()?,
            starts: Vec::new(),
            lines: Vec::new(),
            row_bytes: 0,
            text_bytes: 0,
            written: 0,
            largest: 0,
        })
    }

    fn add(&mut self, symbols: impl Iterator<Item = u32>, row: &Row<'_>, text: Option<&[u8]>) -> Result<(), DataError> {
        self.starts.push(self.written);
        for symbol in symbols.chain([0]) {
            self.symbols.write_all(&symbol.to_le_bytes()[..usize::from(self.width)])?;
            self.largest = self.largest.max(symbol);
            self.written += 1;
        }
        let mut row = Row { text: None, ..*row };
        if let (Some(out), Some(text)) = (&mut self.texts, text) {
            out.write_all(text)?;
            row.text = Some([self.text_bytes, text.len() as u64]);
            self.text_bytes += text.len() as u64;
        }
        let mut line = serde_json::to_vec(&row).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.rows.write_all(&line)?;
        self.lines.push(self.row_bytes);
        self.row_bytes += line.len() as u64;
        Ok(())
    }

    fn finish(mut self, params: IndexParams, (scratch, observer): (&Path, &dyn Observer)) -> Result<IndexMeta, DataError> {
        self.symbols.flush()?;
        self.rows.flush()?;
        if let Some(texts) = &mut self.texts {
            texts.flush()?;
        }
        write_numbers(&self.dir.join("starts.bin"), &self.starts)?;
        write_numbers(&self.dir.join("documents.bin"), &self.lines)?;
        let count = self.written;
        let part = match params.part_symbols {
            0 => count.div_ceil(rayon::current_num_threads() as u64).clamp(1 << 22, 1 << 27),
            part => part,
        };
        let symbols = Symbols::open(&self.dir.join("symbols.bin"), self.width, count)?;
        let paths = (self.dir.join("suffixes.bin"), scratch);
        with_symbols!(&symbols, text => write_suffixes(text, &self.starts, part, (&paths.0, paths.1), observer)?);
        let meta = IndexMeta {
            format: FORMAT,
            unit: params.unit,
            symbol_bytes: self.width,
            place_bytes: place_bytes(count),
            symbols: count,
            documents: self.starts.len() as u64,
            largest: self.largest,
        };
        fs_err::write(self.dir.join("index.json"), serde_json::to_string_pretty(&meta).map_err(std::io::Error::from)? + "\n")?;
        Ok(meta)
    }
}

fn write_numbers(path: &Path, numbers: &[u64]) -> Result<(), DataError> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs_err::write(path, bytes)?;
    Ok(())
}

/// A document on its way into an index.
struct Ready {
    symbols: Vec<u32>,
    document: Document,
    file: String,
    line: u64,
    text: Option<Vec<u8>>,
}

/// Documents with the words that only this piece knows.
struct Piece {
    lookup: Lookup,
    ready: Vec<Result<Ready, DataError>>,
}

/// Indexes the documents of some directories. `tokenizer` is needed for [`Unit::Tokens`] alone. Unnamed files in `scratch` hold
/// sorted parts. Held in memory: a batch of documents, distinct words, 16 bytes a document, and what sorting takes.
pub fn build_index(
    inputs: &[&Path],
    tokenizer: Option<&Tokenizer>,
    params: IndexParams,
    (output, scratch): (&Path, &Path),
    observer: &dyn Observer,
) -> Result<IndexMeta, DataError> {
    let width = match (params.unit, tokenizer) {
        (Unit::Bytes, _) => 1,
        (Unit::Words | Unit::Folded, _) => 4,
        (Unit::Tokens, Some(tokenizer)) => token_width(tokenizer.vocab_size() as u64),
        (Unit::Tokens, None) => return Err(DataError::Params("an index of tokens needs a tokenizer".to_owned())),
    };
    let of_words = matches!(params.unit, Unit::Words | Unit::Folded);
    let mut files = Files::create(output, width, of_words)?;
    let shared = Mutex::new(Arc::new(Vocabulary::default()));
    let start =
        || Piece { lookup: Lookup::new(shared.lock().unwrap_or_else(PoisonError::into_inner).clone()), ready: Vec::new() };
    let work = |piece: &mut Piece, record: &Record<'_>| {
        let ready = prepare(params.unit, tokenizer, &mut piece.lookup, record);
        piece.ready.push(ready);
    };
    for_each_piece(inputs, Fields::All, observer, start, work, |pieces| {
        let mut locals = Vec::new();
        let mut ready = Vec::new();
        for piece in pieces {
            locals.push(piece.lookup.local);
            ready.push(piece.ready);
        }
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let vocabulary = Arc::get_mut(&mut shared).expect("the pieces have let go of it");
        for (local, ready) in locals.iter().zip(ready) {
            let map = vocabulary.take(local);
            for ready in ready {
                let Ready { symbols, document, file, line, text } = ready?;
                // Ids become symbols here.
                let symbols = symbols.into_iter().map(|id| 1 + if id >= NEW { map[(id & !NEW) as usize] } else { id });
                let row = Row {
                    id: &document.id,
                    source: &document.source,
                    file: &file,
                    line,
                    text: None,
                    metadata: &document.metadata,
                };
                files.add(symbols, &row, text.as_deref())?;
            }
        }
        Ok(())
    })?;
    if of_words {
        let vocabulary = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut words, mut ends) = (Vec::new(), Vec::new());
        for id in 0..vocabulary.len() as u32 {
            words.extend_from_slice(vocabulary.word(id));
            ends.push(words.len() as u64);
        }
        fs_err::write(output.join("words.bin"), words)?;
        write_numbers(&output.join("words.offsets.bin"), &ends)?;
    }
    if let Some(tokenizer) = tokenizer.filter(|_| params.unit == Unit::Tokens) {
        tokenizer.save(output)?;
    }
    files.finish(params, (scratch, observer))
}

fn token_width(vocab_size: u64) -> u8 {
    if vocab_size < 1 << 16 { 2 } else { 4 }
}

fn prepare(unit: Unit, tokenizer: Option<&Tokenizer>, lookup: &mut Lookup, record: &Record<'_>) -> Result<Ready, DataError> {
    let text = record.document.text.as_str();
    let mut symbols = Vec::new();
    let mut kept = None;
    match (unit, tokenizer) {
        (Unit::Bytes, _) => symbols.extend(text.bytes().map(u32::from)),
        (Unit::Words, _) => for_each_word(text, |range| symbols.push(lookup.id(&text.as_bytes()[range]))),
        (Unit::Folded, _) => for_each_folded(text, &mut String::new(), |word| symbols.push(lookup.id(word.as_bytes()))),
        (Unit::Tokens, Some(tokenizer)) => symbols = tokenizer.encode(text)?,
        (Unit::Tokens, None) => {}
    }
    if matches!(unit, Unit::Words | Unit::Folded) {
        kept = Some(crate::document::compress(text.as_bytes())?);
    }
    let mut document = record.document.clone();
    document.text = String::new();
    Ok(Ready { symbols, document, file: record.file.to_owned(), line: record.line, text: kept })
}

/// Indexes token files as they are, so that positions of the index are those of the training data: position p of the index is id p of
/// the token files, document after document. `documents` are those that were tokenised, for metadata; without them an index
/// knows ids, files and lines alone.
pub fn build_index_of_tokens(
    tokens: &Path,
    tokenizer: &Tokenizer,
    documents: &[&Path],
    params: IndexParams,
    (output, scratch): (&Path, &Path),
    observer: &dyn Observer,
) -> Result<IndexMeta, DataError> {
    let files = TokenFiles::open(tokens)?;
    let meta = files.meta().clone();
    if !meta.tokenizer.is_empty() && meta.tokenizer != tokenizer.digest()? {
        return Err(DataError::Params("the tokens were made by another tokenizer than the one beside them".to_owned()));
    }
    let mut known = known_metadata(documents, observer)?;
    let width = token_width(match meta.dtype {
        Dtype::Uint16 => meta.vocab_size,
        Dtype::Uint32 => u64::from(u32::MAX),
    });
    let mut out = Files::create(output, width, false)?;
    let mut first = 0;
    for source in &meta.sources {
        for file in &source.files {
            let path = tokens.join(format!("{}.csv.gz", file.name.trim_end_matches(".npy")));
            let sidecar = BufReader::new(flate2::read::MultiGzDecoder::new(fs_err::File::open(&path)?));
            let mut expected = 0;
            for (index, row) in csv_records(sidecar).enumerate() {
                let wrong = |message: String| DataError::Line { path: path.clone(), line: index as u64 + 1, message };
                let row = row.map_err(|error| wrong(error.to_string()))?;
                let [start, stop, id, src, loc] = row.as_slice() else { return Err(wrong("it has not five fields".to_owned())) };
                let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(format!("`{text}` is no number")));
                let (start, stop, loc) = (number(start)?, number(stop)?, number(loc)?);
                if start != expected || stop <= start {
                    return Err(wrong(format!("a document begins at {start}, where {expected} was expected")));
                }
                expected = stop;
                let ids = files.tokens(first + start..first + stop)?;
                let (last, rest) = ids.split_last().expect("a document is not empty");
                if *last != meta.eos || rest.contains(&meta.eos) {
                    return Err(wrong("its tokens do not end with the only end of text".to_owned()));
                }
                let metadata = known.remove(&(src.clone(), loc, id.clone())).unwrap_or_default();
                let row = Row { id, source: &source.source, file: src, line: loc, text: None, metadata: &metadata };
                out.add(rest.iter().map(|id| id + 1), &row, None)?;
            }
            if expected != file.tokens {
                return Err(DataError::format(&path, format!("it tells of {expected} tokens, and there are {}", file.tokens)));
            }
            first += file.tokens;
            observer.progress(first, Some(files.len()));
        }
    }
    tokenizer.save(output)?;
    out.finish(IndexParams { unit: Unit::Tokens, ..params }, (scratch, observer))
}

/// Metadata of documents by file, line and id: files of several corpora may have one name. Held in memory as a whole.
type Known = HashMap<(String, u64, String), Map<String, Value>>;

fn known_metadata(documents: &[&Path], observer: &dyn Observer) -> Result<Known, DataError> {
    let mut known = Known::new();
    for_each_piece(
        documents,
        Fields::All,
        observer,
        Vec::new,
        |made: &mut Vec<_>, record| {
            let document = record.document;
            made.push(((record.file.to_owned(), record.line, document.id.clone()), document.metadata.clone()));
        },
        |pieces| {
            known.extend(pieces.into_iter().flatten());
            Ok(())
        },
    )?;
    Ok(known)
}

/// The records of a CSV file, whose quoted fields may hold line ends.
fn csv_records(reader: impl BufRead) -> impl Iterator<Item = std::io::Result<Vec<String>>> {
    let mut lines = reader.lines();
    std::iter::from_fn(move || {
        let mut record = match lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        while record.bytes().filter(|&byte| byte == b'"').count() % 2 == 1 {
            match lines.next() {
                Some(Ok(line)) => record = format!("{record}\n{line}"),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        let mut fields = vec![String::new()];
        let (mut quoted, mut chars) = (false, record.chars().peekable());
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    fields.last_mut()?.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                other => fields.last_mut()?.push(other),
            }
        }
        Some(Ok(fields))
    })
}
