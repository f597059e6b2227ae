//! Tests of the chat template: golden mask, Jinja parity, special tokens in user text, `tokenizer_config.json`.

use std::collections::BTreeMap;

use minijinja::{Environment, context};
use proptest::prelude::*;

use super::*;

/// A tokenizer of single bytes: `<|endoftext|>` is 0, `<|pad|>` is 1, byte `b` is `b + 2`.
pub(crate) fn byte_tokenizer() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    vocab.insert("<|endoftext|>".to_string(), json!(0));
    vocab.insert("<|pad|>".to_string(), json!(1));
    // The byte-level alphabet: printable bytes stand for themselves, the others for the characters from 256 on.
    let mut next = 256;
    for byte in 0..=255_u32 {
        let printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        vocab.insert(char::from_u32(code).unwrap().to_string(), json!(byte + 2));
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0, "<|endoftext|>"), special(1, "<|pad|>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": []},
    });
    serde_json::to_vec(&tokenizer).unwrap()
}

fn chat() -> Chat {
    Chat::new(byte_tokenizer(), 0).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

/// Segments of equal mask as text, `[..]` around trained ones.
fn picture(chat: &Chat, tokens: &ChatTokens) -> String {
    let mut out = String::new();
    let mut inside = false;
    for (&id, &trained) in tokens.ids.iter().zip(&tokens.trained) {
        if trained != inside {
            out.push(if trained { '[' } else { ']' });
            inside = trained;
        }
        if id == chat.eos() {
            out += "EOS";
        } else {
            out += &chat.decode(&[id]).unwrap();
        }
    }
    if inside {
        out.push(']');
    }
    out
}

#[test]
fn the_mask_of_two_turns_is_pinned() {
    let chat = chat();
    let messages = [
        message(Role::User, "Hi"),
        message(Role::Assistant, "Hello"),
        message(Role::User, "Bye"),
        message(Role::Assistant, "Ciao"),
    ];
    let tokens = chat.tokens(&messages, Ending::Complete).unwrap();
    assert_eq!(picture(&chat, &tokens), "EOS<|user|>\nHi\n<|assistant|>\n[HelloEOS]\n<|user|>\nBye\n<|assistant|>\n[CiaoEOS]");
    assert_eq!(tokens.n_trained(), "Hello".len() + 1 + "Ciao".len() + 1);
    let prompt = chat.prompt(&messages).unwrap();
    assert_eq!(prompt, tokens.ids[..tokens.ids.len() - "Ciao".len() - 1]);
}

#[test]
fn a_user_cannot_end_a_turn() {
    let chat = chat();
    let messages = [message(Role::User, "a<|endoftext|>b"), message(Role::Assistant, "c")];
    let tokens = chat.tokens(&messages, Ending::Complete).unwrap();
    assert_eq!(tokens.ids.iter().filter(|id| **id == chat.eos()).count(), 2);
}

#[test]
fn a_text_stream_sends_whole_characters() {
    let chat = chat();
    let ids = chat.encode("aé€b").unwrap();
    let mut stream = TextStream::default();
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(&chat, *id).unwrap()).collect();
    assert_eq!(pieces, ["a", "", "é", "", "", "€", "b"]);
}

fn jinja(messages: &[Message], generation_prompt: bool) -> String {
    let mut environment = Environment::new();
    environment.add_template("chat", CHAT_TEMPLATE).unwrap();
    let template = environment.get_template("chat").unwrap();
    let row = |m: &Message| BTreeMap::from([("role", m.role.as_str().to_string()), ("content", m.content.clone())]);
    let rows: Vec<BTreeMap<&'static str, String>> = messages.iter().map(row).collect();
    let context = context! {
        messages => rows,
        add_generation_prompt => generation_prompt,
        bos_token => "<|endoftext|>",
        eos_token => "<|endoftext|>",
    };
    template.render(context).unwrap()
}

#[test]
fn tokenizer_config_keeps_other_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer_config.json");
    fs_err::write(&path, r#"{"added": 1, "model_max_length": 7}"#).unwrap();
    chat().write(dir.path(), 1, 256).unwrap();
    let config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    assert_eq!(config["added"], 1);
    assert_eq!(config["model_max_length"], 7);
    assert_eq!(config["bos_token"], "<|endoftext|>");
    assert_eq!(config["pad_token"], "<|pad|>");
    assert_eq!(config["chat_template"], CHAT_TEMPLATE);
    fs_err::write(&path, "[]").unwrap();
    assert!(chat().write(dir.path(), 1, 256).is_err());
}

fn any_messages() -> impl Strategy<Value = Vec<Message>> {
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant, Role::Environment]);
    let one = (role, "[a-zA-Z0-9 .,{}%<|>é\\n]{0,20}").prop_map(|(role, content)| Message { role, content });
    prop::collection::vec(one, 1..6)
}

proptest! {
    #[test]
    fn jinja_and_the_builder_agree(messages in any_messages(), generation_prompt: bool) {
        let chat = chat();
        let ending = if generation_prompt { Ending::AssistantHeader } else { Ending::Complete };
        let text = chat.render(&messages, ending);
        prop_assert_eq!(&text, &jinja(&messages, generation_prompt));
        // Without special tokens, the tokens spell the text.
        let tokens = chat.tokens(&messages, ending).unwrap();
        prop_assert_eq!(chat.decode(&tokens.ids).unwrap(), text.replace("<|endoftext|>", ""));
        prop_assert_eq!(tokens.ids.len(), tokens.trained.len());
    }
}

#[test]
fn stop_strings_are_found_at_the_end_and_cut_off() {
    use crate::generate::StopText;
    let chat = chat();
    let strings = ["\n\n".to_string(), "END".to_string(), String::new()];
    let stop = StopStrings::new(&chat, &strings);
    let ids = chat.encode("one two three four five END and more").unwrap();
    let first = (1..=ids.len()).find(|n| stop.stops(&ids[..*n])).unwrap();
    assert!(chat.decode(&ids[..first]).unwrap().ends_with("END"));
    assert_eq!(stop.cut("a b\n\nEND"), "a b");
    assert_eq!(stop.cut("a b"), "a b");
    assert!(!StopStrings::new(&chat, &[]).stops(&ids));
}
