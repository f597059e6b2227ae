//! Reading journals: in pieces, damaged, unfinished, replaced, large.

use std::collections::BTreeMap;

use plan::{Digest, ErrorClass, Event, Key, Machine, RunStatus, StepId};
use proptest::prelude::*;

use super::story::{started, story};
use super::{Runs, answer, everything, lines};
use crate::Lineage;

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

/// One event of each kind, a run that failed.
fn every_event() -> Vec<Event> {
    let (step, metrics) = (StepId(0), BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), f64::NAN)]));
    let gpus = vec![("gpu".to_owned(), 50.0, 1, 2)];
    vec![
        started("odd-owl", 0.5),
        Event::Machine(Machine { cpu_percent: 10.0, memory_mib: 5, memory_total_mib: 9, load: 0.5, gpus }),
        Event::StepKeyed { step, key: key(1), hit: false, because: vec![] },
        Event::StepStarted { step, key: key(1), threads: 1, resumed: true },
        Event::StepProgress { step, done: 1, total: None, unit: "documents".into() },
        Event::Metrics { step, at: 1, values: metrics.clone() },
        Event::Log { step, line: "a \"line\", of\ttext — é".into() },
        Event::StepFinished {
            step,
            key: key(1),
            digest: Digest::from_bytes([2; 32]),
            hit: false,
            seconds: 2.0,
            bytes: 3,
            cpu_seconds: 1.5,
            peak_memory_mib: 64,
            metrics,
        },
        Event::StepKeyed { step: StepId(1), key: key(3), hit: false, because: vec![] },
        Event::StepStarted { step: StepId(1), key: key(3), threads: 2, resumed: false },
        Event::StepFailed { step: StepId(1), error: "no space left".into(), seconds: 1.0, class: ErrorClass::Failed },
        Event::StepBlocked { step: StepId(2), by: StepId(1) },
        Event::StepInterrupted { step: StepId(3) },
        Event::RunFinished { status: RunStatus::Failed, executed: 1, hits: 0, failed: 1, seconds: 9.0 },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn pieces_give_what_the_whole_gives(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), corrupt in any::<bool>()) {
        let mut whole = lines(1_700_000_000_000, &every_event());
        if corrupt {
            let second = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            whole[second] = b'!';
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(whole.len());
        let mut runs = Runs::new();
        let mut pieces = Lineage::open_in_memory().unwrap();
        let mut rows = 0;
        for end in ends {
            runs.write("odd-owl", &whole[..end]);
            rows += runs.sync(&mut pieces).warnings.len();
        }
        prop_assert_eq!(rows, usize::from(corrupt));
        let mut once = Lineage::open_in_memory().unwrap();
        runs.sync(&mut once);
        prop_assert_eq!(everything(&pieces), everything(&once));
    }
}

