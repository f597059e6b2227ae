//! The one rule by which a call of a kind becomes a declaration. It does not know what kinds do.
//!
//! Arguments are taken from left to right, the receiver of a method call first:
//! 1. An artifact goes to the first port that accepts its type and has room; a list of artifacts goes to one port.
//! 2. A string, or a list of strings, goes to the first free port that takes files, as patterns of file names; a folder stands for
//!    the files in it. A string `owner/name@commit` goes to a parameter that takes one.
//! 3. A map at the end is the parameter map, if it has the name of a parameter or port as a key, or if no free positional parameter
//!    could take a map.
//! 4. Everything else fills the kind's positional parameters in order.
//!
//! A parameter map can also connect a port by its name, for ports that types cannot tell apart.

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map, Position};

use plan::{Input, Source, Value};

use super::closure::Refusal;
use super::handle::{Handle, described};
use super::library::Library;
use super::locate::{Given, argument, parameter};
use super::mistake::Mistake;
use super::outside::Outside;
use super::session::{Declaration, Session};
use super::text::{Text, site};
use super::value::{NotPlain, to_value};
use crate::steps::params::{ADDRESS, closest};
use crate::steps::registry::Checks;
use crate::steps::{About, Arity, ArtifactType, Field, Kind, ParamError, Port};

/// What a call needs to know of a kind.
pub(super) struct Signature {
    pub(super) about: About,
    pub(super) fields: Vec<Field>,
    pub(super) check: Checks,
}

impl Signature {
    /// Of a kind.
    pub(super) fn of(kind: &Kind) -> Self {
        Self { about: kind.about.clone(), fields: kind.fields.clone(), check: kind.checks() }
    }
}

/// All kinds' parts, for suggestions.
pub(super) type Parts = std::collections::BTreeMap<String, Vec<(&'static str, ArtifactType)>>;

/// What the functions of the engine share.
pub(super) struct Border {
    pub(super) session: Session,
    pub(super) library: std::sync::Arc<Library>,
    pub(super) outside: Outside,
    pub(super) parts: Parts,
    /// Names of all kinds.
    pub(super) kinds: Vec<String>,
}

/// The place of a call.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) label: String,
    pub(super) position: Position,
}

enum Connection {
    Step(Handle),
    Files(Vec<plan::SourceFile>),
    /// One entry of a port whose entries have names.
    Named(String, Box<Connection>),
}

impl Connection {
    fn handle(&self) -> Option<&Handle> {
        match self {
            Self::Step(handle) => Some(handle),
            Self::Files(_) => None,
            Self::Named(_, inner) => inner.handle(),
        }
    }

    /// The connection as an input of `port`; none for a placeholder.
    fn into_input(self, port: String) -> Option<Input> {
        match self {
            Self::Step(Handle { step, part, .. }) => {
                Some(Input { port, source: Source::Step(step?), part: part.map(str::to_owned) })
            }
            Self::Files(files) => Some(Input { port, source: Source::Files(files), part: None }),
            Self::Named(name, inner) => inner.into_input(format!("{port}.{name}")),
        }
    }
}

/// Something in a call, whose position is looked for only when it is wrong.
#[derive(Clone, Copy)]
enum At<'a> {
    /// The argument with so many after it.
    Argument(usize),
    /// An entry of the parameter map.
    Entry(&'a str),
}

/// One call while it is being read.
struct Call<'a> {
    border: &'a Border,
    signature: &'a Signature,
    place: &'a Place,
    text: Option<std::sync::Arc<Text>>,
    connections: Vec<Vec<Connection>>,
    params: std::collections::BTreeMap<String, Value>,
    given: std::collections::BTreeMap<String, Given>,
    mistakes: Vec<Mistake>,
    // An input of unknown type: whether a port is free cannot be told.
    unsure: bool,
}

