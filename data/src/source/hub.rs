//! A model repository of the Hugging Face hub at one commit, file by file.
//! Knows which bytes the hub promises, not what they mean; goes on after an interruption.

use super::fetch::digest_file;
use crate::error::DataError;
use crate::observe::{Observer, check};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};
use std::path::Path;

/// Attempts to go on with a file before its download fails.
const RETRIES: usize = 5;

/// Where the hub is.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    endpoint: Option<String>,
}

impl Hub {
    /// The hub that the environment names (`HF_ENDPOINT`), else the public one.
    pub fn from_env() -> Hub {
        Hub { endpoint: None }
    }

    /// The hub at a URL.
    pub fn at(endpoint: &str) -> Hub {
        Hub { endpoint: Some(endpoint.to_owned()) }
    }

    fn api(&self, cache: &Path) -> Result<Api, ApiError> {
        let builder = ApiBuilder::from_env().with_cache_dir(cache.to_path_buf()).with_progress(false).with_retries(RETRIES);
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.clone()).with_token(None).build(),
            None => builder.build(),
        }
    }
}

/// Tells how many bytes are there.
struct Told<'a> {
    observer: &'a dyn Observer,
    before: u64,
    done: u64,
}

impl Progress for Told<'_> {
    fn init(&mut self, _size: usize, _name: &str) {
        // Also when an attempt goes on; then what is there already follows as an update.
        self.done = 0;
    }
    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        self.observer.progress(self.before + self.done, None);
    }
    fn finish(&mut self) {}
}

/// Downloads the files of `repository` (`owner/name`) at `commit` whose names `wanted` accepts, from the top folder only, into the
/// existing directory `out`. Parts of files are kept in `cache`, where a later call goes on.
///
/// Every file has the size that the hub promises, and the SHA-256 where the hub knows it (all files of weights).
///
/// # Errors
/// When the repository has no such commit or no such file, the connection fails for good, or a file is not what was promised.
pub fn download(
    hub: &Hub,
    repository: &str,
    commit: &str,
    cache: &Path,
    out: &Path,
    wanted: &dyn Fn(&str) -> bool,
    observer: &dyn Observer,
) -> Result<(), DataError> {
    let address = format!("{repository}@{commit}");
    let failed = |what: &str, error: ApiError| DataError::Download { url: format!("{address}{what}"), message: explain(&error) };
    let api = hub.api(cache).map_err(|error| failed("", error))?;
    let repo = api.repo(Repo::with_revision(repository.to_owned(), RepoType::Model, commit.to_owned()));
    let info = repo.info().map_err(|error| failed("", error))?;
    if info.sha != commit {
        let message = format!("the hub answered with commit {}", info.sha);
        return Err(DataError::Download { url: address, message });
    }
    let mut names: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    names.retain(|name| !name.contains(['/', '\\']) && wanted(name));
    names.sort();
    if names.is_empty() {
        let message = "the repository has none of the files of a checkpoint".to_owned();
        return Err(DataError::Download { url: address, message });
    }
    let mut before = 0;
    for name in &names {
        check(observer)?;
        let at = format!("/{name}");
        let promised = api.metadata(&repo.url(name)).map_err(|error| failed(&at, error))?;
        let kept = repo.download_with_progress(name, Told { observer, before, done: 0 }).map_err(|error| failed(&at, error))?;
        let file = fs_err::canonicalize(&kept)?;
        if let Err(message) = compare(&file, promised.size() as u64, promised.etag())? {
            fs_err::remove_file(&file)?;
            return Err(DataError::Download { url: format!("{address}{at}"), message });
        }
        fs_err::rename(&file, out.join(name))?;
        before += promised.size() as u64;
    }
    if cache.exists() {
        fs_err::remove_dir_all(cache)?;
    }
    Ok(())
}

/// Whether a file is what the hub promised; if not, how it differs.
fn compare(file: &Path, size: u64, etag: &str) -> Result<Result<(), String>, DataError> {
    let (length, sha256) = digest_file(file)?;
    if length != size {
        return Ok(Err(format!("{length} bytes came of {size}; run again to fetch the file anew")));
    }
    // A large file's tag is its SHA-256, a small one's is git's name for it.
    let known = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    if known && !etag.eq_ignore_ascii_case(&sha256) {
        return Ok(Err(format!("its SHA-256 is {sha256}, and {etag} was promised; run again to fetch the file anew")));
    }
    Ok(Ok(()))
}

fn explain(error: &ApiError) -> String {
    let text = error.to_string();
    match text.as_str() {
        text if text.contains("404") => format!("{text}: there is no such repository or commit"),
        text if text.contains("401") || text.contains("403") => {
            format!("{text}: the repository is private or asks for consent; log in with the hub's own tools first")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests;
