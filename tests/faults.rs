//! Kills at random moments: the run, the process of a step, a request to stop, the disk's last byte. Whatever happened, the next runs
//! end with the same bytes, and nothing is left behind. `WORKBENCH_FAULTS` says how many kills (a dozen without it), `WORKBENCH_SEED`
//! which ones.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Ran};
use crate::training;

/// Data steps, a tokenizer, training that saves its progress, a fan of commands, one of them slow.
fn bench() -> Bench {
    let bench = training::bench();
    let cut = training::TINY.find("let grown").unwrap();
    let recipe = format!(
        "{}\nlet fan = [];\nfor i in range(0, 12) {{ fan.push(shell(#{{ cmd: `cat texts/*.txt | head -c ${{i * 90 + 10}} > part${{i}}; \
         sleep 0.0${{i % 5}}`, inputs: \"texts/*.txt\", outputs: [`part${{i}}`] }}).named(`part-${{i}}`)); }}\n\
         output(\"model\", seedling);\noutput(\"tokens\", tokens);\noutput(\"all\", concat(fan));\n",
        &training::TINY[..cut].replace("tokens: 2560", "tokens: 20480")
    );
    bench.write("r.rhai", &recipe);
    bench
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn kill(pid: u32, signal: &str) {
    // It may have ended by itself.
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(std::process::Stdio::null()).status();
}

fn step_processes(run: &Child) -> Vec<u32> {
    let output = Command::new("pgrep").args(["-P", &run.id().to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.parse().ok()).collect()
}

/// Processes of a home, beside the ones that look.
fn left_behind(bench: &Bench) -> Vec<String> {
    let home = bench.path(".workbench").display().to_string();
    let output = Command::new("pgrep").args(["-af", &home]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.contains("pgrep")).map(str::to_owned).collect()
}

fn same(ran: &Ran, whole: &Ran) {
    assert_eq!(ran.code, 0, "{:?}", ran.failed);
    assert_eq!(ran.digests, whole.digests);
}

fn sound(bench: &Bench) {
    let start = Instant::now();
    while !left_behind(bench).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", left_behind(bench));
        std::thread::sleep(Duration::from_millis(50));
    }
    bench.ok(&["cache", "verify"]);
    let slots: Vec<_> = std::fs::read_dir(bench.path(".workbench/store/slots")).unwrap().collect();
    assert!(slots.is_empty(), "{slots:?}");
    for run in std::fs::read_dir(bench.path(".workbench/runs")).unwrap() {
        let journal = std::fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap_or_default();
        // A line may be torn by a kill, and then it is the last.
        let records = journal.lines().map(|line| serde_json::from_str::<plan::Record>(line).is_ok());
        let torn = records.clone().filter(|whole| !whole).count();
        assert!(torn == 0 || torn == 1 && records.clone().next_back() == Some(false), "{torn} torn lines");
    }
    let runs = bench.ok(&["sql", "select count(*) from runs", "--format", "csv"]);
    assert!(runs.lines().count() >= 2, "{runs}");
}

#[test]
fn kills_at_random_moments_change_no_byte() {
    let began = Instant::now();
    let whole = bench().run_ok(&["r.rhai"]);
    // A kill at any moment of a run, on a fast machine and on a busy one; some come too late.
    let longest = u64::try_from(began.elapsed().as_millis()).unwrap() * 5 / 4;
    let bench = bench();
    let seed = number("WORKBENCH_SEED", 1);
    let mut random = Random(seed);
    let (mut kills, mut is_done) = (0, false);
    while kills < number("WORKBENCH_FAULTS", 12) {
        if is_done {
            // Begin again from nothing.
            // A run that was killed at once has left none.
            let gone = std::fs::remove_dir_all(bench.path(".workbench/runs"));
            assert!(gone.is_ok() || !bench.path(".workbench/runs").exists(), "{gone:?}");
            bench.ok(&["cache", "gc", "--apply"]);
        }
        let mut run = bench.start(&["r.rhai"], "events.jsonl");
        std::thread::sleep(Duration::from_millis(random.below(longest)));
        match random.below(4) {
            0 => kill(run.id(), "INT"),
            1 => step_processes(&run).first().into_iter().for_each(|&step| kill(step, "KILL")),
            _ => kill(run.id(), "KILL"),
        }
        let status = run.wait().unwrap();
        is_done = status.success();
        if !is_done {
            kills += 1;
            let code = (status.code(), status.signal());
            assert!(matches!(code, (Some(1 | 130), None) | (None, Some(2 | 9))), "{code:?} after {kills} kills, seed {seed}");
        }
    }
    same(&bench.run_ok(&["r.rhai"]), &whole);
    sound(&bench);
    assert!(bench.run_ok(&["r.rhai"]).executed.is_empty());
}

/// A home in a small file system in memory, which only root may mount.
struct Small<'a>(&'a Bench);

impl<'a> Small<'a> {
    fn mount(bench: &'a Bench) -> Option<Self> {
        let home = bench.path(".workbench");
        std::fs::create_dir(&home).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&home).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(bench))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path(".workbench")).status();
    }
}

#[test]
fn a_disk_that_fills_up_at_any_moment_loses_nothing_finished() {
    let whole = bench().run_ok(&["r.rhai"]);
    let bench = bench();
    let Some(_small) = Small::mount(&bench) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let mut random = Random(number("WORKBENCH_SEED", 1) + 1000);
    let ballast = bench.path(".workbench/ballast");
    for _ in 0..number("WORKBENCH_FAULTS", 12).div_ceil(4) {
        let mut run = bench.start(&["r.rhai"], "events.jsonl");
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        // All that is left, in one file.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", ballast.display()))
            .stderr(std::process::Stdio::null())
            .status();
        let status = run.wait().unwrap();
        std::fs::remove_file(&ballast).unwrap();
        assert!(matches!(status.code(), Some(0 | 1 | 3)), "{status}");
    }
    same(&bench.run_ok(&["r.rhai"]), &whole);
    sound(&bench);
}
