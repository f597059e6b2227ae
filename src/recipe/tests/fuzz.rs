//! No text, however broken, stops the evaluator in another way than with mistakes.

use proptest::prelude::*;

use super::*;

const WORDS: &[&str] = &[
    "let",
    "const",
    "x",
    "y",
    "=",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "#{",
    "|",
    "||",
    "&&",
    ".",
    ",",
    ";",
    ":",
    "::",
    "fn",
    "if",
    "else",
    "for",
    "in",
    "while",
    "loop",
    "break",
    "return",
    "throw",
    "try",
    "catch",
    "switch",
    "=>",
    "_",
    "import",
    "export",
    "as",
    "\"olmo2\"",
    "\"data/*\"",
    "read",
    "tag",
    "mix",
    "split",
    "train",
    "output",
    "param",
    "named",
    "needs",
    "map",
    "filter",
    "call",
    "curry",
    "Fn",
    "this",
    "global",
    "1",
    "2.5",
    "-",
    "+",
    "*",
    "**",
    "..",
    "..=",
    "?.",
    "?[",
    "??",
    "!",
    "==",
    "'c'",
    "`a${x}b`",
    "()",
    "private",
    "is_shared",
    "type_of",
    "print",
    "exit",
    "\n",
    "// c\n",
];

fn survives(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = run(text) {
        prop_assert!(!error.mistakes.is_empty());
        prop_assert!(!error.to_string().contains("internal error"), "{text:?}\n{error}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text(text in ".{0,80}") {
        survives(&text)?;
    }

    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        survives(&words.join(" "))?;
    }

    #[test]
    fn a_recipe_with_a_hole(start in 0usize..1400, length in 1usize..40, filler in prop::sample::select(WORDS)) {
        let text: Vec<char> = language::FLOW.chars().collect();
        let (start, end) = (start.min(text.len()), (start + length).min(text.len()));
        let text: String = text[..start].iter().chain(filler.chars().collect::<Vec<_>>().iter()).chain(&text[end..]).collect();
        survives(&text)?;
    }
}

#[test]
fn deep_texts_meet_limits() {
    for text in [
        "(".repeat(5000),
        "[".repeat(5000),
        "-".repeat(5000) + "1",
        "x.".repeat(3000) + "x",
        "|x| ".repeat(3000) + "x",
        "{".repeat(4000),
    ] {
        survives(&text).unwrap();
    }
    survives(&format!("let f = |x| x; {} read(\"data/a.txt\").filter(f)", "let f = |x| f.call(x); ".repeat(500))).unwrap();
}
