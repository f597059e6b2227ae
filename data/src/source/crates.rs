//! Documents from the source archives that cargo has downloaded: prose, documentation comments and code of published crates.
//! Knows archives on this machine; never downloads, and does not decide where cargo keeps them.
//!
//! From each archive come three kinds of documents, by `source`:
//! - `prose`: Markdown files;
//! - `docs`: the documentation comments of one `.rs` file, joined;
//! - `code`: the same file without its documentation comments. They are left out so that no sentence is in two documents: otherwise
//!   a held-out `docs` document could be in the training set as `code`.

use super::rust_docs::separate;
use crate::document::{Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files of more bytes are left out: they are generated tables, and would outweigh what people wrote.
pub const MAX_FILE_BYTES: u64 = 512 << 10;

/// Archives unpacked at a time.
const ARCHIVES_AT_ONCE: usize = 8;

/// An archive by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrateRef {
    /// The crate's name.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// SHA-256 of the `.crate` file, hexadecimal, as `Cargo.lock` has it.
    pub sha256: String,
}

impl CrateRef {
    /// The file name of the archive.
    pub fn file_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

/// Finds an archive in cargo's cache: in one of `caches` or in a directory directly below it (`$CARGO_HOME/registry/cache`
/// has one per registry).
pub fn locate(archive: &CrateRef, caches: &[PathBuf]) -> Result<PathBuf, DataError> {
    let file = archive.file_name();
    for cache in caches {
        let direct = cache.join(&file);
        if direct.is_file() {
            return Ok(direct);
        }
        let Ok(entries) = fs_err::read_dir(cache) else { continue };
        let mut registries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path().join(&file))).collect();
        registries.sort();
        if let Some(path) = registries.into_iter().find(|path| path.is_file()) {
            return Ok(path);
        }
    }
    let searched: Vec<_> = caches.iter().map(|cache| format!("`{}`", cache.display())).collect();
    let searched = if searched.is_empty() { "any cache, since none was given".to_owned() } else { searched.join(" or ") };
    Err(DataError::MissingArchive { file, searched })
}

/// Writes the documents of the archives to `output`, in the order of `crates` and, within one, of paths. Returns the totals by kind.
///
/// Every archive is found and its hash checked before anything is written, so a missing one is reported at once.
pub fn read_crates(
    crates: &[CrateRef],
    caches: &[PathBuf],
    output: &Path,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Totals>, DataError> {
    let paths: Vec<PathBuf> = crates.iter().map(|archive| locate(archive, caches)).collect::<Result<_, _>>()?;
    let mut writer = DocumentWriter::create(output)?;
    let mut kinds: BTreeMap<String, Totals> = BTreeMap::new();
    let (mut done, mut total) = (0, 0);
    for path in &paths {
        total += fs_err::metadata(path)?.len();
    }
    let jobs: Vec<_> = crates.iter().zip(&paths).collect();
    for group in jobs.chunks(ARCHIVES_AT_ONCE) {
        check(observer)?;
        let unpacked: Vec<Result<Vec<Document>, DataError>> =
            group.par_iter().map(|(archive, path)| unpack(archive, path)).collect();
        for (documents, (_, path)) in unpacked.into_iter().zip(group) {
            let documents = documents?;
            for document in &documents {
                kinds.entry(document.source.clone()).or_default().add(document);
            }
            writer.write(&documents)?;
            done += fs_err::metadata(path)?.len();
        }
        observer.progress(done, Some(total));
    }
    writer.finish()?;
    for (kind, totals) in &kinds {
        observer.metric(&format!("bytes/{kind}"), totals.bytes as f64);
    }
    Ok(kinds)
}

#[derive(Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    package: Package,
}

#[derive(Default, Deserialize)]
struct Package {
    license: Option<String>,
    #[serde(rename = "license-file")]
    license_file: Option<String>,
}

/// Checks an archive's hash and makes documents of its files.
fn unpack(archive: &CrateRef, path: &Path) -> Result<Vec<Document>, DataError> {
    let bytes = fs_err::read(path)?;
    let found = hex(&Sha256::digest(&bytes));
    if !found.eq_ignore_ascii_case(&archive.sha256) {
        return Err(DataError::Checksum { path: path.to_path_buf(), expected: archive.sha256.clone(), found });
    }
    let prefix = format!("{}-{}/", archive.name, archive.version);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut license = String::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let broken = |error: std::io::Error| DataError::format(path, error);
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(name) = name.strip_prefix(&prefix) else { continue };
        let wanted = name == "Cargo.toml" || kind_of(name).is_some();
        if !wanted || !entry.header().entry_type().is_file() || entry.size() > MAX_FILE_BYTES {
            continue;
        }
        let name = name.to_owned();
        let mut content = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut content).map_err(broken)?;
        // Files that are not UTF-8 are test data.
        let Ok(content) = String::from_utf8(content) else { continue };
        if name == "Cargo.toml" {
            let manifest: Manifest = toml::from_str(&content).unwrap_or_default();
            license = manifest.package.license.or(manifest.package.license_file).unwrap_or_default();
        } else {
            files.insert(name, content);
        }
    }
    let mut documents = Vec::new();
    for (name, content) in files {
        let mut push = |kind: &str, text: String| {
            if text.trim().is_empty() {
                return;
            }
            let mut document = Document::new(format!("{}-{}/{name}#{kind}", archive.name, archive.version), text, kind);
            for (key, value) in [("crate", &archive.name), ("version", &archive.version), ("path", &name), ("license", &license)]
            {
                document.metadata.insert(key.to_owned(), Value::String(value.clone()));
            }
            documents.push(document);
        };
        if kind_of(&name) == Some("prose") {
            push("prose", content);
        } else {
            let parts = separate(&content);
            push("docs", parts.docs);
            push("code", parts.code);
        }
    }
    Ok(documents)
}

