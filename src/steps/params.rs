//! Typed parameters. One declaration gives a kind its struct, its defaults, its checks and its page in `workbench docs`. This file
//! does not know kinds or scripts.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use plan::Value;

/// What the type of a parameter is called that takes a repository of the hub: a text of this form goes to it, and not to a port
/// for files.
pub const ADDRESS: &str = "owner/name@commit";

/// One parameter as a kind declares it.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name in the recipe.
    pub name: &'static str,
    /// What it means, with units.
    pub doc: &'static str,
    /// Its type, for people.
    pub type_name: String,
    /// The default; none when it must be given.
    pub default: Option<Value>,
    /// Allowed numbers.
    pub range: Option<RangeInclusive<f64>>,
    /// Fields of a nested map, empty otherwise.
    pub fields: Vec<Field>,
}

/// A parameter that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamError {
    /// Dotted path of the parameter.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        self.suggestion.as_ref().map_or(Ok(()), |name| write!(f, "; did you mean `{name}`?"))
    }
}

impl ParamError {
    /// An error about one parameter.
    pub fn new(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into(), suggestion: None }
    }
}

/// A type that parameters can have.
pub trait ParamType: Sized {
    /// What a person calls it.
    fn type_name() -> String;
    /// Reads it; errors carry paths below `path`.
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>>;
    /// The canonical value, which enters keys.
    fn to_value(&self) -> Value;
    /// Numbers inside, for range checks.
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }
    /// Fields of a nested map.
    fn fields() -> Vec<Field> {
        Vec::new()
    }
}

/// A closure's canonical source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(pub String);

fn mismatch<T: ParamType>(path: &str, value: &Value) -> Vec<ParamError> {
    vec![ParamError::new(path, format!("expected {}, found {} {value}", T::type_name(), value.type_name()))]
}

macro_rules! simple {
    ($type:ty, $name:literal, $pattern:pat => $read:expr, $write:expr) => {
        impl ParamType for $type {
            fn type_name() -> String {
                $name.into()
            }
            fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
                match value {
                    $pattern => $read,
                    other => Err(mismatch::<Self>(path, other)),
                }
            }
            fn to_value(&self) -> Value {
                let write: fn(&$type) -> Value = $write;
                write(self)
            }
        }
    };
}

simple!(bool, "bool", Value::Bool(value) => Ok(*value), |value| Value::Bool(*value));
simple!(String, "string", Value::Str(value) => Ok(value.clone()), |value| Value::Str(value.clone()));
simple!(Script, "closure", Value::Script(value) => Ok(Script(value.clone())), |value| Value::Script(value.0.clone()));

impl ParamType for f64 {
    fn type_name() -> String {
        "number".into()
    }
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        match value {
            Value::Float(value) if value.is_finite() => Ok(*value),
            Value::Int(value) => Ok(*value as f64),
            other => Err(mismatch::<Self>(path, other)),
        }
    }
    fn to_value(&self) -> Value {
        Value::Float(*self)
    }
    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

macro_rules! integer {
    ($type:ty, $name:literal) => {
        impl ParamType for $type {
            fn type_name() -> String {
                $name.into()
            }
            fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
                let number = match value {
                    Value::Int(number) => *number,
                    // 1e6 is a float to the recipe language and a count to its reader.
                    Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => *number as i64,
                    other => return Err(mismatch::<Self>(path, other)),
                };
                Self::try_from(number).map_err(|_| mismatch::<Self>(path, value))
            }
            fn to_value(&self) -> Value {
                // Values above i64 cannot be written in a recipe.
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn numbers(&self) -> Vec<f64> {
                vec![*self as f64]
            }
        }
    };
}

integer!(i64, "integer");
integer!(u64, "count");
integer!(u32, "count");

