//! Corpora in and out: Dolma files both ways, rows that cannot be read, shards.

use std::io::Read;
use std::path::Path;

use crate::bench::{Bench, repository};

/// Taggers that dolma 1.2.1 ran on all sets of the fixtures.
const TAGGERS: [&str; 9] = [
    "gopher_v1",
    "gopher_v2",
    "c4_v1",
    "c4_v2",
    "pii_regex_v2",
    "pii_regex_with_counts_fast_v2",
    "char_length_v1",
    "bytes_length_v1",
    "whitespace_tokenizer_v1",
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
    let recipe =
        format!("let raw = dolma(\"corpus/documents/**\");\nlet tagged = raw.tag({TAGGERS:?});\noutput(\"tagged\", tagged);\n");
    bench.write("r.rhai", &recipe);
    bench.run_ok(&["r.rhai"]);
    bench.ok(&["export", "tagged", "--format", "dolma", "--out", "out", "--like", "corpus/documents"]);
    for tagger in TAGGERS {
        for set in ["edge", "empty", "sample"] {
            let file = format!("attributes/{tagger}/{set}.jsonl.gz");
            let theirs = plain(&repository().join("data/fixtures/dolma").join(&file));
            assert!(plain(&bench.path("out").join(&file)) == theirs, "{file} is not what dolma wrote");
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
    let experiment = ["export", "tagged", "--format", "dolma", "--out", "exp", "--experiment", "one", "--tagger", "c4_v2"];
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
        ran.failed.values().next().unwrap().contains("rows.jsonl:2: no field `text`; the fields are `txt`"),
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