/// The kind of a file that is used at all; Rust files become both `docs` and `code`.
fn kind_of(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "md" | "markdown" => Some("prose"),
        "rs" => Some("code"),
        _ => None,
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn toy() -> Vec<u8> {
        archive(&[
            ("toy-1.0.0/Cargo.toml", b"[package]\nname = \"toy\"\nlicense = \"MIT OR Apache-2.0\"\n"),
            ("toy-1.0.0/src/lib.rs", b"//! Toy docs.\n\nfn f() {}\n"),
            ("toy-1.0.0/README.md", b"# Toy\n"),
            ("toy-1.0.0/data.bin", b"\xff"),
            ("toy-1.0.0/bad.rs", b"\xff\xfe"),
            ("elsewhere/README.md", b"no"),
        ])
    }

    fn toy_ref(bytes: &[u8]) -> CrateRef {
        CrateRef { name: "toy".into(), version: "1.0.0".into(), sha256: hex(&Sha256::digest(bytes)) }
    }

    #[test]
    fn an_archive_becomes_prose_docs_and_code() {
        let (cache, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs_err::create_dir(cache.path().join("registry-1")).unwrap();
        let bytes = toy();
        fs_err::write(cache.path().join("registry-1/toy-1.0.0.crate"), &bytes).unwrap();
        let kinds = read_crates(&[toy_ref(&bytes)], &[cache.path().into()], output.path(), &()).unwrap();
        let documents = read(output.path());
        let seen: Vec<_> = documents.iter().map(|d| (d.id.as_str(), d.source.as_str(), d.text.as_str())).collect();
        let expected = [
            ("toy-1.0.0/README.md#prose", "prose", "# Toy\n"),
            ("toy-1.0.0/src/lib.rs#docs", "docs", "Toy docs.\n"),
            ("toy-1.0.0/src/lib.rs#code", "code", "\nfn f() {}\n"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(documents[1].group("license").unwrap(), "MIT OR Apache-2.0");
        assert_eq!(documents[1].group("path").unwrap(), "src/lib.rs");
        assert_eq!(kinds["prose"], Totals { documents: 1, bytes: 6 });
    }

    #[test]
    fn missing_and_wrong_archives_are_named() {
        let (cache, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes = toy();
        let mut archive = toy_ref(&bytes);
        let run = |archive: &CrateRef| {
            read_crates(std::slice::from_ref(archive), &[cache.path().into()], output.path(), &()).unwrap_err()
        };
        let message = run(&archive).to_string();
        assert_eq!(
            message,
            format!("`toy-1.0.0.crate` is not in `{}`; run `cargo fetch` to download it", cache.path().display())
        );
        fs_err::write(cache.path().join("toy-1.0.0.crate"), &bytes).unwrap();
        let right = std::mem::replace(&mut archive.sha256, "00".repeat(32));
        let message = run(&archive).to_string();
        assert!(message.contains(&right) && message.contains(&archive.sha256), "{message}");
        fs_err::write(cache.path().join("toy-1.0.0.crate"), b"no archive").unwrap();
        archive.sha256 = hex(&Sha256::digest(b"no archive"));
        assert!(matches!(run(&archive), DataError::Format { .. }));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn damaged_archives_never_panic(at in 0usize..10_240, with in proptest::prelude::any::<[u8; 3]>(), cut in 0usize..10_240) {
            // Damage the tar inside, so that it is not the compression that notices.
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(toy().as_slice()).read_to_end(&mut tar).unwrap();
            let at = at % (tar.len() - 3);
            tar[at..at + 3].copy_from_slice(&with);
            tar.truncate(tar.len() - cut % tar.len());
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gz, &tar).unwrap();
            let bytes = gz.finish().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("toy.crate");
            fs_err::write(&path, &bytes).unwrap();
            let _ = unpack(&toy_ref(&bytes), &path);
        }
    }
}
