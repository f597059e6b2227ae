//! The canonical text of a closure: comments, layout and names of variables gone, captured values in place as constants, script
//! functions it calls defined in front. Equal closures have equal texts, and the text is what runs. It does not know what closures
//! are used for.
//!
//! ```text
//! let least = 50;                          fn f0(a0) { (a0 * 2) }
//! fn twice(n) { n * 2 }            ==>     |a0| (f0(a0.count) >= 50)
//! docs.filter(|doc| twice(doc.count) >= least)
//! ```

use std::sync::Arc;

use rhai::{ASTFlags, Dynamic, Expr, FlowControl, FnCallExpr, FnPtr, Position, Stmt};

use super::Refusal;
use super::literal::{constant, text_literal};
use crate::recipe::text::{Function, Text};

/// Levels of closures within closures, captured ones included.
const DEPTH: usize = 40;

/// What a closure's surroundings offer.
pub(crate) trait Surroundings {
    /// The text of this label.
    fn text(&self, label: &str) -> Option<Arc<Text>>;
    /// All texts.
    fn texts(&self) -> Vec<Arc<Text>>;
    /// The label of the module that `alias` stands for.
    fn label_of(&self, text: &Text, alias: &str) -> Option<String>;
    /// The value of an exported variable.
    fn constant(&self, label: &str, name: &str) -> Option<Dynamic>;
    /// Why a function that is neither script nor builtin cannot be called.
    fn refuse(&self, function: &str) -> String;
    /// Whether a builtin function has this name.
    fn has_builtin(&self, function: &str) -> bool;
}

/// What a name in the source stands for.
#[derive(Clone)]
pub(super) enum Binding {
    Name(String),
    Constant(Dynamic),
}

/// Where in the source a printer is, and what names mean there.
pub(super) struct Frame {
    pub(super) text: Arc<Text>,
    scope: Vec<(String, Binding)>,
    next: usize,
    // Whether `this` is bound.
    method: bool,
    depth: usize,
}

impl Frame {
    fn fresh(&mut self, name: &str) -> String {
        let fresh = format!("a{}", self.next);
        self.next += 1;
        self.scope.push((name.to_owned(), Binding::Name(fresh.clone())));
        fresh
    }

    pub(super) fn find(&self, name: &str) -> Option<&Binding> {
        self.scope.iter().rev().find(|(bound, _)| bound == name).map(|(_, binding)| binding)
    }
}

/// Text, or why there is none.
pub(super) type Printed = Result<String, Refusal>;

/// The canonical text of a closure found in `home` or another text, before it is brought to its fixed point.
pub(super) fn print(pointer: &FnPtr, home: Option<&Text>, around: &dyn Surroundings) -> Printed {
    let mut printer = Printer { around, wanted: Vec::new() };
    let closure = printer.pointer(pointer, home, 0, 0)?;
    let mut definitions = String::new();
    let mut index = 0;
    while let Some((label, name, arity)) = printer.wanted.get(index).cloned() {
        let text = around.text(&label).expect("functions are found in texts");
        for function in text.named(&name).filter(|function| function.params.len() == arity) {
            definitions.push_str(&printer.definition(&text, function, index)?);
            definitions.push('\n');
        }
        index += 1;
    }
    Ok(format!("{definitions}{closure}"))
}

/// Writes closures, and remembers which functions they need.
pub(super) struct Printer<'a> {
    around: &'a dyn Surroundings,
    // Functions to define: text, name, number of parameters.
    wanted: Vec<(String, String, usize)>,
}

