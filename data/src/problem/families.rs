//! The text of every problem family: how a prompt is phrased, what its answer is, which verifier judges it.
//!
//! Knows nothing of splits, files or rewards.

use super::words::{DIGITS, LETTERS, ORDINALS, WORDS};
use super::{Draw, Family, Level};

/// One drawn problem before it gets an id and a split.
pub(super) struct Drawn {
    pub(super) prompt: String,
    pub(super) answer: String,
    pub(super) worked: Option<String>,
    pub(super) ground_truth: String,
    pub(super) verifier: &'static str,
}

impl Drawn {
    /// A number, judged by the last number of the response.
    fn number(prompt: String, answer: u64) -> Self {
        Drawn { prompt, answer: answer.to_string(), worked: None, ground_truth: answer.to_string(), verifier: "number" }
    }

    /// A text, judged by equality after trimming.
    fn exact(prompt: String, answer: String) -> Self {
        Drawn { prompt, ground_truth: answer.clone(), answer, worked: None, verifier: "exact" }
    }

    fn worked(mut self, line: String) -> Self {
        self.worked = Some(line);
        self
    }
}

/// Draws one problem of a family.
pub(super) fn draw(family: Family, level: Level, draw: &mut Draw) -> Drawn {
    match family {
        Family::Addition => addition(level, draw),
        Family::Subtraction => subtraction(level, draw),
        Family::Multiplication => multiplication(level, draw),
        Family::Comparison => comparison(level, draw),
        Family::Parity => parity(level, draw),
        Family::Successor => successor(level, draw),
        Family::Sequence => sequence(level, draw),
        Family::Extremum => extremum(level, draw),
        Family::Reverse => reverse(level, draw),
        Family::PickItem => pick_item(level, draw),
        Family::CountItem => count_item(level, draw),
        Family::EndLetter => end_letter(level, draw),
        Family::Uppercase => uppercase(level, draw),
        Family::Repeat => repeat(level, draw),
        Family::Sort => sort(level, draw),
        Family::Membership => membership(level, draw),
        Family::Enclose => enclose(level, draw),
        Family::WordCount => word_count(level, draw),
        Family::Json => json(level, draw),
        Family::CommaList => comma_list(level, draw),
        Family::BulletList => bullet_list(level, draw),
    }
}

fn words(draw: &mut Draw, n: usize) -> Vec<&'static str> {
    draw.distinct(n, WORDS.len()).into_iter().map(|i| WORDS[i]).collect()
}

/// `n` different things to put into a list: digits, letters or words by level. Small models learn to copy from small
/// alphabets first.
fn items(level: Level, draw: &mut Draw, n: usize) -> Vec<&'static str> {
    let pool: &[&'static str] = match level {
        Level::Easy => &DIGITS,
        Level::Medium => &LETTERS,
        Level::Hard => &WORDS,
    };
    draw.distinct(n, pool.len()).into_iter().map(|i| pool[i]).collect()
}

fn letters(draw: &mut Draw, n: usize) -> Vec<&'static str> {
    (0..n).map(|_| *draw.choose(&LETTERS)).collect()
}

fn addition(level: Level, draw: &mut Draw) -> Drawn {
    let (a, b) = (draw.between(0, level.max_number()), draw.between(0, level.max_number()));
    let prompt = match draw.below(4) {
        0 => format!("What is {a} + {b}?"),
        1 => format!("Add {a} and {b}."),
        2 => format!("Compute {a} + {b}."),
        _ => format!("{a} + {b} ="),
    };
    Drawn::number(prompt, a + b).worked(format!("{a} + {b} = {}", a + b))
}

fn subtraction(level: Level, draw: &mut Draw) -> Drawn {
    let (x, y) = (draw.between(0, level.max_number()), draw.between(0, level.max_number()));
    let (a, b) = (x.max(y), x.min(y));
    let prompt = match draw.below(4) {
        0 => format!("What is {a} - {b}?"),
        1 => format!("Subtract {b} from {a}."),
        2 => format!("Compute {a} - {b}."),
        _ => format!("{a} - {b} ="),
    };
    Drawn::number(prompt, a - b).worked(format!("{a} - {b} = {}", a - b))
}

fn multiplication(level: Level, draw: &mut Draw) -> Drawn {
    let (max_a, max_b) = match level {
        Level::Easy => (9, 5),
        Level::Medium => (12, 12),
        Level::Hard => (99, 9),
    };
    let (a, b) = (draw.between(0, max_a), draw.between(0, max_b));
    let prompt = match draw.below(3) {
        0 => format!("What is {a} * {b}?"),
        1 => format!("Multiply {a} by {b}."),
        _ => format!("Compute {a} * {b}."),
    };
    Drawn::number(prompt, a * b).worked(format!("{a} * {b} = {}", a * b))
}

