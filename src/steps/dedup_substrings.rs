//! `dedup_substrings`: cuts out long passages that stand elsewhere.

use data::substring::{Action, SubstringParams, Unit, dedup_substrings};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::dedup::What;
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::choices! {
    /// What passages are measured in.
    pub enum Measure {
        /// Bytes of UTF-8.
        Bytes = "bytes",
        /// Words, numbers and marks; white space does not count.
        Words = "words",
    }
}

crate::params! {
    /// Parameters of [`DedupSubstrings`].
    pub struct Params {
        /// Shortest passage; () for 500 bytes, or 100 words.
        least: Option<u64> = None, in 2.0..=1e9;
        /// What passages are measured in.
        unit: Measure = Measure::Bytes;
        /// Bytes of text that are looked through together; nine times as much memory is needed. Repetitions between them stay.
        shard_bytes: u64 = 256 << 20, in 1.0..=2146435072.0;
        /// What is done: "remove" or "annotate".
        action: What = What::Remove;
    }
}

/// See the module.
pub struct DedupSubstrings;

impl Step for DedupSubstrings {
    type Params = Params;

    fn about() -> About {
        About {
            name: "dedup_substrings",
            version: 1,
            doc: "Cuts out or marks passages that stood before, wherever they begin and end, by a suffix array; the first occurrence stays.",
            ports: DOCUMENTS,
            positional: &["least"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 3072, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.least.get_or_insert(if params.unit == Measure::Bytes { 500 } else { 100 });
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let params = SubstringParams {
            unit: if params.unit == Measure::Bytes { Unit::Bytes } else { Unit::Words },
            least: size(params.least.unwrap_or(500)),
            shard_bytes: size(params.shard_bytes),
            action: if params.action == What::Remove { Action::Remove } else { Action::Annotate },
        };
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = dedup_substrings(&work.input("documents")?.path, &work.out, &params, &observer)?;
        if report.shards > 1 {
            work.reporter
                .log(&format!("the corpus was looked through in {} shards; repetitions between them stay", report.shards));
        }
        let mut closing = census(&work.out)?;
        let removed = report.read - report.kept;
        closing.extend([
            ("removed/documents".to_owned(), removed.documents as f64),
            ("removed/bytes".to_owned(), removed.bytes as f64),
            ("repeating/documents".to_owned(), report.repeating as f64),
            ("passages".to_owned(), report.passages as f64),
            ("shards".to_owned(), report.shards as f64),
        ]);
        Ok(closing)
    }
}
