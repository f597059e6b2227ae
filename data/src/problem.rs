//! Problems whose answer a program checks, generated from a seed.
//!
//! Problem `index` of a `(mix, split, seed)` is a pure function of those four: nothing is stored, any position is
//! reached directly, and a training run that stops at problem 1,000 goes on at problem 1,001. The module writes and
//! reads the problems as JSON lines in the post-training layout (`messages`, `ground_truth`, `dataset`). It does not
//! check answers: the verifiers named here are in `lm::reward`.
//!
//! # Splits
//! A prompt belongs to [`Split::HeldOut`] when the first eight bytes (little endian) of the BLAKE3 digest of
//! `"heldout:" + prompt` are divisible by ten, else to [`Split::Train`]. The rule sees nothing but the prompt text, so
//! no seed, mix or level can bring a held-out prompt into training.

mod draw;
mod families;
#[cfg(test)]
mod tests;
mod words;

use std::io::{BufRead, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

pub use draw::Draw;

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person asking.
    User,
    /// The model; only these turns are trained on.
    Assistant,
    /// The result of a tool call.
    Environment,
}

impl Role {
    /// The name used in chat templates and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Environment => "environment",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, without any template tags.
    pub content: String,
}

impl Message {
    /// A turn of `role` saying `content`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into() }
    }
}

/// One kind of problem. The text of each kind is in `problem/families.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `a + b`.
    Addition,
    /// `a - b`, never negative.
    Subtraction,
    /// `a * b` with small operands.
    Multiplication,
    /// The larger or smaller of two numbers.
    Comparison,
    /// Even or odd.
    Parity,
    /// The number after or before.
    Successor,
    /// The next term of an arithmetic progression.
    Sequence,
    /// The largest or smallest of a list.
    Extremum,
    /// A list in reverse order.
    Reverse,
    /// The first, second, ... or last item of a list.
    PickItem,
    /// How often an item occurs in a list.
    CountItem,
    /// The first or last letter of a word.
    EndLetter,
    /// Letters in upper case.
    Uppercase,
    /// An item several times.
    Repeat,
    /// Digits in ascending order.
    Sort,
    /// Whether an item is in a list.
    Membership,
    /// Items between brackets, braces, parentheses or quotes.
    Enclose,
    /// An answer of exactly n words.
    WordCount,
    /// A JSON object with given fields.
    Json,
    /// Items separated by commas.
    CommaList,
    /// Items as a bullet list.
    BulletList,
}

impl Family {
    /// Every family, in a fixed order.
    pub const ALL: [Family; 21] = [
        Family::Addition,
        Family::Subtraction,
        Family::Multiplication,
        Family::Comparison,
        Family::Parity,
        Family::Successor,
        Family::Sequence,
        Family::Extremum,
        Family::Reverse,
        Family::PickItem,
        Family::CountItem,
        Family::EndLetter,
        Family::Uppercase,
        Family::Repeat,
        Family::Sort,
        Family::Membership,
        Family::Enclose,
        Family::WordCount,
        Family::Json,
        Family::CommaList,
        Family::BulletList,
    ];

    /// The families with numbers.
    pub const ARITHMETIC: &'static [Family] = Self::ALL.split_at(8).0;
    /// The families with words and letters.
    pub const STRINGS: &'static [Family] = Self::ALL.split_at(8).1.split_at(8).0;
    /// The families about the form of the answer.
    pub const FORMAT: &'static [Family] = Self::ALL.split_at(16).1;

    /// The families that a model of a few million parameters learns in minutes at [`Level::Easy`]; the others need more
    /// facts (addition) or copying from larger alphabets.
    pub const ELEMENTARY: &'static [Family] = &[
        Family::Comparison,
        Family::Extremum,
        Family::Parity,
        Family::Sort,
        Family::Reverse,
        Family::CountItem,
        Family::Repeat,
        Family::Enclose,
        Family::WordCount,
        Family::BulletList,
    ];

    /// The name used in files and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Addition => "addition",
            Family::Subtraction => "subtraction",
            Family::Multiplication => "multiplication",
            Family::Comparison => "comparison",
            Family::Parity => "parity",
            Family::Successor => "successor",
            Family::Sequence => "sequence",
            Family::Extremum => "extremum",
            Family::Reverse => "reverse",
            Family::PickItem => "pick_item",
            Family::CountItem => "count_item",
            Family::EndLetter => "end_letter",
            Family::Uppercase => "uppercase",
            Family::Repeat => "repeat",
            Family::Sort => "sort",
            Family::Membership => "membership",
            Family::Enclose => "enclose",
            Family::WordCount => "word_count",
            Family::Json => "json",
            Family::CommaList => "comma_list",
            Family::BulletList => "bullet_list",
        }
    }

    /// The family of a name, or `None`.
    pub fn from_name(name: &str) -> Option<Family> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }
}

/// How large the operands and lists are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Numbers to 9, lists of three digits: within reach of a model of two million parameters.
    #[default]
    Easy,
    /// Numbers to 99, lists of four letters.
    Medium,
    /// Numbers to 999, lists of six words.
    Hard,
}

impl Level {
    /// The largest operand.
    pub fn max_number(self) -> u64 {
        match self {
            Level::Easy => 9,
            Level::Medium => 99,
            Level::Hard => 999,
        }
    }

    /// The number of items in a list.
    pub fn n_items(self) -> usize {
        match self {
            Level::Easy => 3,
            Level::Medium => 4,
            Level::Hard => 6,
        }
    }
}

