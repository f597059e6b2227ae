//! Multiple-choice tasks made from what is at hand: held-out documents and problem families.
//!
//! All choices are counter-based draws from a seed; nothing here scores a model.

use data::problem::{Draw, Family, Problem, ProblemMix, Split};

use super::choices::{ChoiceInstance, ChoiceMetric, ChoiceTask};
use crate::reward::{ByVerifier, Reward};

/// Number of continuations per question.
const N_CHOICES: usize = 4;
/// Candidates looked at for each distractor; the one closest in length to the right line is taken.
const N_CANDIDATES: usize = 8;
/// Context lines before the asked line.
const N_CONTEXT_LINES: usize = 8;

/// A document kept out of training.
#[derive(Clone, Copy, Debug)]
pub struct HeldOutDocument<'a> {
    /// Unique among the documents given.
    pub id: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// `next_line`: which line follows? The right one is the document's own; the three others are lines of other
/// documents, each the closest in length among eight drawn ones, so that length gives little away. The context is up
/// to eight lines before it, including the asked line's indentation.
///
/// At most one question per document, `n` in all; fewer if there are not enough documents with usable lines (16 to 120
/// bytes, at least three words, at least two lines before it).
pub fn next_line(documents: &[HeldOutDocument<'_>], n: usize, seed: u64) -> ChoiceTask {
    let lines: Vec<Vec<&str>> = documents.iter().map(|document| document.text.lines().collect()).collect();
    let usable: Vec<Vec<usize>> = lines.iter().map(|lines| (2..lines.len()).filter(|&i| is_usable(lines[i])).collect()).collect();
    let sources: Vec<usize> = (0..documents.len()).filter(|&d| !usable[d].is_empty()).collect();
    let mut instances = Vec::new();
    if sources.len() >= N_CHOICES {
        let mut draw = Draw::new(&[seed, 0]);
        for at in draw.distinct(n.min(sources.len()), sources.len()) {
            let document = sources[at];
            let mut draw = Draw::new(&[seed, 1, at as u64]);
            let line = *draw.choose(&usable[document]);
            let gold_line = lines[document][line];
            let gold_text = gold_line.trim();
            let mut others = Vec::new();
            for _ in 1..N_CHOICES {
                let closest = (0..N_CANDIDATES)
                    .map(|_| {
                        let other = *draw.choose(&sources);
                        (other, lines[other][*draw.choose(&usable[other])].trim())
                    })
                    .filter(|(other, text)| *other != document && *text != gold_text && !others.contains(text))
                    .map(|(_, text)| text)
                    .min_by_key(|text| text.len().abs_diff(gold_text.len()));
                others.extend(closest);
            }
            if others.len() + 1 < N_CHOICES {
                continue;
            }
            let gold = draw.below(N_CHOICES as u64) as usize;
            others.insert(gold, gold_text);
            let mut context = lines[document][line.saturating_sub(N_CONTEXT_LINES)..line].join("\n");
            context.push('\n');
            context += &gold_line[..gold_line.len() - gold_line.trim_start().len()];
            instances.push(ChoiceInstance {
                id: format!("{}:{line}", documents[document].id),
                context,
                choices: others.into_iter().map(str::to_string).collect(),
                gold,
            });
        }
    }
    ChoiceTask { name: "next_line".to_string(), primary: ChoiceMetric::AccPerByte, instances }
}

fn is_usable(line: &str) -> bool {
    let text = line.trim();
    let n_words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count();
    (16..=120).contains(&text.len()) && n_words >= 3
}

/// A problem family as questions: `Question: ...\nAnswer:` and four answers, the wrong ones being answers of other
/// problems of the family that the verifier refuses. Held-out problems only; up to `n` different ones. A family with
/// two possible answers (even or odd) has two choices.
pub fn problem_choices(family: Family, mix: &ProblemMix, n: usize, seed: u64) -> ChoiceTask {
    let mix = ProblemMix { families: vec![family], level: mix.level };
    let mut instances = Vec::new();
    for (at, problem) in Problem::generate_distinct(&mix, Split::HeldOut, seed, n).into_iter().enumerate() {
        let mut wrong: Vec<String> = Vec::new();
        for attempt in 0..64 {
            if wrong.len() + 1 == N_CHOICES {
                break;
            }
            let other = Problem::generate(&mix, Split::Train, seed, at as u64 * 64 + attempt);
            let refused = ByVerifier.score(&problem, &other.answer).is_ok_and(|score| score < 1.0);
            if refused && !wrong.contains(&other.answer) {
                wrong.push(other.answer);
            }
        }
        if wrong.is_empty() {
            continue;
        }
        let gold = Draw::new(&[seed, 2, at as u64]).below(wrong.len() as u64 + 1) as usize;
        wrong.insert(gold, problem.answer.clone());
        instances.push(ChoiceInstance {
            id: problem.id.clone(),
            context: format!("Question: {}\nAnswer:", problem.prompt()),
            choices: wrong.into_iter().map(|answer| format!(" {answer}")).collect(),
            gold,
        });
    }
    ChoiceTask { name: format!("{}_choices", family.as_str()), primary: ChoiceMetric::AccPerChar, instances }
}

#[cfg(test)]
mod tests {
    use data::problem::Level;

    use super::*;

    fn texts() -> Vec<(String, String)> {
        (0..12)
            .map(|d| {
                let lines: Vec<String> =
                    (0..20).map(|l| format!("    line {l} of document number {d} says {}", "x".repeat(l))).collect();
                (format!("doc{d}"), lines.join("\n"))
            })
            .collect()
    }

    #[test]
    fn next_line_takes_the_right_line_from_its_own_document() {
        let texts = texts();
        let documents: Vec<HeldOutDocument<'_>> = texts.iter().map(|(id, text)| HeldOutDocument { id, text }).collect();
        let task = next_line(&documents, 10, 3);
        assert_eq!(task.instances.len(), 10);
        assert_eq!(task, next_line(&documents, 10, 3));
        assert_ne!(task, next_line(&documents, 10, 4));
        for instance in &task.instances {
            let (id, line) = instance.id.split_once(':').unwrap();
            let line: usize = line.parse().unwrap();
            let number = id.trim_start_matches("doc");
            let own = format!("document number {number} ");
            let wanted = format!("line {line} of {own}");
            assert!(instance.choices[instance.gold].starts_with(&wanted), "{instance:?}");
            assert!(instance.context.ends_with("\n    "));
            assert_eq!(instance.choices.iter().filter(|c| c.contains(&own)).count(), 1);
            assert_eq!(instance.choices.len(), 4);
        }
        let golds: std::collections::BTreeSet<usize> = task.instances.iter().map(|i| i.gold).collect();
        assert!(golds.len() > 1);
    }

    #[test]
    fn few_documents_give_no_questions() {
        let documents = [HeldOutDocument { id: "a", text: "one\ntwo\nthis line has many words in it" }];
        assert!(next_line(&documents, 5, 0).instances.is_empty());
    }

    #[test]
    fn wrong_choices_are_refused_by_the_verifier() {
        let mix = ProblemMix { families: Family::ALL.to_vec(), level: Level::Easy };
        for family in Family::ALL {
            let task = problem_choices(family, &mix, 12, 5);
            assert!(task.instances.len() >= 5, "{family:?}: {}", task.instances.len());
            let problems =
                Problem::generate_distinct(&ProblemMix { families: vec![family], level: Level::Easy }, Split::HeldOut, 5, 12);
            for instance in &task.instances {
                let problem = problems.iter().find(|p| p.id == instance.id).unwrap();
                for (i, choice) in instance.choices.iter().enumerate() {
                    let score = ByVerifier.score(problem, choice).unwrap();
                    assert_eq!(score == 1.0, i == instance.gold, "{instance:?}");
                }
            }
        }
    }
}
