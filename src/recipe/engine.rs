//! The engine of one evaluation: kinds, `param`, `files`, `output`, and what handles can do. It does not know how a call is read.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::{
    Array, Dynamic, Engine, EvalAltResult, EvalContext, FnPtr, FuncRegistration, ImmutableString, Map, Module, NativeCallContext,
    Position, RhaiFunc, Shared, VarDefInfo,
};

use plan::{Output, Site, Value};

use super::call::{Border, Place, Signature, declare};
use super::handle::{Handle, TYPE_NAME};
use super::library::Resolver;
use super::mistake::Mistake;
use super::params::{ParamUse, ask};
use super::sandbox::recipe_engine;
use super::text::site;
use super::treatment;
use super::value::{to_dynamic, to_value};
use crate::steps::params::closest;

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// The module that has all kinds, for texts that give another function the name of one: `steps::mix(...)`.
pub(super) const STEPS: &str = "steps";

/// Most arguments a kind can be called with, the receiver included.
pub(super) const MOST_ARGUMENTS: usize = 6;

/// The engine for parsing texts, which needs no functions.
pub(super) fn parser() -> Engine {
    recipe_engine()
}

/// The engine, with the functions of the language.
pub(super) fn build(border: &Arc<Border>, signatures: Vec<Signature>, settings: BTreeMap<String, String>) -> Engine {
    let mut engine = recipe_engine();
    engine.register_type_with_name::<Handle>(TYPE_NAME);
    engine.register_fn("to_string", |handle: &mut Handle| handle.to_string());
    engine.register_fn("to_debug", |handle: &mut Handle| handle.to_string());
    engine.register_fn("==", |a: Handle, b: Handle| a == b);
    engine.register_fn("!=", |a: Handle, b: Handle| a != b);
    let mut steps = Module::new();
    for signature in signatures {
        kind(&mut engine, &mut steps, border, signature);
    }
    engine.register_static_module(STEPS, steps.into());
    parameters(&mut engine, border, settings);
    listing(&mut engine, border);
    outputs(&mut engine, border);
    handles(&mut engine, border);
    notes(&mut engine, border);
    engine.set_module_resolver(Resolver(border.library.clone()));
    engine
}

/// Where a function is called. A closure that is called by a module's function is still in its own text: the word that is called
/// must stand there.
fn place(border: &Border, context: &NativeCallContext<'_>) -> Place {
    let position = context.call_position();
    let source = context.call_source().unwrap_or(&border.library.recipe);
    Place { label: border.library.where_stands(context.fn_name(), position, source), position }
}

pub(super) fn site_of(border: &Border, context: &NativeCallContext<'_>) -> Site {
    let place = place(border, context);
    site(&place.label, place.position)
}

fn values(arguments: &mut [&mut Dynamic]) -> Vec<Dynamic> {
    arguments.iter_mut().map(|argument| flat(argument)).collect()
}

/// A value without sharing, inside lists and maps too.
fn flat(value: &Dynamic) -> Dynamic {
    let value = value.clone().flatten();
    if let Some(items) = value.read_lock::<Array>() {
        return Dynamic::from_array(items.iter().map(flat).collect());
    }
    if let Some(map) = value.read_lock::<Map>() {
        return Dynamic::from_map(map.iter().map(|(name, item)| (name.clone(), flat(item))).collect());
    }
    value
}

/// Adds a kind under its name, and to the module that has all kinds.
fn kind(engine: &mut Engine, steps: &mut Module, border: &Arc<Border>, signature: Signature) {
    let signature = Arc::new(signature);
    let name = signature.about.name;
    for count in 0..=MOST_ARGUMENTS {
        let types = vec![TypeId::of::<Dynamic>(); count];
        let (border, signature) = (border.clone(), signature.clone());
        let call = move |context: NativeCallContext<'_>, arguments: &mut [&mut Dynamic]| -> Result<Handle> {
            let arguments = values(arguments);
            Ok(declare(&border, &signature, &place(&border, &context), &arguments))
        };
        let call = Shared::new(call);
        let again = call.clone();
        engine.register_raw_fn(name, &types, move |context, arguments| call(context, arguments));
        let func = move |context: Option<NativeCallContext<'_>>, arguments: &mut [&mut Dynamic]| {
            again(context.expect("the function asks for its context"), arguments).map(Dynamic::from)
        };
        let func = RhaiFunc::Method { func: Shared::new(func), has_context: true, is_pure: true, is_volatile: true };
        FuncRegistration::new(name).set_into_module_raw(steps, &types, func);
    }
}

