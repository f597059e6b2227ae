//! `train_classifier`: a fastText classifier from documents that carry their label.

use data::document::read_documents;
use data::fasttext::{Example, TrainParams, train};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`TrainClassifier`].
    pub struct Params {
        /// The field that holds the label: `source`, or a field of the metadata.
        label: String = "source".to_owned();
        /// Whether texts are lower-cased before they are learnt from.
        lowercase: bool = false;
        /// Learning rate at the beginning; it falls to 0.
        lr: f64 = 0.1, in 1e-9..=100.0;
        /// Length of the vectors.
        dim: u64 = 100, in 1.0..=4096.0;
        /// Passes over the documents.
        epochs: u64 = 5, in 1.0..=1e4;
        /// Words that occur less often are not kept.
        min_count: u64 = 1, in 1.0..=1e9;
        /// Longest n-gram of words that is a feature.
        word_ngrams: u64 = 2, in 1.0..=16.0;
        /// Shortest n-gram of characters that is a feature; 0 for none.
        minn: u64 = 0, in 0.0..=32.0;
        /// Longest n-gram of characters; 0 for none.
        maxn: u64 = 0, in 0.0..=32.0;
        /// Rows that n-grams are hashed to; fastText takes 2,000,000, which at 100 columns are 800 MB.
        buckets: u64 = 200_000, in 1.0..=1e8;
        /// Where the vectors begin.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct TrainClassifier;

impl Step for TrainClassifier {
    type Params = Params;

    fn about() -> About {
        About {
            name: "train_classifier",
            version: 1,
            doc: "Trains a supervised fastText classifier (softmax) on documents that carry their label, in their order, and writes \
                  model.bin, which fastText reads. One update follows another: the model is the same for any number of threads. Holds \
                  the texts, their features and the matrices, (words + buckets) * dim * 4 bytes.",
            ports: &[Port {
                name: "documents",
                accepts: &[ArtifactType::Documents],
                arity: Arity::Many,
                doc: "What to learn from. Several are gone through one after another; mix or shuffle them before when labels come in blocks.",
            }],
            positional: &["label"],
            output: ArtifactType::Classifier,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 2, memory_mib: 2048, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let mut examples = Vec::new();
        for input in work.all("documents") {
            for batch in read_documents(&input.path)? {
                for document in batch?.documents {
                    let Some(label) = document.group(&params.label).filter(|label| !label.is_empty()) else {
                        let text = format!(
                            "document `{}` of {} has no `{}` to take a label from",
                            document.id, input.name, params.label
                        );
                        return Err(StepError::Failed(text));
                    };
                    let label = label.replace(char::is_whitespace, "_");
                    let text = if params.lowercase { document.text.to_lowercase() } else { document.text };
                    examples.push(Example { text, label });
                }
            }
        }
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let trained = TrainParams {
            lr: params.lr,
            dim: small(params.dim),
            epochs: small(params.epochs),
            min_count: small(params.min_count),
            word_ngrams: small(params.word_ngrams),
            minn: small(params.minn),
            maxn: small(params.maxn),
            buckets: small(params.buckets),
            seed: params.seed,
        };
        let model = train(&examples, &trained, &DataObserver::new(work.reporter, "examples"))?;
        fs_err::create_dir_all(&work.out)?;
        model.save(&work.out("model.bin"))?;
        Ok(Closing::from([
            ("examples".into(), examples.len() as f64),
            ("labels".into(), model.labels().len() as f64),
            ("words".into(), model.words() as f64),
        ]))
    }
}
