//! Downloads a file whose hash is known, going on where an interrupted attempt stopped.
//! Knows http and https; does not unpack what it downloads, and never trusts it before the hash is checked.

use super::crates::hex;
use crate::error::DataError;
use crate::observe::{Observer, check};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::StatusCode;

/// How persistent a download is.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Attempts in a row that may bring nothing; one that brings any byte starts the count again.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles with each further one, up to a minute.
    pub pause: Duration,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries { attempts: 6, pause: Duration::from_secs(1) }
    }
}

/// Downloads `url` to the file `output` and checks its SHA-256 (hexadecimal).
///
/// Bytes are gathered in `<output>.part`, which a later call continues; the file appears under its own name, by a rename, only
/// when the hash is right. With a wrong hash the part is deleted and [`DataError::Checksum`] names both hashes. A file that is
/// already there with the right hash is kept. Progress counts bytes.
pub fn fetch(url: &str, sha256: &str, output: &Path, retries: Retries, observer: &dyn Observer) -> Result<(), DataError> {
    if output.is_file() && digest_file(output)?.1.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    if let Some(parent) = output.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let part = part_path(output);
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A compressed answer could not be continued by its bytes.
        .accept_encoding(ureq::config::AutoHeaderValue::None)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut hasher = Sha256::new();
    let mut have = if part.is_file() { digest_into(&part, &mut hasher)? } else { 0 };
    let mut failures = 0;
    let mut pause = retries.pause;
    loop {
        check(observer)?;
        let before = have;
        match attempt(&agent, url, &part, &mut have, &mut hasher, observer) {
            Ok(()) => break,
            Err(Attempt::Fatal(error)) => return Err(error),
            Err(Attempt::Again(message)) => {
                if have > before {
                    failures = 0;
                    pause = retries.pause;
                }
                failures += 1;
                if failures >= retries.attempts {
                    return Err(DataError::Download { url: url.to_owned(), message });
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(60));
            }
        }
    }
    let found = hex(&hasher.finalize());
    if !found.eq_ignore_ascii_case(sha256) {
        fs_err::remove_file(&part)?;
        return Err(DataError::Checksum { path: PathBuf::from(url), expected: sha256.to_owned(), found });
    }
    fs_err::File::open(&part)?.sync_all()?;
    fs_err::rename(&part, output)?;
    Ok(())
}

enum Attempt {
    /// Worth another try.
    Again(String),
    Fatal(DataError),
}

impl From<std::io::Error> for Attempt {
    fn from(error: std::io::Error) -> Attempt {
        Attempt::Fatal(error.into())
    }
}

/// One request for what is missing. `have` bytes are in the part file and in the hasher, also when it fails.
fn attempt(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    have: &mut u64,
    hasher: &mut Sha256,
    observer: &dyn Observer,
) -> Result<(), Attempt> {
    let mut request = agent.get(url);
    if *have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Attempt::Fatal(DataError::Download { url: url.to_owned(), message: error.to_string() })
        }
        error => Attempt::Again(error.to_string()),
    })?;
    let status = response.status();
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        // The server does not know ranges, or the part is longer than the file: from the beginning.
        StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => {
            if *have > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE && complete_length(&response) == Some(*have) {
                return Ok(());
            }
            *have = 0;
            *hasher = Sha256::new();
            fs_err::File::create(part)?;
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(Attempt::Again("the server has fewer bytes than were downloaded before".to_owned()));
            }
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => return Err(Attempt::Again(format!("status {status}"))),
        status if status.is_server_error() => return Err(Attempt::Again(format!("status {status}"))),
        status => {
            return Err(Attempt::Fatal(DataError::Download { url: url.to_owned(), message: format!("status {status}") }));
        }
    }
    let total = response.body().content_length().map(|length| *have + length);
    let mut file = fs_err::OpenOptions::new().append(true).create(true).open(part)?;
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        check(observer).map_err(Attempt::Fatal)?;
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(Attempt::Again(error.to_string())),
        };
        file.write_all(&buffer[..n])?;
        hasher.update(&buffer[..n]);
        *have += n as u64;
        observer.progress(*have, total);
    }
    if let Some(total) = total
        && *have < total
    {
        return Err(Attempt::Again(format!("the connection ended after {have} of {total} bytes")));
    }
    Ok(())
}

/// The length a `416` answer says the file has (`Content-Range: bytes */N`).
fn complete_length(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    response.headers().get("Content-Range")?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

fn part_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    output.with_file_name(name)
}

