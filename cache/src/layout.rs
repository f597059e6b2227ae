//! Every path inside a store. It touches no file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use plan::{Digest, Hasher, Key};

use crate::lock::host;

/// Version of the layout, as written in FORMAT.
pub(crate) const FORMAT: u32 = 1;

/// The folders directly below the store.
pub(crate) const BUCKETS: [&str; 11] =
    ["keys", "preimages", "objects", "slots", "names", "recent", "aside", "tmp", "holders", "tags", "dropped"];

/// Paths inside the store at `root`.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// FORMAT on its way into place.
    pub(crate) fn fresh_format(&self) -> PathBuf {
        self.root.join(format!("FORMAT.{}", fresh_name()))
    }

    pub(crate) fn lease(&self) -> PathBuf {
        self.root.join("lease")
    }

    pub(crate) fn stat_cache(&self) -> PathBuf {
        self.root.join("stat-cache")
    }

    pub(crate) fn manifest(&self, key: &Key) -> PathBuf {
        self.sharded("keys", &key.to_string(), ".json")
    }

    pub(crate) fn preimage(&self, key: &Key) -> PathBuf {
        self.sharded("preimages", &key.to_string(), ".json")
    }

    /// The record of a temporary artifact whose files are gone.
    pub(crate) fn dropped(&self, key: &Key) -> PathBuf {
        self.sharded("dropped", &key.to_string(), ".json")
    }

    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        self.sharded("objects", &digest.to_string(), "")
    }

    pub(crate) fn slot(&self, key: &Key) -> PathBuf {
        self.root.join("slots").join(key.to_string())
    }

    pub(crate) fn names(&self, recipe: &str) -> PathBuf {
        self.root.join("names").join(format!("{}.jsonl", of_recipe(recipe)))
    }

    pub(crate) fn recent(&self, recipe: &str) -> PathBuf {
        self.root.join("recent").join(of_recipe(recipe).to_string())
    }

    /// A path under holders/ that nobody else uses.
    pub(crate) fn fresh_holder(&self) -> PathBuf {
        self.root.join("holders").join(fresh_name())
    }

    /// A path under tmp/ that nobody else uses: host, process and a number.
    pub(crate) fn fresh_tmp(&self) -> PathBuf {
        self.root.join("tmp").join(fresh_name())
    }

    /// A path under aside/ for something called `name`.
    pub(crate) fn fresh_aside(&self, name: &str) -> PathBuf {
        self.root.join("aside").join(format!("{name}.{}", fresh_name()))
    }

    fn sharded(&self, bucket: &str, name: &str, suffix: &str) -> PathBuf {
        let mut path = String::with_capacity(bucket.len() + name.len() + suffix.len() + 4);
        path.extend([bucket, "/", &name[..2], "/", name, suffix]);
        self.root.join(path)
    }
}

fn of_recipe(recipe: &str) -> Digest {
    let mut hasher = Hasher::new("workbench recipe");
    hasher.field(recipe.as_bytes());
    Digest::from_bytes(hasher.finish())
}

fn fresh_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}-{}", host(), std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_spread_over_256_folders() {
        let layout = Layout::new(PathBuf::from("/s"));
        let key = Key::from_bytes([0xab; 32]);
        assert_eq!(layout.manifest(&key), PathBuf::from(format!("/s/keys/ab/{key}.json")));
        assert_eq!(layout.object(&Digest::from_bytes([1; 32])).parent().unwrap(), Path::new("/s/objects/01"));
    }

    #[test]
    fn recipes_are_kept_apart() {
        let layout = Layout::new(PathBuf::from("/s"));
        assert_ne!(layout.names("a"), layout.names("b"));
        assert_ne!(layout.fresh_tmp(), layout.fresh_tmp());
    }
}
