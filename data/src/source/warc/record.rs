//! Records of WARC files (ISO 28500): a line `WARC/1.x`, headers, a blank line, a block of the length they say.
//! Knows the frame of records; not what is in their blocks.

use std::io::{BufRead, Error, ErrorKind, Read};

/// Bytes of headers above which a record is none.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Bytes of the decompressed file before it.
    pub(crate) offset: u64,
    headers: Vec<(String, String)>,
    /// Its block; empty if that was too long.
    pub(crate) block: Vec<u8>,
}

impl Record {
    /// A header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// A record.
    Record(Record),
    /// Something that is no record, or one that is too long; reading goes on after it.
    Bad(String),
    /// Nothing.
    End,
}

/// Reads the records of one decompressed file.
pub(crate) struct Records<R> {
    reader: R,
    at: u64,
    max_block_bytes: u64,
    /// The first line of a record was read already.
    begun: bool,
    /// Where that line began.
    head: u64,
}

impl<R: BufRead> Records<R> {
    /// Blocks of more than `max_block_bytes` are passed over.
    pub(crate) fn new(reader: R, max_block_bytes: u64) -> Records<R> {
        Records { reader, at: 0, max_block_bytes, begun: false, head: 0 }
    }

    /// The next record. An error means that the file cannot be read on.
    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        let mut line = Vec::new();
        let mut strange = 0u64;
        while !self.begun {
            self.head = self.at;
            let ended = self.line(&mut line)? == 0;
            self.begun = line.starts_with(b"WARC/");
            if strange > 0 && (ended || self.begun) {
                return Ok(Next::Bad(format!("{strange} lines are no record")));
            }
            if ended {
                return Ok(Next::End);
            }
            strange += u64::from(!self.begun && !line.iter().all(u8::is_ascii_whitespace));
        }
        self.begun = false;
        let offset = self.head;
        let (mut headers, mut size) = (Vec::<(String, String)>::new(), 0);
        loop {
            let n = self.line(&mut line)?;
            size += n;
            if n == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends among the headers of a record"));
            }
            if size > MAX_HEAD_BYTES {
                return Ok(Next::Bad(format!("the headers have more than {MAX_HEAD_BYTES} bytes")));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                break;
            }
            if let (true, Some(last)) = (text.starts_with([' ', '\t']), headers.last_mut()) {
                last.1 = format!("{} {}", last.1, text.trim());
            } else if let Some((name, value)) = text.split_once(':') {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            } else {
                return Ok(Next::Bad(format!("`{}` is no header", text.chars().take(80).collect::<String>())));
            }
        }
        let mut record = Record { offset, headers, block: Vec::new() };
        let Some(length) = record.header("Content-Length").and_then(|length| length.parse::<u64>().ok()) else {
            return Ok(Next::Bad("the record has no length".to_owned()));
        };
        if length > self.max_block_bytes {
            self.pass(length)?;
            let most = self.max_block_bytes;
            return Ok(Next::Bad(format!("the record has {length} bytes, more than the {most} allowed; raise max_record_bytes")));
        }
        let read = self.reader.by_ref().take(length).read_to_end(&mut record.block)?;
        self.at += read as u64;
        if (read as u64) < length {
            return Err(Error::new(
                ErrorKind::UnexpectedEof,
                format!("the file ends {} bytes before a record does", length - read as u64),
            ));
        }
        Ok(Next::Record(record))
    }

    fn line(&mut self, line: &mut Vec<u8>) -> Result<usize, Error> {
        line.clear();
        let n = self.reader.by_ref().take(MAX_HEAD_BYTES as u64).read_until(b'\n', line)?;
        self.at += n as u64;
        Ok(n)
    }

    fn pass(&mut self, length: u64) -> Result<(), Error> {
        let passed = std::io::copy(&mut self.reader.by_ref().take(length), &mut std::io::sink())?;
        self.at += passed;
        if passed < length {
            return Err(Error::new(
                ErrorKind::UnexpectedEof,
                format!("the file ends {} bytes before a record does", length - passed),
            ));
        }
        Ok(())
    }
}
