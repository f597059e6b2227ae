//! Golden cases of every verifier, and the generated families judged by their own verifier.

use data::problem::{Demonstration, Family, Level, Problem, ProblemMix, Split};

use super::*;

#[track_caller]
fn check(verifier: &str, response: &str, truth: &str, score: f64) {
    let got = Verifier::from_name(verifier).unwrap().score(response, truth).unwrap();
    assert!((got - score).abs() < 1e-12, "{verifier}({response:?}, {truth:?}) = {got}, wanted {score}");
}

#[test]
fn number_takes_the_last_number_as_text() {
    check("number", "The answer is 42.", "42", 1.0);
    check("gsm8k", "3 + 4 = 7", "7", 1.0);
    check("GSM8K", "It costs $1,234,567 in all", "1234567", 1.0);
    check("number", "42.0", "42", 0.0);
    check("number", "-3.5", "-3.5", 1.0);
    check("number", "between 1 and 2", "1", 0.0);
    check("number", ".5", ".5", 1.0);
    check("number", "no number", "7", 0.0);
    check("number", "seven", "Seven", 1.0);
    check("number", "", "7", 0.0);
    check("number", "5-3", "-3", 1.0);
    check("number", "+7", "7", 0.0);
}

#[test]
fn math_reads_boxes_and_compares_rationals() {
    check("math", r"so \boxed{\frac{1}{2}}", "0.5", 1.0);
    check("math", r"\boxed{x^{2}+1} and then", "x^{2}+1", 1.0);
    check("math", r"first \boxed{1}, then \boxed{2}", "1", 0.0);
    check("math", "Final Answer: The final answer is $7$. I hope it is correct.", "7", 1.0);
    check("math", "it is $-3/6$", r"-\frac{1}{2}", 1.0);
    check("math", "x = 12", "12", 1.0);
    check("math", "12,000", "12000", 1.0);
    check("math", r"\boxed{\dfrac12}", ".5", 1.0);
    check("math", r"\boxed{1/0}", "1", 0.0);
    check("math", r"\boxed{unclosed", "1", 0.0);
}

