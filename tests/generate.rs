//! `workbench generate`: the tokens of transformers for every family, options, and errors that say where.

use std::path::PathBuf;

use lm::checkpoint::tensors::TensorFile;

use crate::bench::{Bench, repository};

fn fixture(family: &str) -> PathBuf {
    repository().join("lm/fixtures").join(family)
}

fn integers(path: &std::path::Path, name: &str) -> (Vec<usize>, Vec<i64>) {
    let file = TensorFile::open(path).unwrap();
    let entry = file.entry(name).unwrap();
    (entry.shape.clone(), file.integers(entry).unwrap())
}

/// Generates from a fixture's ids: the tokens and their log-probabilities.
fn generate(bench: &Bench, family: &str, options: &[&str]) -> (Vec<usize>, Vec<i64>, Vec<f32>) {
    let (folder, ids) = (fixture(family), fixture(family).join("expected.safetensors"));
    let out = bench.path("out.safetensors");
    let mut arguments = vec!["generate", folder.to_str().unwrap(), "--ids", ids.to_str().unwrap(), "--out", "out.safetensors"];
    arguments.extend(options);
    bench.ok(&arguments);
    let (shape, tokens) = integers(&out, "tokens");
    let file = TensorFile::open(&out).unwrap();
    let logprobs = file.floats(file.entry("logprobs").unwrap()).unwrap();
    assert_eq!(logprobs.shape, shape);
    (shape, tokens, logprobs.data)
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    let bench = Bench::new();
    for family in ["olmo", "olmo2", "olmo3", "olmo3_yarn", "olmo_hybrid", "olmo_hybrid_rope", "olmoe", "flex_olmo"] {
        let (shape, tokens, logprobs) = generate(&bench, family, &["--tensor", "greedy_prompt", "--max-new-tokens", "48"]);
        assert_eq!(shape, [1, 48], "{family}");
        assert_eq!(tokens, integers(&fixture(family).join("expected.safetensors"), "greedy_tokens").1, "{family}");
        assert!(logprobs.iter().all(|logprob| *logprob < 0.0), "{family}");
    }
}

#[test]
fn draws_depend_on_the_seed_alone() {
    let bench = Bench::new();
    let options = ["--max-new-tokens", "9", "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9", "--min-p", "0.01"];
    let with_seed = |seed: &str| generate(&bench, "olmo3", &[options.as_slice(), &["--seed", seed]].concat());
    let first = with_seed("1");
    assert_eq!(first.0, [2, 9]);
    assert_eq!(first, with_seed("1"));
    assert_ne!(first.1, with_seed("2").1);
}

#[test]
fn what_is_wrong_is_named() {
    let bench = Bench::new();
    let (folder, ids) = (fixture("olmo2"), fixture("olmo2").join("expected.safetensors"));
    let (folder, ids) = (folder.to_str().unwrap(), ids.to_str().unwrap());
    let fails = |arguments: &[&str], wanted: &[&str]| {
        let said = bench.say(&[&["generate", folder], arguments].concat());
        assert_ne!(said.code, 0);
        for wanted in wanted {
            assert!(said.err.contains(wanted), "{wanted} in: {}", said.err);
        }
    };
    let out = ["--out", "out.safetensors"];
    fails(
        &[["--ids", ids].as_slice(), &out, &["--tensor", "nothing"]].concat(),
        &["expected.safetensors", "nothing", "input_ids"],
    );
    fails(&[["--ids", ids].as_slice(), &out, &["--tensor", "greedy_tokens"]].concat(), &["greedy_tokens", "[48]", "[B, T]"]);
    fails(&[["--ids", ids].as_slice(), &out, &["--top-p", "0"]].concat(), &["top_p", "(0, 1]"]);
    fails(&[["--ids", "nowhere.safetensors"].as_slice(), &out].concat(), &["nowhere.safetensors"]);
    fails(&["--ids", ids], &["--out"]);
    for more in [["--out", "out.safetensors"], ["--tensor", "input_ids"], ["--ids", ids]] {
        fails(&[["--prompt", "hello"], more].concat(), &["cannot be used with", more[0]]);
    }
    fails(&["--prompt", "hello"], &["tokenizer.json"]);
    fails(&[], &["--prompt"]);
    assert!(!bench.path("out.safetensors").exists());
}
