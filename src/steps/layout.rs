//! Where the inputs of a step whose entries have names lie in one folder: those without a name at its top, those with a name below
//! it. It does not know what is done with them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{InputArtifact, ParamError, StepError};

/// Names of files in a private folder.
pub(super) struct Layout;

impl Layout {
    /// Whether a name stays in the folder.
    pub(super) fn check(param: &str, name: &str) -> Result<(), ParamError> {
        let path = Path::new(name);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let whole = !name.is_empty() && !name.ends_with('/') && !name.contains("//");
        if inside && whole && !name.contains(['\0', '\\']) {
            return Ok(());
        }
        let message = format!("`{name}` is no file inside the step's folder; write a relative path without `..`");
        Err(ParamError::new(param, message))
    }
}

/// Every file of the inputs, in order: its path in the folder, and where it lies.
///
/// # Errors
/// If a name leads out of the folder, two files have one path, or a folder cannot be read.
pub(super) fn files(inputs: &[InputArtifact]) -> Result<Vec<(PathBuf, PathBuf)>, StepError> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for input in inputs {
        let name = input.port.split_once('.').map(|(_, name)| name);
        if let Some(name) = name {
            Layout::check("inputs", name.trim_end_matches('/')).map_err(|error| StepError::Failed(error.to_string()))?;
        }
        if input.path.is_dir() {
            let top = name.map_or_else(PathBuf::new, |name| PathBuf::from(name.trim_end_matches('/')));
            let mut list = Vec::new();
            list_folder(&input.path, Path::new(""), &mut list)?;
            list.sort();
            found.extend(list.into_iter().map(|below| (top.join(&below), input.path.join(&below))));
            continue;
        }
        // A file from outside: under its own path, as the name says, or in the folder that the name says.
        let label = Path::new(&input.label);
        let file = label.file_name().map_or_else(|| PathBuf::from("file"), PathBuf::from);
        let place = match name {
            Some(name) if name.ends_with('/') => Path::new(name).join(file),
            Some(name) => PathBuf::from(name),
            None if Layout::check("inputs", &input.label).is_ok() => label.to_path_buf(),
            None => file,
        };
        found.push((place, input.path.clone()));
    }
    let mut seen: BTreeMap<&Path, &Path> = BTreeMap::new();
    for (place, from) in &found {
        if let Some(first) = seen.insert(place, from) {
            return Err(StepError::Failed(format!(
                "two inputs have a file `{}`: {} and {}; give one of them a name: inputs: #{{ other: ... }}, or `other/` for several \
                 files",
                place.display(),
                first.display(),
                from.display()
            )));
        }
    }
    Ok(found)
}

fn list_folder(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), StepError> {
    for entry in fs_err::read_dir(root.join(below)).map_err(StepError::failed)? {
        let entry = entry.map_err(StepError::failed)?;
        let path = below.join(entry.file_name());
        if entry.file_type().map_err(StepError::failed)?.is_dir() {
            list_folder(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(port: &str, path: &Path, label: &str) -> InputArtifact {
        InputArtifact {
            port: port.into(),
            name: "x".into(),
            path: path.into(),
            label: label.into(),
            metrics: BTreeMap::new(),
            digest: plan::Digest::from_bytes([0; 32]),
        }
    }

    #[test]
    fn files_lie_where_their_names_say() {
        let folder = tempfile::tempdir().unwrap();
        let artifact = folder.path().join("artifact");
        std::fs::create_dir_all(artifact.join("sub")).unwrap();
        std::fs::write(artifact.join("sub/a.txt"), "a").unwrap();
        let outside = folder.path().join("o.txt");
        std::fs::write(&outside, "o").unwrap();
        let places = |inputs: &[InputArtifact]| {
            files(inputs).map(|list| list.into_iter().map(|(place, _)| place.display().to_string()).collect::<Vec<_>>())
        };
        let all = [
            input("inputs", &artifact, ""),
            input("inputs.named", &artifact, ""),
            input("inputs", &outside, "src/o.txt"),
            input("inputs", &outside, "../o.txt"),
            input("inputs.words", &outside, "src/o.txt"),
            input("inputs.more/", &outside, "src/o.txt"),
        ];
        let expected = ["sub/a.txt", "named/sub/a.txt", "src/o.txt", "o.txt", "words", "more/o.txt"];
        assert_eq!(places(&all).unwrap(), expected);
        let twice = [input("inputs", &artifact, ""), input("inputs", &artifact, "")];
        assert!(places(&twice).unwrap_err().to_string().contains("two inputs have a file `sub/a.txt`"));
        assert!(places(&[input("inputs.../x", &outside, "o")]).unwrap_err().to_string().contains("relative path"));
    }
}
