//! A parsed text: the recipe or a module, with the bodies of its functions and closures. It does not know where texts come from.

use std::collections::BTreeMap;

use rhai::{AST, ASTNode, Engine, Expr, FnAccess, Module, ParseError, Position, Stmt};

use plan::Site;

/// A function or closure of a text.
#[derive(Debug, Clone)]
pub(super) struct Function {
    /// Name; closures have made-up ones.
    pub(super) name: String,
    /// Parameters; of a closure, those that are captured come first.
    pub(super) params: Vec<String>,
    /// The type it is a method of: `fn map.half_width()`.
    pub(super) method_of: Option<String>,
    /// Whether other texts can call it.
    pub(super) public: bool,
    /// Text of its `///` comment.
    pub(super) doc: String,
    /// Its statements.
    pub(super) body: Vec<Stmt>,
}

impl Function {
    /// Whether it is a closure.
    pub(super) fn is_closure(&self) -> bool {
        self.name.starts_with("anon$")
    }
}

/// A parsed text.
#[derive(Debug)]
pub(super) struct Text {
    /// What people call it, e.g. `recipes/olmo2.rhai` or `stdlib/olmo2.rhai`.
    pub(super) label: String,
    /// Its syntax tree.
    pub(super) ast: AST,
    /// Its functions and closures.
    pub(super) functions: Vec<Function>,
    /// Top-level imports with a literal path: alias, path, position.
    pub(super) imports: Vec<(String, String, Position)>,
    /// Names of exported variables.
    pub(super) exports: Vec<String>,
}

impl Text {
    /// Parses a text.
    pub(super) fn parse(engine: &Engine, label: &str, source: &str) -> Result<Self, ParseError> {
        let mut ast = engine.compile(source)?;
        ast.set_source(label);
        let mut functions: Vec<_> = ast
            .iter_fn_def()
            .map(|definition| {
                // The body's type has no public name; a tree of this one function shows its statements.
                let mut module = Module::new();
                module.set_script_fn(definition.clone());
                let mut body = Vec::new();
                AST::new_from_module(module).walk(&mut |path: &[ASTNode<'_>]| {
                    if let [ASTNode::Stmt(stmt)] = path {
                        body.push((*stmt).clone());
                    }
                    true
                });
                Function {
                    name: definition.name.to_string(),
                    params: definition.params.iter().map(ToString::to_string).collect(),
                    method_of: definition.this_type.as_ref().map(ToString::to_string),
                    public: matches!(definition.access, FnAccess::Public),
                    doc: doc_text(definition.comments.iter().map(AsRef::as_ref)),
                    body,
                }
            })
            .collect();
        functions.sort_by(|a, b| (&a.name, a.params.len(), &a.method_of).cmp(&(&b.name, b.params.len(), &b.method_of)));
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        for stmt in ast.statements() {
            match stmt {
                Stmt::Import(import, position) => {
                    let (path, alias) = &**import;
                    if let Expr::StringConstant(path, at) = path {
                        let at = if at.is_none() { *position } else { *at };
                        imports.push((alias.name.to_string(), path.to_string(), at));
                    }
                }
                Stmt::Export(names, _) => {
                    exports.push(if names.1.name.is_empty() { &names.0 } else { &names.1 }.name.to_string());
                }
                Stmt::Var(variable, flags, _) if flags.contains(rhai::ASTFlags::EXPORTED) => {
                    exports.push(variable.0.name.to_string())
                }
                _ => {}
            }
        }
        Ok(Self { label: label.to_owned(), ast, functions, imports, exports })
    }

    /// A place in this text.
    pub(super) fn site(&self, position: Position) -> Site {
        site(&self.label, position)
    }

    /// The functions of this name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |function| function.name == name)
    }

    /// The path an alias was imported from.
    pub(super) fn imported(&self, alias: &str) -> Option<&str> {
        self.imports.iter().rev().find(|(name, ..)| name == alias).map(|(_, path, _)| path.as_str())
    }

    /// All names that are keys of map literals or assigned as properties; a method of such a name may be a closure in a map.
    pub(super) fn property_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.ast.walk(&mut |path: &[ASTNode<'_>]| {
            match path.last() {
                Some(ASTNode::Expr(Expr::Map(map, _))) => names.extend(map.0.iter().map(|(name, _)| name.name.to_string())),
                Some(ASTNode::Expr(Expr::Property(property, _))) => names.push(property.2.to_string()),
                _ => {}
            }
            true
        });
        names
    }
}

/// A place in the text called `label`.
pub(super) fn site(label: &str, position: Position) -> Site {
    let number = |value: Option<usize>| value.map_or(0, |value| u32::try_from(value).unwrap_or(u32::MAX));
    let line = number(position.line());
    Site { file: label.to_owned(), line, column: if line == 0 { 0 } else { number(position.position()).max(1) } }
}

/// The text of doc comments without their slashes.
fn doc_text<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    let lines = comments.flat_map(str::lines).map(|line| {
        let line = line.trim().trim_start_matches("/**").trim_end_matches("*/").trim_start_matches("///");
        line.strip_prefix(' ').unwrap_or(line).trim_end()
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Splits a path like `a.b[2].c` into names, for looking into map literals.
pub(super) fn segments(path: &str) -> Vec<&str> {
    path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect()
}

/// A map from the labels of texts to their source, for excerpts.
pub(super) type Sources = BTreeMap<String, String>;
