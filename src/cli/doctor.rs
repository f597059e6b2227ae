//! `workbench doctor`: what this machine and this folder can do, and what is in the way.

use std::path::Path;

use crate::error::CliError;
use crate::exec::machine;
use crate::home::Home;
use crate::report::{figures, terminal};
use crate::steps::cargo_crates;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments, home: &Home) -> Result<(), CliError> {
    let mut troubles = 0;
    let mut check = |name: &str, result: Result<String, String>| {
        let (mark, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => {
                troubles += 1;
                ("!!", text)
            }
        };
        terminal::line(&format!("{mark}  {name:<12} {text}"));
    };
    check("program", Ok(format!("workbench {}", env!("CARGO_PKG_VERSION"))));
    check("processor", Ok(processor()));
    let memory = machine::total_memory_mib();
    let enough = memory >= 4096;
    let text = figures::size(memory << 20);
    check("memory", if enough { Ok(text) } else { Err(format!("{text}; the default recipe wants 4 GiB")) });
    check("huge pages", huge_pages());
    check("gpu", Ok(gpu()));
    check("devices", Ok(super::device::list()));
    check("home", writable(home.path()));
    check("store", home.open_store().map(|_| home.store().display().to_string()).map_err(|error| error.to_string()));
    check("crates", crates());
    check("database", lineage::Lineage::open_in_memory().map(|_| "DuckDB opens".to_owned()).map_err(|error| error.to_string()));
    if troubles > 0 {
        return Err(CliError::system(format!("{troubles} of these need attention")));
    }
    Ok(())
}

fn processor() -> String {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX512-BF16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let names: Vec<_> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    format!("{threads} threads, {} {}", std::env::consts::ARCH, names.join(" "))
}

fn huge_pages() -> Result<String, String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
    if mode == "never" {
        Err("transparent huge pages are off; training is about a fifth slower (set them to `madvise`)".into())
    } else {
        Ok(mode)
    }
}

fn gpu() -> String {
    match machine::gpus() {
        Some(gpus) => gpus.iter().map(|gpu| gpu.0.as_str()).collect::<Vec<_>>().join(", "),
        None => "no NVIDIA GPU".into(),
    }
}

fn writable(path: &Path) -> Result<String, String> {
    fs_err::create_dir_all(path).map_err(|error| error.to_string())?;
    let probe = path.join(".probe");
    fs_err::write(&probe, b"").and_then(|()| fs_err::remove_file(&probe)).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}

/// Whether the archives that the default recipe reads are where cargo keeps them.
fn crates() -> Result<String, String> {
    let (pinned, folders) = (cargo_crates::pinned(), cargo_crates::registry_folders());
    let missing = pinned.iter().filter(|archive| data::source::crates::locate(archive, &folders).is_err()).count();
    let there = pinned.len() - missing;
    // Archives for other systems are in the lock file as well, and need not be there.
    if there > 0 {
        Ok(format!("{there} of {} archives that recipes can read", pinned.len()))
    } else {
        Err("none; run `cargo fetch`".into())
    }
}
