//! `upsample`: takes good documents several times and bad ones not at all.

use data::mix::upsample::{UpsampleParams, upsample};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Upsample`].
    pub struct Params {
        /// The score: a field such as "metadata.quality", or the key of an attribute.
        quality: String;
        /// Bytes of text that are wanted.
        bytes: u64, in 1.0..=1e18;
        /// The field whose values are ranked apart, such as "metadata.topic"; () to rank all documents together.
        group_by: Option<String> = None;
        /// Share of the bytes, from below, that is left out.
        cut: f64 = 0.4, in 0.0..=0.999;
        /// Most copies of the best bucket.
        most: f64 = 7.0, in 0.001..=1000.0;
        /// Buckets of equal bytes.
        buckets: u64 = 20, in 1.0..=1000.0;
        /// Steepness λ of the curve C·u^p·e^(λu).
        lambda: f64 = 0.0, in 0.0..=20.0;
        /// Decides which documents get one more copy.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Upsample;

impl Step for Upsample {
    type Params = Params;

    fn about() -> About {
        About {
            name: "upsample",
            version: 1,
            doc: "Takes documents by quality, as Olmo 3: nothing below the cut, above it a rising curve, at most so many copies of the \
                  best bucket, and as many bytes in all as are wanted.",
            ports: DOCUMENTS,
            positional: &["quality", "bytes"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if params.quality.is_empty() { Err(vec![ParamError::new("quality", "is empty")]) } else { Ok(()) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let params = UpsampleParams {
            quality: params.quality,
            group_by: params.group_by,
            target_bytes: params.bytes,
            cut: params.cut,
            most: params.most,
            buckets: usize::try_from(params.buckets).unwrap_or(usize::MAX),
            lambda: params.lambda,
            seed: params.seed,
        };
        let observer = DataObserver::new(work.reporter, "bytes");
        let (groups, curve) = upsample(&work.input("documents")?.path, &work.out, &params, &observer)?;
        let mut closing = census(&work.out)?;
        closing.insert("curve/p".into(), curve.p);
        for (bucket, copies) in curve.copies.iter().enumerate() {
            closing.insert(format!("curve/copies/{bucket:02}"), *copies);
        }
        for (name, group) in groups.iter().filter(|(name, _)| !name.is_empty()) {
            closing.insert(format!("group/{name}/available bytes"), group.available.bytes as f64);
            closing.insert(format!("group/{name}/taken bytes"), group.taken.bytes as f64);
        }
        Ok(closing)
    }
}
