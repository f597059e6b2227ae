//! Canned output of Slurm's programs.

use super::*;

fn id(text: &str) -> JobId {
    text.parse().unwrap()
}

#[test]
fn rows_of_squeue_are_read_and_odd_lines_are_not_taken_for_jobs() {
    let text = "101|PENDING|Resources||0a1b tok\n\
        102_0|RUNNING|None|vm|5e6f 3 steps of a|b\n\
        102_7|COMPLETED|None|vm|(null)\n\
        \n\
        103_[0-1,4,6-9:3%2]|CANCELLED|None||x\n\
        103_[0-|PENDING|None||x\n\
        103_[3-1]|PENDING|None||x\n\
        slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n\
        104|PENDING|launch failed requeued held|n1,n2|\n\
        105|COMPLETING|\n";
    let (rows, odd) = rows(text);
    assert_eq!(odd, 3);
    let states: Vec<_> = rows.iter().map(|(id, row)| (id.to_string(), row.state)).collect();
    let expected = [
        ("101", State::Pending),
        ("102_0", State::Running),
        ("102_7", State::Completed),
        ("103_0", State::Cancelled),
        ("103_1", State::Cancelled),
        ("103_4", State::Cancelled),
        ("103_6", State::Cancelled),
        ("103_9", State::Cancelled),
        ("104", State::LaunchFailed),
        ("105", State::Ending),
    ];
    assert_eq!(states, expected.map(|(id, state)| (id.to_owned(), state)));
    assert_eq!((rows[&id("101")].reason.as_str(), rows[&id("101")].comment.as_str()), ("Resources", "0a1b tok"));
    assert_eq!(rows[&id("102_0")].comment, "5e6f 3 steps of a|b");
    assert_eq!((rows[&id("102_7")].reason.as_str(), rows[&id("102_7")].comment.as_str()), ("", ""));
    assert_eq!(super::rows(""), (BTreeMap::new(), 0));
}

#[test]
fn every_word_for_a_state_has_a_meaning() {
    for (word, reason, state) in [
        ("PENDING", "Dependency", State::Pending),
        ("PENDING", "DependencyNeverSatisfied", State::NeverSatisfied),
        ("PENDING", "JobHeldUser", State::Held),
        ("PENDING", "JobHeldAdmin", State::Held),
        ("PENDING", "launch_failed_requeued_held", State::LaunchFailed),
        ("PENDING", "BeginTime", State::Pending),
        ("CONFIGURING", "None", State::Running),
        ("SUSPENDED", "None", State::Suspended),
        ("FAILED", "NonZeroExitCode", State::Failed),
        ("TIMEOUT", "TimeLimit", State::Timeout),
        ("DEADLINE", "DeadLine", State::Timeout),
        ("OUT_OF_MEMORY", "OutOfMemory", State::OutOfMemory),
        ("NODE_FAIL", "NodeDown", State::NodeFail),
        ("BOOT_FAIL", "None", State::NodeFail),
        ("PREEMPTED", "None", State::Preempted),
        ("CANCELLED by 1000", "None", State::Cancelled),
        ("CANCELLED+", "None", State::Cancelled),
        ("", "", State::Unknown),
        ("FROBNICATING", "None", State::Unknown),
    ] {
        assert_eq!(State::parse(word, reason), state, "{word} {reason}");
        assert!(state != State::Unknown || !state.is_final());
    }
}

#[test]
fn the_job_is_found_in_what_sbatch_prints() {
    assert_eq!(submitted("12\n"), Some(12));
    assert_eq!(submitted("12;cluster\n"), Some(12));
    assert_eq!(submitted("lua: account set to physics\nSubmitted batch job 4711\n"), Some(4711));
    assert_eq!(submitted("12\nyour quota is nearly used up\n"), Some(12));
    assert_eq!(submitted(""), None);
    assert_eq!(submitted("error"), None);
}

#[test]
fn refusals_are_told_from_troubles() {
    for words in [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)",
        "sbatch: error: AssocMaxSubmitJobLimit",
    ] {
        assert_eq!(Refusal::of(words), Refusal::Transient, "{words}");
    }
    for words in [
        "sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed: Invalid partition name specified",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: unrecognized option '--frobnicate'",
        "",
    ] {
        assert_eq!(Refusal::of(words), Refusal::Permanent, "{words}");
    }
}

#[test]
fn the_cluster_tells_its_limits() {
    let text =
        "Configuration data as of 2026-01-01T00:00:00\nMailProg                = /bin/mail\nMaxArraySize            = 10001\n";
    assert_eq!(max_array(text), 10001);
    assert_eq!(max_array("MaxArraySize = 0\n"), 1);
    assert_eq!(max_array("slurm_load_ctl_conf error"), 1);
    assert_eq!(largest_node("2 20000\n64 512000\n64+ 256000+\n"), Some((64, 512_000)));
    assert_eq!(largest_node("\nCLUSTER: x\n"), None);
}

#[test]
fn jobs_are_written_as_they_are_read() {
    for text in ["7", "7_0", "7_31"] {
        assert_eq!(id(text).to_string(), text);
    }
    for text in ["", "x", "7_", "7_[0-3]", "7+1", "-7"] {
        assert!(text.parse::<JobId>().is_err(), "{text}");
    }
}
