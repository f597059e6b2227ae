//! Tests of checkpoints on disk.

use super::*;
use crate::checkpoint::progress::Progress;
use crate::init::initial_weights;

fn checkpoint() -> Checkpoint {
    let config = ModelConfig::olmo2("pico").unwrap();
    let weights = initial_weights(&config, 3);
    let moments = |value| weights.iter().map(|(name, array)| (name.clone(), array.map(|_| value))).collect();
    let optimizer = OptimizerState { step: 12, first: moments(0.5), second: moments(0.25) };
    let record = TrainingRecord { step: 40, tokens: 4000, lr: 1e-4, peak_lr: 3e-3, growth: Vec::new() };
    Checkpoint { config, weights, training: Some(TrainingState { record, optimizer }) }
}

#[test]
fn a_checkpoint_survives_the_disk_and_its_bytes_are_fixed() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let saved = checkpoint();
    saved.write(first.path()).unwrap();
    saved.write(second.path()).unwrap();
    assert_eq!(Checkpoint::read(first.path()).unwrap(), saved);
    for name in ["config.json", "model.safetensors", "training.json", "training.safetensors"] {
        let bytes = |dir: &tempfile::TempDir| fs::read(dir.path().join(name)).unwrap();
        assert!(bytes(&first) == bytes(&second), "{name}");
    }
}

#[test]
fn a_model_without_training_state_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let model = checkpoint().model(&crate::device::cpu()).unwrap();
    model.save(dir.path()).unwrap();
    let read = Checkpoint::read(dir.path()).unwrap();
    assert_eq!(read.training, None);
    assert_eq!(Model::load(dir.path(), &crate::device::cpu()).unwrap().weights(), read.weights);
}

#[test]
fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = checkpoint();
    saved.weights.remove("model.norm.weight");
    saved.write(dir.path()).unwrap();
    let error = Model::load(dir.path(), &crate::device::cpu()).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight"), "{error}");
    fs::write(dir.path().join("model.safetensors"), b"nonsense").unwrap();
    let error = Checkpoint::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn progress_keeps_exactly_the_last_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let progress = Progress::new(&dir.path().join("progress"));
    assert!(progress.load::<u64>().unwrap().is_none());
    let saved = checkpoint();
    progress.save(9, &saved, &9_u64).unwrap();
    progress.save(10, &saved, &10_u64).unwrap();
    // A state that was being written when the run was killed does not count.
    fs::create_dir_all(dir.path().join("progress/partial")).unwrap();
    let (loaded, extra) = progress.load::<u64>().unwrap().unwrap();
    assert_eq!((loaded, extra), (saved, 10));
    assert_eq!(fs::read_dir(dir.path().join("progress")).unwrap().count(), 2);
    progress.clear().unwrap();
    assert!(progress.load::<u64>().unwrap().is_none());
}

fn message(dir: &Path) -> String {
    Checkpoint::read(dir).unwrap_err().to_string()
}

