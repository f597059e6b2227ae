//! `--device`: names, what is missing, and several devices that train together (two replicas on one CPU).

use crate::training;

/// Two stages and a look at the result.
const RECIPE: &str = r#"
import "olmo2" as olmo2;
let raw = text("texts/*.txt", #{ source: "notes" });
let parts = raw.split(#{ valid: 0.3, seed: 1 });
let tok = parts.train.train_tokenizer(#{ vocab_size: 320 });
let tokens = parts.train.tokenize(tok);
let shape = olmo2::model("pico");
shape.n_layers = 1;
let how = #{ sequence: 32, batch: 256, micro_batch: 2, tokens: 5120 };
let base = pretrain(shape, tokens, how + #{ lr: 0.003, skip_step: true, validation: parts.valid.tokenize(tok), eval_every: 5 });
let end = base.anneal(tokens, how);
let scores = end.evaluate(parts.valid, "end", #{ window: 32, choices: [], next_line: 0 });
output("scores", scores);
"#;

#[test]
fn what_is_no_device_is_told_before_anything_runs() {
    let bench = training::bench();
    let fails = |device: &str, wanted: &[&str]| {
        let said = bench.say(&["run", "r.rhai", "--device", device]);
        assert_eq!(said.code, 2, "{device}: {}", said.err);
        for wanted in wanted {
            assert!(said.err.contains(wanted), "{device}: {wanted} is not in\n{}", said.err);
        }
    };
    fails("gpu", &["`gpu` is no device", "`cuda:0,1`", "did you mean `cuda`?"]);
    fails("cuda:0,x", &["`cuda:0,x` is no device"]);
    fails("cuda:1,1", &["number 1 is named twice"]);
    #[cfg(not(feature = "cuda"))]
    fails("cuda:0,1", &["`cuda:0`", "--features cuda"]);
    #[cfg(not(feature = "wgpu"))]
    fails("wgpu", &["--features wgpu"]);
    assert!(!bench.path(".workbench/runs").exists(), "nothing ran");
    let devices = bench.ok(&["doctor"]);
    assert!(devices.lines().any(|line| line.contains("devices") && line.contains("cpu")), "{devices}");
}

#[test]
fn two_replicas_have_the_losses_of_one_device() {
    let (one, two) = (training::bench(), training::bench());
    one.write("r.rhai", RECIPE);
    two.write("r.rhai", RECIPE);
    let first = one.run_ok(&["r.rhai"]);
    let second = two.run_ok(&["r.rhai", "--device", "cpu:0,1"]);
    for (step, name) in
        [("base", "train/final CE loss"), ("end", "train/final CE loss"), ("scores", "eval/held_out/bits_per_byte")]
    {
        let (first, second) = (first.figures[step][name], second.figures[step][name]);
        assert!((first - second).abs() < 1e-4, "{step}: {first} {second}");
    }
    assert_eq!(first.figures["base"]["cost/flops"], second.figures["base"]["cost/flops"]);
    assert_ne!(first.digests["base"], second.digests["base"], "another order of the additions");
    // The device is in no key.
    let again = one.run_ok(&["r.rhai", "--device", "cpu:1,0"]);
    assert!(again.executed.is_empty(), "{:?}", again.executed);
    assert_eq!(again.digests, first.digests);
    assert!(two.ok(&["show", "base"]).contains("cpu:0,1"));
}

#[test]
fn experts_need_a_pass_for_every_device() {
    let bench = training::bench();
    bench.write(
        "r.rhai",
        &RECIPE.replace("import \"olmo2\" as olmo2;", "import \"olmoe\" as olmo2;").replace("micro_batch: 2", "micro_batch: 8"),
    );
    let ran = bench.run(&["r.rhai", "--device", "cpu:0,1"]);
    let error = &ran.failed["base"];
    assert!(error.contains("load-balancing") && error.contains("lower `micro_batch`"), "{error}");
}
