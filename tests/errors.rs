//! Wrong input: what the user is told.

use crate::bench::Bench;

#[test]
fn all_mistakes_of_a_recipe_at_once() {
    let bench = Bench::new();
    bench.write("texts/a.txt", "some text");
    bench.write("r.rhai", "let raw = text(\"texts/*.txt\");\nlet a = raw.dedup(#{ bye: \"document\" });\nlet b = raw.split(#{ valid: 3.0 });\nlet c = b.train.tokenise(a);\n");
    let said = bench.say(&["run", "r.rhai"]);
    assert_eq!(said.code, 2);
    for expected in ["r.rhai:2:", "bye", "r.rhai:3:", "3 is outside 0 to 0.9", "r.rhai:4:", "tokenise", "tokenize"] {
        assert!(said.err.contains(expected), "{expected} is not in\n{}", said.err);
    }
}

#[test]
fn training_without_an_end_is_told_when_the_recipe_is_read() {
    let bench = Bench::new();
    bench.write("texts/a.txt", "some text");
    let recipe = |more: &str| {
        format!(
            "import \"olmo2\" as olmo2;\nlet raw = text(\"texts/*.txt\");\n\
             let tokens = raw.tokenize(raw.train_tokenizer(#{{ vocab_size: 300 }}));\n\
             let base = pretrain(olmo2::model(\"pico\"), tokens, #{{ lr: 0.001{more} }});\n"
        )
    };
    bench.write("r.rhai", &recipe(""));
    let said = bench.say(&["plan", "r.rhai"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("r.rhai:4:") && said.err.contains("parameter `tokens` of `pretrain`: must be given"),
        "{}",
        said.err
    );
    bench.write("r.rhai", &recipe(", tokens: 4096"));
    bench.ok(&["plan", "r.rhai"]);
}

#[test]
fn unknown_settings_recipes_and_runs() {
    let bench = Bench::new();
    bench.write("texts/a.txt", "some text");
    bench.write("r.rhai", "let words = param(\"words\", 3, \"words\");\noutput(\"raw\", text(\"texts/*.txt\"));\n");
    let said = bench.say(&["plan", "r.rhai", "--set", "wrods=4"]);
    assert!(said.code == 2 && said.err.contains("words"), "{}", said.err);
    let said = bench.say(&["plan", "r.rhai", "--set", "words=many"]);
    assert!(said.code == 2 && said.err.contains("words"), "{}", said.err);
    bench.write("settings.yaml", "words: 5\n");
    bench.write("wrong.yaml", "words: [1, 2]\n");
    bench.ok(&["plan", "r.rhai", "--settings", "settings.yaml"]);
    let said = bench.say(&["plan", "r.rhai", "--settings", "wrong.yaml"]);
    assert!(said.code == 2 && said.err.contains("wrong.yaml: `words` is [1,2]"), "{}", said.err);
    let said = bench.say(&["run", "none.rhai"]);
    assert!(said.code == 2 && said.err.contains("none.rhai"), "{}", said.err);
    let said = bench.say(&["show", "--run", "r-9"]);
    assert!(said.code == 2 && said.err.contains("there is no run `r-9`"), "{}", said.err);
}

#[test]
fn a_missing_archive_says_cargo_fetch() {
    let bench = Bench::new();
    bench.write("r.rhai", "output(\"raw\", cargo_crates([\"rhai\"]));\n");
    let said = {
        let mut command = bench.command(&["run", "--json", "r.rhai"]);
        let output = command.env("CARGO_HOME", bench.path("nowhere")).output().unwrap();
        crate::bench::ran(&String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    };
    assert_eq!(said.code, 1);
    let error = said.failed.values().next().unwrap();
    assert!(error.contains("rhai-") && error.contains("cargo fetch"), "{error}");
    let said = bench.say(&["plan", "r.rhai"]);
    assert_eq!(said.code, 0, "{}", said.err);
    bench.write("r.rhai", "output(\"raw\", cargo_crates([\"rhaii\"]));\n");
    let said = bench.say(&["plan", "r.rhai"]);
    assert!(said.err.contains("`rhai`"), "{}", said.err);
}

#[test]
fn a_failing_step_blocks_what_depends_on_it_and_keeps_the_rest() {
    let bench = Bench::new();
    bench.write("texts/a.txt", "some text that is long enough to keep");
    bench.write(
        "r.rhai",
        "let raw = text(\"texts/*.txt\");\nlet none = raw.filter(|doc| false);\nlet after = none.dedup();\nlet other = raw.dedup();\n",
    );
    let ran = bench.run(&["r.rhai", "--keep-going"]);
    assert_eq!(ran.code, 1);
    assert!(ran.failed["none"].contains("no document"), "{:?}", ran.failed);
    assert!(ran.executed.contains(&"other".to_owned()));
    let logs = bench.ok(&["logs", "--failed"]);
    assert!(logs.contains("no document"), "{logs}");
    let state = bench.ok(&["show"]);
    assert!(state.contains("blocked by none"), "{state}");
}
