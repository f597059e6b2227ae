//! `workbench index`: questions to a searchable index: how often a phrase stands in the data, where, what follows it, which documents
//! meet several conditions, and one document.

use std::path::PathBuf;

use data::index::{Index, PhraseQuery, Snippet};
use serde_json::json;

use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `index`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    question: Question,
}

/// Which index, and how it answers.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The index: a step's or output's name, the beginning of a key, or a folder; the only index of the run when left out.
    #[arg(long, short)]
    pub index: Option<String>,
    /// The run; the latest when left out.
    #[arg(long, short)]
    pub run: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Count phrases.
    Count {
        /// Phrases.
        #[arg(required = true)]
        phrases: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Show where a phrase stands.
    Search {
        /// The phrase.
        phrase: String,
        /// Places shown, in the order of the corpus.
        #[arg(long, short, default_value_t = 10)]
        limit: usize,
        /// Symbols shown on either side.
        #[arg(long, short, default_value_t = 20)]
        context: u64,
        #[command(flatten)]
        of: Of,
    },
    /// Tell what follows a text, with probabilities by the longest end of it that the data has.
    Ngram {
        /// The text.
        prompt: String,
        /// What follows it: its probability alone.
        #[arg(long)]
        then: Option<String>,
        /// Take the whole text, not its longest end that the data has.
        #[arg(long)]
        whole: bool,
        /// Symbols shown.
        #[arg(long, short, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        of: Of,
    },
    /// Find documents that meet every clause; a clause is phrases with ` OR ` between them.
    Phrases {
        /// Clauses.
        #[arg(required = true)]
        clauses: Vec<String>,
        /// Symbols that may lie between the phrases; a whole document when left out.
        #[arg(long)]
        within: Option<u64>,
        /// Occurrences of the rarest clause that are looked at; beyond, the answer is an estimate.
        #[arg(long, default_value_t = 500_000)]
        most: u64,
        /// Documents shown.
        #[arg(long, short, default_value_t = 10)]
        limit: usize,
        #[command(flatten)]
        of: Of,
    },
    /// Print a document.
    Doc {
        /// Its number in the index, or its id.
        document: String,
        #[command(flatten)]
        of: Of,
    },
}

/// The folder of an index that a user means.
pub(super) fn folder(home: &Home, of: &Of) -> Result<PathBuf, CliError> {
    if let Some(what) = &of.index
        && std::path::Path::new(what).join("index.json").is_file()
    {
        return Ok(PathBuf::from(what));
    }
    let state = super::show::read_state(home, &super::find_run(home, of.run.as_deref())?)?;
    let id = state.find(of.index.as_deref().unwrap_or("index")).map_err(|error| match of.index {
        Some(_) => error,
        None => CliError::user(format!("run {} has not one index", state.run))
            .hint("name the step with `--index`; a recipe makes one by `documents.index()`"),
    })?;
    let folder = home.open_store()?.artifact(&state.digest(id)?);
    if !folder.join("index.json").is_file() {
        let name = of.index.as_deref().unwrap_or("index");
        return Err(CliError::user(format!("`{name}` of run {} is no index: it has no index.json", state.run)));
    }
    Ok(folder)
}

/// An error of an index as the user's: a question that cannot be answered, or files that are damaged.
pub(super) fn wrong(error: data::DataError) -> CliError {
    match error {
        data::DataError::Params(message) => CliError::user(message),
        other => CliError::system(other),
    }
}

fn print(value: &serde_json::Value) -> Result<(), CliError> {
    terminal::line(&serde_json::to_string_pretty(value).map_err(CliError::system)?);
    Ok(())
}

/// The symbols of a phrase that has some; `None` when a word of it is nowhere in the data.
fn encode(index: &Index, phrase: &str) -> Result<Option<Vec<u32>>, CliError> {
    let symbols = index.encode(phrase).map_err(wrong)?;
    if symbols.as_ref().is_some_and(Vec::is_empty) {
        return Err(CliError::user(format!("the phrase {phrase:?} has nothing that could be found")));
    }
    Ok(symbols)
}