#[test]
fn truncation_and_nonsense_are_named() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint().write(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for (bytes, part) in [
        (&whole[..4], "too few"),
        (&whole[..100], "truncated"),
        (&whole[..whole.len() - 4], "truncated"),
        (&[whole.as_slice(), &[0; 4]].concat(), "damaged"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = message(dir.path());
        assert!(error.contains("model.safetensors") && error.contains(part), "{error}");
    }
    let mut bad = whole.clone();
    bad[9] = 0xff;
    fs::write(&path, bad).unwrap();
    assert!(message(dir.path()).contains("header is damaged"));
    fs::remove_file(&path).unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
    assert!(message(dir.path()).contains("pickled"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let change = |edit: &dyn Fn(&mut Checkpoint)| {
        let dir = tempfile::tempdir().unwrap();
        let mut saved = checkpoint();
        edit(&mut saved);
        saved.write(dir.path()).unwrap();
        message(dir.path())
    };
    let error = change(&|saved| drop(saved.weights.insert("model.extra.weight".into(), Array::filled(&[2], 0.0))));
    assert!(error.contains("model.safetensors: tensor `model.extra.weight` belongs to no parameter"), "{error}");
    let error = change(&|saved| drop(saved.weights.insert("model.norm.weight".into(), Array::filled(&[3], 0.0))));
    assert!(error.contains("`model.norm.weight` has shape [3], the configuration wants [64]"), "{error}");
    let error = change(&|saved| drop(saved.weights.remove("lm_head.weight")));
    assert!(error.contains("`lm_head.weight` is missing"), "{error}");
}

#[test]
fn shards_must_agree_with_their_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = checkpoint();
    saved.training = None;
    saved.export(dir.path(), ExportOptions { shard_bytes: 50_000, ..ExportOptions::default() }).unwrap();
    assert!(Checkpoint::read(dir.path()).unwrap() == saved);
    assert_eq!(Checkpoint::verify(dir.path()).unwrap(), saved.config);
    let index = dir.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    assert!(text.contains("\"total_size\""), "{text}");
    let without = |name: &str| {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["weight_map"].as_object_mut().unwrap().remove(name);
        fs::write(&index, json.to_string()).unwrap();
        message(dir.path())
    };
    let error = without("model.norm.weight");
    assert!(error.contains("`model.norm.weight` is in it, but"), "{error}");
    fs::write(&index, text.replace("model-00001-of", "../model-00001-of")).unwrap();
    assert!(message(dir.path()).contains("no name of a file beside it"));
    fs::write(&index, text.replace("model-00001-of", "model-00009-of")).unwrap();
    assert!(message(dir.path()).contains("model-00009-of"));
}

#[test]
fn half_precision_refuses_what_it_cannot_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = checkpoint();
    saved.weights.get_mut("model.norm.weight").unwrap().data[0] = 1e6;
    let options = ExportOptions { precision: Precision::F16, ..ExportOptions::default() };
    let error = saved.export(dir.path(), options).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight") && error.contains("float16"), "{error}");
    saved.export(dir.path(), ExportOptions { precision: Precision::Bf16, ..options }).unwrap();
    assert_eq!(read_json::<Value>(&dir.path().join("config.json")).unwrap()["dtype"], "bfloat16");
}

#[test]
fn a_composition_of_its_own_has_no_class() {
    let mut saved = checkpoint();
    saved.config = saved.config.map_attention(|attention| crate::config::Attention { window: Some(8), ..attention });
    let error = saved.export(tempfile::tempdir().unwrap().path(), ExportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("--format all"), "{error}");
}

/// A random model of a family with four blocks.
fn family(family: crate::config::Family) -> Checkpoint {
    let sizes =
        crate::config::Sizes { n_layers: 4, hidden_size: 32, n_heads: 2, n_kv_heads: 2, intermediate_size: 24, vocab_size: 64 };
    let config = family.model(&sizes);
    let weights = initial_weights(&config, 5);
    Checkpoint::new(config, weights)
}

/// What reads from a folder whose tensors are spelled in another way.
fn respelled(saved: &Checkpoint, spell: &dyn Fn(&str, &Array) -> Vec<(String, Array)>) -> Result<Checkpoint, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    saved.write(dir.path()).unwrap();
    let arrays: NamedArrays = saved.weights.iter().flat_map(|(name, array)| spell(name, array)).collect();
    write_tensors(&dir.path().join("model.safetensors"), &arrays).unwrap();
    Checkpoint::read(dir.path())
}

/// Consecutive parts of an array along its first axis.
fn cut(array: &Array, rows: &[usize]) -> Vec<Array> {
    let width: usize = array.shape[1..].iter().product();
    let mut data = array.data.as_slice();
    let mut part = |rows: &usize| {
        let (first, rest) = data.split_at(rows * width);
        data = rest;
        Array::new([&[*rows], &array.shape[1..]].concat(), first.to_vec())
    };
    rows.iter().map(&mut part).collect()
}

