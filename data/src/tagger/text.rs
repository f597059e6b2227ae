//! A text with its words, paragraphs and code-point offsets found once, for all taggers that want them.
//! Knows no tagger.

use super::Compat;
use super::python::{is_space, is_space_byte, strip};
use crate::document::Span;
use std::cell::OnceCell;
use std::ops::Range;

/// A word: a maximal run of characters that are not space (Python's `str.split()`).
#[derive(Clone, Debug)]
pub struct Word {
    /// Its bytes in the text.
    pub bytes: Range<usize>,
    /// Its length in code points.
    pub chars: usize,
}

/// A paragraph of a text.
#[derive(Clone, Debug)]
pub struct Paragraph {
    /// Its bytes, the newline included.
    pub bytes: Range<usize>,
    /// Its first code point.
    pub start: u64,
    /// One past its last code point.
    pub end: u64,
    /// Whether it is only space.
    pub blank: bool,
}

/// A text, with what has been found in it so far.
#[derive(Debug)]
pub struct Text<'a> {
    text: &'a str,
    compat: Compat,
    paragraphs: OnceCell<Vec<Paragraph>>,
    words: OnceCell<Vec<Word>>,
    lower: OnceCell<Option<String>>,
    offsets: OnceCell<Offsets>,
}

impl<'a> Text<'a> {
    /// Nothing is computed yet.
    pub fn new(text: &'a str) -> Text<'a> {
        Text::with(text, Compat::None)
    }

    /// Nothing is computed yet; taggers will follow these rules.
    pub fn with(text: &'a str, compat: Compat) -> Text<'a> {
        let (words, lower) = (OnceCell::new(), OnceCell::new());
        Text { text, compat, paragraphs: OnceCell::new(), words, lower, offsets: OnceCell::new() }
    }

    /// Whether taggers keep the quirks of the Dolma toolkit.
    pub fn is_dolma(&self) -> bool {
        self.compat == Compat::Dolma12
    }

    /// Pieces that end with a newline or the text, blank ones too (Dolma's `split_paragraphs`).
    pub fn paragraphs(&self) -> &[Paragraph] {
        self.paragraphs.get_or_init(|| {
            let (mut byte, mut start) = (0, 0u64);
            let ascii = self.is_ascii();
            let pieces = self.text.split_inclusive('\n').map(|piece| {
                let chars = if ascii { piece.len() } else { starts(piece.as_bytes()) } as u64;
                let found =
                    Paragraph { bytes: byte..byte + piece.len(), start, end: start + chars, blank: strip(piece).is_empty() };
                byte += piece.len();
                start += chars;
                found
            });
            pieces.collect()
        })
    }

    /// The paragraphs that are not only space.
    pub fn full_paragraphs(&self) -> impl Iterator<Item = (&'a str, &Paragraph)> {
        self.paragraphs()
            .iter()
            .filter(|paragraph| !paragraph.blank)
            .map(|paragraph| (&self.text[paragraph.bytes.clone()], paragraph))
    }

    /// Whether the text has ASCII only.
    pub fn is_ascii(&self) -> bool {
        self.offsets.get_or_init(|| Offsets::new(self.text)).blocks.is_empty()
    }

    /// A span over the whole text.
    pub fn whole(&self, score: f64) -> Span {
        Span { start: 0, end: self.chars() as u64, score }
    }

    /// A span of score 1 over a range of bytes.
    pub fn span(&self, bytes: Range<usize>) -> Span {
        Span { start: self.offset(bytes.start) as u64, end: self.offset(bytes.end) as u64, score: 1.0 }
    }

    /// The text itself.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The words in order.
    pub fn words(&self) -> &[Word] {
        self.words.get_or_init(|| split(self.text))
    }

    /// The string of a word.
    pub fn word(&self, word: &Word) -> &'a str {
        &self.text[word.bytes.clone()]
    }

    /// The text in lower case (full Unicode mapping, as Python's `str.lower()`).
    pub fn lower(&self) -> &str {
        self.lower
            .get_or_init(|| {
                if self.text.is_ascii() {
                    self.text.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| self.text.to_ascii_lowercase())
                } else {
                    Some(self.text.to_lowercase())
                }
            })
            .as_deref()
            .unwrap_or(self.text)
    }

    /// Length of the text in code points.
    pub fn chars(&self) -> usize {
        self.offset(self.text.len())
    }

    /// The code-point offset of a byte offset.
    pub fn offset(&self, byte: usize) -> usize {
        self.offsets.get_or_init(|| Offsets::new(self.text)).of(self.text, byte)
    }
}

/// Code-point offsets of a text's bytes.
#[derive(Debug)]
pub(crate) struct Offsets {
    /// Code points before each block of [`BLOCK`] bytes; empty for ASCII, where offsets are the same.
    blocks: Vec<u32>,
}

const BLOCK: usize = 128;

impl Offsets {
    pub(crate) fn new(text: &str) -> Offsets {
        if text.is_ascii() {
            return Offsets { blocks: Vec::new() };
        }
        let mut before = 0;
        let blocks = text
            .as_bytes()
            .chunks(BLOCK)
            .map(|block| {
                let here = before;
                before += starts(block) as u32;
                here
            })
            .collect();
        Offsets { blocks }
    }

    /// Code points of `text` that start before `byte`.
    pub(crate) fn of(&self, text: &str, byte: usize) -> usize {
        if self.blocks.is_empty() {
            return byte;
        }
        let block = (byte / BLOCK).min(self.blocks.len() - 1);
        self.blocks[block] as usize + starts(&text.as_bytes()[block * BLOCK..byte])
    }
}

/// Number of bytes that begin a code point.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| (byte as i8) >= -0x40).count()
}

/// Python's `str.split()`.
pub(crate) fn split(text: &str) -> Vec<Word> {
    let bytes = text.as_bytes();
    let mut words = Vec::with_capacity(bytes.len() / 6);
    let mut start = None;
    let mut continuation = 0;
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        let (space, width) = if byte < 0x80 {
            (is_space_byte(byte), 1)
        } else {
            match text[i..].chars().next() {
                Some(c) => (is_space(c), c.len_utf8()),
                None => break,
            }
        };
        match (space, start) {
            (true, Some(from)) => {
                words.push(Word { bytes: from..i, chars: i - from - continuation });
                start = None;
            }
            (false, None) => {
                start = Some(i);
                continuation = width - 1;
            }
            (false, Some(_)) => continuation += width - 1,
            (true, None) => {}
        }
        i += width;
    }
    if let Some(from) = start {
        words.push(Word { bytes: from..bytes.len(), chars: bytes.len() - from - continuation });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_python_splits() {
        let text = Text::new(" a\u{1c}bé\u{3000}\u{a0}日本\u{200b}x \n");
        let words: Vec<_> = text.words().iter().map(|word| (text.word(word), word.chars)).collect();
        assert_eq!(words, [("a", 1), ("bé", 2), ("日本\u{200b}x", 4)]);
    }

    proptest! {
        #[test]
        fn split_and_offsets_agree_with_the_plain_definitions(text in "[ a\\n\u{a0}é日😀\u{1f}]{0,400}") {
            let view = Text::new(&text);
            let plain: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
            let words: Vec<&str> = view.words().iter().map(|word| view.word(word)).collect();
            prop_assert_eq!(words, plain);
            for word in view.words() {
                prop_assert_eq!(word.chars, view.word(word).chars().count());
            }
            for (chars, (byte, _)) in text.char_indices().enumerate() {
                prop_assert_eq!(view.offset(byte), chars);
            }
            prop_assert_eq!(view.chars(), text.chars().count());
        }
    }
}
