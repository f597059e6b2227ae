//! `drop_repetitive`: drops documents that repeat a short piece over and over.

use data::filter::{filter, repetition_rule};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::params! {
    /// Parameters of [`DropRepetitive`].
    pub struct Params {
        /// Copies in a row that are too many.
        repeats: u64 = 32, in 2.0..=1e6;
        /// Longest piece, in words and marks.
        period: u64 = 13, in 1.0..=1000.0;
    }
}

/// See the module.
pub struct DropRepetitive;

impl Step for DropRepetitive {
    type Params = Params;

    fn about() -> About {
        About {
            name: "drop_repetitive",
            version: 1,
            doc: "Drops documents in which a piece of up to 13 words stands 32 times or more in a row, as OLMo-mix-1124 did.",
            ports: DOCUMENTS,
            positional: &["repeats"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let rules = [repetition_rule(size(params.repeats), size(params.period))];
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = filter(&work.input("documents")?.path, &work.out, &rules, 5, &observer)?;
        fs_err::write(work.out(super::filter::REPORT), report.markdown())?;
        let mut closing = census(&work.out)?;
        closing.insert("removed/documents".into(), report.removed().documents as f64);
        closing.insert("removed/bytes".into(), report.removed().bytes as f64);
        Ok(closing)
    }
}
