//! How steps are run: shell commands apart from the rest of the machine, retries, time limits, targets, forced and accepted steps,
//! sweeps, temporary artifacts.

use crate::bench::Bench;

fn bench(recipe: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in.txt", "three short words\n");
    bench.write("r.rhai", recipe);
    bench
}

fn artifact(bench: &Bench, digest: &str, file: &str) -> String {
    std::fs::read_to_string(bench.path(&format!(".workbench/store/objects/{}/{digest}/{file}", &digest[..2]))).unwrap()
}

#[test]
fn a_command_sees_its_inputs_and_environment_and_nothing_else() {
    let bench = bench(
        r#"
let words = shell(#{ cmd: "wc -w < in.txt > count.txt; env | cut -d= -f1 | sort > names.txt; ls > files.txt; echo said; echo $TOKEN",
                     inputs: "in.txt", outputs: ["count.txt", "names.txt", "files.txt"], env: #{ KIND: "x" }, secrets: ["TOKEN"] });
let both = concat([words], #{ name: "all" });
let named = shell(#{ cmd: "cat w/count.txt words > out", inputs: #{ w: words, words: "in.txt" }, outputs: ["out"] });
output("end", [both, named]);
"#,
    );
    let mut command = bench.command(&["run", "--json", "r.rhai"]);
    command.env("TOKEN", "very-secret-value").env("LEAK", "1");
    let output = command.output().unwrap();
    let events = String::from_utf8(output.stdout).unwrap();
    let ran = crate::bench::ran(&events, output.status.code().unwrap());
    assert_eq!(ran.code, 0, "{:?}", ran.failed);
    let words = &ran.digests["words"];
    assert_eq!(artifact(&bench, words, "count.txt").trim(), "3");
    assert_eq!(artifact(&bench, words, "files.txt"), "count.txt\nfiles.txt\nin.txt\nnames.txt\n");
    let names = artifact(&bench, words, "names.txt");
    assert!(names.contains("KIND") && names.contains("TOKEN") && !names.contains("LEAK"), "{names}");
    assert_eq!(artifact(&bench, &ran.digests["named"], "out"), "3\nthree short words\n");
    assert!(events.contains("said") && events.contains("***") && !events.contains("very-secret-value"));
    let leaked =
        std::process::Command::new("grep").args(["-rl", "very-secret-value"]).arg(bench.path(".workbench")).output().unwrap();
    assert!(leaked.stdout.is_empty(), "{}", String::from_utf8_lossy(&leaked.stdout));
    assert!(bench.run_ok(&["r.rhai"]).executed.is_empty(), "the secret's value is in no key");
    bench.write("in.txt", "two words\n");
    assert_eq!(bench.run(&["r.rhai"]).failed.len(), 1, "now it runs, and the secret is missing");
}

#[test]
fn a_command_is_kept_away_from_the_network_and_other_files() {
    let bench = bench(
        r#"
let apart = shell(#{ cmd: "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > devices; touch /usr/here 2>/dev/null && echo wrote > writes || echo refused > writes",
                     outputs: ["devices", "writes"] });
output("end", apart);
"#,
    );
    let said = bench.say(&["run", "--plain", "r.rhai"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    if said.out.contains("not kept away") {
        assert!(said.out.contains("namespaces"), "where it cannot be done, the log says so");
        return;
    }
    let ran = bench.run_ok(&["r.rhai"]);
    assert_eq!(artifact(&bench, &ran.digests["apart"], "devices").trim(), "lo");
    assert_eq!(artifact(&bench, &ran.digests["apart"], "writes").trim(), "refused");
}

#[test]
fn what_a_command_does_wrong_is_said() {
    let cases = [
        (r#"cmd: "echo broken >&2; exit 7", outputs: ["x"]"#, "status 7"),
        (r#"cmd: "true", outputs: ["x"]"#, "did not make its output `x`"),
        (r#"cmd: "kill -9 $$", outputs: ["x"]"#, "signal 9"),
        (r#"cmd: "ln -s /etc/passwd x", outputs: ["x"]"#, "symbolic link"),
        (r#"cmd: "cat in.txt > x", inputs: ["in.txt", "../in.txt"], outputs: ["x"]"#, "no file is called"),
        (r#"cmd: "true", outputs: ["../x"]"#, "inside the step's folder"),
        (r#"cmd: "true", outputs: ["x"], makes: "document""#, "did you mean `documents`"),
    ];
    for (call, wrong) in cases {
        let bench = bench(&format!("output(\"end\", shell(#{{ {call} }}));"));
        let said = bench.say(&["run", "--plain", "r.rhai"]);
        assert!(said.code != 0 && format!("{}{}", said.out, said.err).contains(wrong), "{call}: {}{}", said.out, said.err);
    }
}

#[test]
fn attempts_are_repeated_by_class_and_end_in_time() {
    // The folder above the command's own outlives an attempt.
    let bench = bench(
        r#"
let flaky = shell(#{ cmd: "if test -e ../tried; then echo done > x; else touch ../tried; kill -9 $$; fi", outputs: ["x"] })
    .retry(#{ times: 2, backoff: "10ms", on: ["killed"] });
let slow = shell(#{ cmd: "sleep 60; echo > y", outputs: ["y"] }).timeout("300ms");
output("end", [flaky, slow]);
"#,
    );
    let said = bench.say(&["run", "--plain", "--keep-going", "r.rhai"]);
    assert!(said.out.contains("flaky: attempt 1 failed (killed)"), "{}", said.out);
    assert!(said.out.contains("flaky: done") && said.out.contains("longer than the 0.3 s"), "{}", said.out);
    assert_eq!(said.code, 1);
}

#[test]
fn a_failure_stops_what_comes_unless_told_to_go_on() {
    let bench = bench(
        r#"
let bad = shell(#{ cmd: "exit 1", outputs: ["x"] });
let good = shell(#{ cmd: "sleep 0.2; echo > y", outputs: ["y"] });
let more = concat(good);
let never = concat(bad);
output("end", [more, never]);
"#,
    );
    let stopped = bench.run(&["r.rhai", "--threads", "1"]);
    assert_eq!((stopped.code, stopped.failed.len()), (1, 1));
    assert!(!stopped.executed.contains(&"more".to_owned()), "{:?}", stopped.executed);
    let went_on = bench.run(&["r.rhai", "-k"]);
    assert_eq!(went_on.failed.len(), 1);
    assert!(went_on.digests.contains_key("more"));
}

const CHAIN: &str = r#"
let a = shell(#{ cmd: "cat in.txt > a; echo v1 > note", inputs: "in.txt", outputs: ["a"] });
let b = shell(#{ cmd: "tr a-z A-Z < a > b", inputs: [a], outputs: ["b"] });
let c = shell(#{ cmd: "cat b b > c", inputs: [b], outputs: ["c"] });
let odd = shell(#{ cmd: "date +%s%N > n", outputs: ["n"] });
output("c", c);
output("odd", odd);
"#;

#[test]
fn targets_are_run_and_nothing_else() {
    let bench = bench(CHAIN);
    let refused = bench.run(&["r.rhai", "--only", "b"]);
    assert!(refused.failed["a"].contains("--only"), "{:?}", refused.failed);
    assert_eq!(bench.run_ok(&["r.rhai", "--until", "b"]).executed, ["a", "b"]);
    assert_eq!(bench.run_ok(&["r.rhai", "--only", "c"]).executed, ["c"]);
    let said = bench.say(&["run", "r.rhai", "--until", "bb"]);
    assert!(said.code == 2 && said.err.contains("has no step `bb`"), "{}", said.err);
    let plan = bench.ok(&["plan", "r.rhai", "--until", "o*"]);
    assert!(plan.contains("1 would run"), "{plan}");
}

#[test]
fn a_forced_step_tells_whether_it_is_reproducible() {
    let bench = bench(CHAIN);
    bench.run_ok(&["r.rhai"]);
    let said = bench.ok(&["run", "--plain", "r.rhai", "--force", "a", "--force", "odd"]);
    assert!(said.contains("a: forced: the same bytes as before"), "{said}");
    assert!(said.contains("odd: forced") && said.contains("not reproducible"), "{said}");
    assert!(said.contains("2 executed, 2 cached"), "{said}");
}

#[test]
fn an_accepted_artifact_keeps_what_comes_after_it() {
    let bench = bench(CHAIN);
    let first = bench.run_ok(&["r.rhai"]);
    bench.write("r.rhai", &CHAIN.replace("echo v1 > note", "echo v2 > note; echo more >> a"));
    let why = bench.ok(&["why", "r.rhai", "a"]);
    assert!(why.contains("param cmd"), "{why}");
    let accepted = bench.run_ok(&["r.rhai", "--accept", "a"]);
    assert!(accepted.executed.is_empty());
    assert_eq!(accepted.digests["c"], first.digests["c"]);
    assert!(bench.run_ok(&["r.rhai"]).executed.is_empty(), "it stays accepted");
    let why = bench.ok(&["why", "r.rhai", "a"]);
    assert!(why.contains("declared good"), "{why}");
    let events = bench.ok(&["sql", "select count(*) as n from events where event = 'step_accepted'", "--format", "csv"]);
    assert!(events.contains('1'), "{events}");
}

#[test]
fn why_follows_causes_upstream_and_compares_with_other_runs() {
    let bench = bench(CHAIN);
    bench.run_ok(&["r.rhai"]);
    bench.write("in.txt", "other words\n");
    bench.run_ok(&["r.rhai"]);
    let why = bench.ok(&["why", "r.rhai", "c"]);
    assert!(why.contains("inputs is made by b") && why.contains("inputs is made by a"), "{why}");
    assert!(why.contains("input inputs in.txt"), "{why}");
    let against = bench.ok(&["why", "r.rhai", "a", "--against", "r-1"]);
    assert!(against.contains("differs from a in r-1") && against.contains("in.txt"), "{against}");
    let same = bench.ok(&["why", "r.rhai", "a", "--against", "r-2:a"]);
    assert!(same.contains("asks the same"), "{same}");
}

#[test]
fn a_sweep_is_one_plan_with_one_table() {
    let bench = bench(
        r#"
let times = param("times", 1, "how often");
let head = param("head", 4, "bytes");
let data = shell(#{ cmd: "cat in.txt > data", inputs: "in.txt", outputs: ["data"] });
let cut = concat(data, #{ head: head, name: "cut" });
output("cut", concat([cut].map(|one| one), #{ name: `n${times}` }));
"#,
    );
    let ran = bench.run_ok(&["r.rhai", "--sweep", "times=1..2", "--sweep", "head=4,6,8"]);
    assert_eq!(ran.executed.len(), 1 + 3 + 6, "{:?}", ran.executed);
    assert!(ran.digests.contains_key("cut@head=6"), "{:?}", ran.digests.keys());
    let said = bench.ok(&["run", "--plain", "r.rhai", "--sweep", "times=1..2", "--sweep", "head=4,6,8"]);
    let table: Vec<_> = said.lines().skip_while(|line| !line.starts_with("times")).take(7).collect();
    assert_eq!(table[0].split_whitespace().collect::<Vec<_>>(), ["times", "head", "bytes"], "{said}");
    assert_eq!(table[6].split_whitespace().collect::<Vec<_>>(), ["2", "8", "8"], "{said}");
    assert!(bench.path(".workbench/runs/r-2/sweep.csv").exists() && bench.path(".workbench/runs/r-2/sweep.html").exists());
}

#[test]
fn temporary_artifacts_go_and_come_back_when_needed() {
    let recipe = r#"
let big = shell(#{ cmd: "head -c 100000 /dev/zero > big", outputs: ["big"] }).temp();
let small = shell(#{ cmd: "head -c 10 big > small", inputs: [big], outputs: ["small"] });
output("small", small);
"#;
    let bench = bench(recipe);
    let first = bench.run_ok(&["r.rhai"]);
    let digest = &first.digests["big"];
    let object = bench.path(&format!(".workbench/store/objects/{}/{digest}", &digest[..2]));
    assert!(!object.exists(), "its files are gone");
    let second = bench.run_ok(&["r.rhai"]);
    assert!(second.executed.is_empty(), "{:?}", second.executed);
    bench.write("r.rhai", &recipe.replace("-c 10 ", "-c 20 "));
    assert_eq!(bench.run_ok(&["r.rhai"]).executed, ["big", "small"]);
}

#[test]
fn a_killed_run_leaves_no_command_behind() {
    let bench = bench(r#"output("end", shell(#{ cmd: "sleep 987654 & sleep 987653", outputs: ["x"] }));"#);
    let mut child = bench.start(&["r.rhai"], "events.jsonl");
    let sleeping = || {
        let output = std::process::Command::new("pgrep").args(["-f", "sleep 98765[34]"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let wait = |wanted: &dyn Fn(usize) -> bool| {
        let start = std::time::Instant::now();
        while !wanted(sleeping()) {
            assert!(start.elapsed().as_secs() < 60, "{} commands run", sleeping());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait(&|count| count >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    wait(&|count| count == 0);
}
