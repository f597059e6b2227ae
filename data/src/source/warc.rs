//! Documents from WARC files, plain or with every record compressed: the pages among the HTTP responses, as text.
//! Knows what becomes of a record; its frame is [`record`]'s and its body [`http`]'s affair. Pages are taken whole: menus and footers
//! are not told from content.

pub(crate) mod http;
pub(crate) mod record;

use super::intake::{Care, Imported, Intake};
use crate::document::{Document, Fault, InputFile, open_decoded};
use crate::error::DataError;
use crate::observe::{Observer, check};
use http::{NoPage, page};
use rayon::prelude::*;
use record::{Next, Record, Records};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of records read before they are worked on.
const BATCH_BYTES: usize = 8 << 20;

/// What came of an import from WARC files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportedWarc {
    /// The documents, and the records that could not be read.
    pub imported: Imported,
    /// Records that hold no page: requests, metadata, errors, images.
    pub other: u64,
    /// Pages without any text.
    pub empty: u64,
}

/// Reads the pages of all files, in the order given, into `output`, as the Dolma toolkit names their parts: the id is the payload's digest in
/// lower case, `created` the date of the response, and the metadata have `warc_url`, `url` (without its scheme), `warc_date`,
/// `warc_filename`, `content_type` and `uncompressed_offset`.
///
/// A record that cannot be read is a bad row, numbered by its place in the file; after one where a compressed file ends early, reading goes
/// on with the next file. `care.max_line_bytes` bounds records and decompressed pages. Held are records of 8 MiB and their pages.
pub fn read_warc(
    files: &[InputFile],
    source: &str,
    care: Care,
    output: &Path,
    observer: &dyn Observer,
) -> Result<ImportedWarc, DataError> {
    let mut intake = Intake::create(output, care, observer)?;
    let mut outcome = ImportedWarc::default();
    let taken: Arc<AtomicU64> = Arc::default();
    let mut total = 0;
    for file in files {
        total += fs_err::metadata(&file.path)?.len();
    }
    for file in files {
        let mut records = Records::new(open_decoded(&file.path, &taken)?, care.max_line_bytes as u64);
        let mut archive = file.name.rsplit('/').next().unwrap_or_default().to_owned();
        let (mut number, mut ended) = (0, false);
        while !ended {
            check(observer)?;
            let (mut batch, mut faults, mut bytes) = (Vec::new(), Vec::new(), 0);
            while bytes < BATCH_BYTES && !ended {
                number += 1;
                let fault = |message, is_line| Fault { line: number, message, bytes: Vec::new(), is_line };
                match records.next() {
                    Ok(Next::End) => ended = true,
                    Ok(Next::Bad(message)) => faults.push(fault(message, true)),
                    Ok(Next::Record(record)) => {
                        bytes += record.block.len() + 1024;
                        match record.header("WARC-Type") {
                            Some("warcinfo") => {
                                outcome.other += 1;
                                archive = record.header("WARC-Filename").map_or(archive, str::to_owned);
                            }
                            Some("response") => batch.push((number, archive.clone(), record)),
                            _ => outcome.other += 1,
                        }
                    }
                    Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
                    Err(error) => {
                        faults.push(fault(format!("the file cannot be read on from here: {error}"), false));
                        ended = true;
                    }
                }
            }
            let pages: Vec<_> = batch
                .into_par_iter()
                .map(|(number, archive, record)| (number, document(&record, &archive, source, care.max_line_bytes as u64)))
                .collect();
            let mut documents = Vec::with_capacity(pages.len());
            for (line, page) in pages {
                match page {
                    Ok(document) if document.text.is_empty() => outcome.empty += 1,
                    Ok(document) => documents.push((line, document)),
                    Err(NoPage::Other) => outcome.other += 1,
                    Err(NoPage::Bad(message)) => faults.push(Fault { line, message, bytes: Vec::new(), is_line: true }),
                }
            }
            intake.take(file, documents, faults)?;
            observer.progress(taken.load(Ordering::Relaxed).min(total), Some(total));
        }
    }
    outcome.imported = intake.finish()?;
    Ok(outcome)
}

