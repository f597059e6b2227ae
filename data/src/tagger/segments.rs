//! Lengths in Unicode word segments (UAX #29) and in the pieces of OLMo's pre-tokenizer.
//! Knows nothing but the text; no vocabulary is involved.

use super::python::strip;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use std::borrow::Cow;
use std::sync::LazyLock;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};
use unicode_segmentation::UnicodeSegmentation;

/// The four taggers of Dolma that count Unicode word segments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Segments {
    /// `uniseg_length_v1`: of the whole text. Dolma counts segments of space here, and only here.
    Whole,
    /// `uniseg_length_paragraphs_v1`: of each paragraph that is not blank, with the negative as a second type.
    Paragraphs,
    /// `uniseg_length_paragraphs_with_empty_v1`: of each paragraph.
    AllParagraphs,
    /// `uniseg_length_paragraphs_with_doc_length_v1`: of each paragraph that is not blank, and their sum.
    ParagraphsAndSum,
}

const PARAGRAPH: &str = "paragraph";
const NEGATIVE: &str = "negative_paragraph";
const DOCUMENT: &str = "document";

impl Tagger for Segments {
    fn name(&self) -> &str {
        match self {
            Segments::Whole => "uniseg_length_v1",
            Segments::Paragraphs => "uniseg_length_paragraphs_v1",
            Segments::AllParagraphs => "uniseg_length_paragraphs_with_empty_v1",
            Segments::ParagraphsAndSum => "uniseg_length_paragraphs_with_doc_length_v1",
        }
    }

    fn group(&self) -> &'static str {
        "segments"
    }

    fn types(&self) -> &'static [Emitted] {
        const TYPES: [Emitted; 4] = [
            Emitted { name: PARAGRAPH, field: "paragraphs", shape: Shape::Spans },
            Emitted { name: NEGATIVE, field: "negative_paragraphs", shape: Shape::Spans },
            Emitted { name: DOCUMENT, field: "document", shape: Shape::Score },
            Emitted { name: "negative_document", field: "negative_document", shape: Shape::Score },
        ];
        match self {
            Segments::Whole => &[Emitted { name: "length", field: "length", shape: Shape::Score }],
            Segments::Paragraphs | Segments::AllParagraphs => TYPES.first_chunk::<2>().map_or(&[], |two| two),
            Segments::ParagraphsAndSum => &TYPES,
        }
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        if matches!(self, Segments::Whole) {
            let stripped = strip(text.as_str());
            let older = older(stripped, text);
            let count = if text.is_dolma() { older.split_word_bounds().count() } else { words(&older) };
            return Found::one("length", text.whole(count as f64));
        }
        let (mut positive, mut negative, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for paragraph in text.paragraphs() {
            if paragraph.blank && !matches!(self, Segments::AllParagraphs) {
                continue;
            }
            let score = words(&older(strip(&text.as_str()[paragraph.bytes.clone()]), text)) as f64;
            sum += score;
            positive.push(Span { start: paragraph.start, end: paragraph.end, score });
            negative.push(Span { start: paragraph.start, end: paragraph.end, score: 0.0 - score });
        }
        let mut found = Found::new();
        found.extend(PARAGRAPH, positive);
        found.extend(NEGATIVE, negative);
        if matches!(self, Segments::ParagraphsAndSum) {
            found.push(DOCUMENT, text.whole(sum));
            found.push("negative_document", text.whole(0.0 - sum));
        }
        found
    }
}

/// Code points that are letters or marks to Unicode 17 and nothing of the kind to the Unicode 16 of Dolma's library.
const NEWER: [(u32, u32); 21] = [
    (0xb8, 0xb8),
    (0x88f, 0x88f),
    (0xc5c, 0xc5c),
    (0xcdc, 0xcdc),
    (0x1acf, 0x1add),
    (0x1ae0, 0x1aeb),
    (0xa7ce, 0xa7cf),
    (0xa7d2, 0xa7d2),
    (0xa7d4, 0xa7d4),
    (0xa7f1, 0xa7f1),
    (0x10940, 0x10959),
    (0x10ec5, 0x10ec7),
    (0x10efa, 0x10efb),
    (0x11b60, 0x11b67),
    (0x11db0, 0x11ddb),
    (0x11de0, 0x11de9),
    (0x16ea0, 0x16eb8),
    (0x16ebb, 0x16ed3),
    (0x1e6c0, 0x1e6de),
    (0x1e6e0, 0x1e6f5),
    (0x1e6fe, 0x1e6ff),
];

/// For Dolma's rules, the text with the characters of [`NEWER`] made plain symbols.
fn older<'a>(string: &'a str, text: &Text<'_>) -> Cow<'a, str> {
    let newer = |c: char| c > '\u{7f}' && super::in_ranges(&NEWER, c);
    if text.is_dolma() && !text.is_ascii() && string.chars().any(newer) {
        return string.chars().map(|c| if newer(c) { '+' } else { c }).collect();
    }
    string.into()
}

/// Segments that are not only space.
fn words(text: &str) -> usize {
    text.split_word_bounds().filter(|segment| !strip(segment).is_empty()).count()
}

/// The two taggers of Dolma that count what OLMo's pre-tokenizer cuts: each punctuation mark and each digit with the space before
/// it, and GPT-2's words between them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pieces {
    /// `olmo_pretokenizer_v1`.
    Whole,
    /// `olmo_pretokenizer_with_paragraphs_v1`: of each paragraph that is not blank, and their sum.
    Paragraphs,
}

/// The library's own pre-tokenizers. `[[:punct:]]` is `\p{P}` to the Oniguruma that Dolma runs on; newer ones add ASCII symbols.
static CUTS: LazyLock<Option<[Split; 2]>> = LazyLock::new(|| {
    let cut = |pattern: &str| Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false).ok();
    Some([cut(r" ?\p{P}")?, cut(" ?\\d")?])
});

fn pieces(text: &str) -> usize {
    let mut cut = PreTokenizedString::from(text);
    let cuts = CUTS.as_ref().expect("constant patterns");
    for split in cuts {
        split.pre_tokenize(&mut cut).expect("splitting cannot fail");
    }
    ByteLevel::new(false, true, true).pre_tokenize(&mut cut).expect("splitting cannot fail");
    cut.get_splits(OffsetReferential::Original, OffsetType::None).len()
}

impl Tagger for Pieces {
    fn name(&self) -> &str {
        match self {
            Pieces::Whole => "olmo_pretokenizer_v1",
            Pieces::Paragraphs => "olmo_pretokenizer_with_paragraphs_v1",
        }
    }

    fn group(&self) -> &'static str {
        "pieces"
    }

    fn types(&self) -> &'static [Emitted] {
        match self {
            Pieces::Whole => &[Emitted { name: "length", field: "length", shape: Shape::Score }],
            Pieces::Paragraphs => &[
                Emitted { name: PARAGRAPH, field: "paragraphs", shape: Shape::Spans },
                Emitted { name: DOCUMENT, field: "length", shape: Shape::Score },
            ],
        }
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        if matches!(self, Pieces::Whole) {
            return Found::one("length", text.whole(pieces(text.as_str()) as f64));
        }
        let (mut spans, mut sum) = (Vec::new(), 0.0);
        for (string, paragraph) in text.full_paragraphs() {
            let score = pieces(string) as f64;
            sum += score;
            spans.push(Span { start: paragraph.start, end: paragraph.end, score });
        }
        let mut found = Found::new();
        found.extend(PARAGRAPH, spans);
        found.push(DOCUMENT, text.whole(sum));
        found
    }
}