fn parameters(engine: &mut Engine, border: &Arc<Border>, settings: BTreeMap<String, String>) {
    let settings = Arc::new(settings);
    for count in 2..=4 {
        let (border, settings) = (border.clone(), settings.clone());
        engine.register_raw_fn("param", vec![TypeId::of::<Dynamic>(); count], move |context, arguments| -> Result<Dynamic> {
            let arguments = values(arguments);
            let site = site_of(&border, &context);
            let text = |index: usize| arguments.get(index).and_then(|value| value.clone().into_string().ok());
            let plain = |value: &Dynamic| {
                to_value(value, &|_: &FnPtr| Ok(String::new())).ok().filter(|value| !matches!(value, Value::Script(_)))
            };
            let choices = match arguments.get(3).map(plain) {
                Some(Some(Value::List(choices))) => Some(
                    choices
                        .iter()
                        .map(|choice| if let Value::Str(text) = choice { text.clone() } else { choice.to_string() })
                        .collect(),
                ),
                Some(_) => None,
                None => Some(Vec::new()),
            };
            let (Some(name), Some(default), Some(choices)) = (text(0), plain(&arguments[1]), choices) else {
                let message = "a parameter is written param(name, default, doc) or param(name, default, doc, [choices])";
                border.session.lock().mistake(Mistake::new(site, message));
                return Ok(arguments[1].clone());
            };
            let doc = text(2).unwrap_or_default();
            let asked = ParamUse { name, value: default.clone(), default, doc, choices, set_by_user: false, site };
            Ok(to_dynamic(&ask(&mut border.session.lock(), &settings, asked)))
        });
    }
}

/// `files(pattern)`: the files a pattern names, sorted, each as a pattern that names it alone.
fn listing(engine: &mut Engine, border: &Arc<Border>) {
    let border = border.clone();
    engine.register_raw_fn("files", [TypeId::of::<ImmutableString>()], move |context, arguments| -> Result<Array> {
        let arguments = values(arguments);
        let site = site_of(&border, &context);
        let pattern = arguments[0].clone().into_string().unwrap_or_default();
        let message = match border.outside.glob(&pattern) {
            Ok(found) if found.is_empty() => {
                format!("no file is called `{pattern}`; names are relative to the recipe's folder")
            }
            Ok(found) => return Ok(found.into_iter().map(|file| Dynamic::from(glob::Pattern::escape(&file.path))).collect()),
            Err(error) => error.to_string(),
        };
        border.session.lock().mistake(Mistake::new(site, message));
        Ok(Array::new())
    });
}

fn outputs(engine: &mut Engine, border: &Arc<Border>) {
    let border = border.clone();
    engine.register_raw_fn("output", [TypeId::of::<Dynamic>(); 2], move |context, arguments| {
        let arguments = values(arguments);
        let site = site_of(&border, &context);
        let mut state = border.session.lock();
        let listed: Option<Vec<Handle>> = match arguments[1].read_lock::<Array>() {
            Some(items) => items.iter().map(|item| Some(item.read_lock::<Handle>()?.clone())).collect(),
            None => arguments[1].read_lock::<Handle>().map(|handle| vec![handle.clone()]),
        };
        let (Some(name), Some(handles)) = (arguments[0].clone().into_string().ok(), listed) else {
            state.mistake(Mistake::new(site, "an output is written output(name, artifact) or output(name, [artifacts])"));
            return Ok(());
        };
        let single = handles.len() == 1 && !arguments[1].is_array();
        for (index, handle) in handles.iter().enumerate() {
            let name = if single { name.clone() } else { format!("{name}-{}", index + 1) };
            if let Some(first) = state.outputs.iter().find(|output| output.name == name) {
                let message = format!("two outputs are called `{name}`; the first is at {}", first.site);
                state.mistake(Mistake::new(site.clone(), message));
            } else if let Some(step) = handle.step {
                state.outputs.push(Output { name, step, site: site.clone() });
            }
        }
        Ok(())
    });
}

/// Names that can stand in tables, paths and command lines.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !text.starts_with(['-', '.'])
}

fn handles(engine: &mut Engine, border: &Arc<Border>) {
    let shared = border.clone();
    engine.register_raw_fn("named", [TypeId::of::<Handle>(), TypeId::of::<ImmutableString>()], move |context, arguments| {
        let handle = arguments[0].clone().cast::<Handle>();
        let name = arguments[1].clone().cast::<ImmutableString>();
        let mut state = shared.session.lock();
        if !is_name(&name) {
            let message = format!("`{name}` is no name for a step: letters, digits, `-`, `_` and `.` can be used");
            let site = site_of(&shared, &context);
            state.mistake(Mistake::new(site, message));
        } else if let Some(step) = handle.step {
            state.name(step, &name);
        }
        Ok(handle)
    });
    treatment::register(engine, border);
    let shared = border.clone();
    engine.register_indexer_get(
        move |context: NativeCallContext<'_>, handle: &mut Handle, name: ImmutableString| -> Result<Handle> {
            Ok(part(&shared, &context, handle, &name))
        },
    );
}