/// The page of a response record.
pub(crate) fn document(record: &Record, archive: &str, source: &str, limit: u64) -> Result<Document, NoPage> {
    let page = page(&record.block, limit)?;
    let digest = record.header("WARC-Payload-Digest").map(|digest| digest.split_once(':').map_or(digest, |(_, value)| value));
    let id = digest.map_or_else(|| blake3::hash(&record.block).to_hex().to_string(), str::to_lowercase);
    let address = record.header("WARC-Target-URI").unwrap_or_default().trim_matches(['<', '>']);
    let mut document = Document { created: page.date, ..Document::new(id, page.text, source) };
    let metadata = [
        ("warc_url", Value::from(address)),
        ("url", Value::from(address.split_once("://").map_or(address, |(_, rest)| rest))),
        ("warc_date", Value::from(record.header("WARC-Date").unwrap_or_default())),
        ("warc_filename", Value::from(archive)),
        ("content_type", Value::from(page.content_type)),
        ("uncompressed_offset", Value::from(record.offset)),
    ];
    document.metadata.extend(metadata.map(|(name, value)| (name.to_owned(), value)));
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::super::intake::OnBad;
    use super::*;
    use crate::source::expand_named;
    use crate::testing::read;
    use std::io::Write;

    fn record(kind: &str, more: &str, block: &[u8]) -> Vec<u8> {
        let head = format!("WARC/1.0\r\nWARC-Type: {kind}\r\n{more}Content-Length: {}\r\n\r\n", block.len());
        [head.as_bytes(), block, b"\r\n\r\n"].concat()
    }

    fn response(n: u32) -> Vec<u8> {
        let head = format!(
            "WARC-Target-URI: https://example.org/{n}\r\nWARC-Date: 2024-01-0{n}T00:00:00Z\r\nWARC-Payload-Digest: sha1:ABC{n}\r\n"
        );
        let body =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Mon, 01 Jan 2024 00:00:0{n} GMT\r\n\r\n<p>Page {n}</p>");
        record("response", &head, body.as_bytes())
    }

    fn gz(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            encoder.write_all(record).unwrap();
            encoder.finish().unwrap();
        }
        out
    }

    fn import(name: &str, bytes: &[u8], on_bad: OnBad) -> Result<(ImportedWarc, Vec<Document>), String> {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let files = expand_named(&[path.display().to_string()]).unwrap();
        let care = Care { on_bad, max_line_bytes: 4096, ..Care::default() };
        let outcome = read_warc(&files, "web", care, output.path(), &()).map_err(|error| error.to_string())?;
        Ok((outcome, read(output.path())))
    }

    #[test]
    fn pages_of_responses() {
        let info = record("warcinfo", "WARC-Filename: CRAWL-1.warc.gz\r\n", b"software: x\r\n");
        let missing = record("response", "", b"HTTP/1.1 404 No\r\n\r\n");
        let blank = record("response", "", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p> </p>");
        let all = [info.clone(), record("request", "", b"GET /"), response(1), missing, blank, response(2)];
        for (name, bytes) in [("a.warc.gz", gz(&all)), ("a.warc", all.concat())] {
            let (outcome, documents) = import(name, &bytes, OnBad::Stop).unwrap();
            assert_eq!((outcome.imported.kept.documents, outcome.other, outcome.empty), (2, 3, 1));
            let first = &documents[0];
            assert_eq!((first.id.as_str(), first.text.as_str(), first.source.as_str()), ("abc1", "Page 1", "web"));
            assert_eq!(first.created, "2024-01-01T00:00:01.000Z");
            let offset = info.len() + all[1].len();
            let metadata = serde_json::json!({
                "warc_url": "https://example.org/1", "url": "example.org/1", "warc_date": "2024-01-01T00:00:00Z",
                "warc_filename": "CRAWL-1.warc.gz", "content_type": "text/html", "uncompressed_offset": offset,
            });
            assert_eq!(Value::Object(first.metadata.clone()), metadata);
        }
    }

    #[test]
    fn damaged_records_cost_what_is_damaged() {
        let long = record("response", "", &[b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 5000]].concat());
        let odd = record("response", "", b"not http");
        let whole = [response(1), long, odd, response(2)].concat();
        let (outcome, documents) = import("a.warc", &whole, OnBad::Skip).unwrap();
        assert_eq!((outcome.imported.bad, documents.len()), (2, 2));
        let error = import("a.warc", &whole, OnBad::Stop).unwrap_err();
        assert!(error.contains("a.warc:2: the record has 5019 bytes, more than the 4096 allowed"), "{error}");
        let cut = gz(&[response(1), response(2)]);
        let (outcome, documents) = import("a.warc.gz", &cut[..cut.len() - 40], OnBad::Skip).unwrap();
        assert_eq!((outcome.imported.bad, documents.len()), (1, 1));
        let (outcome, documents) = import("a.warc", &whole[..whole.len() - 20], OnBad::Skip).unwrap();
        assert_eq!((outcome.imported.bad, documents.len()), (3, 1));
        let (outcome, _) = import("a.warc", b"WARC/1.0\r\nnonsense\r\n\r\n", OnBad::Skip).unwrap();
        assert_eq!(outcome.imported.bad, 1);
        assert_eq!(import("a.warc", b"", OnBad::Stop).unwrap().1.len(), 0);
        assert!(import("a.warc", b"just text\n", OnBad::Stop).unwrap_err().contains("1 lines are no record"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(128))]
        #[test]
        fn any_bytes_are_safe(bytes in "(WARC/1.0\r\n|WARC-Type: response\r\n|Content-Length: (5|70|9999999999999999999)\r\n|\r\n|HTTP/1.1 200 OK\r\n|Content-Type: text/html; charset=|Content-Encoding: gzip\r\n|<table><tr><td>|<p>|\\PC){0,30}") {
            let _ = import("a.warc", bytes.as_bytes(), OnBad::Skip);
        }
    }
}
