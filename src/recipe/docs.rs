//! The reference, written from the registry and the standard library's own comments. It does not know how it is shown.

use std::fmt::Write;

use plan::Value;

use super::handle::described;
use super::sandbox::recipe_engine;
use super::stdlib;
use super::text::Text;
use crate::steps::{Arity, Field, Kind, Port, Registry};

/// Functions of the language that are not steps: signature and doc.
const BUILTINS: &[(&str, &str)] = &[
    (
        "param(name, default, doc)",
        "A value that `--set name=value` changes, typed by its default. When `doc` is a list of words like `nano | 190M | 1B`, or a \
         fourth argument lists them, only those are allowed.",
    ),
    (
        "output(name, artifact)",
        "Makes an artifact a result of the recipe: what it needs is run. A list gives `name-1`, `name-2`, ...",
    ),
    (
        "files(pattern)",
        "The files a pattern names, sorted, for steps of one file each: `files(\"web/*.gz\").map(|file| jsonl(file))`. One more file \
         is then one more step.",
    ),
    (
        "artifact.named(name)",
        "Names the step. Without it, the variable that first holds the artifact names it. Names are in no key.",
    ),
    ("artifact.needs(#{ cpus: 2, memory_mib: 4096 })", "What the step occupies while it runs. In no key."),
    ("artifact.part", "A named part of an artifact, such as `.train` and `.valid` of a split."),
    (
        "steps::kind(...)",
        "A step whatever other functions are called: a module may give a function of its own the name of a step.",
    ),
    ("import \"name\" as name;", "Imports `name.rhai` beside the recipe, or else a module of the standard library."),
    ("print(value), debug(value)", "Adds a line to the notes of the evaluation."),
];

/// The one rule of calls, as users need it.
const CALLS: &str = "A step is called as a function or as a method of its first input. Artifacts go to the inputs that accept them, \
from left to right; a list of artifacts goes to one input. Strings go to an input that takes files, as patterns of file names. A map \
at the end holds parameters by name (an input can be given there by its name, too); other values are the parameters that need no \
name, in order. Equal declarations are one step. Methods of lists, such as `list.filter(...)`, keep their meaning.\n";

/// The whole reference as Markdown.
pub fn docs(registry: &Registry) -> String {
    let mut out = format!("# Steps\n\n{CALLS}\n");
    for kind in registry.kinds() {
        step(&mut out, kind);
    }
    out.push_str("# Functions\n\n");
    for (signature, doc) in BUILTINS {
        let _ = writeln!(out, "- `{signature}`: {doc}");
    }
    out.push_str(
        "\nEverything else of the Rhai language works as usual; there are no files, clock or random numbers.\n\n# Modules\n\n",
    );
    for (name, text) in stdlib::MODULES {
        module(&mut out, name, text);
    }
    out
}

/// The reference of one step, function or module; a function of a module is `module::function`.
pub fn docs_for(registry: &Registry, name: &str) -> Option<String> {
    let mut out = String::new();
    if let Some(kind) = registry.get(name) {
        step(&mut out, kind);
    } else if let Some(text) = stdlib::text(name) {
        module(&mut out, name, text);
    } else if let Some((module, function)) = name.split_once("::") {
        let text = Text::parse(&recipe_engine(), module, stdlib::text(module)?).ok()?;
        let mut found = functions(module, &text).into_iter().filter(|(called, ..)| called == function);
        let (_, signature, doc) = found.next()?;
        let _ = writeln!(out, "`{signature}`\n\n{doc}");
    } else {
        let is = |signature: &str| signature.split(['(', ' ', ')']).any(|word| word.rsplit('.').next() == Some(name));
        let (signature, doc) = BUILTINS.iter().find(|(signature, _)| is(signature))?;
        let _ = writeln!(out, "`{signature}`\n\n{doc}");
    }
    Some(out)
}

/// All names that [`docs_for`] knows.
pub fn docs_names(registry: &Registry) -> Vec<String> {
    let kinds = registry.kinds().map(|kind| kind.about.name.to_owned());
    kinds.chain(stdlib::MODULES.iter().map(|(name, _)| (*name).to_owned())).collect()
}

