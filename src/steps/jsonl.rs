//! `jsonl`: documents from JSON-lines files, plain, gzip or zstandard.

use std::path::{Component, Path};

use data::document::InputFile;
use data::source::jsonl::{Fields, read_jsonl};
use data::source::{Care, Duplicates, Imported, OnBad};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of the kinds that read rows.
    pub struct Params {
        /// The field of the text; dots reach into nested objects.
        text: String = "text".to_owned();
        /// The field of the id; rows without it are named by file and line.
        id: String = "id".to_owned();
        /// `source` of all documents; `()` takes each row's own.
        source: Option<String> = None;
        /// A row that cannot be read: `"stop"` fails and names it, `"skip"` leaves it out and counts it, `"quarantine"` also keeps it in
        /// `quarantine.ndjson`.
        on_bad: Bad = Bad::Stop;
        /// A row whose id came before: `"keep"` does not look, `"count"`, `"rename"` appends `#2`, `"drop"`, `"stop"` fails and names it.
        duplicate_ids: Twice = Twice::Keep;
        /// Bytes of a line above which it is a bad row.
        max_line_bytes: u64 = 256 << 20, in 2.0..=4294967296.0;
    }
}

crate::choices! {
    /// What is done with a row that cannot be read.
    pub enum Bad {
        /// Fail.
        Stop = "stop",
        /// Leave it out.
        Skip = "skip",
        /// Leave it out and keep it aside.
        Quarantine = "quarantine",
    }
}

crate::choices! {
    /// What is done with a row whose id came before.
    pub enum Twice {
        /// Do not look.
        Keep = "keep",
        /// Count.
        Count = "count",
        /// Give it another id.
        Rename = "rename",
        /// Leave it out.
        Drop = "drop",
        /// Fail.
        Stop = "stop",
    }
}

/// Three parameters of every source as the data room takes them.
pub(super) fn care(on_bad: Bad, duplicate_ids: Twice, max_line_bytes: u64) -> Care {
    Care {
        on_bad: match on_bad {
            Bad::Stop => OnBad::Stop,
            Bad::Skip => OnBad::Skip,
            Bad::Quarantine => OnBad::Quarantine,
        },
        duplicate_ids: match duplicate_ids {
            Twice::Keep => Duplicates::Keep,
            Twice::Count => Duplicates::Count,
            Twice::Rename => Duplicates::Rename,
            Twice::Drop => Duplicates::Drop,
            Twice::Stop => Duplicates::Stop,
        },
        max_line_bytes: usize::try_from(max_line_bytes).unwrap_or(usize::MAX),
    }
}

/// What a source closes with.
pub(super) fn closing(work: &Work<'_>, imported: Imported) -> Result<Closing, StepError> {
    let mut closing = census(&work.out)?;
    closing.insert("bad rows".into(), imported.bad as f64);
    closing.insert("duplicate ids".into(), imported.duplicate_ids as f64);
    Ok(closing)
}

/// See the module.
pub struct Jsonl;

/// The port for files from outside.
pub(super) const FILES: &[Port] = &[Port {
    name: "files",
    accepts: &[ArtifactType::Files],
    arity: Arity::Many,
    doc: "Globs relative to the recipe, or a fetched file.",
}];

impl From<Params> for Fields {
    fn from(params: Params) -> Self {
        Self { text: params.text, id: params.id, source: params.source }
    }
}

/// The files of the port as patterns that match exactly them.
pub(super) fn patterns(work: &Work<'_>) -> Vec<String> {
    work.all("files").iter().map(|input| data::source::escape(&input.path.display().to_string())).collect()
}

/// The files of a port, called by their paths as the recipe has them, so that a file is called the same however files are shared out
/// among steps; those from outside the recipe's folder, and those of artifacts, by what is below the folder they are in.
pub(super) fn named(work: &Work<'_>, port: &str) -> Result<Vec<InputFile>, StepError> {
    let mut files = Vec::new();
    for input in work.all(port) {
        if input.path.is_dir() {
            let pattern = format!("{}/**/*", data::source::escape(&input.path.display().to_string()));
            files.extend(data::source::expand_named(&[pattern])?);
            continue;
        }
        let label = Path::new(&input.label);
        let inside = !input.label.is_empty() && label.components().all(|part| matches!(part, Component::Normal(_)));
        let name = if inside { Some(label) } else { input.path.file_name().map(Path::new) };
        let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.push(InputFile { path: input.path.clone(), name });
    }
    Ok(files)
}

impl Step for Jsonl {
    type Params = Params;

    fn about() -> About {
        About {
            name: "jsonl",
            version: 2,
            doc: "Documents from JSON-lines files (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), one object a line. A row without an id is called \
                  by its file, as the recipe names it, and its line.",
            ports: FILES,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let care = care(params.on_bad, params.duplicate_ids, params.max_line_bytes);
        let observer = DataObserver::new(work.reporter, "bytes");
        let imported = read_jsonl(&named(work, "files")?, &params.into(), care, &work.out, &observer)?;
        closing(work, imported)
    }
}
