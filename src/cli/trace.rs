//! `workbench trace`: the longest spans of a text that stand in the training data, the documents they stand in, their licences, and the
//! training steps that saw them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use data::index::{Index, Trace, TraceParams, trace};
use plan::StepId;
use serde_json::json;

use super::index::{Of, folder, one_line, wrong};
use super::show::RunState;
use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;
use crate::steps::training_order::{Seen, seen};

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The text, such as what a model answered; `@FILE` reads a file, `-` standard input.
    text: String,
    /// What the model was asked; it takes part in the ranking of documents.
    #[arg(long, default_value = "")]
    prompt: String,
    /// Symbols of the shortest span; by default 5, or 24 bytes.
    #[arg(long)]
    shortest: Option<usize>,
    /// Leave out spans that stand in the data more often.
    #[arg(long)]
    most: Option<u64>,
    /// Spans kept, as a share of the symbols of the text: the rarest.
    #[arg(long, default_value_t = 0.05)]
    keep: f64,
    /// Documents of each span.
    #[arg(long, default_value_t = 10)]
    documents: usize,
    /// Symbols shown on either side of a span.
    #[arg(long, default_value_t = 80)]
    context: u64,
    #[command(flatten)]
    of: Of,
}

/// What training did with the tokens of an index.
struct Training {
    /// The step.
    step: String,
    /// When it saw which position, or why that cannot be told.
    seen: Result<BTreeMap<u64, Vec<Seen>>, String>,
}

