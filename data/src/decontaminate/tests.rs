//! What counts as contaminated, and what is said about it.

use super::*;
use crate::testing::{documents, read, snapshot, threads, write};

const QUESTION: &str = "A farmer has seventeen sheep and all but nine run away during the storm; how many sheep are left on the farm \
                        in the morning when the neighbour comes to count them again?";

fn instance(question: &str, answer: &str) -> Instance {
    Instance { task: "sheep".into(), question: question.into(), answer: answer.into(), ..Instance::default() }
}

fn plain() -> Rule {
    Rule::Ngram { length: 13, least: 8 }
}

fn run(texts: &[&str], instances: &[Instance], rule: &Rule, action: Action) -> (Vec<Document>, ContaminationReport) {
    let (input, output) = (write(&documents(texts)), tempfile::tempdir().unwrap());
    let report = decontaminate(input.path(), output.path(), instances, rule, action, &()).unwrap();
    (read(output.path()), report)
}

fn ids(found: &[Document]) -> Vec<&str> {
    found.iter().map(|document| document.id.as_str()).collect()
}

#[test]
fn shared_ngrams_are_found_whatever_the_case_and_marks() {
    let shout = format!("before — {}!!! after", QUESTION.to_uppercase().replace(' ', "\n"));
    let twelve = QUESTION.split(' ').take(12).collect::<Vec<_>>().join(" ");
    let short = instance("what is the capital city of france again", "Paris");
    let texts = [shout.as_str(), "nothing of it", &twelve, "x what is the capital city of France again? Paris y"];
    let (found, report) =
        run(&texts, &[instance(QUESTION, "nine"), Instance { task: "cities".into(), ..short }], &plain(), Action::Remove);
    assert_eq!(ids(&found), ["d1", "d2"]);
    let (sheep, cities) = (&report.tasks["sheep"], &report.tasks["cities"]);
    assert_eq!((sheep.contaminated, sheep.documents.documents, sheep.longest), (1, 1, 33));
    assert_eq!((cities.contaminated, cities.longest), (1, 9));
    let row = &report.matches[0];
    let text: String = shout.chars().skip(row.start as usize).take((row.end - row.start) as usize).collect();
    assert!(text.starts_with("A\nFARMER") && text.ends_with("AGAIN") && row.line == 1, "{text}");
    assert!(report.markdown().contains("| sheep | 1 | 1 | 1 | 100.00 % | 1 |") && report.table().lines().count() == 3);
}

#[test]
fn annotations_name_the_task_and_the_place() {
    let text = format!("é {QUESTION} and more");
    let (found, _) = run(&[&text, "clean"], &[instance(QUESTION, "")], &plain(), Action::Annotate);
    let spans = &found[0].attributes["decontaminate__decontaminate__sheep"];
    assert_eq!((spans[0].start, spans[0].end, spans[0].score), (2, 1 + QUESTION.len() as u64, 1.0));
    assert!(found[1].attributes.is_empty() && found.len() == 2);
}

/// Other problems, so that n-grams of the first are rare.
fn others() -> Vec<Instance> {
    let words = ["river", "stone", "cloud", "lamp", "horse", "table", "window", "garden", "letter", "mirror", "bridge", "candle"];
    (0..20usize)
        .map(|i| instance(&(0..25usize).map(|j| words[(i * 7 + j * (i + 1)) % words.len()]).collect::<Vec<_>>().join(" "), ""))
        .collect()
}

#[test]
fn decon_wants_nearly_all_of_a_question_and_its_answer() {
    let rule = Rule::Decon(DeconParams::default());
    let mut instances = vec![instance(QUESTION, "nine sheep")];
    instances.extend(others());
    let words: Vec<&str> = QUESTION.split(' ').collect();
    let with_answer =
        format!("Riddle of the day, from an old book that nobody reads: {QUESTION} The answer is nine sheep, of course.");
    let without = format!("Riddle of the day, from an old book that nobody reads: {QUESTION} I do not know.");
    let half = words[..words.len() / 2].join(" ");
    let changed = [&words[..15], &["or", "so"], &words[15..]].concat().join(" ") + " nine sheep";
    let (found, report) = run(&[&with_answer, &without, &half, &changed, "clean"], &instances, &rule, Action::Remove);
    assert!(!ids(&found).contains(&"d0") && ids(&found).contains(&"d2") && ids(&found).contains(&"d4"));
    assert!(ids(&found).contains(&"d1"), "33 of 33 words, but the answer is missing: {:?}", report.matches);
    let best = report.matches.iter().find(|row| row.id == "d0").unwrap();
    assert!((best.score - 1.0).abs() < 1e-9 && best.words == 33, "{best:?}");
    assert_eq!(report.tasks["sheep"].contaminated, 1);
}

