//! Closures as parameters: written down as canonical text when a recipe is evaluated, compiled and run from that text inside steps.
//! It does not know which step runs them.

mod canonical;
mod chain;
mod literal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::{AST, ASTNode, Dynamic, Expr, FnPtr, Map, Position, Stmt};

use plan::Value;

use super::library::Library;
use super::sandbox::{STACK_BYTES, closure_engine, closure_functions};
use super::text::Text;
use super::value::{to_dynamic, to_value};
use crate::steps::params::closest;
use canonical::Surroundings;

/// Why a closure cannot be written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// The text it is in; empty when unknown.
    pub(super) label: String,
    /// The offending place; none when unknown.
    pub(super) position: Position,
    /// What is wrong, as a clause that begins with "it".
    pub(super) message: String,
}

impl Refusal {
    fn somewhere(message: String) -> Self {
        Self { label: String::new(), position: Position::NONE, message }
    }
}

/// A canonical text that is not a closure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a closure: {reason}")]
pub struct ClosureError {
    text: String,
    reason: String,
}

struct InLibrary<'a> {
    library: &'a Library,
    kinds: &'a [String],
}

impl Surroundings for InLibrary<'_> {
    fn text(&self, label: &str) -> Option<Arc<Text>> {
        self.library.text(label)
    }
    fn texts(&self) -> Vec<Arc<Text>> {
        self.library.texts()
    }
    fn label_of(&self, text: &Text, alias: &str) -> Option<String> {
        self.library.label_of(text, alias)
    }
    fn constant(&self, label: &str, name: &str) -> Option<Dynamic> {
        self.library.constant(label, name)
    }
    fn refuse(&self, function: &str) -> String {
        if self.kinds.iter().any(|kind| kind == function) {
            return format!("it calls `{function}`, but a closure runs inside a step and cannot declare one");
        }
        let meant = closest(function, closure_functions().iter().map(String::as_str));
        let meant = meant.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        format!("it calls `{function}`, which does not exist inside a step{meant}")
    }
    fn has_builtin(&self, function: &str) -> bool {
        closure_functions().contains(function)
    }
}

/// The surroundings of a canonical text: itself.
struct Alone(Arc<Text>);

impl Surroundings for Alone {
    fn text(&self, label: &str) -> Option<Arc<Text>> {
        (label == self.0.label).then(|| self.0.clone())
    }
    fn texts(&self) -> Vec<Arc<Text>> {
        vec![self.0.clone()]
    }
    fn label_of(&self, _: &Text, _: &str) -> Option<String> {
        None
    }
    fn constant(&self, _: &str, _: &str) -> Option<Dynamic> {
        None
    }
    fn refuse(&self, function: &str) -> String {
        format!("it calls `{function}`, which does not exist inside a step")
    }
    fn has_builtin(&self, function: &str) -> bool {
        closure_functions().contains(function)
    }
}

/// The canonical text of a closure: a fixed point of printing and parsing.
pub(super) fn canonical(pointer: &FnPtr, home: Option<&Text>, library: &Library, kinds: &[String]) -> Result<String, Refusal> {
    let mut text = canonical::print(pointer, home, &InLibrary { library, kinds })?;
    // Constants put in place can fold once they are read again, e.g. a minus before a negative number.
    for _ in 0..8 {
        let again = reprint(&text)?;
        if again == text {
            return Ok(text);
        }
        text = again;
    }
    Err(Refusal::somewhere("its text does not settle".into()))
}

fn reprint(text: &str) -> Result<String, Refusal> {
    let parsed = Text::parse(closure_engine(), "", text).map_err(|error| {
        Refusal::somewhere(format!("with its captured values in place it reads {text:?}, which is wrong: {}", error.0))
    })?;
    let pointer = pointer_of(&parsed.ast).map_err(Refusal::somewhere)?;
    canonical::print(&pointer, None, &Alone(Arc::new(parsed)))
}

/// The closure that a text consists of.
fn pointer_of(ast: &AST) -> Result<FnPtr, String> {
    let value = closure_engine().eval_ast::<Dynamic>(ast).map_err(|error| error.to_string())?;
    let name = value.type_name();
    value.try_cast::<FnPtr>().ok_or_else(|| format!("it is {name}"))
}

/// A closure that can be called from any thread. Calls are independent of each other and of everything outside.
#[derive(Debug, Clone)]
pub struct Closure {
    ast: AST,
    pointer: FnPtr,
    arity: usize,
    // Fields of the first parameter that are used; none when all can be.
    fields: Option<BTreeSet<String>>,
}

impl Closure {
    /// Compiles a canonical text.
    ///
    /// # Errors
    /// If the text is not a closure.
    pub fn compile(canonical: &str) -> Result<Self, ClosureError> {
        let wrong = |reason: String| ClosureError { text: canonical.to_owned(), reason };
        let text = Text::parse(closure_engine(), "", canonical).map_err(|error| wrong(error.0.to_string()))?;
        let pointer = pointer_of(&text.ast).map_err(wrong)?;
        let function = text.named(pointer.fn_name()).next();
        let arity = function.map_or(0, |function| function.params.len()).saturating_sub(pointer.curry().len());
        let fields = function.and_then(|function| fields_used(function.params.first()?, &function.body));
        Ok(Self { ast: text.ast, pointer, arity, fields })
    }

