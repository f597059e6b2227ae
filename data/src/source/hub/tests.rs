//! Tests of downloads from a hub on the loopback interface.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::*;
use crate::source::crates::hex;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the hub: name, content, tag.
type File = (&'static str, Vec<u8>, String);

fn files() -> Vec<File> {
    let weights: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let tag = hex(&Sha256::digest(&weights));
    vec![
        ("config.json", b"{}".to_vec(), "9e26dfeeb6e641a33dae4961196235bdb965b21b".into()),
        ("model.safetensors", weights, tag),
        ("README.md", b"not wanted".to_vec(), "1".repeat(40)),
    ]
}

/// Serves files; returns the address and the paths and ranges it was asked for.
fn serve(files: Vec<File>) -> (Hub, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = Hub::at(&format!("http://{}", listener.local_addr().unwrap()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &files, &seen);
        }
    });
    (hub, asked)
}

fn answer(mut stream: TcpStream, files: &[File], seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut range = None;
    for line in lines {
        let line = line.unwrap().to_lowercase();
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            let (from, to) = bytes.split_once('-').unwrap();
            range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
        }
        if line.is_empty() {
            break;
        }
    }
    seen.lock().unwrap().push(format!("{path} {range:?}"));
    let mut say = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    if path == format!("/api/models/owner/name/revision/{COMMIT}") {
        let siblings: Vec<_> = files.iter().map(|(name, ..)| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return say("200 OK", "Content-Type: application/json\r\n", body.as_bytes());
    }
    let found = files.iter().find(|(name, ..)| path == format!("/owner/name/resolve/{COMMIT}/{name}"));
    let Some((_, content, tag)) = found else { return say("404 Not Found", "", b"") };
    let (from, to) = range.unwrap_or((0, None));
    let end = to.map_or(content.len(), |to| (to + 1).min(content.len()));
    let headers = format!(
        "X-Repo-Commit: {COMMIT}\r\nETag: \"{tag}\"\r\nContent-Range: bytes {from}-{}/{}\r\n",
        end.saturating_sub(1),
        content.len()
    );
    say("206 Partial Content", &headers, &content[from.min(end)..end]);
}

fn wanted(name: &str) -> bool {
    name != "README.md"
}

#[test]
fn wanted_files_of_a_commit_arrive_whole() {
    let (hub, asked) = serve(files());
    let (cache, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = cache.path().join("hub");
    download(&hub, "owner/name", COMMIT, &cache, out.path(), &wanted, &()).unwrap();
    for (name, content, _) in files().iter().take(2) {
        assert_eq!(&fs_err::read(out.path().join(name)).unwrap(), content, "{name}");
    }
    assert_eq!(fs_err::read_dir(out.path()).unwrap().count(), 2);
    assert!(!cache.exists());
    assert!(asked.lock().unwrap().iter().all(|path| path.contains(COMMIT) && !path.contains("README")));
}

#[test]
fn a_part_that_is_there_is_not_fetched_again() {
    let (hub, asked) = serve(files());
    let (cache, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, content, tag) = &files()[1];
    let blobs = cache.path().join("models--owner--name/blobs");
    fs_err::create_dir_all(&blobs).unwrap();
    fs_err::write(blobs.join(format!("{tag}.part")), &content[..150_000]).unwrap();
    download(&hub, "owner/name", COMMIT, cache.path(), out.path(), &wanted, &()).unwrap();
    assert_eq!(&fs_err::read(out.path().join("model.safetensors")).unwrap(), content);
    assert!(asked.lock().unwrap().iter().any(|path| path.ends_with("model.safetensors Some((150000, None))")), "{asked:?}");
}

#[test]
fn bytes_that_were_not_promised_are_refused() {
    let mut wrong = files();
    wrong[1].1[7] ^= 1;
    let (hub, _) = serve(wrong);
    let (cache, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fetch = |repository: &str| download(&hub, repository, COMMIT, cache.path(), out.path(), &wanted, &());
    let error = fetch("owner/name").unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("SHA-256"), "{error}");
    assert!(!out.path().join("model.safetensors").exists());
    let error = fetch("owner/other").unwrap_err().to_string();
    assert!(error.contains("owner/other") && error.contains("no such repository"), "{error}");
}
