//! One tiny run of every kind, pinned: bytes for texts and tokens, measurements at stated precision for tensors. When a line moves,
//! raise the VERSION of its kind and say so under "Key changes" in CHANGELOG.md.

use std::fmt::Write;

use crate::bench::repository;
use crate::training;

/// Kinds whose artifacts are bytes that do not depend on the processor.
const BYTES: &[&str] = &[
    "text",
    "dolma",
    "warc",
    "tag",
    "tag_urls",
    "quality",
    "train_classifier",
    "classify",
    "dedup",
    "split",
    "train_tokenizer",
    "tokenize",
    "problems",
    "demonstrations",
    "exercises",
    "filter",
    "merge",
    "merge_tokens",
    "minhash",
    "dedup_substrings",
    "drop_repetitive",
    "decontaminate",
    "replace_spans",
    "dedup_attributes",
    "seen",
    "upsample",
    "analyze",
    "compare_corpora",
    "corpus_report",
    "index",
];

#[test]
fn kinds_make_what_they_made() {
    let bench = training::bench();
    let more = r#"
let better = raw.tag(["pii", "c4", "language"]).filter(|doc| doc.text.len() > 100).mask_pii();
let rows = jsonl("rows.jsonl");
let blend = [better, rows].mix(#{ notes: 0.5, rows: 0.5 }, #{ max_repetition: 20.0 });
let drills = problems(8, #{ seed: 9 }).exercises();
let corpus = dolma("corpus/documents/**", #{ attributes: "corpus/attributes/**" });
let pages = warc("pages.warc");
let whole = [corpus, rows, pages].merge();
let ids = [rows.tokenize(tok), drills.tokenize(tok)].merge_tokens(#{ max_size: 40 });
let listed = rows.tag_urls(#{ lists: #{ domain_blocklist_mine: "bad.txt" } });
let judged = listed.quality("dolma");
let judge = [raw, rows].train_classifier(#{ dim: 4, buckets: 50, epochs: 2 });
let told = rows.classify(judge, #{ name: "kind" });
output("judged", judged);
output("told", told);
output("blend", blend);
output("whole", whole);
output("ids", ids);
let clean = raw.minhash().dedup_substrings(200).drop_repetitive().decontaminate(held_out, #{ least_words: 3 });
let replaced = raw.tag(["gopher_v1"]).replace_spans([#{ span: "gopher_v1__gopher_v1__word_count", min_score: 1e9 }]);
let marks = raw.dedup_attributes("paragraph", #{ separator: "\n", min_bytes: 1, attribute: "dup" });
let unseen = rows.dedup(raw.seen("paragraph", #{ expected: 1000 }), "paragraph");
let more = raw.tag(["gopher_v1"]).upsample("gopher_v1__gopher_v1__word_count", 8000);
output("clean", clean);
output("replaced", replaced);
output("marks", marks);
output("unseen", unseen);
output("more", more);
output("drills", drills);
let found = raw.analyze(#{
    analyses: ["summary", "common_ngrams", "duplicates", "lengths", "pii", "demographics"],
    ngrams: [1, 3],
});
let sides = [raw, rows].compare_corpora(#{ names: ["raw", "rows"], ngrams: [1] });
output("corpus", [found, sides].corpus_report(#{ names: ["raw", "both"] }));
output("searchable", raw.index("words"));
"#;
    bench.write("bad.txt", "example.org\n");
    bench.write("rows.jsonl", "{\"id\":\"a\",\"text\":\"Write to me at someone@example.org, please do.\",\"source\":\"rows\"}\n");
    bench.write("corpus/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"One.\",\"source\":\"s\"}\n");
    bench.write("corpus/attributes/t/a.jsonl", "{\"id\":\"a\",\"attributes\":{\"t__t__n\":[[0,4,0.5]]},\"source\":\"s\"}\n");
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<h1>Title</h1><p>Some &eacute; text.</p>";
    let head = format!("WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {}\r\n\r\n", page.len());
    bench.write("pages.warc", &format!("{head}{page}\r\n\r\n"));
    bench.write("r.rhai", &format!("{}{more}", training::TINY));
    let ran = bench.run_ok(&["r.rhai"]);
    let plan: serde_json::Value = serde_json::from_str(&bench.ok(&["plan", "r.rhai", "--json"])).unwrap();
    let mut text = String::new();
    for step in plan.as_array().unwrap() {
        let (name, kind) = (step["step"].as_str().unwrap(), step["kind"].as_str().unwrap());
        if BYTES.contains(&kind) || ["jsonl", "mix", "mask_pii"].contains(&kind) {
            writeln!(text, "{name} {kind} {}", &ran.digests[name][..16]).unwrap();
        }
        for (metric, value) in &ran.figures[name] {
            let measured =
                metric.starts_with("train/") || metric.starts_with("eval/held_out/") || metric.starts_with("cost/tokens");
            if measured || metric == "model/parameters" {
                writeln!(text, "{name} {kind} {metric} {value:.3}").unwrap();
            }
        }
    }
    let path = repository().join("tests/golden.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_default();
    for (made, expected) in text.lines().zip(pinned.lines()) {
        assert_eq!(made, expected, "raise the VERSION of this kind, note the key change, then run with UPDATE_GOLDEN=1");
    }
    assert_eq!(text.lines().count(), pinned.lines().count(), "a kind has no golden line, or one too many");
}
