//! What is wrong is all reported at once, where it is and with what was meant.

use super::*;

/// `line:column message [suggestion]` of every mistake.
fn told(text: &str) -> Vec<String> {
    let error = bad(text);
    let tell = |mistake: &crate::recipe::Mistake| {
        let suggestion = mistake.suggestion.as_ref().map_or(String::new(), |text| format!(" [{text}]"));
        format!("{}:{} {}{suggestion}", mistake.site.line, mistake.site.column, mistake.message)
    };
    error.mistakes.iter().map(tell).collect()
}

#[test]
fn many_mistakes_at_once() {
    let text = r#"let raw = read("data/*.csv");
let clean = raw.tagg(["gopher"]).dedup(#{ bye: "document" });
let parts = clean.split(#{ valid: 1.5, sed: 3 });
let tok = parts.train_tokenizer();
let x = parts.trian.mix(#{ a: -1.0, b: "x" });
let y = unknown + 1;
let c = pretrain(parts.train.tokenize(tok), #{ lr: 1 });
c.tokenize();
"#;
    let expected = [
        "1:16 no file is called `data/*.csv`; names are relative to the recipe's folder",
        "2:17 unknown function `tagg` [did you mean `tag`?]",
        "2:43 parameter `bye` of `dedup`: no such parameter; there are: by [did you mean `by`?]",
        "3:28 parameter `valid` of `split`: 1.5 is outside 0 to 1",
    ];
    let told = told(text);
    assert_eq!(&told[..3], &expected[..3], "{told:#?}");
    assert!(
        told.iter()
            .any(|line| line
                == "3:40 parameter `sed` of `split`: no such parameter; there are: valid, seed [did you mean `seed`?]"),
        "{told:#?}"
    );
    assert!(
        told.iter().any(|line| line
            .starts_with("4:17 `train_tokenizer` takes documents, not a split [take a part of it: `.train` or `.valid`]")),
        "{told:#?}"
    );
    assert!(
        told.iter().any(|line| line == "5:15 a split has no `trian`; its parts are: train, valid [did you mean `train`?]"),
        "{told:#?}"
    );
    assert!(
        told.iter().any(|line| line.starts_with("5:37 parameter `weights.b` of `mix`: expected number, found string \"x\"")),
        "{told:#?}"
    );
    assert!(told.iter().any(|line| line == "6:9 unknown variable `unknown`"), "{told:#?}");
    assert!(told.iter().any(|line| line.starts_with("7:9 parameter `tokens` of `pretrain`: must be given")), "{told:#?}");
    assert!(
        told.iter().any(|line| line.starts_with("8:3 `tokenize` takes documents, a tokenizer, not a checkpoint")),
        "{told:#?}"
    );
}

#[test]
fn it_looks_like_a_compiler() {
    let error = bad("let a = read(\"data/a.txt\");\nlet b = a.split(#{ valid: 0.1, sede: 1 });\n");
    let expected = "error: parameter `sede` of `split`: no such parameter; there are: valid, seed
 --> recipes/r.rhai:2:32
  |
2 | let b = a.split(#{ valid: 0.1, sede: 1 });
  |                                ^^^^
  = help: did you mean `seed`?";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn syntax_and_runtime_errors_have_places() {
    assert_eq!(told("let a = ;"), ["1:9 syntax: Unexpected ';'"]);
    assert_eq!(told("let a = [1];\na[3]"), ["2:3 array index 3 out of bounds: only 1 element in array"]);
    assert_eq!(told("fn f(x) { throw `no ${x}` }\nf(1);"), ["1:11 no 1 (in `f`, called at recipes/r.rhai:2:1)"]);
    assert_eq!(told("let m = #{ a: 1 }; m.b"), ["1:22 the map has no entry `b`"]);
    assert_eq!(told("loop {}").len(), 1);
    assert_eq!(told("let x = 1; x.to_upper()"), ["1:14 no function `to_upper` takes (i64)"]);
    assert_eq!(told("read(\"data/a.txt\").to_upper()"), ["1:20 documents has no `to_upper` that takes these arguments"]);
    assert_eq!(told("timestamp()"), ["1:1 unknown function `timestamp` [did you mean `timeout`?]"]);
}

#[test]
fn unknown_names_are_all_found_before_anything_runs() {
    let text = "fn f(a) { a + outer } let outer = 1;\nlet b = outr + 1;\nif false { nothing_like_it(); let z = outer.to_uper(); }\nlet g = |x| x + y; for i in 0..3 { print(j); } olmo2::model(1);";
    let expected = [
        "1:15 unknown variable `outer` [a function does not see the variables of the recipe; pass it as an argument]",
        "2:9 unknown variable `outr` [did you mean `outer`?]",
        "3:12 unknown function `nothing_like_it`",
        "3:45 unknown function `to_uper` [did you mean `to_upper`?]",
        "4:17 unknown variable `y`",
        "4:42 unknown variable `j`",
        "4:48 unknown module `olmo2` [import it first: import \"olmo2\" as olmo2;]",
    ];
    assert_eq!(told(text), expected);
}

#[test]
fn calls_that_do_not_fit() {
    let start = "let d = read(\"data/a.txt\"); let t = d.train_tokenizer(); let k = d.tokenize(t);\n";
    let told = |call: &str| told(&format!("{start}{call}")).join(" / ");
    assert_eq!(told("d.tokenize()"), "2:3 `tokenize` needs a tokenizer: What it works on");
    assert_eq!(told("d.tokenize(t, t)"), "2:15 `tokenize` takes one `tokenizer`, and a second was given");
    assert_eq!(
        told("tag([d, d], [\"x\"])"),
        "2:5 `tag` takes one `documents`, and a list of 2 was given [call it for each: `list.map(|one| one.tag(...))`]"
    );
    assert_eq!(told("d.dedup(1)"), "2:9 parameter `by` of `dedup`: expected string, found integer 1");
    assert_eq!(told("d.dedup(\"x\", \"y\")"), "2:14 `dedup` takes `by` without a name; there is one value too many");
    assert_eq!(told("d.dedup(\"x\", #{ by: \"y\" })"), "2:17 parameter `by` of `dedup` is given twice");
    assert_eq!(told("d.split(3)"), "2:9 `split` takes its parameters by name, in a map `#{...}`; there is one value too many");
    assert_eq!(
        told("d.tag([\"a\", d])"),
        "2:7 parameter `taggers` of `tag` cannot hold documents [artifacts go to its inputs: `documents`]"
    );
    assert_eq!(told("d.dedup(0..3)"), "2:9 parameter `by` of `dedup` cannot hold a range");
    assert_eq!(told("average([])"), "2:1 `average` needs a checkpoint (port `checkpoints`): What it works on");
    assert_eq!(told("d.train()"), "2:3 unknown function `train` [`.train` is a part of an artifact; write it without brackets]");
    assert_eq!(told("d.dedup"), "2:3 documents has no `dedup`; it has no parts [`dedup` is a step; call it: .dedup(...)]");
    assert_eq!(
        told("d.needs(#{ cpu: 1 })"),
        "2:3 a step cannot need `cpu`; there are: cpus, memory_mib, gpus, limits [did you mean `cpus`?]"
    );
    assert_eq!(told("d.named(\"a b\")"), "2:3 `a b` is no name for a step: letters, digits, `-`, `_` and `.` can be used");
    assert_eq!(told("output(\"x\", 1)"), "2:1 an output is written output(name, artifact) or output(name, [artifacts])");
    assert!(told("output(\"x\", d); output(\"x\", k);").starts_with("2:17 two outputs are called `x`"));
    assert_eq!(
        told("let p = #{ sed: 1 }; d.split(p)"),
        "2:24 parameter `sed` of `split`: no such parameter; there are: valid, seed [did you mean `seed`?]"
    );
    assert_eq!(told("k.dpo(d)"), "2:1 `dpo` takes a checkpoint (port `policy`), a checkpoint (port `reference`), not tokens / 2:7 `dpo` takes a checkpoint (port `policy`), a checkpoint (port `reference`), not documents".replace("2:1 ", "2:3 "));
}

#[test]
fn closures_that_cannot_travel() {
    let start = "let d = read(\"data/a.txt\"); let n = 0; let deep = #{ d: d };\n";
    let told = |call: &str| told(&format!("{start}{call}")).join(" / ");
    let no = "this closure cannot be a parameter of `filter`: ";
    assert_eq!(
        told("d.filter(|x| tokenize(x) == x)"),
        format!("2:14 {no}it calls `tokenize`, but a closure runs inside a step and cannot declare one")
    );
    assert_eq!(
        told("let e = d; d.filter(|x| x == e)"),
        format!(
            "2:30 {no}it captures `e`, and documents is an artifact, which is not there yet when the closure is written down"
        )
    );
    assert_eq!(
        told("let e = d; e.filter(|x| x == deep)"),
        format!(
            "2:30 {no}it captures `deep`, and documents is an artifact, which is not there yet when the closure is written down"
        )
    );
    assert!(told("d.filter(|x| { n += 1; n > 3 })").starts_with(&format!("2:16 {no}it assigns to `n`, which it captures")));
    assert!(told("d.filter(|x| switch x.a { 1 => true, _ => false })").contains("it uses `switch`"));
    assert!(told("d.filter(|x| param(\"a\", 1) > x.n)").contains("it calls `param`, which does not exist inside a step"));
    assert!(told("d.filter(|x| this.a > 1)").contains("it uses `this`"));
}

#[test]
fn a_mistake_in_a_step_does_not_hide_later_ones() {
    let told = told("let d = read(\"no\"); let e = d.split(#{ valid: 2 }).train.tag(1); e.dedup(2);");
    assert_eq!(told.len(), 4, "{told:#?}");
}