fn step(out: &mut String, kind: &Kind) {
    let about = &kind.about;
    let ports = about.ports.iter().map(|port| match port.arity {
        Arity::One => port.name.to_owned(),
        Arity::Optional => format!("[{}]", port.name),
        Arity::Many => format!("{}...", port.name),
        Arity::Any | Arity::Named => format!("[{}...]", port.name),
    });
    let positional = about.positional.iter().map(|name| (*name).to_owned());
    let named = (kind.fields.len() > about.positional.len()).then(|| "#{ ... }".to_owned());
    let arguments: Vec<_> = ports.chain(positional).chain(named).collect();
    let _ = writeln!(
        out,
        "## {}\n\n`{}({})` makes {}\n\n{}\n",
        about.name,
        about.name,
        arguments.join(", "),
        described(about.output),
        about.doc.trim()
    );
    if !about.parts.is_empty() {
        let parts = about.parts.iter().map(|(name, artifact)| format!("`.{name}` ({})", artifact.name()));
        let _ = writeln!(out, "Parts: {}\n", parts.collect::<Vec<_>>().join(", "));
    }
    if !about.ports.is_empty() {
        out.push_str("| input | takes | |\n|---|---|---|\n");
        about.ports.iter().for_each(|port| row(out, &[format!("`{}`", port.name), takes(port), port.doc.into()]));
        out.push('\n');
    }
    if !kind.fields.is_empty() {
        out.push_str("| parameter | type | default | range | |\n|---|---|---|---|---|\n");
        fields(out, "", &kind.fields, about.positional);
        out.push('\n');
    }
}

fn takes(port: &Port) -> String {
    let types = port.accepts.iter().map(|artifact| artifact.name()).collect::<Vec<_>>().join(" or ");
    let count = match port.arity {
        Arity::One => "one",
        Arity::Optional => "one or none",
        Arity::Many => "one or more",
        Arity::Any => "any number",
        Arity::Named => "any number, of any type, also as a map of names",
    };
    format!("{types}, {count}")
}

fn fields(out: &mut String, path: &str, list: &[Field], positional: &[&str]) {
    for field in list {
        let name = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let default = match &field.default {
            None => "must be given".to_owned(),
            Some(Value::Map(_)) if !field.fields.is_empty() => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let range = field.range.as_ref().map_or(String::new(), |range| format!("{} to {}", range.start(), range.end()));
        let mut doc = field.doc.to_owned();
        if positional.contains(&field.name) {
            doc.push_str(" (needs no name)");
        }
        row(out, &[format!("`{name}`"), field.type_name.clone(), default, range, doc]);
        fields(out, &name, &field.fields, &[]);
    }
}

fn row(out: &mut String, cells: &[String]) {
    let clean = cells.iter().map(|cell| cell.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"));
    let _ = writeln!(out, "| {} |", clean.collect::<Vec<_>>().join(" | "));
}

/// Name, signature and doc of a module's documented functions.
fn functions(module: &str, text: &Text) -> Vec<(String, String, String)> {
    let public = text.functions.iter().filter(|function| function.public && !function.is_closure());
    public
        .map(|function| {
            let params = function.params.join(", ");
            let signature = match &function.method_of {
                Some(receiver) => format!("{receiver}.{}({params})", function.name),
                None => format!("{module}::{}({params})", function.name),
            };
            (function.name.clone(), signature, function.doc.clone())
        })
        .collect()
}

fn module(out: &mut String, name: &str, source: &str) {
    let _ = writeln!(out, "## {name}\n");
    let intro: Vec<_> = source.lines().take_while(|line| line.starts_with("//") && !line.starts_with("///")).collect();
    for line in &intro {
        let _ = writeln!(out, "{}", line.trim_start_matches('/').trim());
    }
    let _ = writeln!(out, "\n`import \"{name}\" as {name};`\n");
    if let Ok(text) = Text::parse(&recipe_engine(), name, source) {
        for (_, signature, doc) in functions(name, &text) {
            let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(out, "- `{signature}`: {doc}");
        }
    }
    out.push('\n');
}
