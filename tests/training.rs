//! A whole model in seconds: every kind of step once, threads and interruptions leave no trace, growth preserves the loss.

use crate::bench::{Bench, Ran};

/// Every stage of the flow on a few texts; the model has some ten thousand parameters.
pub(crate) const TINY: &str = r#"
import "olmo2" as olmo2;
let sft_lr = param("sft_lr", 0.002, "finetuning rate");
let raw = text("texts/*.txt", #{ source: "notes" });
let parts = raw.tag(["gopher"]).dedup().split(#{ valid: 0.3, seed: 1 });
let tok = parts.train.train_tokenizer(#{ vocab_size: 320 });
let tokens = parts.train.tokenize(tok);
let shape = olmo2::model("pico");
shape.n_layers = 1;
let stage = #{ sequence: 32, batch: 128, micro_batch: 2, clip: 1.0 };
let seedling = pretrain(shape.half_width(), tokens, stage + #{ tokens: 2560, lr: 0.003, warmup: 256, horizon: 5120 });
let grown = seedling.grow(#{ width: 2 });
let base = grown.pretrain(tokens, stage + #{ tokens: 2560, lr: 0.003, warmup: 256, horizon: 5120, behind: 2560, rewarm: 256 });
let anneals = [1, 2].map(|seed| base.anneal(tokens, #{ sequence: 32, batch: 128, micro_batch: 2, tokens: 1280, seed: seed }));
let soup = average(anneals);
let sft = soup.sft(problems(24, #{ seed: 1 }).demonstrations(), #{ epochs: 1, batch: 8, lr: sft_lr });
let held_out = problems(12, #{ split: "held_out" });
let chat = sft.rlvr(problems(40, #{ seed: 2 }), held_out, #{ steps: 3, prompts: 4, group: 4, max_new_tokens: 4, watch: 2 });
let before = seedling.evaluate(parts.valid, "before", #{ window: 32, choices: [] });
let after = grown.evaluate(parts.valid, "after", #{ window: 32, choices: [] });
let end = chat.evaluate(parts.valid, held_out, "end", #{ window: 32, next_line: 10, n_choices: 5, max_new_tokens: 4 });
output("report", report([before, after, end], [seedling, base, sft, chat], #{ stages: ["seedling", "base", "sft", "chat"] }));
"#;

/// A folder with the recipe and its texts.
pub(crate) fn bench() -> Bench {
    let bench = Bench::new();
    for index in 0..12 {
        let lines = (0..14).map(|line| {
            format!("Line {line} of text {index} says that {} and {} make {}.\n", line + index, index, line + 2 * index)
        });
        bench.write(&format!("texts/{index:02}.txt"), &lines.collect::<String>());
    }
    bench.write("r.rhai", TINY);
    bench
}

fn digests(ran: &Ran) -> Vec<String> {
    ran.digests.iter().map(|(name, digest)| format!("{name} {digest}")).collect()
}

#[test]
fn two_fresh_stores_agree_with_one_and_two_threads() {
    let (one, two) = (bench(), bench());
    let first = one.run_ok(&["r.rhai", "--threads", "1"]);
    let second = two.run_ok(&["r.rhai", "--threads", "2"]);
    assert_eq!(digests(&first), digests(&second));
    growth_preserves_the_loss(&first);
    what_follows_sft_and_nothing_else(&one, &first);
    exported_models_and_answers(&one);
}

fn growth_preserves_the_loss(ran: &Ran) {
    let loss = |step: &str| ran.figures[step]["eval/held_out/bits_per_byte"];
    let (before, after) = (loss("before"), loss("after"));
    assert!((before - after).abs() <= 1e-4, "{before} before growth, {after} after");
    assert!(before > 1.0, "{before}");
}

fn what_follows_sft_and_nothing_else(bench: &Bench, first: &Ran) {
    let why = bench.ok(&["why", "r.rhai", "sft", "--set", "sft_lr=0.001"]);
    assert!(why.contains("param lr: 0.002 -> 0.001"), "{why}");
    let ran = bench.run_ok(&["r.rhai", "--set", "sft_lr=0.001"]);
    assert_eq!(ran.executed, ["sft", "chat", "end", "report"]);
    assert_ne!(ran.digests["sft"], first.digests["sft"]);
}

fn exported_models_and_answers(bench: &Bench) {
    bench.ok(&["export", "chat", "model", "--run", "r-1"]);
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(bench.path("model").join(file).exists(), "{file} is missing");
    }
    assert!(!bench.path("model").join("training.json").exists());
    bench.ok(&["chat", "model", "--prompt", "What is 1 + 1?", "--max-new-tokens", "4"]);
    let text = bench.ok(&["generate", "model", "--prompt", "What is 1 + 1?", "--max-new-tokens", "4"]);
    assert_eq!(text, bench.ok(&["generate", "chat", "--run", "r-1", "--prompt", "What is 1 + 1?", "--max-new-tokens", "4"]));
    let said = bench.say(&["generate", "tokens", "--run", "r-1", "--prompt", "What"]);
    assert!(said.code == 2 && said.err.contains("`tokens` of run r-1 is no checkpoint"), "{}", said.err);
    let report = bench.ok(&["report", "r-1"]);
    assert!(report.contains("wall time") && report.contains("| held_out |") && report.contains("± "), "{report}");
    let page = std::fs::read_to_string(bench.path(bench.ok(&["report", "r-1", "--html"]).trim())).unwrap();
    assert!(page.contains("<svg"), "{page}");
}

#[test]
fn experts_trained_apart_are_merged_and_one_opts_out() {
    let bench = bench();
    let recipe = r#"
import "olmo2" as olmo2;
import "flex_olmo" as flex;
let raw = text("texts/*.txt", #{ source: "notes" });
let tokens = raw.tokenize(raw.train_tokenizer(#{ vocab_size: 320 }));
let shape = olmo2::model("pico");
shape.n_layers = 1;
let how = #{ sequence: 32, batch: 128, micro_batch: 2, tokens: 1280, lr: 0.003 };
let dense = pretrain(shape, tokens, how);
let one = dense.add_expert(tokens, #{ seed: 1 }).pretrain(tokens, flex::own_expert() + how);
let two = dense.add_expert(#{ seed: 2 }).pretrain(tokens, flex::own_expert() + how + #{ seed: 7 });
let both = merge_experts([one, two], #{ experts_per_token: 3 });
let without = both.remove_expert(2);
let alone = merge_experts([one]);
output("both", both);
output("without", without);
output("alone", alone);
"#;
    bench.write("r.rhai", recipe);
    let ran = bench.run_ok(&["r.rhai"]);
    assert_eq!(ran.digests["without"], ran.digests["alone"], "an expert leaves no trace");
    assert_ne!(ran.digests["one"], ran.digests["two"]);
    let parameters = |step: &str| ran.figures[step]["model/parameters"];
    assert!(parameters("both") > parameters("one") && parameters("one") > parameters("dense"));
}
