//! One integration binary that drives the real program in temporary homes; each module covers one area of behaviour.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bench;
mod commands;
mod corpus;
mod device;
mod engine;
mod errors;
mod faults;
mod generate;
mod golden;
mod hf;
mod interruption;
mod lineage;
mod rerun;
mod slurm;
mod store;
mod tidy;
mod training;

#[test]
fn every_file_here_is_listed() {
    let listed = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(listed.contains(&format!("mod {module};")), "tests/{name} is not listed in tests/main.rs");
        }
    }
}
