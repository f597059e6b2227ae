//! Replaces spans of a text that an attribute, a JSONPath or a jq program names. Knows spans and texts; finds nothing by itself.
//!
//! A span counts when `min_score ≤ score < max_score`. The replacement may hold `{}` for the covered text, or begin with `$` and be a
//! jq program on the document that gives a text. [`Semantics::Dolma12`] is the walk of the Dolma toolkit; ours differs in two points:
//! a span that begins inside another one extends what is replaced, where Dolma leaves its tail standing; and an empty span inserts its
//! replacement, where Dolma loses a character and every later replacement.

use super::{Expression, FilterReport, Jq};
use crate::dedup::{Semantics, changed};
use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What replaces which spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanReplacement {
    /// Key of an attribute, a JSONPath that begins with `$`, or a jq program after `jq:`.
    pub span: String,
    /// Spans of a lower score stay.
    pub min_score: f64,
    /// Spans of this score or a higher one stay.
    pub max_score: f64,
    /// The text put in place.
    pub with: String,
}

enum Selector {
    Attribute(String),
    Expression(Expression),
}

enum With {
    Text(String),
    Jq(Jq),
}

struct Compiled {
    selector: Selector,
    range: (f64, f64),
    with: With,
}

fn compile(replacement: &SpanReplacement) -> Result<Compiled, DataError> {
    let wrong = |message: String| DataError::Params(format!("spans `{}`: {message}", replacement.span));
    let expression = replacement.span.starts_with('$') || replacement.span.starts_with("jq:");
    let selector = if expression {
        Selector::Expression(Expression::parse(&replacement.span).map_err(wrong)?)
    } else {
        Selector::Attribute(replacement.span.clone())
    };
    let with = match replacement.with.strip_prefix('$') {
        Some(program) => With::Jq(Jq::compile(program).map_err(wrong)?),
        None => With::Text(replacement.with.clone()),
    };
    Ok(Compiled { selector, range: (replacement.min_score, replacement.max_score), with })
}

/// A span to replace, in code points, and what by.
#[derive(Debug)]
struct Cut<'a> {
    start: u64,
    end: u64,
    with: std::borrow::Cow<'a, str>,
}

/// Replaces spans in every document of `input`. Documents left with less than `least_bytes` of text (without surrounding space) are
/// dropped, and those left with none always; a document whose text changed loses its attributes. Fails, with the document's id, on
/// spans that leave the text.
pub fn replace_spans(
    input: &Path,
    output: &Path,
    replacements: &[SpanReplacement],
    least_bytes: usize,
    semantics: Semantics,
    observer: &dyn Observer,
) -> Result<FilterReport, DataError> {
    let compiled: Vec<Compiled> = replacements.iter().map(compile).collect::<Result<_, _>>()?;
    let (mut report, changes) = (FilterReport::default(), AtomicU64::new(0));
    let mut writer = LineWriter::create(output)?;
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        rows.iter().for_each(|row| report.read += Totals { documents: 1, bytes: row.text.len() as u64 });
        write_lines(
            &mut writer,
            batch,
            &rows,
            |row| row.text.len(),
            |_, row, number, line| {
                let wrong = |message| DataError::Document { id: row.id.clone().into_owned(), message };
                let small = |text: &str| text.trim().len() < least_bytes.max(1);
                let mut document: Document = decode(batch, number, line)?;
                let cuts = cuts(&document, line, &compiled).map_err(wrong)?;
                let text = match (cuts.is_empty(), semantics) {
                    (true, _) => return Ok(if least_bytes > 0 && small(&row.text) { Fate::Drop } else { Fate::Keep }),
                    (false, Semantics::Mended) => mended(&row.text, &cuts).map_err(wrong)?,
                    (false, Semantics::Dolma12) => dolma(&row.text, &cuts),
                };
                changes.fetch_add(u64::from(text != row.text), Ordering::Relaxed);
                if small(&text) {
                    return Ok(Fate::Drop);
                }
                document.replace_text(text);
                changed(&document)
            },
        )
    })?;
    report.changed = changes.into_inner();
    report.kept = writer.finish()?;
    observer.metric("changed_documents", report.changed as f64);
    Ok(report)
}

fn cuts<'a>(document: &Document, line: &[u8], replacements: &'a [Compiled]) -> Result<Vec<Cut<'a>>, String> {
    let mut cuts = Vec::new();
    for replacement in replacements {
        let spans: Vec<(u64, u64, f64)> = match &replacement.selector {
            Selector::Attribute(key) => {
                document.attributes.get(key).into_iter().flatten().map(|span| (span.start, span.end, span.score)).collect()
            }
            Selector::Expression(expression) => expression.spans(line)?,
        };
        let (least, most) = replacement.range;
        for (start, end, _) in spans.into_iter().filter(|(.., score)| *score >= least && *score < most) {
            let with = match &replacement.with {
                With::Text(text) => text.as_str().into(),
                With::Jq(program) => program.text(line)?.into(),
            };
            cuts.push(Cut { start, end, with });
        }
    }
    cuts.sort_by_key(|cut| cut.start);
    Ok(cuts)
}