/// A snippet in one line, the phrase between marks.
pub(super) fn one_line(snippet: &Snippet) -> String {
    let flat = |text: &str| text.split('\n').map(str::trim_end).collect::<Vec<_>>().join("⏎");
    format!("{}[[{}]]{}", flat(&snippet.before), flat(&snippet.hit), flat(&snippet.after))
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let open = |of: &Of| Index::open(&folder(home, of)?).map_err(wrong);
    match &arguments.question {
        Question::Count { phrases, of } => count(&open(of)?, phrases, of.json),
        Question::Search { phrase, limit, context, of } => search(&open(of)?, phrase, *limit, *context, of.json),
        Question::Ngram { prompt, then, whole, limit, of } => {
            ngram(&open(of)?, (prompt, then.as_deref()), *whole, *limit, of.json)
        }
        Question::Phrases { clauses, within, most, limit, of } => {
            let clauses = clauses.iter().map(|clause| clause.split(" OR ").map(str::to_owned).collect()).collect();
            phrases(&open(of)?, &PhraseQuery { clauses, within: *within, most: *most }, *limit, of.json)
        }
        Question::Doc { document, of } => show(&open(of)?, document, of.json),
    }
}

fn count(index: &Index, phrases: &[String], json: bool) -> Result<(), CliError> {
    let mut counts = Vec::new();
    for phrase in phrases {
        counts.push(encode(index, phrase)?.map_or(0, |symbols| index.count(&symbols)));
    }
    if json {
        let list: Vec<_> =
            phrases.iter().zip(&counts).map(|(phrase, count)| json!({ "phrase": phrase, "count": count })).collect();
        return print(&list.into());
    }
    for (phrase, count) in phrases.iter().zip(counts) {
        terminal::line(&format!("{count:>12}  {phrase}"));
    }
    Ok(())
}

fn search(index: &Index, phrase: &str, limit: usize, context: u64, json: bool) -> Result<(), CliError> {
    let symbols = encode(index, phrase)?;
    let ranks = symbols.as_ref().map_or(0..0, |symbols| index.find(symbols));
    let (count, length) = (ranks.end - ranks.start, symbols.map_or(0, |symbols| symbols.len() as u64));
    let mut hits = Vec::new();
    for position in index.positions(ranks, limit) {
        let document = index.document_at(position);
        let stored = index.stored(document).map_err(wrong)?;
        hits.push((document, position, stored, index.snippet(position, length, context).map_err(wrong)?));
    }
    if json {
        let hit = |(document, position, stored, snippet): &(u64, u64, data::index::Stored, Snippet)| {
            json!({ "document": document, "position": position, "id": stored.id, "source": stored.source, "file": stored.file,
                    "line": stored.line, "metadata": stored.metadata, "snippet": snippet })
        };
        return print(&json!({ "phrase": phrase, "count": count, "hits": hits.iter().map(hit).collect::<Vec<_>>() }));
    }
    terminal::line(&format!("{count} times"));
    for (document, _, stored, snippet) in &hits {
        let licence = stored.licence().map(|licence| format!(", {licence}")).unwrap_or_default();
        terminal::line(&format!(
            "\n{document}  {} ({}:{}{licence})\n  {}",
            stored.id,
            stored.file,
            stored.line,
            one_line(snippet)
        ));
    }
    Ok(())
}

