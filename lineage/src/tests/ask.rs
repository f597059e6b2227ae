//! Asking: the named questions on the story, free SQL, refusals, errors, formats, documentation.

use duckdb::arrow::array::AsArray;
use duckdb::arrow::datatypes::Int64Type;

use super::story::story;
use super::{answer, csv};
use crate::{Error, Format, Lineage, QUESTIONS, Question, Width};

#[track_caller]
fn check(lineage: &Lineage, question: Question<'_>, expected: &str) {
    let text = lineage.ask(&question).unwrap().to_text(Format::Aligned(Width::Full));
    let expected: Vec<&str> = expected.trim_matches('\n').lines().collect();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines, expected, "\n{text}");
}

#[test]
fn what_made_this() {
    let lineage = story().lineage();
    let key = answer(&lineage, "select key from outputs where run = 'calm-ant'").replace("key | ", "");
    for what in [&key[..10], "report"] {
        let table = lineage.ask(&Question::Made { what }).unwrap();
        let rows: Vec<String> =
            table.rows().map(|row| [0, 1, 2, 3, 5, 6, 7].map(|column| row[column].to_string()).join("; ")).collect();
        let (run, lr) = if what == "report" { ("bold-bee", "0.001") } else { ("calm-ant", "0.01") };
        assert_eq!(
            rows,
            [
                format!("0; evaluate; report; {run}; 3.5; NULL; NULL"),
                format!("1; pretrain; base; {run}; 2.5; mix=[#{{ weight: 0.5 }}] optim.lr={lr}; NULL"),
                "2; tokenize; tokens; calm-ant; 1.5; vocab_size=4096; NULL".to_owned(),
                "3; documents; raw; calm-ant; 0.5; path=books; data/books.txt".to_owned(),
            ]
        );
    }
    let used = csv(&lineage.query("from descendants('raw')").unwrap());
    assert_eq!(used.lines().count(), 1 + 6, "raw, tokens, and base and report of both runs: {used}");
    assert_eq!(lineage.ask(&Question::Used { what: "raw" }).unwrap().len(), 6);
    assert!(lineage.ask(&Question::Made { what: "no such step" }).unwrap().is_empty());
    let sql = "select max(depth) d, count(*) n from ancestors where key in (select key from outputs where run = 'calm-ant')";
    assert_eq!(answer(&lineage, sql), "d,n | 3,3");
    assert_eq!(answer(&lineage, "select count(*) n from descendants where key in (from find('raw'))"), "n | 5");
}

#[test]
fn which_documents_it_saw() {
    check(
        &story().lineage(),
        Question::Documents { what: "base" },
        "
depth  step  what     name     documents
─────  ────  ───────  ───────  ─────────
    2  raw   licence  MIT              7
    2  raw   licence  CC0-1.0          5
    2  raw   source   books           12
",
    );
}

#[test]
fn what_each_step_cost() {
    let lineage = story().lineage();
    let costs = csv(&lineage.ask(&Question::Cost { run: "bold-bee" }).unwrap());
    assert_eq!(
        costs.lines().collect::<Vec<_>>(),
        [
            "step,kind,state,hit,seconds,saved_seconds,tokens,flops,bytes",
            "raw,documents,done,true,,0.5,,,100",
            "tokens,tokenize,done,true,,1.5,,,200",
            "base,pretrain,done,false,2.5,,1000,6000000000.0,300",
            "report,evaluate,done,false,3.5,,,,400",
            "total,,,,6.0,2.0,1000,6000000000.0,1000",
        ]
    );
}

#[test]
fn how_two_runs_differ() {
    let lineage = story().lineage();
    let (before, after) = ("calm-ant", "bold-bee");
    let differences = csv(&lineage.ask(&Question::Differences { before, after }).unwrap());
    let expected = ["step,param,before,after", "(recipe),lr,0.01,0.001", "base,optim.lr,0.01,0.001"];
    assert_eq!(differences.lines().collect::<Vec<_>>(), expected);
    let results = csv(&lineage.ask(&Question::Results { before, after }).unwrap());
    let lines: Vec<_> = results.lines().collect();
    assert_eq!(lines[0], "step,metric,before,after,change");
    assert!(lines.contains(&"report,eval/accuracy,0.25,0.5,0.25"), "{results}");
    assert!(lines.contains(&"raw,documents,12.0,12.0,0.0") && !results.contains("licence/"), "{results}");
    let why = "select step, what, path, before, after from reasons where run = 'bold-bee' order by step";
    let why = answer(&lineage, why);
    assert!(why.starts_with("step,what,path,before,after | base,param,optim.lr,0.01,0.001 | report,input,input,"), "{why}");
}

#[test]
fn every_view_can_be_read_and_is_documented() {
    let lineage = story().lineage();
    let docs = lineage.describe().unwrap();
    let names: Vec<_> = docs.views.iter().map(|view| view.name.as_str()).collect();
    for name in
        "runs settings steps edges outputs executions reasons events progress metrics machine gpus artifacts files inputs \
                 params artifact_params results licences sources ancestors descendants warnings"
            .split_whitespace()
    {
        assert!(names.contains(&name), "no view `{name}`");
    }
    for view in &docs.views {
        assert!(!view.comment.is_empty(), "{}", view.name);
        let table = lineage.query(&format!("select * from {}", view.name)).unwrap();
        let columns: Vec<_> = table.columns().into_iter().map(|column| column.name).collect();
        assert_eq!(columns, view.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>());
        let empty = ["machine", "gpus", "warnings"];
        assert_eq!(table.is_empty(), empty.contains(&view.name.as_str()), "{}", view.name);
        for column in &view.columns {
            assert!(column.comment.ends_with('.') || column.comment.ends_with("..."), "{}.{}", view.name, column.name);
        }
    }
    let macros: Vec<_> = docs.macros.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(macros, ["ancestors", "descendants", "find"]);
    let text = docs.to_string();
    assert!(text.contains("One row for each run") && text.contains("ancestors(what)"), "{text}");
    for (name, about, sql) in QUESTIONS {
        assert!(!about.is_empty() && sql.contains("$1"), "{name}");
    }
}

