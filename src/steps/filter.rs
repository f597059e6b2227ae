//! `filter`: keeps documents by named rules: closures of the recipe, jq programs, JSONPaths.

use data::document::Document;
use data::filter::{Expression, Rule, Sense, Test};
use plan::{Place, Resources, Value};

use super::bridge::{DataObserver, census};
use super::params::ParamType;
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};
use crate::recipe::closure::Closure;

/// Rules as a recipe gives them: one, a list, or a map of names. A rule is a closure or a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules(Value);

impl Rules {
    fn none() -> Self {
        Self(Value::Null)
    }

    /// Names and rules; a rule without a name is called after its parameter.
    fn named(&self, parameter: &str) -> Vec<(String, &Value)> {
        match &self.0 {
            Value::Null => Vec::new(),
            Value::List(rules) => {
                rules.iter().enumerate().map(|(index, rule)| (format!("{parameter} {}", index + 1), rule)).collect()
            }
            Value::Map(rules) => rules.iter().map(|(name, rule)| (name.clone(), rule)).collect(),
            one => vec![(parameter.to_owned(), one)],
        }
    }
}

impl ParamType for Rules {
    fn type_name() -> String {
        "closure, jq or JSONPath text, or a map or list of these".into()
    }
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        let wrong = |path: &str, value: &Value| {
            vec![ParamError::new(path, format!("expected {}, found {} {value}", Self::type_name(), value.type_name()))]
        };
        let rule = |path: String, rule: &Value| match rule {
            Value::Script(_) | Value::Str(_) => Ok(()),
            other => Err(wrong(&path, other)),
        };
        match value {
            Value::Null => {}
            Value::List(rules) => rules.iter().enumerate().try_for_each(|(at, one)| rule(format!("{path}[{at}]"), one))?,
            Value::Map(rules) => rules.iter().try_for_each(|(name, one)| rule(format!("{path}.{name}"), one))?,
            one => rule(path.to_owned(), one)?,
        }
        Ok(Self(value.clone()))
    }
    fn to_value(&self) -> Value {
        self.0.clone()
    }
}

crate::params! {
    /// Parameters of [`Filter`].
    pub struct Params {
        /// Rules that must all hold: `|doc| condition`, where `doc` has `id`, `text`, `source`, `metadata` and one map for each group of
        /// taggers; a jq program; or a JSONPath that begins with `$`, which holds when it finds something.
        keep: Rules = Rules::none();
        /// Rules of which none may hold.
        drop: Rules = Rules::none();
        /// Examples of what each rule dropped, in `report.md` of the artifact.
        examples: u64 = 5, in 0.0..=1000.0;
    }
}

/// See the module.
pub struct Filter;

/// The account of the rules, in the artifact.
pub const REPORT: &str = "report.md";

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

fn asks(closure: &Closure, document: &Document) -> Result<bool, String> {
    if closure.reads("metadata") {
        return closure.holds(&serde_json::Value::Object(view(document)));
    }
    let texts = [("id", document.id.as_str()), ("text", &document.text), ("source", &document.source)];
    match closure.call_document(&texts, &data::tagger::summary(document))? {
        Value::Bool(keep) => Ok(keep),
        other => Err(format!("the closure gives {} {other}, and true or false is expected", other.type_name())),
    }
}

fn test(rule: &Value) -> Result<Test<'static>, String> {
    match rule {
        Value::Script(script) => {
            let closure = Closure::compile(script).map_err(|error| error.to_string())?;
            Ok(Test::Function(Box::new(move |document| asks(&closure, document))))
        }
        Value::Str(text) => Expression::parse(text).map(Test::Expression),
        other => Err(format!("{} is no rule", other.type_name())),
    }
}

fn rules(params: &Params) -> Result<Vec<Rule<'static>>, Vec<ParamError>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (parameter, sense, given) in [("keep", Sense::Keep, &params.keep), ("drop", Sense::Drop, &params.drop)] {
        for (name, rule) in given.named(parameter) {
            match test(rule) {
                Ok(test) => found.push(Rule { name, sense, test }),
                Err(message) => errors.push(ParamError::new(parameter, format!("rule `{name}`: {message}"))),
            }
        }
    }
    if found.is_empty() && errors.is_empty() {
        errors.push(ParamError::new("keep", "must be given, or `drop`: a rule or several"));
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

impl Step for Filter {
    type Params = Params;

    fn about() -> About {
        About {
            name: "filter",
            version: 2,
            doc: "Keeps the documents that satisfy rules: `docs.filter(|doc| doc.gopher.word_count >= 50)`, `docs.filter(#{ long: |doc| \
                  ..., clean: \"jq: ...\" })`, `docs.filter(#{ drop: \"$.attributes[?(@.k && @.k[0][2] > 0.5)]\" })`. What each rule \
                  dropped, alone and together with others, is in report.md and the closing figures. Closures run in parallel in a \
                  sandbox: no files, clock or randomness, limited in operations and memory; their syntax tree is part of the key, \
                  layout and comments are not.",
            ports: DOCUMENTS,
            positional: &["keep"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        rules(params).map(drop)
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let rules = rules(&params).map_err(|errors| StepError::Failed(errors.iter().map(ToString::to_string).collect()))?;
        let observer = DataObserver::new(work.reporter, "bytes");
        let examples = usize::try_from(params.examples).unwrap_or(usize::MAX);
        let report = data::filter::filter(&work.input("documents")?.path, &work.out, &rules, examples, &observer)?;
        for rule in report.rules.iter().filter(|rule| !rule.absent.is_empty()) {
            let (names, present) = (rule.absent.join("`, `"), report.present.join("`, `"));
            work.reporter
                .log(&format!("rule `{}` names attributes that no document has: `{names}`; there are `{present}`", rule.name));
        }
        if report.kept.documents == 0 {
            let dropped: Vec<String> =
                report.rules.iter().map(|rule| format!("`{}` drops {}", rule.name, rule.dropped.documents)).collect();
            return Err(StepError::Failed(format!(
                "no document of {} passes the filter: {}",
                report.read.documents,
                dropped.join(", ")
            )));
        }
        fs_err::write(work.out(REPORT), report.markdown())?;
        let mut closing = census(&work.out)?;
        closing.insert("removed/documents".into(), report.removed().documents as f64);
        closing.insert("removed/bytes".into(), report.removed().bytes as f64);
        for rule in &report.rules {
            closing.insert(format!("rule/{}/documents", rule.name), rule.dropped.documents as f64);
            closing.insert(format!("rule/{}/bytes", rule.name), rule.dropped.bytes as f64);
            closing.insert(format!("rule/{}/alone/documents", rule.name), rule.alone.documents as f64);
            closing.insert(format!("rule/{}/alone/bytes", rule.name), rule.alone.bytes as f64);
        }
        Ok(closing)
    }
}
