//! `workbench sql`: asks the lineage database, after bringing it up to date; a shell when no query is given.

use std::path::PathBuf;

use lineage::{Format, Lineage, QUESTIONS, Question, Table, Width};

use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `sql`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The query; `-` reads it from standard input; a shell when left out.
    query: Option<String>,
    /// How to print: table, csv, json, jsonl, parquet.
    #[arg(long, short, default_value = "table", value_parser = ["table", "csv", "json", "jsonl", "parquet"])]
    format: String,
    /// Write to a file.
    #[arg(long, short, value_name = "FILE", required_if_eq("format", "parquet"))]
    output: Option<PathBuf>,
    /// Build the database anew from journals and manifests first.
    #[arg(long)]
    rebuild: bool,
    /// Ask a question that has a name: `made STEP`, `used STEP`, `documents STEP`, `cost RUN`, `differences RUN RUN`, `results RUN RUN`.
    #[arg(long, num_args = 2..=3, value_names = ["QUESTION", "WHAT", "OTHER"], conflicts_with = "query")]
    ask: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let mut lineage = open(home, arguments.rebuild)?;
    if !arguments.ask.is_empty() {
        let words: Vec<&str> = arguments.ask.iter().map(String::as_str).collect();
        return show(&lineage.ask(&question(&words)?)?, arguments);
    }
    match arguments.query.as_deref() {
        None => shell(home, &mut lineage),
        Some("-") => {
            let query = std::io::read_to_string(std::io::stdin())?;
            answer(&lineage, &query, arguments)
        }
        Some(query) => answer(&lineage, query, arguments),
    }
}

/// Opens the database and folds in what is new.
fn open(home: &Home, rebuild: bool) -> Result<Lineage, CliError> {
    if !home.path().exists() {
        return Err(
            CliError::user(format!("there is nothing in {}", home.path().display())).hint("run a recipe first, or name --home")
        );
    }
    let mut lineage = Lineage::open(&home.database())?;
    lineage.notices().iter().for_each(|notice| terminal::note(&format!("note: {notice}")));
    refresh(home, &mut lineage, rebuild)?;
    Ok(lineage)
}

fn refresh(home: &Home, lineage: &mut Lineage, rebuild: bool) -> Result<(), CliError> {
    let journals: Vec<_> = home.runs()?.into_iter().map(|run| (run.clone(), home.journal(&run))).collect();
    let store = home.open_store()?;
    let known = if rebuild { Default::default() } else { lineage.keys()? };
    let fresh = store.keys()?.into_iter().filter(|key| !known.contains(key));
    let mut manifests =
        fresh.filter_map(|key| Some((store.manifest(&key).ok().flatten()?, store.preimage(&key).ok().flatten()?)));
    let report = if rebuild { lineage.rebuild(&journals, &mut manifests)? } else { lineage.sync(&journals, &mut manifests)? };
    report.warnings.iter().for_each(|warning| terminal::note(&format!("warning: {warning}")));
    Ok(())
}

fn answer(lineage: &Lineage, query: &str, arguments: &Arguments) -> Result<(), CliError> {
    let table = lineage
        .query(query)
        .map_err(|error| CliError::user(error.to_string()).hint("`workbench docs sql` lists tables and columns"))?;
    show(&table, arguments)
}

fn show(table: &Table, arguments: &Arguments) -> Result<(), CliError> {
    let format = match arguments.format.as_str() {
        "csv" => Format::Csv,
        "json" => Format::Json,
        "jsonl" => Format::JsonLines,
        "parquet" => {
            let path = arguments.output.as_deref().ok_or_else(|| CliError::user("parquet needs --output FILE"))?;
            return Ok(table.write_parquet(path)?);
        }
        _ => aligned(arguments.output.is_some()),
    };
    match &arguments.output {
        Some(path) => fs_err::write(path, table.to_text(format))?,
        None => terminal::data(&table.to_text(format)),
    }
    Ok(())
}

fn aligned(to_file: bool) -> Format {
    Format::Aligned(terminal::width().filter(|_| !to_file).map_or(Width::Full, Width::Columns))
}

fn question<'a>(words: &[&'a str]) -> Result<Question<'a>, CliError> {
    Ok(match words {
        ["made", what] => Question::Made { what },
        ["used", what] => Question::Used { what },
        ["documents", what] => Question::Documents { what },
        ["cost", run] => Question::Cost { run },
        ["differences", before, after] => Question::Differences { before, after },
        ["results", before, after] => Question::Results { before, after },
        _ => {
            let known = QUESTIONS.iter().map(|(name, answers, _)| format!("  {name}: {answers}")).collect::<Vec<_>>();
            return Err(CliError::user("there is no such question, or it takes another number of names")
                .hint(format!("questions:\n{}", known.join("\n"))));
        }
    })
}

fn shell(home: &Home, lineage: &mut Lineage) -> Result<(), CliError> {
    let mut editor = rustyline::DefaultEditor::new().map_err(CliError::system)?;
    let history = home.path().join("sql_history.txt");
    // A missing history is an empty one.
    let _ = editor.load_history(&history);
    terminal::note("lineage; queries end with `;`, .schema lists tables, .quit leaves");
    let mut pending = String::new();
    while let Ok(line) = editor.readline(if pending.is_empty() { "sql> " } else { "...> " }) {
        match line.trim() {
            ".quit" | ".exit" => break,
            ".schema" | ".help" => terminal::line(&super::docs::tables(lineage)?),
            text => {
                pending.push_str(text);
                pending.push('\n');
                if !text.ends_with(';') {
                    continue;
                }
                let query = std::mem::take(&mut pending);
                let _ = editor.add_history_entry(query.trim());
                refresh(home, lineage, false)?;
                match lineage.query(&query) {
                    Ok(table) => terminal::data(&table.to_text(aligned(false))),
                    Err(error) => terminal::note(&error.to_string()),
                }
            }
        }
    }
    // A history that cannot be saved is not worth an error.
    let _ = editor.save_history(&history);
    Ok(())
}