#[test]
fn the_sentence_of_the_manual_works() {
    let sql = "select step, metric, last(value) as last from metrics group by all";
    assert_eq!(answer(&story().lineage(), sql), "step,metric,last | base,train/CE loss,1.3333333333333333");
}

#[test]
fn writing_is_refused() {
    let lineage = story().lineage();
    for sql in [
        "delete from raw.runs",
        "select 1; drop view runs",
        "commit; delete from raw.runs",
        "copy (select 1) to 'x.csv'",
        "attach 'x.db'",
        "set threads = 1",
        "explain analyze copy (select 1) to 'x.csv'",
    ] {
        let error = lineage.query(sql).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
        assert!(error.to_string().contains("sql only reads"), "{error}");
    }
    // What looks like a question is refused by DuckDB.
    for sql in
        ["with x as (select 'calm-ant' as run) delete from raw.runs", "explain analyze with x as (select 1) delete from raw.runs"]
    {
        let error = lineage.query(sql).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{sql}: {error}");
    }
    assert_eq!(answer(&lineage, "select count(*) n from runs"), "n | 2");
    assert!(matches!(lineage.query(" -- nothing"), Err(Error::Empty)));
}

#[test]
fn errors_are_duckdbs_own() {
    let lineage = Lineage::open_in_memory().unwrap();
    let error = lineage.query("select 1;\nselect foo\nfrom runs").unwrap_err().to_string();
    assert!(error.contains("Referenced column \"foo\" not found"), "{error}");
    assert!(error.contains("LINE 2: select foo\n               ^"), "{error}");
    assert_eq!(answer(&lineage, "select 1 as a; select 2 as b"), "b | 2");
    assert_eq!(
        lineage.query_all("select 1; show tables; describe runs; pivot (select 1 k, 2 v) on k using sum(v)").unwrap().len(),
        4
    );
}

#[test]
fn tables_have_every_format() {
    let lineage = Lineage::open_in_memory().unwrap();
    let sql = "select 'a,\"b\"' as t, 1 as n, 0.5::double as x, null as e, [1, 2] as l, {'k': 'v'} as s, sum(3) as t,
        make_timestamp(2024, 1, 2, 3, 4, 5.25) as time, 'MIT'::enum('MIT') as licence, 1.50::decimal(4, 2) as d,
        'nan'::double as nan, map {'a': 1} as m, true as b, '' as empty, 0.1::float as f";
    let table = lineage.query(sql).unwrap();
    let types: Vec<_> = table.columns().into_iter().map(|column| column.type_name).collect();
    assert_eq!(
        types.join(" "),
        "VARCHAR INTEGER DOUBLE INTEGER INTEGER[] STRUCT(k VARCHAR) HUGEINT TIMESTAMP ENUM DECIMAL(4,2) DOUBLE \
        MAP(VARCHAR, INTEGER) BOOLEAN VARCHAR FLOAT"
    );
    let text = csv(&table);
    assert_eq!(text.lines().next(), Some("t,n,x,e,l,s,t,time,licence,d,nan,m,b,empty,f"));
    let row = "\"a,\"\"b\"\"\",1,0.5,,\"[1, 2]\",{k: 'v'},3,2024-01-02 03:04:05.250,MIT,1.50,NaN,{a: 1},true,\"\",0.1";
    assert_eq!(text.lines().nth(1), Some(row));
    let json: serde_json::Value = serde_json::from_str(&table.to_text(Format::Json)).unwrap();
    let line: serde_json::Value = serde_json::from_str(&table.to_text(Format::JsonLines)).unwrap();
    assert_eq!(json[0], line);
    let expected = serde_json::json!({
        "t": "a,\"b\"", "n": 1, "x": 0.5, "e": null, "l": [1, 2], "s": {"k": "v"}, "t_1": 3,
        "time": "2024-01-02 03:04:05.250", "licence": "MIT", "d": 1.5, "nan": null, "m": {"a": 1}, "b": true, "empty": "", "f": 0.1,
    });
    assert_eq!(line, expected);
    assert_eq!(lineage.query("from runs").unwrap().to_text(Format::Json), "[]\n");
    let narrow = lineage.query("select 'a long text\nof two lines' as text, 12 as number").unwrap();
    assert_eq!(
        narrow.to_text(Format::Aligned(Width::Columns(20))).lines().collect::<Vec<_>>(),
        ["text          number", "────────────  ──────", "a long text…      12"]
    );
    let plan = lineage.query("explain select 1").unwrap().to_text(Format::Aligned(Width::Columns(20)));
    assert!(plan.lines().count() > 3, "{plan}");
}

#[test]
fn parquet_reads_back() {
    let story = story();
    let lineage = story.lineage();
    let path = story.runs.path().join("steps.parquet");
    let table = lineage.query("select *, id, 1::hugeint h from steps order by run, id").unwrap();
    table.write_parquet(&path).unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(fs_err::File::open(&path).unwrap().into_file(), 100);
    let batches: Vec<_> = reader.unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), table.len());
    assert_eq!(batches[0].schema().field(1).name(), "step");
    let ids = batches[0].column_by_name("id_1").unwrap().as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(ids, [0, 1, 2, 3, 0, 1, 2, 3]);
    let missing = story.runs.path().join("no folder/x.parquet");
    let error = table.write_parquet(&missing).unwrap_err().to_string();
    assert!(error.contains("x.parquet"), "{error}");
}
