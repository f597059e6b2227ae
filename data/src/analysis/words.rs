//! Splits text into words as Unicode Standard Annex 29 does, and leaves out what is only white space.
//! Knows no document. ASCII is decided by a table of its own, anything else by `unicode-segmentation`; both give the same words.

use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation;

/// How a byte takes part in the rules WB3 to WB13b of UAX 29 (ASCII has no other classes that matter).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Letter,
    Digit,
    /// `_`, ExtendNumLet.
    Joiner,
    /// `:`, MidLetter.
    MidLetter,
    /// `,` and `;`, MidNum.
    MidDigit,
    /// `.` and `'`, MidNumLet and Single_Quote.
    Mid,
    Space,
    Other,
    /// First or later byte of a character beyond ASCII.
    Wide,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Wide; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'_' => Class::Joiner,
            b':' => Class::MidLetter,
            b',' | b';' => Class::MidDigit,
            b'.' | b'\'' => Class::Mid,
            b'\t'..=b'\r' | b' ' => Class::Space,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

/// Calls `each` with every word of a text in order, as bytes of the text. Punctuation marks are words of their own.
pub(crate) fn for_each_word(text: &str, mut each: impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let class = |at: usize| bytes.get(at).map_or(Class::Space, |&byte| CLASSES[byte as usize]);
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let first = class(at);
        at += 1;
        let decided = match first {
            Class::Wide => false,
            Class::Space => {
                if class(at) != Class::Wide {
                    continue;
                }
                false
            }
            Class::Letter | Class::Digit | Class::Joiner => {
                let mut last = first;
                loop {
                    let next = class(at);
                    let between = match next {
                        Class::Letter | Class::Digit | Class::Joiner => {
                            last = next;
                            at += 1;
                            continue;
                        }
                        Class::Mid => last != Class::Joiner,
                        Class::MidLetter => last == Class::Letter,
                        Class::MidDigit => last == Class::Digit,
                        Class::Wide => break false,
                        Class::Space | Class::Other => break true,
                    };
                    let after = class(at + 1);
                    if after == Class::Wide {
                        break false;
                    }
                    if !between || after != last {
                        break true;
                    }
                    at += 2;
                }
            }
            Class::MidLetter | Class::MidDigit | Class::Mid | Class::Other => class(at) != Class::Wide,
        };
        if decided {
            each(start..at);
            continue;
        }
        // The rules look no further than to a space that something in ASCII follows.
        let end = (at..bytes.len())
            .find(|&i| CLASSES[bytes[i] as usize] == Class::Space && class(i + 1) != Class::Wide)
            .unwrap_or(bytes.len());
        for (offset, word) in text[start..end].split_word_bound_indices() {
            if !word.chars().all(char::is_whitespace) {
                each(start + offset..start + offset + word.len());
            }
        }
        at = end;
    }
}

/// Number of words of a text.
pub(crate) fn count_words(text: &str) -> u64 {
    let mut words = 0;
    for_each_word(text, |_| words += 1);
    words
}

/// The words of a text in lower case and without punctuation: what phrases are compared by.
pub(crate) fn for_each_folded(text: &str, buffer: &mut String, mut each: impl FnMut(&str)) {
    for_each_word(text, |range| {
        let word = &text[range];
        if !word.chars().any(char::is_alphanumeric) {
            return;
        }
        buffer.clear();
        if word.is_ascii() {
            buffer.push_str(word);
            buffer.make_ascii_lowercase();
        } else {
            buffer.extend(word.chars().flat_map(char::to_lowercase));
        }
        each(buffer);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(text: &str) -> Vec<&str> {
        text.split_word_bounds().filter(|word| !word.chars().all(char::is_whitespace)).collect()
    }

    fn found(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for_each_word(text, |range| words.push(&text[range]));
        words
    }

    #[test]
    fn words_of_a_sentence() {
        assert_eq!(
            found("Don't pay $3.50, x_1: naïve\r\n 日本 a.b. e.é"),
            expected("Don't pay $3.50, x_1: naïve\r\n 日本 a.b. e.é")
        );
        assert_eq!(found("Hi there. RSS 2.0"), ["Hi", "there", ".", "RSS", "2.0"]);
        let mut folded = Vec::new();
        for_each_folded("ÉTÉ, it's!", &mut String::new(), |word| folded.push(word.to_owned()));
        assert_eq!(folded, ["été", "it's"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn the_same_as_the_library(text in r#"([aZ09_:,;.'" \t\r\n!\x1c-]|é|\u{308}|\u{200d}|א|日|カ|\u{3000}|🇫|👩|\u{85}|٣|\u{ad}){0,24}"#) {
            prop_assert_eq!(found(&text), expected(&text));
        }
        #[test]
        fn the_same_for_any_text(text in any::<String>()) {
            prop_assert_eq!(found(&text), expected(&text));
        }
    }
}