    /// Number of arguments it takes.
    pub fn arity(&self) -> usize {
        self.arity
    }

    /// Whether it can read this field of its first argument; fields that it cannot read need not be given.
    pub fn reads(&self, field: &str) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.contains(field))
    }

    /// Calls it.
    ///
    /// # Errors
    /// What went wrong: an unknown field, a wrong type, too many operations, a value that is no parameter.
    pub fn call(&self, arguments: &[Value]) -> Result<Value, String> {
        self.call_dynamic(arguments.iter().map(to_dynamic).collect())
    }

    /// Calls it with a document: text fields (`id`, `text`, `source`, ...) and groups of attributes, as
    /// `doc.text` and `doc.gopher.word_count`. Only what it reads is copied.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_document(
        &self,
        texts: &[(&str, &str)],
        attributes: &BTreeMap<String, BTreeMap<String, f64>>,
    ) -> Result<Value, String> {
        let mut document = Map::new();
        for (name, text) in texts.iter().filter(|(name, _)| self.reads(name)) {
            document.insert((*name).into(), (*text).into());
        }
        for (name, group) in attributes.iter().filter(|(name, _)| self.reads(name)) {
            let group: Map = group.iter().map(|(name, value)| (name.as_str().into(), (*value).into())).collect();
            document.insert(name.as_str().into(), group.into());
        }
        self.call_dynamic(vec![document.into()])
    }

    /// Whether it holds for a value, e.g. a document as JSON. Entries of an object that it cannot read need not be given.
    ///
    /// # Errors
    /// As [`call`](Self::call), or that its value is neither true nor false.
    pub fn holds(&self, value: &serde_json::Value) -> Result<bool, String> {
        match self.call_dynamic(vec![self.document(value)])? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("the closure gives {} {other}, and true or false is expected", other.type_name())),
        }
    }

    /// A JSON value for the language; of an object, only the entries that the closure can read.
    pub fn document(&self, value: &serde_json::Value) -> Dynamic {
        match value {
            serde_json::Value::Object(entries) => {
                let read = entries.iter().filter(|(name, _)| self.reads(name));
                Dynamic::from_map(read.map(|(name, value)| (name.as_str().into(), from_json(value))).collect())
            }
            other => from_json(other),
        }
    }

    /// Calls it with values of the language, for callers that build their arguments themselves.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_dynamic(&self, arguments: Vec<Dynamic>) -> Result<Value, String> {
        if arguments.len() != self.arity {
            return Err(format!("the closure takes {} arguments, and {} are given", self.arity, arguments.len()));
        }
        // Threads of steps have the stack; others get it for as long as the call takes.
        stacker::maybe_grow(STACK_BYTES / 4 * 3, STACK_BYTES, || {
            let result = self.pointer.call::<Dynamic>(closure_engine(), &self.ast, arguments);
            let value = result.map_err(|error| super::failure::runtime("", &error).mistake.message)?;
            let no_closure = |_: &FnPtr| Err(Refusal::somewhere("it is a closure".into()));
            to_value(&value, &no_closure)
                .map_err(|_| format!("the closure gives {}, which is not a plain value", value.type_name()))
        })
    }
}

fn from_json(value: &serde_json::Value) -> Dynamic {
    match value {
        serde_json::Value::Null => Dynamic::UNIT,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Dynamic::from_array(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            Dynamic::from_map(entries.iter().map(|(name, value)| (name.as_str().into(), from_json(value))).collect())
        }
    }
}

/// Fields of `parameter` that a body uses; none when it is used in another way than `parameter.field` or `parameter["field"]`.
/// A closure within that captures it counts as such.
fn fields_used(parameter: &str, body: &[Stmt]) -> Option<BTreeSet<String>> {
    let mut fields = BTreeSet::new();
    let mut on_node = |path: &[ASTNode<'_>]| {
        let Some(ASTNode::Expr(here @ Expr::Variable(variable, ..))) = path.last() else { return true };
        if variable.1.as_str() != parameter {
            return true;
        }
        let field = match path.len().checked_sub(2).map(|parent| &path[parent]) {
            Some(ASTNode::Expr(Expr::Dot(sides, ..))) if std::ptr::eq(&sides.lhs, *here) => match &sides.rhs {
                Expr::Property(property, _) => Some(property.2.to_string()),
                Expr::Dot(inner, ..) | Expr::Index(inner, ..) => match &inner.lhs {
                    Expr::Property(property, _) => Some(property.2.to_string()),
                    _ => None,
                },
                _ => None,
            },
            Some(ASTNode::Expr(Expr::Index(sides, ..))) if std::ptr::eq(&sides.lhs, *here) => match &sides.rhs {
                Expr::StringConstant(name, _) => Some(name.to_string()),
                _ => None,
            },
            _ => None,
        };
        fields.extend(field.clone());
        field.is_some()
    };
    let complete = body.iter().all(|stmt| stmt.walk(&mut Vec::new(), &mut on_node));
    complete.then_some(fields)
}
