//! Canonical texts are fixed points that mean what the source means.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rhai::{Dynamic, FnPtr};

use plan::Value;

use super::*;
use crate::recipe::sandbox::recipe_engine;

fn of(source: &str) -> Result<String, Refusal> {
    let text = Text::parse(&recipe_engine(), "t", source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let pointer = recipe_engine().eval_ast::<FnPtr>(&text.ast).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut printed = canonical::print(&pointer, None, &Alone(Arc::new(text)))?;
    for _ in 0..8 {
        let again = reprint(&printed)?;
        if again == printed {
            return Ok(printed);
        }
        printed = again;
    }
    panic!("{source} does not settle: {printed}")
}

#[test]
fn texts_are_normal() {
    let cases = [
        ("|doc| doc.a.b >= 50 && doc.c < 5 // note", "|a0| ((a0.a.b >= 50) && (a0.c < 5))"),
        ("|x, y| { let z = x; z + y * 2 }", "|a0, a1| { let a2 = a0; (a2 + (a1 * 2)) }"),
        ("|x| if x { 1 } else if !x { 2 }", "|a0| { if a0 { 1 } else { if (!a0) { 2 } } }"),
        ("|x| x[0][1].a[x.b]?.c?[2].get(3)", ""),
        ("|x| (x.a).b", "|a0| a0.a.b"),
        ("|x| `a${x + 1}b`", "|a0| `${\"a\"}${(a0 + 1)}${\"b\"}`"),
        ("|x| { for (a, i) in x { if a > i { continue; } break; } while x > 1 { x -= 1; } do { x += 1; } until x > 9; x }", ""),
        ("|x| x.map(|y| y + x.len())", "|a0| a0.map((|a1| (a1 + a0.len())))"),
        ("|x| { let f = |y| |z| x + y + z; f.call(1).call(2) }", ""),
        ("|x| #{ a: x, \"b c\": [1, ()] }", "|a0| #{\"a\": a0, \"b c\": [1, ()]}"),
        ("|x| { try { throw x } catch (e) { e } }", "|a0| { try { throw a0 } catch (a1) { a1 } }"),
        ("|x| x in 0..5 || 'c' == x || -x < -1 || -1.5e-7 < x", ""),
        ("|x| x ?? return 3", ""),
        ("|| 1", "|| 1"),
        ("fn f(x) { x.g(1) } fn g(y) { this + y } |x| f(x)", "fn f0(a0) { a0.f1(1) }\nfn f1(a0) { (this + a0) }\n|a0| f0(a0)"),
        ("fn f(x) { x } |x| x.map(f)", "fn f0(a0) { a0 }\n|a0| a0.map(f0)"),
        ("let n = -5; |x| -n + x", ""),
        ("let n = [1, #{ a: -1.0 }]; |x| n[1].a", ""),
        ("|x| { loop { x += 1; if x > 3 { break x; } } }", ""),
        (
            "|x| { let y = x; let x = y + 1; { let x = 2; y += x; } x + y }",
            "|a0| { let a1 = a0; let a2 = (a1 + 1); { let a3 = 2; a1 += a3 } (a2 + a1) }",
        ),
    ];
    for (source, expected) in cases {
        let text = of(source).unwrap_or_else(|refusal| panic!("{source}: {refusal:?}"));
        if !expected.is_empty() {
            assert_eq!(text, expected, "{source}");
        }
        assert_eq!(reprint(&text).unwrap(), text, "{source}");
    }
}

#[test]
fn closures_are_called_with_documents() {
    let closure = Closure::compile(&of("|doc| doc.gopher.word_count >= 50 && doc.text.contains(\"x\")").unwrap()).unwrap();
    assert!(closure.reads("text") && closure.reads("gopher") && !closure.reads("pii"));
    let attributes = |count: f64| BTreeMap::from([("gopher".to_owned(), BTreeMap::from([("word_count".to_owned(), count)]))]);
    let call = |text: &str, count: f64| closure.call_document(&[("text", text), ("id", "7")], &attributes(count));
    assert_eq!(call("xyz", 50.0), Ok(Value::Bool(true)));
    assert_eq!(call("xyz", 49.0), Ok(Value::Bool(false)));
    assert_eq!(call("abc", 99.0), Ok(Value::Bool(false)));
    assert_eq!(closure.holds(&serde_json::json!({ "text": "x", "gopher": { "word_count": 50 }, "other": null })), Ok(true));
    let error = Closure::compile("|a0| (a0.gopher.word_cout > 1)").unwrap().call_document(&[], &attributes(1.0)).unwrap_err();
    assert_eq!(error, "the map has no entry `word_cout`");
    assert!(Closure::compile("|a0| a0").unwrap().reads("anything"));
    assert!(Closure::compile("|a0| a0[a0.b]").unwrap().reads("anything"));
    let inner = Closure::compile("|a0| a0.b.map((|a1| (a1 + a0.c)))").unwrap();
    assert!(inner.reads("anything"));
}

#[test]
fn closures_fail_with_words() {
    let call = |text: &str, argument: Value| Closure::compile(text).unwrap().call(&[argument]);
    assert_eq!(call("|a0| (a0 * 2)", Value::Int(4)), Ok(Value::Int(8)));
    assert_eq!(
        call("|a0| { loop {} }", Value::Null).unwrap_err(),
        "the recipe takes too many operations; is there an endless loop?"
    );
    assert!(call("|a0| (|a1| a1)", Value::Null).unwrap_err().contains("not a plain value"));
    assert!(Closure::compile("1 + 1").is_err() && Closure::compile("|").is_err() && Closure::compile("").is_err());
    assert_eq!(
        Closure::compile("|a0, a1| a0").unwrap().call(&[Value::Null]).unwrap_err(),
        "the closure takes 2 arguments, and 1 are given"
    );
}

#[test]
fn closures_run_on_many_threads() {
    use rayon::prelude::*;
    let closure =
        Closure::compile("fn f0(a0) { if (a0 < 2) { a0 } else { (f0((a0 - 1)) + f0((a0 - 2))) } }\n|a0| f0(a0)").unwrap();
    let results: Vec<_> = (0..64).into_par_iter().map(|_| closure.call(&[Value::Int(12)])).collect();
    assert!(results.iter().all(|result| *result == Ok(Value::Int(144))));
}

/// Expressions over the integers `x`, `y`, a captured `k`, and what is bound within.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-20i64..20).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["x", "y", "k", "w.a", "w.b[1]", "w[\"a\"]"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        let three = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(vec!["+", "-", "*", "|", "&", "^"]))
                .prop_map(|((a, b), op)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("({a})")),
            three.clone().prop_map(|(a, b, c)| format!("(if ({a}) > ({b}) {{ {c} }} else {{ {a} }})")),
            three
                .clone()
                .prop_map(|(a, b, c)| format!("(if !(({a}) == ({b})) && ({c}) != 3 || ({a}) <= 2 {{ {b} }} else {{ {c} }})")),
            pair.clone().prop_map(|(a, b)| format!("({{ let x = {a}; let z = x; {{ let x = z; z += x; }} x + z + {b} }})")),
            pair.clone().prop_map(|(a, b)| format!("twice({a}, {b})")),
            pair.clone().prop_map(|(a, b)| format!("[{a}, {b}].map(|v| v + x + k)[1]")),
            pair.clone().prop_map(|(a, b)| format!("#{{ p: {a}, q: [{b}] }}.q[0]")),
            pair.clone().prop_map(|(a, b)| format!(
                "({{ let s = 0; for (e, i) in [{a}, {b}, 5] {{ if e == 5 {{ continue; }} s += e * i; }} s }})"
            )),
            pair.clone().prop_map(|(a, b)| format!("`${{{a}}}|${{{b}}}`.len()")),
            pair.prop_map(|(a, b)| format!("(|v, u| v - u).call({a}, {b})")),
        ]
    })
}

