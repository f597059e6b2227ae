//! jq programs as conditions and as texts, by the crate jaq, with the truth of the Dolma toolkit: `null`, `false`, 0 and empty texts,
//! lists and maps are false, everything else is true.
//! Knows one document at a time, as JSON; does not know what becomes of it.

use super::attributes_in_jq;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data};
use jaq_json::Val;

/// What would make the outcome depend on more than the document.
const IMPURE: [&str; 2] = ["now", "env"];

/// A compiled program.
pub(super) struct Jq {
    filter: jaq_core::Filter<data::JustLut<Val>>,
    /// Attributes the program names.
    pub(super) attributes: Vec<String>,
}

impl std::fmt::Debug for Jq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jq").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl Jq {
    /// Compiles a program.
    pub(super) fn compile(program: &str) -> Result<Jq, String> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let pure = jaq_std::funs().filter(|(name, ..)| !IMPURE.contains(name));
        let functions = jaq_core::funs().chain(pure).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code: program, path: () })
            .map_err(|_| format!("`{program}` is no jq program"))?;
        let filter = Compiler::default().with_funs(functions).compile(modules).map_err(|errors| {
            let names: Vec<String> = errors
                .into_iter()
                .flat_map(|(_, undefined)| undefined)
                .map(|(name, what)| format!("{} `{name}`", what.as_str()))
                .collect();
            format!("`{program}` names what does not exist: {}", names.join(", "))
        })?;
        Ok(Jq { filter, attributes: attributes_in_jq(program) })
    }

    /// Whether the program holds: it gives at least one value, and all are true.
    pub(super) fn all(&self, document: &[u8]) -> Result<bool, String> {
        let values = self.run(document)?;
        Ok(!values.is_empty() && values.iter().all(truth))
    }

    /// Whether any value the program gives is true.
    pub(super) fn any(&self, document: &[u8]) -> Result<bool, String> {
        Ok(self.run(document)?.iter().any(truth))
    }

    /// The text that the program gives.
    pub(super) fn text(&self, document: &[u8]) -> Result<String, String> {
        match self.run(document)?.as_slice() {
            [Val::TStr(text)] => Ok(String::from_utf8_lossy(text).into_owned()),
            [other] => Err(format!("jq gives {other}, and a text is expected")),
            values => Err(format!("jq gives {} values, and one text is expected", values.len())),
        }
    }

    /// The spans `[start, end, score]` that the program gives: one, or a list of them; `null` and nothing are none.
    pub(super) fn spans(&self, document: &[u8]) -> Result<Vec<serde_json::Value>, String> {
        let values = self.run(document)?;
        values
            .iter()
            .map(|value| serde_json::from_str(&value.to_string()).map_err(|_| format!("jq gives {value}, which is not JSON")))
            .collect()
    }

    fn run(&self, document: &[u8]) -> Result<Vec<Val>, String> {
        let input: Val = serde_json::from_slice(document).map_err(|error| error.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        // The crate's own way to unwrap a result would end the process at `halt`.
        let values = self.filter.id.run((context, input));
        values
            .map(|value| {
                value.map_err(|stopped| {
                    stopped.get_err().map_or_else(|_| "jq halts".to_owned(), |error| format!("jq stops: {error}"))
                })
            })
            .collect()
    }
}

fn truth(value: &Val) -> bool {
    match value {
        Val::Null => false,
        Val::Bool(value) => *value,
        Val::Num(number) => number.to_string().parse::<f64>() != Ok(0.0),
        Val::BStr(text) | Val::TStr(text) => !text.is_empty(),
        Val::Arr(items) => !items.is_empty(),
        Val::Obj(entries) => !entries.is_empty(),
    }
}