fn part(border: &Border, context: &NativeCallContext<'_>, handle: &Handle, name: &str) -> Handle {
    let parts = border.parts.get(&handle.kind).filter(|_| handle.part.is_none()).cloned().unwrap_or_default();
    if let Some((part, artifact)) = parts.iter().find(|(part, _)| *part == name) {
        return Handle { part: Some(part), artifact: Some(*artifact), ..handle.clone() };
    }
    let mut state = border.session.lock();
    state.pretended = true;
    if handle.artifact.is_some() {
        // The position is that of the dot.
        let dot = context.call_position();
        let behind = match (dot.line(), dot.position()) {
            (Some(line), Some(column)) => Position::new(line.min(65_535) as u16, (column + 1).min(65_535) as u16),
            _ => dot,
        };
        let label = border.library.where_stands(name, behind, context.call_source().unwrap_or(&border.library.recipe));
        let names: Vec<_> = parts.iter().map(|(part, _)| *part).collect();
        let there = if names.is_empty() { "it has no parts".to_owned() } else { format!("its parts are: {}", names.join(", ")) };
        let message = format!("{} has no `{name}`; {there}", handle.described());
        let kind = border.kinds.iter().any(|kind| kind == name).then(|| format!("`{name}` is a step; call it: .{name}(...)"));
        let mut mistake = Mistake::new(site(&label, behind), message).meant(closest(name, names));
        mistake.suggestion = mistake.suggestion.or(kind);
        state.mistake(mistake);
    }
    Handle::unknown()
}

fn notes(engine: &mut Engine, border: &Arc<Border>) {
    let shared = border.clone();
    engine.on_print(move |text| shared.session.lock().notes.push(text.to_owned()));
    let shared = border.clone();
    engine.on_debug(move |text, source, position| {
        let place = site(source.unwrap_or(&shared.library.recipe), position);
        shared.session.lock().notes.push(format!("{place}: {text}"));
    });
}

/// How variables are read: captured `constants` by value, and unknown names, of variables and `functions`, as placeholders, so that
/// evaluation goes on past them.
#[allow(deprecated, reason = "the hooks are marked so because they may change with the pinned version")]
pub(super) fn pretend(
    engine: &mut Engine,
    border: &Arc<Border>,
    constants: BTreeMap<String, BTreeSet<String>>,
    variables: BTreeSet<String>,
    functions: BTreeSet<String>,
) {
    engine.on_var(move |name: &str, _, context: EvalContext<'_, '_, '_, '_, '_, '_>| {
        let source = context.source().unwrap_or_default();
        if constants.get(source).is_some_and(|constants| constants.contains(name)) {
            // A value from here is not shared by the closure that captures it.
            return Ok(context.scope().get(name).filter(|value| !value.is_shared()).cloned());
        }
        let unknown = variables.contains(name) && !context.scope().contains(name);
        Ok(unknown.then(|| Dynamic::from(Handle::unknown())))
    });
    let shared = border.clone();
    engine.on_missing_function(move |name: &str, arguments: &mut [&mut Dynamic], _, _: EvalContext<'_, '_, '_, '_, '_, '_>| {
        let mut state = shared.session.lock();
        if functions.contains(name) {
            state.pretended = true;
            return Ok(Some(Dynamic::from(Handle::unknown())));
        }
        let described = arguments.first().and_then(|first| Some(first.read_lock::<Handle>()?.clone()));
        if described.as_ref().is_some_and(|handle| handle.artifact.is_none()) && state.pretended {
            return Ok(Some(Dynamic::from(Handle::unknown())));
        }
        if let Some(handle) = described {
            state.last_missing = Some((name.to_owned(), handle.described()));
        }
        Ok(None)
    });
}

/// Notes which variable of the recipe first holds a step: when the next variable is defined, and at the end.
#[allow(deprecated, reason = "the hook is marked so because it may change with the pinned version")]
pub(super) fn watch_variables(engine: &mut Engine, border: &Arc<Border>) {
    let shared = border.clone();
    engine.on_def_var(move |running, info: VarDefInfo<'_>, context: EvalContext<'_, '_, '_, '_, '_, '_>| {
        if running
            && info.nesting_level() == 0
            && context.call_level() == 0
            && context.source() == Some(shared.library.recipe.as_str())
        {
            hold(&shared, context.scope());
        }
        Ok(true)
    });
}

/// Gives the steps in a scope the names of their variables.
pub(super) fn hold(border: &Border, scope: &rhai::Scope<'_>) {
    let mut found = Vec::new();
    for (name, _, value) in scope.iter_raw() {
        held(name, &value.clone().flatten(), 0, &mut found);
    }
    let mut state = border.session.lock();
    for (name, step) in found {
        state.held_by(step, &name);
    }
}

fn held(name: &str, value: &Dynamic, depth: usize, found: &mut Vec<(String, plan::StepId)>) {
    if let Some(handle) = value.read_lock::<Handle>() {
        found.extend(handle.step.filter(|_| handle.part.is_none()).map(|step| (name.to_owned(), step)));
    } else if depth > 4 {
    } else if let Some(items) = value.read_lock::<Array>() {
        for (index, item) in items.iter().enumerate() {
            held(&format!("{name}-{}", index + 1), item, depth + 1, found);
        }
    } else if let Some(map) = value.read_lock::<Map>() {
        for (key, item) in map.iter().filter(|(key, _)| is_name(key)) {
            held(&format!("{name}-{key}"), item, depth + 1, found);
        }
    }
}
