//! The families of the recipe library against the published counts, and against what `transformers` spells them as.

use std::collections::BTreeMap;

use super::*;
use crate::recipe::{MemoryWorld, evaluate};
use crate::steps::params::ParamType;
use crate::steps::standard;

/// The configuration that a module's expression gives, with a vocabulary.
fn config(module: &str, expression: &str, vocab: u64) -> ModelConfig {
    let text = format!(
        "import \"{module}\" as f; let b = batches(\"t.safetensors\", \"t\"); pretrain({expression}, b, #{{ lr: 0.001 }});"
    );
    let world = MemoryWorld::new([("r.rhai", text.as_str()), ("t.safetensors", "")]);
    let evaluation = evaluate("r.rhai", &world, &standard(), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    let step = evaluation.steps.iter().find(|step| step.kind == "pretrain").unwrap();
    let model = Model::from_value("model", step.params.get("model").unwrap()).unwrap();
    assert!(model.check("model").is_empty(), "{expression}");
    model.shape(vocab, 0, 1)
}

fn sized(module: &str, size: &str, vocab: u64) -> ModelConfig {
    config(module, &format!("f::model(\"{size}\")"), vocab)
}

#[test]
fn released_models_have_their_published_counts() {
    for (module, size, vocab, total, rest) in [
        ("olmo", "1B", 50_304, 1_176_764_416, 1_073_741_824),
        ("olmo", "7B", 50_304, 6_888_095_744, 6_682_050_560),
        ("olmo", "7B-0424", 50_304, 6_888_095_744, 6_682_050_560),
        ("olmo2", "1B", 100_352, 1_484_916_736, 1_279_395_840),
        ("olmo2", "7B", 100_352, 7_298_617_344, 6_887_575_552),
        ("olmo2", "13B", 100_352, 13_716_198_400, 13_202_396_160),
        ("olmo2", "32B", 100_352, 32_234_279_936, 31_720_477_696),
        ("olmo3", "7B", 100_352, 7_298_617_344, 6_887_575_552),
        ("olmo3", "32B", 100_352, 32_234_279_936, 31_720_477_696),
        ("olmo_hybrid", "7B", 100_352, 7_430_870_688, 7_045_519_008),
        ("olmoe", "1B-7B", 50_304, 6_919_161_856, 6_816_139_264),
        ("flex_olmo", "7x7B", 100_352, 33_270_665_216, 32_859_623_424),
        ("flex_olmo", "2x7B", 100_352, 11_627_401_216, 11_216_359_424_usize),
    ] {
        let config = sized(module, size, vocab);
        assert_eq!(config.n_parameters(), total, "{module} {size}");
        assert_eq!(config.n_non_embedding_parameters(), rest, "{module} {size}");
    }
}

#[test]
fn the_ladder_has_the_counts_that_name_it() {
    for module in ["olmo2", "olmo3"] {
        for (size, millions) in [
            ("14M", 13.9),
            ("30M", 29.1),
            ("60M", 57.4),
            ("100M", 101.7),
            ("190M", 190.4),
            ("370M", 371.3),
            ("760M", 758.2),
            ("1B", 1279.4),
            ("3B", 3170.0),
        ] {
            let count = sized(module, size, 100_352).n_non_embedding_parameters() as f64 / 1e6;
            assert!((count / millions - 1.0).abs() < 5e-3, "{module} {size}: {count}");
        }
    }
    let smallest = sized("olmo2", "1M", 100_352);
    assert_eq!(smallest.attention().unwrap().query_width(), 16);
    let count = |module| sized(module, "600M", 100_352).n_non_embedding_parameters();
    assert!((547_900_000..548_100_000).contains(&count("olmo3")), "{}", count("olmo3"));
    assert!(count("olmo2") > count("olmo3"));
}

#[test]
fn every_size_is_a_model_of_its_family() {
    for (module, family, sizes) in [
        ("olmo", Family::Olmo, &["pico", "nano", "1B", "7B", "7B-0424"][..]),
        ("olmo2", Family::Olmo2, &["pico", "nano", "micro", "1M", "600M", "1B", "7B", "13B", "32B"]),
        ("olmo3", Family::Olmo3, &["pico", "nano", "14M", "600M", "3B", "7B", "32B"]),
        ("olmo_hybrid", Family::OlmoHybrid, &["pico", "nano", "7B"]),
        ("olmoe", Family::Olmoe, &["pico", "nano", "1B-7B"]),
        ("flex_olmo", Family::FlexOlmo, &["pico", "nano", "2x7B", "7x7B"]),
    ] {
        for size in sizes {
            let config = sized(module, size, 100_352);
            config.validate().unwrap();
            assert_eq!(config.to_hf()["model_type"], family.model_type(), "{module} {size}");
            assert_eq!(ModelConfig::from_hf(&config.to_hf()).unwrap(), config, "{module} {size}");
        }
        let text = format!("import \"{module}\" as f; f::model(\"5Q\");");
        let world = MemoryWorld::new([("r.rhai", text.as_str())]);
        let error = evaluate("r.rhai", &world, &standard(), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("has no size \"5Q\"; there are: pico, nano"), "{error}");
    }
}

#[test]
fn structure_is_that_of_the_families_of_lm() {
    let same = |module: &str, size: &str, vocab: u64, family: Family| {
        let found = sized(module, size, vocab);
        let a = found.attention().unwrap();
        let sizes = lm::config::Sizes {
            n_layers: found.n_layers(),
            hidden_size: found.hidden_size,
            n_heads: a.n_heads,
            n_kv_heads: a.n_kv_heads,
            intermediate_size: found.intermediate_size(),
            vocab_size: found.vocab_size,
        };
        let wanted = ModelConfig { eos_token_id: 0, pad_token_id: 1, ..family.model(&sizes) };
        assert_eq!(found, wanted, "{module} {size}");
    };
    same("olmo", "7B", 50_304, Family::Olmo);
    same("olmo2", "13B", 100_352, Family::Olmo2);
    same("olmo3", "32B", 100_352, Family::Olmo3);
    same("olmo_hybrid", "7B", 100_352, Family::OlmoHybrid);
    same("olmoe", "1B-7B", 50_304, Family::Olmoe);
    same("flex_olmo", "7x7B", 100_352, Family::FlexOlmo);
}

#[test]
fn long_contexts_are_the_released_ones() {
    let base = sized("olmo3", "7B", 100_352);
    let long = config("olmo3", "f::long(f::model(\"7B\"), 8)", 100_352);
    assert_eq!(long, base.with_yarn(8.0));
    assert_eq!(long.max_position_embeddings, 65_536);
    let hybrid = config("olmo_hybrid", "f::long(f::model(\"7B\"), 8)", 100_352);
    assert_eq!(hybrid.max_position_embeddings, 65_536);
    assert!(hybrid.layers.iter().filter_map(|layer| layer.attention()).all(|attention| attention.rope.is_none()));
    assert_eq!(hybrid.to_hf()["rope_parameters"]["rope_theta"], serde_json::Value::Null);
    assert_eq!(hybrid.to_hf()["model_type"], "olmo_hybrid");
}
