//! `warc`: documents from the pages of WARC files.

use data::source::warc::read_warc;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::jsonl::{Bad, FILES, Twice, care, closing, named};
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Warc`].
    pub struct Params {
        /// `source` of all documents.
        source: String = "warc".to_owned();
        /// A record that cannot be read: `"stop"` fails and names it by its place in the file, `"skip"` leaves it out and counts it,
        /// `"quarantine"` also notes it in `quarantine.ndjson`.
        on_bad: Bad = Bad::Stop;
        /// A page whose payload came before: `"keep"` does not look, `"count"`, `"rename"` appends `#2`, `"drop"`, `"stop"` fails.
        duplicate_ids: Twice = Twice::Keep;
        /// Bytes of a record, or of a page once decompressed, above which it is a bad record.
        max_record_bytes: u64 = 64 << 20, in 2.0..=4294967296.0;
    }
}

/// See the module.
pub struct Warc;

impl Step for Warc {
    type Params = Params;

    fn about() -> About {
        About {
            name: "warc",
            version: 1,
            doc: "Documents from the pages among the HTTP responses of WARC files (`.warc`, `.warc.gz`), HTML as plain text. The id is the \
                  payload's digest; `metadata` have `warc_url`, `url`, `warc_date`, `warc_filename`, `content_type`, `uncompressed_offset`.",
            ports: FILES,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let care = care(params.on_bad, params.duplicate_ids, params.max_record_bytes);
        let observer = DataObserver::new(work.reporter, "bytes");
        let outcome = read_warc(&named(work, "files")?, &params.source, care, &work.out, &observer)?;
        let mut closing = closing(work, outcome.imported)?;
        closing.insert("other records".into(), outcome.other as f64);
        closing.insert("empty pages".into(), outcome.empty as f64);
        Ok(closing)
    }
}