fn comparison(level: Level, draw: &mut Draw) -> Drawn {
    let a = draw.between(0, level.max_number());
    let b = (a + draw.between(1, level.max_number())) % (level.max_number() + 1);
    let (word, answer) = if draw.below(2) == 0 { ("larger", a.max(b)) } else { ("smaller", a.min(b)) };
    let prompt = match draw.below(2) {
        0 => format!("Which is {word}, {a} or {b}?"),
        _ => format!("Which number is {word}: {a} or {b}?"),
    };
    Drawn::number(prompt, answer)
}

fn parity(level: Level, draw: &mut Draw) -> Drawn {
    let n = draw.between(0, level.max_number().max(99));
    let prompt = match draw.below(3) {
        0 => format!("Is {n} even or odd?"),
        1 => format!("Is the number {n} odd or even?"),
        _ => format!("Even or odd: {n}"),
    };
    Drawn::exact(prompt, if n.is_multiple_of(2) { "even" } else { "odd" }.to_string())
}

fn successor(level: Level, draw: &mut Draw) -> Drawn {
    let n = draw.between(1, level.max_number().max(98));
    let (word, answer) = if draw.below(2) == 0 { ("after", n + 1) } else { ("before", n - 1) };
    let prompt = match draw.below(2) {
        0 => format!("What number comes {word} {n}?"),
        _ => format!("Which number is right {word} {n}?"),
    };
    Drawn::number(prompt, answer)
}

fn sequence(level: Level, draw: &mut Draw) -> Drawn {
    let max_step = match level {
        Level::Easy => 3,
        Level::Medium => 5,
        Level::Hard => 20,
    };
    let (start, step) = (draw.between(0, level.max_number().max(20)), draw.between(1, max_step));
    let terms: Vec<String> = (0..3).map(|i| (start + i * step).to_string()).collect();
    let prompt = match draw.below(2) {
        0 => format!("What comes next: {}", terms.join(" ")),
        _ => format!("Continue with one number: {}", terms.join(" ")),
    };
    Drawn::number(prompt, start + 3 * step)
}

fn extremum(level: Level, draw: &mut Draw) -> Drawn {
    let numbers: Vec<u64> = (0..level.n_items()).map(|_| draw.between(0, level.max_number())).collect();
    let (word, answer) = if draw.below(2) == 0 { ("largest", numbers.iter().max()) } else { ("smallest", numbers.iter().min()) };
    let list = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let prompt = match draw.below(2) {
        0 => format!("What is the {word} of {list}?"),
        _ => format!("Find the {word} number: {list}"),
    };
    Drawn::number(prompt, answer.copied().unwrap_or_default())
}

fn reverse(level: Level, draw: &mut Draw) -> Drawn {
    let mut items = items(level, draw, level.n_items());
    let list = items.join(" ");
    let prompt = match draw.below(2) {
        0 => format!("Reverse this list: {list}"),
        _ => format!("Write in reverse order: {list}"),
    };
    items.reverse();
    Drawn::exact(prompt, items.join(" "))
}

fn pick_item(level: Level, draw: &mut Draw) -> Drawn {
    let items = items(level, draw, level.n_items());
    let at = draw.below(items.len() as u64) as usize;
    let position = if at + 1 == items.len() { "last" } else { ORDINALS[at] };
    let list = items.join(" ");
    let prompt = match draw.below(2) {
        0 => format!("What is the {position} item of: {list}"),
        _ => format!("Give the {position} item: {list}"),
    };
    Drawn::exact(prompt, items[at].to_string())
}

fn count_item(level: Level, draw: &mut Draw) -> Drawn {
    let pair = items(level, draw, 2);
    let items: Vec<&str> = (0..level.n_items() + 2).map(|_| *draw.choose(&pair)).collect();
    let n = items.iter().filter(|item| **item == pair[0]).count() as u64;
    let list = items.join(" ");
    let prompt = match draw.below(2) {
        0 => format!("How many times does {} appear in: {list}", pair[0]),
        _ => format!("Count how often {} appears: {list}", pair[0]),
    };
    Drawn::number(prompt, n)
}

fn end_letter(level: Level, draw: &mut Draw) -> Drawn {
    let letters = match level {
        Level::Hard => {
            let word = *draw.choose(&WORDS);
            word.split("").filter(|letter| !letter.is_empty()).collect()
        }
        _ => letters(draw, level.n_items()),
    };
    let (position, letter) = if draw.below(2) == 0 { ("first", letters[0]) } else { ("last", letters[letters.len() - 1]) };
    let word = letters.join(if level == Level::Hard { "" } else { " " });
    let prompt = match draw.below(2) {
        0 => format!("What is the {position} letter of {word}?"),
        _ => format!("Give the {position} letter: {word}"),
    };
    Drawn::exact(prompt, letter.to_string())
}

