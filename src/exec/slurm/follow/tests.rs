//! Tests of what the queue means for a job that has not answered.

use super::*;
use crate::exec::slurm::queue::rows;

const GRACE: Duration = Duration::from_secs(60);

fn view(line: &str, unchanged: u64) -> View {
    let row = rows(line).0.into_values().next();
    View {
        job: Some(JobId { job: 1, task: None }),
        refused: None,
        row,
        missed: 0,
        unseen: Duration::ZERO,
        unchanged: Duration::from_secs(unchanged),
        trouble: None,
    }
}

fn class(line: &str, unchanged: u64) -> Option<Class> {
    match judge(&view(line, unchanged), GRACE) {
        Verdict::Wait => None,
        Verdict::Over(class, _) => Some(class),
        Verdict::Gone => panic!("{line}: it is there"),
    }
}

#[test]
fn a_job_that_lives_or_waits_is_waited_for_however_long() {
    for line in [
        "1|PENDING|Resources||",
        "1|PENDING|JobHeldUser||",
        "1|RUNNING|None|n|",
        "1|COMPLETING|None|n|",
        "1|SUSPENDED|None|n|",
        "1|FROBNICATING|None|n|",
        "",
    ] {
        assert_eq!(class(line, 100_000), None, "{line}");
    }
}

#[test]
fn a_job_that_ended_has_some_time_to_be_seen_to_have_answered() {
    for (line, soon, expected) in [
        ("1|COMPLETED|None|n|", 59, Class::Machine),
        ("1|FAILED|NonZeroExitCode|n|", 4, Class::Machine),
        ("1|OUT_OF_MEMORY|OutOfMemory|n|", 4, Class::Memory),
        ("1|TIMEOUT|TimeLimit|n|", 4, Class::Time),
        ("1|NODE_FAIL|NodeDown|n|", 4, Class::Machine),
        ("1|PREEMPTED|None|n|", 4, Class::Machine),
        ("1|CANCELLED|None|n|", 4, Class::Refused),
        ("1|PENDING|launch failed requeued held|n|", 9, Class::Machine),
    ] {
        assert_eq!(class(line, soon), None, "{line}");
        assert_eq!(class(line, soon + 1), Some(expected), "{line}");
    }
    assert_eq!(class("1|PENDING|DependencyNeverSatisfied||", 0), Some(Class::Refused));
    assert!(Class::Machine.may_pass() && Class::Time.may_pass());
    assert!(!Class::Memory.may_pass() && !Class::Refused.may_pass() && !Class::Step.may_pass());
}

#[test]
fn a_job_is_gone_when_several_looks_over_a_while_miss_it() {
    let gone = |line: &str, missed: u32, unseen: u64| {
        judge(&View { missed, unseen: Duration::from_secs(unseen), ..view(line, 0) }, GRACE)
    };
    assert_eq!(gone("", 1, 1000), Verdict::Wait, "one look may be wrong");
    assert_eq!(gone("", 50, 59), Verdict::Wait, "an answer may be on its way");
    assert_eq!(gone("", 2, 60), Verdict::Gone);
    assert_eq!(gone("1|RUNNING|None|n|", 2, 60), Verdict::Gone);
    assert!(matches!(gone("1|TIMEOUT|None|n|", 2, 60), Verdict::Over(Class::Time, _)));
}

#[test]
fn the_end_of_an_output_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("7.out");
    assert!(last_lines(&path).is_empty());
    std::fs::write(&path, "1\n2\n3\n\n4\n5\n6\n\n").unwrap();
    assert_eq!(last_lines(&path), ["2", "3", "4", "5", "6"]);
}