impl<T: ParamType> ParamType for Option<T> {
    fn type_name() -> String {
        format!("{} or ()", T::type_name())
    }
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        if *value == Value::Null { Ok(None) } else { T::from_value(path, value).map(Some) }
    }
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
    fn numbers(&self) -> Vec<f64> {
        self.as_ref().map(T::numbers).unwrap_or_default()
    }
    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: ParamType> ParamType for Vec<T> {
    fn type_name() -> String {
        format!("list of {}", T::type_name())
    }
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        let Value::List(items) = value else { return Err(mismatch::<Self>(path, value)) };
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match T::from_value(&format!("{path}[{index}]"), item) {
                Ok(item) => read.push(item),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(T::to_value).collect())
    }
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(T::numbers).collect()
    }
    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: ParamType> ParamType for BTreeMap<String, T> {
    fn type_name() -> String {
        format!("map of {}", T::type_name())
    }
    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        let Value::Map(map) = value else { return Err(mismatch::<Self>(path, value)) };
        let (mut read, mut errors) = (Self::new(), Vec::new());
        for (name, item) in map {
            match T::from_value(&format!("{path}.{name}"), item) {
                Ok(item) => drop(read.insert(name.clone(), item)),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
    fn to_value(&self) -> Value {
        Value::Map(self.iter().map(|(name, item)| (name.clone(), item.to_value())).collect())
    }
    fn numbers(&self) -> Vec<f64> {
        self.values().flat_map(T::numbers).collect()
    }
}

/// Any value, as it was given.
impl ParamType for Value {
    fn type_name() -> String {
        "anything".into()
    }
    fn from_value(_: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        Ok(value.clone())
    }
    fn to_value(&self) -> Value {
        self.clone()
    }
}

/// Reads a map with known fields: unknown names, missing names, wrong types and numbers out of range are all reported.
pub fn read_fields(path: &str, value: &Value, fields: &[Field]) -> Result<BTreeMap<&'static str, Value>, Vec<ParamError>> {
    let empty = BTreeMap::new();
    let given = match value {
        Value::Map(map) => map,
        Value::Null => &empty,
        other => {
            return Err(vec![ParamError::new(path, format!("expected a map #{{...}}, found {} {other}", other.type_name()))]);
        }
    };
    let mut errors = Vec::new();
    for name in given.keys().filter(|name| fields.iter().all(|field| field.name != name.as_str())) {
        let names = fields.iter().map(|field| field.name);
        let known = names.clone().collect::<Vec<_>>().join(", ");
        errors.push(ParamError {
            path: join(path, name),
            message: format!("no such parameter; there are: {known}"),
            suggestion: closest(name, names),
        });
    }
    let mut found = BTreeMap::new();
    for field in fields {
        match given.get(field.name).or(field.default.as_ref()) {
            Some(value) => drop(found.insert(field.name, value.clone())),
            None => errors.push(ParamError::new(
                &join(path, field.name),
                format!("must be given: {} ({})", field.doc.trim(), field.type_name),
            )),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The numbers of a field that are out of its range.
pub fn check_range(path: &str, numbers: &[f64], range: Option<&RangeInclusive<f64>>) -> Vec<ParamError> {
    let Some(range) = range else { return Vec::new() };
    let outside = numbers.iter().filter(|&&number| !range.contains(&number));
    outside.map(|number| ParamError::new(path, format!("{number} is outside {} to {}", range.start(), range.end()))).collect()
}

/// `path.name`, or `name` at the top.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The name most like `text`, if one is near enough to be meant.
pub fn closest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(text, name), name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.to_owned())
}

/// Declares a parameter struct: `/// doc`, `name: type = default, in low..=high;` per field; default and range may be left out.
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* pub struct $name:ident {
        $( $(#[doc = $doc:literal])* $field:ident : $type:ty $(= $default:expr)? $(, in $range:expr)? ; )*
    }) => {
        $(#[$meta])*
        #[allow(unreachable_pub)]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl $crate::steps::params::ParamType for $name {
            fn type_name() -> String {
                "map".into()
            }

            fn from_value(path: &str, value: &plan::Value) -> Result<Self, Vec<$crate::steps::params::ParamError>> {
                #[allow(unused_imports)]
                use $crate::steps::params::{ParamType, check_range, join, read_fields};
                let fields = <Self as ParamType>::fields();
                #[allow(unused_mut, unused_variables)]
                let mut found = read_fields(path, value, &fields)?;
                #[allow(unused_mut)]
                let mut errors = Vec::new();
                $(
                    let $field = found.remove(stringify!($field)).and_then(|value| {
                        let path = join(path, stringify!($field));
                        match <$type as ParamType>::from_value(&path, &value) {
                            Ok(value) => {
                                let range = fields.iter().find(|f| f.name == stringify!($field)).and_then(|f| f.range.clone());
                                errors.extend(check_range(&path, &value.numbers(), range.as_ref()));
                                Some(value)
                            }
                            Err(more) => {
                                errors.extend(more);
                                None
                            }
                        }
                    });
                )*
                match ($($field,)*) {
                    ($(Some($field),)*) if errors.is_empty() => Ok(Self { $($field),* }),
                    _ => Err(errors),
                }
            }

            fn to_value(&self) -> plan::Value {
                plan::Value::map::<&str>([$( (stringify!($field), $crate::steps::params::ParamType::to_value(&self.$field)) ),*])
            }

            fn fields() -> Vec<$crate::steps::params::Field> {
                vec![$(
                    $crate::steps::params::Field {
                        name: stringify!($field),
                        doc: concat!($($doc, "\n",)*).trim(),
                        type_name: <$type as $crate::steps::params::ParamType>::type_name(),
                        default: {
                            #[allow(unused_mut, unused_assignments)]
                            let mut default: Option<$type> = None;
                            $( default = Some($default); )?
                            default.map(|value| $crate::steps::params::ParamType::to_value(&value))
                        },
                        range: {
                            #[allow(unused_mut, unused_assignments)]
                            let mut range: Option<std::ops::RangeInclusive<f64>> = None;
                            $( range = Some($range); )?
                            range
                        },
                        fields: <$type as $crate::steps::params::ParamType>::fields(),
                    }
                ),*]
            }
        }
    };
}

/// Declares an enum whose variants are written as strings in a recipe.
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* pub enum $name:ident { $( $(#[$doc:meta])* $variant:ident = $text:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[allow(unreachable_pub)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$doc])* $variant ),* }

        impl $crate::steps::params::ParamType for $name {
            fn type_name() -> String {
                [$( concat!("\"", $text, "\"") ),*].join(" | ")
            }
            fn from_value(path: &str, value: &plan::Value) -> Result<Self, Vec<$crate::steps::params::ParamError>> {
                match value {
                    $( plan::Value::Str(text) if text == $text => Ok(Self::$variant), )*
                    other => {
                        let suggestion = match other {
                            plan::Value::Str(text) => $crate::steps::params::closest(text, [$( $text ),*]),
                            _ => None,
                        };
                        let message = format!("expected {}, found {other}", Self::type_name());
                        Err(vec![$crate::steps::params::ParamError { path: path.to_owned(), message, suggestion }])
                    }
                }
            }
            fn to_value(&self) -> plan::Value {
                plan::Value::Str(match self { $( Self::$variant => $text ),* }.to_owned())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// A choice.
        pub enum By {
            /// Whole documents.
            Document = "document",
            /// Paragraphs.
            Paragraph = "paragraph",
        }
    }

    params! {
        /// An example.
        pub struct Example {
            /// Learning rate.
            lr: f64 = 1e-3, in 0.0..=1.0;
            /// How many.
            count: u64;
            /// What.
            by: By = By::Document;
            /// Seeds.
            seeds: Vec<u64> = vec![1, 2];
        }
    }

    fn read(pairs: &[(&str, Value)]) -> Result<Example, Vec<String>> {
        Example::from_value("", &Value::map(pairs.iter().cloned()))
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_filled_in_and_encoded() {
        let example = read(&[("count", Value::Float(1e6))]).unwrap();
        assert_eq!(example.to_value().to_string(), r#"#{ by: "document", count: 1000000, lr: 0.001, seeds: [1, 2] }"#);
        assert_eq!(Example::from_value("", &example.to_value()).unwrap(), example);
    }

    #[test]
    fn every_mistake_is_reported() {
        let errors = read(&[("lrr", Value::Int(1))]).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].ends_with("did you mean `lr`?"), "{errors:?}");
        assert!(errors[1].starts_with("count: must be given: How many."), "{errors:?}");
        let bad = [("count", Value::Int(-1)), ("lr", Value::Int(2)), ("by", Value::Str("documents".into()))];
        let errors = read(&bad).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("2 is outside 0 to 1"), "{errors:?}");
    }
}
