//! From documents or conversations to token files: encode file by file, then bring the documents into their order.
//! Knows no tokenizer's vocabulary; what a conversation becomes is the caller's affair.
//!
//! Every document file becomes a piece in the folder for progress, and an attempt that was interrupted goes on after the last complete
//! one. Held are a batch of documents and, when documents are shuffled, 40 bytes each.

use super::piece::{At, Entry, Piece, PieceWriter};
use super::{DocumentPlace, Dtype, TokenWriter, TokensMeta};
use crate::document::{Document, InputFile, document_files, named, read_document_files};
use crate::error::DataError;
use crate::hash::choice;
use crate::observe::{Observer, check};
use crate::problem::Conversation;
use crate::tokenizer::Tokenizer;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// The source that conversations are under.
pub const CHATS: &str = "chats";

/// Conversations encoded at a time.
const CHATS_AT_ONCE: usize = 1024;

/// How documents become token files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Ids after which a file is closed, at the end of a document.
    pub max_file_tokens: u64,
    /// Shuffles the documents of each source by this seed: they go in the order of BLAKE3 of seed, source and number in the source.
    pub shuffle: Option<u64>,
    /// An id that is put before every document that does not begin with it.
    pub bos: Option<u32>,
    /// Whether space around a text is removed, as the Dolma toolkit does; otherwise texts are encoded from the first byte to the last.
    pub strip: bool,
}

impl Default for TokenizeOptions {
    fn default() -> TokenizeOptions {
        TokenizeOptions { max_file_tokens: 1 << 30, shuffle: None, bos: None, strip: false }
    }
}

/// A text or conversation as ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// Of conversations, which ids are trained on.
    pub mask: Option<Vec<bool>>,
}

/// Conversations, and what makes ids of one.
pub struct Chats<'a> {
    /// The conversations.
    pub conversations: &'a [Conversation],
    /// What encodes one.
    pub encode: &'a (dyn Fn(&Conversation) -> Result<Encoded, DataError> + Sync),
}

/// Tokenises the documents of `inputs`, and conversations if there are any, into `output`, in parallel. Documents of nothing but space
/// are left out. What an earlier attempt left in `progress` is used; it must have been of the same inputs and options.
pub fn tokenize(
    inputs: &[&Path],
    chats: Option<Chats<'_>>,
    tokenizer: &Tokenizer,
    options: TokenizeOptions,
    output: &Path,
    progress: &Path,
    observer: &dyn Observer,
) -> Result<TokensMeta, DataError> {
    fs_err::create_dir_all(progress)?;
    let dtype = Dtype::for_vocab(tokenizer.vocab_size());
    let mut files: Vec<InputFile> = Vec::new();
    for input in inputs {
        files.extend(named(input, document_files(input)?));
    }
    let mut total = 0;
    for file in &files {
        total += fs_err::metadata(&file.path)?.len();
    }
    let mut done = 0;
    let encoders = tokenizer.encoders();
    for (index, file) in files.iter().enumerate() {
        if !Piece::is_complete(progress, index) {
            let mut writer = PieceWriter::create(progress, index, dtype)?;
            let mut reader = read_document_files(vec![file.clone()])?;
            while let Some(batch) = reader.next() {
                check(observer)?;
                let batch = batch?;
                let encoded: Vec<Result<Option<Encoded>, DataError>> = batch
                    .documents
                    .par_iter()
                    .map_init(|| encoders.borrow(), |encoder, document| encode(document, options, |text| encoder.encode(text)))
                    .collect();
                for ((document, encoded), &loc) in batch.documents.iter().zip(encoded).zip(&batch.lines) {
                    let Some(encoded) = encoded? else { continue };
                    let (id, source) = (document.id.clone(), document.source.clone());
                    let (src, bytes) = (batch.file.to_string(), document.text.len() as u64);
                    writer.write(&encoded, Entry { source, tokens: 0, id, src, loc, bytes, masked: false })?;
                }
                observer.progress(done + reader.position().0, Some(total));
            }
            writer.finish()?;
        }
        done += fs_err::metadata(&file.path)?.len();
        observer.progress(done, Some(total));
    }
    let mut pieces = files.len();
    if let Some(chats) = chats {
        if !Piece::is_complete(progress, pieces) {
            chat_piece(&chats, PieceWriter::create(progress, pieces, dtype)?, observer)?;
        }
        pieces += 1;
    }
    let writer = TokenWriter::create(output, tokenizer.vocab_size(), tokenizer.eos(), tokenizer.digest()?)?;
    let meta = assemble(progress, pieces, dtype, options, writer.closing_at(options.max_file_tokens), observer)?;
    observer.metric("tokens", meta.tokens() as f64);
    observer.metric("bytes_per_token", meta.totals().bytes as f64 / meta.tokens().max(1) as f64);
    Ok(meta)
}

