//! Corpora in and out: Dolma files both ways, rows that cannot be read, shards.

use std::io::Read;
use std::path::Path;

use crate::bench::{Bench, repository};

/// Taggers that dolma 1.2.1 ran on the fixtures; two of them stop there on texts without words.
const TAGGERS: &[&str] = &[
    "gopher_v1",
    "gopher_v2",
    "c4_v1",
    "c4_v2",
    "pii_regex_v1",
    "pii_regex_v2",
    "pii_regex_with_counts_v2",
    "pii_regex_with_counts_fast_v2",
    "bytes_length_v1",
    "char_length_v1",
    "char_length_strip_ws_v1",
    "char_length_with_paragraphs_v1",
    "doc_count_v1",
    "whitespace_tokenizer_v1",
    "whitespace_tokenizer_with_paragraphs_v1",
    "uniseg_length_v1",
    "uniseg_length_paragraphs_v1",
    "uniseg_length_paragraphs_with_empty_v1",
    "uniseg_length_paragraphs_with_doc_length_v1",
    "olmo_pretokenizer_v1",
    "olmo_pretokenizer_with_paragraphs_v1",
    "repetitions_v1",
    "paragraph_repetitions_v1",
    "not_alphanum_paragraph_v1",
    "code_copyright_comments_v1",
    "code_redpajama_taggers_v1",
];

fn plain(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The fixtures' documents in the recipe's folder.
fn corpus() -> Bench {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("corpus/documents")).unwrap();
    for set in ["edge", "empty", "sample"] {
        let file = format!("documents/{set}.jsonl.gz");
        std::fs::copy(repository().join("data/fixtures/dolma").join(&file), bench.path("corpus").join(&file)).unwrap();
    }
    bench
}

#[test]
fn tagged_documents_leave_as_dolma_wrote_them() {
    let bench = corpus();
    let tag = format!("raw.tag({TAGGERS:?}, #{{ compat: \"dolma-1.2\" }})");
    bench.write(
        "r.rhai",
        &format!("let raw = dolma(\"corpus/documents/**\");\nlet tagged = {tag};\noutput(\"tagged\", tagged);\n"),
    );
    bench.run_ok(&["r.rhai"]);
    bench.ok(&["export", "tagged", "--format", "dolma", "--out", "out", "--like", "corpus/documents"]);
    for tagger in TAGGERS {
        for set in ["edge", "empty", "sample"] {
            let file = format!("attributes/{tagger}/{set}.jsonl.gz");
            let theirs = repository().join("data/fixtures/dolma").join(&file);
            let stops = set == "empty" && ["pii_regex_v1", "pii_regex_with_counts_v2"].contains(tagger);
            assert_eq!(theirs.exists(), !stops, "{file}");
            if !stops {
                assert!(plain(&bench.path("out").join(&file)) == plain(&theirs), "{file} is not what dolma wrote");
            }
        }
    }
    // And in again, with the attributes: the same texts and the same attributes.
    bench.write(
        "again.rhai",
        "let raw = dolma(\"out/documents/**\", #{ attributes: \"out/attributes/**/*.gz\" });\noutput(\"raw\", raw);\n",
    );
    bench.run_ok(&["again.rhai"]);
    bench.ok(&["export", "raw", "--format", "dolma", "--out", "again", "--like", "out/documents"]);
    for tagger in TAGGERS {
        let file = format!("attributes/{tagger}/sample.jsonl.gz");
        assert!(plain(&bench.path("again").join(&file)) == plain(&bench.path("out").join(&file)), "{file}");
    }
    let experiment =
        ["export", "tagged", "--format", "dolma", "--out", "exp", "--experiment", "one", "--tagger", "c4_v2", "-r", "r-1"];
    bench.ok(&experiment);
    let rows = plain(&bench.path("exp/attributes/one/part-00000.jsonl.gz"));
    assert!(rows.starts_with("{\"id\":\"edge-000\",\"attributes\":{\"one__c4_v2__"), "{}", &rows[..80]);
}

