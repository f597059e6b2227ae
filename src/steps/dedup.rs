//! `dedup`: removes or marks what was there before. Its parameters are shared with `seen` and `dedup_attributes`.

use data::dedup::{
    Action, Against, BloomSize, DedupBy, DedupParams, Empty, Ngrams, Paragraphs, Semantics, Short, dedup as compare,
};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// What is done about repetitions.
    pub enum What {
        /// They are taken out.
        Remove = "remove",
        /// Documents get an attribute and keep their texts.
        Annotate = "annotate",
    }
}

crate::choices! {
    /// Whose rules hold.
    pub enum Compat {
        /// Ours.
        Mended = "mended",
        /// The Dolma toolkit's, with its quirks.
        Dolma12 = "dolma-1.2",
    }
}

crate::choices! {
    /// What becomes of paragraphs with fewer than two n-grams.
    pub enum ShortParagraphs {
        /// They are compared whole.
        Whole = "whole",
        /// They are left alone.
        Skip = "skip",
    }
}

impl Compat {
    pub(super) fn semantics(self) -> Semantics {
        match self {
            Self::Mended => Semantics::Mended,
            Self::Dolma12 => Semantics::Dolma12,
        }
    }
}

crate::params! {
    /// Parameters of [`Dedup`].
    pub struct Params {
        /// What is compared: "document", "paragraph", "ngram" (paragraphs by their n-grams), "url", or any field, "metadata.name".
        by: String = "document".to_owned();
        /// For paragraphs: what ends one; Dolma's is "\n".
        separator: String = "\n\n".to_owned();
        /// For paragraphs: shorter ones, in bytes, are left alone; with compat "dolma-1.2" in code points.
        min_bytes: u64 = 40;
        /// For paragraphs: those of fewer words are left alone; with compat "dolma-1.2" any number switches dedup off.
        min_words: u64 = 0;
        /// For compat "dolma-1.2": whether paragraphs of nothing but space are left alone.
        skip_empty: bool = true;
        /// For n-grams: tokens of one.
        ngram: u64 = 13, in 1.0..=1000.0;
        /// For n-grams: tokens from one to the next.
        stride: u64 = 1, in 1.0..=1000.0;
        /// For n-grams: share of a paragraph's n-grams that must have been met before.
        threshold: f64 = 1.0, in 0.0..=1.0;
        /// For n-grams: what becomes of paragraphs with fewer than two.
        short: ShortParagraphs = ShortParagraphs::Whole;
        /// What is done: "remove" or "annotate".
        action: What = What::Remove;
        /// For "annotate": the attribute, `experiment__tagger__type`.
        attribute: String = "dedup__dedup__repeated".to_owned();
        /// Whose rules hold: "mended" or "dolma-1.2".
        compat: Compat = Compat::Mended;
        /// Number of keys expected (documents, paragraphs or n-grams): a Bloom filter of that size takes the place of exact keys.
        expected: Option<u64> = None;
        /// For a Bloom filter: share of new keys that it may take for known ones.
        false_positives: f64 = 1e-6, in 1e-18..=0.5;
    }
}

impl Params {
    pub(super) fn checked(&self) -> Result<(), Vec<ParamError>> {
        let field = self.by.contains('.')
            || ["document", "paragraph", "ngram", "url", "id", "source", "created", "added"].contains(&self.by.as_str());
        if !field {
            let message = format!(
                "`{}` is nothing to compare by: \"document\", \"paragraph\", \"ngram\", \"url\" or a field such as \"metadata.name\"",
                self.by
            );
            return Err(vec![ParamError::new("by", message)]);
        }
        if self.separator.is_empty() {
            return Err(vec![ParamError::new("separator", "is empty")]);
        }
        Ok(())
    }

    /// What the data room calls these parameters.
    pub(super) fn compared(&self, rows: Option<&str>) -> DedupParams {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let paragraphs = || Paragraphs {
            separator: self.separator.clone(),
            least: size(self.min_bytes),
            least_words: size(self.min_words),
            empty: if self.skip_empty { Empty::Skip } else { Empty::Compare },
        };
        let by = match self.by.as_str() {
            "document" => DedupBy::Document,
            "paragraph" => DedupBy::Paragraph(paragraphs()),
            "ngram" => {
                let short = if self.short == ShortParagraphs::Whole { Short::Whole } else { Short::Skip };
                let ngrams = Ngrams { length: size(self.ngram), stride: size(self.stride), threshold: self.threshold, short };
                DedupBy::Ngram(paragraphs(), ngrams)
            }
            "url" => DedupBy::Field("metadata.url".to_owned()),
            field => DedupBy::Field(field.to_owned()),
        };
        let action = match (rows, self.action) {
            (Some(key), _) => Action::Rows(key.to_owned()),
            (None, What::Remove) => Action::Remove,
            (None, What::Annotate) => Action::Annotate(self.attribute.clone()),
        };
        let bloom = self.expected.map(|keys| BloomSize { keys, false_positives: self.false_positives });
        DedupParams { by, action, semantics: self.compat.semantics(), bloom }
    }
}

/// See the module.
pub struct Dedup;

impl Step for Dedup {
    type Params = Params;

    fn about() -> About {
        About {
            name: "dedup",
            version: 2,
            doc: "Removes or marks repetitions of documents, paragraphs or fields, and paragraphs whose n-grams were met before; the \
                  first occurrence in document order stays. Compared with a Bloom filter of `seen`, documents lose what is in it, and \
                  are not compared with each other.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." },
                Port { name: "seen", accepts: &[ArtifactType::Seen], arity: Arity::Optional, doc: "What counts as met before." },
            ],
            positional: &["by"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.checked()
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let filter = work.maybe("seen").map(|seen| seen.path.join(super::seen::FILE));
        let against = filter.as_deref().map_or(Against::Itself, Against::Filter);
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = compare(&work.input("documents")?.path, &work.out, &params.compared(None), against, &observer)?;
        let mut closing = census(&work.out)?;
        closing.extend(figures(&report));
        Ok(closing)
    }
}

/// What a dedup found, as closing figures.
pub(super) fn figures(report: &data::dedup::DedupReport) -> Closing {
    Closing::from([
        ("removed/documents".to_owned(), report.removed().documents as f64),
        ("removed/paragraphs".to_owned(), report.repeated_paragraphs as f64),
        ("removed/bytes".to_owned(), report.removed().bytes as f64),
        ("repeating/documents".to_owned(), report.repeating as f64),
        ("without field/documents".to_owned(), report.without_field as f64),
    ])
}
