//! Parameters as rows: a tree of values becomes dotted paths. It does not know whose parameters they are.

use plan::{Digest, Hasher, Value};

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Dotted path.
    pub(crate) path: String,
    /// The value as text; strings without quotes.
    pub(crate) value: String,
    /// The value as a number, where it is one.
    pub(crate) number: Option<f64>,
    /// What a person calls its type.
    pub(crate) type_name: &'static str,
}

/// All leaves. A list is one leaf; one that holds maps is, beside that, taken apart, its items numbered from 0.
pub(crate) fn explode(params: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    descend("", params, &mut rows);
    rows
}

/// One row for a value that is not taken apart.
pub(crate) fn leaf(path: &str, value: &Value) -> Row {
    let number = match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    };
    Row { path: path.to_owned(), value: text(value), number, type_name: value.type_name() }
}

/// A value as text; strings without quotes.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Names a set of parameters by its canonical encoding.
pub(crate) fn digest(params: &Value) -> String {
    let mut bytes = Vec::new();
    params.encode(&mut bytes);
    let mut hasher = Hasher::new("workbench params");
    hasher.field(&bytes);
    Digest::from_bytes(hasher.finish()).to_string()
}

fn descend(path: &str, value: &Value, rows: &mut Vec<Row>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Map(map) if !map.is_empty() => map.iter().for_each(|(name, value)| descend(&below(name), value, rows)),
        Value::List(items) => {
            rows.push(leaf(path, value));
            if items.iter().any(|item| matches!(item, Value::Map(_))) {
                items.iter().enumerate().for_each(|(index, item)| descend(&below(&index.to_string()), item, rows));
            }
        }
        // A step without parameters has no rows.
        Value::Map(_) if path.is_empty() => {}
        _ => rows.push(leaf(path, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_dotted_and_strings_bare() {
        let params = Value::map([
            ("by", Value::Str("document".into())),
            (
                "optim",
                Value::map([("lr", Value::Float(1e-3)), ("betas", Value::List(vec![Value::Float(0.9), Value::Float(0.95)]))]),
            ),
            ("parts", Value::List(vec![Value::map([("weight", Value::Int(2))])])),
            ("nothing", Value::map::<String>([])),
        ]);
        let rows: Vec<_> = explode(&params).into_iter().map(|row| (row.path, row.value, row.number)).collect();
        let row = |path: &str, value: &str, number| (path.to_owned(), value.to_owned(), number);
        assert_eq!(
            rows,
            [
                row("by", "document", None),
                row("nothing", "#{}", None),
                row("optim.betas", "[0.9, 0.95]", None),
                row("optim.lr", "0.001", Some(1e-3)),
                row("parts", "[#{ weight: 2 }]", None),
                row("parts.0.weight", "2", Some(2.0)),
            ]
        );
    }
}
