//! JSONPath as the Dolma toolkit's mixer takes it: a condition that holds when the path finds anything.
//! Knows JSON values; does not know documents.
//!
//! The meaning is that of `jsonpath-rust` 0.3, which Dolma uses and which differs from RFC 9535 in one point that all published
//! configurations rely on: a filter on a map asks about the map itself, so in `$.attributes[?(@.k && @.k[0][2] < 50)]` the `@` is the
//! map of attributes. On a list it asks about every item. Numbers are compared with numbers only; a path that finds nothing makes
//! `<`, `>`, `<=`, `>=` and `==` false.

use serde_json::Value;

/// A path, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    /// The values below, at any depth, and the one itself.
    Descend,
    Filter(Condition),
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Exists(Operand),
    Compare(Operand, Relation, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// From `@`.
    Here(Vec<Step>),
    /// From `$`.
    Root(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path.
    pub(super) fn parse(text: &str) -> Result<JsonPath, String> {
        let mut parser = Parser { text, at: 0 };
        parser.space();
        if !parser.take("$") {
            return Err(parser.wrong("a path begins with `$`"));
        }
        let steps = parser.steps()?;
        parser.space();
        if parser.at < text.len() { Err(parser.wrong("this does not belong to the path")) } else { Ok(JsonPath { steps }) }
    }

    /// All values that the path leads to.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        walk(&self.steps, root, root)
    }

    /// Fields of a document that the path can reach; none when it can reach all.
    pub(super) fn fields(&self) -> Option<Vec<String>> {
        let mut found = Vec::new();
        fields(&self.steps, &mut found).then_some(found)
    }

    /// Names of attributes that the path asks about.
    pub(super) fn attributes(&self) -> Vec<String> {
        let mut found = Vec::new();
        below_attributes(&self.steps, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Adds the fields that steps from the root can reach, and says whether these are all.
fn fields(steps: &[Step], found: &mut Vec<String>) -> bool {
    let Some(Step::Name(first)) = steps.first() else { return false };
    if !found.contains(first) {
        found.push(first.clone());
    }
    steps.iter().all(|step| if let Step::Filter(condition) = step { fields_of(condition, found) } else { true })
}

fn fields_of(condition: &Condition, found: &mut Vec<String>) -> bool {
    let mut operand = |operand: &Operand| match operand {
        Operand::Here(steps) => {
            steps.iter().all(|step| if let Step::Filter(condition) = step { fields_of(condition, found) } else { true })
        }
        Operand::Root(steps) => fields(steps, found),
        Operand::Literal(_) => true,
    };
    match condition {
        Condition::Exists(one) => operand(one),
        Condition::Compare(one, _, other) => operand(one) && operand(other),
        Condition::Not(inner) => fields_of(inner, found),
        Condition::Or(one, other) | Condition::And(one, other) => fields_of(one, found) && fields_of(other, found),
    }
}

fn below_attributes(steps: &[Step], found: &mut Vec<String>) {
    let [Step::Name(first), rest @ ..] = steps else { return };
    if first != "attributes" {
        return;
    }
    match rest.first() {
        Some(Step::Name(name)) => found.push(name.clone()),
        Some(Step::Filter(condition)) => names(condition, found),
        _ => {}
    }
}

fn names(condition: &Condition, found: &mut Vec<String>) {
    let mut operand = |operand: &Operand| match operand {
        Operand::Here(steps) => {
            if let Some(Step::Name(name)) = steps.first() {
                found.push(name.clone());
            }
        }
        Operand::Root(steps) => below_attributes(steps, found),
        Operand::Literal(_) => {}
    };
    match condition {
        Condition::Exists(one) => operand(one),
        Condition::Compare(one, _, other) => {
            operand(one);
            operand(other);
        }
        Condition::Not(inner) => names(inner, found),
        Condition::Or(one, other) | Condition::And(one, other) => {
            names(one, found);
            names(other, found);
        }
    }
}

fn walk<'a>(steps: &[Step], root: &'a Value, start: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![start];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            advance(step, root, value, &mut next);
        }
        found = next;
    }
    found
}

