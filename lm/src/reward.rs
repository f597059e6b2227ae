//! Verifiers: programs that judge a response against a ground truth, by name.
//!
//! A verifier sees the generated text and the ground truth, never the prompt, and returns a score in `[0, 1]`. What a
//! score is worth in training (`verification_reward`) is decided by `rlvr`. The rules follow open-instruct's RLVR
//! verifiers where they exist there (`gsm8k`, `math`, `ifeval`, `string_matcher`); the others judge the generated
//! problem families of `data::problem`. Nothing here reads files, runs models or draws random numbers.

mod ifeval;
mod literal;
mod math;
#[cfg(test)]
mod tests;
mod text;

use data::problem::Problem;

/// A judge of responses. Scores must be in `[0, 1]` and depend on the arguments only.
pub trait Reward: Sync {
    /// The score of a response to a problem.
    ///
    /// # Errors
    /// If the problem names an unknown verifier or its ground truth is malformed.
    fn score(&self, problem: &Problem, response: &str) -> Result<f64, RewardError>;
}

/// The standard reward: the verifier that the problem's `dataset` names.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByVerifier;

impl Reward for ByVerifier {
    fn score(&self, problem: &Problem, response: &str) -> Result<f64, RewardError> {
        Verifier::from_name(&problem.dataset)?.score(response, &problem.ground_truth)
    }
}

/// A problem cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewardError {
    /// No verifier has this name.
    #[error("no verifier is named `{name}`; known: {}", Verifier::names().join(", "))]
    UnknownVerifier {
        /// The name asked for.
        name: String,
    },
    /// The ground truth is not what the verifier needs.
    #[error("verifier `{verifier}` cannot use the ground truth `{ground_truth}`: {problem}")]
    GroundTruth {
        /// The verifier.
        verifier: &'static str,
        /// The ground truth as given.
        ground_truth: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The verifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// `number` (also `gsm8k`): the last number of the response, as text, equals the ground truth. Commas between
    /// digits are dropped; `42.0` is not `42`.
    Number,
    /// `math`: the content of the last `\boxed{}`, the Minerva answer line, the text between the last two `$` or the
    /// whole response equals the ground truth, as normalised text or as a rational number.
    Math,
    /// `exact`: equality after trimming white space at both ends.
    Exact,
    /// `string_matcher`: the text between `<answer>` and `</answer>` equals the ground truth after SQuAD normalisation
    /// (lower case, no punctuation, no articles, single spaces).
    StringMatcher,
    /// `string_f1`: token F1 with the ground truth after SQuAD normalisation.
    StringF1,
    /// `word_count`: the response has exactly as many white-space separated words as the ground truth says.
    WordCount,
    /// `json`: the response parses as JSON and equals the ground truth as a JSON value.
    Json,
    /// `ifeval`: the fraction of the instruction-following constraints in the ground truth that hold.
    IfEval,
    /// `ifeval_all`: 1 if all constraints hold, else 0.
    IfEvalAll,
}

impl Verifier {
    /// Every name that [`Verifier::from_name`] knows.
    pub fn names() -> &'static [&'static str] {
        &["number", "gsm8k", "math", "exact", "string_matcher", "string_f1", "word_count", "json", "ifeval", "ifeval_all"]
    }

    /// The verifier of a name; upper and lower case are the same.
    ///
    /// # Errors
    /// [`RewardError::UnknownVerifier`] if there is none.
    pub fn from_name(name: &str) -> Result<Verifier, RewardError> {
        match name.to_ascii_lowercase().as_str() {
            "number" | "gsm8k" => Ok(Verifier::Number),
            "math" => Ok(Verifier::Math),
            "exact" => Ok(Verifier::Exact),
            "string_matcher" => Ok(Verifier::StringMatcher),
            "string_f1" => Ok(Verifier::StringF1),
            "word_count" => Ok(Verifier::WordCount),
            "json" => Ok(Verifier::Json),
            "ifeval" => Ok(Verifier::IfEval),
            "ifeval_all" => Ok(Verifier::IfEvalAll),
            _ => Err(RewardError::UnknownVerifier { name: name.to_string() }),
        }
    }

    /// The score of a response, in `[0, 1]`.
    ///
    /// # Errors
    /// [`RewardError::GroundTruth`] if the ground truth is not what this verifier needs.
    pub fn score(self, response: &str, ground_truth: &str) -> Result<f64, RewardError> {
        let bit = |right: bool| Ok(f64::from(u8::from(right)));
        match self {
            Verifier::Number => bit(text::last_number(response).eq_ignore_ascii_case(ground_truth.trim())),
            Verifier::Math => bit(math::is_equivalent(response, ground_truth)),
            Verifier::Exact => bit(response.trim() == ground_truth.trim()),
            Verifier::StringMatcher => bit(text::answer_tag(response)
                .is_some_and(|answer| text::squad_normalise(answer) == text::squad_normalise(ground_truth))),
            Verifier::StringF1 => Ok(text::token_f1(response, ground_truth)),
            Verifier::WordCount => {
                let n: usize = ground_truth.trim().parse().map_err(|_| RewardError::GroundTruth {
                    verifier: "word_count",
                    ground_truth: ground_truth.to_string(),
                    problem: "not a whole number".to_string(),
                })?;
                bit(response.split_whitespace().count() == n)
            }
            Verifier::Json => {
                let truth: serde_json::Value = serde_json::from_str(ground_truth).map_err(|e| RewardError::GroundTruth {
                    verifier: "json",
                    ground_truth: ground_truth.to_string(),
                    problem: e.to_string(),
                })?;
                bit(serde_json::from_str::<serde_json::Value>(response.trim()).is_ok_and(|value| value == truth))
            }
            Verifier::IfEval => ifeval::fraction(response, ground_truth),
            Verifier::IfEvalAll => Ok(ifeval::fraction(response, ground_truth)?.floor()),
        }
    }
}

/// Checks that every problem can be judged, before any compute is spent on them.
///
/// # Errors
/// The first problem's error.
pub fn check_problems(reward: &dyn Reward, problems: &[Problem]) -> Result<(), RewardError> {
    problems.iter().try_for_each(|problem| reward.score(problem, "").map(drop))
}
