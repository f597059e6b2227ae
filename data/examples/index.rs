//! Builds an index and asks it, for measurements: `index OUT bytes|words|folded|TOKENIZER COPIES DIR...`. The corpus is taken `COPIES`
//! times. Prints seconds and rates as JSON.

#![allow(clippy::print_stdout)]

use data::index::{Index, IndexParams, Unit, build_index};
use data::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [output, unit, copies, inputs @ ..] = arguments.as_slice() else {
        return Err("give OUT bytes|words|folded|TOKENIZER COPIES DIR...".into());
    };
    let (unit, tokenizer) = match unit.as_str() {
        "bytes" => (Unit::Bytes, None),
        "words" => (Unit::Words, None),
        "folded" => (Unit::Folded, None),
        path => (Unit::Tokens, Some(Tokenizer::load(Path::new(path))?)),
    };
    let copies: usize = copies.parse()?;
    let inputs: Vec<PathBuf> = inputs.iter().cycle().take(inputs.len() * copies).map(PathBuf::from).collect();
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let output = Path::new(output);
    let started = Instant::now();
    let params = IndexParams { unit, part_symbols: 0 };
    let meta = build_index(&inputs, tokenizer.as_ref(), params, (output, &output.join("scratch")), &())?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = meta.symbols as f64 / seconds;
    println!(
        "{{\"symbols\":{},\"documents\":{},\"build_s\":{seconds:.1},\"symbols_per_s\":{rate:.0}}}",
        meta.symbols, meta.documents
    );

    let index = Index::open(output)?;
    let mut phrases = Vec::new();
    let step = (meta.symbols / 2000).max(1);
    for at in (0..meta.symbols).step_by(step as usize) {
        let range = index.document_range(index.document_at(at));
        let end = (at + 1 + at / step % 8).min(range.end - 1);
        if end > at {
            phrases.push(index.symbols(at..end));
        }
    }
    for (name, ask) in questions() {
        for round in ["cold", "warm"] {
            let started = Instant::now();
            let found: u64 = phrases.iter().map(|phrase| ask(&index, phrase)).sum();
            let each = started.elapsed().as_secs_f64() / phrases.len() as f64 * 1e6;
            println!(
                "{{\"question\":\"{name}\",\"round\":\"{round}\",\"asked\":{},\"found\":{found},\"us_each\":{each:.1}}}",
                phrases.len()
            );
        }
    }
    Ok(())
}

type Ask = fn(&Index, &[u32]) -> u64;

fn questions() -> [(&'static str, Ask); 4] {
    let count: Ask = |index, phrase| index.count(phrase);
    let search: Ask = |index, phrase| {
        let ranks = index.find(phrase);
        let ranks = ranks.start..ranks.end.min(ranks.start + 10);
        let hits = index.positions(ranks, 10).into_iter().map(|at| index.snippet(at, phrase.len() as u64, 20));
        hits.filter(Result::is_ok).count() as u64
    };
    let next: Ask = |index, phrase| if phrase.len() > 2 { index.next(phrase).len() as u64 } else { 0 };
    let longest: Ask = |index, phrase| index.longest_prefix(phrase) as u64;
    [("count", count), ("search", search), ("next", next), ("longest", longest)]
}