/// Which families are drawn, and how hard they are. A family listed twice is drawn twice as often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemMix {
    /// The families drawn from, with equal weight per entry. Must not be empty.
    pub families: Vec<Family>,
    /// Size of operands and lists.
    #[serde(default)]
    pub level: Level,
}

/// The two disjoint sets of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Nine prompts of ten.
    Train,
    /// One prompt of ten; never in training data.
    HeldOut,
}

impl Split {
    /// The split a prompt belongs to; see the module documentation for the rule.
    pub fn of(prompt: &str) -> Split {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"heldout:");
        hasher.update(prompt.as_bytes());
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        if u64::from_le_bytes(first).is_multiple_of(10) { Split::HeldOut } else { Split::Train }
    }
}

/// What the assistant turn of a demonstration contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demonstration {
    /// The answer alone.
    #[default]
    Answer,
    /// For arithmetic one worked line that ends in the answer (`2 + 3 = 5`); else the answer alone.
    Worked,
}

/// A problem: a user turn, the gold answer, and what decides whether a response is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within a split and seed: `family-seed-index`.
    #[serde(default)]
    pub id: String,
    /// The kind of problem, see [`Family::as_str`]; free text for problems that come from elsewhere.
    #[serde(default)]
    pub family: String,
    /// The conversation up to the response; generated problems have one user turn.
    pub messages: Vec<Message>,
    /// A response that gets the full reward.
    #[serde(default)]
    pub answer: String,
    /// The worked line that ends in the answer, where the family has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked: Option<String>,
    /// What the verifier compares with: the answer itself, or JSON parameters.
    pub ground_truth: String,
    /// The name of the verifier (`number`, `exact`, `json`, `word_count`, ...), under the field's usual key.
    pub dataset: String,
}

impl Problem {
    /// Problem `index` of a mix. Draws candidates until one falls into `split`; the attempt number is part of the
    /// counter, so the result depends on the arguments only.
    ///
    /// # Panics
    /// If the mix has no families.
    pub fn generate(mix: &ProblemMix, split: Split, seed: u64, index: u64) -> Problem {
        assert!(!mix.families.is_empty(), "a problem mix needs at least one family");
        for attempt in 0.. {
            let mut draw = Draw::new(&[seed, index, attempt]);
            let family = *draw.choose(&mix.families);
            let drawn = families::draw(family, mix.level, &mut draw);
            if Split::of(&drawn.prompt) == split {
                return Problem {
                    id: format!("{}-{seed}-{index}", family.as_str()),
                    family: family.as_str().to_string(),
                    messages: vec![Message::new(Role::User, drawn.prompt)],
                    answer: drawn.answer,
                    worked: drawn.worked,
                    ground_truth: drawn.ground_truth,
                    dataset: drawn.verifier.to_string(),
                };
            }
        }
        unreachable!("one prompt of ten is held out, so a draw falls into each split sooner or later")
    }

    /// Problems `0..n` of a mix.
    pub fn generate_many(mix: &ProblemMix, split: Split, seed: u64, n: u64) -> Vec<Problem> {
        (0..n).map(|index| Self::generate(mix, split, seed, index)).collect()
    }

    /// Problems with pairwise different prompts: walks the indices from 0 and keeps each prompt's first occurrence,
    /// until `n` are found or `20 * n` indices are seen (small mixes have few prompts).
    pub fn generate_distinct(mix: &ProblemMix, split: Split, seed: u64, n: usize) -> Vec<Problem> {
        let mut seen = std::collections::BTreeSet::new();
        let mut problems = Vec::with_capacity(n);
        for index in 0..20 * n as u64 {
            if problems.len() == n {
                break;
            }
            let problem = Self::generate(mix, split, seed, index);
            if seen.insert(problem.prompt().to_string()) {
                problems.push(problem);
            }
        }
        problems
    }

    /// The text of the last user turn, empty if there is none.
    pub fn prompt(&self) -> &str {
        self.messages.iter().rev().find(|m| m.role == Role::User).map_or("", |m| m.content.as_str())
    }

    /// The conversation with the gold answer as its last turn, for supervised finetuning.
    pub fn demonstration(&self, style: Demonstration) -> Conversation {
        let text = match (style, &self.worked) {
            (Demonstration::Worked, Some(worked)) => worked,
            _ => &self.answer,
        };
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::Assistant, text.clone()));
        Conversation { id: self.id.clone(), dataset: self.family.clone(), messages }
    }
}

/// A conversation to train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Unique within its file, or empty.
    #[serde(default)]
    pub id: String,
    /// Where the conversation comes from, for counts per source.
    #[serde(default)]
    pub dataset: String,
    /// The turns in order.
    pub messages: Vec<Message>,
}

/// Writes rows as JSON lines, replacing the file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_jsonl<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), DataError> {
    let mut out = std::io::BufWriter::new(fs_err::File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut out, row).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Reads rows from JSON lines; empty lines are skipped.
///
/// # Errors
/// If the file cannot be read, or a line is not a row (with the line's number).
pub fn read_jsonl<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, DataError> {
    let reader = std::io::BufReader::new(fs_err::File::open(path)?);
    let mut rows = Vec::new();
    for (i, line) in reader.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(&line).map_err(|e| DataError::Line {
            path: path.to_path_buf(),
            line: i as u64 + 1,
            message: format!("not a row of this kind: {e}"),
        })?;
        rows.push(row);
    }
    Ok(rows)
}
