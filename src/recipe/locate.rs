//! Finding the place of a parameter in the text of a call: its own name in a map literal, or the argument that gives it. It does not
//! know what is wrong with it.

use rhai::{ASTNode, Expr, FnCallExpr, Position, Stmt};

use super::text::{Text, segments};

/// Where a parameter of a call was given.
pub(super) enum Given {
    /// In the trailing map.
    Named,
    /// As the argument that has `after` arguments behind it.
    Positional {
        /// Arguments behind it.
        after: usize,
    },
}

/// The position of the parameter at `path` (dotted) in the call of `name` at `call`, as far as the text shows it.
pub(super) fn parameter(text: &Text, name: &str, call: Position, given: &Given, path: &str) -> Option<Position> {
    let arguments = arguments(text, name, call)?;
    let mut names = segments(path).into_iter();
    let (mut expr, mut found) = match given {
        Given::Named => (arguments.last()?.clone(), None),
        Given::Positional { after } => {
            names.next();
            let expr = arguments.get(arguments.len().checked_sub(after + 1)?)?.clone();
            let start = start(&expr);
            (expr, Some(start))
        }
    };
    for name in names {
        let inner = match &expr {
            Expr::Map(map, _) => map.0.iter().find(|(key, _)| key.name == name).map(|(key, value)| (key.pos, value.clone())),
            Expr::Array(items, _) => {
                name.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (start(item), item.clone()))
            }
            _ => None,
        };
        let Some((position, value)) = inner else { break };
        (found, expr) = (Some(position), value);
    }
    found
}

/// The position of an argument, counted from the end.
pub(super) fn argument(text: &Text, name: &str, call: Position, after: usize) -> Option<Position> {
    let arguments = arguments(text, name, call)?;
    arguments.get(arguments.len().checked_sub(after + 1)?).map(start)
}

/// Where an expression begins; an operator stands behind its first operand.
fn start(expr: &Expr) -> Position {
    match expr {
        Expr::FnCall(call, _) if call.op_token.is_some() && call.args.len() == 2 => start(&call.args[0]),
        other => other.start_position(),
    }
}

/// The argument expressions of the call of `name` at `call`.
fn arguments(text: &Text, name: &str, call: Position) -> Option<Vec<Expr>> {
    let mut found = None;
    let matching = |f: &FnCallExpr, position: &Position| *position == call && f.name == name;
    text.ast.walk(&mut |path: &[ASTNode<'_>]| match path.last() {
        Some(ASTNode::Expr(Expr::FnCall(f, at) | Expr::MethodCall(f, at)) | ASTNode::Stmt(Stmt::FnCall(f, at)))
            if matching(f, at) =>
        {
            found = Some(f.args.to_vec());
            false
        }
        _ => true,
    });
    found
}