#[test]
fn attributes_of_other_documents_are_refused() {
    let bench = corpus();
    let fixture = repository().join("data/fixtures/dolma/attributes/gopher_v1");
    std::fs::create_dir_all(bench.path("corpus/attributes/gopher_v1")).unwrap();
    for (from, to) in [("edge", "edge"), ("empty", "empty"), ("edge", "sample")] {
        let path = bench.path(&format!("corpus/attributes/gopher_v1/{to}.jsonl.gz"));
        std::fs::copy(fixture.join(format!("{from}.jsonl.gz")), path).unwrap();
    }
    bench.write("r.rhai", "output(\"raw\", dolma(\"corpus/documents/*\", #{ attributes: \"corpus/attributes/*/*\" }));\n");
    let ran = bench.run(&["r.rhai"]);
    let error = ran.failed.values().next().unwrap();
    assert!(
        error.contains("attributes/gopher_v1/sample.jsonl.gz:1: the row is for `edge-000`, but the document is `"),
        "{error}"
    );
}

#[test]
fn bad_rows_stop_a_step_or_are_set_aside() {
    let bench = Bench::new();
    bench.write(
        "rows.jsonl",
        "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"txt\":1}\n{\"id\":\"a\",\"text\":\"two\"}\nnonsense\n",
    );
    bench.write("r.rhai", "output(\"rows\", jsonl(\"rows.jsonl\"));\n");
    let ran = bench.run(&["r.rhai"]);
    assert!(
        ran.failed.values().next().unwrap().contains("rows.jsonl:2: no field `text`; the fields are `id`, `txt`"),
        "{:?}",
        ran.failed
    );
    bench.write("r.rhai", "output(\"rows\", jsonl(\"rows.jsonl\", #{ on_bad: \"quarantine\", duplicate_ids: \"rename\" }));\n");
    let said = bench.say(&["run", "r.rhai", "--json"]);
    assert!(said.out.contains("rows.jsonl:4: not a JSON object"), "{}", said.out);
    let ran = crate::bench::ran(&said.out, said.code);
    let figures = ran.figures.values().next().unwrap();
    assert_eq!((figures["documents"], figures["bad rows"], figures["duplicate ids"]), (2.0, 2.0, 1.0));
    bench.ok(&["export", "rows", "out", "--format", "all"]);
    let aside = std::fs::read_to_string(bench.path("out/quarantine.ndjson")).unwrap();
    assert_eq!(aside.lines().count(), 2);
    assert!(aside.contains("\"line\":4,") && aside.contains("\"text\":\"nonsense\""), "{aside}");
    let wrong = bench.say(&["run", "r.rhai", "--set", "x=1"]);
    assert_eq!(wrong.code, 2);
    bench.write("r.rhai", "output(\"rows\", jsonl(\"rows.jsonl\", #{ on_bad: \"quarantin\" }));\n");
    assert!(bench.say(&["run", "r.rhai"]).err.contains("did you mean `quarantine`?"));
}

/// Names of kinds of the steps that a run executed, sorted.
fn executed(bench: &Bench, recipe: &str) -> (Vec<String>, crate::bench::Ran) {
    let ran = bench.run_ok(&[recipe]);
    let plan: serde_json::Value = serde_json::from_str(&bench.ok(&["plan", recipe, "--json"])).unwrap();
    let kind = |name: &String| {
        let step = plan.as_array().unwrap().iter().find(|step| step["step"] == name.as_str()).unwrap();
        step["kind"].as_str().unwrap().to_owned()
    };
    let mut kinds: Vec<_> = ran.executed.iter().map(kind).collect();
    kinds.sort();
    (kinds, ran)
}

