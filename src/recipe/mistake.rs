//! What is wrong with a recipe, shown as a person wants to see it: place, line of source, caret, suggestion. It does not know how
//! mistakes are found.

use std::collections::BTreeMap;
use std::fmt;

use plan::Site;

/// One thing wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where; line 0 when it is not in any text (a flag, a missing file).
    pub site: Site,
    /// What is wrong.
    pub message: String,
    /// What to do, as a sentence; e.g. ``did you mean `seed`?``.
    pub suggestion: Option<String>,
    /// The line of source with a caret below it; empty when there is none.
    pub excerpt: String,
}

impl Mistake {
    /// A mistake whose excerpt is still to be cut out.
    pub(super) fn new(site: Site, message: impl Into<String>) -> Self {
        Self { site, message: message.into(), suggestion: None, excerpt: String::new() }
    }

    /// The same with a sentence that says what to do.
    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// The same with the name that was probably meant, if there is one.
    pub(super) fn meant(mut self, name: Option<String>) -> Self {
        self.suggestion = name.map(|name| format!("did you mean `{name}`?")).or(self.suggestion);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let width = self.site.line.to_string().len();
        match self.site.line {
            0 if self.site.file.is_empty() => {}
            0 => write!(f, "\n{:width$}--> {}", "", self.site.file)?,
            _ => write!(f, "\n{:width$}--> {}", "", self.site)?,
        }
        if !self.excerpt.is_empty() {
            write!(f, "\n{}", self.excerpt)?;
        }
        match &self.suggestion {
            Some(text) if self.excerpt.is_empty() => write!(f, "\n{:width$} help: {text}", ""),
            Some(text) => write!(f, "\n{:width$} = help: {text}", ""),
            None => Ok(()),
        }
    }
}

/// Everything wrong with a recipe, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    /// The mistakes; never empty.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for RecipeError {}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if index > 0 { "\n\n" } else { "" })?;
        }
        Ok(())
    }
}

impl RecipeError {
    /// Sorts, drops repetitions, and cuts the excerpts out of `texts` (file to text; `first` comes first).
    pub(super) fn new(mut mistakes: Vec<Mistake>, texts: &BTreeMap<String, String>, first: &str) -> Self {
        mistakes.sort_by(|a, b| (a.site.file != first, &a.site).cmp(&(b.site.file != first, &b.site)));
        mistakes.dedup_by(|a, b| a.site == b.site && a.message == b.message);
        for mistake in &mut mistakes {
            if let Some(text) = texts.get(&mistake.site.file) {
                mistake.excerpt = excerpt(text, &mistake.site).unwrap_or_default();
            }
        }
        Self { mistakes }
    }
}

/// The line of `site`, with carets under the word that starts there.
pub(crate) fn excerpt(text: &str, site: &Site) -> Option<String> {
    let line = text.lines().nth(site.line.checked_sub(1)? as usize)?;
    let start = site.column.max(1) as usize - 1;
    let shown = line.replace('\t', " ");
    let length = word_length(&shown.chars().skip(start).collect::<Vec<_>>());
    let number = site.line.to_string();
    let gap = " ".repeat(number.len());
    Some(format!("{gap} |\n{number} | {}\n{gap} | {}{}", shown.trim_end(), " ".repeat(start), "^".repeat(length)))
}

/// How many characters the first word has: an identifier or number, a string on one line, or one character.
fn word_length(rest: &[char]) -> usize {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    match rest.first() {
        Some(quote @ ('"' | '`' | '\'')) => rest.iter().skip(1).position(|c| c == quote).map_or(1, |end| end + 2),
        Some(c) if word(c) => rest.iter().take_while(|c| word(c)).count(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_word() {
        let text = "let a = 1;\n\tlet größe = taggr(a, \"x y\");\n";
        let site = |line, column| Site { file: "r.rhai".into(), line, column };
        let cut = |line, column| excerpt(text, &site(line, column)).unwrap().lines().last().unwrap().to_owned();
        assert_eq!(cut(2, 14), "  |              ^^^^^");
        assert_eq!(cut(2, 23), "  |                       ^^^^^");
        assert_eq!(cut(1, 10), "  |          ^");
        assert_eq!(excerpt(text, &site(9, 1)), None);
        assert_eq!(excerpt(text, &site(0, 0)), None);
    }

    #[test]
    fn mistakes_are_sorted_and_shown_once() {
        let at = |file: &str, line| Mistake::new(Site { file: file.into(), line, column: 1 }, "wrong");
        let texts = BTreeMap::from([("b".to_owned(), "one\ntwo".to_owned()), ("a".to_owned(), "x".to_owned())]);
        let error = RecipeError::new(vec![at("a", 1), at("b", 2), at("b", 1).meant(Some("won".into())), at("b", 2)], &texts, "b");
        let expected = "error: wrong\n --> b:1:1\n  |\n1 | one\n  | ^^^\n  = help: did you mean `won`?\n\nerror: wrong\n --> b:2:1\n  \
                        |\n2 | two\n  | ^^^\n\nerror: wrong\n --> a:1:1\n  |\n1 | x\n  | ^";
        assert_eq!(error.to_string(), expected);
    }
}
