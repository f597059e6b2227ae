//! `filter`: keeps the documents for which a closure of the recipe holds.

use data::document::Document;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Script, Step, StepError, Work};
use crate::recipe::closure::Closure;

crate::params! {
    /// Parameters of [`Filter`].
    pub struct Params {
        /// `|doc| condition`: `doc` has `id`, `text`, `source`, `metadata` and one map for each group of taggers.
        keep: Script;
    }
}

/// See the module.
pub struct Filter;

/// What a closure sees of a document, metadata included.
fn view(document: &Document) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    map.insert("id".into(), document.id.clone().into());
    map.insert("text".into(), document.text.clone().into());
    map.insert("source".into(), document.source.clone().into());
    map.insert("metadata".into(), document.metadata.clone().into());
    for (group, fields) in data::tagger::summary(document) {
        map.insert(group, fields.into_iter().map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>().into());
    }
    map
}

impl Step for Filter {
    type Params = Params;

    fn about() -> About {
        About {
            name: "filter",
            version: 1,
            doc: "Keeps the documents for which a closure holds. The closure runs in parallel in a sandbox: no files, clock or \
                  randomness, limited in operations and memory. Its syntax tree is part of the key, its layout and comments are not.",
            ports: DOCUMENTS,
            positional: &["keep"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        Closure::compile(&params.keep.0).map(drop).map_err(|error| vec![ParamError::new("keep", error.to_string())])
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let closure = Closure::compile(&params.keep.0).map_err(StepError::failed)?;
        let keep = |document: &Document| {
            if closure.reads("metadata") {
                return closure.holds(&serde_json::Value::Object(view(document)));
            }
            let texts = [("id", document.id.as_str()), ("text", &document.text), ("source", &document.source)];
            match closure.call_document(&texts, &data::tagger::summary(document))? {
                plan::Value::Bool(keep) => Ok(keep),
                other => Err(format!("the closure gives {} {other}, and true or false is expected", other.type_name())),
            }
        };
        let observer = DataObserver::new(work.reporter, "bytes");
        let report = data::filter::filter(&work.input("documents")?.path, &work.out, &keep, &observer)?;
        if report.kept.documents == 0 {
            return Err(StepError::Failed(format!(
                "no document of {} passes the filter {}",
                report.read.documents, params.keep.0
            )));
        }
        let mut closing = census(&work.out)?;
        closing.insert("removed/documents".into(), report.removed().documents as f64);
        closing.insert("removed/bytes".into(), report.removed().bytes as f64);
        Ok(closing)
    }
}
