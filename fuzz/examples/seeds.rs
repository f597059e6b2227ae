//! Writes the seeds that are not written by hand: `cargo run --release --example seeds`, in this folder.

// Crates that were prepared for libFuzzer need it to link.
use libfuzzer_sys as _;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use cache::{Claim, Store};
use plan::{Digest, InputRecord, Preimage, Provenance, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = Path::new("seeds");
    let scratch = std::env::temp_dir().join(format!("workbench-seeds-{}", std::process::id()));
    let store = Store::open(scratch.join("store"))?;
    let mut keys = BTreeSet::new();
    let params = Value::map([
        ("number", Value::Int(1)),
        ("keep", Value::Script("|a0| (a0.n >= 50)".into())),
        ("mix", Value::map([("prose", Value::Float(0.1)), ("none", Value::Null)])),
        ("list", Value::List(vec![Value::Bool(true), Value::Float(f64::NAN), Value::Str("a".into())])),
    ]);
    let inputs = vec![plan::key::InputDigest { port: "in".into(), digest: Digest::from_bytes([7; 32]) }];
    let preimage = Preimage { format: plan::key::FORMAT, kind: "test".into(), version: 1, params, inputs };
    keys.insert(preimage.key());
    let Claim::Slot(slot) = store.claim(&preimage)? else { return Err("the store is new".into()) };
    fs::create_dir_all(slot.out().join("sub"))?;
    for (path, text) in [("a", "one"), ("sub/b", "one"), ("empty", "")] {
        fs::write(slot.out().join(path), text)?;
    }
    let inputs = vec![InputRecord { port: "in".into(), digest: Digest::from_bytes([7; 32]), key: None }];
    let metrics = BTreeMap::from([("loss".to_owned(), 0.1), ("bad".to_owned(), f64::NAN)]);
    slot.commit("test", inputs, metrics, Provenance { seconds: 0.1 + 0.2, ..Provenance::default() })?;
    let packed = scratch.join("run.tar.zst");
    cache::pack(&store, "run-1", b"{}\n", &keys, &packed)?;
    let compressed = fs::read(&packed)?;
    let plain = zstd::decode_all(compressed.as_slice())?;
    fs::write(seeds.join("compressed_archive/run"), &compressed)?;
    fs::write(seeds.join("archive/run"), &plain)?;
    let mut archive = tar::Archive::new(plain.as_slice());
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.starts_with("records") {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text)?;
            fs::write(seeds.join("record/one"), &text)?;
            let record: serde_json::Value = serde_json::from_str(&text)?;
            fs::write(seeds.join("manifest/one"), record["manifest"].to_string())?;
            fs::write(seeds.join("preimage/one"), record["preimage"].to_string())?;
        }
    }
    // Artifacts are read-only, folders too: what cannot be removed stays among the temporary files.
    let _ = fs::remove_dir_all(&scratch);
    Ok(())
}