#[test]
fn hybrids_are_read_in_every_spelling() {
    let saved = family(crate::config::Family::OlmoHybrid);
    // 2 heads of 12 for queries and keys, of 24 for values: `transformers` cuts the 96 channels into thirds all the same.
    for (rows, names) in [
        ([32; 3], [("input_layernorm", "attention_layer_norm"), ("post_attention_layernorm", "feedforward_layer_norm")]),
        ([24, 24, 48], [("linear_attn.o_proj", "linear_attn.out_proj"), ("linear_attn.o_norm", "linear_attn.norm")]),
    ] {
        let spell = |name: &str, array: &Array| match name.strip_suffix("conv1d.weight") {
            Some(place) => {
                let named = |(part, array): (&str, Array)| (format!("{place}{part}_conv1d.weight"), array);
                ["q", "k", "v"].into_iter().zip(cut(array, &rows)).map(named).collect()
            }
            None => {
                let renamed = names.iter().fold(name.to_string(), |name, (memory, file)| name.replace(memory, file));
                vec![(renamed, array.clone())]
            }
        };
        assert!(respelled(&saved, &spell).unwrap() == saved);
        let lacking = |name: &str, array: &Array| {
            let mut all = spell(name, array);
            all.retain(|(name, _)| !name.ends_with("layers.1.linear_attn.k_conv1d.weight"));
            all
        };
        let error = respelled(&saved, &lacking).unwrap_err().to_string();
        assert!(error.contains("of `model.layers.1.linear_attn.conv1d.weight` only"), "{error}");
    }
}

#[test]
fn experts_are_read_stacked_and_apart() {
    let saved = family(crate::config::Family::FlexOlmo);
    let stacked = |name: &str, array: &Array| {
        let Some((place, part)) = name.split_once(".experts.") else { return vec![(name.to_string(), array.clone())] };
        match part {
            "gate_proj.weight" => {
                let up = &saved.weights[&format!("{place}.experts.up_proj.weight")];
                let size = array.shape[1] * array.shape[2];
                let both = array.data.chunks(size).zip(up.data.chunks(size)).flat_map(|(gate, up)| [gate, up].concat());
                let shape = vec![array.shape[0], 2 * array.shape[1], array.shape[2]];
                vec![(format!("{place}.experts.gate_up_proj"), Array::new(shape, both.collect()))]
            }
            "down_proj.weight" => vec![(format!("{place}.experts.down_proj"), array.clone())],
            _ => Vec::new(),
        }
    };
    assert!(respelled(&saved, &stacked).unwrap() == saved);
    let apart = |name: &str, array: &Array| match name.split_once(".experts.") {
        None => vec![(name.to_string(), array.clone())],
        Some((place, part)) => {
            let expert =
                |(e, one): (usize, Array)| (format!("{place}.experts.{e}.{part}"), Array::new(one.shape[1..].to_vec(), one.data));
            cut(array, &[1; 7]).into_iter().enumerate().map(expert).collect()
        }
    };
    assert!(respelled(&saved, &apart).unwrap() == saved);
    let seven = |name: &str, array: &Array| {
        apart(name, array).into_iter().map(|(name, array)| (name.replace(".experts.6.", ".experts.7."), array)).collect()
    };
    assert!(respelled(&saved, &seven).unwrap_err().to_string().contains("an expert beyond the 7 there are"));
    let both = |name: &str, array: &Array| [stacked(name, array), apart(name, array)].concat();
    assert!(respelled(&saved, &both).unwrap_err().to_string().contains("another tensor gives too"));
}

#[test]
fn a_model_without_its_head_and_prefix_is_read_when_the_head_is_tied() {
    let mut saved = family(crate::config::Family::Olmo);
    saved.config.tie_word_embeddings = true;
    saved.weights.remove("lm_head.weight");
    let bare = |name: &str, array: &Array| vec![(name.strip_prefix("model.").unwrap().to_string(), array.clone())];
    assert!(respelled(&saved, &bare).unwrap() == saved);
    let headed = |name: &str, array: &Array| {
        let mut all = vec![(name.to_string(), array.clone())];
        if name == "model.embed_tokens.weight" {
            all.push(("lm_head.weight".into(), array.clone()));
        }
        all
    };
    assert!(respelled(&saved, &headed).unwrap() == saved);
}
