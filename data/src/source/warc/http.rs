//! Text out of an HTTP response as crawlers store it: status, headers and body, the body's encodings undone, its characters decoded,
//! HTML turned into text.
//! Knows HTTP messages and character sets; not the file they came from.

use encoding_rs::{Encoding, UTF_8};
use html2text::render::TrivialDecorator;
use std::borrow::Cow;
use std::io::Read;

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Content type without parameters, lower case.
    pub(crate) content_type: String,
    /// When it was sent, RFC 3339; empty when unknown.
    pub(crate) date: String,
    /// Its text.
    pub(crate) text: String,
}

/// Why a response is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPage {
    /// It is not meant to be one: an error, an image.
    Other,
    /// It cannot be read.
    Bad(String),
}

/// Columns at which text is not wrapped: more than any line has.
const WIDTH: usize = 1 << 20;

/// The page in a response, with at most `limit` bytes once its encodings are undone.
pub(crate) fn page(message: &[u8], limit: u64) -> Result<Page, NoPage> {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut headers);
    let head = match httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut response, message)
    {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Err(NoPage::Bad("the HTTP headers have no end".to_owned())),
        Err(error) => return Err(NoPage::Bad(format!("not an HTTP response: {error}"))),
    };
    let header = |name: &str| -> Cow<'_, str> {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map_or(Cow::Borrowed(""), |header| String::from_utf8_lossy(header.value))
    };
    if response.code.is_none_or(|code| !(200..300).contains(&code)) {
        return Err(NoPage::Other);
    }
    let full_type = header("content-type");
    let content_type = full_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_html = matches!(content_type.as_str(), "text/html" | "application/xhtml+xml" | "");
    if !is_html && content_type != "text/plain" {
        return Err(NoPage::Other);
    }
    let mut body = Cow::Borrowed(&message[head..]);
    if header("transfer-encoding").to_ascii_lowercase().contains("chunked")
        && let Some(whole) = unchunked(&body)
    {
        // Archives often keep the header of a body that they store in one piece.
        body = Cow::Owned(whole);
    }
    let encoding = header("content-encoding").trim().to_ascii_lowercase();
    let is_gzip = body.starts_with(&[0x1f, 0x8b]);
    if matches!(encoding.as_str(), "gzip" | "x-gzip") && is_gzip {
        body = Cow::Owned(decoded(flate2::bufread::MultiGzDecoder::new(&*body), limit)?);
    } else if encoding == "deflate" && body.first().is_some_and(|byte| byte & 0x0f == 8) {
        body = Cow::Owned(decoded(flate2::bufread::ZlibDecoder::new(&*body), limit)?);
    } else if encoding == "br" && std::str::from_utf8(&body).is_err() {
        return Err(NoPage::Bad("its body is compressed as br, which is not read".to_owned()));
    }
    let text = characters(&body, &full_type, is_html);
    let text = if is_html { html(&text)? } else { text.into_owned() };
    Ok(Page { content_type, date: rfc3339(&header("date")).unwrap_or_default(), text })
}

fn decoded(reader: impl Read, limit: u64) -> Result<Vec<u8>, NoPage> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    match read {
        Ok(n) if n as u64 > limit => Err(NoPage::Bad(format!("its body has more than {limit} bytes; raise max_record_bytes"))),
        Ok(_) => Ok(bytes),
        Err(error) => Err(NoPage::Bad(format!("its body cannot be decompressed: {error}"))),
    }
}

/// A chunked body in one piece; `None` if it is not chunked.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let (used, size) = match httparse::parse_chunk_size(body).ok()? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return None,
        };
        body = &body[used..];
        if size == 0 {
            return Some(whole);
        }
        let size = usize::try_from(size).ok()?;
        whole.extend_from_slice(body.get(..size)?);
        body = body[size..].strip_prefix(b"\r\n")?;
    }
}

/// The characters of a body: by its byte order mark, the header, what the page says of itself, or what its bytes look like.
fn characters<'a>(body: &'a [u8], content_type: &str, is_html: bool) -> Cow<'a, str> {
    let named = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let label = &text[lower.find("charset=")? + "charset=".len()..];
        let label = label.trim_start_matches(['"', '\'', ' ']);
        let end = label.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).unwrap_or(label.len());
        Encoding::for_label(&label.as_bytes()[..end])
    };
    let by_mark = Encoding::for_bom(body).map(|(encoding, _)| encoding);
    let own =
        || is_html.then(|| named(&String::from_utf8_lossy(&body[..body.len().min(1024)]).replace('\u{fffd}', " "))).flatten();
    let encoding = by_mark.or_else(|| named(content_type)).or_else(own).unwrap_or_else(|| {
        if std::str::from_utf8(body).is_ok() {
            return UTF_8;
        }
        let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
        detector.feed(body, true);
        detector.guess(None, chardetng::Utf8Detection::Allow)
    });
    encoding.decode(body).0
}

