//! Tests of the problem generators: purity, splits, answers, files.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn mix(families: &[Family], level: Level) -> ProblemMix {
    ProblemMix { families: families.to_vec(), level }
}

#[test]
fn words_are_distinct_lower_case() {
    let set: BTreeSet<&str> = words::WORDS.into_iter().collect();
    assert_eq!(set.len(), words::WORDS.len());
    assert!(set.iter().all(|w| w.len() >= 3 && w.bytes().all(|b| b.is_ascii_lowercase())));
}

#[test]
fn family_names_round_trip_and_groups_partition() {
    for family in Family::ALL {
        assert_eq!(Family::from_name(family.as_str()), Some(family));
        let json = serde_json::to_string(&family).unwrap();
        assert_eq!(json, format!("\"{}\"", family.as_str()));
    }
    let n = Family::ARITHMETIC.len() + Family::STRINGS.len() + Family::FORMAT.len();
    assert_eq!(n, Family::ALL.len());
    assert_eq!(Family::STRINGS[0], Family::Reverse);
    assert_eq!(Family::FORMAT[0], Family::Enclose);
}

#[test]
fn one_problem_is_pinned() {
    let problem = Problem::generate(&mix(&[Family::Addition], Level::Medium), Split::Train, 42, 0);
    let again = Problem::generate(&mix(&[Family::Addition], Level::Medium), Split::Train, 42, 0);
    assert_eq!(problem, again);
    let numbers: Vec<u64> =
        problem.prompt().split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 2);
    assert_eq!(problem.answer, (numbers[0] + numbers[1]).to_string());
    assert!(problem.worked.unwrap().ends_with(&format!("= {}", problem.answer)));
}

#[test]
fn about_one_prompt_in_ten_is_held_out() {
    let n = (0..20_000).filter(|i| Split::of(&format!("prompt {i}")) == Split::HeldOut).count();
    assert!((1_800..2_200).contains(&n), "{n} of 20000 held out");
}

#[test]
fn seeds_give_different_problems() {
    let mix = mix(&Family::ALL, Level::Medium);
    let a = Problem::generate_many(&mix, Split::Train, 1, 50);
    let b = Problem::generate_many(&mix, Split::Train, 2, 50);
    let same = a.iter().zip(&b).filter(|(x, y)| x.prompt() == y.prompt()).count();
    assert!(same < 5);
}

#[test]
fn distinct_problems_have_distinct_prompts() {
    let problems = Problem::generate_distinct(&mix(&Family::ALL, Level::Easy), Split::HeldOut, 0, 300);
    let prompts: BTreeSet<&str> = problems.iter().map(Problem::prompt).collect();
    assert_eq!(problems.len(), 300);
    assert_eq!(prompts.len(), 300);
}

#[test]
fn rows_round_trip_and_foreign_rows_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("problems.jsonl");
    let problems = Problem::generate_many(&mix(&Family::ALL, Level::Hard), Split::Train, 7, 100);
    write_jsonl(&path, &problems).unwrap();
    assert_eq!(read_jsonl::<Problem>(&path).unwrap(), problems);

    let foreign = r#"{"messages":[{"role":"user","content":"2+2?"}],"ground_truth":"4","dataset":"gsm8k","extra":1}"#;
    fs_err::write(&path, format!("{foreign}\n\n")).unwrap();
    let read: Vec<Problem> = read_jsonl(&path).unwrap();
    assert_eq!((read[0].prompt(), read[0].dataset.as_str()), ("2+2?", "gsm8k"));

    fs_err::write(&path, format!("{foreign}\n{{\"messages\": 3}}\n")).unwrap();
    let message = read_jsonl::<Problem>(&path).unwrap_err().to_string();
    assert!(message.contains("problems.jsonl:2"), "{message}");
}

#[test]
fn a_demonstration_ends_in_the_answer() {
    let mix = mix(&[Family::Multiplication], Level::Easy);
    let problem = Problem::generate(&mix, Split::Train, 3, 5);
    let plain = problem.demonstration(Demonstration::Answer);
    assert_eq!(plain.messages.len(), 2);
    assert_eq!(plain.messages[1], Message::new(Role::Assistant, problem.answer.clone()));
    let worked = problem.demonstration(Demonstration::Worked);
    assert!(worked.messages[1].content.ends_with(&format!("= {}", problem.answer)));
}

proptest! {
    #[test]
    fn train_and_held_out_never_overlap(seed: u64, index in 0..1_000_000_u64, family in 0..Family::ALL.len(), level in 0..3) {
        let level = [Level::Easy, Level::Medium, Level::Hard][level as usize];
        let mix = mix(&[Family::ALL[family]], level);
        let train = Problem::generate(&mix, Split::Train, seed, index);
        let held = Problem::generate(&mix, Split::HeldOut, seed, index);
        prop_assert_eq!(Split::of(train.prompt()), Split::Train);
        prop_assert_eq!(Split::of(held.prompt()), Split::HeldOut);
        prop_assert!(!train.answer.is_empty() && !train.ground_truth.is_empty());
        prop_assert_eq!(&train.family, Family::ALL[family].as_str());
    }

    #[test]
    fn draws_are_in_range_and_distinct(words: Vec<u64>, n in 1..50_usize) {
        let mut draw = Draw::new(&words);
        for _ in 0..20 {
            prop_assert!(draw.below(n as u64) < n as u64);
            let unit = draw.unit();
            prop_assert!((0.0..1.0).contains(&unit));
        }
        let drawn = draw.distinct(n / 2, n);
        let set: BTreeSet<usize> = drawn.iter().copied().collect();
        prop_assert_eq!(set.len(), n / 2);
        prop_assert!(drawn.iter().all(|&i| i < n));
    }
}
