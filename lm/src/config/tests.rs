//! Configurations against the published counts, and through `config.json` and back.

use serde_json::json;

use super::families::Sizes;
use super::*;

#[test]
fn parameter_counts_are_those_of_the_released_models() {
    let sizes = |n_layers, hidden_size, n_heads, n_kv_heads, intermediate_size, vocab_size| Sizes {
        n_layers,
        hidden_size,
        n_heads,
        n_kv_heads,
        intermediate_size,
        vocab_size,
    };
    for (family, sizes, total) in [
        (Family::Olmo, sizes(32, 4096, 32, 32, 11_008, 50_304), 6_888_095_744),
        (Family::Olmo2, sizes(32, 4096, 32, 32, 11_008, 100_352), 7_298_617_344),
        (Family::Olmo2, sizes(64, 5120, 40, 8, 27_648, 100_352), 32_234_279_936),
        (Family::Olmo3, sizes(64, 5120, 40, 8, 27_648, 100_352), 32_234_279_936),
        (Family::OlmoHybrid, sizes(32, 3840, 30, 30, 11_008, 100_352), 7_430_870_688),
        (Family::Olmoe, sizes(16, 2048, 16, 16, 1024, 50_304), 6_919_161_856),
        (Family::FlexOlmo, sizes(32, 4096, 32, 32, 11_008, 100_352), 33_270_665_216_usize),
    ] {
        let config = family.model(&sizes);
        config.validate().unwrap();
        assert_eq!(config.n_parameters(), total, "{family:?}");
        assert_eq!(ModelConfig::from_hf(&config.to_hf()).unwrap(), config, "{family:?}");
        assert_eq!(config.to_hf()["model_type"], family.model_type());
    }
    let tied = ModelConfig { tie_word_embeddings: true, ..Family::Olmo.model(&sizes(16, 2048, 16, 16, 8192, 50_304)) };
    assert_eq!(tied.n_parameters(), 1_176_764_416);
    assert_eq!(tied.n_non_embedding_parameters(), 1_073_741_824);
}

#[test]
fn olmo2_sizes_have_the_published_counts() {
    for (size, total, non_embedding) in [
        ("1B", 1_484_916_736, 1_279_395_840),
        ("7B", 7_298_617_344, 6_887_575_552),
        ("13B", 13_716_198_400, 13_202_396_160),
        ("32B", 32_234_279_936, 31_720_477_696),
    ] {
        let config = ModelConfig::olmo2(size).unwrap();
        assert_eq!(config.n_parameters(), total, "{size}");
        assert_eq!(config.n_non_embedding_parameters(), non_embedding, "{size}");
    }
    let small = ModelConfig::olmo2("190M").unwrap().n_non_embedding_parameters();
    assert!((190_300_000..190_500_000).contains(&small), "{small}");
    for size in ModelConfig::olmo2_sizes() {
        let config = ModelConfig::olmo2(size).unwrap();
        assert_eq!(ModelConfig::from_hf(&config.to_hf()).unwrap(), config, "{size}");
    }
}

#[test]
fn long_context_and_odd_compositions_survive_json() {
    let base = Family::Olmo3.model(&Sizes {
        n_layers: 8,
        hidden_size: 64,
        n_heads: 4,
        n_kv_heads: 2,
        intermediate_size: 128,
        vocab_size: 256,
    });
    let long = base.with_yarn(8.0);
    assert_eq!(long.max_position_embeddings, 65_536);
    let json = long.to_hf();
    assert_eq!(json["rope_parameters"]["full_attention"]["rope_type"], "yarn");
    assert_eq!(json["rope_parameters"]["sliding_attention"]["rope_type"], "default");
    assert_eq!(ModelConfig::from_hf(&json).unwrap(), long);

    let experts = Experts { n_experts: 4, top_k: 2, normalize: true, intermediate_size: 32 };
    let odd = base.map_layers(|layer| Layer { feed_forward: FeedForward::Experts(experts), ..layer });
    let json = odd.to_hf();
    assert_eq!(json["model_type"], "workbench");
    let read = ModelConfig::from_hf(&json).unwrap();
    assert_eq!(read, ModelConfig { family: Family::Custom, ..odd });
}

