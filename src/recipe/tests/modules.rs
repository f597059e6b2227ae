//! Imports: files beside the recipe, the standard library, and what is wrong with either.

use plan::Value;

use super::*;
use crate::recipe::{Origin, docs, docs_for, stdlib};

const MIXES: (&str, &str) = (
    "mixes.rhai",
    "/// A clean set.\nfn clean(d) { d.dedup(\"x\").filter(|doc| long_enough(doc)) }\nfn long_enough(doc) { doc.n > LIMIT() }\nprivate fn LIMIT() { 3 }\nexport const HALF = 0.5;\nfn step.twice() { this.dedup(\"1\").dedup(\"2\") }",
);

#[test]
fn files_come_before_the_standard_library() {
    let text = "import \"mixes\" as m; import \"olmo2\" as olmo2; let d = m::clean(read(\"data/a.txt\")); d.split(#{ valid: m::HALF }); d.twice(); print(olmo2::model());";
    let own = ("olmo2.rhai", "fn model() { 7 }");
    let evaluation = with_modules(text, &[MIXES, own], &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.notes, ["7"]);
    let keep = evaluation.steps[2].params.get("keep").unwrap().to_string();
    assert_eq!(keep, "fn f0(a0) { (a0.n > f1()) }\nfn f1() { 3 }\n|a0| f0(a0)");
    assert_eq!(evaluation.steps[2].site.to_string(), "recipes/mixes.rhai:2:28");
    assert_eq!(evaluation.steps[3].params.get("valid"), Some(&Value::Float(0.5)));
    assert_eq!(evaluation.steps.len(), 6);
    assert_eq!(evaluation.texts, [Origin::Recipe, Origin::File("mixes.rhai".into()), Origin::File("olmo2.rhai".into())]);
    let changed = with_modules(text, &[MIXES, ("olmo2.rhai", "fn model() { 8 }")], &[]).unwrap();
    assert_ne!(evaluation.recipe_digest, changed.recipe_digest);
    assert_eq!(plan_ids(&evaluation), plan_ids(&changed));
}

#[test]
fn constants_of_modules_travel_in_closures() {
    let text = "import \"mixes\" as m; read(\"data/a.txt\").filter(|doc| doc.n > m::HALF && m::long_enough(doc))";
    let evaluation = with_modules(text, &[MIXES], &[]).unwrap_or_else(|error| panic!("{error}"));
    let keep = evaluation.steps[1].params.get("keep").unwrap().to_string();
    assert_eq!(keep, "fn f0(a0) { (a0.n > f1()) }\nfn f1() { 3 }\n|a0| ((a0.n > 0.5) && f0(a0))");
}

#[test]
fn a_closure_of_a_module_travels_from_the_recipe() {
    let module = ("q.rhai", "fn above(limit) { |doc| score(doc) > limit }\nfn score(doc) { doc.a * 2 }");
    let text = "import \"q\" as q; let f = q::above(3); read(\"data/a.txt\").filter(f)";
    let evaluation = with_modules(text, &[module], &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.steps[1].params.get("keep").unwrap().to_string(), "fn f0(a0) { (a0.a * 2) }\n|a0| (f0(a0) > 3)");
}

#[test]
fn a_recipe_can_be_called_like_the_module_it_imports() {
    let world = MemoryWorld::new([("olmo2.rhai", "import \"olmo2\" as olmo2; print(olmo2::model(\"1B\").n_layers);")]);
    let evaluation = evaluate("olmo2.rhai", &world, &registry(), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.notes, ["16"]);
}

#[test]
fn folders_and_modules_of_modules() {
    let modules = [
        ("lib/a.rhai", "import \"b\" as b; fn start() { [1, 2].map(|x| b::add(x)) }"),
        ("lib/b.rhai", "fn add(x) { x + one() } fn one() { 1 }"),
    ];
    let evaluation =
        with_modules("import \"lib/a\" as a; print(a::start());", &modules, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.notes, ["[2, 3]"]);
}

#[test]
fn steps_of_a_closure_given_to_a_module_are_declared_where_it_stands() {
    let modules = [("each.rhai", "\n\nfn each(list, f) { list.map(f) }")];
    let text = "import \"each\" as e;\nlet d = read(\"data/a.txt\");\nlet all = e::each([1, 2], |x| d.mix(#{ a: x }));";
    let evaluation = with_modules(text, &modules, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.steps[2].site.to_string(), "recipes/r.rhai:3:33");
    assert_eq!(evaluation.steps[2].name, "all-2");
}

#[test]
fn a_module_can_give_its_function_the_name_of_a_step() {
    let modules = [("m.rhai", "fn dedup(d) { steps::dedup(d, \"mine\") }")];
    let evaluation = with_modules("import \"m\" as m; m::dedup(read(\"data/a.txt\"));", &modules, &[])
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(evaluation.steps[1].params.get("by"), Some(&Value::Str("mine".into())));
    assert_eq!(evaluation.steps[1].site.to_string(), "recipes/m.rhai:1:22");
    assert_eq!(messages(&bad("steps::dedupp(1)")), ["there is no step `dedupp`"]);
}

