//! `minhash`: removes or marks near-duplicates of documents.

use data::minhash::{Action, MinHashParams, Shingling, Survivor, minhash};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::dedup::What;
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::choices! {
    /// Whose settings hold where none are given.
    pub enum Preset {
        /// Ours: 14 bands of 8, words of UAX 29.
        Standard = "standard",
        /// datatrove's, as FineWeb used it: 14 bands of 8, its normalisation, words and hashes.
        Datatrove = "datatrove",
        /// Olmo 3's: 26 bands of 11, true similarity at least 0.8.
        Olmo3 = "olmo3",
    }
}

crate::choices! {
    /// Which document of a cluster stays.
    pub enum Keep {
        /// The first.
        First = "first",
        /// The longest.
        Longest = "longest",
        /// The one of the highest value of `field`: the newest date, the best score.
        Highest = "highest",
        /// The one of the lowest value of `field`.
        Lowest = "lowest",
    }
}

crate::params! {
    /// Parameters of [`MinHash`].
    pub struct Params {
        /// Whose settings hold where none are given.
        preset: Preset = Preset::Standard;
        /// Bands: documents that agree in one of them meet.
        bands: Option<u64> = None;
        /// Hashes of a band.
        rows: Option<u64> = None;
        /// Words of an n-gram.
        ngram: Option<u64> = None;
        /// Least true Jaccard similarity of documents that meet; 0 for no check.
        check: Option<f64> = None, in 0.0..=1.0;
        /// Which document of a cluster stays.
        keep: Keep = Keep::First;
        /// For "highest" and "lowest": the field, "metadata.date".
        field: Option<String> = None;
        /// What is done: "remove" or "annotate".
        action: What = What::Remove;
        /// Draws the hashes.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct MinHash;

impl Step for MinHash {
    type Params = Params;

    fn about() -> About {
        About {
            name: "minhash",
            version: 1,
            doc: "Finds documents that are nearly the same by MinHash of their word n-grams and keeps one of each cluster. \
                  \"annotate\" adds `doc.minhash.duplicate`, `doc.minhash.cluster` and `doc.minhash.cluster_size` instead.",
            ports: DOCUMENTS,
            positional: &["preset"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let preset = match params.preset {
            Preset::Standard => MinHashParams::standard(),
            Preset::Datatrove => MinHashParams::datatrove(),
            Preset::Olmo3 => MinHashParams::olmo3(),
        };
        // What the preset means is in the key.
        params.bands.get_or_insert(preset.bands.into());
        params.rows.get_or_insert(preset.rows.into());
        params.ngram.get_or_insert(preset.ngram.into());
        params.check.get_or_insert(preset.check.unwrap_or(0.0));
        let by_field = matches!(params.keep, Keep::Highest | Keep::Lowest);
        if by_field != params.field.is_some() {
            let message = "is given with keep \"highest\" or \"lowest\", and only then";
            return Err(vec![ParamError::new("field", message)]);
        }
        data(params).map(drop)
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let params = data(&params).map_err(|errors| StepError::Failed(errors.iter().map(ToString::to_string).collect()))?;
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = minhash(&work.input("documents")?.path, &work.out, &params, &observer)?;
        let mut closing = census(&work.out)?;
        let removed = report.read - report.kept;
        closing.extend([
            ("removed/documents".to_owned(), removed.documents as f64),
            ("removed/bytes".to_owned(), removed.bytes as f64),
            ("clusters".to_owned(), report.clusters as f64),
            ("cluster/largest".to_owned(), report.largest as f64),
            ("duplicates".to_owned(), report.duplicates as f64),
            ("candidates".to_owned(), report.candidates as f64),
            ("uncompared/documents".to_owned(), report.uncompared as f64),
        ]);
        Ok(closing)
    }
}

fn data(params: &Params) -> Result<MinHashParams, Vec<ParamError>> {
    let number = |name: &str, value: Option<u64>| {
        let small = value.and_then(|value| u32::try_from(value).ok()).filter(|value| (1..=4096).contains(value));
        small.ok_or_else(|| vec![ParamError::new(name, "is a number from 1 to 4096")])
    };
    let field = || params.field.clone().unwrap_or_default();
    Ok(MinHashParams {
        bands: number("bands", params.bands)?,
        rows: number("rows", params.rows)?,
        ngram: number("ngram", params.ngram)?,
        shingling: if params.preset == Preset::Datatrove { Shingling::Datatrove } else { Shingling::Words },
        seed: params.seed,
        check: params.check.filter(|check| *check > 0.0),
        keep: match params.keep {
            Keep::First => Survivor::First,
            Keep::Longest => Survivor::Longest,
            Keep::Highest => Survivor::Highest(field()),
            Keep::Lowest => Survivor::Lowest(field()),
        },
        action: if params.action == What::Remove { Action::Remove } else { Action::Annotate },
    })
}
