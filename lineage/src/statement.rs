//! The user's SQL: split into statements, checked to be questions, run in a transaction that cannot write. It does not know the
//! views.

use duckdb::{Connection, ToSql};

use crate::error::{Error, message, while_doing};
use crate::table::Table;

/// Words that a question starts with.
const QUESTIONS: [&str; 11] =
    ["select", "with", "from", "values", "table", "pivot", "unpivot", "describe", "desc", "show", "summarize"];

/// Runs all statements of `sql`, each without arguments.
pub(crate) fn run(connection: &Connection, sql: &str) -> Result<Vec<Table>, Error> {
    let statements = split(sql);
    if statements.is_empty() {
        return Err(Error::Empty);
    }
    statements.iter().try_for_each(|statement| check(statement))?;
    reading(connection, || statements.iter().map(|statement| fetch(connection, statement, &[])).collect())
}

/// Runs one statement with its arguments.
pub(crate) fn run_with(connection: &Connection, sql: &str, arguments: &[&str]) -> Result<Table, Error> {
    reading(connection, || fetch(connection, sql, arguments))
}

/// Runs `body` in a transaction in which DuckDB refuses every change, whatever a statement turns out to do.
fn reading<T>(connection: &Connection, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let failed = while_doing("beginning a transaction");
    connection.execute_batch("BEGIN TRANSACTION READ ONLY").map_err(failed)?;
    let outcome = body();
    let ended = connection.execute_batch("ROLLBACK").map_err(while_doing("ending a transaction"));
    outcome.and_then(|value| ended.map(|()| value))
}

fn fetch(connection: &Connection, sql: &str, arguments: &[&str]) -> Result<Table, Error> {
    let wrong = |error| Error::Sql(message(error));
    let mut statement = connection.prepare(sql).map_err(wrong)?;
    let arguments: Vec<&dyn ToSql> = arguments.iter().map(|argument| argument as &dyn ToSql).collect();
    drop(statement.query_arrow(arguments.as_slice()).map_err(wrong)?);
    let mut batches = Vec::new();
    while let Some(batch) = statement.step().map_err(wrong)? {
        batches.push((&batch).into());
    }
    Ok(Table::new(statement.schema(), batches))
}

/// The statements of a text, each with what stands before it blanked out, so that positions in errors are those of the text.
fn split(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut words = false;
    for (at, token) in (Tokens { rest: sql, at: 0 }) {
        match token {
            ";" => {
                if words {
                    statements.push(blank(&sql[..start]) + &sql[start..at]);
                }
                (start, words) = (at + 1, false);
            }
            _ => words = true,
        }
    }
    if words {
        statements.push(blank(&sql[..start]) + &sql[start..]);
    }
    statements
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

fn check(statement: &str) -> Result<(), Error> {
    let mut tokens = Tokens { rest: statement, at: 0 }.filter(|(_, token)| *token != "(");
    let Some((mut at, mut word)) = tokens.next() else { return Ok(()) };
    if word.eq_ignore_ascii_case("explain") {
        // `explain analyze` executes, so what is explained must be a question too. Options may stand in parentheses.
        let options = ["analyze", "verbose", "format", "json", "text", "html", "graphviz", "yaml", ",", ")"];
        let explained = tokens.find(|(_, token)| !options.iter().any(|option| token.eq_ignore_ascii_case(option)));
        let Some(found) = explained else { return Ok(()) };
        (at, word) = found;
    }
    if QUESTIONS.iter().any(|question| word.eq_ignore_ascii_case(question)) {
        return Ok(());
    }
    let line = 1 + statement[..at].matches('\n').count();
    Err(Error::Refused { keyword: word.to_lowercase(), line })
}

/// Words, quoted texts and signs of SQL with their positions; white space and comments are skipped. Quoted texts and dollar
/// quotes are one token each, so that a `;` inside them is seen as text.
struct Tokens<'a> {
    rest: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn skip_blanks(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let length = if trimmed.starts_with("--") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                comment(trimmed)
            } else {
                0
            };
            let skipped = self.rest.len() - trimmed.len() + length;
            self.take(skipped);
            if length == 0 {
                return;
            }
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.at += length;
        token
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks();
        let at = self.at;
        let first = self.rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '\'' => quoted(self.rest, '\'', Backslash::IsText),
            '"' => quoted(self.rest, '"', Backslash::IsText),
            '$' => dollar_quoted(self.rest),
            'e' | 'E' if self.rest[1..].starts_with('\'') => 1 + quoted(&self.rest[1..], '\'', Backslash::Escapes),
            _ if is_word(first) => self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len()),
            _ => first.len_utf8(),
        };
        Some((at, self.take(length)))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Backslash {
    IsText,
    Escapes,
}

/// Length of a quoted text at the start of `text`; a doubled quote stands for itself.
fn quoted(text: &str, quote: char, backslash: Backslash) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash == Backslash::Escapes {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Length of `$tag$ ... $tag$` at the start of `text`; otherwise of the sign alone.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$').map(|end| end + 2) else { return 1 };
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return 1;
    }
    text[end..].find(tag).map_or(text.len(), |close| end + close + tag.len())
}

/// Length of a comment at the start of `text`; comments nest.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_texts_and_comments_do_not_split() {
        let parts = |sql: &str| split(sql).iter().map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        assert_eq!(parts("select 1; select 2;"), ["select 1", "select 2"]);
        assert_eq!(parts("select ';', \"a;b\" -- c;d\n; ;/* e; /* f; */ ; */"), ["select ';', \"a;b\" -- c;d"]);
        assert_eq!(parts("select 'it''s; fine'; from x"), ["select 'it''s; fine'", "from x"]);
        assert_eq!(
            parts("select e'\\';', $$ ; $$, $a$ ; $$ ; $a$; select $1"),
            ["select e'\\';', $$ ; $$, $a$ ; $$ ; $a$", "select $1"]
        );
        assert_eq!(parts("select 'never closed; "), ["select 'never closed;"]);
        assert_eq!(parts(" -- nothing\n"), [""; 0]);
        assert_eq!(split("select\n1; é"), ["select\n1", "      \n   é"]);
    }

    #[test]
    fn only_questions_pass() {
        let refused = |sql: &str| match check(sql) {
            Err(Error::Refused { keyword, line }) => Some((keyword, line)),
            _ => None,
        };
        for sql in [
            "select 1",
            "(SELECT 1)",
            "-- x\nfrom runs",
            "explain select 1",
            "explain analyze select 1",
            "explain (analyze, format json) select 1",
            "desc runs",
        ] {
            assert_eq!(refused(sql), None, "{sql}");
        }
        assert_eq!(refused("\n DELETE from runs"), Some(("delete".to_owned(), 2)));
        assert_eq!(refused("explain analyze copy t to 'x'"), Some(("copy".to_owned(), 1)));
        assert_eq!(refused("commit"), Some(("commit".to_owned(), 1)));
    }
}
