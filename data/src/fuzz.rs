//! What fuzzers call: each takes any bytes and must come back, with nothing accepted that contradicts itself. Not for other use.

use crate::document::parse_row;
use crate::source::jsonl::{Fields, row};
use crate::source::warc;
use crate::source::warc::record::{Next, Records};

/// The most bytes of a record or a page.
const LIMIT: u64 = 1 << 16;

/// A line of a JSON-lines file: what is taken for a document can be written and read back as the same.
pub fn fuzz_row(bytes: &[u8]) {
    for fields in [Fields::default(), Fields { text: "a.b".into(), id: "n".into(), source: Some("s".into()) }] {
        let Ok(document) = row(bytes, &fields, || "file:1".to_owned()) else { continue };
        let line = serde_json::to_vec(&document).expect("a document that was read can be written");
        assert!(!line.contains(&b'\n'));
        let again: crate::Document = serde_json::from_slice(&line).expect("a document that was written can be read");
        assert_eq!(again, document);
    }
}

/// A row of an attribute file: its spans are in order and survive being written.
pub fn fuzz_attributes(bytes: &[u8]) {
    let Ok((id, attributes)) = parse_row(bytes) else { return };
    assert!(attributes.values().flatten().all(|span| span.start <= span.end));
    let line = serde_json::json!({ "id": id, "attributes": attributes }).to_string();
    assert_eq!(parse_row(line.as_bytes()), Ok((id, attributes)));
}

/// A decompressed WARC file: reading ends, records lie one after another and within the file, and a page is no larger than it may be.
pub fn fuzz_warc(bytes: &[u8]) {
    let mut records = Records::new(bytes, LIMIT);
    let mut last = None;
    for _ in 0..=2 * bytes.len() {
        match records.next() {
            Ok(Next::Record(record)) => {
                let end = record.offset + record.block.len() as u64;
                assert!(last.is_none_or(|last| record.offset >= last) && end <= bytes.len() as u64);
                last = Some(end);
                if let Ok(document) = warc::document(&record, "archive", "source", LIMIT) {
                    assert!(!document.id.is_empty() || record.header("WARC-Payload-Digest").is_some());
                }
            }
            Ok(Next::Bad(_)) => {}
            Ok(Next::End) | Err(_) => return,
        }
    }
    panic!("reading does not end");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn pieces_of_the_formats(parts in proptest::collection::vec("(\\{\"id\":|\"text\":|\"a\"|\"attributes\":\\{\"k\":\\[\\[0,1,2.5e300\\]\\]\\}|\\}|,|\"n\":1|\"a\":\\{\"b\":\"x\"\\}|null|WARC/1.0\r\n|Content-Length: [0-9]{1,2}\r\n|WARC-Type: response\r\n|\r\n|HTTP/1.1 200 OK\r\n|<p>|\\PC){0,12}", 0..4)) {
            let bytes = parts.concat();
            fuzz_row(bytes.as_bytes());
            fuzz_attributes(bytes.as_bytes());
            fuzz_warc(bytes.as_bytes());
        }
    }
}
