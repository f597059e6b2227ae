//! Unknown variables, functions and modules, all of them, found in the syntax tree before anything is evaluated. It does not know
//! values, and so leaves to evaluation whether a known function takes what it is given.

use std::collections::BTreeSet;
use std::sync::Arc;

use rhai::{Expr, FnCallExpr, FnPtr, Ident, Position, Stmt};

use super::engine::STEPS;
use super::library::{Library, missing_label};
use super::mistake::Mistake;
use super::text::{Function, Text};
use crate::steps::params::closest;

/// What can be said about names in all texts of a library.
pub(super) struct Names<'a> {
    library: &'a Library,
    /// Functions that need no module: builtins, kinds, methods of imported modules.
    known: BTreeSet<String>,
    kinds: &'a [String],
    /// Keys of maps, whose values may be closures that are called like methods.
    properties: BTreeSet<String>,
    /// Parts of artifacts, which are no functions.
    parts: BTreeSet<&'static str>,
    /// Unknown variables, which evaluation replaces by placeholders.
    pub(super) variables: BTreeSet<String>,
    /// Unknown functions, likewise.
    pub(super) functions: BTreeSet<String>,
    /// What is wrong.
    pub(super) mistakes: Vec<Mistake>,
}

struct Walk<'a, 'b> {
    names: &'a mut Names<'b>,
    text: &'a Text,
    scope: Vec<String>,
    modules: Vec<String>,
    // Names at the top of the text, which functions do not see.
    top: &'a BTreeSet<String>,
    depth: usize,
}

impl<'a> Names<'a> {
    /// Checks all texts.
    pub(super) fn check(
        library: &'a Library,
        known: BTreeSet<String>,
        kinds: &'a [String],
        parts: BTreeSet<&'static str>,
    ) -> Self {
        let texts = library.texts();
        let properties = texts.iter().flat_map(|text| text.property_names()).collect();
        let mut names = Self {
            library,
            known,
            kinds,
            properties,
            parts,
            variables: BTreeSet::new(),
            functions: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        for text in &texts {
            let methods = text.functions.iter().filter(|function| function.method_of.is_some());
            names.known.extend(methods.map(|function| function.name.clone()));
        }
        for text in &texts {
            names.check_text(text);
        }
        names
    }

    fn check_text(&mut self, text: &Arc<Text>) {
        let statements = text.ast.statements();
        let top: BTreeSet<String> = statements
            .iter()
            .filter_map(|stmt| match stmt {
                Stmt::Var(variable, ..) => Some(variable.0.name.to_string()),
                _ => None,
            })
            .collect();
        let aliases: Vec<String> = text.imports.iter().map(|(alias, ..)| alias.clone()).collect();
        let mut walk = Walk { names: self, text, scope: Vec::new(), modules: Vec::new(), top: &BTreeSet::new(), depth: 0 };
        walk.statements(statements);
        for function in text.functions.iter().filter(|function| !function.is_closure()) {
            let (scope, modules) = (function.params.clone(), aliases.clone());
            let mut walk = Walk { names: self, text, scope, modules, top: &top, depth: 0 };
            walk.statements(&function.body);
        }
    }
}

impl Walk<'_, '_> {
    fn wrong(&mut self, position: Position, message: String) -> &mut Mistake {
        self.names.mistakes.push(Mistake::new(self.text.site(position), message));
        self.names.mistakes.last_mut().expect("just pushed")
    }