#[test]
fn values_nested_deep_do_not_end_the_process() {
    // On a thread of the tests, with a stack far too small for it.
    let (open, close) = ("[".repeat(14), "]".repeat(14));
    let text = of(&format!("|n| {{ let a = []; for i in 0..n {{ a = {open}a{close}; }} a == a }}")).unwrap();
    assert_eq!(Closure::compile(&text).unwrap().call(&[Value::Int(2000)]), Ok(Value::Bool(true)));
    let text = of("|n| { let a = []; for i in 0..n { a = [a]; } a }").unwrap();
    assert!(Closure::compile(&text).unwrap().call(&[Value::Int(1000)]).unwrap_err().contains("not a plain value"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_closures_settle_and_mean_the_same(body in expressions(), x in -9i64..9, y in -9i64..9, k in -9i64..9) {
        let source = format!("fn twice(a, b) {{ let c = a; c * 2 - b }} let k = {k}; let w = #{{ a: 3, b: [4, 5] }}; |x, y| {body}");
        let mut engine = recipe_engine();
        engine.set_max_expr_depths(0, 0);
        let parsed = Text::parse(&engine, "t", &source);
        prop_assume!(parsed.is_ok());
        let text = parsed.unwrap();
        let pointer = engine.eval_ast::<FnPtr>(&text.ast).unwrap();
        let expected = pointer.call::<Dynamic>(&engine, &text.ast, (x, y));
        let Ok(mut printed) = canonical::print(&pointer, None, &Alone(Arc::new(text))) else { return Err(TestCaseError::fail(source)) };
        for _ in 0..8 {
            let again = reprint(&printed).map_err(|refusal| TestCaseError::fail(format!("{source}\n{refusal:?}")))?;
            if again == printed {
                break;
            }
            printed = again;
        }
        prop_assert_eq!(&reprint(&printed).unwrap(), &printed);
        let closure = Closure::compile(&printed).unwrap();
        let actual = closure.call(&[Value::Int(x), Value::Int(y)]);
        match expected {
            Ok(value) => prop_assert_eq!(actual, Ok(Value::Int(value.as_int().unwrap())), "{}\n{}", source, printed),
            Err(_) => prop_assert!(actual.is_err(), "{}\n{}", source, printed),
        }
    }
}