fn mended(text: &str, cuts: &[Cut<'_>]) -> Result<String, String> {
    // Byte of each code point, and of the end.
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let length = places.len() as u64 - 1;
    if let Some(cut) = cuts.iter().find(|cut| cut.end > length || cut.start > cut.end) {
        return Err(format!(
            "a span goes from {} to {}, but the text has {length} characters; were the attributes made for it?",
            cut.start, cut.end
        ));
    }
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut rest) = (0u64, cuts);
    while let Some((first, others)) = rest.split_first() {
        let mut end = first.end;
        let inside = others.iter().take_while(|cut| {
            let inside = cut.start < end;
            if inside {
                end = end.max(cut.end);
            }
            inside
        });
        let count = inside.count();
        let slice = |from: u64, to: u64| &text[places[from as usize]..places[to as usize]];
        out.push_str(slice(copied, first.start));
        out.push_str(&first.with.replace("{}", slice(first.start, end)));
        copied = end;
        rest = &others[count..];
    }
    out.push_str(&text[places[copied as usize]..]);
    Ok(out)
}

/// Character by character, with one span at a time: after the end of a span, those that began before it are passed over.
fn dolma(text: &str, cuts: &[Cut<'_>]) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut index, mut begin) = (0, 0);
    for (at, (byte, c)) in (0u64..).zip(text.char_indices()) {
        let Some(cut) = cuts.get(index) else {
            out.push(c);
            continue;
        };
        if at == cut.start {
            begin = byte;
        }
        if at >= cut.start && at < cut.end {
            continue;
        }
        if at == cut.end {
            out.push_str(&cut.with.replace("{}", &text[begin..byte]));
            while cuts.get(index).is_some_and(|cut| cut.start < at) {
                index += 1;
            }
        }
        if cuts.get(index).is_some_and(|cut| cut.start == at) {
            begin = byte;
        } else {
            out.push(c);
        }
    }
    if let Some(cut) = cuts.get(index) {
        out.push_str(&cut.with.replace("{}", &text[begin..]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Span;
    use crate::testing::{read, write};

    fn cut(start: u64, end: u64, with: &str) -> Cut<'_> {
        Cut { start, end, with: with.into() }
    }

    #[test]
    fn both_walks() {
        let cuts = [cut(2, 4, "<{}>"), cut(4, 5, "-"), cut(8, 10, "!")];
        assert_eq!(mended("0123456789", &cuts).unwrap(), "01<23>-567!");
        assert_eq!(dolma("0123456789", &cuts), "01<23>-567!");
        let overlapping = [cut(1, 4, "<{}>"), cut(3, 6, "?")];
        assert_eq!(mended("é1234567", &overlapping).unwrap(), "é<12345>67");
        assert_eq!(dolma("é1234567", &overlapping), "é<123>4567", "the tail of the second stays");
        let empty = [cut(2, 2, "+"), cut(4, 5, "-")];
        assert_eq!(mended("0123456", &empty).unwrap(), "01+23-56");
        assert_eq!(dolma("0123456", &empty), "01+3456+", "a character and the later replacement are lost");
        assert!(mended("01", &[cut(1, 3, "")]).unwrap_err().contains("has 2 characters"));
    }

    #[test]
    fn spans_by_attribute_path_and_program() {
        let mut document = Document::new("d", "name: bob, age: 7", "s");
        document
            .attributes
            .insert("k".into(), vec![Span { start: 6, end: 9, score: 0.9 }, Span { start: 16, end: 17, score: 0.4 }]);
        document.metadata.insert("label".into(), "PERSON".into());
        let input = write(&[document, Document::new("e", "nothing", "s")]);
        let replaced = |span: &str, min_score: f64, max_score: f64, with: &str| {
            let output = tempfile::tempdir().unwrap();
            let replacement = SpanReplacement { span: span.into(), min_score, max_score, with: with.into() };
            let report = replace_spans(input.path(), output.path(), &[replacement], 0, Semantics::Mended, &()).unwrap();
            assert_eq!((report.changed, report.kept.documents), (1, 2));
            read(output.path())[0].text.clone()
        };
        assert_eq!(replaced("k", 0.5, f64::INFINITY, "[{}]"), "name: [bob], age: 7");
        assert_eq!(replaced("$.attributes.k", f64::NEG_INFINITY, 0.9, ""), "name: bob, age: ", "the upper end is not included");
        assert_eq!(replaced("jq:.attributes.k // []", 0.5, 1.0, "$\"<\\(.metadata.label)>\""), "name: <PERSON>, age: 7");
    }

    #[test]
    fn short_texts_go_and_mistakes_are_named() {
        let mut document = Document::new("d", "abc", "s");
        document.attributes.insert("k".into(), vec![Span { start: 0, end: 9, score: 1.0 }]);
        let input = write(&[document, Document::new("e", "ab", "s"), Document::new("f", "abcdef", "s")]);
        let output = tempfile::tempdir().unwrap();
        let replacement = |span: &str| SpanReplacement { span: span.into(), min_score: 0.0, max_score: 2.0, with: String::new() };
        let run = |span: &str, semantics| replace_spans(input.path(), output.path(), &[replacement(span)], 3, semantics, &());
        let error = run("k", Semantics::Mended).unwrap_err().to_string();
        assert!(error.starts_with("document `d`: a span goes from 0 to 9"), "{error}");
        run("k", Semantics::Dolma12).unwrap();
        assert_eq!(read(output.path()).into_iter().map(|document| document.id).collect::<Vec<_>>(), ["f"]);
        assert!(run("$.attributes[", Semantics::Mended).unwrap_err().to_string().contains("spans `$.attributes[`"));
    }
}
