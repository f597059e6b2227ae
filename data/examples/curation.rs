//! Measures dedup, MinHash and filtering over a folder of documents: processor seconds and megabytes of text per processor second.
//!
//! `curation DOCUMENTS OPERATION [OUTPUT]`, where the operation is one of `document`, `paragraph`, `paragraph-rows`, `ngram`,
//! `ngram-rows`, `minhash`, `datatrove`, `olmo3`, `substring`, `filter`. `RAYON_NUM_THREADS` says how many threads.
#![allow(clippy::print_stdout, reason = "it is a program")]

use data::dedup::{Action, Against, DedupBy, DedupParams, Ngrams, Paragraphs, Semantics, Short, dedup};
use data::filter::{Expression, Rule, Sense, Test, filter};
use data::minhash::{MinHashParams, minhash};
use data::substring::{SubstringParams, dedup_substrings};
use data::{DataError, Totals};
use std::path::Path;
use std::time::Instant;

/// Processor seconds of this process so far, in user and system mode.
fn processor_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn run(input: &Path, operation: &str, output: &Path) -> Result<(Totals, Totals), DataError> {
    let ngrams = Ngrams { length: 13, stride: 1, threshold: 0.5, short: Short::Whole };
    let compare = |by: DedupBy, action: Action, semantics: Semantics| {
        let params = DedupParams { by, action, semantics, bloom: None };
        dedup(input, output, &params, Against::Itself, &()).map(|report| (report.read, report.kept))
    };
    let rows = || Action::Rows("dup".to_owned());
    let near = |params: MinHashParams| minhash(input, output, &params, &()).map(|report| (report.read, report.kept));
    match operation {
        "document" => compare(DedupBy::Document, Action::Remove, Semantics::Mended),
        "paragraph" => compare(DedupBy::Paragraph(Paragraphs::lines()), Action::Remove, Semantics::Mended),
        "paragraph-rows" => compare(DedupBy::Paragraph(Paragraphs::lines()), rows(), Semantics::Dolma12),
        "ngram" => compare(DedupBy::Ngram(Paragraphs::lines(), ngrams), Action::Remove, Semantics::Mended),
        "ngram-rows" => compare(DedupBy::Ngram(Paragraphs::lines(), ngrams), rows(), Semantics::Dolma12),
        "minhash" => near(MinHashParams::standard()),
        "datatrove" => near(MinHashParams::datatrove()),
        "olmo3" => near(MinHashParams::olmo3()),
        "substring" => dedup_substrings(input, output, &SubstringParams::bytes(), &()).map(|report| (report.read, report.kept)),
        "filter" => {
            let rule = |name: &str, path: &str| {
                let test = Test::Expression(Expression::parse(path).map_err(DataError::Params)?);
                Ok::<_, DataError>(Rule { name: name.to_owned(), sense: Sense::Drop, test })
            };
            let rules = [
                rule("url", "$.metadata[?(@.url == 'http://example.org')]")?,
                rule("licence", "$.metadata[?(@.license == 'GPL-2.0')]")?,
                rule("empty", "$[?(@.id == '')]")?,
            ];
            filter(input, output, &rules, 5, &()).map(|report| (report.read, report.kept))
        }
        other => Err(DataError::Params(format!("there is no operation `{other}`"))),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, operation, rest @ ..] = arguments.as_slice() else {
        return Err("usage: curation DOCUMENTS OPERATION [OUTPUT]".into());
    };
    let output = rest.first().cloned().unwrap_or_else(|| std::env::temp_dir().join("curation").display().to_string());
    let wall = Instant::now();
    let (read, kept) = run(Path::new(input), operation, Path::new(&output))?;
    let (wall, processor, bytes) = (wall.elapsed().as_secs_f64(), processor_seconds(), read.bytes as f64 / 1e6);
    println!(
        "{operation}: {} documents, {bytes:.1} MB in, {} documents, {:.1} MB out; {processor:.2} CPU s, {:.1} MB per CPU s; {wall:.2} s on {} threads",
        read.documents,
        kept.documents,
        kept.bytes as f64 / 1e6,
        bytes / processor,
        rayon::current_num_threads(),
    );
    Ok(())
}