/// The text of a page: blocks on lines of their own, without scripts, styles and decoration.
fn html(page: &str) -> Result<String, NoPage> {
    let convert = || {
        html2text::config::with_decorator(TrivialDecorator::new())
            .raw_mode(true)
            .no_link_wrapping()
            .allow_width_overflow()
            .string_from_read(page.as_bytes(), WIDTH)
    };
    // The library is given whatever the web holds: should it give up on a page, that page is bad and no other.
    match std::panic::catch_unwind(convert) {
        Ok(Ok(text)) => Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()),
        Ok(Err(error)) => Err(NoPage::Bad(format!("not HTML: {error}"))),
        Err(_) => Err(NoPage::Bad("its HTML cannot be turned into text".to_owned())),
    }
}

/// `Tue, 15 Nov 1994 08:12:31 GMT` as `1994-11-15T08:12:31.000Z`.
fn rfc3339(date: &str) -> Option<String> {
    let mut parts = date.split_once(',')?.1.split_ascii_whitespace();
    let day: u32 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = 1 + names.iter().position(|name| month.eq_ignore_ascii_case(name))?;
    let year: u32 = parts.next()?.parse().ok()?;
    let clock: Vec<u32> = parts.next()?.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = clock.try_into().ok()?;
    let sane = (1..=31).contains(&day) && (1000..10_000).contains(&year) && hour < 24 && minute < 60 && second < 61;
    sane.then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
    }

    #[test]
    fn html_becomes_text() {
        let html =
            b"<html><head><title>T</title><style>x{}</style></head><body><h1>One</h1><p>Two <a href='x'>three</a>,\n four.</p>\
            <script>var no = 1;</script><ul><li>five</li></ul></body></html>";
        let page =
            page(&response("Content-Type: text/html; charset=utf-8\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT", html), 1 << 20)
                .unwrap();
        assert_eq!((page.content_type.as_str(), page.date.as_str()), ("text/html", "1994-11-15T08:12:31.000Z"));
        assert!(
            page.text.contains("One") && page.text.contains("Two three, four.") && page.text.contains("five"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("var no") && !page.text.contains("x{}"), "{}", page.text);
    }

    #[test]
    fn characters_are_decoded_by_what_is_known_of_them() {
        let cases: [(&str, &[u8]); 5] = [
            ("Content-Type: text/plain; charset=ISO-8859-1", b"Gr\xf6\xdfe"),
            ("Content-Type: text/html", b"<meta charset=\"windows-1252\"><p>Gr\xf6\xdfe</p>"),
            ("Content-Type: text/plain", "Größe".as_bytes()),
            ("Content-Type: text/plain", b"\xff\xfeG\0r\0\xf6\0\xdf\0e\0"),
            (
                "Content-Type: text/plain",
                b"Die Gr\xf6\xdfe der B\xfccher, sagte M\xfcller, ist f\xfcr die K\xe4ufer sch\xf6n. Gr\xf6\xdfe",
            ),
        ];
        for (headers, body) in cases {
            let page = page(&response(headers, body), 1 << 20).unwrap();
            assert!(page.text.ends_with("Größe"), "{headers}: {}", page.text);
        }
    }

    #[test]
    fn encodings_are_undone_and_bounded() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gz, "x".repeat(10_000).as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let headers = "Content-Type: text/plain\r\nContent-Encoding: gzip";
        assert_eq!(page(&response(headers, &gz), 10_000).unwrap().text.len(), 10_000);
        assert!(matches!(page(&response(headers, &gz), 9_999), Err(NoPage::Bad(_))));
        assert!(matches!(page(&response(headers, &gz[..20]), 1 << 20), Err(NoPage::Bad(_))));
        let chunked = "Content-Type: text/plain\r\nTransfer-Encoding: chunked";
        assert_eq!(page(&response(chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 99).unwrap().text, "abcde");
        assert_eq!(page(&response(chunked, b"not chunked any more"), 99).unwrap().text, "not chunked any more");
    }

    #[test]
    fn what_is_no_page() {
        assert_eq!(page(b"HTTP/1.1 404 Not Found\r\n\r\n", 9), Err(NoPage::Other));
        assert_eq!(page(&response("Content-Type: image/png", b"\x89PNG"), 9), Err(NoPage::Other));
        assert!(matches!(page(b"HTTP/1.1 200 OK\r\nA: b\r\n", 9), Err(NoPage::Bad(_))));
        assert!(matches!(page(b"hello", 9), Err(NoPage::Bad(_))));
        assert_eq!((rfc3339("Tue, 15 Nov 1994 08:12 GMT"), rfc3339("now")), (None, None));
    }
}
