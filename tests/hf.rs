//! Hugging Face checkpoints through the program: import, replay of recorded training, scores, export.

use std::path::{Path, PathBuf};
use std::process::Command;

use lm::checkpoint::tensors::TensorFile;

use crate::bench::{Bench, repository};
use crate::training;

fn fixture(family: &str) -> PathBuf {
    repository().join("lm/fixtures").join(family)
}

/// A folder with copies of fixtures.
fn bench(families: &[&str]) -> Bench {
    let bench = Bench::new();
    for family in families {
        std::fs::create_dir(bench.path(family)).unwrap();
        for name in ["config.json", "model.safetensors", "expected.safetensors"] {
            std::fs::copy(fixture(family).join(name), bench.path(family).join(name)).unwrap();
        }
    }
    bench
}

fn floats(path: &Path, name: &str) -> Vec<f32> {
    let file = TensorFile::open(path).unwrap();
    file.floats(file.entry(name).unwrap()).unwrap().data
}

fn expected(family: &str, name: &str) -> Vec<f32> {
    floats(&fixture(family).join("expected.safetensors"), name)
}

/// A metric of a step of a run, step by step.
fn series(bench: &Bench, step: &str, metric: &str) -> Vec<f64> {
    let query = format!("select value from metrics where step = '{step}' and metric = '{metric}' order by iteration");
    bench.ok(&["sql", "--format", "csv", &query]).lines().skip(1).map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_recorded_training_is_replayed() {
    let families = ["olmo2", "olmo3_yarn", "olmoe"];
    let bench = bench(&families);
    let lines = families.map(|family| {
        format!(
            "let {family} = import_hf(\"{family}\").pretrain(batches(\"{family}/expected.safetensors\", \"train_batches\"), how);\n\
             output(\"{family}\", {family});\n"
        )
    });
    let how = "let how = #{ lr: 1.0e-3, schedule: \"constant\" };\n";
    bench.write("r.rhai", &format!("{how}{}", lines.concat()));
    let ran = bench.run_ok(&["r.rhai"]);
    for family in families {
        let (losses, norms) = (expected(family, "train_losses"), expected(family, "train_grad_norms"));
        let found = series(&bench, family, "train/CE loss");
        assert_eq!(found.len(), losses.len(), "{family}");
        for (step, (found, wanted)) in found.iter().zip(&losses).enumerate() {
            assert!((found - f64::from(*wanted)).abs() <= 1e-4, "{family} loss at step {step}: {found}, PyTorch {wanted}");
        }
        let found = series(&bench, family, "optim/total grad norm");
        for (step, (found, wanted)) in found.iter().zip(&norms).enumerate() {
            let wanted = f64::from(*wanted);
            assert!((found - wanted).abs() <= 1e-3 * wanted, "{family} norm at step {step}: {found}, PyTorch {wanted}");
        }
        let tokens = 4 * 64 * losses.len();
        assert_eq!(ran.figures[family]["cost/tokens"], tokens as f64);
        bench.ok(&["score", family, "--ids", &format!("{family}/expected.safetensors"), "--out", "after.safetensors"]);
        let difference =
            largest_difference(&floats(&bench.path("after.safetensors"), "logits"), &expected(family, "logits_after_training"));
        assert!(difference <= 1e-3, "{family}: {difference}");
    }
    // The folder is known by its content.
    assert!(bench.run_ok(&["r.rhai"]).executed.is_empty());
    let config = bench.path("olmo2/config.json");
    let text = std::fs::read_to_string(&config).unwrap().replace("\"use_cache\": true", "\"use_cache\": false");
    std::fs::write(&config, text).unwrap();
    assert!(bench.run_ok(&["r.rhai"]).executed.len() == 2);
}

fn largest_difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_new_model_learns_from_recorded_batches() {
    let bench = bench(&["olmo2"]);
    bench.write(
        "r.rhai",
        "import \"olmo_hybrid\" as family;\nlet shape = family::model(\"pico\") + #{ vocab_size: 256 };\n\
         let trace = batches(\"olmo2/expected.safetensors\", \"train_batches\");\n\
         let all = pretrain(shape, trace, #{ lr: 1.0e-3 });\nlet some = pretrain(shape, trace, #{ lr: 1.0e-3, tokens: 1024, z_loss: 1.0e-5 });\n\
         let bad = pretrain(shape, trace, #{ lr: 1.0e-3, sequence: 32 });\n",
    );
    let ran = bench.run(&["r.rhai"]);
    assert_eq!((ran.figures["all"]["cost/tokens"], ran.figures["some"]["cost/tokens"]), (5120.0, 1024.0));
    assert_eq!(series(&bench, "some", "train/Z loss").len(), 4);
    assert!(series(&bench, "all", "train/Z loss").is_empty());
    assert!(ran.failed["bad"].contains("4 sequences of 64 tokens"), "{}", ran.failed["bad"]);
    bench.ok(&["export", "all", "model"]);
    assert!(!bench.path("model/tokenizer.json").exists());
    let said = bench.say(&["score", "model", "--ids", "olmo2/expected.safetensors", "--out", "s.safetensors"]);
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn ids_are_scored() {
    let bench = bench(&["olmo2", "olmo_hybrid"]);
    for family in ["olmo2", "olmo_hybrid"] {
        let ids = format!("{family}/expected.safetensors");
        let score = |more: &[&str]| {
            bench.ok(&[&["score", family, "--ids", &ids, "--out", "s.safetensors"], more].concat());
            let file = TensorFile::open(&bench.path("s.safetensors")).unwrap();
            let shapes: Vec<_> = file.entries().iter().map(|entry| (entry.name.clone(), entry.shape.clone())).collect();
            let scores = floats(&bench.path("s.safetensors"), "token_logprobs");
            assert!(largest_difference(&scores, &expected(family, "token_logprobs")) <= 1e-4, "{family} {more:?}");
            shapes
        };
        let both = [("logits".into(), vec![2, 100, 256]), ("token_logprobs".into(), vec![2, 99])];
        assert_eq!(score(&["--no-logits"]), both[1..]);
        assert_eq!(score(&["--kernels", "plain"]), both);
        assert_eq!(score(&[]), both);
        let logits = floats(&bench.path("s.safetensors"), "logits");
        assert!(largest_difference(&logits, &expected(family, "logits")) <= 1e-4, "{family}");
    }
    std::fs::write(bench.path("bad.safetensors"), ids_file(&[1, 2, 3, 256])).unwrap();
    let said = bench.say(&["score", "olmo2", "--ids", "bad.safetensors", "--out", "x.safetensors"]);
    assert!(said.code == 2 && said.err.contains("row 1, position 1: id 256"), "{}", said.err);
    assert!(!bench.path("x.safetensors").exists());
    let said = bench.say(&["score", "olmo2", "--ids", "olmo2/model.safetensors", "--out", "x.safetensors"]);
    assert!(said.code == 2 && said.err.contains("no tensor `input_ids`"), "{}", said.err);
}

/// A file of `input_ids` with two rows.
fn ids_file(ids: &[i64]) -> Vec<u8> {
    let shape = [2, ids.len() / 2];
    let header = format!("{{\"input_ids\":{{\"dtype\":\"I64\",\"shape\":{shape:?},\"data_offsets\":[0,{}]}}}}", 8 * ids.len());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    bytes
}

#[test]
fn exports_come_back_and_damage_is_named() {
    let bench = bench(&["olmoe"]);
    bench.write("r.rhai", "let model = import_hf(\"olmoe\");\n");
    bench.run_ok(&["r.rhai"]);
    bench.ok(&["export", "model", "short", "--dtype", "bf16", "--shard-size", "200KB"]);
    let index = bench.path("short/model.safetensors.index.json");
    assert!(index.exists() && bench.path("short/generation_config.json").exists());
    assert!(!bench.path("short/expected.safetensors").exists());
    bench.write("again.rhai", "let model = import_hf(\"short\");\n");
    let ran = bench.run_ok(&["again.rhai"]);
    assert_eq!(ran.figures["model"]["model/parameters"], 298_048.0);
    let shard = std::fs::read_dir(bench.path("short")).unwrap().map(|entry| entry.unwrap().path());
    let shard = shard.filter(|path| path.to_string_lossy().contains("model-00001")).last().unwrap();
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() - 10]).unwrap();
    let error = bench.run(&["again.rhai"]).failed.remove("model").unwrap();
    assert!(error.contains("model-00001") && error.contains("truncated"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    let error = bench.run(&["again.rhai"]).failed.remove("model").unwrap();
    assert!(error.contains("index.json") && error.contains("model-00001"), "{error}");
}

#[test]
fn only_a_commit_of_the_hub_is_an_input() {
    let bench = Bench::new();
    bench.write("r.rhai", "let model = import_hf(\"owner/name@main\");\n");
    let said = bench.say(&["plan", "r.rhai"]);
    assert!(said.code == 2 && said.err.contains("`main` is a branch") && said.err.contains("40 hexadecimal"), "{}", said.err);
    bench.write("r.rhai", &format!("let model = import_hf(\"owner/name@{}\");\n", "0a".repeat(20)));
    assert!(bench.ok(&["plan", "r.rhai"]).contains("import_hf"));
    bench.write("r.rhai", "let model = import_hf(\"nowhere\");\n");
    assert!(bench.say(&["plan", "r.rhai"]).err.contains("no file is called `nowhere`"));
}

/// Loads the tokenizer of an exported model, in the Python that `WORKBENCH_PYTHON` names.
const TOKENIZER: &str = "
import sys
from transformers import AutoConfig, AutoTokenizer
tokenizer, config = AutoTokenizer.from_pretrained(sys.argv[1]), AutoConfig.from_pretrained(sys.argv[1])
assert tokenizer.eos_token_id == config.eos_token_id, (tokenizer.eos_token_id, config.eos_token_id)
assert tokenizer.pad_token_id == config.pad_token_id, (tokenizer.pad_token_id, config.pad_token_id)
assert tokenizer.model_max_length == config.max_position_embeddings, tokenizer.model_max_length
text = 'Line 3 of text 7 says so.'
assert tokenizer.decode(tokenizer(text)['input_ids']) == text
assert tokenizer.padding_side
";

#[test]
fn transformers_loads_the_exported_tokenizer() {
    let Some(python) = std::env::var_os("WORKBENCH_PYTHON") else {
        eprintln!("skipped: WORKBENCH_PYTHON names no Python with transformers");
        return;
    };
    let bench = training::bench();
    bench.write(
        "short.rhai",
        "import \"olmo3\" as family;\nlet raw = text(\"texts/*.txt\");\nlet tok = raw.train_tokenizer(#{ vocab_size: 320 });\n\
         let base = pretrain(family::model(\"pico\"), raw.tokenize(tok), #{ tokens: 256, sequence: 32, batch: 64, lr: 1.0e-3 });\n",
    );
    bench.run_ok(&["short.rhai"]);
    bench.ok(&["export", "base", "model"]);
    let output = Command::new(python).args(["-c", TOKENIZER]).arg(bench.path("model")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