fn encode(
    document: &Document,
    options: TokenizeOptions,
    encode: impl FnOnce(&str) -> Result<Vec<u32>, DataError>,
) -> Result<Option<Encoded>, DataError> {
    let text = if options.strip { document.text.trim() } else { document.text.as_str() };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut ids = encode(text)?;
    if let Some(bos) = options.bos.filter(|bos| ids.first() != Some(bos)) {
        ids.insert(0, bos);
    }
    Ok(Some(Encoded { ids, mask: None }))
}

fn chat_piece(chats: &Chats<'_>, mut writer: PieceWriter, observer: &dyn Observer) -> Result<(), DataError> {
    let mut row = 0;
    for group in chats.conversations.chunks(CHATS_AT_ONCE) {
        check(observer)?;
        let encoded: Vec<Result<Encoded, DataError>> = group.par_iter().map(|one| (chats.encode)(one)).collect();
        for (conversation, encoded) in group.iter().zip(encoded) {
            let encoded = encoded?;
            row += 1;
            if encoded.mask.as_ref().is_none_or(|mask| mask.len() != encoded.ids.len()) {
                let message = "its label mask is not as long as its ids".to_owned();
                return Err(DataError::Document { id: conversation.id.clone(), message });
            }
            if !encoded.mask.iter().flatten().any(|&trained| trained) {
                continue;
            }
            let bytes = conversation.messages.iter().map(|message| message.content.len() as u64).sum();
            let (id, src) = (conversation.id.clone(), conversation.dataset.clone());
            writer.write(&encoded, Entry { source: CHATS.to_owned(), tokens: 0, id, src, loc: row, bytes, masked: true })?;
        }
    }
    writer.finish()
}

/// Writes the documents of all pieces in their order.
fn assemble(
    progress: &Path,
    pieces: usize,
    dtype: Dtype,
    options: TokenizeOptions,
    mut writer: TokenWriter,
    observer: &dyn Observer,
) -> Result<TokensMeta, DataError> {
    let mut opened: Vec<Piece> = Vec::new();
    for index in 0..pieces {
        opened.push(Piece::open(progress, index, dtype)?);
    }
    let Some(seed) = options.shuffle else {
        for (index, piece) in opened.iter().enumerate() {
            check(observer)?;
            let mut list = Piece::open(progress, index, dtype)?;
            list.entries(|entry, at| put(&mut writer, piece, &entry, at))?;
        }
        return writer.finish();
    };
    let mut orders: BTreeMap<String, Vec<(u64, u64, u32, At)>> = BTreeMap::new();
    for (index, piece) in opened.iter_mut().enumerate() {
        piece.entries(|entry, at| {
            let order = orders.entry(entry.source).or_default();
            let number = order.len() as u64;
            order.push((0, number, index as u32, at));
            Ok(())
        })?;
    }
    for (source, mut order) in orders {
        order.par_iter_mut().for_each(|(key, number, _, _)| {
            *key = choice("token files", seed, &[source.as_bytes(), &number.to_le_bytes()]);
        });
        order.par_sort_unstable_by_key(|&(key, number, _, _)| (key, number));
        for (_, _, index, at) in order {
            check(observer)?;
            let piece = &mut opened[index as usize];
            let entry = piece.entry(at)?;
            put(&mut writer, piece, &entry, at)?;
        }
    }
    writer.finish()
}

fn put(writer: &mut TokenWriter, piece: &Piece, entry: &Entry, at: At) -> Result<(), DataError> {
    let encoded = piece.encoded(entry, at)?;
    let place = DocumentPlace { id: &entry.id, src: &entry.src, loc: entry.loc, bytes: entry.bytes };
    match &encoded.mask {
        None => writer.write(&entry.source, &encoded.ids, place),
        Some(mask) => writer.write_masked(&entry.source, &encoded.ids, mask, place),
    }
}
