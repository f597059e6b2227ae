//! [`Tag`]: a name that keeps artifacts from being collected. It does not know what a run is.

use std::io::ErrorKind;

use fs_err as fs;
use plan::Key;
use serde::{Deserialize, Serialize};

use crate::store::{read_if_there, to_line};
use crate::{Result, Store, StoreError};

/// Longest name of a tag.
const MOST_NAME: usize = 100;

/// A named set of artifacts that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Name: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What it names, in words.
    pub of: String,
    /// Keys that stay.
    pub keys: Vec<Key>,
}

impl Store {
    /// Makes a tag.
    ///
    /// # Errors
    /// When the name is odd or taken; when the operating system refuses.
    pub fn tag(&self, tag: &Tag) -> Result<()> {
        let path = self.tag_path(&tag.name)?;
        let _lease = self.hold()?;
        let draft = self.layout().fresh_tmp();
        self.disk().write(&draft, &to_line(tag)?)?;
        self.disk().sync(std::slice::from_ref(&draft))?;
        let linked = self.disk().link(&draft, &path);
        self.disk().remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let place = format!("tag {}", tag.name);
                Err(StoreError::Refused { place, reason: "there is a tag of this name; `workbench untag` removes it".into() })
            }
            other => Ok(other?),
        }
    }

    /// Removes a tag, which may then let its artifacts go; false if there is none.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn untag(&self, name: &str) -> Result<bool> {
        let path = self.tag_path(name)?;
        let there = path.exists();
        self.disk().remove_file(&path)?;
        Ok(there)
    }

    /// All tags, sorted by name.
    ///
    /// # Errors
    /// When one cannot be understood: what it keeps is not known then.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        let entries = match fs::read_dir(self.layout().bucket("tags")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut tags = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(text) = read_if_there(&path)? {
                tags.push(serde_json::from_slice::<Tag>(&text).map_err(|error| StoreError::Refused {
                    place: path.display().to_string(),
                    reason: format!("it is no tag: {error}; remove it by hand"),
                })?);
            }
        }
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tags)
    }

    fn tag_path(&self, name: &str) -> Result<std::path::PathBuf> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > MOST_NAME || name.starts_with('.') || !name.chars().all(allowed) {
            let reason = "a tag has letters, digits, `.`, `_` and `-`, and does not begin with `.`".to_owned();
            return Err(StoreError::Refused { place: format!("tag `{}`", name.escape_debug()), reason });
        }
        Ok(self.layout().bucket("tags").join(format!("{name}.json")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{preimage, store};

    #[test]
    fn tags_are_made_once_listed_and_removed() {
        let (_folder, store) = store();
        let tag = |name: &str, number| Tag { name: name.into(), of: "step x".into(), keys: vec![preimage(number).key()] };
        store.tag(&tag("best", 1)).unwrap();
        store.tag(&tag("a.b-c_d", 2)).unwrap();
        assert!(store.tag(&tag("best", 2)).unwrap_err().to_string().contains("untag"));
        assert_eq!(store.tags().unwrap(), [tag("a.b-c_d", 2), tag("best", 1)]);
        for name in ["", "../x", ".x", "a/b", "a b", &"x".repeat(101)] {
            assert!(store.tag(&tag(name, 1)).is_err(), "{name:?}");
        }
        assert!(store.untag("best").unwrap() && !store.untag("best").unwrap());
        assert_eq!((store.tags().unwrap().len(), store.usage().unwrap().leftover_bytes), (1, 0));
    }
}
