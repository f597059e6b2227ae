//! Every other command once, on a small run.

use crate::bench::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    for index in 0..6 {
        bench.write(&format!("texts/{index}.txt"), &format!("Text number {index} is about the number {index}. ").repeat(9));
    }
    bench.write(
        "r.rhai",
        "let raw = text(\"texts/*.txt\", #{ source: \"notes\" });\nlet clean = raw.dedup();\noutput(\"clean\", clean);\n",
    );
    bench.run_ok(&["r.rhai"]);
    bench
}

#[test]
fn graphs_in_three_formats() {
    let bench = bench();
    assert!(bench.ok(&["graph", "r.rhai", "--format", "dot"]).starts_with("digraph"));
    assert!(bench.ok(&["graph", "r.rhai"]).contains("s0 -->|\"documents\"| s1"));
    let svg = bench.ok(&["graph", "r.rhai", "--format", "svg"]);
    assert!(svg.starts_with("<svg") && svg.contains(">clean</text>"));
}

#[test]
fn runs_show_logs_and_diff() {
    let bench = bench();
    bench.write(
        "r.rhai",
        "let raw = text(\"texts/*.txt\", #{ source: \"other\" });\nlet clean = raw.dedup();\noutput(\"clean\", clean);\n",
    );
    bench.run_ok(&["r.rhai"]);
    let runs = bench.ok(&["runs"]);
    assert!(runs.contains("r-1  succeeded") && runs.contains("r-2  succeeded"), "{runs}");
    let diff = bench.ok(&["diff", "r-1", "r-2"]);
    assert!(diff.contains("param source: \"notes\" -> \"other\""), "{diff}");
    assert!(bench.ok(&["diff", "r-1", "r-1"]).contains("same parameters"));
    assert!(bench.ok(&["show", "r-1"]).contains("executed"));
    let shown = bench.ok(&["show", "clean", "--run", "r-1"]);
    assert!(shown.contains("metric source/notes = 6"), "{shown}");
    bench.ok(&["logs", "r-1"]);
}

#[test]
fn export_copies_and_does_not_overwrite() {
    let bench = bench();
    bench.ok(&["export", "clean", "out"]);
    assert!(bench.path("out").join("part-00000.jsonl.zst").exists());
    let said = bench.say(&["export", "clean", "out"]);
    assert!(said.code == 2 && said.err.contains("exists"), "{}", said.err);
}

#[test]
fn documentation_comes_from_the_registry() {
    let bench = bench();
    let docs = bench.ok(&["docs"]);
    for kind in ["cargo_crates", "dedup", "pretrain", "rlvr", "evaluate", "report"] {
        assert!(docs.contains(kind), "{kind} is not documented");
    }
    assert!(bench.ok(&["docs", "split"]).contains("valid"));
    assert!(bench.ok(&["docs", "sql"]).contains("metrics"));
    assert!(bench.say(&["docs", "splt"]).err.contains("did you mean `split`?"));
}

#[test]
fn store_commands() {
    let bench = bench();
    assert!(bench.ok(&["cache", "verify"]).contains("0 damaged"));
    bench.ok(&["cache", "usage"]);
    assert!(bench.ok(&["cache", "gc", "--dry-run"]).contains("would go"));
    assert!(bench.ok(&["completions", "bash"]).contains("workbench"));
    let pictured = bench.ok(&["watch", "--svg", "picture.svg"]);
    assert!(pictured.is_empty() && std::fs::read_to_string(bench.path("picture.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn two_runs_at_once_share_the_work() {
    let bench = bench();
    bench.write(
        "s.rhai",
        "let raw = text(\"texts/*.txt\", #{ source: \"shared\" });\noutput(\"clean\", raw.tag([\"gopher\", \"c4\"]).dedup());\n",
    );
    let mut first = bench.start(&["s.rhai"], "one.jsonl");
    let second = bench.run_ok(&["s.rhai"]);
    assert!(first.wait().unwrap().success());
    let events = std::fs::read_to_string(bench.path("one.jsonl")).unwrap();
    let first = crate::bench::ran(&events, 0);
    assert_eq!(first.digests, second.digests);
    assert_eq!(first.executed.len() + second.executed.len(), 3, "each step ran once in all");
}
