//! `classify`: asks a fastText classifier about documents and keeps its answers as Dolma attributes.

use data::fasttext::Model;
use data::tagger::classifier::{Classifier, Labels, Unit};
use data::tagger::{Tagger, tag};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::Quirks;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// What gets a score.
    pub enum Piece {
        /// The whole text.
        Document = "document",
        /// Each paragraph that is not blank.
        Paragraph = "paragraph",
        /// Each sentence.
        Sentence = "sentence",
    }
}

crate::params! {
    /// Parameters of [`Classify`].
    pub struct Params {
        /// The first part of the attributes' keys. Under a name of Dolma's (`ft_lang_id_en_doc_v2`, `jigsaw_nsfw_document_v1`,
        /// `dclm-oh-eli5`, ...) text and labels are treated as Dolma does; under any other every label is kept.
        name: String = "classifier".to_owned();
        /// What gets a score, under a name that is not Dolma's: `document`, `paragraph`, `sentence`.
        unit: Piece = Piece::Document;
        /// Whether texts are lower-cased before the model sees them, under a name that is not Dolma's.
        lowercase: bool = false;
    }
}

/// See the module.
pub struct Classify;

impl Step for Classify {
    type Params = Params;

    fn about() -> About {
        About {
            name: "classify",
            version: 1,
            doc: "Scores documents, paragraphs or sentences with a fastText model: one that train_classifier made, or a .bin or .ftz \
                  file (language: lid.176; toxicity, quality, topic). Probabilities are attributes `<name>__<name>__<label>`, which a \
                  filter sees as `doc.<name>.<label>`.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." },
                Port {
                    name: "model",
                    accepts: &[ArtifactType::Classifier, ArtifactType::Files],
                    arity: Arity::One,
                    doc: "The classifier, or its file.",
                },
            ],
            positional: &["name"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if params.name.is_empty() || params.name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{}` is no name; it begins with a letter", params.name);
            return Err(vec![ParamError::new("name", message)]);
        }
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let model = Model::load(&work.input("model")?.path)?;
        let own = match params.unit {
            Piece::Document => Unit::Document,
            Piece::Paragraph => Unit::Paragraph,
            Piece::Sentence => Unit::Sentence,
        };
        let (unit, labels) = Classifier::dolma(&params.name).unwrap_or((own, Labels::All { above: 0.0 }));
        let mut classifier = Classifier::new(params.name, unit, labels, model);
        if params.lowercase {
            classifier = classifier.lowercased();
        }
        let taggers: Vec<Box<dyn Tagger>> = vec![Box::new(classifier)];
        let observer = DataObserver::new(work.reporter, "bytes");
        tag(&work.input("documents")?.path, &work.out, &taggers, Quirks::Mended.compat(), &observer)?;
        Ok(census(&work.out)?)
    }
}
