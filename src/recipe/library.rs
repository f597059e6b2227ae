//! The texts of one evaluation: finding, parsing and importing them. A module is a file beside the text that imports it, or else
//! comes from the standard library. It does not know steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use rhai::{Dynamic, Engine, EvalAltResult, FnNamespace, Module, ModuleResolver, NativeCallContext, Position, Scope, Shared};

use plan::{Digest, Hasher, Site};

use super::handle::Handle;
use super::mistake::Mistake;
use super::outside::Outside;
use super::stdlib;
use super::text::{Sources, Text};
use super::world::WorldError;
use crate::steps::params::closest;

/// Where an imported text came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The recipe itself.
    Recipe,
    /// A file; its path relative to the recipe's folder.
    File(String),
    /// A module of the standard library; its name.
    Standard(String),
}

#[derive(Default)]
struct Shelf {
    // Parsed texts by label; none for a text that does not parse or does not exist.
    texts: BTreeMap<String, Option<Arc<Text>>>,
    sources: Sources,
    // Where the lines of each source begin, in bytes.
    lines: BTreeMap<String, Vec<usize>>,
    origins: BTreeMap<String, Origin>,
    // Evaluated modules by label.
    modules: BTreeMap<String, Shared<Module>>,
    evaluating: Vec<String>,
    // Functions that texts call in a module that lacks them: label of the module, name, number of arguments.
    missing: BTreeSet<(String, String, usize)>,
    mistakes: Vec<Mistake>,
}

/// A text that was imported; none when it does not parse, which is reported already.
struct Imported {
    label: String,
    text: Option<Arc<Text>>,
}

/// All texts of one evaluation.
pub(super) struct Library {
    folder: String,
    /// Label of the recipe.
    pub(super) recipe: String,
    outside: Outside,
    shelf: Mutex<Shelf>,
}

