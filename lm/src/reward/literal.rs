//! Reads the literals that post-training data sets use as ground truth: JSON, or the Python form of the same
//! (`[{'instruction_id': ['punctuation:no_comma'], 'kwargs': [None]}]`).
//!
//! Lists, dictionaries with string keys, strings, numbers, booleans and null only; nothing is evaluated.

use serde_json::{Map, Value};

/// Parses JSON, else a Python literal. The error says at which byte parsing stopped.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value()?;
    reader.skip_space();
    if reader.at < text.len() { Err(reader.error("end of text")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.at)
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Result<Value, String> {
        for (word, value) in [
            ("None", Value::Null),
            ("null", Value::Null),
            ("True", Value::Bool(true)),
            ("true", Value::Bool(true)),
            ("False", Value::Bool(false)),
            ("false", Value::Bool(false)),
        ] {
            if self.take(word) {
                return Ok(value);
            }
        }
        if self.take("[") {
            return self.list("]").map(Value::Array);
        }
        if self.take("(") {
            return self.list(")").map(Value::Array);
        }
        if self.take("{") {
            return self.dictionary();
        }
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.string(quote).map(Value::String),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            _ => Err(self.error("a value")),
        }
    }

    fn list(&mut self, close: &str) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        loop {
            if self.take(close) {
                return Ok(items);
            }
            items.push(self.value()?);
            if !self.take(",") && !self.rest().trim_start().starts_with(close) {
                return Err(self.error(close));
            }
        }
    }

    fn dictionary(&mut self) -> Result<Value, String> {
        let mut map = Map::new();
        loop {
            if self.take("}") {
                return Ok(Value::Object(map));
            }
            let Value::String(key) = self.value()? else { return Err(self.error("a string key")) };
            if !self.take(":") {
                return Err(self.error("`:`"));
            }
            let value = self.value()?;
            map.insert(key, value);
            if !self.take(",") && !self.rest().trim_start().starts_with('}') {
                return Err(self.error("`}`"));
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                let n = at + c.len_utf8();
                self.at += n;
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, other @ ('\\' | '\'' | '"'))) => out.push(other),
                Some((_, other)) => out.extend(['\\', other]),
                None => break,
            }
        }
        Err(self.error("a closing quote"))
    }

    fn number(&mut self) -> Result<Value, String> {
        let n = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let text = &self.rest()[..n.unwrap_or(self.rest().len())];
        let number = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from));
        let number = number.map_err(|_| self.error("a number"))?;
        self.at += text.len();
        Ok(number)
    }
}
