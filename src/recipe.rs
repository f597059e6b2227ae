//! The Rhai border: a recipe's text becomes declarations of steps, or all of its mistakes. No script value leaves this module, and
//! evaluation is pure: what is read comes from a [`World`] and becomes a declared input. It does not know how steps run.
//!
//! ```text
//! text -> names checked -> evaluated -> declarations (one for equal ones) -> names -> Evaluation
//!              |               |                |
//!              '---------------'----------------'--> mistakes, reported together
//! ```

mod call;
mod capture;
pub mod closure;
pub mod docs;
mod engine;
mod failure;
mod handle;
mod library;
mod locate;
mod mistake;
mod names;
mod outside;
mod params;
mod sandbox;
mod session;
pub mod stdlib;
#[cfg(test)]
mod tests;
mod text;
mod treatment;
mod value;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::Scope;

use plan::{Digest, Output, Site, StepDecl};

use crate::steps::Registry;
use call::{Border, Signature};
use library::Library;
use outside::Outside;
use session::Session;

pub use closure::{Closure, ClosureError};
pub use docs::{docs, docs_for};
pub use library::Origin;
pub use mistake::{Mistake, RecipeError};
pub use params::ParamUse;
pub(crate) use sandbox::STACK_BYTES;
pub use world::{DiskWorld, HashFile, MemoryWorld, World, WorldError};

/// What a recipe declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Steps, in the order in which they were declared.
    pub steps: Vec<StepDecl>,
    /// Outputs, in the order in which they were declared.
    pub outputs: Vec<Output>,
    /// Parameters it asked for, in order.
    pub params: Vec<ParamUse>,
    /// Lines it printed.
    pub notes: Vec<String>,
    /// Digest of its text and of everything it imported.
    pub recipe_digest: Digest,
    /// The texts it consists of: itself, files, modules of the standard library.
    pub texts: Vec<Origin>,
}

/// Evaluates the recipe at `path`, as the user gave it; `world` is rooted at its folder. `settings` are the values of parameters.
///
/// # Errors
/// All mistakes of the recipe that can be found at once.
pub fn evaluate(
    path: &str,
    world: &dyn World,
    registry: &Registry,
    settings: &BTreeMap<String, String>,
) -> Result<Evaluation, RecipeError> {
    let (outside, requests) = Outside::open();
    let signatures: Vec<_> = registry.kinds().map(Signature::of).collect();
    let (label, settings) = (path.to_owned(), settings.clone());
    let evaluation = std::thread::Builder::new()
        .name("recipe".into())
        .stack_size(STACK_BYTES)
        .spawn(move || evaluate_here(&label, outside, signatures, settings));
    let thread = match evaluation {
        Ok(thread) => thread,
        Err(error) => return Err(stopped(path, &format!("no thread can be started: {error}"))),
    };
    outside::serve(&requests, world);
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(stopped(path, &format!("internal error: {}", text.unwrap_or("unknown"))))
    })
}

fn stopped(path: &str, message: &str) -> RecipeError {
    let site = Site { file: path.to_owned(), line: 0, column: 0 };
    RecipeError::new(vec![Mistake::new(site, message)], &BTreeMap::new(), path)
}

/// The evaluation, on a thread of its own.
fn evaluate_here(
    path: &str,
    outside: Outside,
    signatures: Vec<Signature>,
    settings: BTreeMap<String, String>,
) -> Result<Evaluation, RecipeError> {
    let library = Arc::new(Library::new(path, outside.clone()));
    let Some(recipe) = library.open(&engine::parser()) else {
        return Err(RecipeError::new(library.take_mistakes(), &library.sources(), path));
    };
    let kinds = signatures.iter().map(|signature| signature.about.name.to_owned()).collect();
    let parts = signatures.iter().map(|signature| (signature.about.name.to_owned(), signature.about.parts.to_vec())).collect();
    let part_names: BTreeSet<_> = signatures.iter().flat_map(|signature| signature.about.parts).map(|(name, _)| *name).collect();
    let border = Arc::new(Border { session: Session::default(), library: library.clone(), outside, parts, kinds });
    let mut engine = engine::build(&border, signatures, settings.clone());

    let known = sandbox::function_names(&engine);
    let names = names::Names::check(&library, known, &border.kinds, part_names);
    let (variables, functions) = (names.variables.clone(), names.functions.clone());
    let unknown_names = !names.mistakes.is_empty();
    border.session.lock().mistakes.extend(names.mistakes);
    let constants = capture::constant_captures(library.texts().iter().map(|text| &**text), &border.kinds);
    engine::pretend(&mut engine, &border, constants, variables, functions);
    engine::watch_variables(&mut engine, &border);

    let mut scope = Scope::new();
    let result = engine.run_ast_with_scope(&mut scope, &recipe.ast);
    engine::hold(&border, &scope);
    drop(scope);

    let mut state = border.session.take();
    state.mistakes.extend(library.take_mistakes());
    match result {
        Ok(()) => params::unknown_settings(&mut state, &settings),
        Err(error) => {
            let mut failure = failure::runtime(path, &error);
            if let (Some(name), Some((missing, receiver))) = (&failure.missing_function, &state.last_missing)
                && name == missing
            {
                failure.mistake.message = format!("{receiver} has no `{name}` that takes these arguments");
            }
            let consequence = failure.about_types && !state.mistakes.is_empty() && (state.pretended || unknown_names);
            if !consequence {
                state.mistake(failure.mistake);
            }
        }
    }
    if !state.mistakes.is_empty() {
        return Err(RecipeError::new(std::mem::take(&mut state.mistakes), &library.sources(), path));
    }
    let steps = state.named_steps();
    let (texts, recipe_digest) = library.digest();
    Ok(Evaluation { steps, outputs: state.outputs, params: state.params, notes: state.notes, recipe_digest, texts })
}