impl Library {
    /// A library for the recipe at `path`.
    pub(super) fn new(path: &str, outside: Outside) -> Self {
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        Self { folder, recipe: path.to_owned(), outside, shelf: Mutex::default() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no text is evaluated while the shelf is held")
    }

    /// The recipe's text, after loading it and everything it imports; none when it cannot be read or parsed.
    pub(super) fn open(&self, engine: &Engine) -> Option<Arc<Text>> {
        let name = self.recipe.strip_prefix(&self.folder).unwrap_or(&self.recipe).to_owned();
        let source = match self.outside.read(&name) {
            Ok(source) => source,
            Err(error) => {
                let site = Site { file: self.recipe.clone(), line: 0, column: 0 };
                self.shelf().mistakes.push(Mistake::new(site, format!("the recipe cannot be read: {error}")));
                return None;
            }
        };
        self.add(engine, &self.recipe, Origin::Recipe, source)
    }

    fn add(&self, engine: &Engine, label: &str, origin: Origin, source: String) -> Option<Arc<Text>> {
        let parsed = Text::parse(engine, label, &source);
        let mut shelf = self.shelf();
        let starts =
            std::iter::once(0).chain(source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        shelf.lines.insert(label.to_owned(), starts.collect());
        shelf.sources.insert(label.to_owned(), source);
        shelf.origins.insert(label.to_owned(), origin);
        match parsed {
            Err(error) => {
                let mistake = super::failure::syntax(label, &error);
                shelf.mistakes.push(mistake);
                shelf.texts.insert(label.to_owned(), None);
                None
            }
            Ok(text) => {
                let text = Arc::new(text);
                shelf.texts.insert(label.to_owned(), Some(text.clone()));
                drop(shelf);
                for (_, path, position) in &text.imports {
                    if let Err(mistake) = self.import(engine, label, path, *position) {
                        self.shelf().mistakes.push(mistake);
                    }
                }
                Some(text)
            }
        }
    }

    /// Labels and texts a path can mean when it is imported by `from`, in the order in which they are tried. A text does not mean
    /// itself, so that `recipes/olmo2.rhai` can import the module `olmo2`.
    fn candidates(&self, from: &str, path: &str) -> Vec<(String, Origin)> {
        let name = path.strip_suffix(".rhai").unwrap_or(path);
        let standard = (format!("stdlib/{name}.rhai"), Origin::Standard(name.to_owned()));
        let file = match self.shelf().origins.get(from) {
            Some(Origin::Standard(_)) => return vec![standard],
            Some(Origin::File(file)) => {
                let folder = file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
                format!("{folder}{name}.rhai")
            }
            _ => format!("{name}.rhai"),
        };
        let beside = (format!("{}{file}", self.folder), Origin::File(file));
        [beside, standard].into_iter().filter(|(label, _)| label != from).collect()
    }

    /// What `path` means in `from`.
    fn import(&self, engine: &Engine, from: &str, path: &str, position: Position) -> Result<Imported, Mistake> {
        let at = super::text::site(from, position);
        for (label, origin) in self.candidates(from, path) {
            if let Some(text) = self.shelf().texts.get(&label) {
                return Ok(Imported { text: text.clone(), label });
            }
            let source = match &origin {
                Origin::File(file) => match self.outside.read(file) {
                    Ok(source) => Some(source),
                    Err(WorldError::NotFound(_)) => None,
                    Err(error) => return Err(Mistake::new(at, format!("module `{path}` cannot be read: {error}"))),
                },
                Origin::Standard(name) => stdlib::text(name).map(str::to_owned),
                Origin::Recipe => None,
            };
            if let Some(source) = source {
                let text = self.add(engine, &label, origin, source);
                return Ok(Imported { label, text });
            }
        }
        let files = self.outside.glob("**/*.rhai").unwrap_or_default();
        let names = files.iter().filter_map(|file| file.path.strip_suffix(".rhai"));
        let known = names
            .chain(stdlib::MODULES.iter().map(|(name, _)| *name))
            .filter(|name| format!("{}{name}.rhai", self.folder) != self.recipe);
        let meant = closest(path, known);
        let message = format!("there is no module `{path}`: neither a file beside `{from}` nor a module of the standard library");
        Err(Mistake::new(at, message).meant(meant))
    }

    /// Label of the module that `alias` stands for in a text.
    pub(super) fn label_of(&self, text: &Text, alias: &str) -> Option<String> {
        let path = text.imported(alias)?;
        let shelf_has = |label: &str| self.shelf().texts.contains_key(label);
        self.candidates(&text.label, path).into_iter().map(|(label, _)| label).find(|label| shelf_has(label))
    }

    /// A text by its label.
    pub(super) fn text(&self, label: &str) -> Option<Arc<Text>> {
        self.shelf().texts.get(label).cloned().flatten()
    }

    /// All texts that parse, by label.
    pub(super) fn texts(&self) -> Vec<Arc<Text>> {
        self.shelf().texts.values().flatten().cloned().collect()
    }

    /// The value of an exported variable of an evaluated module.
    pub(super) fn constant(&self, label: &str, name: &str) -> Option<Dynamic> {
        let module = self.shelf().modules.get(label).cloned()?;
        module.get_var(name)
    }

    /// Makes a call of a function that a module lacks yield a placeholder, so that evaluation goes on.
    pub(super) fn pretend(&self, label: String, name: &str, arguments: usize) {
        self.shelf().missing.insert((label, name.to_owned(), arguments));
    }

    /// The text in which `word` stands at `position`: the one called `label` if it stands there, else any.
    pub(super) fn where_stands(&self, word: &str, position: Position, label: &str) -> String {
        let shelf = self.shelf();
        let stands = |(label, text): (&String, &String)| {
            let start = position.line().and_then(|line| shelf.lines.get(label)?.get(line - 1).copied());
            start.and_then(|start| word_at(&text[start..], position)) == Some(word)
        };
        if shelf.sources.get_key_value(label).is_some_and(stands) {
            return label.to_owned();
        }
        shelf.sources.iter().find(|entry| stands(*entry)).map_or(label, |(label, _)| label).to_owned()
    }

    /// Texts for excerpts.
    pub(super) fn sources(&self) -> Sources {
        self.shelf().sources.clone()
    }

    /// What went wrong while loading.
    pub(super) fn take_mistakes(&self) -> Vec<Mistake> {
        std::mem::take(&mut self.shelf().mistakes)
    }

    /// Where the texts came from, and the digest of them all.
    pub(super) fn digest(&self) -> (Vec<Origin>, Digest) {
        let shelf = self.shelf();
        let mut entries: Vec<_> = shelf.origins.iter().map(|(label, origin)| (origin.clone(), &shelf.sources[label])).collect();
        entries.sort();
        let mut hasher = Hasher::new("workbench recipe");
        for (origin, source) in &entries {
            match origin {
                Origin::Recipe => hasher.field(b"recipe"),
                Origin::File(path) => hasher.field(b"file").field(path.as_bytes()),
                Origin::Standard(name) => hasher.field(b"standard").field(name.as_bytes()),
            };
            hasher.field(source.as_bytes());
        }
        let origins = entries.into_iter().map(|(origin, _)| origin).collect();
        (origins, Digest::from_bytes(hasher.finish()))
    }

    #[allow(deprecated, reason = "nothing else changes the namespace of a script function")]
    fn evaluate(&self, engine: &Engine, label: &str, text: Option<&Text>) -> Result<Module, Box<EvalAltResult>> {
        let mut module = match text {
            Some(text) => Module::eval_ast_as_new(Scope::new(), &text.ast, engine)?,
            // The mistake is already recorded; calls into the module yield placeholders.
            None => Module::new(),
        };
        if let Some(text) = text {
            for definition in text.ast.iter_fn_def().filter(|definition| definition.this_type.is_some()) {
                let hash = Module::new().set_script_fn(definition.clone());
                module.update_fn_namespace(hash, FnNamespace::Global);
            }
        }
        for (_, name, arguments) in self.shelf().missing.iter().filter(|(module, ..)| module == label) {
            let types = vec![std::any::TypeId::of::<Dynamic>(); *arguments];
            let placeholder = |_: Option<NativeCallContext<'_>>, _: &mut [&mut Dynamic]| Ok(Dynamic::from(Handle::unknown()));
            rhai::FuncRegistration::new(name.as_str()).set_into_module_raw(
                &mut module,
                types,
                rhai::RhaiFunc::Pure { func: Shared::new(placeholder), has_context: false, is_pure: true, is_volatile: false },
            );
        }
        module.build_index();
        Ok(module)
    }
}

/// The identifier that begins at a position.
fn word_at(text: &str, position: Position) -> Option<&str> {
    let line = text.lines().next()?;
    let (start, _) = line.char_indices().nth(position.position()? - 1)?;
    let rest = &line[start..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Resolves the imports of an engine from a library.
pub(super) struct Resolver(pub(super) Arc<Library>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let library = &self.0;
        let from = source.unwrap_or(&library.recipe);
        let (label, text) = match library.import(engine, from, path, position) {
            Ok(Imported { label, text }) => (label, text),
            Err(mistake) => {
                library.shelf().mistakes.push(mistake);
                (missing_label(path), None)
            }
        };
        if let Some(module) = library.shelf().modules.get(&label) {
            return Ok(module.clone());
        }
        let circle = {
            let mut shelf = library.shelf();
            let at = shelf.evaluating.iter().position(|other| *other == label);
            let circle = at.map(|at| [&shelf.evaluating[at..], std::slice::from_ref(&label)].concat().join(" -> "));
            if circle.is_none() {
                shelf.evaluating.push(label.clone());
            }
            circle
        };
        if label == library.recipe || circle.is_some() {
            let circle = circle.unwrap_or_else(|| format!("{label} -> {label}"));
            return Err(Box::new(EvalAltResult::ErrorRuntime(
                format!("modules import each other in a circle: {circle}").into(),
                position,
            )));
        }
        let module = library.evaluate(engine, &label, text.as_deref());
        library.shelf().evaluating.pop();
        let module = Shared::new(module.map_err(|error| Box::new(EvalAltResult::ErrorInModule(label.clone(), error, position)))?);
        library.shelf().modules.insert(label, module.clone());
        Ok(module)
    }
}

/// The label under which calls into a module that does not exist are remembered.
pub(super) fn missing_label(path: &str) -> String {
    format!("missing:{path}")
}
