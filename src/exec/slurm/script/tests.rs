//! Tests of scripts and options.

use std::time::Duration;

use super::*;

fn options() -> Options {
    Options {
        run: "my run-1".into(),
        program: "/opt/it's/workbench".into(),
        folder: "/shared/runs/my run-1/slurm".into(),
        partition: Some("main".into()),
        account: None,
        extra: vec!["--qos=low".into()],
        jobs: 10,
        grace: Duration::from_secs(60),
    }
}

fn task(number: u32) -> Task {
    Task {
        slot: format!("/shared/slots/{number}").into(),
        token: format!("t{number}"),
        step: format!("step {number}"),
        needs: Needs { cpus: 2, memory_mib: 512, gpus: 0, seconds: None },
    }
}

#[test]
fn a_single_step_has_its_own_words() {
    let arguments = arguments(&options(), &[task(1)], "b1", Path::new("/x/b1.sh"));
    for expected in [
        "--job-name=my_run-1",
        "--comment=b1 step 1",
        "--cpus-per-task=2",
        "--mem=512M",
        "--partition=main",
        "--signal=B:TERM@90",
        "--output=/shared/runs/my run-1/slurm/%j.out",
    ] {
        assert!(arguments.contains(&expected.to_owned()), "{expected} is not in {arguments:?}");
    }
    assert_eq!(arguments[arguments.len() - 2..], ["--qos=low", "/x/b1.sh"]);
    assert!(
        !arguments.iter().any(|argument| ["--array", "--time", "--gres", "--account"].iter().any(|no| argument.starts_with(no)))
    );
}

#[test]
fn accelerators_and_time_limits_are_asked_for() {
    let mut long = task(1);
    long.needs = Needs { gpus: 2, seconds: Some(90_061), ..long.needs };
    let long_arguments = arguments(&options(), &[long.clone()], "b", Path::new("s"));
    for expected in ["--gres=gpu:2", "--time=1-01:01:01", "--signal=B:TERM@90"] {
        assert!(long_arguments.contains(&expected.to_owned()), "{expected} is not in {long_arguments:?}");
    }
    long.needs.seconds = Some(120);
    assert!(arguments(&options(), &[long], "b", Path::new("s")).contains(&"--signal=B:TERM@30".to_owned()));
}

/// Runs a script whose program is `echo`, as the task of number `index`.
fn play(tasks: &[Task], index: Option<u32>) -> (String, i32) {
    let script = script(&Options { program: "/bin/echo".into(), ..options() }, tasks);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).env_remove("SLURM_ARRAY_TASK_ID");
    if let Some(index) = index {
        command.env("SLURM_ARRAY_TASK_ID", index.to_string());
    }
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[test]
fn a_script_starts_the_step_of_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let slot = dir.path().join("it's a slot");
    std::fs::create_dir(&slot).unwrap();
    let there = |number: u32| Task { slot: slot.clone(), ..task(number) };
    let says = |token: &str| (format!("job {} {token}\n", slot.display()), 0);
    assert_eq!(play(&[there(5)], None), says("t5"));
    let tasks = [there(0), there(1), there(2)];
    assert_eq!(play(&tasks, Some(0)), says("t0"));
    assert_eq!(play(&tasks, Some(2)), says("t2"));
    assert_eq!(play(&tasks, Some(3)).1, 2);
    assert_eq!(play(&[task(9)], None), ("nobody waits for this step any more\n".into(), 0), "the slot is gone");
}

#[test]
fn further_options_are_split_as_by_a_shell() {
    let split = |text: &str| split_arguments(text).unwrap();
    assert!(split("  ").is_empty());
    assert_eq!(
        split("--qos=low  -C 'a b' --reservation=\"x\\\"y\" -x''"),
        ["--qos=low", "-C", "a b", "--reservation=x\"y", "-x"]
    );
    assert_eq!(split(r"--nodelist=a\ b"), ["--nodelist=a b"]);
    for (text, part) in [
        ("--qos='low", "not closed"),
        ("low", "no option"),
        ("--array=0-3", "--array"),
        ("-a0-3", "-a"),
        ("--wait", "--wait"),
        ("-M all", "-M"),
        ("x\\", "backslash"),
    ] {
        let error = split_arguments(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert_eq!(split("--wait-all-nodes=1"), ["--wait-all-nodes=1"]);
}