#[test]
fn decon_finds_long_texts_with_gaps_and_reads_passages() {
    let long: Vec<String> = (0..80).map(|i| format!("word{i}")).collect();
    let passage: Vec<String> = (0..40).map(|i| format!("fact{i}")).collect();
    let mut problem = instance(&long.join(" "), "");
    problem.passage = passage.join(" ");
    let mut instances = vec![problem];
    instances.extend(others());
    // One word of forty is another one: five n-grams of each gap are lost, and 0.8 is still reached.
    let gaps: Vec<&str> = long.iter().enumerate().map(|(i, word)| if i % 40 == 39 { "changed" } else { word.as_str() }).collect();
    let near = format!("{} {}", passage.join(" "), gaps.join(" "));
    let far = gaps.join(" ");
    let (found, report) = run(&[&near, &far], &instances, &Rule::Decon(DeconParams::default()), Action::Annotate);
    let score = |index: usize| found[index].attributes.get("decontaminate__decontaminate__sheep").map(|spans| spans[0].score);
    assert!(score(0).unwrap() > 0.85, "{report:?}");
    assert!(score(1).is_none_or(|score| score < score_of_near(&found)), "the passage adds to the score");
}

fn score_of_near(found: &[Document]) -> f64 {
    found[0].attributes["decontaminate__decontaminate__sheep"][0].score
}

#[test]
fn rows_of_many_shapes_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        r#"{"eval_key":"gsm8k","eval_instance_index":3,"split":"test","question":"q1","answer":"42","passage":"p"}"#,
        r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q2"}],"ground_truth":["a"],"dataset":"math"}"#,
        r#"{"id":"d","text":"q3","source":"notes","metadata":{"answer":7}}"#,
        r#"{"prompt":"q4"}"#,
    ];
    fs_err::write(dir.path().join("a.jsonl"), rows.join("\n")).unwrap();
    let found = read_instances(dir.path(), "mine").unwrap();
    let seen: Vec<_> =
        found.iter().map(|one| (one.task.as_str(), one.question.as_str(), one.answer.as_str(), one.passage.as_str())).collect();
    assert_eq!(seen, [("gsm8k", "q1", "42", "p"), ("math", "q2", "a", ""), ("notes", "q3", "7", ""), ("mine", "q4", "", "")]);
    fs_err::write(dir.path().join("b.jsonl"), "{\"id\":1}\n").unwrap();
    let error = read_instances(dir.path(), "mine").unwrap_err().to_string();
    assert!(error.contains("b.jsonl:1: a problem needs one of the fields"), "{error}");
}

#[test]
fn problems_too_short_are_told_and_threads_do_not_matter() {
    let input = write(&documents(&[QUESTION, "a", QUESTION, "b"]));
    let run = |instances: &[Instance], count| {
        let output = tempfile::tempdir().unwrap();
        threads(count, || decontaminate(input.path(), output.path(), instances, &plain(), Action::Remove, &()))
            .map(|report| (report, snapshot(output.path())))
    };
    let error = run(&[instance("too short", "")], 1).unwrap_err().to_string();
    assert!(error.contains("all 1 problems are too short"), "{error}");
    assert!(run(&[], 1).is_err());
    let both = [instance(QUESTION, ""), instance("too short", "")];
    let (one, four) = (run(&both, 1).unwrap(), run(&both, 4).unwrap());
    assert_eq!(one, four);
    assert_eq!((one.0.tasks["sheep"].instances, one.0.tasks["sheep"].checked), (2, 1));
}
