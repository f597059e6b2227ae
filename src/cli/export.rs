//! `workbench export`: copies an artifact out of the store. A checkpoint becomes what `transformers` loads, in a chosen precision
//! and in files of a chosen size; training state is left behind unless asked for. Documents become what the Dolma toolkit keeps, or parquet.

use std::path::{Path, PathBuf};

use data::document::{DolmaExport, export_dolma, export_parquet};
use fs_err as fs;
use lm::checkpoint::{Checkpoint, ExportOptions, Precision};

use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// What `transformers` loads.
    Hf,
    /// Every file as it is, optimiser state included.
    All,
    /// What the Dolma toolkit keeps of documents: `documents/*.jsonl.gz` and `attributes/NAME/*.jsonl.gz`.
    Dolma,
    /// Documents as parquet files, metadata and attributes as JSON text.
    Parquet,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Dtype {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// Half precision.
    F16,
}

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A step's or output's name, or the beginning of a key.
    what: String,
    /// Folder to make; it must not exist.
    #[arg(required_unless_present = "out")]
    to: Option<PathBuf>,
    /// Folder to make, if it is not given after the artifact.
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    out: Option<PathBuf>,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
    /// What to write.
    #[arg(long, value_enum, default_value = "hf")]
    format: Format,
    /// How the weights of a model are stored.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Largest file of weights, such as 5GB or 200MB; a model that is larger is cut, with an index.
    #[arg(long, value_name = "SIZE", default_value = "50GB", value_parser = parse_size)]
    shard_size: u64,
    /// With `--format dolma`: one attribute file for all taggers, under this name.
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// With `--format dolma`: a tagger whose attributes are written; all that left any, unless given. Can be repeated.
    #[arg(long = "tagger", value_name = "NAME")]
    taggers: Vec<String>,
    /// With `--format dolma`: the folder of the documents that the artifact was made of; files are cut and named like its.
    #[arg(long, value_name = "DIR")]
    like: Option<PathBuf>,
}

/// Bytes of a size as people and `transformers` write it.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        "GIB" => 1 << 30,
        unit => return Err(format!("{unit} is no unit; there are B, KB, MB, GB, KiB, MiB, GiB")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| "a size is a whole number and a unit, such as 5GB".to_owned())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| "the size is 0 or too large".to_owned())
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let run = super::find_run(home, arguments.run.as_deref())?;
    let state = super::show::read_state(home, &run)?;
    let id = state.find(&arguments.what)?;
    let store = home.open_store()?;
    let from = store.artifact(&state.digest(id)?);
    let Some(to) = arguments.to.as_ref().or(arguments.out.as_ref()) else {
        return Err(CliError::user("no folder is named").hint("give one after the artifact, or as --out DIR"));
    };
    if to.exists() {
        return Err(CliError::user(format!("{} exists", to.display())).hint("name a folder that does not exist"));
    }
    let partial = to.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    if arguments.format == Format::Dolma {
        let like = arguments.like.as_deref();
        let how = DolmaExport { experiment: arguments.experiment.as_deref(), taggers: &arguments.taggers, like };
        export_dolma(&from, &partial, how, &()).map_err(|error| CliError::user(error.to_string()))?;
    } else if arguments.format == Format::Parquet {
        export_parquet(&from, &partial, &()).map_err(|error| CliError::user(error.to_string()))?;
    } else if arguments.format == Format::Hf && from.join("config.json").exists() {
        model(&from, &partial, arguments)?;
    } else {
        copy(&from, &partial, arguments.format == Format::All)?;
    }
    let bytes = size(&partial)?;
    fs::rename(&partial, to)?;
    terminal::note(&format!("{} of {} in {}", figures::size(bytes), arguments.what, to.display()));
    Ok(())
}

/// Writes a checkpoint with its tokenizer.
fn model(from: &Path, to: &Path, arguments: &Arguments) -> Result<(), CliError> {
    let precision = match arguments.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::Bf16 => Precision::Bf16,
        Dtype::F16 => Precision::F16,
    };
    let wrong = |error: lm::checkpoint::CheckpointError| CliError::user(error.to_string());
    let checkpoint = Checkpoint::read_model(from).map_err(wrong)?;
    checkpoint.export(to, ExportOptions { precision, shard_bytes: arguments.shard_size }).map_err(wrong)?;
    lm::checkpoint::tokenizer::export(from, to, &checkpoint.config).map_err(wrong)?;
    Ok(())
}

fn copy(from: &Path, to: &Path, everything: bool) -> Result<(), CliError> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target, everything)?;
        } else if everything || !entry.file_name().to_string_lossy().starts_with("training.") {
            // Not fs::copy: the store's files are read-only, a user's copy is not.
            std::io::copy(&mut fs::File::open(&source)?, &mut fs::File::create(&target)?)?;
        }
    }
    Ok(())
}

fn size(dir: &Path) -> Result<u64, CliError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1000"), Ok(1000));
        for wrong in ["", "GB", "0", "5XB", "1.5GB", "99999999999GB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
