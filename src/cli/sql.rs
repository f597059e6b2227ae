//! `workbench sql`: asks the lineage database, after bringing it up to date; a shell when no query is given.

use std::path::PathBuf;

use lineage::{Format, Lineage};

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
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let mut lineage = open(home, arguments.rebuild)?;
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
        return Err(CliError::user(format!("there is nothing in {}", home.path().display())).hint("run a recipe first, or name --home"));
    }
    let mut lineage = if rebuild { Lineage::rebuild(&home.database())? } else { Lineage::open(&home.database())? };
    refresh(home, &mut lineage)?;
    Ok(lineage)
}

fn refresh(home: &Home, lineage: &mut Lineage) -> Result<(), CliError> {
    let journals: Vec<_> = home.runs()?.into_iter().map(|run| (run.clone(), home.journal(&run))).collect();
    let store = home.open_store()?;
    let mut manifests = store.manifests()?.filter_map(|manifest| {
        let manifest = manifest.ok()?;
        let preimage = store.preimage(&manifest.key).ok().flatten()?;
        Some((manifest, preimage))
    });
    let report = lineage.sync(&journals, &mut manifests)?;
    report.warnings.iter().for_each(|warning| terminal::note(&format!("warning: {warning}")));
    Ok(())
}

fn answer(lineage: &Lineage, query: &str, arguments: &Arguments) -> Result<(), CliError> {
    let table = lineage.query(query).map_err(|error| CliError::user(error.to_string()).hint("`workbench docs sql` lists tables and columns"))?;
    let format: Format = arguments.format.parse().map_err(CliError::user)?;
    match &arguments.output {
        Some(path) => table.write_file(path, format)?,
        None => terminal::data(&table.render(format, terminal::width())?),
    }
    Ok(())
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
            ".schema" | ".help" => terminal::line(&lineage::describe()),
            text => {
                pending.push_str(text);
                pending.push('\n');
                if !text.ends_with(';') {
                    continue;
                }
                let query = std::mem::take(&mut pending);
                let _ = editor.add_history_entry(query.trim());
                refresh(home, lineage)?;
                match lineage.query(&query).and_then(|table| table.render(Format::Table, terminal::width())) {
                    Ok(text) => terminal::data(&text),
                    Err(error) => terminal::note(&error.to_string()),
                }
            }
        }
    }
    // A history that cannot be saved is not worth an error.
    let _ = editor.save_history(&history);
    Ok(())
}