/// Reads a call and declares its step. What is wrong is noted, and a placeholder of the right type returned.
pub(super) fn declare(border: &Border, signature: &Signature, place: &Place, arguments: &[Dynamic]) -> Handle {
    let about = &signature.about;
    let text = border.library.text(&place.label);
    let connections = about.ports.iter().map(|_| Vec::new()).collect();
    let mut call = Call {
        border,
        signature,
        place,
        text,
        connections,
        params: Default::default(),
        given: Default::default(),
        mistakes: Vec::new(),
        unsure: false,
    };
    call.read(arguments);
    call.check_ports();
    let params = call.check_params();
    let ready =
        call.connections.iter().flatten().all(|connection| connection.handle().is_none_or(|handle| handle.step.is_some()));
    let Call { connections, mistakes, .. } = call;
    let mut state = border.session.lock();
    let artifact = made(about, params.as_ref());
    let step = match params {
        Some(params) if mistakes.is_empty() && ready => {
            let mut inputs = Vec::new();
            for (port, connections) in about.ports.iter().zip(connections) {
                inputs.extend(connections.into_iter().filter_map(|connection| connection.into_input(port.name.to_owned())));
            }
            Some(state.declare(Declaration {
                kind: about.name.to_owned(),
                version: about.version,
                params,
                inputs,
                site: site(&place.label, place.position),
                resources: about.resources,
                place: about.place,
            }))
        }
        _ => {
            state.pretended = true;
            None
        }
    };
    state.mistakes.extend(mistakes);
    Handle { step, kind: about.name.to_owned(), artifact: Some(artifact), part: None }
}

/// What a step makes: for kinds that make files, what their parameter `makes` says these are.
fn made(about: &About, params: Option<&Value>) -> ArtifactType {
    match params {
        Some(Value::Map(params)) if about.output == ArtifactType::Files => match params.get("makes") {
            Some(Value::Str(name)) => ArtifactType::named(name).unwrap_or(about.output),
            _ => about.output,
        },
        _ => about.output,
    }
}