#[test]
fn legacy_rope_fields_and_class_defaults_are_read() {
    let theta =
        |config: &serde_json::Value| ModelConfig::from_hf(config).unwrap().attention().unwrap().rope.map(|rope| rope.theta);
    let mut config = ModelConfig::olmo2("nano").unwrap().to_hf();
    config.as_object_mut().unwrap().remove("rope_parameters");
    assert_eq!(theta(&config), Some(500_000.0));
    config.as_object_mut().unwrap().remove("rope_theta");
    assert_eq!(theta(&config), Some(10_000.0));

    let mut hybrid = Family::OlmoHybrid
        .model(&Sizes { n_layers: 4, hidden_size: 64, n_heads: 4, n_kv_heads: 4, intermediate_size: 96, vocab_size: 256 })
        .to_hf();
    assert_eq!(theta(&hybrid), Some(500_000.0));
    hybrid["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": null });
    assert_eq!(theta(&hybrid), None);
    hybrid["rope_parameters"] = serde_json::Value::Null;
    assert_eq!(theta(&hybrid), Some(10_000.0));
}

/// What `Olmo3Config` of transformers 5.23 makes of each form: theta and YaRN factor of full and of sliding layers.
#[test]
fn olmo_3_reads_its_rotary_fields_by_layer_type() {
    let yarn = json!({ "rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 32 });
    let scaling = json!({ "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32 });
    let plain = json!({ "full_attention": { "rope_type": "default" }, "sliding_attention": { "rope_type": "default" } });
    let flat = json!({ "rope_type": "default", "rope_theta": 1e4 });
    for (fields, full, sliding) in [
        (json!({ "rope_parameters": yarn }), (5e5, None), 5e5),
        (json!({ "rope_parameters": flat, "rope_theta": 777.0 }), (777.0, None), 5e5),
        (json!({ "rope_scaling": scaling, "rope_theta": 1e4 }), (1e4, Some(8.0)), 5e5),
        (json!({ "rope_scaling": yarn }), (1e4, Some(8.0)), 5e5),
        (json!({ "rope_parameters": plain, "rope_scaling": scaling, "rope_theta": 1e4 }), (1e4, Some(8.0)), 5e5),
        (json!({ "rope_parameters": { "full_attention": yarn } }), (1e4, Some(8.0)), 5e5),
        (json!({ "rope_parameters": plain, "rope_theta": 1e4 }), (1e4, None), 5e5),
        (json!({ "rope_parameters": { "full_attention": yarn, "sliding_attention": flat } }), (1e4, Some(8.0)), 1e4),
    ] {
        let mut config = json!({ "model_type": "olmo3", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4 });
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let config = ModelConfig::from_hf(&config).unwrap();
        let rope = |layer: usize| config.layers[layer].attention().unwrap().rope.unwrap();
        let factor = |rope: Rope| match rope.scaling {
            Some(RopeScaling::Yarn { factor, .. }) => Some(factor),
            _ => None,
        };
        assert_eq!(((rope(3).theta, factor(rope(3))), (rope(0).theta, factor(rope(0)))), (full, (sliding, None)), "{fields}");
    }
}

#[test]
fn several_tokens_may_end_a_text() {
    let mut json = ModelConfig::olmo2("nano").unwrap().to_hf();
    json["eos_token_id"] = json!([7, 8, 7]);
    let mut config = ModelConfig::from_hf(&json).unwrap();
    assert_eq!((config.eos_token_id, config.eos_token_ids()), (7, vec![7, 8]));
    assert_eq!(config.to_hf()["eos_token_id"], json!([7, 8]));
    config.add_generation_config(&json!({ "eos_token_id": 8 })).unwrap();
    config.add_generation_config(&json!({ "eos_token_id": [9, 7] })).unwrap();
    config.add_generation_config(&json!({ "temperature": 0.6 })).unwrap();
    assert_eq!(config.eos_token_ids(), [7, 8, 9]);
    assert_eq!(ModelConfig::from_hf(&config.to_hf()).unwrap(), config);
    let custom = ModelConfig { family: Family::Custom, ..config.clone() };
    assert_eq!(ModelConfig::from_hf(&custom.to_hf()).unwrap(), custom);
    let error = config.add_generation_config(&json!({ "eos_token_id": "end" })).unwrap_err().to_string();
    assert!(error.contains("eos_token_id"), "{error}");
}

#[test]
fn what_a_file_leaves_out_is_the_classs_default() {
    let small = json!({ "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96 });
    let read = |family: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut config = small.clone();
        config["model_type"] = family.into();
        change(&mut config);
        ModelConfig::from_hf(&config)
    };
    let olmo2 = read("olmo2", &|_| ()).unwrap();
    assert_eq!((olmo2.vocab_size, olmo2.eos_token_id, olmo2.pad_token_id, olmo2.norm_eps), (50_304, 50_279, 1, 1e-5));
    assert_eq!(olmo2.max_position_embeddings, 2048);
    let hybrid = read("olmo_hybrid", &|config| config["linear_num_key_heads"] = 2.into()).unwrap();
    assert_eq!((hybrid.vocab_size, hybrid.eos_token_id, hybrid.norm_eps), (100_352, 100_257, 1e-6));
    let Mixer::GatedDelta(delta) = hybrid.layers[0].mixer else { panic!("the first layer is linear") };
    assert_eq!((delta.n_key_heads, delta.n_value_heads, delta.key_head_dim, delta.value_head_dim), (2, 4, 24, 48));
    assert!(hybrid.layers[2].attention().is_some(), "a short hybrid ends with attention");
    let tokens = |eos: serde_json::Value| read("olmo2", &|config| config["eos_token_id"] = eos.clone()).unwrap();
    assert_eq!(tokens(json!([7, 8])).eos_token_id, 7);
    for none in [json!(null), json!([]), json!(-1)] {
        let config = tokens(none);
        assert_eq!((config.eos_token_id, config.filler()), (NO_TOKEN, 1));
        assert_eq!(config.to_hf()["eos_token_id"], serde_json::Value::Null);
    }
    let error = read("olmo3", &|config| config["sliding_window"] = json!(null)).unwrap_err().to_string();
    assert!(error.contains("sliding_window"), "{error}");
    let all_linear = hybrid.map_layers(|_| hybrid.layers[0]);
    assert_eq!(all_linear.to_hf()["model_type"], "workbench", "the class wants both kinds");
}

#[test]
fn flops_count_what_a_token_meets() {
    let sizes = Sizes { n_layers: 4, hidden_size: 64, n_heads: 4, n_kv_heads: 4, intermediate_size: 32, vocab_size: 256 };
    let dense = Family::Olmo2.model(&sizes);
    let matrices = 4 * (4 * 64 * 64 + 3 * 64 * 32) + 256 * 64;
    assert_eq!(dense.flops_per_token(100), (6 * matrices + 4 * 12 * 64 * 100) as f64);
    let windowed = dense.map_attention(|a| Attention { window: Some(16), ..a });
    assert_eq!(windowed.flops_per_token(100), (6 * matrices + 4 * 12 * 64 * 16) as f64);
    let experts = Family::Olmoe.model(&sizes);
    let matrices = 4 * (4 * 64 * 64 + 8 * 3 * 64 * 32 + 64 * 64) + 256 * 64;
    assert_eq!(experts.flops_per_token(100), (6 * matrices + 4 * 12 * 64 * 100) as f64);
}

#[test]
fn half_width_keeps_depth_and_head_width() {
    let config = ModelConfig::olmo2("nano").unwrap();
    let half = config.half_width().unwrap();
    assert_eq!(half.hidden_size * 2, config.hidden_size);
    let (a, b) = (half.attention().unwrap(), config.attention().unwrap());
    assert_eq!((a.n_heads * 2, a.head_dim, half.n_layers()), (b.n_heads, b.head_dim, config.n_layers()));
    let odd = config.map_attention(|a| Attention { n_heads: 5, n_kv_heads: 5, ..a });
    assert!(odd.half_width().unwrap_err().to_string().contains("n_heads = 5"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let message = |value: serde_json::Value| ModelConfig::from_hf(&value).unwrap_err().to_string();
    let error = ModelConfig::olmo2("8B").unwrap_err().to_string();
    assert!(error.contains("8B") && error.contains("7B"), "{error}");
    assert!(message(json!({"model_type": "llama"})).contains("llama"));
    let mut config = ModelConfig::olmo2("nano").unwrap().to_hf();
    config["hidden_act"] = json!("gelu");
    assert!(message(config.clone()).contains("hidden_act"));
    config["hidden_act"] = json!("silu");
    config["rope_parameters"] = json!({ "rope_type": "llama3", "factor": 8.0 });
    assert!(message(config.clone()).contains("rope_type"));
    config["rope_parameters"] = json!({ "rope_type": "yarn" });
    assert!(message(config.clone()).contains("rope_parameters.factor"));
    config["num_hidden_layers"] = json!("four");
    assert!(message(config).contains("num_hidden_layers"));
}
