//! `fetch`: a file from the network, known by its sha256.

use data::source::fetch::{Retries, fetch};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Fetch`].
    pub struct Params {
        /// Where it is: http or https.
        url: String;
        /// Its sha256, 64 hexadecimal digits.
        sha256: String;
    }
}

/// See the module.
pub struct Fetch;

/// The last part of a URL's path, without query.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name: String =
        path.rsplit('/').next().unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    if name.is_empty() || name.starts_with('.') { "file".into() } else { name }
}

impl Step for Fetch {
    type Params = Params;

    fn about() -> About {
        About {
            name: "fetch",
            version: 1,
            doc: "Downloads a file, going on after interruptions, and checks its sha256.",
            ports: &[],
            positional: &["url", "sha256"],
            output: ArtifactType::Files,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 64, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let mut errors = Vec::new();
        if !params.url.starts_with("http://") && !params.url.starts_with("https://") {
            errors.push(ParamError::new("url", "begins with http:// or https://"));
        }
        if params.sha256.len() != 64 || !params.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            errors.push(ParamError::new("sha256", "has 64 hexadecimal digits; `sha256sum FILE` prints them"));
        }
        params.sha256.make_ascii_lowercase();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        // Downloaded beside the output, where a part survives interruption.
        fs_err::create_dir_all(&work.progress).map_err(StepError::failed)?;
        let kept = work.progress.join(file_name(&params.url));
        fetch(&params.url, &params.sha256, &kept, Retries::default(), &DataObserver::new(work.reporter, "bytes"))?;
        let target = work.out(file_name(&params.url));
        fs_err::rename(&kept, &target)?;
        Ok(Closing::from([("bytes".into(), fs_err::metadata(&target)?.len() as f64)]))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_are_named_by_their_url() {
        assert_eq!(super::file_name("https://example.org/a/b.jsonl.gz?x=1"), "b.jsonl.gz");
        assert_eq!(super::file_name("https://example.org/"), "file");
        assert_eq!(super::file_name("https://example.org/.."), "file");
    }
}
