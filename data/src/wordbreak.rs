//! Tokens of a text as UAX 29 cuts it, without those of white space: words, numbers, and every other character by itself.
//! Knows nothing of what tokens are counted for. Lines of ASCII take a short way that gives the same cuts.

use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation;

/// Calls `each` with the byte range of every token, in order.
pub(crate) fn for_each_token(text: &str, mut each: impl FnMut(Range<usize>)) {
    // A line end is always a boundary.
    let mut start = 0;
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |at| start + at + 1);
        let line = &text[start..end];
        if line.is_ascii() {
            ascii(line.as_bytes(), start, &mut each);
        } else {
            for (at, piece) in line.split_word_bound_indices() {
                if !piece.chars().all(char::is_whitespace) {
                    each(start + at..start + at + piece.len());
                }
            }
        }
        start = end;
    }
}

/// The byte ranges of all tokens.
pub(crate) fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::with_capacity(text.len() / 5);
    for_each_token(text, |range| found.push(range));
    found
}

/// The rules WB5 to WB13b over ASCII: letters, digits and underscores join, `:` `.` `'` join letters, `,` `;` `.` `'` join digits.
fn ascii(line: &[u8], base: usize, each: &mut impl FnMut(Range<usize>)) {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut at = 0;
    while at < line.len() {
        let (start, byte) = (at, line[at]);
        at += 1;
        if word(byte) {
            while let Some(&next) = line.get(at) {
                if word(next) {
                    at += 1;
                    continue;
                }
                let (before, after) = (line[at - 1], line.get(at + 1).copied().unwrap_or(0));
                let joins = match next {
                    b'.' | b'\'' => {
                        (before.is_ascii_alphabetic() && after.is_ascii_alphabetic())
                            || (before.is_ascii_digit() && after.is_ascii_digit())
                    }
                    b':' => before.is_ascii_alphabetic() && after.is_ascii_alphabetic(),
                    b',' | b';' => before.is_ascii_digit() && after.is_ascii_digit(),
                    _ => false,
                };
                if !joins {
                    break;
                }
                at += 2;
            }
        } else if byte.is_ascii_whitespace() || byte == 0x0b {
            continue;
        }
        each(base + start..base + at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(text: &str) -> Vec<&str> {
        text.split_word_bounds().filter(|piece| !piece.trim().is_empty()).collect()
    }

    #[test]
    fn words_numbers_and_marks() {
        let text = "can't 3.14, 1,000;5 x_y foo:bar a.b. don’t\r\n\u{1c} é!";
        let found: Vec<&str> = tokens(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, slow(text));
        assert_eq!(found[..3], ["can't", "3.14", ","]);
    }

    proptest! {
        #[test]
        fn the_short_way_gives_the_same(text in "[a-c0-2_:.',;!?\"\\-\t\r\n \u{b}\u{c}\u{1}é日\u{301}👍]{0,24}") {
            let found: Vec<&str> = tokens(&text).into_iter().map(|range| &text[range]).collect();
            prop_assert_eq!(found, slow(&text));
        }
    }
}