    fn statements(&mut self, stmts: &[Stmt]) {
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn block(&mut self, stmts: &[Stmt]) {
        let (scope, modules) = (self.scope.len(), self.modules.len());
        self.statements(stmts);
        self.scope.truncate(scope);
        self.modules.truncate(modules);
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Expr(expr) => self.expr(expr),
            Stmt::FnCall(call, position) => self.call(call, *position, false),
            Stmt::Block(block) => self.block(block.statements()),
            Stmt::If(flow, _) => {
                self.expr(&flow.expr);
                self.block(flow.body.statements());
                self.block(flow.branch.statements());
            }
            Stmt::While(flow, _) => {
                self.expr(&flow.expr);
                self.block(flow.body.statements());
            }
            Stmt::Do(flow, ..) => {
                self.block(flow.body.statements());
                self.expr(&flow.expr);
            }
            Stmt::Switch(parts, _) => {
                self.expr(&parts.0);
                for case in &parts.1.expressions {
                    self.expr(&case.lhs);
                    self.expr(&case.rhs);
                }
            }
            Stmt::For(parts, _) => {
                let (item, counter, flow) = &**parts;
                self.expr(&flow.expr);
                let scope = self.scope.len();
                self.scope.push(item.name.to_string());
                self.scope.extend(counter.iter().map(|counter| counter.name.to_string()));
                self.block(flow.body.statements());
                self.scope.truncate(scope);
            }
            Stmt::Var(parts, ..) => {
                self.expr(&parts.1);
                self.scope.push(parts.0.name.to_string());
            }
            Stmt::Assignment(parts) => {
                self.expr(&parts.1.lhs);
                self.expr(&parts.1.rhs);
            }
            Stmt::TryCatch(flow, _) => {
                self.block(flow.body.statements());
                let scope = self.scope.len();
                if let Expr::Variable(variable, ..) = &flow.expr {
                    self.scope.push(variable.1.to_string());
                }
                self.block(flow.branch.statements());
                self.scope.truncate(scope);
            }
            Stmt::BreakLoop(Some(expr), ..) | Stmt::Return(Some(expr), ..) => self.expr(expr),
            Stmt::Import(import, _) => {
                self.expr(&import.0);
                self.modules.push(import.1.name.to_string());
            }
            Stmt::Export(names, position) => self.variable(&names.0.name, &[], *position),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::DynamicConstant(value, _) => {
                if let Some(pointer) = value.read_lock::<FnPtr>() {
                    self.closure(&pointer);
                }
            }
            Expr::InterpolatedString(exprs, _) | Expr::Array(exprs, _) => exprs.iter().for_each(|expr| self.expr(expr)),
            Expr::Map(map, _) => map.0.iter().for_each(|(_, expr)| self.expr(expr)),
            Expr::Variable(variable, _, position) => self.variable(&variable.1, &variable.2.path, *position),
            Expr::Stmt(block) => self.block(block.statements()),
            Expr::FnCall(call, position) => self.call(call, *position, false),
            Expr::MethodCall(call, position) => self.call(call, *position, true),
            Expr::Dot(sides, ..) | Expr::Index(sides, ..) => {
                self.expr(&sides.lhs);
                self.expr(&sides.rhs);
            }
            Expr::And(exprs, _) | Expr::Or(exprs, _) | Expr::Coalesce(exprs, _) => exprs.iter().for_each(|expr| self.expr(expr)),
            _ => {}
        }
    }

    /// The body of a closure. What it captures is checked where it is captured.
    fn closure(&mut self, pointer: &FnPtr) {
        let text = self.text;
        let Some(function) = text.named(pointer.fn_name()).next().filter(|function| function.is_closure() && self.depth < 64)
        else {
            return;
        };
        let modules = self.modules.iter().cloned().chain(text.imports.iter().map(|(alias, ..)| alias.clone())).collect();
        let mut walk =
            Walk { names: self.names, text, scope: function.params.clone(), modules, top: self.top, depth: self.depth + 1 };
        walk.statements(&function.body);
    }

    fn variable(&mut self, name: &str, path: &[Ident], position: Position) {
        if let [alias, more @ ..] = path {
            let alias_at = if alias.pos.is_none() { position } else { alias.pos };
            if let Some(module) = self.module(&alias.name, alias_at)
                && more.is_empty()
                && !module.exports.iter().any(|export| export == name)
            {
                let meant = closest(name, module.exports.iter().map(String::as_str));
                let mistake = self.wrong(position, format!("module `{}` exports no variable `{name}`", alias.name));
                *mistake = mistake.clone().meant(meant);
            }
            return;
        }
        if self.scope.iter().any(|known| known == name) || self.text.named(name).next().is_some() {
            return;
        }
        self.names.variables.insert(name.to_owned());
        let functions = self.names.known.iter().map(String::as_str).filter(|known| known.len() > 2);
        let meant = closest(name, self.scope.iter().map(String::as_str)).or_else(|| closest(name, functions));
        let unseen = self.top.contains(name);
        let mistake = self.wrong(position, format!("unknown variable `{name}`"));
        if unseen {
            mistake.suggestion = Some("a function does not see the variables of the recipe; pass it as an argument".into());
        } else {
            *mistake = mistake.clone().meant(meant);
        }
    }

