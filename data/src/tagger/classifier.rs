//! Taggers that ask a fastText classifier: language, toxicity, quality, topic, by document, paragraph or sentence.
//! Knows how each of Dolma's taggers prepares text and reads labels; the model is the caller's.

use super::code::is_line_end;
use super::python::{is_space, strip};
use super::{Emitted, Found, Tagger, Text};
use crate::document::{Document, Span};
use crate::fasttext::{LABEL_PREFIX, Model};

/// What gets a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The whole text.
    Document,
    /// Each paragraph that is not blank.
    Paragraph,
    /// Each sentence. Dolma's are those of blingfire; these end at a mark and space before a capital, and at blank lines.
    Sentence,
}

/// Which labels are kept, and as what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Labels {
    /// Every label without its prefix, the likeliest first, down to a probability.
    All {
        /// Labels at or below it are left out, and the others rounded to two decimals (`ft_lang_id_1e2`); 0 for none.
        above: f64,
    },
    /// Both labels with their prefix, the one without `non` first: Dolma's toxicity taggers.
    Toxicity,
    /// English and what is not: `en` and `not_en`.
    English {
        /// Whether `not_en` is given, after all `en`.
        negative: bool,
        /// Whether the document's own `doc_en` and `doc_not_en` follow.
        document: bool,
    },
    /// `score`: the probability of the label that is not `cc` (dclm).
    Quality,
}

/// A tagger with its model.
#[derive(Debug)]
pub struct Classifier {
    name: String,
    unit: Unit,
    labels: Labels,
    lower: bool,
    model: Model,
}

impl Classifier {
    /// The classifier taggers of Dolma, by name; none for a name that is not one of them.
    pub fn dolma(name: &str) -> Option<(Unit, Labels)> {
        let all = Labels::All { above: 0.0 };
        let english = |negative, document| Labels::English { negative, document };
        Some(match name {
            "ft_lang_id_doc_v1" => (Unit::Document, all),
            "ft_lang_id_1e2" => (Unit::Document, Labels::All { above: 0.01 }),
            "ft_lang_id_paragraph_v1" => (Unit::Paragraph, all),
            "ft_lang_id_en_doc_v2" => (Unit::Document, english(true, false)),
            "ft_lang_id_en_only_v2" => (Unit::Document, english(false, false)),
            "ft_lang_id_en_paragraph_v2" => (Unit::Paragraph, english(true, false)),
            "ft_lang_id_en_paragraph_with_doc_score_v2" => (Unit::Paragraph, english(true, true)),
            "jigsaw_hatespeech_document_v2" | "jigsaw_nsfw_document_v1" => (Unit::Document, Labels::Toxicity),
            // The second is Dolma's spelling.
            "jigsaw_hatespeech_sentence_v2" | "jigsaw_nsfw_sencence_v2" => (Unit::Sentence, Labels::Toxicity),
            "dclm-oh-eli5" => (Unit::Document, Labels::Quality),
            "dolma17-quality" => (Unit::Document, all),
            _ => return None,
        })
    }

    /// Names that [`Classifier::dolma`] knows.
    pub const DOLMA: [&str; 13] = [
        "ft_lang_id_doc_v1",
        "ft_lang_id_1e2",
        "ft_lang_id_paragraph_v1",
        "ft_lang_id_en_doc_v2",
        "ft_lang_id_en_only_v2",
        "ft_lang_id_en_paragraph_v2",
        "ft_lang_id_en_paragraph_with_doc_score_v2",
        "jigsaw_hatespeech_document_v2",
        "jigsaw_hatespeech_sentence_v2",
        "jigsaw_nsfw_document_v1",
        "jigsaw_nsfw_sencence_v2",
        "dclm-oh-eli5",
        "dolma17-quality",
    ];

    /// A tagger under a name, which is the first part of its attributes' keys. Dolma's language taggers see lower case.
    pub fn new(name: impl Into<String>, unit: Unit, labels: Labels, model: Model) -> Classifier {
        let name = name.into();
        let lower = name.starts_with("ft_lang_id");
        Classifier { name, unit, labels, lower, model }
    }

    /// The same, with texts in lower case.
    #[must_use]
    pub fn lowercased(self) -> Classifier {
        Classifier { lower: true, ..self }
    }

    /// The text of a unit on one line, as the tagger's model was trained on.
    fn prepare(&self, text: &str) -> String {
        if self.lower {
            return strip(&text.to_lowercase().replace('\n', " ")).to_owned();
        }
        match self.labels {
            Labels::Quality => {
                let text = strip(text).replace("\r\n", "\n");
                text.split(is_line_end).collect::<Vec<_>>().join(" ")
            }
            _ if self.name == "dolma17-quality" => text.split_whitespace().collect::<Vec<_>>().join(" "),
            _ => strip(&text.replace('\n', " ")).to_owned(),
        }
    }

    /// What a unit's text is given, as type and score.
    fn ask(&self, text: &str) -> Vec<(String, f64)> {
        let line = self.prepare(text);
        let k = if self.labels == Labels::Quality { Some(1) } else { None };
        let found = self.model.predict(&line, k);
        let plain = |label: &str| label.replace(LABEL_PREFIX, "");
        match self.labels {
            Labels::All { above } => found
                .iter()
                .map(|found| (plain(found.label), f64::from(found.probability)))
                .filter(|(_, score)| *score > above)
                .map(|(label, score)| (label, if above > 0.0 { (score * 100.0).round_ties_even() / 100.0 } else { score }))
                .collect(),
            Labels::Toxicity => {
                let mut both: Vec<_> =
                    found.iter().take(2).map(|found| (found.label.to_owned(), f64::from(found.probability))).collect();
                if both.first().is_some_and(|(label, _)| label.contains("non")) {
                    both.reverse();
                }
                both
            }
            Labels::English { .. } => {
                let english = found.iter().find(|found| plain(found.label) == "en");
                vec![("en".to_owned(), english.map_or(0.0, |found| f64::from(found.probability)))]
            }
            Labels::Quality => found
                .first()
                .map(|found| {
                    let p = f64::from(found.probability);
                    let label = plain(found.label);
                    let score = if label == "cc" { 1.0 - p } else { p };
                    (label.replace("cc", "score").replace("hq", "score"), score)
                })
                .into_iter()
                .collect(),
        }
    }
}