#[test]
fn nothing_new_adds_nothing_and_rebuilding_changes_nothing() {
    let story = story();
    let mut lineage = story.lineage();
    let before = everything(&lineage);
    assert!(before.contains("train/CE loss") && before.contains("licence/MIT"));
    let report = lineage.sync(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    assert_eq!((report.rows, report.warnings.len()), (0, 0));
    assert_eq!(lineage.keys().unwrap().len(), story.manifests.len());
    lineage.rebuild(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    assert_eq!(everything(&lineage), before);
}

#[test]
fn a_half_written_line_waits_for_its_end() {
    let whole = lines(0, &every_event());
    let mut runs = Runs::new();
    let mut lineage = Lineage::open_in_memory().unwrap();
    runs.write("odd-owl", &whole[..whole.len() - 1]);
    assert!(runs.sync(&mut lineage).warnings.is_empty());
    assert_eq!(answer(&lineage, "select status, failed from runs"), "status,failed | running,1");
    runs.write("odd-owl", &whole);
    runs.sync(&mut lineage);
    assert_eq!(answer(&lineage, "select status, failed from runs"), "status,failed | failed,1");
}

#[test]
fn a_corrupt_line_is_left_out_and_named() {
    let mut text = String::from_utf8(lines(0, &every_event())).unwrap();
    text.insert_str(text.find('\n').unwrap() + 1, "{\"seq\": 1, oh\n\n{\"seq\":1,\"time_ms\":0,\"event\":\"of_the_future\"}\n");
    let mut runs = Runs::new();
    let path = runs.write("odd-owl", text.as_bytes());
    let mut lineage = Lineage::open_in_memory().unwrap();
    let report = runs.sync(&mut lineage);
    let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with(&format!("{}:2: not a record (", path.display())), "{warnings:?}");
    assert!(warnings[1].contains(":4: not a record (unknown variant `of_the_future`"), "{warnings:?}");
    assert_eq!(answer(&lineage, "select line from warnings order by line"), "line | 2 | 4");
    assert_eq!(answer(&lineage, "select status from runs"), "status | failed");
}

#[test]
fn a_number_that_is_not_finite_comes_back_as_nan() {
    let mut runs = Runs::new();
    let bytes = lines(0, &every_event());
    assert!(String::from_utf8_lossy(&bytes).contains("\"b\":null"), "JSON has no NaN");
    runs.write("odd-owl", &bytes);
    let mut lineage = Lineage::open_in_memory().unwrap();
    assert!(runs.sync(&mut lineage).warnings.is_empty());
    let sql = "select count(*) n from metrics where isnan(value) union all select count(*) from results where isnan(value)";
    assert_eq!(answer(&lineage, sql), "n | 1 | 1");
}

#[test]
fn a_running_step_shows_as_its_last_event_says() {
    let mut runs = Runs::new();
    let mut lineage = Lineage::open_in_memory().unwrap();
    let events = every_event();
    let states =
        |lineage: &Lineage| answer(lineage, "select string_agg(state, ' ' order by id) s from steps").replace("s | ", "");
    let expected = [
        (1, "waiting waiting waiting waiting"),
        (3, "ready waiting waiting waiting"),
        (4, "running waiting waiting waiting"),
        (8, "done waiting waiting waiting"),
        (10, "done running waiting waiting"),
        (11, "done failed waiting waiting"),
        (14, "done failed blocked interrupted"),
    ];
    for (events_so_far, expected) in expected {
        runs.write("odd-owl", &lines(0, &events[..events_so_far]));
        runs.sync(&mut lineage);
        assert_eq!(states(&lineage), expected);
        if events_so_far == 10 {
            let sql = "select step, outcome, seconds from executions order by started";
            assert_eq!(answer(&lineage, sql), "step,outcome,seconds | raw,done,2.0 | tokens,running,0.0");
        }
    }
    let errors = answer(&lineage, "select step, error from steps where error is not null order by id");
    assert_eq!(errors, "step,error | tokens,no space left | base,step `tokens` failed");
    assert_eq!(
        answer(&lineage, "select key = repeat('01', 32) as k, producer is null as p, path from inputs order by path"),
        "k,p,path | true,true,data/books.txt | false,false,"
    );
}

#[test]
fn a_replaced_journal_is_read_anew_and_a_removed_run_forgotten() {
    let mut runs = Runs::new();
    let mut lineage = Lineage::open_in_memory().unwrap();
    runs.write("odd-owl", &lines(0, &every_event()));
    runs.write("even-eel", &lines(5, &every_event()));
    runs.sync(&mut lineage);
    runs.write("odd-owl", &lines(9, &every_event()[..3]));
    runs.journals.retain(|(run, _)| run == "odd-owl");
    runs.sync(&mut lineage);
    let mut fresh = Lineage::open_in_memory().unwrap();
    runs.sync(&mut fresh);
    assert_eq!(everything(&lineage), everything(&fresh));
    assert_eq!(answer(&lineage, "select run, status from runs"), "run,status | odd-owl,running");
}

#[test]
fn a_missing_journal_hides_no_other() {
    let mut runs = Runs::new();
    runs.journals.push(("gone-gnu".into(), runs.path().join("gone.jsonl")));
    runs.write("odd-owl", &lines(0, &every_event()));
    let mut lineage = Lineage::open_in_memory().unwrap();
    let report = runs.sync(&mut lineage);
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].to_string().contains("gone.jsonl"), "{}", report.warnings[0]);
    assert_eq!(answer(&lineage, "select run from runs"), "run | odd-owl");
}