fn advance<'a>(step: &Step, root: &'a Value, value: &'a Value, next: &mut Vec<&'a Value>) {
    match (step, value) {
        (Step::Name(name), Value::Object(map)) => next.extend(map.get(name)),
        (Step::Index(index), Value::Array(items)) => next.extend(place(*index, items.len()).and_then(|at| items.get(at))),
        (Step::Slice(from, to), Value::Array(items)) => {
            let bound = |at: i64| {
                if at < 0 { items.len().saturating_sub(at.unsigned_abs() as usize) } else { (at as usize).min(items.len()) }
            };
            let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
            next.extend(items.iter().take(to).skip(from));
        }
        (Step::All, Value::Array(items)) => next.extend(items),
        (Step::All, Value::Object(map)) => next.extend(map.values()),
        (Step::Descend, value) => {
            let mut waiting = vec![value];
            while let Some(value) = waiting.pop() {
                next.push(value);
                match value {
                    Value::Array(items) => waiting.extend(items.iter().rev()),
                    Value::Object(map) => waiting.extend(map.values().rev()),
                    _ => {}
                }
            }
        }
        (Step::Filter(condition), Value::Array(items)) => next.extend(items.iter().filter(|item| holds(condition, root, item))),
        (Step::Filter(condition), value) => next.extend(Some(value).filter(|value| holds(condition, root, value))),
        _ => {}
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(index.unsigned_abs() as usize) } else { usize::try_from(index).ok() }
}

fn holds<'a>(condition: &Condition, root: &'a Value, here: &'a Value) -> bool {
    match condition {
        Condition::Or(one, other) => holds(one, root, here) || holds(other, root, here),
        Condition::And(one, other) => holds(one, root, here) && holds(other, root, here),
        Condition::Not(inner) => !holds(inner, root, here),
        Condition::Exists(Operand::Here(steps)) => !walk(steps, root, here).is_empty(),
        Condition::Exists(Operand::Root(steps)) => !walk(steps, root, root).is_empty(),
        Condition::Exists(Operand::Literal(value)) => *value == Value::Bool(true),
        Condition::Compare(one, relation, other) => {
            let equal = || alike(&values(one, root, here), &values(other, root, here));
            let less = |a: &Operand, b: &Operand| match (values(a, root, here).as_slice(), values(b, root, here).as_slice()) {
                ([Value::Number(a), ..], [Value::Number(b), ..]) => a.as_f64() < b.as_f64(),
                _ => false,
            };
            match relation {
                Relation::Equal => equal(),
                Relation::Unequal => !equal(),
                Relation::Less => less(one, other),
                Relation::Greater => less(other, one),
                Relation::LessOrEqual => less(one, other) || equal(),
                Relation::GreaterOrEqual => less(other, one) || equal(),
            }
        }
    }
}

fn values<'a>(operand: &'a Operand, root: &'a Value, here: &'a Value) -> Vec<&'a Value> {
    match operand {
        Operand::Here(steps) => walk(steps, root, here),
        Operand::Root(steps) => walk(steps, root, root),
        Operand::Literal(value) => vec![value],
    }
}

