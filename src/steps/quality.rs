//! `quality`: a published rule set over documents: what it measures, and what it would drop by rule.

use data::tagger::report::quality;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::{DOCUMENTS, Preset, Quirks};
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Quality`].
    pub struct Params {
        /// Whose rules: `dolma`, `datatrove`, `fineweb`, `olmo3`.
        preset: Preset;
        /// `dolma-1.2` keeps the quirks of Dolma 1.2.1, `none` mends them.
        compat: Quirks = Quirks::Mended;
    }
}

/// See the module.
pub struct Quality;

/// Figures by rule, beside the documents.
const REPORT: &str = "quality.report";

impl Step for Quality {
    type Params = Params;

    fn about() -> About {
        About {
            name: "quality",
            version: 1,
            doc: "Measures documents by a published rule set and tells what each rule would drop, in documents and bytes, alone and \
                  with others (figures `would drop/...` and the log). Every document stays, with the values and a flag for each broken \
                  rule as attributes: `.filter(|doc| doc.quality_olmo3.broken_rules == 0)` drops them.",
            ports: DOCUMENTS,
            positional: &["preset"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        match params.preset {
            Preset::None => Err(vec![ParamError::new("preset", "name one: dolma, datatrove, fineweb or olmo3".to_owned())]),
            _ => Ok(()),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let rules = params.preset.rules().ok_or_else(|| StepError::Failed("no preset".into()))?;
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = quality(&work.input("documents")?.path, &work.out, rules, params.compat.compat(), &observer)?;
        fs_err::write(work.out(REPORT), format!("{:#}\n", serde_json::to_value(&report)?))?;
        let mut closing = census(&work.out)?;
        let mut tell = |name: &str, totals: data::Totals| {
            closing.insert(format!("would drop/{name}/documents"), totals.documents as f64);
            closing.insert(format!("would drop/{name}/bytes"), totals.bytes as f64);
        };
        tell("any rule", report.dropped);
        for rule in &report.rules {
            tell(&rule.rule, rule.dropped);
            tell(&format!("{} alone", rule.rule), rule.alone);
            if rule.dropped.documents > 0 {
                work.reporter.log(&format!(
                    "{}: {} would drop {} documents ({} by it alone), such as {}",
                    report.preset,
                    rule.rule,
                    rule.dropped.documents,
                    rule.alone.documents,
                    rule.examples.join(", ")
                ));
            }
        }
        Ok(closing)
    }
}
