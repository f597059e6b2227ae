//! `replace_spans`: replaces the spans that attributes name.

use data::filter::{SpanReplacement, replace_spans};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::dedup::Compat;
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// One replacement.
    pub struct Replacement {
        /// Key of an attribute, a JSONPath such as "$.attributes.key", or a jq program after "jq:".
        span: String;
        /// What is put in place; `{}` stands for the covered text, and a text that begins with `$` is a jq program on the document.
        with: String = String::new();
        /// Spans of a lower score stay.
        min_score: Option<f64> = None;
        /// Spans of this score or a higher one stay.
        max_score: Option<f64> = None;
    }
}

crate::params! {
    /// Parameters of [`ReplaceSpans`].
    pub struct Params {
        /// What is replaced, and by what.
        replacements: Vec<Replacement>;
        /// Documents left with fewer bytes of text are dropped.
        min_bytes: u64 = 0;
        /// Whose rules hold for spans that are empty or overlap: "mended" or "dolma-1.2".
        compat: Compat = Compat::Mended;
    }
}

/// See the module.
pub struct ReplaceSpans;

impl Step for ReplaceSpans {
    type Params = Params;

    fn about() -> About {
        About {
            name: "replace_spans",
            version: 1,
            doc: "Replaces the spans that attributes name, `docs.replace_spans([#{ span: \"dedup__dedup__repeated\", min_score: 0.5 }])`. \
                  Documents that change lose their attributes, those left empty are dropped.",
            ports: DOCUMENTS,
            positional: &["replacements"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if params.replacements.is_empty() { Err(vec![ParamError::new("replacements", "is empty")]) } else { Ok(()) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let replacements: Vec<_> = params
            .replacements
            .iter()
            .map(|one| SpanReplacement {
                span: one.span.clone(),
                min_score: one.min_score.unwrap_or(f64::NEG_INFINITY),
                max_score: one.max_score.unwrap_or(f64::INFINITY),
                with: one.with.clone(),
            })
            .collect();
        let least = usize::try_from(params.min_bytes).unwrap_or(usize::MAX);
        let observer = DataObserver::new(work.reporter, "bytes");
        let input = &work.input("documents")?.path;
        let report = replace_spans(input, &work.out, &replacements, least, params.compat.semantics(), &observer)?;
        let mut closing = census(&work.out)?;
        closing.insert("changed/documents".into(), report.changed as f64);
        closing.insert("removed/documents".into(), report.removed().documents as f64);
        Ok(closing)
    }
}