#[test]
fn an_artifact_made_again_replaces_the_former() {
    let story = story();
    let mut lineage = story.lineage();
    let (mut manifest, preimage) = story.manifests[2].clone();
    manifest.provenance.finished_ms += 5;
    manifest.metrics.insert("cost/tokens".into(), 2000.0);
    lineage.sync(&story.runs.journals, &mut std::iter::once((manifest, preimage))).unwrap();
    let sql =
        "select count(distinct a.key) n, sum(value) t from artifacts a join results using (key) where metric = 'cost/tokens'";
    assert_eq!(answer(&lineage, sql), "n,t | 2,3000.0");
    assert_eq!(answer(&lineage, "select count(*) n from files"), "n | 6");
}

#[test]
fn two_hundred_thousand_metrics_are_no_burden() {
    let mut runs = Runs::new();
    runs.write("big-bat", &metrics(40_000));
    let path = runs.path().join("lineage.duckdb");
    let begun = std::time::Instant::now();
    let mut lineage = Lineage::open(&path).unwrap();
    assert!(runs.sync(&mut lineage).rows > 200_000);
    let sql = "select step, metric, last(value) v from metrics group by all order by metric limit 1";
    assert_eq!(answer(&lineage, sql), "step,metric,v | base,optim/LR,2.5e-5");
    drop(lineage);
    let again = Lineage::open(&path).unwrap();
    assert_eq!(answer(&again, "select count(*) n from metrics"), "n | 200000");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// The journal of a run with five metrics at each of `iterations`.
fn metrics(iterations: u64) -> Vec<u8> {
    let mut events = vec![started("big-bat", 0.1)];
    for at in 0..iterations {
        let names = ["train/CE loss", "train/PPL", "optim/total grad norm", "optim/LR", "throughput/device/TPS"];
        let values = names.iter().map(|name| ((*name).to_owned(), 1.0 / (at as f64 + 1.0))).collect();
        events.push(Event::Metrics { step: StepId(2), at, values });
    }
    lines(0, &events)
}

/// Where the time goes, for `cargo test --release -- --ignored --nocapture measure`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let mut runs = Runs::new();
    runs.write("big-bat", &metrics(20_000));
    let path = runs.path().join("lineage.duckdb");
    let mut text = String::new();
    let mut timed = |what: &str, body: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        body();
        text += &format!("{what}: {:.1} ms\n", begun.elapsed().as_secs_f64() * 1e3);
    };
    let mut lineage = None;
    timed("open in memory", &mut || drop(Lineage::open_in_memory().unwrap()));
    timed("create the file", &mut || lineage = Some(Lineage::open(&path).unwrap()));
    timed("read 100 000 metric rows", &mut || assert!(runs.sync(lineage.as_mut().unwrap()).rows > 100_000));
    timed("nothing new", &mut || assert_eq!(runs.sync(lineage.as_mut().unwrap()).rows, 0));
    timed("close", &mut || drop(lineage.take()));
    timed("open again", &mut || lineage = Some(Lineage::open(&path).unwrap()));
    timed("count the runs", &mut || assert_eq!(answer(lineage.as_ref().unwrap(), "select count(*) n from runs"), "n | 1"));
    timed("last of each metric", &mut || {
        assert_eq!(lineage.as_ref().unwrap().query("select metric, last(value) from metrics group by all").unwrap().len(), 5);
    });
    timed("describe", &mut || drop(lineage.as_ref().unwrap().describe().unwrap()));
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
}