fn alike(a: &[&Value], b: &[&Value]) -> bool {
    let same = |(a, b): (&&Value, &&Value)| match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    };
    !a.is_empty() && a.len() == b.len() && a.iter().zip(b).all(same)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong(&self, message: &str) -> String {
        format!("`{}` is no path: at `{}`: {message}", self.text, self.rest())
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        self.space();
        if self.take(token) { Ok(()) } else { Err(self.wrong(&format!("`{token}` is expected"))) }
    }

    fn name(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        (end > 0).then_some(name)
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if self.take("*") {
                    steps.push(Step::All);
                } else if let Some(name) = self.name() {
                    steps.push(Step::Name(name));
                } else if !self.rest().starts_with('[') {
                    return Err(self.wrong("a name, `*` or `[` is expected after `..`"));
                }
            } else if self.take(".") {
                if self.take("*") {
                    steps.push(Step::All);
                } else if let Some(name) = self.name() {
                    steps.push(Step::Name(name));
                } else if !self.rest().starts_with('[') {
                    return Err(self.wrong("a name is expected after `.`"));
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
        }
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.space();
        let step = if self.take("*") {
            Step::All
        } else if self.take("?") {
            Step::Filter(self.or()?)
        } else if let Some(text) = self.quoted()? {
            Step::Name(text)
        } else {
            let from = self.integer();
            self.space();
            if self.take(":") {
                self.space();
                Step::Slice(from, self.integer())
            } else {
                Step::Index(from.ok_or_else(|| self.wrong("an index, a quoted name, `*` or `?` is expected"))?)
            }
        };
        self.expect("]")?;
        Ok(step)
    }

    fn integer(&mut self) -> Option<i64> {
        let digits = self.rest().trim_start_matches('-');
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()) + self.rest().len() - digits.len();
        let number = self.rest()[..length].parse().ok()?;
        self.at += length;
        Some(number)
    }

    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest().chars().next().filter(|c| *c == '\'' || *c == '"') else { return Ok(None) };
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            if escaped {
                text.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                self.at += at + c.len_utf8();
                return Ok(Some(text));
            } else {
                text.push(c);
            }
        }
        Err(self.wrong("the quote is not closed"))
    }

    fn or(&mut self) -> Result<Condition, String> {
        let mut left = self.and()?;
        loop {
            self.space();
            if !self.take("||") {
                return Ok(left);
            }
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
    }

    fn and(&mut self) -> Result<Condition, String> {
        let mut left = self.one()?;
        loop {
            self.space();
            if !self.take("&&") {
                return Ok(left);
            }
            left = Condition::And(Box::new(left), Box::new(self.one()?));
        }
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.space();
        if self.rest().starts_with('!') && !self.rest().starts_with("!=") {
            self.at += 1;
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let left = self.operand()?;
        self.space();
        let relations = [
            ("==", Relation::Equal),
            ("!=", Relation::Unequal),
            ("<=", Relation::LessOrEqual),
            (">=", Relation::GreaterOrEqual),
            ("<", Relation::Less),
            (">", Relation::Greater),
        ];
        match relations.into_iter().find(|(token, _)| self.rest().starts_with(token)) {
            None => Ok(Condition::Exists(left)),
            Some((token, relation)) => {
                self.at += token.len();
                self.space();
                Ok(Condition::Compare(left, relation, self.operand()?))
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        if self.take("@") {
            return Ok(Operand::Here(self.steps()?));
        }
        if self.take("$") {
            return Ok(Operand::Root(self.steps()?));
        }
        if let Some(text) = self.quoted()? {
            return Ok(Operand::Literal(Value::String(text)));
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "+-._".contains(c))).unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..end])
            .map_err(|_| self.wrong("`@`, `$`, a number, a quoted text, true, false or null is expected"))?;
        self.at += end;
        Ok(Operand::Literal(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(path: &str, value: &Value) -> bool {
        !JsonPath::parse(path).unwrap().find(value).is_empty()
    }

    #[test]
    fn dolmas_form() {
        let document = json!({"attributes": {"k": [[0, 10, 40.0]], "other": [[0, 1, 1], [2, 3, 0.5]]}, "metadata": {"url": "u"}});
        assert!(holds("$.attributes[?(@.k && @.k[0] && @.k[0][2] < 50)]", &document));
        assert!(!holds("$.attributes[?(@.k && @.k[0] && @.k[0][2] < 40)]", &document));
        assert!(!holds("$.attributes[?(@.missing && @.missing[0] && @.missing[0][2] < 50)]", &document));
        assert!(!holds("$.attributes[?(@.missing[0][2] < 50)]", &document), "a missing path is no number");
        assert!(holds("$.attributes[?(@.missing || @.other[1][2] >= .5 || @.k)]".replace(" .5", " 0.5").as_str(), &document));
        assert!(holds("$.attributes.other[?(@[2] == 0.5)]", &document), "on a list it is about its items");
        assert!(holds("$.attributes[?(!@.missing)]", &document) && holds("$['attributes']['k']", &document));
        assert!(holds("$.metadata[?(@.url == 'u')]", &document) && !holds("$.metadata[?(@.url != \"u\")]", &document));
    }

    #[test]
    fn all_kinds_of_steps() {
        let value = json!({"a": [1, {"b": 2}, 3], "c": {"b": 4}});
        let find = |path: &str| JsonPath::parse(path).unwrap().find(&value).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(find("$.a[-1]"), [json!(3)]);
        assert_eq!(find("$.a[0:2]"), [json!(1), json!({"b": 2})]);
        assert_eq!(find("$..b"), [json!(2), json!(4)]);
        assert_eq!(find("$.c.*"), [json!(4)]);
        assert_eq!(find("$.a[?(@ > $.c.b - 0)]".replace(" - 0", "").as_str()), Vec::<Value>::new());
        assert_eq!(find("$.a[?(@ >= 1 && (@ < 2 || @ > 2))]"), [json!(1), json!(3)]);
    }

    #[test]
    fn mistakes_are_shown_and_attributes_named() {
        for (path, part) in [
            ("a.b", "begins with `$`"),
            ("$.a[", "is expected"),
            ("$.a[?(@.b <)]", "number"),
            ("$.a ]", "belong"),
            ("$['a", "closed"),
        ] {
            let error = JsonPath::parse(path).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let path = JsonPath::parse("$.attributes[?(@.x[0] && !(@.y == $.attributes.z[0]))]").unwrap();
        assert_eq!(path.attributes(), ["x", "y", "z"]);
        assert_eq!(JsonPath::parse("$.attributes.k").unwrap().attributes(), ["k"]);
        assert!(JsonPath::parse("$.metadata.k").unwrap().attributes().is_empty());
    }
}
