//! Constants as text that reads back as the same value. It does not know closures beyond asking for their text.

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use super::Refusal;
use crate::recipe::handle::Handle;
use crate::recipe::value::plain_type;

/// How a captured closure is written.
pub(super) type WriteClosure<'a> = &'a mut dyn FnMut(&FnPtr) -> Result<String, Refusal>;

/// A constant, in brackets where it would not stand as the head of a chain or beside an operator.
pub(super) fn constant(value: &Dynamic, closure: WriteClosure<'_>) -> Result<String, Refusal> {
    if value.is_unit() {
        return Ok("()".to_owned());
    }
    if let Ok(value) = value.as_bool() {
        return Ok(value.to_string());
    }
    if let Ok(value) = value.as_int() {
        return Ok(match value.checked_abs() {
            None => "((-9223372036854775807) - 1)".to_owned(),
            Some(_) => bracketed(value),
        });
    }
    if let Ok(value) = value.as_float() {
        return match value {
            _ if !value.is_finite() => Err(Refusal::somewhere(format!("{value} cannot be written"))),
            _ if value.is_sign_negative() => Ok(format!("({})", float(value))),
            _ => Ok(float(value)),
        };
    }
    if let Ok(value) = value.as_char() {
        return Ok(quoted(&value.to_string(), '\''));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(text_literal(&text));
    }
    if let Some(items) = value.read_lock::<Array>() {
        let texts: Vec<_> = items.iter().map(|item| constant(&item.clone().flatten(), closure)).collect::<Result<_, _>>()?;
        return Ok(format!("[{}]", texts.join(", ")));
    }
    if let Some(map) = value.read_lock::<Map>() {
        let mut entries = Vec::new();
        for (name, item) in map.iter() {
            entries.push(format!("{}: {}", text_literal(name), constant(&item.clone().flatten(), closure)?));
        }
        return Ok(format!("#{{{}}}", entries.join(", ")));
    }
    if let Some(range) = value.read_lock::<std::ops::Range<i64>>() {
        return Ok(format!("({}..{})", bracketed(range.start), bracketed(range.end)));
    }
    if let Some(range) = value.read_lock::<std::ops::RangeInclusive<i64>>() {
        return Ok(format!("({}..={})", bracketed(*range.start()), bracketed(*range.end())));
    }
    if let Some(pointer) = value.read_lock::<FnPtr>() {
        return closure(&pointer).map(|text| format!("({text})"));
    }
    if let Some(handle) = value.read_lock::<Handle>() {
        return Err(Refusal::somewhere(format!(
            "{} is an artifact, which is not there yet when the closure is written down",
            handle.described()
        )));
    }
    Err(Refusal::somewhere(format!("{} cannot be captured", plain_type(value.type_name()))))
}

fn bracketed(value: i64) -> String {
    if value < 0 { format!("({value})") } else { value.to_string() }
}

/// A finite number with a point, as the language reads it back to the bit.
fn float(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}

/// A text in double quotes.
pub(super) fn text_literal(text: &str) -> String {
    quoted(text, '"')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recipe::sandbox::closure_engine;

    fn back(value: Dynamic) -> Dynamic {
        let text = constant(&value, &mut |_| unreachable!("no closures here")).unwrap();
        closure_engine().eval_expression(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    proptest! {
        #[test]
        fn numbers_and_texts_read_back(int in any::<i64>(), float in any::<f64>(), text in any::<String>(), c in any::<char>()) {
            prop_assert_eq!(back(int.into()).as_int(), Ok(int));
            if float.is_finite() {
                prop_assert_eq!(back(float.into()).as_float().map(f64::to_bits), Ok(float.to_bits()));
            }
            prop_assert_eq!(back(c.into()).as_char(), Ok(c));
            prop_assert_eq!(back(text.clone().into()).into_string(), Ok(text));
        }
    }

    #[test]
    fn edges_read_back() {
        assert_eq!(back(i64::MIN.into()).as_int(), Ok(i64::MIN));
        assert_eq!(back(f64::MIN_POSITIVE.into()).as_float(), Ok(f64::MIN_POSITIVE));
        assert_eq!(back((-0.0).into()).as_float().map(f64::to_bits), Ok((-0.0f64).to_bits()));
        assert!(constant(&f64::NAN.into(), &mut |_| unreachable!()).is_err());
        let map = Dynamic::from_map([("a b".into(), Dynamic::from_array(vec![1.into(), "x".into()]))].into_iter().collect());
        assert_eq!(back(map.clone()).to_string(), map.to_string());
    }
}