/// Sentences as byte ranges: they end at `.`, `?` or `!` (with closing quotes) before space and something that is not lower case, and
/// at blank lines.
pub fn sentences(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    let mut push = |from: usize, to: usize| {
        let piece = &text[from..to];
        let lead = piece.len() - piece.trim_start_matches(is_space).len();
        let trimmed = strip(piece);
        if !trimmed.is_empty() {
            found.push(from + lead..from + lead + trimmed.len());
        }
    };
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        if c == '\n' && text[end..].trim_start_matches([' ', '\t', '\r']).starts_with('\n') {
            push(start, end);
            start = end;
        } else if matches!(c, '.' | '?' | '!' | '。' | '！' | '？') {
            let closing = text[end..].trim_start_matches(['"', '\'', ')', ']', '”', '’', '»']);
            let stop = text.len() - closing.len();
            let behind = closing.trim_start_matches(is_space);
            let spaced = behind.len() < closing.len() || matches!(c, '。' | '！' | '？');
            if spaced && behind.chars().next().is_none_or(|c| !c.is_lowercase()) {
                push(start, stop);
                start = stop;
                while chars.next_if(|(at, _)| *at < stop).is_some() {}
            }
        }
    }
    push(start, text.len());
    found
}

impl Tagger for Classifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> &'static str {
        "classifier"
    }

    /// They are the model's labels, so a summary shows them under the tagger's name.
    fn types(&self) -> &'static [Emitted] {
        &[]
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let string = text.as_str();
        let units: Vec<(Span, &str)> = match self.unit {
            Unit::Document => vec![(text.whole(0.0), string)],
            Unit::Paragraph => text
                .full_paragraphs()
                .map(|(string, paragraph)| (Span { start: paragraph.start, end: paragraph.end, score: 0.0 }, string))
                .collect(),
            Unit::Sentence => sentences(string).into_iter().map(|range| (text.span(range.clone()), &string[range])).collect(),
        };
        let mut found = Found::new();
        let mut english = Vec::new();
        for (span, string) in units {
            for (label, score) in self.ask(string) {
                found.push_named(&label, Span { score, ..span });
                english.push(Span { score, ..span });
            }
        }
        if let Labels::English { negative, document } = self.labels {
            if negative {
                english.iter().for_each(|span| found.push("not_en", Span { score: 1.0 - span.score, ..*span }));
            }
            if document {
                let sum: f64 = english.iter().map(|span| (span.end - span.start) as f64 * span.score).sum();
                let chars = text.chars() as f64;
                let (en, not) = if chars == 0.0 { (0.0, 0.0) } else { (sum / chars, 1.0 - sum / chars) };
                found.push("doc_en", text.whole(en));
                found.push("doc_not_en", text.whole(not));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tagged(name: &str, text: &str) -> Vec<(String, u64, u64, f64)> {
        let model = Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fasttext/softmax.bin")).unwrap();
        let (unit, labels) = Classifier::dolma(name).unwrap();
        let found = Classifier::new(name, unit, labels, model).tag(&Document::default(), &Text::new(text));
        found.spans().map(|(name, span)| (name.to_owned(), span.start, span.end, (span.score * 1e3).round() / 1e3)).collect()
    }

    #[test]
    fn language_by_document_and_paragraph() {
        let all = tagged("ft_lang_id_doc_v1", "Der Und\nist NICHT");
        assert_eq!((all[0].0.as_str(), all.len()), ("de", 3));
        assert!(all[0].3 > all[1].3 && all[1].3 >= all[2].3);
        let text = "the and\n\nder und\n";
        let by_paragraph = tagged("ft_lang_id_en_paragraph_with_doc_score_v2", text);
        let names: Vec<_> = by_paragraph.iter().map(|span| (span.0.as_str(), span.1, span.2)).collect();
        assert_eq!(
            names,
            [("en", 0, 8), ("en", 9, 17), ("not_en", 0, 8), ("not_en", 9, 17), ("doc_en", 0, 17), ("doc_not_en", 0, 17)]
        );
        assert!(by_paragraph[0].3 > 0.5 && by_paragraph[1].3 < 0.5);
        assert!((by_paragraph[4].3 + by_paragraph[5].3 - 1.0).abs() < 2e-3);
        assert_eq!(tagged("ft_lang_id_en_only_v2", "the and").len(), 1);
    }

    #[test]
    fn every_name_has_its_rule() {
        for name in Classifier::DOLMA {
            assert!(Classifier::dolma(name).is_some(), "{name}");
            assert!(!tagged(name, "the and of. Der und ist.").is_empty(), "{name}");
            tagged(name, "");
        }
        assert!(Classifier::dolma("gopher_v1").is_none());
    }

    #[test]
    fn sentences_end_where_they_seem_to() {
        let text = "One. Two e.g. this? \"Three!\" Four\n\n five\nsix. 七。八";
        let found: Vec<_> = sentences(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["One.", "Two e.g. this?", "\"Three!\"", "Four", "five\nsix.", "七。", "八"]);
    }
}
