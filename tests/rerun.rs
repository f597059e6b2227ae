//! What a second run executes: nothing, what an edit touches, or what stops at an early cut-off.

use crate::bench::Bench;

const RECIPE: &str = r#"
// A comment.
let least = param("least", 3, "least number of words");
let raw = text("texts/*.txt");
let clean = raw.tag(["gopher"]).dedup(#{ by: "document" }).filter(|doc| doc.gopher.word_count >= least);
let parts = clean.split(#{ valid: 0.3, seed: 3 });
let tok = parts.train.train_tokenizer(#{ vocab_size: 300 });
let tokens = parts.train.tokenize(tok);
output("tokens", tokens);
"#;

/// A folder with a data recipe and its texts.
pub(crate) fn bench() -> Bench {
    let bench = Bench::new();
    for index in 0..20 {
        let text =
            format!("Document number {index} says that the quick brown fox jumps over {index} lazy dogs. ").repeat(index % 3 + 1);
        bench.write(&format!("texts/{index:02}.txt"), &text);
    }
    bench.write("texts/short.txt", "too short");
    bench.write("r.rhai", RECIPE);
    bench
}

#[test]
fn a_second_run_executes_nothing() {
    let bench = bench();
    let first = bench.run_ok(&["r.rhai"]);
    assert_eq!(first.executed.len(), 7, "{:?}", first.executed);
    let second = bench.run_ok(&["r.rhai"]);
    assert!(second.executed.is_empty(), "{:?}", second.executed);
    assert_eq!(second.digests, first.digests);
}

#[test]
fn comments_layout_and_names_do_not_matter() {
    let bench = bench();
    bench.run_ok(&["r.rhai"]);
    let edited = RECIPE
        .replace("// A comment.", "// Another.\n\n")
        .replace("clean", "cleaned")
        .replace("doc.", "d.")
        .replace("|doc|", "| d |");
    bench.write("r.rhai", &edited);
    assert!(bench.run_ok(&["r.rhai"]).executed.is_empty());
}

#[test]
fn an_edit_executes_what_depends_on_it() {
    let bench = bench();
    bench.run_ok(&["r.rhai"]);
    bench.write("r.rhai", &RECIPE.replace("300", "290"));
    assert_eq!(bench.run_ok(&["r.rhai"]).executed, ["tok", "tokens"]);
    let why = bench.ok(&["why", "r.rhai", "tok"]);
    assert!(why.contains("param vocab_size: 300 -> 290"), "{why}");
}

#[test]
fn why_and_plan_tell_before_running() {
    let bench = bench();
    let plan = bench.ok(&["plan", "r.rhai"]);
    assert!(plan.contains("not run before"), "{plan}");
    bench.run_ok(&["r.rhai"]);
    assert!(bench.ok(&["plan", "r.rhai"]).contains("0 would run, 0 depend on what these make, 7 are cached"));
    let why = bench.ok(&["why", "r.rhai", "tok", "--set", "least=4"]);
    assert!(why.contains("depends on"), "{why}");
    assert!(why.contains("param keep:"), "{why}");
    let unknown = bench.say(&["why", "r.rhai", "tokk"]);
    assert!(unknown.code == 2 && unknown.err.contains("did you mean `tok`?"), "{}", unknown.err);
}

#[test]
fn the_same_survivors_cut_the_rebuild_short() {
    let bench = bench();
    let first = bench.run_ok(&["r.rhai"]);
    let second = bench.run_ok(&["r.rhai", "--set", "least=4"]);
    assert_eq!(second.executed.len(), 1, "{:?}", second.executed);
    assert_eq!(second.digests, first.digests);
    let third = bench.run_ok(&["r.rhai", "--set", "least=20"]);
    assert!(third.executed.len() > 1);
}

#[test]
fn a_changed_source_file_is_noticed() {
    let bench = bench();
    bench.run_ok(&["r.rhai"]);
    bench.write("texts/03.txt", "This document has been written anew, with quite other words in it.");
    let ran = bench.run_ok(&["r.rhai"]);
    assert_eq!(ran.executed[0], "raw");
    assert!(bench.ok(&["why", "r.rhai", "raw"]).contains("input files texts/03.txt"));
}

#[test]
fn a_damaged_artifact_is_made_anew() {
    let bench = bench();
    let first = bench.run_ok(&["r.rhai"]);
    let shown = bench.ok(&["show", "tok"]);
    let path = shown.lines().find_map(|line| line.strip_prefix("path ")).unwrap();
    let file = std::path::Path::new(path).join("tokenizer.json");
    std::fs::remove_file(&file)
        .or_else(|_| {
            // The store's folders are read-only.
            std::process::Command::new("chmod").args(["-R", "u+w", path]).status().map(drop)?;
            std::fs::remove_file(&file)
        })
        .unwrap();
    let second = bench.run_ok(&["r.rhai"]);
    assert_eq!(second.executed, ["tok"]);
    assert_eq!(second.digests, first.digests);
    assert!(bench.ok(&["cache", "verify"]).contains("0 damaged"));
}
