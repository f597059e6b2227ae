//! Reads the packages a `Cargo.lock` pins.
//! Knows the file's format only; downloads and unpacks nothing.

use crate::error::DataError;
use serde::Deserialize;

/// A package of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// SHA-256 of its archive, hexadecimal; absent for members of the workspace and git dependencies.
    pub checksum: Option<String>,
}

#[derive(Deserialize)]
struct Lockfile {
    #[serde(default)]
    package: Vec<LockedPackage>,
}

/// The packages of a lock file's text, in its order.
pub fn parse_lockfile(text: &str) -> Result<Vec<LockedPackage>, DataError> {
    let lockfile: Lockfile =
        toml::from_str(text).map_err(|error| DataError::Params(format!("not a Cargo.lock: {}", error.message())))?;
    Ok(lockfile.package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_names_versions_checksums() {
        let text = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://x\"\nchecksum = \"ab\"\n\
                    dependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n";
        let packages = parse_lockfile(text).unwrap();
        assert_eq!(packages[0], LockedPackage { name: "a".into(), version: "1.0.0".into(), checksum: Some("ab".into()) });
        assert_eq!(packages[1].checksum, None);
        assert!(parse_lockfile("[[package]]\nname = 3").unwrap_err().to_string().starts_with("not a Cargo.lock"));
        assert!(parse_lockfile("").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = parse_lockfile(&text);
        }
    }
}