#[test]
fn text_verifiers() {
    check("exact", " yes\n", "yes", 1.0);
    check("exact", "Yes", "yes", 0.0);
    check("string_matcher", "<answer>The Cat!</answer>", "cat", 1.0);
    check("string_matcher", "cat", "cat", 0.0);
    check("string_f1", "the red cat", "a red dog", 0.5);
    check("string_f1", "", "", 1.0);
    check("word_count", "one two  three", "3", 1.0);
    check("word_count", "one", "3", 0.0);
    check("json", r#"{"b": 2, "a": 1}"#, r#"{"a":1,"b":2}"#, 1.0);
    check("json", r#"{"a": 1"#, r#"{"a":1}"#, 0.0);
}

#[track_caller]
fn constraint(id: &str, kwargs: &str, passes: &str, fails: &str) {
    let truth = format!(r#"[{{"instruction_id": ["{id}"], "kwargs": [{kwargs}]}}]"#);
    check("ifeval", passes, &truth, 1.0);
    check("ifeval", fails, &truth, 0.0);
}

#[test]
fn each_constraint_passes_once_and_fails_once() {
    constraint("keywords:existence", r#"{"keywords": ["Cat", "dog"]}"#, "a cat, a dogma", "a cat");
    constraint("keywords:frequency", r#"{"keyword": "go", "frequency": 2, "relation": "at least"}"#, "go, GO", "go");
    constraint("keywords:forbidden_words", r#"{"forbidden_words": ["cat"]}"#, "catalog", "a Cat.");
    constraint(
        "keywords:letter_frequency",
        r#"{"letter": "e", "let_frequency": 2, "let_relation": "less than"}"#,
        "hello",
        "Eel",
    );
    constraint("length_constraints:number_words", r#"{"num_words": 3, "relation": "less than"}"#, "a b", "a b c");
    constraint("length_constraints:number_paragraphs", r#"{"num_paragraphs": 2}"#, "a\n***\nb", "a *** b *** c");
    constraint(
        "length_constraints:nth_paragraph_first_word",
        r#"{"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "two"}"#,
        "one\n\nTwo, three",
        "two\n\none",
    );
    constraint("detectable_content:number_placeholders", r#"{"num_placeholders": 2}"#, "[a] [b]", "[a]");
    constraint("detectable_content:postscript", r#"{"postscript_marker": "P.S."}"#, "x p. s. y", "ps y");
    constraint("detectable_format:number_bullet_lists", r#"{"num_bullets": 2}"#, "* a\n- b", "* a");
    constraint("detectable_format:constrained_response", "{}", "My answer is no.", "no");
    constraint("detectable_format:number_highlighted_sections", r#"{"num_highlights": 2}"#, "*a* and *b*", "*a*");
    constraint(
        "detectable_format:multiple_sections",
        r#"{"section_spliter": "SECTION", "num_sections": 2}"#,
        "SECTION 1 a SECTION 2 b",
        "SECTION 1 a",
    );
    constraint("detectable_format:json_format", "{}", "```json\n{\"a\": 1}\n```", "{a: 1}");
    constraint("detectable_format:title", "{}", "<<a title>> text", "<<>> text");
    constraint("combination:two_responses", "{}", "a ****** b", "a ****** a");
    constraint("combination:repeat_prompt", r#"{"prompt_to_repeat": "Say hi"}"#, "say hi: hi", "hi");
    constraint("startend:end_checker", r#"{"end_phrase": "the end"}"#, "\"It is The End\"", "the end?");
    constraint("startend:quotation", "{}", "\"quoted\"", "quoted");
    constraint("change_case:english_capital", "{}", "LOUD 3!", "Loud");
    constraint("change_case:english_lowercase", "{}", "quiet 3!", "Quiet");
    constraint(
        "change_case:capital_word_frequency",
        r#"{"capital_frequency": 2, "capital_relation": "at least"}"#,
        "AB cd EF",
        "AB cd",
    );
    constraint("punctuation:no_comma", "{}", "a b", "a, b");
}

#[test]
fn ifeval_reads_python_literals_and_counts_fractions() {
    let truth = "[{'instruction_id': ['punctuation:no_comma', 'startend:quotation'], 'kwargs': [None, {}]}]";
    check("ifeval", "<think>a, b</think> plain", truth, 0.5);
    check("ifeval_all", "plain", truth, 0.0);
    check("ifeval_all", "\"plain\"", truth, 1.0);
    check("ifeval", "", truth, 0.0);
}

#[test]
fn what_cannot_be_judged_is_an_error() {
    let message = Verifier::from_name("numbr").unwrap_err().to_string();
    assert!(message.contains("`numbr`") && message.contains("number, gsm8k"), "{message}");
    assert!(Verifier::WordCount.score("a", "three").is_err());
    assert!(Verifier::Json.score("{}", "{").is_err());
    let unknown = r#"[{"instruction_id": ["no:such"], "kwargs": [{}]}]"#;
    let message = Verifier::IfEval.score("a", unknown).unwrap_err().to_string();
    assert!(message.contains("no:such"), "{message}");
}

#[test]
fn every_family_accepts_its_gold_answer_and_refuses_nonsense() {
    for family in Family::ALL {
        for level in [Level::Easy, Level::Medium, Level::Hard] {
            let mix = ProblemMix { families: vec![family], level };
            for problem in Problem::generate_many(&mix, Split::Train, 11, 40) {
                assert_eq!(ByVerifier.score(&problem, &problem.answer), Ok(1.0), "{problem:?}");
                let worked = problem.demonstration(Demonstration::Worked);
                let last = &worked.messages[worked.messages.len() - 1].content;
                assert_eq!(ByVerifier.score(&problem, last), Ok(1.0), "{problem:?}");
                assert_eq!(ByVerifier.score(&problem, ""), Ok(0.0), "{problem:?}");
                assert_eq!(ByVerifier.score(&problem, "I do not know what else I can say here"), Ok(0.0));
            }
        }
    }
}