    /// The module an alias stands for; none when it is unknown (which is reported), built in, or could not be loaded.
    fn module(&mut self, alias: &str, position: Position) -> Option<Arc<Text>> {
        if alias == "global" {
            return None;
        }
        if !self.modules.iter().any(|known| known == alias) {
            let meant = closest(alias, self.modules.iter().map(String::as_str));
            let standard = super::stdlib::text(alias).is_some();
            let mistake = self.wrong(position, format!("unknown module `{alias}`"));
            *mistake = mistake.clone().meant(meant);
            if standard {
                mistake.suggestion = Some(format!("import it first: import \"{alias}\" as {alias};"));
            }
            return None;
        }
        let label = self.names.library.label_of(self.text, alias)?;
        self.names.library.text(&label)
    }

    fn call(&mut self, call: &FnCallExpr, position: Position, method: bool) {
        call.args.iter().for_each(|expr| self.expr(expr));
        if call.op_token.is_some() {
            return;
        }
        if let [alias, more @ ..] = call.namespace.path.as_slice() {
            if more.is_empty() {
                self.qualified(alias, call, position);
            }
            return;
        }
        let name = call.name.as_str();
        let (known, text) = (&self.names.known, self.text);
        if known.contains(name) || text.named(name).next().is_some() || self.scope.iter().any(|known| known == name) {
            return;
        }
        if method && self.names.properties.contains(name) {
            return;
        }
        let own = text.functions.iter().filter(|function| !function.is_closure()).map(|function| function.name.as_str());
        let meant = closest(name, known.iter().map(String::as_str).chain(own).filter(|known| known.len() > 1));
        let part = method && self.names.parts.contains(name);
        let exporter = self.modules.iter().find(|alias| {
            let label = self.names.library.label_of(text, alias);
            let module = label.and_then(|label| self.names.library.text(&label));
            module.is_some_and(|module| module.named(name).any(|function| function.public))
        });
        let qualified = exporter.map(|alias| format!("{alias}::{name}"));
        self.names.functions.insert(name.to_owned());
        let mistake = self.wrong(position, format!("unknown function `{name}`"));
        *mistake = mistake.clone().meant(qualified.or(meant));
        if part {
            mistake.suggestion = Some(format!("`.{name}` is a part of an artifact; write it without brackets"));
        }
    }

    fn qualified(&mut self, alias: &Ident, call: &FnCallExpr, position: Position) {
        let (name, arity) = (call.name.as_str(), call.args.len());
        if alias.name == STEPS && !self.modules.iter().any(|known| known == STEPS) {
            if !self.names.kinds.iter().any(|kind| kind == name) {
                let meant = closest(name, self.names.kinds.iter().map(String::as_str)).map(|name| format!("{STEPS}::{name}"));
                let mistake = self.wrong(position, format!("there is no step `{name}`"));
                *mistake = mistake.clone().meant(meant);
            }
            return;
        }
        let Some(module) = self.module(&alias.name, if alias.pos.is_none() { position } else { alias.pos }) else {
            // So that a module that is missing or does not parse is no reason to stop.
            if let Some(path) = self.text.imported(&alias.name) {
                let label = self.names.library.label_of(self.text, &alias.name);
                self.names.library.pretend(label.unwrap_or_else(|| missing_label(path)), name, arity);
            }
            return;
        };
        let public = |function: &&Function| function.public && !function.is_closure() && function.method_of.is_none();
        let same: Vec<_> = module.named(name).filter(public).collect();
        if same.iter().any(|function| function.params.len() == arity) {
            return;
        }
        self.names.library.pretend(module.label.clone(), name, arity);
        let alias = &alias.name;
        if let Some(function) = same.first() {
            let message = format!("`{alias}::{name}` takes ({}), and {arity} arguments were given", function.params.join(", "));
            self.wrong(position, message);
            return;
        }
        let names: Vec<_> = module.functions.iter().filter(public).map(|function| function.name.clone()).collect();
        let meant = closest(name, names.iter().map(String::as_str)).map(|name| format!("{alias}::{name}"));
        let there = if names.is_empty() { "it has none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        let mistake = self.wrong(position, format!("module `{alias}` has no function `{name}`; {there}"));
        *mistake = mistake.clone().meant(meant);
    }
}
