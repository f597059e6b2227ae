//! `split`: sets documents aside by the hash of their text.

use data::split::{HeldOut, split};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Split`].
    pub struct Params {
        /// Share of documents that are held out.
        valid: f64 = 0.01, in 0.0..=0.9;
        /// Decides which.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Split;

impl Step for Split {
    type Params = Params;

    fn about() -> About {
        About {
            name: "split",
            version: 1,
            doc: "Holds documents out for evaluation: `.train` and `.valid`. A text's side depends on its hash and the seed alone, so \
                  no text is on both and adding documents moves none.",
            ports: DOCUMENTS,
            positional: &[],
            output: ArtifactType::Split,
            parts: &[("train", ArtifactType::Documents), ("valid", ArtifactType::Documents)],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let (train, valid) = (work.out("train"), work.out("valid"));
        let held_out = [HeldOut { dir: &valid, fraction: params.valid }];
        let observer = DataObserver::new(work.reporter, "bytes");
        split(&work.input("documents")?.path, &train, &held_out, params.seed, &observer)?;
        let mut closing = census(&train)?;
        let held = census(&valid)?;
        closing.insert("valid/documents".into(), held.get("documents").copied().unwrap_or(0.0));
        closing.insert("valid/bytes".into(), held.get("bytes").copied().unwrap_or(0.0));
        Ok(closing)
    }
}
