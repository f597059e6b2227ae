//! A web server for files, which may have a bad day. One request a connection; GET, HEAD and ranges.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the server behaves.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Good,
    /// Of three answers one is an error and one ends too early.
    Bad,
}

/// Serves a folder until it is dropped.
pub(super) struct Server {
    port: u16,
    over: Arc<AtomicBool>,
    ranges: Arc<AtomicU64>,
}

impl Server {
    pub(super) fn start(folder: PathBuf, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (over, ranges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let server = Self { port, over: over.clone(), ranges: ranges.clone() };
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (folder, ranges) = (folder.clone(), ranges.clone());
                std::thread::spawn(move || stream.map(|stream| answer(stream, &folder, mood, number, &ranges)));
            }
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn asked_for_ranges(&self) -> u64 {
        self.ranges.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(mut stream: TcpStream, folder: &Path, mood: Mood, number: usize, ranges: &AtomicU64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut from = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|from| from.parse().ok()).unwrap_or(0);
            ranges.fetch_add(1, Ordering::SeqCst);
        }
        if line.is_empty() {
            break;
        }
    }
    if mood == Mood::Bad && number.is_multiple_of(3) {
        return write!(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let Ok(bytes) = std::fs::read(folder.join(path.trim_start_matches('/'))) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let (total, rest) = (bytes.len(), &bytes[from.min(bytes.len())..]);
    let (status, range) = if from > 0 {
        ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1))
    } else {
        ("200 OK", String::new())
    };
    let length = rest.len();
    let etag = "Last-Modified: Tue, 24 Nov 2026 08:00:00 GMT\r\nETag: \"x\"";
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{range}{etag}\r\nConnection: close\r\n\r\n")?;
    if method != "HEAD" {
        let end = if mood == Mood::Bad && number % 3 == 1 { length / 2 } else { length };
        stream.write_all(&rest[..end])?;
    }
    Ok(())
}