fn ngram(index: &Index, (prompt, then): (&str, Option<&str>), whole: bool, limit: usize, json: bool) -> Result<(), CliError> {
    // Words that the data does not have end every n-gram: what comes behind the last of them counts.
    let known = |text: &str| -> Result<Vec<u32>, CliError> {
        if let Some(symbols) = index.encode(text).map_err(wrong)? {
            return Ok(symbols);
        }
        if whole {
            return Err(CliError::user(format!("the data has not every word of {text:?}, so nothing follows it")));
        }
        let ends = text.char_indices().map(|(at, _)| &text[at..]);
        let found = ends.filter_map(|end| index.encode(end).ok().flatten()).next();
        Ok(found.unwrap_or_default())
    };
    let all = known(prompt)?;
    let used = if whole { all.as_slice() } else { index.longest_suffix(&all) };
    let total = index.count(used);
    if total == 0 {
        return Err(
            CliError::user(format!("{prompt:?} does not stand in the data, so nothing follows it")).hint("leave out `--whole`")
        );
    }
    if let Some(then) = then {
        let next = encode(index, then)?;
        let count = next.map_or(0, |next| index.count(&[used, next.as_slice()].concat()));
        let probability = count as f64 / total as f64;
        if json {
            return print(&json!({ "used": used.len(), "prompt_count": total, "count": count, "probability": probability }));
        }
        terminal::line(&format!("{probability:.6}  ({count} of {total}, after the last {} symbols)", used.len()));
        return Ok(());
    }
    let next = index.next(used);
    let share = |count: u64| count as f64 / total as f64;
    if json {
        let row = |next: &data::index::NextToken| json!({ "token": index.name(next.symbol), "count": next.count, "probability": share(next.count) });
        let rows: Vec<_> = next.iter().take(limit).map(row).collect();
        return print(&json!({ "used": used.len(), "prompt_count": total, "distinct": next.len(), "next": rows }));
    }
    terminal::line(&format!("the last {} symbols stand there {total} times, {} different ones follow", used.len(), next.len()));
    for next in next.iter().take(limit) {
        terminal::line(&format!("{:>9.6}  {:>10}  {:?}", share(next.count), next.count, index.name(next.symbol)));
    }
    Ok(())
}

fn phrases(index: &Index, query: &PhraseQuery, limit: usize, json: bool) -> Result<(), CliError> {
    let hits = index.phrases(query).map_err(wrong)?;
    let mut shown = Vec::new();
    for (&document, &position) in hits.documents.iter().take(limit) {
        shown.push((document, index.stored(document).map_err(wrong)?, index.snippet(position, 1, 20).map_err(wrong)?));
    }
    if json {
        let row = |(document, stored, snippet): &(u64, data::index::Stored, Snippet)| {
            json!({ "document": document, "id": stored.id, "source": stored.source, "file": stored.file, "line": stored.line,
                    "metadata": stored.metadata, "snippet": snippet })
        };
        return print(
            &json!({ "occurrences": hits.occurrences, "documents": hits.documents.len(), "approximate": hits.approximate,
                              "hits": shown.iter().map(row).collect::<Vec<_>>() }),
        );
    }
    let about = if hits.approximate { "about " } else { "" };
    terminal::line(&format!("{about}{} occurrences in {} documents", hits.occurrences, hits.documents.len()));
    for (document, stored, snippet) in &shown {
        terminal::line(&format!("\n{document}  {} ({}:{})\n  {}", stored.id, stored.file, stored.line, one_line(snippet)));
    }
    Ok(())
}

fn show(index: &Index, document: &str, json: bool) -> Result<(), CliError> {
    let number = match document.parse::<u64>() {
        Ok(number) if number < index.meta().documents => Some(number),
        _ => index.document_with_id(document).map_err(wrong)?,
    };
    let number = number.ok_or_else(|| {
        CliError::user(format!("there is no document `{document}`: neither an id nor a number below {}", index.meta().documents))
    })?;
    let (stored, text) = (index.stored(number).map_err(wrong)?, index.text(number).map_err(wrong)?);
    if json {
        return print(
            &json!({ "document": number, "id": stored.id, "source": stored.source, "file": stored.file, "line": stored.line,
                              "metadata": stored.metadata, "text": text }),
        );
    }
    terminal::note(&format!("{number}  {} ({}:{})", stored.id, stored.file, stored.line));
    terminal::line(&text);
    Ok(())
}
