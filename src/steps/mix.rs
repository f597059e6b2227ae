//! `mix`: chooses documents so that groups take given shares of the bytes.

use std::collections::BTreeMap;

use data::mix::{MixParams, mix};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Mix`].
    pub struct Params {
        /// Share of each group; any positive numbers.
        ratios: BTreeMap<String, f64>, in 0.0..=1e12;
        /// The field whose value is the group: `source`, or a field of the metadata.
        group_by: String = "source".to_owned();
        /// Bytes of text of the mix; `()` for as much as there is.
        bytes: Option<u64> = None;
        /// How often a group may be repeated to reach its share.
        max_repetition: f64 = 1.0, in 1.0..=1000.0;
        /// Groups that may repeat more or less often than that (OLMo-core's max_repetition_ratio).
        max_repetition_of: BTreeMap<String, f64> = BTreeMap::new(), in 1.0..=1000.0;
        /// Greatest share of a group's own bytes that may be used (OLMo-core's max_source_fraction).
        max_fraction_of: BTreeMap<String, f64> = BTreeMap::new(), in 0.0..=1.0;
        /// Tokens of the mix, in place of `bytes`; needs `bytes_per_token`.
        tokens: Option<u64> = None;
        /// Bytes of text to a token, as `tokenize` measured them for the tokenizer that is used.
        bytes_per_token: Option<f64> = None, in 0.1..=1000.0;
        /// Decides which documents are taken.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Mix;

impl Step for Mix {
    type Params = Params;

    fn about() -> About {
        About {
            name: "mix",
            version: 2,
            doc: "Takes documents in the order of a seeded hash until each group has its share of the bytes; without a size, the \
                  largest mix in which no group repeats more than allowed.",
            ports: &[Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::Many, doc: "Documents." }],
            positional: &["ratios"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        match (params.bytes, params.tokens, params.bytes_per_token) {
            (_, None, None) => Ok(()),
            (None, Some(tokens), Some(bytes)) => {
                params.bytes = Some((tokens as f64 * bytes) as u64);
                Ok(())
            }
            _ => {
                let message = "is given with `bytes_per_token`, in place of `bytes`";
                Err(vec![ParamError::new("tokens", message)])
            }
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs: Vec<_> = work.all("documents").iter().map(|input| input.path.as_path()).collect();
        let params = MixParams {
            group_by: params.group_by,
            ratios: params.ratios,
            target_bytes: params.bytes,
            max_repetition: params.max_repetition,
            max_repetition_of: params.max_repetition_of,
            max_fraction_of: params.max_fraction_of,
            seed: params.seed,
        };
        mix(&inputs, &work.out, &params, &DataObserver::new(work.reporter, "bytes"))?;
        Ok(census(&work.out)?)
    }
}
