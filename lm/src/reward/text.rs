//! Text rules shared by the verifiers: the last number, answer tags, SQuAD normalisation, token F1.
//!
//! Pure functions of text.

use std::sync::LazyLock;

use regex::Regex;

static COMMA: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\d),(\d)").expect("a valid pattern"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[-+]?(?:\d*\.\d+|\d+)").expect("a valid pattern"));

/// The last number of a text with commas between digits removed, as written; the whole text if it has no number
/// (open-instruct's GSM8K rule).
pub(super) fn last_number(text: &str) -> String {
    let text = COMMA.replace_all(text, "$1$2");
    match NUMBER.find_iter(&text).last() {
        Some(number) => number.as_str().to_string(),
        None => text.trim().to_string(),
    }
}

/// The text between the first `<answer>` and the `</answer>` after it.
pub(super) fn answer_tag(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<answer>")?;
    let (answer, _) = rest.split_once("</answer>")?;
    Some(answer)
}

/// SQuAD normalisation: lower case, ASCII punctuation removed, articles removed, white space collapsed.
pub(super) fn squad_normalise(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    plain.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the")).collect::<Vec<_>>().join(" ")
}

/// F1 of the bags of normalised tokens.
pub(super) fn token_f1(prediction: &str, truth: &str) -> f64 {
    let prediction = squad_normalise(prediction);
    let truth = squad_normalise(truth);
    let predicted: Vec<&str> = prediction.split_whitespace().collect();
    let mut wanted: Vec<&str> = truth.split_whitespace().collect();
    let (n_predicted, n_wanted) = (predicted.len(), wanted.len());
    if n_predicted == 0 || n_wanted == 0 {
        return f64::from(u8::from(n_predicted == n_wanted));
    }
    let mut common = 0;
    for token in predicted {
        if let Some(at) = wanted.iter().position(|other| *other == token) {
            wanted.swap_remove(at);
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = f64::from(common) / n_predicted as f64;
    let recall = f64::from(common) / n_wanted as f64;
    2.0 * precision * recall / (precision + recall)
}
