//! SQL over finished and running runs.

use plan::Event;

use crate::training;

#[test]
fn the_readme_questions_have_answers() {
    let bench = training::bench();
    bench.run_ok(&["r.rhai"]);
    bench.run_ok(&["r.rhai", "--set", "sft_lr=0.001"]);
    let csv = |query: &str| bench.ok(&["sql", "--format", "csv", query]);
    assert_eq!(csv("select count(*) as n from runs").trim(), "n\n2");
    let made = bench.ok(&["sql", "--format", "csv", "--ask", "made", "chat"]);
    for step in ["soup", "base", "seedling", "tok", "raw"] {
        assert!(made.contains(step), "{step} is not in\n{made}");
    }
    let documents = bench.ok(&["sql", "--format", "csv", "--ask", "documents", "chat"]);
    assert!(documents.contains("notes"), "{documents}");
    let cost = bench.ok(&["sql", "--format", "csv", "--ask", "cost", "r-1"]);
    assert!(cost.contains("base"), "{cost}");
    let differences = bench.ok(&["sql", "--format", "csv", "--ask", "differences", "r-1", "r-2"]);
    assert!(differences.contains("0.002") && differences.contains("0.001"), "{differences}");
    let results = bench.ok(&["sql", "--format", "csv", "--ask", "results", "r-1", "r-2"]);
    assert!(results.contains("eval/"), "{results}");
    let losses = csv("select step, count(*) as n from metrics where metric = 'train/CE loss' group by step order by step");
    assert!(losses.contains("base,20"), "{losses}");
    readme_queries_run(&bench);
    bench.ok(&["sql", "--format", "parquet", "--output", "runs.parquet", "select * from runs"]);
    assert_eq!(&std::fs::read(bench.path("runs.parquet")).unwrap()[..4], b"PAR1");
    let said = bench.say(&["sql", "delete from runs"]);
    assert_eq!(said.code, 2, "{}", said.out);
    let before = csv("select * from steps order by run, step");
    bench.ok(&["sql", "--rebuild", "select 1"]);
    assert_eq!(csv("select * from steps order by run, step"), before, "the database is derived");
}

/// Every SQL block of the README, with its run names as they are here.
fn readme_queries_run(bench: &crate::bench::Bench) {
    let readme = std::fs::read_to_string(crate::bench::repository().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let query = block.replace("olmo2-1", "r-1").replace("olmo2-2", "r-2");
        let answer = bench.ok(&["sql", "--format", "csv", &query]);
        assert!(answer.lines().count() > 1, "no rows for\n{query}");
    }
}

#[test]
fn sql_answers_while_a_run_goes_on() {
    let bench = training::bench();
    let mut child = bench.start(&["r.rhai"], "events.jsonl");
    assert!(bench.wait_for(&mut child, "events.jsonl", &|record| matches!(record.event, Event::Metrics { .. })));
    let answer = bench.ok(&["sql", "--format", "csv", "select status from runs"]);
    assert!(answer.contains("running") || child.try_wait().unwrap().is_some(), "{answer}");
    assert!(child.wait().unwrap().success());
    assert!(bench.ok(&["sql", "--format", "csv", "select status from runs"]).contains("succeeded"));
}
