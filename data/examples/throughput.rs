//! How much the operations under all others do in a second of processor time: `throughput FOLDER [TOKENIZER]` with documents in Dolma's format.
//! Prints megabytes of text per CPU second (user and system, of all threads) and wall second.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use data::document::{DocumentWriter, census, merge_documents, read_documents};
use data::shard::{TokenizeOptions, tokenize};
use data::source::{Care, expand_named, jsonl::Fields, jsonl::read_jsonl};
use data::tokenizer::{Tokenizer, TokenizerParams, train_tokenizer};
use std::path::Path;
use std::time::Instant;

/// User and system seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn timed<T>(what: &str, megabytes: f64, run: impl FnOnce() -> T) -> (T, f64) {
    let (wall, before) = (Instant::now(), cpu());
    let out = run();
    let (wall, used) = (wall.elapsed().as_secs_f64(), cpu() - before);
    println!("{what:<10} {used:6.2} CPU s  {:7.1} MB/CPU-s  {:7.1} MB/s", megabytes / used, megabytes / wall);
    (out, used)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the folder of the documents");
    let scratch = Path::new(&folder).with_extension("throughput");
    let dir = |name: &str| scratch.join(name);
    let files = expand_named(&[format!("{folder}/**/*.jsonl*")]).unwrap();
    let run = || read_jsonl(&files, &Fields::default(), Care::default(), &dir("raw"), &()).unwrap().kept;
    let megabytes = run().bytes as f64 / 1e6;
    println!("{megabytes:.1} MB of text");
    timed("import", megabytes, run);
    timed("read", megabytes, || read_documents(&dir("raw")).unwrap().for_each(|batch| drop(batch.unwrap())));
    timed("census", megabytes, || census(&dir("raw")).unwrap());
    timed("copy", megabytes, || merge_documents(&[&dir("raw")], &dir("copy"), &()).unwrap());
    let batches: Vec<_> = read_documents(&dir("raw")).unwrap().map(|batch| batch.unwrap().documents).collect();
    timed("write", megabytes, || {
        let mut writer = DocumentWriter::create(&dir("written")).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap()
    });
    drop(batches);
    let tokenizer = match arguments.next() {
        Some(path) => Tokenizer::load(Path::new(&path)).unwrap(),
        None => timed("train", megabytes, || train_tokenizer(&[&dir("raw")], &TokenizerParams::new(32_000), &()).unwrap()).0,
    };
    let progress = dir("progress");
    let options = TokenizeOptions::default();
    let (meta, used) = timed("tokenize", megabytes, || {
        tokenize(&[&dir("raw")], None, &tokenizer, options, &dir("tokens"), &progress, &()).unwrap()
    });
    println!("{} tokens, {:.0} thousand per CPU second", meta.tokens(), meta.tokens() as f64 / used / 1e3);
    std::fs::remove_dir_all(scratch).unwrap();
}
