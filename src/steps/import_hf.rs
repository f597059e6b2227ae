//! `import_hf`: a Hugging Face checkpoint, from a folder or from the hub, as an artifact.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data::source::hub;
use fs_err as fs;
use lm::checkpoint::Checkpoint;
use plan::{Place, Resources, Value};

use super::bridge::DataObserver;
use super::params::{ADDRESS, ParamType};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

/// A repository of the hub at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// 40 hexadecimal digits.
    pub commit: String,
}

impl ParamType for Repository {
    fn type_name() -> String {
        ADDRESS.into()
    }

    fn from_value(path: &str, value: &Value) -> Result<Self, Vec<ParamError>> {
        let wrong = |text: String| Err(vec![ParamError::new(path, text)]);
        let Value::Str(text) = value else {
            return wrong(format!("expected {ADDRESS}, found {} {value}", value.type_name()));
        };
        let Some((name, commit)) =
            text.split_once('@').filter(|(name, _)| name.split('/').filter(|p| !p.is_empty()).count() == 2)
        else {
            return wrong(format!("expected {ADDRESS}, found \"{text}\""));
        };
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return wrong(format!(
                "`{commit}` is a branch, a tag or part of a commit, and what it means can change; write the commit's 40 hexadecimal \
                 digits, as the repository's list of commits or `git ls-remote` has them"
            ));
        }
        Ok(Self { name: name.into(), commit: commit.to_ascii_lowercase() })
    }

    fn to_value(&self) -> Value {
        Value::Str(format!("{}@{}", self.name, self.commit))
    }
}

crate::params! {
    /// Parameters of [`ImportHf`].
    pub struct Params {
        /// A repository of the hub at a commit; `()` when files are given.
        repository: Option<Repository> = None;
    }
}

/// See the module.
pub struct ImportHf;

/// What of a folder is a checkpoint, its tokenizer, or the state of its training.
fn belongs(name: &str) -> bool {
    let tokenizer = ["vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "chat_template.jinja"];
    let weights = name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"));
    weights
        || ["config.json", "generation_config.json", "training.json", "training.safetensors"].contains(&name)
        || name.starts_with("tokenizer")
        || tokenizer.contains(&name)
}

/// The files on a port: those from outside, and those in the folders of artifacts.
pub(super) fn files(work: &Work<'_>, port: &str) -> Result<Vec<PathBuf>, StepError> {
    let mut files = Vec::new();
    for input in work.all(port) {
        if input.path.is_dir() {
            let mut inside = fs::read_dir(&input.path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            inside.retain(|path| path.is_file());
            inside.sort();
            files.extend(inside);
        } else {
            files.push(input.path.clone());
        }
    }
    Ok(files)
}

impl Step for ImportHf {
    type Params = Params;

    fn about() -> About {
        About {
            name: "import_hf",
            version: 1,
            doc: "A checkpoint in the Hugging Face layout, from a folder (`import_hf(\"models/olmo\")`) or from the hub at a commit \
                  (`import_hf(\"owner/name@commit\")`), checked against its configuration. The files stay as they are: OLMo, OLMo 2, \
                  Olmo 3, Olmo Hybrid, OLMoE or FlexOlmo, one file or shards, in 32 or 16 bits.",
            ports: &[Port {
                name: "files",
                accepts: &[ArtifactType::Files],
                arity: Arity::Any,
                doc: "A folder relative to the recipe, or its files.",
            }],
            positional: &["repository"],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let files = files(work, "files")?;
        match (params.repository, files.is_empty()) {
            (None, true) => return Err(StepError::Failed(format!("give a folder, or {ADDRESS} for the hub"))),
            (Some(_), false) => return Err(StepError::Failed("give files or a repository of the hub, not both".into())),
            (None, false) => copy(&files, &work.out)?,
            (Some(repository), true) => {
                fs_err::create_dir_all(&work.progress).map_err(StepError::failed)?;
                let cache = work.progress.join("hub");
                let observer = DataObserver::new(work.reporter, "bytes");
                hub::download(
                    &hub::Hub::from_env(),
                    &repository.name,
                    &repository.commit,
                    &cache,
                    &work.out,
                    &belongs,
                    &observer,
                )?;
            }
        }
        let config = Checkpoint::verify(&work.out).map_err(StepError::failed)?;
        let mut bytes = 0;
        for entry in fs::read_dir(&work.out)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(Closing::from([("model/parameters".into(), config.n_parameters() as f64), ("bytes".into(), bytes as f64)]))
    }
}

/// Copies what belongs to a checkpoint.
fn copy(files: &[PathBuf], out: &Path) -> Result<(), StepError> {
    let mut taken: BTreeMap<&str, &Path> = BTreeMap::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !belongs(name) {
            continue;
        }
        if let Some(other) = taken.insert(name, path) {
            let text = format!("{} and {} are both called {name}; give one folder", other.display(), path.display());
            return Err(StepError::Failed(text));
        }
        // Bytes only: a copy is writable until the store takes it.
        std::io::copy(&mut fs::File::open(path)?, &mut fs::File::create(out.join(name))?)?;
    }
    if !taken.contains_key("config.json") {
        return Err(StepError::Failed("there is no config.json among the files, so they are no Hugging Face checkpoint".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_are_addresses() {
        let read = |text: &str| Repository::from_value("repository", &Value::Str(text.into()));
        let commit = "0123456789abcdef0123456789ABCDEF01234567";
        let repository = read(&format!("owner/name@{commit}")).unwrap();
        assert_eq!((repository.name.as_str(), repository.commit.as_str()), ("owner/name", commit.to_lowercase().as_str()));
        assert_eq!(Repository::from_value("", &repository.to_value()).unwrap(), repository);
        let message = |text: &str| read(text).unwrap_err()[0].to_string();
        assert!(message("owner/name@main").contains("`main` is a branch"), "{}", message("owner/name@main"));
        assert!(message("name@main").contains("owner/name@commit"));
        assert!(message("owner/name").contains("owner/name@commit"));
    }

    #[test]
    fn what_belongs_to_a_checkpoint() {
        for name in ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.model", "training.json"] {
            assert!(belongs(name), "{name}");
        }
        for name in ["README.md", "pytorch_model.bin", "adapter.safetensors", "metrics.jsonl"] {
            assert!(!belongs(name), "{name}");
        }
    }
}
