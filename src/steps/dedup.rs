//! `dedup`: removes exact repetitions of documents or paragraphs.

use data::dedup::{DedupBy, dedup};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::choices! {
    /// What is compared.
    pub enum By {
        /// Whole texts.
        Document = "document",
        /// Pieces between separators.
        Paragraph = "paragraph",
    }
}

crate::params! {
    /// Parameters of [`Dedup`].
    pub struct Params {
        /// What is compared.
        by: By = By::Document;
        /// For paragraphs: what ends one.
        separator: String = "\n\n".to_owned();
        /// For paragraphs: shorter ones, in bytes, are left alone.
        min_bytes: u64 = 40;
    }
}

/// See the module.
pub struct Dedup;

impl Step for Dedup {
    type Params = Params;

    fn about() -> About {
        About {
            name: "dedup",
            version: 1,
            doc: "Removes exact repetitions; the first occurrence in document order stays.",
            ports: DOCUMENTS,
            positional: &["by"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let by = match params.by {
            By::Document => DedupBy::Document,
            By::Paragraph => DedupBy::Paragraph {
                separator: params.separator,
                min_bytes: usize::try_from(params.min_bytes).unwrap_or(usize::MAX),
            },
        };
        let report = dedup(&work.input("documents")?.path, &work.out, &by, &DataObserver::new(work.reporter, "bytes"))?;
        let mut closing = census(&work.out)?;
        closing.insert("removed/documents".into(), report.removed().documents as f64);
        closing.insert("removed/paragraphs".into(), report.removed_paragraphs as f64);
        closing.insert("removed/bytes".into(), report.removed().bytes as f64);
        Ok(closing)
    }
}