/// Length and hexadecimal SHA-256 of a file.
pub fn digest_file(path: &Path) -> Result<(u64, String), DataError> {
    let mut hasher = Sha256::new();
    let length = digest_into(path, &mut hasher)?;
    Ok((length, hex(&hasher.finalize())))
}

fn digest_into(path: &Path, hasher: &mut Sha256) -> Result<u64, DataError> {
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(length);
        }
        hasher.update(&buffer[..n]);
        length += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// What the server does with the request of that number.
    type Script = fn(request: usize, range: Option<u64>, content: &[u8]) -> Vec<u8>;

    /// A server on the loopback interface; returns its address and the ranges it was asked for.
    fn serve(content: Vec<u8>, script: Script, requests: usize) -> (String, Arc<Mutex<Vec<Option<u64>>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let seen = ranges.clone();
        std::thread::spawn(move || {
            for number in 0..requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut range = None;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(start) = line.strip_prefix("range: bytes=") {
                        range = Some(start.trim_end_matches('-').parse().unwrap());
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                seen.lock().unwrap().push(range);
                stream.write_all(&script(number, range, &content)).unwrap();
            }
        });
        (url, ranges)
    }

    fn answer(status: &str, promised: usize, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    const QUICK: Retries = Retries { attempts: 3, pause: Duration::from_millis(1) };

    fn content() -> (Vec<u8>, String) {
        let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let hash = hex(&Sha256::digest(&content));
        (content, hash)
    }

    #[test]
    fn goes_on_after_a_dropped_connection() {
        let (content, hash) = content();
        let half: Script = |number, range, content| match (number, range) {
            (0, None) => answer("200 OK", content.len(), &content[..content.len() / 2]),
            (1, _) => answer("503 Busy", 0, b""),
            (_, Some(start)) => answer("206 Partial Content", content.len() - start as usize, &content[start as usize..]),
            (_, None) => answer("200 OK", content.len(), content),
        };
        let (url, ranges) = serve(content.clone(), half, 3);
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("sub/file.bin");
        fetch(&url, &hash, &output, QUICK, &()).unwrap();
        assert_eq!(fs_err::read(&output).unwrap(), content);
        let ranges = ranges.lock().unwrap().clone();
        assert!(ranges[0].is_none() && ranges[2].is_some_and(|start| start > 0), "{ranges:?}");
        assert!(!part_path(&output).exists());
        // The server has hung up for good, so this shows that nothing is asked for again.
        fetch(&url, &hash, &output, QUICK, &()).unwrap();
    }

    #[test]
    fn goes_on_from_an_earlier_call_and_restarts_when_the_server_knows_no_ranges() {
        let (content, hash) = content();
        for script in [
            (|_, range, content| {
                answer("206 Partial Content", content.len() - range.unwrap() as usize, &content[range.unwrap() as usize..])
            }) as Script,
            |_, _, content| answer("200 OK", content.len(), content),
        ] {
            let (url, ranges) = serve(content.clone(), script, 1);
            let dir = tempfile::tempdir().unwrap();
            let output = dir.path().join("file.bin");
            fs_err::write(part_path(&output), &content[..1000]).unwrap();
            fetch(&url, &hash, &output, QUICK, &()).unwrap();
            assert_eq!(fs_err::read(&output).unwrap(), content);
            assert_eq!(*ranges.lock().unwrap(), [Some(1000)]);
        }
    }

    #[test]
    fn wrong_content_and_refusals_are_errors() {
        let (content, hash) = content();
        let (url, _) = serve(b"something else".to_vec(), |_, _, content| answer("200 OK", content.len(), content), 1);
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("file.bin");
        let error = fetch(&url, &hash, &output, QUICK, &()).unwrap_err();
        assert!(matches!(&error, DataError::Checksum { expected, .. } if *expected == hash), "{error}");
        assert!(!output.exists() && !part_path(&output).exists());
        let (url, _) = serve(content.clone(), |_, _, _| answer("404 Not Found", 0, b""), 1);
        let error = fetch(&url, &hash, &output, QUICK, &()).unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
        let (url, ranges) = serve(content, |_, _, _| answer("500 Oops", 0, b""), 3);
        let error = fetch(&url, &hash, &output, QUICK, &()).unwrap_err().to_string();
        assert!(error.contains("500"), "{error}");
        assert_eq!(ranges.lock().unwrap().len(), 3);
    }
}