impl Call<'_> {
    fn wrong(&mut self, position: Option<Position>, message: String) -> &mut Mistake {
        let position = position.filter(|position| !position.is_none()).unwrap_or(self.place.position);
        self.mistakes.push(Mistake::new(site(&self.place.label, position), message));
        self.mistakes.last_mut().expect("just pushed")
    }

    fn position(&self, at: At<'_>) -> Option<Position> {
        match at {
            At::Argument(after) => self.at_argument(after),
            At::Entry(name) => {
                parameter(self.text.as_deref()?, self.signature.about.name, self.place.position, &Given::Named, name)
            }
        }
    }

    fn at_argument(&self, after: usize) -> Option<Position> {
        argument(self.text.as_deref()?, self.signature.about.name, self.place.position, after)
    }

    fn read(&mut self, arguments: &[Dynamic]) {
        let named = self.parameter_map(arguments);
        let others = if named.is_some() { &arguments[..arguments.len() - 1] } else { arguments };
        let mut positional = self.signature.about.positional.iter();
        for (index, value) in others.iter().enumerate() {
            let after = arguments.len() - 1 - index;
            if let Some((handles, listed)) = handles(value) {
                self.connect(&handles, listed, after);
            } else if let Some(name) = self.address(value, positional.as_slice()) {
                self.set(name, value, Given::Positional { after });
                positional.next();
            } else if let Some((port, patterns)) = self.patterns(value, positional.len()) {
                self.open(port, &patterns, At::Argument(after));
            } else if let Some(name) = positional.next() {
                self.set(name, value, Given::Positional { after });
            } else {
                self.surplus(value, after);
            }
        }
        for (name, value) in named.unwrap_or_default() {
            self.name(&name, &value);
        }
    }

    /// The parameter map at the end of the arguments, if there is one.
    fn parameter_map(&self, arguments: &[Dynamic]) -> Option<Map> {
        let (last, others) = arguments.split_last()?;
        let map = last.read_lock::<Map>()?.clone();
        let Signature { about, fields, .. } = self.signature;
        let known =
            |name: &str| fields.iter().any(|field| field.name == name) || about.ports.iter().any(|port| port.name == name);
        if map.keys().any(|name| known(name)) || map.is_empty() {
            return Some(map);
        }
        let files = about.ports.iter().filter(|port| port.accepts.contains(&ArtifactType::Files)).count();
        let texts = others.iter().filter(|value| strings(value).is_some()).count().min(files);
        let used = others.iter().filter(|value| handles(value).is_none()).count() - texts;
        let takes_map =
            |field: &Field| !field.fields.is_empty() || ["map", "anything"].iter().any(|word| field.type_name.contains(word));
        let free = about.positional.get(used).and_then(|name| fields.iter().find(|field| field.name == *name));
        if free.is_some_and(takes_map) { None } else { Some(map) }
    }

    fn has_room(&self, port: usize, count: usize) -> bool {
        match self.signature.about.ports[port].arity {
            Arity::One | Arity::Optional => count == 1 && self.connections[port].is_empty(),
            Arity::Many | Arity::Any | Arity::Named => true,
        }
    }

    fn connect(&mut self, handles: &[Handle], listed: bool, after: usize) {
        let ports = self.signature.about.ports;
        let fits = |port: &Port, handle: &Handle| handle.artifact.is_none_or(|artifact| port.accepts.contains(&artifact));
        let accepting: Vec<usize> =
            (0..ports.len()).filter(|&port| handles.iter().all(|handle| fits(&ports[port], handle))).collect();
        if handles.iter().any(|handle| handle.artifact.is_none()) {
            self.unsure = true;
        }
        if let Some(&port) = accepting.iter().find(|&&port| self.has_room(port, handles.len())) {
            self.connections[port].extend(handles.iter().cloned().map(Connection::Step));
            return;
        }
        let name = self.signature.about.name;
        let position = self.at_argument(after);
        if handles.iter().any(|handle| handle.artifact.is_none()) {
            return;
        }
        if listed && handles.len() > 1 && !accepting.is_empty() {
            let port = &ports[accepting[0]];
            let message = format!("`{name}` takes one `{}`, and a list of {} was given", port.name, handles.len());
            let suggestion = format!("call it for each: `list.map(|one| one.{name}(...))`");
            self.wrong(position, message).suggestion = Some(suggestion);
            return;
        }
        if let Some(&port) = accepting.first() {
            let message = format!("`{name}` takes one `{}`, and a second was given", ports[port].name);
            self.wrong(position, message);
            return;
        }
        let wrong = handles.iter().find(|handle| !ports.iter().any(|port| fits(port, handle))).unwrap_or(&handles[0]);
        let parts = self.suggested_parts(wrong, ports);
        let wants =
            if ports.is_empty() { "no artifacts".to_owned() } else { ports.iter().map(wanted).collect::<Vec<_>>().join(", ") };
        let message = format!("`{name}` takes {wants}, not {}", wrong.described());
        self.wrong(position, message).suggestion = parts;
    }

    /// `.train` or `.valid`, when a part would fit where the whole does not.
    fn suggested_parts(&self, handle: &Handle, ports: &[Port]) -> Option<String> {
        if handle.part.is_some() {
            return None;
        }
        let parts = self.border.parts.get(&handle.kind)?;
        let fitting = parts.iter().filter(|(_, artifact)| ports.iter().any(|port| port.accepts.contains(artifact)));
        let names: Vec<_> = fitting.map(|(name, _)| format!("`.{name}`")).collect();
        (!names.is_empty()).then(|| format!("take a part of it: {}", names.join(" or ")))
    }

    /// The next positional parameter, if it takes an address and the value is one.
    fn address(&self, value: &Dynamic, positional: &[&'static str]) -> Option<&'static str> {
        let name = positional.first()?;
        let field = self.signature.fields.iter().find(|field| field.name == *name)?;
        let text = value.read_lock::<ImmutableString>()?;
        let (repository, commit) = text.split_once('@')?;
        let parts: Vec<_> = repository.split('/').collect();
        let plain = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains(['*', '?', '[']);
        let addressed = parts.len() == 2 && parts.iter().all(plain) && !commit.is_empty() && !commit.contains('/');
        (addressed && field.type_name.contains(ADDRESS)).then_some(*name)
    }

    /// The port for files that is free, if the value is a pattern or a list of patterns. More patterns go to a port that takes many
    /// once no positional parameter could take them.
    fn patterns(&self, value: &Dynamic, positional: usize) -> Option<(usize, Vec<String>)> {
        let patterns = strings(value)?;
        let ports = self.signature.about.ports;
        let mut files = (0..ports.len()).filter(|&port| ports[port].accepts.contains(&ArtifactType::Files));
        let many = |port: usize| positional == 0 && matches!(ports[port].arity, Arity::Many | Arity::Any | Arity::Named);
        files.find(|&port| self.connections[port].is_empty() || many(port)).map(|port| (port, patterns))
    }

    fn open(&mut self, port: usize, patterns: &[String], at: At<'_>) {
        let mut files = Vec::new();
        for pattern in patterns {
            match self.files(pattern) {
                Ok(found) if found.is_empty() => {
                    let message = format!("no file is called `{pattern}`; names are relative to the recipe's folder");
                    self.wrong(self.position(at), message);
                }
                Ok(found) => files.extend(found),
                Err(error) => drop(self.wrong(self.position(at), error.to_string())),
            }
        }
        self.connections[port].push(Connection::Files(files));
    }

    /// What a pattern names; a folder stands for the files in it.
    fn files(&self, pattern: &str) -> Result<Vec<plan::SourceFile>, super::world::WorldError> {
        let found = self.border.outside.glob(pattern)?;
        if found.is_empty() { self.border.outside.glob(&format!("{}/*", pattern.trim_end_matches('/'))) } else { Ok(found) }
    }

    fn surplus(&mut self, value: &Dynamic, after: usize) {
        let about = &self.signature.about;
        if value.read_lock::<Array>().is_some_and(|items| items.is_empty()) {
            // An empty list of artifacts; a port that needs one reports it.
            return;
        }
        let takes = match about.positional {
            [] => "takes its parameters by name, in a map `#{...}`".to_owned(),
            names => {
                format!("takes {} without a name", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            }
        };
        let position = self.at_argument(after);
        if let Some(Refused { artifact: true, .. }) = to_value(value, &|_| Ok(String::new())).err().map(refused) {
            self.wrong(position, format!("a list given to `{}` mixes artifacts and other values", about.name));
            return;
        }
        let message = format!("`{}` {takes}; there is one value too many", about.name);
        self.wrong(position, message);
    }

    /// A named entry of the parameter map: a parameter, or a port.
    fn name(&mut self, name: &str, value: &Dynamic) {
        let about = &self.signature.about;
        let is_field = self.signature.fields.iter().any(|field| field.name == name);
        let at = At::Entry(name);
        let Some(port) = about.ports.iter().position(|port| port.name == name).filter(|_| !is_field || handles(value).is_some())
        else {
            return self.set(name, value, Given::Named);
        };
        if about.ports[port].arity == Arity::Named {
            self.entries(port, value, at);
        } else if let Some((handles, _)) = handles(value) {
            let accepts = about.ports[port].accepts;
            if let Some(wrong) =
                handles.iter().find(|handle| handle.artifact.is_some_and(|artifact| !accepts.contains(&artifact)))
            {
                let parts = self.suggested_parts(wrong, std::slice::from_ref(&about.ports[port]));
                let message =
                    format!("port {} of `{}` does not take {}", wanted(&about.ports[port]), about.name, wrong.described());
                self.wrong(self.position(at), message).suggestion = parts;
            } else if self.has_room(port, handles.len()) {
                self.connections[port].extend(handles.into_iter().map(Connection::Step));
            } else {
                let message = format!("`{}` takes one `{name}`, and more were given", about.name);
                self.wrong(self.position(at), message);
            }
        } else if let (Some(patterns), true) = (strings(value), about.ports[port].accepts.contains(&ArtifactType::Files)) {
            self.open(port, &patterns, at);
        } else {
            let message =
                format!("port {} of `{}` takes an artifact, not {}", wanted(&about.ports[port]), about.name, value.type_name());
            self.wrong(self.position(at), message);
        }
    }

    /// The entries of a port whose entries can have names: a map, a list, or one.
    fn entries(&mut self, port: usize, value: &Dynamic, at: At<'_>) {
        if let Some(map) = value.read_lock::<Map>() {
            for (name, item) in map.iter() {
                let start = self.connections[port].len();
                self.entry(port, item, at);
                for connection in self.connections[port].split_off(start) {
                    self.connections[port].push(Connection::Named(name.to_string(), Box::new(connection)));
                }
            }
        } else {
            self.entry(port, value, at);
        }
    }

    fn entry(&mut self, port: usize, value: &Dynamic, at: At<'_>) {
        if let Some(handle) = value.read_lock::<Handle>() {
            self.unsure |= handle.artifact.is_none();
            self.connections[port].push(Connection::Step(handle.clone()));
        } else if let Some(text) = value.read_lock::<ImmutableString>() {
            self.open(port, &[text.to_string()], at);
        } else if let Some(items) = value.read_lock::<Array>() {
            items.iter().for_each(|item| self.entry(port, item, at));
        } else {
            let (name, kind) = (self.signature.about.ports[port].name, self.signature.about.name);
            let message = format!("`{name}` of `{kind}` takes artifacts and names of files, not {}", value.type_name());
            self.wrong(self.position(at), message);
        }
    }

    fn set(&mut self, name: &str, value: &Dynamic, given: Given) {
        let kind = self.signature.about.name;
        let position = |call: &Self, given: &Given| parameter(call.text.as_deref()?, kind, call.place.position, given, name);
        if self.params.contains_key(name) {
            let position = position(self, &given);
            self.wrong(position, format!("parameter `{name}` of `{kind}` is given twice"));
            return;
        }
        let home = self.text.clone();
        let library = self.border.library.clone();
        let canonical = |pointer: &FnPtr| super::closure::canonical(pointer, home.as_deref(), &library, &self.border.kinds);
        match to_value(value, &canonical) {
            Ok(value) => {
                self.params.insert(name.to_owned(), value);
            }
            Err(NotPlain::Closure(Refusal { label, position: at, message })) => {
                let here = position(self, &given).unwrap_or(self.place.position);
                let message = format!("this closure cannot be a parameter of `{kind}`: {message}");
                let (label, at) = if at.is_none() { (self.place.label.clone(), here) } else { (label, at) };
                self.mistakes.push(Mistake::new(site(&label, at), message));
            }
            Err(other) => {
                let position = position(self, &given);
                let Refused { what, artifact } = refused(other);
                let message = format!("parameter `{name}` of `{kind}` cannot hold {what}");
                let ports =
                    self.signature.about.ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
                let mistake = self.wrong(position, message);
                if artifact && !ports.is_empty() {
                    mistake.suggestion = Some(format!("artifacts go to its inputs: {ports}"));
                }
            }
        }
        self.given.insert(name.to_owned(), given);
    }

    fn check_ports(&mut self) {
        if self.unsure || !self.mistakes.is_empty() {
            return;
        }
        for (port, connections) in self.signature.about.ports.iter().zip(&self.connections) {
            if connections.is_empty() && matches!(port.arity, Arity::One | Arity::Many) {
                let message = format!("`{}` needs {}: {}", self.signature.about.name, wanted(port), port.doc.trim());
                let place = site(&self.place.label, self.place.position);
                self.mistakes.push(Mistake::new(place, message.trim_end_matches([' ', ':', '.']).to_owned()));
            }
        }
    }

    /// The types of what is connected, by port.
    fn connected(&self) -> Option<Vec<(&'static str, ArtifactType)>> {
        let by_port = self.signature.about.ports.iter().zip(&self.connections);
        let types = by_port.flat_map(|(port, connections)| {
            connections.iter().map(move |connection| match connection.handle() {
                Some(handle) => Some((port.name, handle.artifact?)),
                None => Some((port.name, ArtifactType::Files)),
            })
        });
        types.collect()
    }

    /// The parameters with defaults filled in.
    fn check_params(&mut self) -> Option<Value> {
        let kind = self.signature.about.name;
        let check = self.signature.check;
        let connected = self.connected();
        let mut errors = match check.apply(&Value::Map(self.params.clone()), connected.as_deref()) {
            Ok(params) => return Some(params),
            Err(errors) => errors,
        };
        // Unknown names hide what is wrong with the others.
        let mut known = self.params.clone();
        known.retain(|name, _| self.signature.fields.iter().any(|field| field.name == name));
        if known.len() < self.params.len()
            && let Err(more) = check.apply(&Value::Map(known), connected.as_deref())
        {
            errors.extend(more.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
        }
        for ParamError { path, message, suggestion } in errors {
            let first = super::text::segments(&path).first().copied().unwrap_or_default().to_owned();
            let unread = self.given.contains_key(&first) && !self.params.contains_key(&first);
            if unread {
                // It was given, but could not be read; that is already reported.
                continue;
            }
            let position = self
                .given
                .get(&first)
                .zip(self.text.as_deref())
                .and_then(|(given, text)| parameter(text, kind, self.place.position, given, &path));
            let port = self.signature.about.ports.iter().map(|port| port.name);
            let meant = suggestion.or_else(|| if self.params.contains_key(&path) { closest(&path, port) } else { None });
            let message = if path.is_empty() {
                format!("`{kind}`: {message}")
            } else {
                format!("parameter `{path}` of `{kind}`: {message}")
            };
            self.wrong(position, message).suggestion = meant.map(|name| format!("did you mean `{name}`?"));
        }
        None
    }
}

struct Refused {
    what: String,
    artifact: bool,
}

fn refused(error: NotPlain) -> Refused {
    match error {
        NotPlain::Artifact(what) => Refused { what, artifact: true },
        NotPlain::Type(what) => Refused { what, artifact: false },
        NotPlain::Closure(refusal) => Refused { what: refusal.message, artifact: false },
    }
}

/// `documents`, or for an artifact of another name than its port `a checkpoint (port `start`)`.
fn wanted(port: &Port) -> String {
    let types = port.accepts.iter().map(|artifact| described(*artifact)).collect::<Vec<_>>().join(" or ");
    if port.accepts.iter().any(|artifact| artifact.name() == port.name) {
        types
    } else {
        format!("{types} (port `{}`)", port.name)
    }
}

/// The artifacts of a value: one, or a list of nothing but artifacts, and whether it was a list.
fn handles(value: &Dynamic) -> Option<(Vec<Handle>, bool)> {
    if let Some(handle) = value.read_lock::<Handle>() {
        return Some((vec![handle.clone()], false));
    }
    let items = value.read_lock::<Array>()?;
    let handles: Option<Vec<_>> = items.iter().map(|item| Some(item.read_lock::<Handle>()?.clone())).collect();
    handles.filter(|handles| !handles.is_empty()).map(|handles| (handles, true))
}

/// The strings of a value: one, or a list of nothing but strings.
fn strings(value: &Dynamic) -> Option<Vec<String>> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Some(vec![text.to_string()]);
    }
    let items = value.read_lock::<Array>()?;
    let texts: Option<Vec<_>> = items.iter().map(|item| Some(item.read_lock::<ImmutableString>()?.to_string())).collect();
    texts.filter(|texts| !texts.is_empty())
}