#[test]
fn what_is_wrong_with_imports() {
    let told = |text: &str, modules: &[(&str, &str)]| {
        let error = with_modules(text, modules, &[]).expect_err("a mistake");
        error
            .mistakes
            .iter()
            .map(|m| format!("{} {}{}", m.site, m.message, m.suggestion.as_ref().map_or(String::new(), |s| format!(" [{s}]"))))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told("import \"olmo22\" as o; let m = o::model(1); read(\"data/a.txt\").dedup(1);", &[]),
        [
            "recipes/r.rhai:1:8 there is no module `olmo22`: neither a file beside `recipes/r.rhai` nor a module of the standard library [did you mean `olmo2`?]",
            "recipes/r.rhai:1:69 parameter `by` of `dedup`: expected string, found integer 1",
        ]
    );
    assert_eq!(
        told("import \"mixes\" as m; m::cleen(1); m::clean(); m::LIMIT(); m::HALFF; mm::x();", &[MIXES]),
        [
            "recipes/r.rhai:1:25 module `m` has no function `cleen`; there are: clean, long_enough [did you mean `m::clean`?]",
            "recipes/r.rhai:1:38 `m::clean` takes (d), and 0 arguments were given",
            "recipes/r.rhai:1:50 module `m` has no function `LIMIT`; there are: clean, long_enough",
            "recipes/r.rhai:1:62 module `m` exports no variable `HALFF` [did you mean `HALF`?]",
            "recipes/r.rhai:1:69 unknown module `mm` [did you mean `m`?]",
        ]
    );
    assert_eq!(
        told("import \"bad\" as b; b::f(1).dedup(2);", &[("bad.rhai", "fn f(x) { x + }")]),
        [
            "recipes/r.rhai:1:34 parameter `by` of `dedup`: expected string, found integer 2",
            "recipes/bad.rhai:1:15 syntax: Unexpected '}'"
        ]
    );
    let circle = told("import \"a\" as a;", &[("a.rhai", "import \"b\" as b;"), ("b.rhai", "import \"a\" as a;")]);
    assert!(
        circle[0].contains("modules import each other in a circle: recipes/a.rhai -> recipes/b.rhai -> recipes/a.rhai"),
        "{circle:?}"
    );
    assert!(told("import \"olmo2\" as o; o::model(\"2B\")", &[])[0].contains("OLMo 2 has no size \"2B\""));
}

#[test]
fn the_shapes_of_olmo_2_are_those_of_the_paper() {
    // Parameters without the input embedding (arXiv 2501.00656; counted on the released models).
    let counts = [("1B", 1_279_395_840), ("7B", 6_887_575_552), ("13B", 13_202_396_160), ("32B", 31_720_477_696_u64)];
    for (size, expected) in counts {
        let count = format!(
            "import \"olmo2\" as olmo2; let m = olmo2::model(\"{size}\"); let q = m.n_heads * m.head_dim; let kv = m.n_kv_heads * m.head_dim;
             let block = m.hidden_size * (2 * q + 2 * kv + 3 * m.intermediate_size) + q + kv + 2 * m.hidden_size;
             print(m.n_layers * block + m.hidden_size + 100352 * m.hidden_size);"
        );
        assert_eq!(good(&count).notes, [expected.to_string()], "{size}");
    }
    let halves = "import \"olmo2\" as olmo2; let m = olmo2::model(\"nano\"); print(m.half_width()); print(m.half_depth().n_layers); print(m.hidden_size)";
    let notes = good(halves).notes;
    assert!(notes[0].contains("\"hidden_size\": 64") && notes[0].contains("\"head_dim\": 32"), "{notes:?}");
    assert_eq!(notes[1..], ["2", "128"]);
}

#[test]
fn every_module_parses_and_is_documented() {
    for (name, _) in stdlib::MODULES {
        let imported = format!("import \"{name}\" as m;");
        if let Err(error) = run(&imported) {
            // Modules may use kinds that the tests' registry lacks, but they must parse.
            assert!(!error.to_string().contains("syntax"), "{error}");
        }
    }
}

#[test]
fn the_reference_shows_steps_functions_and_modules() {
    let registry = registry();
    let all = docs(&registry);
    for part in [
        "## mix\n\n`mix(documents..., weights, #{ ... })` makes documents",
        "| `seed` | count | `0` |",
        "`olmo2::model(size)`: The OLMo 2 model",
        "`map.half_width()`",
        "param(name, default, doc)",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    assert!(
        docs_for(&registry, "pretrain")
            .unwrap()
            .contains("| `model.hidden_size` | count | must be given | 2 to 1000000 | Width. |")
    );
    assert!(
        docs_for(&registry, "output").is_some()
            && docs_for(&registry, "olmo2::model").is_some()
            && docs_for(&registry, "olmo2").is_some()
    );
    assert!(docs_for(&registry, "named").is_some() && docs_for(&registry, "nothing").is_none());
}
