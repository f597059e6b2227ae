//! The repository keeps its own rules: arrows between rooms, headers, file sizes, recipes that plan, words that are banned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::{Bench, repository};

const ROOMS: [(&str, &[&str]); 8] = [
    ("plan", &[]),
    ("data", &[]),
    ("cache", &["plan"]),
    ("lineage", &["plan"]),
    ("tui", &["plan"]),
    ("lm", &["data"]),
    ("benches", &["lm"]),
    ("workbench", &["cache", "data", "lineage", "lm", "plan", "tui"]),
];

fn sources(extension: &str) -> Vec<PathBuf> {
    let output =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(repository()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let files = text.lines().filter(|line| line.ends_with(extension)).map(|line| repository().join(line));
    files.filter(|path| path.exists()).collect()
}

#[test]
fn arrows_go_down_only() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<_, BTreeSet<_>> = ROOMS.iter().map(|(room, may)| (*room, may.iter().copied().collect())).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let uses: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|dependency| dependency["name"].as_str().filter(|_| dependency["path"].is_string()))
            .collect();
        if let Some(may) = allowed.get(name) {
            seen += 1;
            assert!(uses.is_subset(may), "{name} may use {may:?} but uses {uses:?}");
        }
    }
    assert_eq!(seen, ROOMS.len());
}

#[test]
fn every_file_says_what_it_does_and_stays_readable() {
    let files = sources(".rs");
    assert!(files.len() > 100, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no //! header", path.display());
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines", path.display());
    }
}

#[test]
fn only_the_cache_builds_store_paths_and_only_lineage_speaks_sql() {
    for path in sources(".rs") {
        let inside = |room: &str| path.starts_with(repository().join(room));
        if inside("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(inside("lineage") || !text.contains("duckdb::"), "{} uses duckdb", path.display());
        assert!(inside("lm") || !text.contains("burn::"), "{} uses burn", path.display());
        assert!(!text.contains("todo!("), "{} is not finished", path.display());
    }
}

#[test]
fn every_recipe_plans_at_every_size() {
    let bench = Bench::new();
    let mut count = 0;
    for path in sources(".rhai").into_iter().filter(|path| path.starts_with(repository().join("recipes"))) {
        count += 1;
        bench.ok(&["plan", path.to_str().unwrap()]);
    }
    assert!(count > 0);
    let olmo2 = repository().join("recipes/olmo2.rhai");
    for size in ["190M", "1B", "7B", "13B", "32B"] {
        let plan = bench.ok(&["plan", olmo2.to_str().unwrap(), "--set", &format!("size={size}")]);
        assert!(plan.contains("would run"), "{plan}");
    }
}

#[test]
fn readme_commands_exist() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let ci = std::fs::read_to_string(repository().join(".ci/run")).unwrap();
    assert!(readme.contains("cargo run --release -- run recipes/olmo2.rhai"));
    assert!(readme.contains("cargo test --release --workspace"));
    assert!(ci.contains("cargo test --release --locked --workspace"));
    let bench = Bench::new();
    let mut commands = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("workbench ")) {
        let command = line.split_whitespace().next().unwrap();
        assert_eq!(bench.say(&[command, "--help"]).code, 0, "README speaks of `workbench {command}`");
        commands += 1;
    }
    assert!(commands >= 10, "{commands}");
    for image in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://")) {
        assert!(Path::new(repository()).join(image).exists(), "README points at {image}");
    }
}
