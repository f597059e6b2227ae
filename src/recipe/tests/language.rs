//! The voice of a recipe: the flow of the front page, names, parameters, outputs, notes.

use plan::{StepId, Value};

use super::*;

pub(super) const FLOW: &str = r##"
let size = param("size", "nano", "nano | 190M | 1B | 7B");
import "olmo2" as olmo2;

let raw    = read("data/*.txt");                       // the sources
let clean  = raw.tag(["gopher", "c4"])
                .dedup(#{ by: "document" })
                .filter(|doc| doc.gopher.word_count >= 50 && doc.pii.count < 5)
                .mix(#{ prose: 0.6, code: 0.4 });
let parts  = clean.split(#{ valid: 0.01 });
let tok    = parts.train.train_tokenizer(#{ vocab_size: 4096 });
let tokens = parts.train.tokenize(tok);
let more   = parts.valid.tokenize(tok);

let seedling = pretrain(olmo2::model(size).half_width(), tokens, #{ tokens: 400_000 });
let base     = seedling.grow(#{ width: 2 }).pretrain(tokens, #{ tokens: 1_200_000 });
let soup     = average([42, 42069, 666].map(|seed| base.anneal(more, #{ seed: seed })));
let last     = soup.dpo(base).needs(#{ cpus: 2, memory_mib: 4096 });
output("report", evaluate([base, soup, last], parts.valid));
"##;

#[test]
fn the_flow_of_the_front_page() {
    let evaluation = good(FLOW);
    let expected = [
        "raw=read(files=data/a.txt+data/b.txt)",
        "tag=tag(documents=raw)",
        "dedup=dedup(documents=tag)",
        "filter=filter(documents=dedup)",
        "clean=mix(documents=filter)",
        "parts=split(documents=clean)",
        "tok=train_tokenizer(documents=parts.train)",
        "tokens=tokenize(documents=parts.train tokenizer=tok)",
        "more=tokenize(documents=parts.valid tokenizer=tok)",
        "seedling=pretrain(tokens=tokens)",
        "grow=grow(checkpoint=seedling)",
        "base=pretrain(start=grow tokens=tokens)",
        "anneal=anneal(checkpoint=base tokens=more)",
        "anneal-2=anneal(checkpoint=base tokens=more)",
        "anneal-3=anneal(checkpoint=base tokens=more)",
        "soup=average(checkpoints=anneal checkpoints=anneal-2 checkpoints=anneal-3)",
        "last=dpo(policy=soup reference=base)",
        "evaluate=evaluate(checkpoints=base checkpoints=soup checkpoints=last documents=parts.valid)",
    ];
    assert_eq!(all_shown(&evaluation), expected);
    let keep = evaluation.steps[3].params.get("keep");
    assert_eq!(keep, Some(&Value::Script("|a0| ((a0.gopher.word_count >= 50) && (a0.pii.count < 5))".into())));
    let model = evaluation.steps[9].params.get("model").unwrap();
    assert_eq!((model.get("hidden_size"), model.get("head_dim")), (Some(&Value::Int(64)), Some(&Value::Int(32))));
    let seeds: Vec<_> = evaluation.steps[12..15].iter().map(|step| step.params.get("seed").unwrap().to_string()).collect();
    assert_eq!(seeds, ["42", "42069", "666"]);
    let site = &evaluation.steps[12].site;
    assert_eq!((site.file.as_str(), site.line, site.column), ("recipes/r.rhai", 17, 57));
    assert_eq!(evaluation.steps[16].resources, plan::Resources { cpus: 2, memory_mib: 4096, gpus: 0 });
    assert_eq!(
        evaluation.outputs.iter().map(|output| (output.name.as_str(), output.step)).collect::<Vec<_>>(),
        [("report", StepId(17))]
    );
    assert!(plan::Plan::new(evaluation.steps, evaluation.outputs).is_ok());
}

#[test]
fn names_comments_and_layout_are_in_no_plan_id() {
    let ids = plan_ids(&good(FLOW));
    let renamed = FLOW
        .replace("seedling", "baby")
        .replace("tokens", "toks")
        .replace("toks:", "tokens:")
        .replace("doc.", "d.")
        .replace("|doc|", "| d |");
    assert_eq!(plan_ids(&good(&renamed)), ids);
    let laid_out =
        FLOW.replace(" >= ", ">=\n /* at least */ ").replace("let base ", "// a comment\nlet base ").replace("\n.", ".");
    assert_eq!(plan_ids(&good(&laid_out)), ids);
    let named = FLOW.replace("let tok ", "let tok_x ").replace("tokenize(tok)", "tokenize(tok_x).named(\"it\")");
    assert_eq!(plan_ids(&good(&named.replace(".named(\"it\");\nlet more", ";\nlet more"))), ids);
    let constant = FLOW
        .replace("|doc| doc.gopher.word_count >= 50", "|doc| doc.gopher.word_count >= least")
        .replace("let raw ", "let least = 50; let raw ");
    assert_eq!(plan_ids(&good(&constant)), ids);
    assert_ne!(plan_ids(&good(&FLOW.replace(">= 50", ">= 51"))), ids);
}

#[test]
fn handles_are_values() {
    let evaluation = good(
        "fn base() { read(\"data/a.txt\") }\nlet a = base();\nlet b = base();\nprint(a == b);\nprint(a == b.dedup());\nprint(a);\nprint(b.split().train);",
    );
    assert_eq!(evaluation.notes, ["true", "false", "documents from read", "documents from split.train"]);
    assert_eq!(all_shown(&evaluation)[0], "a=read(files=data/a.txt)");
    assert_eq!(evaluation.steps[0].site.line, 1);
}

#[test]
fn names_come_from_variables_lists_and_kinds() {
    let evaluation = good(
        r#"let a = read("data/a.txt");
           let runs = [1, 2].map(|seed| a.mix(#{ x: seed }));
           let named = a.dedup("p").named("mine");
           let by = #{ left: a.dedup("q") };
           let x = a.tag(["t"]); let x = x.tag(["u"]);
           a.dedup("r"); a.dedup("s");
           let dedup = a.dedup("v");"#,
    );
    let names: Vec<_> = evaluation.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["a", "runs-1", "runs-2", "mine", "by-left", "x", "x-2", "dedup-2", "dedup-3", "dedup"]);
}

#[test]
fn parameters_are_typed_and_listed() {
    let text = r#"let n = param("n", 3, "how many"); let lr = param("lr", 0.1); let m = param("m", "a", "which", ["a", "b"]);
                  let on = param("on", true, "whether"); print(`${n + 1} ${lr} ${m} ${on}`); print(param("n", 3));"#;
    let set = |settings: &[(&str, &str)]| with_modules(text, &[], settings);
    assert_eq!(set(&[]).unwrap().notes, ["4 0.1 a true", "3"]);
    let evaluation = set(&[("n", "1e3"), ("m", "b"), ("on", "false"), ("lr", "2")]).unwrap();
    assert_eq!(evaluation.notes, ["1001 2.0 b false", "1000"]);
    let listed: Vec<_> =
        evaluation.params.iter().map(|p| (p.name.as_str(), p.doc.as_str(), p.set_by_user, p.default.to_string())).collect();
    assert_eq!(listed[0], ("n", "how many", true, "3".to_owned()));
    assert_eq!(listed.len(), 4);
    let error = set(&[("n", "many"), ("m", "c"), ("mm", "1")]).unwrap_err();
    assert_eq!(
        messages(&error),
        [
            "parameter `m` is one of a | b, not `c`",
            "the recipe has no parameter `mm`; there are: n, lr, m, on",
            "parameter `n` is an integer (its default is 3), not `many`",
        ]
    );
    assert!(error.to_string().contains("--> --set mm=1\n  help: did you mean `m`?"), "{error}");
    let error = with_modules(FLOW, &[], &[("size", "2B")]).unwrap_err();
    assert!(error.to_string().contains("parameter `size` is one of nano | 190M | 1B | 7B, not `2B`"), "{error}");
}

#[test]
fn the_language_works_as_usual() {
    let evaluation = good(
        r#"
        const WIDTH = 4;
        fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } }
        fn wide() { global::WIDTH * 2 }
        let list = [3, 1, 2]; list.sort();
        let text = "ab,cd".split(",").map(|s| s.to_upper()).reduce(|all, s| if all == () { s } else { all + "-" + s });
        let map = #{ a: 1 }; map.b = 2;
        let total = 0; for x in list { total += x; }
        let word = switch total { 6 => "six", _ => "other" };
        print(`${fib(10)} ${list} ${text} ${map.keys().len()} ${total} ${word} ${2.0 ** 3.0} ${(2.0).sqrt() > 1.4} ${wide()}`);
        let f = |x| x * 2; print(f.call(4)); print([1, 2, 3].filter(|x| x > 1).len()); debug("here");
        "#,
    );
    assert_eq!(evaluation.notes, ["55 [1, 2, 3] AB-CD 2 6 six 8.0 true 8", "8", "2", "recipes/r.rhai:11:88: \"here\""]);
}

#[test]
fn captured_values_are_constants_of_a_closure() {
    let keep = |text: &str| {
        let evaluation = good(text);
        let Some(Value::Script(script)) = evaluation.steps.last().unwrap().params.get("keep").cloned() else {
            panic!("no closure")
        };
        script
    };
    let text = r#"
        let least = 50; let words = ["a", "b"];
        fn twice(n) { helper(n) * 2 } fn helper(n) { let m = n; if m > 100 { twice(m - 100) } else { m } }
        read("data/a.txt").filter(|doc| twice(doc.count) >= least && !(doc.word in words) && words.some(|w| w == doc.id))
    "#;
    let expected = "fn f0(a0) { (f1(a0) * 2) }\nfn f1(a0) { let a1 = a0; if (a1 > 100) { f0((a1 - 100)) } else { a1 } }\n\
                    |a0| ((f0(a0.count) >= 50) && (!contains([\"a\", \"b\"], a0.word)) && [\"a\", \"b\"].some((|a1| (a1 == a0.id))))";
    assert_eq!(keep(text).replace("([\"a\", \"b\"]).", "[\"a\", \"b\"]."), expected);
    assert_eq!(
        keep("fn good(d) { d.n > 1 } read(\"data/a.txt\").filter(good)"),
        keep("read(\"data/a.txt\").filter(|x| { x.n > 1 })")
    );
}

#[test]
fn a_closure_can_use_the_variable_whose_method_takes_it() {
    let text =
        "let s = #{ seeds: [1, 2], n: 3 }; let d = read(\"data/a.txt\"); let all = s.seeds.map(|x| d.mix(#{ a: s.n + x }));
                let list = [1, 2]; print(list.map(|x| x + list.len())); fn f(m) { m.seeds.map(|x| x + m.n) } print(f(s));
                let few = [d]; few.push(d.dedup(\"x\")); print(few.len());
                d.filter(|doc| doc.n > s.n);
                let t = #{ n: 1, deep: [1, #{ m: 7 }] }; t.n += 1; let f = |doc| doc.n > t.n + t.deep[1].m; t.n = 5; d.filter(f);
                fn change(c) { c.n = 8; c.n } print(change(s)); print([s].map(|e| e.n)); let u = s; u.n = 9; print(s.n + u.n);
                let total = 0; [1, 2].for_each(|x| total += this); print(total);";
    let evaluation = good(text);
    assert_eq!(evaluation.notes, ["[3, 4]", "[4, 5]", "2", "8", "[3]", "12", "3"]);
    let keeps: Vec<_> = evaluation.steps.iter().filter_map(|step| step.params.get("keep")).map(ToString::to_string).collect();
    assert_eq!(keeps, ["|a0| (a0.n > 3)", "|a0| (a0.n > (5 + 7))"]);
}
