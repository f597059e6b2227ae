//! `cargo_crates`: documents from the sources of the crates this program is built from, pinned by its own `Cargo.lock`.

use std::path::PathBuf;
use std::sync::OnceLock;

use data::source::crates::{CrateRef, read_crates};
use data::source::lockfile::parse_lockfile;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::params::closest;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

/// The lock file this program was built with.
const LOCKFILE: &str = include_str!("../../Cargo.lock");

crate::params! {
    /// Parameters of [`CargoCrates`].
    pub struct Params {
        /// Names of crates in this program's `Cargo.lock`; an entry becomes `name version sha256` when the step is declared.
        crates: Vec<String>;
    }
}

/// See the module.
pub struct CargoCrates;

/// Every crate of the lock file that has an archive.
pub fn pinned() -> &'static [CrateRef] {
    static PINNED: OnceLock<Vec<CrateRef>> = OnceLock::new();
    PINNED.get_or_init(|| {
        let packages = parse_lockfile(LOCKFILE).expect("the embedded Cargo.lock is the one cargo built with");
        let archive = |package: data::source::lockfile::LockedPackage| {
            Some(CrateRef { name: package.name, version: package.version, sha256: package.checksum? })
        };
        packages.into_iter().filter_map(archive).collect()
    })
}

/// Where cargo keeps archives: `$CARGO_HOME/registry/cache`, else in the home folder.
pub fn registry_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    home.into_iter().map(|home| home.join("registry").join("cache")).collect()
}

impl Step for CargoCrates {
    type Params = Params;

    fn about() -> About {
        About {
            name: "cargo_crates",
            version: 1,
            doc: "Documents from `.crate` archives in cargo's registry cache: prose (Markdown), documentation comments as English \
                  documents, and code, with crate, version, path and licence in the metadata. Archives are pinned and checked by the \
                  sha256 in this program's own Cargo.lock; a missing one is an error that says `cargo fetch`.",
            ports: &[],
            positional: &["crates"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let mut errors = Vec::new();
        for (index, entry) in params.crates.iter_mut().enumerate() {
            let name = entry.split(' ').next().unwrap_or_default().to_owned();
            // The newest version of a crate that the lock file has twice.
            match pinned().iter().rfind(|archive| archive.name == name) {
                Some(archive) => *entry = format!("{} {} {}", archive.name, archive.version, archive.sha256),
                None => errors.push(ParamError {
                    path: format!("crates[{index}]"),
                    message: format!("this program is not built from a crate `{name}`"),
                    suggestion: closest(&name, pinned().iter().map(|archive| archive.name.as_str())),
                }),
            }
        }
        if params.crates.is_empty() {
            errors.push(ParamError::new("crates", "names no crate"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let archives = params.crates.iter().filter_map(|entry| {
            let mut words = entry.split(' ').map(str::to_owned);
            Some(CrateRef { name: words.next()?, version: words.next()?, sha256: words.next()? })
        });
        let archives: Vec<_> = archives.collect();
        read_crates(&archives, &registry_folders(), &work.out, &DataObserver::new(work.reporter, "archives"))?;
        Ok(census(&work.out)?)
    }
}
