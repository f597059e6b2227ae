//! `mask_pii`: replaces personal data that a tagger found by placeholders.

use data::mask::{mask, pii_replacements};
use data::tagger::taggers;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// Parameters of [`MaskPii`].
    pub struct Params {
        /// The tagger whose spans are replaced.
        tagger: String = "pii".to_owned();
    }
}

/// See the module.
pub struct MaskPii;

impl Step for MaskPii {
    type Params = Params;

    fn about() -> About {
        About {
            name: "mask_pii",
            version: 1,
            doc: "Replaces e-mail addresses, phone numbers and IP addresses that a pii tagger found by |||EMAIL_ADDRESS|||, \
                  |||PHONE_NUMBER|||, |||IP_ADDRESS||| as Dolma does. Documents must have been tagged; those that change lose \
                  their attributes.",
            ports: DOCUMENTS,
            positional: &["tagger"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let found = taggers(&[&params.tagger]).map_err(|error| vec![ParamError::new("tagger", error.to_string())])?;
        params.tagger = found.iter().map(|tagger| tagger.name().to_owned()).collect();
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let found = taggers(&[&params.tagger])?;
        let replacements: Vec<_> = found.iter().flat_map(|tagger| pii_replacements(&**tagger)).collect();
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = mask(&work.input("documents")?.path, &work.out, &replacements, &observer)?;
        let mut closing = census(&work.out)?;
        closing.insert("masked/documents".into(), report.changed as f64);
        Ok(closing)
    }
}
