//! Which captured variables never change, and so can be captured by value. Rhai shares what a closure captures, and a variable that
//! is shared cannot be used by a closure that one of its own methods takes: `scale.seeds.map(|seed| base.anneal(scale.tokens))`.
//! What never changes need not be shared. This file does not know values.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{ASTNode, Expr, Stmt};

use super::text::Text;

/// Builtin methods that change nothing, on any type that has them.
const PURE: &[&str] = &[
    "abs",
    "all",
    "bytes",
    "ceiling",
    "chars",
    "contains",
    "ends_with",
    "exp",
    "extract",
    "filter",
    "find",
    "find_map",
    "floor",
    "get",
    "index_of",
    "is_empty",
    "keys",
    "len",
    "ln",
    "log",
    "map",
    "max",
    "min",
    "reduce",
    "reduce_rev",
    "round",
    "some",
    "split",
    "sqrt",
    "starts_with",
    "sub_string",
    "to_array",
    "to_debug",
    "to_float",
    "to_int",
    "to_json",
    "to_lower",
    "to_string",
    "to_upper",
    "type_of",
    "values",
    "zip",
    "print",
    "debug",
    "named",
    "needs",
    "output",
    "param",
    "files",
    "call",
    "curry",
];

/// For each text, by label, the names of the variables that its closures capture and that nothing in it can change. A name counts as
/// one variable throughout a text, which errs on the side of sharing.
pub(super) fn constant_captures<'t>(
    texts: impl IntoIterator<Item = &'t Text>,
    kinds: &[String],
) -> BTreeMap<String, BTreeSet<String>> {
    let found: Vec<_> = texts.into_iter().map(|text| (text.label.clone(), captures(text, kinds))).collect();
    // A closure of one text can be called while another is the source.
    let variable: BTreeSet<_> = found.iter().flat_map(|(_, (captured, changed))| captured & changed).collect();
    found.into_iter().map(|(label, (captured, changed))| (label, &(&captured - &changed) - &variable)).collect()
}

/// Names that closures of a text capture, and names whose variables change somewhere in it.
fn captures(text: &Text, kinds: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut captured, mut changed) = (BTreeSet::new(), BTreeSet::new());
    let own = |name: &str| text.named(name).any(|function| function.method_of.is_none());
    let pure = |name: &str| PURE.contains(&name) || kinds.iter().any(|kind| kind == name);
    text.ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Assignment(parts))) => changed.extend(root(&parts.1.lhs).map(str::to_owned)),
            Some(ASTNode::Expr(expr @ (Expr::Dot(sides, ..) | Expr::Index(sides, ..)))) => {
                if let (Expr::Variable(variable, ..), Some(method)) = (&sides.lhs, first_method(expr))
                    && !pure(method)
                {
                    changed.insert(variable.1.to_string());
                }
            }
            Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                let closure = call.name == "curry" && matches!(call.args.first(), Some(Expr::DynamicConstant(..)));
                if closure {
                    captured.extend(call.args.iter().filter_map(root).map(str::to_owned));
                } else if call.op_token.is_none() && call.namespace.is_empty() && !pure(&call.name) && !own(&call.name) {
                    // A builtin takes its first argument by reference.
                    changed.extend(call.args.first().and_then(root).map(str::to_owned));
                }
            }
            _ => {}
        }
        true
    });
    (captured, changed)
}

/// The variable an expression is or is a place in.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Variable(variable, ..) if variable.2.is_empty() => Some(&variable.1),
        Expr::Dot(sides, ..) | Expr::Index(sides, ..) => root(&sides.lhs),
        _ => None,
    }
}

/// The first method called in a chain; methods in brackets belong to other values.
fn first_method(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::MethodCall(call, _) => Some(&call.name),
        Expr::Dot(sides, ..) => link(&sides.rhs),
        Expr::Index(sides, ..) => match &sides.rhs {
            Expr::Dot(inner, ..) => link(&inner.rhs),
            Expr::Index(..) => first_method(&sides.rhs),
            _ => None,
        },
        _ => None,
    }
}

/// The same behind a dot.
fn link(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::MethodCall(call, _) => Some(&call.name),
        Expr::Dot(sides, ..) | Expr::Index(sides, ..) => match &sides.lhs {
            Expr::MethodCall(call, _) => Some(&call.name),
            _ => first_method(expr),
        },
        _ => None,
    }
}