#[test]
fn one_more_file_costs_one_more_shard() {
    let bench = Bench::new();
    let shard = |name: &str, range: std::ops::Range<u32>| {
        let row =
            |n| format!("{{\"text\":\"Number {n} is said to be the number that comes after {}.\",\"source\":\"s\"}}\n", n - 1);
        bench.write(&format!("corpus/{name}.jsonl"), &range.map(row).collect::<String>());
    };
    shard("a", 1..40);
    shard("sub/a", 40..70);
    bench.write("tok/a.txt", &"A number that comes after another number is a number too. ".repeat(20));
    let sharded = r#"
let tok = text("tok/*.txt").train_tokenizer(#{ vocab_size: 280 });
let shards = files("corpus/**/*.jsonl").map(|file| jsonl(file).tag(["gopher"]).filter(|doc| doc.gopher.word_count >= 3));
let clean = shards.merge();
let unique = clean.dedup();
let tokens = shards.map(|shard| shard.tokenize(tok)).merge_tokens();
output("unique", unique);
output("tokens", tokens);
"#;
    bench.write("r.rhai", sharded);
    let (kinds, _) = executed(&bench, "r.rhai");
    assert_eq!(kinds.len(), 2 + 2 * 4 + 3, "{kinds:?}");
    shard("b", 70..90);
    let (kinds, ran) = executed(&bench, "r.rhai");
    assert_eq!(kinds, ["dedup", "filter", "jsonl", "merge", "merge_tokens", "tag", "tokenize"]);
    // Another sharing out, the same documents and the same token files.
    let whole = sharded
        .replace("files(\"corpus/**/*.jsonl\").map(|file| jsonl(file)", "[jsonl(\"corpus/**/*.jsonl\")")
        .replace("doc.gopher.word_count >= 3));", "doc.gopher.word_count >= 3)];");
    assert!(whole.contains("[jsonl(") && !whole.contains("files("), "{whole}");
    bench.write("whole.rhai", &whole);
    let (_, together) = executed(&bench, "whole.rhai");
    assert_eq!(together.digests["clean"], ran.digests["clean"]);
    for (run, to) in [("whole-1", "together"), ("r-2", "apart")] {
        bench.ok(&["export", "tokens", to, "--run", run]);
    }
    let tokens = |dir: &str| std::fs::read(bench.path(dir).join("s-00000.npy")).unwrap();
    assert!(!tokens("apart").is_empty() && tokens("apart") == tokens("together"));
    bench.write("none.rhai", "output(\"x\", files(\"nothing/*\").map(|file| jsonl(file)).merge());\n");
    let said = bench.say(&["run", "none.rhai"]);
    assert!(said.code == 2 && said.err.contains("no file is called `nothing/*`"), "{}", said.err);
}

#[test]
fn conversations_and_parquet_leave_as_files() {
    let bench = Bench::new();
    bench.write("tok/a.txt", &"What is two and three? It is five, I would say. ".repeat(20));
    bench.write(
        "r.rhai",
        r#"
let raw = text("tok/*.txt");
let tok = raw.train_tokenizer(#{ vocab_size: 300 });
let chats = problems(12, #{ seed: 3 }).demonstrations();
let tokens = [raw, chats].tokenize(tok, #{ shuffle: 7 });
output("raw", raw);
output("tokens", tokens);
"#,
    );
    let first = bench.run_ok(&["r.rhai"]);
    bench.ok(&["export", "tokens", "tokens"]);
    let length = |name: &str| std::fs::metadata(bench.path("tokens").join(name)).unwrap().len();
    assert_eq!(length("token_ids_part_chats_0000.npy"), 2 * length("labels_mask_part_chats_0000.npy"));
    let mask = std::fs::read(bench.path("tokens/labels_mask_part_chats_0000.npy")).unwrap();
    let ids = std::fs::read(bench.path("tokens/token_ids_part_chats_0000.npy")).unwrap();
    let ends = plain(&bench.path("tokens/token_ids_part_chats_0000.csv.gz"));
    assert_eq!(ends.lines().count(), 12);
    // Each conversation begins untrained and ends with an end of text that is trained on.
    for row in ends.lines() {
        let mut numbers = row.split(',').map(|field| field.parse::<usize>().unwrap_or(usize::MAX));
        let (start, end) = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!((mask[start], mask[end - 1], &ids[2 * end - 2..2 * end]), (0, 1, &[0u8, 0][..]), "{row}");
    }
    bench.ok(&["export", "raw", "--format", "parquet", "--out", "rows"]);
    // Read back, the rows are the documents that they were.
    bench.write("back.rhai", "let back = parquet(\"rows/*.parquet\");\noutput(\"back\", back);\n");
    let back = bench.run_ok(&["back.rhai"]);
    let documents = |ran: &crate::bench::Ran, name: &str| ran.figures[name]["documents"];
    assert_eq!(documents(&back, "back"), documents(&first, "raw"));
}
