//! Tests of training, saving and encoding.

use super::*;
use crate::testing::{documents, snapshot, threads, write};
use proptest::prelude::*;

const TEXTS: [&str; 4] = [
    "The cat sat on the mat. The cat didn't sit there for 12345 hours.",
    "fn main() {\n    let cat = \"mat\";\n    println!(\"{cat}\");\n}\n",
    "Größe, naïve café, 日本語 and the other cats on the other mats",
    "the the the cat cat cat sat sat on on mat mat",
];

fn trained(params: &TokenizerParams) -> Tokenizer {
    let input = write(&documents(&[TEXTS; 3].concat()));
    train_tokenizer(&[input.path()], params, &()).unwrap()
}

fn params(vocab_size: usize) -> TokenizerParams {
    TokenizerParams { special_tokens: vec!["<|im_start|>".into()], ..TokenizerParams::new(vocab_size) }
}

#[test]
fn trains_saves_loads() {
    let tokenizer = trained(&params(300));
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos(), tokenizer.pad()), (300, 0, 1));
    assert_eq!(tokenizer.id("<|im_start|>"), Some(2));
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer.save(dir.path()).unwrap();
    for path in [dir.path(), &file] {
        let loaded = Tokenizer::load(path).unwrap();
        assert_eq!(loaded.digest().unwrap(), tokenizer.digest().unwrap());
        assert_eq!((loaded.eos(), loaded.pad()), (0, 1));
    }
    let json: serde_json::Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    assert_eq!((&json["decoder"]["type"], &json["model"]["type"]), (&"ByteLevel".into(), &"BPE".into()));
    assert_eq!(json["added_tokens"][0]["content"], EOS);
    assert!(json["normalizer"].is_null());
}

#[test]
fn the_file_is_the_same_for_any_number_of_threads() {
    let run = |n| {
        threads(n, || {
            let dir = tempfile::tempdir().unwrap();
            trained(&params(320)).save(dir.path()).unwrap();
            snapshot(dir.path())
        })
    };
    let one = run(1);
    for n in [2, 4, 4] {
        assert_eq!(run(n), one);
    }
}

#[test]
fn special_tokens_in_text_are_text() {
    let tokenizer = trained(&params(300));
    let text = "the <|endoftext|> cat";
    let ids = tokenizer.encode(text).unwrap();
    assert!(!ids.contains(&tokenizer.eos()));
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    let special = tokenizer.encode_special(text).unwrap();
    assert_eq!(special.iter().filter(|&&id| id == tokenizer.eos()).count(), 1);
    assert_eq!(tokenizer.decode(&special).unwrap(), text);
    assert_eq!(tokenizer.decode_text(&special).unwrap(), "the  cat");
}

#[test]
fn tokens_are_bytes() {
    let tokenizer = trained(&params(300));
    let text = "Größe 日本 x";
    let ids = tokenizer.encode(text).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).unwrap()).collect();
    assert_eq!(bytes, text.as_bytes());
    assert_eq!(tokenizer.token_bytes(0).unwrap(), EOS.as_bytes());
    assert!(tokenizer.token_bytes(300).is_err());
    assert!((tokenizer.bytes_per_token(text).unwrap() - text.len() as f64 / ids.len() as f64).abs() < 1e-12);
}

#[test]
fn mistakes_are_told() {
    let input = write(&documents(&TEXTS));
    let message = |params: &TokenizerParams| train_tokenizer(&[input.path()], params, &()).unwrap_err().to_string();
    assert!(message(&params(100)).contains("at least 259"));
    assert!(message(&TokenizerParams { special_tokens: vec![EOS.into()], ..params(300) }).contains("named twice"));
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(Tokenizer::load(dir.path()), Err(DataError::Format { .. })));
}

#[test]
fn other_tokenizers_go_through_the_library() {
    // A byte-level BPE with GPT-2's own pattern, which the word scanner does not know.
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": {"a": 0, "b": 1, "</s>": 2, "<": 3, "/": 4, "s": 5, ">": 6, "ab": 7}, "merges": [["a", "b"]]},
    });
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!((tokenizer.eos(), tokenizer.pad(), tokenizer.vocab_size()), (2, 2, 8));
    assert_eq!(tokenizer.encode("ab</s>").unwrap(), [7, 3, 4, 5, 6]);
    assert_eq!(tokenizer.encode_special("ab</s>").unwrap(), [7, 2]);
}

/// A trained vocabulary under GPT-2's pattern, as GPT-NeoX's and the first OLMo's tokenizers have it.
fn gpt2(ignore_merges: bool) -> Tokenizer {
    let mut json: serde_json::Value = serde_json::from_str(&trained(&params(400)).inner.to_string(false).unwrap()).unwrap();
    json["pre_tokenizer"] =
        serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json["model"]["ignore_merges"] = ignore_merges.into();
    Tokenizer::new(tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap(), 0, 1)
}

#[test]
fn long_words_and_whole_words_are_the_librarys() {
    for tokenizer in [gpt2(false), gpt2(true), trained(&params(320))] {
        let Plain::Words(_, merges) = &tokenizer.plain else { panic!("it is not recognised") };
        let mut library = tokenizer.inner.clone();
        library.set_encode_special_tokens(true);
        for text in ["the".repeat(200), "a".repeat(255), "a".repeat(257), "é".repeat(300), " mat".repeat(3), "!".repeat(256)] {
            let expected = library.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), expected.get_ids());
        }
        assert!(merges.get().is_some_and(Option::is_some), "its merges are known");
    }
}

#[test]
fn batches_keep_their_order() {
    let tokenizer = trained(&params(300));
    let texts: Vec<String> = (0..500).map(|i| format!("cat {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let one_by_one: Vec<_> = texts.iter().map(|text| tokenizer.encode(text).unwrap()).collect();
    assert_eq!(tokenizer.encode_batch(&texts).unwrap(), one_by_one);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn words_encode_as_the_library_does_and_decode_to_the_text(text in "([a-z]{1,4}|the|cat| |\\n|[0-9]{1,5}|é|日|'s|<|!|\\PC){0,30}") {
        thread_local!(static TOKENIZERS: Vec<Tokenizer> = [Digits::Individual, Digits::Triples]
            .map(|digits| trained(&TokenizerParams { digits, ..TokenizerParams::new(320) })).into_iter().chain([gpt2(false), gpt2(true)]).collect());
        TOKENIZERS.with(|tokenizers| {
            for tokenizer in tokenizers {
                prop_assert!(matches!(tokenizer.plain, Plain::Words(..)));
                let ids = tokenizer.encode(&text).unwrap();
                let mut library = tokenizer.inner.clone();
                library.set_encode_special_tokens(true);
                let expected = library.encode_fast(text.as_str(), false).unwrap();
                prop_assert_eq!(&ids[..], expected.get_ids());
                prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
            }
            Ok(())
        })?;
    }
}
