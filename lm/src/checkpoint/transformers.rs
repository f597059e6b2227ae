//! Checkpoints to and from the real `transformers`, where Python has it: `WORKBENCH_PYTHON`, else `python3`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::batch::Tokens;
use crate::device;
use crate::model::parameters::host;

const FAMILIES: [&str; 8] = ["olmo", "olmo2", "olmo3", "olmo3_yarn", "olmo_hybrid", "olmo_hybrid_rope", "olmoe", "flex_olmo"];

/// A Python with transformers; none, said aloud, where there is none. One that was named must have it.
#[allow(clippy::print_stderr, reason = "a test that did not run must say so")]
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("WORKBENCH_PYTHON").map(PathBuf::from);
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let able = Command::new(&python).args(["-c", "import torch, safetensors, transformers.models.olmo_hybrid"]).output();
    if able.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "{} cannot import transformers", python.display());
    eprintln!("skipped: python3 has no transformers; WORKBENCH_PYTHON names a Python that has");
    None
}

fn run(python: &Path, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn transformers_loads_what_is_exported() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let checkpoint = Checkpoint::read(&fixtures().join(family)).unwrap();
        for (variant, precision, shard_bytes) in [
            ("f32", Precision::F32, u64::MAX),
            ("f32-shards", Precision::F32, 100_000),
            ("bf16-shards", Precision::Bf16, 100_000),
            ("f16", Precision::F16, u64::MAX),
        ] {
            let out = dir.path().join(format!("{family}-{variant}"));
            fs::create_dir(&out).unwrap();
            checkpoint.export(&out, ExportOptions { precision, shard_bytes }).unwrap();
            let read = Checkpoint::read(&out).unwrap();
            assert_eq!(out.join(weights::INDEX).exists(), variant.ends_with("shards"));
            if precision == Precision::F32 {
                assert!(read == checkpoint, "{family} {variant}");
            }
        }
    }
    run(&python, include_str!("transformers/check.py"), &[dir.path(), &fixtures()]);
}

#[test]
fn what_transformers_saves_is_read() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    run(&python, include_str!("transformers/make.py"), &[dir.path()]);
    let (mut read, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(dir.path()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let file = TensorFile::open(&folder.with_extension("safetensors")).unwrap();
        let ids = file.integers(file.entry("input_ids").unwrap()).unwrap();
        let wanted = file.floats(file.entry("logits").unwrap()).unwrap();
        let difference = Model::load(&folder, &device::cpu()).map(|model| {
            let logits = host(model.logits(&Tokens::new(ids.iter().map(|id| *id as u32).collect(), 100)));
            logits.iter().zip(&wanted.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        });
        read += 1;
        match difference {
            Ok(difference) if difference <= 1e-4 => {}
            Ok(difference) => wrong.push(format!("{}: logits differ by {difference}", folder.display())),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read >= 40, "{read}");
}
