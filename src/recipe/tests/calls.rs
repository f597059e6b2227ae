//! The rule of calls: what goes where.

use plan::{Source, Value};

use super::*;

fn params(text: &str) -> Value {
    good(text).steps.last().unwrap().params.clone()
}

#[test]
fn maps_are_parameters_or_values() {
    let mix = |call: &str| params(&format!("read(\"data/a.txt\").{call}"));
    let expected = "#{ seed: 0, weights: #{ a: 1.0 } }";
    assert_eq!(mix("mix(#{ a: 1 })").to_string(), expected);
    assert_eq!(mix("mix(#{ weights: #{ a: 1 } })").to_string(), expected);
    assert_eq!(mix("mix(#{ a: 1 }, #{ seed: 3 })").to_string(), "#{ seed: 3, weights: #{ a: 1.0 } }");
    assert_eq!(mix("mix(#{ a: 1 }, #{})").to_string(), expected);
}

#[test]
fn functions_and_methods_are_the_same() {
    let a = good("let d = read(\"data/a.txt\"); tokenize(d, train_tokenizer(d))");
    let b = good("let d = read(\"data/a.txt\"); d.tokenize(d.train_tokenizer())");
    let c = good("let d = read(\"data/a.txt\"); let t = train_tokenizer([d]); t.tokenize([d])");
    assert_eq!(plan_ids(&a), plan_ids(&b));
    assert_eq!(plan_ids(&a), plan_ids(&c));
}

#[test]
fn ports_can_be_named() {
    let start = "let d = read(\"data/a.txt\"); let t = d.tokenize(d.train_tokenizer()); let m = #{ hidden_size: 8, n_layers: 1, n_heads: 1, \
                 n_kv_heads: 1, head_dim: 8, intermediate_size: 8 }; let c = pretrain(m, t, #{ tokens: 1 });";
    let named = good(&format!("{start} let x = c.grow(#{{ width: 2 }}); dpo(c, #{{ reference: x, beta: 0.2 }})"));
    let ordered = good(&format!("{start} let x = c.grow(#{{ width: 2 }}); dpo(c, x, #{{ beta: 0.2 }})"));
    assert_eq!(plan_ids(&named), plan_ids(&ordered));
    let files = good("read(#{ files: \"data/*\", format: \"txt\" })");
    assert!(matches!(&files.steps[0].inputs[0].source, Source::Files(files) if files.len() == 2));
    let several = good("read(\"data/a.txt\", \"data/b.txt\")");
    assert_eq!(several.steps[0].inputs.len(), 2);
}

#[test]
fn closures_can_be_chosen_from_several() {
    let text = "let d = read(\"data/a.txt\"); let by = #{ long: |x| x.n > 9, short: |x| x.n < 3 }; [d.filter(by.long), d.filter(by.short)]";
    let keeps: Vec<_> = good(text).steps[1..].iter().map(|step| step.params.get("keep").unwrap().to_string()).collect();
    assert_eq!(keeps, ["|a0| (a0.n > 9)", "|a0| (a0.n < 3)"]);
}