fn read(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        Some(path) => fs_err::read_to_string(path).map_err(|error| CliError::user(error.to_string())),
        None if text == "-" => {
            let mut read = String::new();
            std::io::stdin().read_to_string(&mut read).map_err(CliError::system)?;
            Ok(read)
        }
        None => Ok(text.to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let text = read(&arguments.text)?;
    if text.trim().is_empty() {
        return Err(CliError::user("there is no text to trace"));
    }
    if !(0.0..=1.0).contains(&arguments.keep) {
        return Err(CliError::user(format!("--keep {}: a share is from 0 to 1", arguments.keep)));
    }
    let path = folder(home, &arguments.of)?;
    let index = Index::open(&path).map_err(wrong)?;
    let mut params = TraceParams::new(index.meta().unit);
    params.shortest = arguments.shortest.unwrap_or(params.shortest).max(1);
    params.most = arguments.most.unwrap_or(params.most);
    (params.keep, params.documents, params.context) = (arguments.keep, arguments.documents, arguments.context);
    let found = trace(&index, &text, &arguments.prompt, params).map_err(wrong)?;
    let training = training(home, arguments, &found);
    if arguments.of.json {
        return print_json(&found, &training);
    }
    print(&text, &found, &training);
    Ok(())
}

/// The training steps of the run that read the tokens of the index; an explanation where they cannot be known.
fn training(home: &Home, arguments: &Arguments, found: &Trace) -> Result<Vec<Training>, String> {
    let state = super::find_run(home, arguments.of.run.as_deref()).and_then(|run| super::show::read_state(home, &run));
    let state = state.map_err(|_| "the index is not of a run, so that nothing is known of training".to_owned())?;
    let what = arguments.of.index.as_deref().unwrap_or("index");
    let id = state
        .find(what)
        .map_err(|_| format!("the index `{what}` is not of run {}, so that nothing is known of training", state.run))?;
    let input = state.steps[id.0].inputs.iter().find(|(port, _)| port == "tokens").map(|(_, from)| *from);
    let tokens =
        input.ok_or("it was made of documents, not of the tokens of a training run (`tokens.index(#{ documents: ... })`)")?;
    let digest = state.digests.get(&tokens).copied().ok_or("the tokens of the index are not done")?;
    let same = |step: &StepId| state.digests.get(step) == Some(&digest);
    let positions: Vec<u64> =
        found.documents.iter().flat_map(|document| document.occurrences.iter().map(|found| found.position)).collect();
    let mut trained = Vec::new();
    for step in &state.steps {
        let sources: Vec<StepId> = step.inputs.iter().filter(|(port, _)| port == "tokens").map(|(_, from)| *from).collect();
        let Some(asked) = sources.iter().position(same) else { continue };
        if step.kind == "index" {
            continue;
        }
        let seen = match step.kind.as_str() {
            "pretrain" => order(home, &state, &sources).and_then(|tokens| seen(&step.params, &tokens, asked, &positions)),
            other => Err(format!("the data order of `{other}` is not told backwards")),
        };
        trained.push(Training { step: step.name.clone(), seen });
    }
    if trained.is_empty() { Err(format!("no step of run {} trains on the tokens of the index", state.run)) } else { Ok(trained) }
}

fn order(home: &Home, state: &RunState, sources: &[StepId]) -> Result<Vec<PathBuf>, String> {
    let store = home.open_store().map_err(|error| error.to_string())?;
    let mut folders = Vec::new();
    for source in sources {
        let digest = state.digests.get(source).ok_or("some of its tokens are not done")?;
        let folder = store.artifact(digest);
        if !folder.exists() {
            return Err("some of its tokens are no longer in the store".into());
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn print_json(found: &Trace, training: &Result<Vec<Training>, String>) -> Result<(), CliError> {
    let steps = match training {
        Ok(steps) => steps
            .iter()
            .map(|training| match &training.seen {
                Ok(seen) => json!({ "step": training.step, "seen": seen }),
                Err(missing) => json!({ "step": training.step, "unknown": missing }),
            })
            .collect::<Vec<_>>()
            .into(),
        Err(missing) => json!({ "unknown": missing }),
    };
    let mut value = serde_json::to_value(found).map_err(CliError::system)?;
    value["training"] = steps;
    terminal::line(&serde_json::to_string_pretty(&value).map_err(CliError::system)?);
    Ok(())
}

fn print(text: &str, found: &Trace, training: &Result<Vec<Training>, String>) {
    let covered: usize = found.stretches.iter().map(|stretch| stretch.end - stretch.start).sum();
    let percent = 100.0 * covered as f64 / text.len().max(1) as f64;
    terminal::line(&format!(
        "{} spans of {} symbols, {percent:.0} % of the text, in {} documents\n",
        found.spans.len(),
        found.symbols,
        found.documents.len()
    ));
    let (mut marked, mut at) = (String::new(), 0);
    for stretch in &found.stretches {
        marked.push_str(&text[at..stretch.start]);
        marked.push_str(&format!("[[{}]]", &text[stretch.clone()]));
        at = stretch.end;
    }
    terminal::line(&(marked + &text[at..]));
    for (number, span) in found.spans.iter().enumerate() {
        let times = if span.count == 1 { "once".to_owned() } else { format!("{} times", span.count) };
        terminal::line(&format!("\n{}. {:?}: {times}, log2 p {:.1}", number + 1, span.text, span.log_probability));
    }
    for document in &found.documents {
        let licence = document.licence.as_deref().unwrap_or("licence unknown");
        let relevance = format!("{:?}", document.relevance).to_lowercase();
        terminal::line(&format!(
            "\ndocument {} {} ({}:{}), {licence}, relevance {relevance} ({:.1})",
            document.document, document.id, document.file, document.line, document.score
        ));
        for occurrence in &document.occurrences {
            terminal::line(&format!("  span {}: {}", occurrence.span + 1, one_line(&occurrence.snippet)));
            for Training { step, seen } in training.as_deref().unwrap_or_default() {
                let Ok(seen) = seen else { continue };
                let steps = seen.get(&occurrence.position).map(Vec::as_slice).unwrap_or_default();
                let listed: Vec<String> =
                    steps.iter().take(5).map(|seen| format!("{} (sequence {})", seen.step, seen.sequence)).collect();
                terminal::line(&match listed.as_slice() {
                    [] => format!("    {step} never saw it"),
                    _ => format!("    {step} saw it at step {}", listed.join(", ")),
                });
            }
        }
    }
    match training {
        Err(missing) => terminal::note(&format!("training steps unknown: {missing}")),
        Ok(steps) => {
            for Training { step, seen } in steps {
                if let Err(missing) = seen {
                    terminal::note(&format!("training steps of `{step}` unknown: {missing}"));
                }
            }
        }
    }
}
