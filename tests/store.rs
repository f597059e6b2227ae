//! The store as a user looks after it: remote stores, archives, tags, clean-up, links.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Said};
use crate::rerun;

/// A server that speaks S3 on loopback, with a bucket `bucket`; ends with the test.
struct S3 {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server that WORKBENCH_S3_SERVER names, else one on PATH.
fn server() -> Option<PathBuf> {
    let named = std::env::var_os("WORKBENCH_S3_SERVER").map(PathBuf::from);
    named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        ["s3s-fs", "minio", "moto_server"]
            .iter()
            .flat_map(|name| places.iter().map(move |place| place.join(name)))
            .find(|file| file.is_file())
    })
}

impl S3 {
    fn start() -> Option<Self> {
        let Some(program) = server() else {
            eprintln!("skipped: no S3 server; set WORKBENCH_S3_SERVER to s3s-fs, minio or moto_server, or put one on PATH");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (address, root) = (port.to_string(), folder.path().to_str().unwrap());
        let mut command = Command::new(&program);
        match program.file_name().unwrap().to_str().unwrap() {
            "minio" => {
                std::fs::create_dir(folder.path().join("bucket")).unwrap();
                command.args(["server", root, "--address", &format!("127.0.0.1:{address}")]);
                command.env("MINIO_ROOT_USER", "someone").env("MINIO_ROOT_PASSWORD", "secret-enough")
            }
            "moto_server" => command.args(["-H", "127.0.0.1", "-p", &address]),
            _ => {
                std::fs::create_dir(folder.path().join("bucket")).unwrap();
                command.args(["--access-key", "someone", "--secret-key", "secret-enough"]);
                command.args(["--host", "127.0.0.1", "--port", &address, root])
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port, _folder: folder };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "{} does not listen", program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        if program.ends_with("moto_server") {
            ureq_put(port, "/bucket");
        }
        Some(server)
    }

    fn say(&self, bench: &Bench, arguments: &[&str]) -> Said {
        let mut command = bench.command(arguments);
        command
            .env("AWS_ACCESS_KEY_ID", "someone")
            .env("AWS_SECRET_ACCESS_KEY", "secret-enough")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1");
        Bench::finish(&mut command)
    }

    fn ok(&self, bench: &Bench, arguments: &[&str]) -> String {
        let said = self.say(bench, arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}\n{}", said.out, said.err);
        said.out
    }
}

/// An empty PUT without credentials, as moto takes it.
fn ureq_put(port: u16, path: &str) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The texts and the recipe of `rerun`.
fn bench() -> Bench {
    rerun::bench()
}

fn verified(bench: &Bench) {
    assert!(bench.ok(&["cache", "verify"]).contains(" 0 damaged"));
}

#[test]
fn a_run_travels_through_a_folder() {
    let (one, two) = (bench(), bench());
    let shelf = tempfile::tempdir().unwrap();
    let shelf = shelf.path().join("shelf");
    let url = shelf.to_str().unwrap();
    let ran = one.run_ok(&["r.rhai"]);
    assert!(one.ok(&["cache", "push", url]).contains("7 artifacts pushed"));
    assert!(one.ok(&["cache", "push", url]).contains("0 artifacts pushed"));
    let said = two.say(&["cache", "pull", url, "r-2"]);
    assert!(said.code == 2 && said.err.contains("no run `r-2`"), "{}", said.err);
    assert!(two.ok(&["cache", "pull", url, "r-1"]).contains("7 artifacts pulled"));
    verified(&two);
    assert!(two.ok(&["runs"]).contains("r-1  succeeded"));
    let again = two.run_ok(&["r.rhai"]);
    assert_eq!((again.executed.len(), &again.digests), (0, &ran.digests));
    // The other machine has a run of the same name.
    let three = bench();
    three.write("r.rhai", "output(\"raw\", text(\"texts/*.txt\"));\n");
    three.run_ok(&["r.rhai"]);
    assert!(three.say(&["cache", "push", url]).err.contains("--as"));
    three.ok(&["cache", "push", url, "--as", "r-other"]);
    assert!(two.ok(&["cache", "pull", url, "r-other"]).contains("0 artifacts pulled"));
    assert!(two.ok(&["runs"]).contains("r-other"));
}

#[test]
fn a_run_travels_through_an_s3_server() {
    let Some(server) = S3::start() else { return };
    let (one, two) = (bench(), bench());
    // A file of more than one part, also when it is compressed.
    let (mut big, mut state) = (String::new(), 1_u64);
    for index in 0..60_000 {
        big.push_str(&format!("{{\"id\":\"{index}\",\"text\":\""));
        for _ in 0..32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            big.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        big.push_str("\"}\n");
    }
    for bench in [&one, &two] {
        bench.write("big.jsonl", &big);
        bench.write("big.rhai", "output(\"big\", jsonl(\"big.jsonl\"));\n");
    }
    let ran = one.run_ok(&["r.rhai"]);
    let url = "s3://bucket/team/cache";
    let pushed = server.ok(&one, &["cache", "push", url]);
    assert!(pushed.contains("7 artifacts pushed"), "{pushed}");
    assert!(server.ok(&one, &["cache", "push", url]).contains("0 artifacts pushed"));
    let pulled = server.ok(&two, &["cache", "pull", url, "r-1"]);
    assert!(pulled.contains("7 artifacts pulled"), "{pulled}");
    verified(&two);
    let again = two.run_ok(&["r.rhai"]);
    assert_eq!((again.executed.len(), &again.digests), (0, &ran.digests));

    let ran = one.run_ok(&["big.rhai"]);
    let pushed = server.ok(&one, &["cache", "push", url]);
    assert!(pushed.contains("1 files, 1") && pushed.contains(" MiB ("), "more than ten megabytes: {pushed}");
    server.ok(&two, &["cache", "pull", url, "big-1"]);
    verified(&two);
    assert_eq!(two.run_ok(&["big.rhai"]).digests, ran.digests);

    let said = server.say(&two, &["cache", "pull", "s3://no-such-bucket/x", "r-9"]);
    assert!(said.code != 0 && said.err.contains("r-9"), "{}", said.err);
    let mut command = two.command(&["cache", "push", url]);
    command.env("AWS_ACCESS_KEY_ID", "someone").env("AWS_SECRET_ACCESS_KEY", "wrong").env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", server.port)).env("AWS_REGION", "us-east-1");
    let said = Bench::finish(&mut command);
    // moto checks no signatures.
    assert!(said.code == 0 || (said.code == 3 && said.err.contains("credentials")), "{}", said.err);
}

#[test]
fn an_archive_brings_a_run_to_another_home() {
    let (one, two) = (bench(), bench());
    let ran = one.run_ok(&["r.rhai"]);
    let said = one.ok(&["archive", "r-1", "r.tar.zst"]);
    assert!(said.contains("7 artifacts"), "{said}");
    assert!(one.say(&["archive", "r-1", "r.tar.zst"]).err.contains("exists"));
    let file = one.path("r.tar.zst");
    let file = file.to_str().unwrap();
    // Cut short it brings nothing.
    let whole = std::fs::read(file).unwrap();
    std::fs::write(two.path("cut"), &whole[..whole.len() - 100]).unwrap();
    let said = two.say(&["unarchive", "cut"]);
    assert!(said.code == 2 && said.err.contains("refused"), "{}", said.err);
    assert!(two.ok(&["cache", "usage"]).starts_with("0 keys"));
    assert!(two.ok(&["unarchive", file]).contains("run r-1: 7 artifacts"));
    verified(&two);
    assert!(two.ok(&["runs"]).contains("r-1  succeeded"));
    assert!(two.ok(&["show", "tokens", "--run", "r-1"]).contains("made in run r-1"));
    assert!(two.ok(&["unarchive", file]).contains("which was here: 0 artifacts"));
    let again = two.run_ok(&["r.rhai"]);
    assert_eq!((again.executed.len(), &again.digests), (0, &ran.digests));
    // A run of the same name that is another one stays.
    let three = bench();
    three.write("r.rhai", "output(\"raw\", text(\"texts/*.txt\"));\n");
    three.run_ok(&["r.rhai"]);
    assert!(three.say(&["unarchive", file]).err.contains("--as"));
    three.ok(&["unarchive", file, "--as", "theirs"]);
    assert!(three.ok(&["show", "theirs"]).contains("tokens"));
    assert!(three.say(&["unarchive", file, "--as", "../x"]).code == 2);
}

#[test]
fn runs_and_tags_keep_artifacts_and_the_rest_goes_when_told() {
    let bench = bench();
    let recipe = std::fs::read_to_string(bench.path("r.rhai")).unwrap();
    for size in ["300", "290", "280"] {
        bench.write("r.rhai", &recipe.replace("300", size));
        bench.run_ok(&["r.rhai"]);
    }
    assert!(bench.ok(&["cache", "gc"]).contains("0 artifacts"), "five runs are kept");
    let plan = bench.ok(&["cache", "gc", "--keep-runs", "1"]);
    assert!(plan.contains("4 artifacts") && plan.contains("would go; --apply"), "{plan}");
    assert!(plan.contains("tok (train_tokenizer) of r-1: no run or tag"), "{plan}");
    bench.ok(&["tag", "tokens", "good", "--run", "r-1"]);
    bench.ok(&["tag", "r-2", "whole"]);
    assert!(bench.say(&["tag", "r-1", "good"]).err.contains("untag"));
    let tags = bench.ok(&["tags"]);
    assert!(tags.contains("tokens of run r-1") && tags.contains("run r-2"), "{tags}");
    assert!(bench.ok(&["cache", "gc", "--keep-runs", "1"]).contains("1 artifacts"));
    assert!(bench.ok(&["cache", "gc", "--keep-runs", "0", "--older-than", "1h"]).contains("0 artifacts"));
    assert!(bench.ok(&["cache", "gc", "--keep-runs", "0", "--keep-last", "1"]).contains("1 artifacts"));
    assert!(bench.ok(&["cache", "gc", "--keep-runs", "0", "--max-size", "1GB"]).contains("0 artifacts"));
    assert!(bench.ok(&["cache", "gc", "--keep", "1", "--apply"]).contains("1 artifacts, "));
    verified(&bench);
    bench.write("r.rhai", &recipe);
    assert_eq!(bench.run_ok(&["r.rhai"]).executed, ["tok"], "its tokens were tagged");
    assert!(bench.say(&["untag", "god"]).err.contains("did you mean `good`?"));
    bench.ok(&["untag", "good"]);
    bench.ok(&["untag", "whole"]);
    bench.ok(&["cache", "gc", "--keep-runs", "0", "--apply"]);
    assert!(bench.ok(&["cache", "usage"]).starts_with("0 keys, 0 artifacts"));
}

#[test]
fn equal_files_are_linked_and_sizes_are_told() {
    let bench = bench();
    let mut line = String::new();
    for index in 0..4000 {
        line.push_str(&format!("{{\"id\":\"{index}\",\"text\":\"document {index}, number {}\"}}\n", index * 7919 % 4001));
    }
    bench.write("docs.jsonl", &line);
    // Nothing is a duplicate: `dedup` yields the documents it was given.
    bench.write(
        "r.rhai",
        "let raw = jsonl(\"docs.jsonl\");\noutput(\"a\", raw.dedup());\noutput(\"b\", raw.dedup(#{ by: \"document\" }));\n",
    );
    let ran = bench.run_ok(&["r.rhai"]);
    for by in ["kind", "run", "recipe"] {
        let said = bench.ok(&["cache", "du", "--by", by]);
        assert!(said.contains("in all, each byte counted once"), "{said}");
    }
    let plan = bench.ok(&["cache", "dedup"]);
    let done = bench.ok(&["cache", "dedup", "--apply"]);
    assert_eq!(plan.split(' ').next(), done.split(' ').next());
    assert!(bench.ok(&["cache", "dedup"]).starts_with("0 files"));
    verified(&bench);
    let again = bench.run_ok(&["r.rhai"]);
    assert_eq!((again.executed.len(), &again.digests), (0, &ran.digests));
}

#[test]
fn locks_are_listed_and_those_of_dead_machines_are_taken_over() {
    let bench = bench();
    bench.run_ok(&["r.rhai"]);
    assert_eq!(bench.ok(&["cache", "locks"]), "nothing is held\n");
    // A run on another machine that died: a file that no longer changes.
    let holders = bench.path(".workbench/store/holders");
    let record =
        "{\"pid\":7,\"host\":\"node17\",\"boot\":\"b\",\"machine\":\"m\",\"began\":1,\"since_ms\":1795508005000,\"number\":0}\n";
    std::fs::write(holders.join("node17-7-0"), format!("{record}{:020}\n", 3)).unwrap();
    let said = bench.ok(&["cache", "locks"]);
    assert!(said.contains("process 7 on node17, since 2026-11-24") && said.contains("stale"), "{said}");
}
