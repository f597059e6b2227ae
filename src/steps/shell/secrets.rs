//! Secrets of a command: read by name from the environment of the run, hidden in what it says, refused in what it makes.

use std::path::Path;

use fs_err as fs;

use super::{StepError, replace};

/// Shown instead of a secret.
const HIDDEN: &str = "***";
/// Secrets shorter than this are not looked for: they would be found everywhere.
const LEAST: usize = 4;

/// Names and values.
#[derive(Default)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Reads them from the environment.
    pub(super) fn read(names: &[String]) -> Result<Self, StepError> {
        let read = |name: &String| match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok((name.clone(), value)),
            Ok(_) => Err(StepError::Failed(format!("secret `{name}` is empty in the environment of the run"))),
            Err(_) => {
                Err(StepError::Failed(format!("secret `{name}` is not in the environment of the run; export it and run again")))
            }
        };
        names.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// For the environment of the command.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0.iter().cloned()
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.as_str()).filter(|value| value.len() >= LEAST)
    }

    /// A line without them.
    pub(super) fn hide(&self, line: &str) -> String {
        self.values().fold(line.to_owned(), |line, value| line.replace(value, HIDDEN))
    }

    /// Hides them in a log.
    pub(super) fn redact(&self, log: &Path) -> Result<(), StepError> {
        if self.0.is_empty() || !log.exists() {
            return Ok(());
        }
        let text = fs::read(log).map_err(StepError::failed)?;
        let text = String::from_utf8_lossy(&text);
        let hidden = self.hide(&text);
        if hidden == text { Ok(()) } else { replace(log, hidden.as_bytes()).map_err(StepError::failed) }
    }

    /// Fails if one of them is in an output.
    pub(super) fn refuse_in(&self, folder: &Path) -> Result<(), StepError> {
        if self.values().next().is_none() {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(StepError::failed)? {
            let entry = entry.map_err(StepError::failed)?;
            let kind = entry.file_type().map_err(StepError::failed)?;
            if kind.is_dir() {
                self.refuse_in(&entry.path())?;
            } else if kind.is_file() {
                self.refuse_in_file(&entry.path())?;
            }
        }
        Ok(())
    }

    fn refuse_in_file(&self, path: &Path) -> Result<(), StepError> {
        use std::io::Read;
        let longest = self.values().map(str::len).max().unwrap_or(0);
        let mut file = fs::File::open(path).map_err(StepError::failed)?;
        let mut window: Vec<u8> = Vec::new();
        let mut block = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut block).map_err(StepError::failed)?;
            if count == 0 {
                return Ok(());
            }
            window.extend_from_slice(&block[..count]);
            for (name, value) in self.0.iter().filter(|(_, value)| value.len() >= LEAST) {
                if memchr::memmem::find(&window, value.as_bytes()).is_some() {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    return Err(StepError::Failed(format!("output `{file}` holds secret `{name}`; it was not kept")));
                }
            }
            // A secret may lie across two blocks.
            let keep = window.len().min(longest.saturating_sub(1));
            window.drain(..window.len() - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_refused_across_blocks() {
        let secrets = Secrets(vec![("TOKEN".into(), "s3cr3t".into()), ("PIN".into(), "12".into())]);
        assert_eq!(secrets.hide("a s3cr3t 12"), "a *** 12");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/fine"), "12 s3cr3").unwrap();
        secrets.refuse_in(folder.path()).unwrap();
        let mut bytes = vec![b'x'; (1 << 20) - 3];
        bytes.extend(b"s3cr3t");
        std::fs::write(folder.path().join("sub/leak"), bytes).unwrap();
        let error = secrets.refuse_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`leak` holds secret `TOKEN`"), "{error}");
        assert!(Secrets::read(&["WORKBENCH_NO_SUCH_SECRET".into()]).is_err_and(|error| error.to_string().contains("not in the")));
    }
}
