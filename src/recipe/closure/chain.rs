//! Chains of properties, indices and method calls in canonical texts. It does not know statements.

use rhai::{ASTFlags, Array, Dynamic, Expr, Map, Position};

use super::canonical::{Binding, Frame, Printed, Printer};

/// The rest of a chain: whether a dot comes first, its flags, and what follows.
type Link<'e> = (bool, ASTFlags, &'e Expr);

impl Printer<'_> {
    /// `a.b[c].d(e)`. The tree nests to the right: each link holds the rest of the chain.
    pub(super) fn chain(&mut self, expr: &Expr, frame: &mut Frame) -> Printed {
        let (Expr::Dot(sides, flags, _) | Expr::Index(sides, flags, _)) = expr else { return self.expr(expr, frame) };
        if let Some((value, position, rest)) = self.captured_entry(expr, frame) {
            let head = self.constant(&value, position, frame)?;
            return Ok(match rest {
                Some((dot, flags, rest)) => format!("({head}){}", self.link(dot, flags, rest, frame)?),
                None => head,
            });
        }
        let head = self.expr(&sides.lhs, frame)?;
        let name = matches!(sides.lhs, Expr::Variable(..) | Expr::ThisPtr(_)) && head.chars().all(|c| c.is_ascii_alphanumeric());
        // Calls stand for themselves, and operators have brackets already.
        let head = if name || matches!(sides.lhs, Expr::FnCall(..)) { head } else { format!("({head})") };
        let tail = self.link(matches!(expr, Expr::Dot(..)), *flags, &sides.rhs, frame)?;
        Ok(format!("{head}{tail}"))
    }

    /// The entry of a captured map or list that a chain begins with, and the rest of the chain: what else the value holds does not
    /// matter to the closure.
    fn captured_entry<'e>(&self, expr: &'e Expr, frame: &Frame) -> Option<(Dynamic, Position, Option<Link<'e>>)> {
        let (mut link, first): (Link<'e>, &Expr) = match expr {
            Expr::Dot(sides, flags, _) => ((true, *flags, &sides.rhs), &sides.lhs),
            Expr::Index(sides, flags, _) => ((false, *flags, &sides.rhs), &sides.lhs),
            _ => return None,
        };
        let Expr::Variable(variable, _, position) = first else { return None };
        let Some(Binding::Constant(value)) = frame.find(&variable.1).filter(|_| variable.2.path.is_empty()) else { return None };
        let (mut value, mut found) = (value.clone(), None);
        loop {
            let (dot, flags, rest) = link;
            let (here, next): (&Expr, Option<Link<'e>>) = match rest {
                Expr::Dot(sides, inner, _) if dot || !flags.contains(ASTFlags::BREAK) => {
                    (&sides.lhs, Some((true, *inner, &sides.rhs)))
                }
                Expr::Index(sides, inner, _) if dot || !flags.contains(ASTFlags::BREAK) => {
                    (&sides.lhs, Some((false, *inner, &sides.rhs)))
                }
                other => (other, None),
            };
            let entry = match here {
                Expr::Property(property, _) if dot => {
                    value.read_lock::<Map>().and_then(|map| map.get(property.2.as_str()).cloned())
                }
                Expr::StringConstant(name, _) if !dot => value.read_lock::<Map>().and_then(|map| map.get(name.as_str()).cloned()),
                Expr::IntegerConstant(index, _) if !dot => {
                    let index = usize::try_from(*index).ok();
                    value.read_lock::<Array>().zip(index).and_then(|(items, index)| items.get(index).cloned())
                }
                _ => None,
            };
            let Some(entry) = entry else { return found };
            value = entry.flatten();
            found = Some((value.clone(), *position, next));
            match next {
                Some(next) => link = next,
                None => return found,
            }
        }
    }

    /// The rest of a chain, from the operator on.
    fn link(&mut self, dot: bool, flags: ASTFlags, rest: &Expr, frame: &mut Frame) -> Printed {
        let optional = if flags.contains(ASTFlags::NEGATED) { "?" } else { "" };
        if dot {
            let (here, next) = match rest {
                Expr::Dot(sides, flags, _) => (&sides.lhs, Some((true, *flags, &sides.rhs))),
                Expr::Index(sides, flags, _) => (&sides.lhs, Some((false, *flags, &sides.rhs))),
                other => (other, None),
            };
            let link = match here {
                Expr::Property(property, _) => format!("{optional}.{}", property.2),
                Expr::MethodCall(call, position) => {
                    let name = self.callee(&call.name, call.args.len(), true, *position, frame)?;
                    format!("{optional}.{name}({})", self.list(&call.args, frame)?)
                }
                other => return self.refuse(frame, other.start_position(), "it uses a chain that cannot be read"),
            };
            return Ok(match next {
                Some((dot, flags, rest)) => format!("{link}{}", self.link(dot, flags, rest, frame)?),
                None => link,
            });
        }
        if flags.contains(ASTFlags::BREAK) {
            return Ok(format!("{optional}[{}]", self.expr(rest, frame)?));
        }
        match rest {
            Expr::Dot(sides, flags, _) => {
                let index = self.expr(&sides.lhs, frame)?;
                Ok(format!("{optional}[{index}]{}", self.link(true, *flags, &sides.rhs, frame)?))
            }
            Expr::Index(sides, flags, _) => {
                let index = self.expr(&sides.lhs, frame)?;
                Ok(format!("{optional}[{index}]{}", self.link(false, *flags, &sides.rhs, frame)?))
            }
            other => Ok(format!("{optional}[{}]", self.expr(other, frame)?)),
        }
    }
}