impl Printer<'_> {
    pub(super) fn refuse<T>(&self, frame: &Frame, position: Position, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { label: frame.text.label.clone(), position, message: message.into() })
    }

    fn pointer(&mut self, pointer: &FnPtr, home: Option<&Text>, next: usize, depth: usize) -> Printed {
        let nowhere = |message: String| Refusal { label: String::new(), position: Position::NONE, message };
        if depth > DEPTH {
            return Err(nowhere("it captures closures within closures too deeply".into()));
        }
        let home = home.and_then(|home| self.around.text(&home.label));
        let texts: Vec<_> = home.into_iter().chain(self.around.texts()).collect();
        let found = texts.iter().find_map(|text| {
            let mut functions = text.named(pointer.fn_name()).filter(|function| function.method_of.is_none());
            let first = functions.next()?.clone();
            Some((text.clone(), first, functions.next().is_some()))
        });
        let Some((text, function, several)) = found else {
            return Err(nowhere(format!(
                "it is the builtin function `{}`; write |x| {}(x)",
                pointer.fn_name(),
                pointer.fn_name()
            )));
        };
        if several {
            return Err(nowhere(format!("there are several functions `{}`; write |x| {}(x)", function.name, function.name)));
        }
        let curry: Vec<_> = pointer.curry().iter().map(|value| Binding::Constant(value.clone().flatten())).collect();
        let mut frame = Frame { text, scope: Vec::new(), next, method: false, depth };
        self.closure(&function, curry, &mut frame)
    }

    /// `|a0, a1| body`, the first parameters bound already.
    fn closure(&mut self, function: &Function, bound: Vec<Binding>, frame: &mut Frame) -> Printed {
        let (first, rest) = function.params.split_at(bound.len().min(function.params.len()));
        frame.scope = first.iter().cloned().zip(bound).collect();
        let names: Vec<_> = rest.iter().map(|name| frame.fresh(name)).collect();
        let body = match function.body.as_slice() {
            [Stmt::Expr(expr)] => self.expr(expr, frame)?,
            [Stmt::FnCall(call, position)] => self.call(call, *position, frame)?,
            body => self.block(body, frame)?,
        };
        Ok(format!("|{}| {body}", names.join(", ")))
    }

    fn definition(&mut self, text: &Arc<Text>, function: &Function, index: usize) -> Printed {
        let mut frame = Frame { text: text.clone(), scope: Vec::new(), next: 0, method: true, depth: 0 };
        let names: Vec<_> = function.params.iter().map(|name| frame.fresh(name)).collect();
        let receiver = match &function.method_of {
            Some(name) => format!("{}.", text_literal(name)),
            None => String::new(),
        };
        let body = self.block(&function.body, &mut frame)?;
        Ok(format!("fn {receiver}f{index}({}) {body}", names.join(", ")))
    }

    /// The canonical name of a script function of a text.
    fn function(&mut self, label: &str, name: &str, arity: usize) -> String {
        let known = self.wanted.iter().position(|(l, n, a)| l == label && n == name && *a == arity);
        let index = known.unwrap_or_else(|| {
            self.wanted.push((label.to_owned(), name.to_owned(), arity));
            self.wanted.len() - 1
        });
        format!("f{index}")
    }

    fn block(&mut self, stmts: &[Stmt], frame: &mut Frame) -> Printed {
        let inner = self.statements(stmts, frame)?;
        Ok(if inner.is_empty() { "{}".to_owned() } else { format!("{{ {inner} }}") })
    }

    fn statements(&mut self, stmts: &[Stmt], frame: &mut Frame) -> Printed {
        let outer = frame.scope.len();
        let mut out = String::new();
        let mut before: Option<&Stmt> = None;
        for stmt in stmts.iter().filter(|stmt| !stmt.is_noop()) {
            match before {
                Some(stmt) if stmt.is_self_terminated() => out.push(' '),
                Some(_) => out.push_str("; "),
                None => {}
            }
            out.push_str(&self.stmt(stmt, frame)?);
            before = Some(stmt);
        }
        frame.scope.truncate(outer);
        Ok(out)
    }

    fn stmt(&mut self, stmt: &Stmt, frame: &mut Frame) -> Printed {
        Ok(match stmt {
            Stmt::Noop(_) => String::new(),
            Stmt::Expr(expr) => self.expr(expr, frame)?,
            Stmt::FnCall(call, position) => self.call(call, *position, frame)?,
            Stmt::Block(block) => self.block(block.statements(), frame)?,
            Stmt::If(flow, _) => {
                let FlowControl { expr, body, branch } = &**flow;
                let condition = self.expr(expr, frame)?;
                let then = self.block(body.statements(), frame)?;
                let otherwise = self.block(branch.statements(), frame)?;
                if otherwise == "{}" {
                    format!("if {condition} {then}")
                } else {
                    format!("if {condition} {then} else {otherwise}")
                }
            }
            Stmt::While(flow, _) => {
                let body = self.block(flow.body.statements(), frame)?;
                match &flow.expr {
                    Expr::Unit(_) => format!("loop {body}"),
                    condition => format!("while {} {body}", self.expr(condition, frame)?),
                }
            }
            Stmt::Do(flow, flags, _) => {
                let body = self.block(flow.body.statements(), frame)?;
                let word = if flags.contains(ASTFlags::NEGATED) { "until" } else { "while" };
                format!("do {body} {word} {}", self.expr(&flow.expr, frame)?)
            }
            Stmt::For(parts, _) => {
                let (item, counter, flow) = &**parts;
                let over = self.expr(&flow.expr, frame)?;
                let outer = frame.scope.len();
                let item = frame.fresh(&item.name);
                let names = match counter {
                    Some(counter) => format!("({item}, {})", frame.fresh(&counter.name)),
                    None => item,
                };
                let body = self.block(flow.body.statements(), frame)?;
                frame.scope.truncate(outer);
                format!("for {names} in {over} {body}")
            }
            Stmt::Var(parts, flags, position) => {
                if flags.contains(ASTFlags::EXPORTED) {
                    return self.refuse(frame, *position, "it exports a variable");
                }
                let value = self.expr(&parts.1, frame)?;
                let word = if flags.contains(ASTFlags::CONSTANT) { "const" } else { "let" };
                format!("{word} {} = {value}", frame.fresh(&parts.0.name))
            }
            Stmt::Assignment(parts) => {
                let (operation, sides) = &**parts;
                if let Some((name, position)) = root(&sides.lhs)
                    && let Some(Binding::Constant(_)) = frame.find(name)
                {
                    let message = format!(
                        "it assigns to `{name}`, which it captures; a closure is called for many documents, in any order"
                    );
                    return self.refuse(frame, position, message);
                }
                let symbol = operation.get_op_assignment_info().map_or("=", |info| info.3);
                format!("{} {symbol} {}", self.expr(&sides.lhs, frame)?, self.expr(&sides.rhs, frame)?)
            }
            Stmt::TryCatch(flow, _) => {
                let body = self.block(flow.body.statements(), frame)?;
                let outer = frame.scope.len();
                let caught = match &flow.expr {
                    Expr::Variable(variable, ..) => format!(" ({})", frame.fresh(&variable.1)),
                    _ => String::new(),
                };
                let branch = self.block(flow.branch.statements(), frame)?;
                frame.scope.truncate(outer);
                format!("try {body} catch{caught} {branch}")
            }
            Stmt::BreakLoop(value, flags, _) => {
                let word = if flags.contains(ASTFlags::BREAK) { "break" } else { "continue" };
                self.with_value(word, value.as_deref(), frame)?
            }
            Stmt::Return(value, flags, _) => {
                let word = if flags.contains(ASTFlags::BREAK) { "throw" } else { "return" };
                self.with_value(word, value.as_deref(), frame)?
            }
            // Sharing of captured variables is implied by the closure that follows.
            Stmt::Share(_) => String::new(),
            Stmt::Switch(_, position) => return self.refuse(frame, *position, "it uses `switch`; use if and else"),
            other => return self.refuse(frame, other.position(), "it imports or exports"),
        })
    }

    fn with_value(&mut self, word: &str, value: Option<&Expr>, frame: &mut Frame) -> Printed {
        Ok(match value {
            Some(value) => format!("{word} {}", self.expr(value, frame)?),
            None => word.to_owned(),
        })
    }

    pub(super) fn list<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>, frame: &mut Frame) -> Printed {
        let texts: Vec<_> = exprs.into_iter().map(|expr| self.expr(expr, frame)).collect::<Result<_, _>>()?;
        Ok(texts.join(", "))
    }

    fn joined(&mut self, exprs: &[Expr], symbol: &str, frame: &mut Frame) -> Printed {
        let texts: Vec<_> = exprs.iter().map(|expr| self.expr(expr, frame)).collect::<Result<_, _>>()?;
        Ok(format!("({})", texts.join(symbol)))
    }

    pub(super) fn constant(&mut self, value: &Dynamic, position: Position, frame: &mut Frame) -> Printed {
        let (text, home, depth, start) = (frame.text.clone(), frame.text.label.clone(), frame.depth + 1, frame.next);
        let mut next = start;
        let printed = constant(value, &mut |pointer| {
            let closure = self.pointer(pointer, Some(&text), next, depth)?;
            next += 16;
            Ok(closure)
        });
        printed.map_err(|refusal| {
            if refusal.position.is_none() { Refusal { label: home, position, message: refusal.message } } else { refusal }
        })
    }

    pub(super) fn expr(&mut self, expr: &Expr, frame: &mut Frame) -> Printed {
        Ok(match expr {
            Expr::DynamicConstant(value, position) => match value.read_lock::<FnPtr>().map(|pointer| pointer.clone()) {
                Some(pointer) => format!("({})", self.nested(&pointer, Vec::new(), *position, frame)?),
                None => self.constant(value, *position, frame)?,
            },
            Expr::BoolConstant(value, position) => self.constant(&(*value).into(), *position, frame)?,
            Expr::IntegerConstant(value, position) => self.constant(&(*value).into(), *position, frame)?,
            Expr::FloatConstant(value, position) => self.constant(&(**value).into(), *position, frame)?,
            Expr::CharConstant(value, position) => self.constant(&(*value).into(), *position, frame)?,
            Expr::StringConstant(value, _) => text_literal(value),
            Expr::Unit(_) => "()".to_owned(),
            Expr::InterpolatedString(segments, _) => {
                let mut out = String::from("`");
                for segment in segments {
                    let inner = match segment {
                        Expr::Stmt(block) => self.statements(block.statements(), frame)?,
                        other => self.expr(other, frame)?,
                    };
                    out.push_str(&format!("${{{inner}}}"));
                }
                out + "`"
            }
            Expr::Array(items, _) => format!("[{}]", self.list(items, frame)?),
            Expr::Map(map, _) => {
                let mut entries = Vec::new();
                for (name, value) in &map.0 {
                    entries.push(format!("{}: {}", text_literal(&name.name), self.expr(value, frame)?));
                }
                format!("#{{{}}}", entries.join(", "))
            }
            Expr::Variable(variable, _, position) => self.variable(&variable.1, &variable.2.path, *position, frame)?,
            Expr::ThisPtr(position) => {
                if !frame.method {
                    return self.refuse(frame, *position, "it uses `this`");
                }
                "this".to_owned()
            }
            Expr::Stmt(block) => match block.statements() {
                // A closure that captures: share the variables, then curry them.
                [Stmt::Share(_), Stmt::Expr(call)] => match &**call {
                    Expr::FnCall(call, position) => format!("({})", self.capturing(call, *position, frame)?),
                    other => self.expr(other, frame)?,
                },
                statements => format!("({})", self.block(statements, frame)?),
            },
            Expr::FnCall(call, position) => self.call(call, *position, frame)?,
            Expr::Dot(..) | Expr::Index(..) => self.chain(expr, frame)?,
            Expr::And(exprs, _) => self.joined(exprs, " && ", frame)?,
            Expr::Or(exprs, _) => self.joined(exprs, " || ", frame)?,
            Expr::Coalesce(exprs, _) => self.joined(exprs, " ?? ", frame)?,
            other => return self.refuse(frame, other.start_position(), "it uses syntax that closures cannot have"),
        })
    }

    fn variable(&mut self, name: &str, path: &[rhai::Ident], position: Position, frame: &mut Frame) -> Printed {
        if let [alias, more @ ..] = path {
            let value = self.around.label_of(&frame.text, &alias.name).filter(|_| more.is_empty());
            return match value.and_then(|label| self.around.constant(&label, name)) {
                Some(value) => self.constant(&value, position, frame),
                None => self.refuse(
                    frame,
                    position,
                    format!("`{}::{name}` has no value it can capture; give it a variable of its own", alias.name),
                ),
            };
        }
        match frame.find(name).cloned() {
            Some(Binding::Name(name)) => Ok(name),
            Some(Binding::Constant(value)) => {
                let printed = self.constant(&value, position, frame);
                printed
                    .map_err(|refusal| Refusal { message: format!("it captures `{name}`, and {}", refusal.message), ..refusal })
            }
            None => {
                let text = frame.text.clone();
                let mut functions = text.named(name);
                match (functions.next(), functions.next()) {
                    (Some(function), None) => Ok(self.function(&text.label, name, function.params.len())),
                    (Some(_), Some(_)) => self.refuse(frame, position, format!("there are several functions `{name}`")),
                    _ => self.refuse(frame, position, format!("it uses `{name}`, which has no value here")),
                }
            }
        }
    }

    /// A closure within: its captured variables are those of the frame.
    fn nested(&mut self, pointer: &FnPtr, bound: Vec<Binding>, position: Position, frame: &mut Frame) -> Printed {
        let text = frame.text.clone();
        let Some(function) = text.named(pointer.fn_name()).next() else {
            return self.refuse(frame, position, format!("it uses the function `{}` by name", pointer.fn_name()));
        };
        if frame.depth > DEPTH {
            return self.refuse(frame, position, "it has closures within closures too deeply");
        }
        if !function.is_closure() {
            return Ok(self.function(&text.label, &function.name, function.params.len()));
        }
        let mut inner = Frame { text: text.clone(), scope: Vec::new(), next: frame.next, method: false, depth: frame.depth + 1 };
        let printed = self.closure(function, bound, &mut inner)?;
        frame.next = inner.next;
        Ok(printed)
    }

    fn capturing(&mut self, call: &FnCallExpr, position: Position, frame: &mut Frame) -> Printed {
        let [Expr::DynamicConstant(pointer, _), captured @ ..] = call.args.as_slice() else {
            return self.refuse(frame, position, "it captures in a way that cannot be read");
        };
        let Some(pointer) = pointer.read_lock::<FnPtr>().map(|pointer| pointer.clone()) else {
            return self.refuse(frame, position, "it captures in a way that cannot be read");
        };
        let mut bound = Vec::new();
        for variable in captured {
            let Expr::Variable(variable, _, at) = variable else {
                return self.refuse(frame, position, "it captures in a way that cannot be read");
            };
            match frame.find(&variable.1) {
                Some(binding) => bound.push(binding.clone()),
                None => return self.refuse(frame, *at, format!("it uses `{}`, which has no value here", variable.1)),
            }
        }
        self.nested(&pointer, bound, position, frame)
    }

    fn call(&mut self, call: &FnCallExpr, position: Position, frame: &mut Frame) -> Printed {
        if call.capture_parent_scope {
            return self.refuse(frame, position, "it calls a function with the caller's scope");
        }
        if call.op_token.is_some() {
            return Ok(match call.args.as_slice() {
                [one] => format!("({}{})", call.name, self.expr(one, frame)?),
                [left, right] => format!("({} {} {})", self.expr(left, frame)?, call.name, self.expr(right, frame)?),
                _ => return self.refuse(frame, position, "it uses an operator that closures cannot have"),
            });
        }
        if let [alias, more @ ..] = call.namespace.path.as_slice() {
            let text = self
                .around
                .label_of(&frame.text, &alias.name)
                .filter(|_| more.is_empty())
                .and_then(|label| self.around.text(&label));
            let arity = call.args.len();
            return match text.as_deref().filter(|text| text.named(&call.name).any(|function| function.params.len() == arity)) {
                Some(text) => {
                    let name = self.function(&text.label, &call.name, arity);
                    Ok(format!("{name}({})", self.list(&call.args, frame)?))
                }
                None => {
                    self.refuse(frame, position, format!("there is no `{}::{}` with {arity} arguments", alias.name, call.name))
                }
            };
        }
        let name = self.callee(&call.name, call.args.len(), false, position, frame)?;
        Ok(format!("{name}({})", self.list(&call.args, frame)?))
    }

    /// The name under which a function is called: that of a script function, or a builtin's own.
    pub(super) fn callee(&mut self, name: &str, arity: usize, method: bool, position: Position, frame: &Frame) -> Printed {
        if ["Fn", "eval", "is_def_fn", "is_def_var"].contains(&name) {
            return self.refuse(frame, position, format!("it uses `{name}`, whose meaning depends on names"));
        }
        let text = frame.text.clone();
        let fits = |function: &Function| function.params.len() == arity && (method || function.method_of.is_none());
        if text.named(name).any(fits) {
            return Ok(self.function(&text.label, name, arity));
        }
        if method {
            let global = |text: &Arc<Text>| text.named(name).any(|function| fits(function) && function.method_of.is_some());
            if let Some(text) = self.around.texts().into_iter().find(global) {
                return Ok(self.function(&text.label, name, arity));
            }
        }
        if self.around.has_builtin(name) {
            return Ok(name.to_owned());
        }
        let message = self.around.refuse(name);
        self.refuse(frame, position, message)
    }
}

/// The variable an assignment's left side starts with.
fn root(expr: &Expr) -> Option<(&str, Position)> {
    match expr {
        Expr::Variable(variable, _, position) => Some((&variable.1, *position)),
        Expr::Dot(sides, ..) | Expr::Index(sides, ..) => root(&sides.lhs),
        _ => None,
    }
}