fn uppercase(level: Level, draw: &mut Draw) -> Drawn {
    let list = letters(draw, level.n_items()).join(" ");
    let prompt = match draw.below(2) {
        0 => format!("Write in upper case: {list}"),
        _ => format!("Make these capital letters: {list}"),
    };
    Drawn::exact(prompt, list.to_uppercase())
}

fn repeat(level: Level, draw: &mut Draw) -> Drawn {
    let word = items(level, draw, 1)[0];
    let n = draw.between(2, level.n_items() as u64 + 1) as usize;
    let prompt = match draw.below(2) {
        0 => format!("Repeat {word} exactly {n} times."),
        _ => format!("Say {word} {n} times."),
    };
    Drawn::exact(prompt, vec![word; n].join(" "))
}

fn sort(level: Level, draw: &mut Draw) -> Drawn {
    let mut numbers: Vec<usize> = draw.distinct(level.n_items(), 10);
    let list = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    let prompt = match draw.below(2) {
        0 => format!("Sort from small to large: {list}"),
        _ => format!("Put in ascending order: {list}"),
    };
    numbers.sort_unstable();
    Drawn::exact(prompt, numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" "))
}

fn membership(level: Level, draw: &mut Draw) -> Drawn {
    let items = items(level, draw, level.n_items() + 1);
    let (asked, listed) = items.split_at(1);
    let inside = draw.below(2) == 0;
    let word = if inside { *draw.choose(listed) } else { asked[0] };
    let list = listed.join(" ");
    let prompt = match draw.below(2) {
        0 => format!("Is {word} in this list: {list}"),
        _ => format!("Does the list contain {word}? List: {list}"),
    };
    Drawn::exact(prompt, if inside { "yes" } else { "no" }.to_string())
}

fn enclose(level: Level, draw: &mut Draw) -> Drawn {
    let items = items(level, draw, 2);
    let text = if draw.below(2) == 0 { items[0].to_string() } else { items.join(" ") };
    let (name, open, close) = *draw.choose(&[
        ("square brackets", "[", "]"),
        ("curly braces", "{", "}"),
        ("parentheses", "(", ")"),
        ("double quotes", "\"", "\""),
    ]);
    let prompt = match draw.below(2) {
        0 => format!("Write {text} in {name}."),
        _ => format!("Put {name} around: {text}"),
    };
    Drawn::exact(prompt, format!("{open}{text}{close}"))
}

fn word_count(level: Level, draw: &mut Draw) -> Drawn {
    let n = draw.between(1, level.n_items() as u64 + 1) as usize;
    let items = words(draw, n.max(2));
    let topic = items[0];
    let plural = if n == 1 { "word" } else { "words" };
    let prompt = match draw.below(2) {
        0 => format!("Answer with exactly {n} {plural} about {topic}."),
        _ => format!("Write exactly {n} {plural}, starting from {topic}."),
    };
    Drawn { prompt, answer: items[..n].join(" "), worked: None, ground_truth: n.to_string(), verifier: "word_count" }
}

fn json(level: Level, draw: &mut Draw) -> Drawn {
    let keys = items(level.max(Level::Medium), draw, 2);
    let (a, b) = (draw.between(0, level.max_number()), draw.between(0, level.max_number()));
    let answer = format!("{{\"{}\": {a}, \"{}\": {b}}}", keys[0], keys[1]);
    let prompt = match draw.below(2) {
        0 => format!("Write as JSON: {} is {a}, {} is {b}", keys[0], keys[1]),
        _ => format!("Make a JSON object with {} {a} and {} {b}.", keys[0], keys[1]),
    };
    Drawn { prompt, ground_truth: answer.clone(), answer, worked: None, verifier: "json" }
}

fn comma_list(level: Level, draw: &mut Draw) -> Drawn {
    let items = items(level, draw, level.n_items());
    let prompt = match draw.below(2) {
        0 => format!("Separate with commas: {}", items.join(" ")),
        _ => format!("Write as a comma separated list: {}", items.join(" ")),
    };
    Drawn::exact(prompt, items.join(", "))
}

fn bullet_list(level: Level, draw: &mut Draw) -> Drawn {
    let items = items(level, draw, level.n_items());
    let prompt = match draw.below(2) {
        0 => format!("Write as a bullet list: {}", items.join(" ")),
        _ => format!("Make one bullet per item: {}", items.join(" ")),
    };
    let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
    Drawn::exact(prompt, lines.join("\n"))
}
