//! `workbench chat`: a conversation with a model of a run, or with a checkpoint folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use data::problem::{Message, Role};
use lm::chat::TextStream;
use lm::checkpoint::Checkpoint;
use lm::generate::{Dialogue, Sampling};

use super::show::read_state;
use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `chat`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A step's or output's name, or a checkpoint folder; the last finetuned model of the run when left out.
    what: Option<String>,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
    /// Ask once, print the answer, leave.
    #[arg(long, short)]
    prompt: Option<String>,
    /// 0 takes the most likely token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Seed of sampling.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let folder = folder(arguments, home)?;
    let checkpoint = Checkpoint::read(&folder).map_err(|error| {
        CliError::user(error.to_string()).hint("chat needs a checkpoint: a step of kind sft or rlvr, or an exported folder")
    })?;
    let chat = lm::chat::Chat::open(&folder, checkpoint.config.eos_token_id).map_err(CliError::system)?;
    let model = checkpoint.model(&lm::device::cpu()).map_err(CliError::system)?;
    let sampling = Sampling {
        temperature: arguments.temperature,
        max_new_tokens: arguments.max_new_tokens,
        ..Sampling::greedy(arguments.max_new_tokens)
    };
    sampling.validate().map_err(CliError::user)?;
    let mut messages: Vec<Message> = Vec::new();
    let mut dialogue = Dialogue::new(&model, chat.eos(), arguments.seed);
    if let Some(prompt) = &arguments.prompt {
        messages.push(Message::new(Role::User, prompt));
        return answer(&chat, &mut dialogue, &messages, &sampling).map(drop);
    }
    let mut editor = rustyline::DefaultEditor::new().map_err(CliError::system)?;
    terminal::note(&format!("talking to {}; an empty line begins anew, Ctrl-D leaves", folder.display()));
    while let Ok(line) = editor.readline("> ") {
        if line.trim().is_empty() {
            messages.clear();
            dialogue = Dialogue::new(&model, chat.eos(), arguments.seed);
        } else {
            let _ = editor.add_history_entry(&line);
            messages.push(Message::new(Role::User, line.trim()));
            let answer = answer(&chat, &mut dialogue, &messages, &sampling)?;
            messages.push(Message::new(Role::Assistant, answer));
        }
    }
    Ok(())
}

/// Prints the answer as it comes and returns it.
fn answer(chat: &lm::chat::Chat, dialogue: &mut Dialogue, messages: &[Message], sampling: &Sampling) -> Result<String, CliError> {
    let prompt = chat.prompt(messages).map_err(CliError::system)?;
    // The turns before are in the cache.
    let unread = &prompt[dialogue.len().min(prompt.len() - 1)..];
    let (mut stream, mut shown) = (TextStream::default(), String::new());
    let mut out = std::io::stdout();
    dialogue.answer(unread, sampling, |drawn| {
        if let Ok(more) = stream.push(chat, drawn.id) {
            // A reader that went away wants no more.
            let _ = out.write_all(more.as_bytes()).and_then(|()| out.flush());
            shown.push_str(&more);
        }
        std::ops::ControlFlow::Continue(())
    });
    terminal::line("");
    Ok(shown)
}

fn folder(arguments: &Arguments, home: &Home) -> Result<PathBuf, CliError> {
    if let Some(what) = &arguments.what
        && Path::new(what).join("config.json").exists()
    {
        return Ok(PathBuf::from(what));
    }
    let state = read_state(home, &super::find_run(home, arguments.run.as_deref())?)?;
    let id = match &arguments.what {
        Some(what) => state.find(what)?,
        None => {
            let mut tuned = state
                .steps
                .iter()
                .filter(|step| ["sft", "rlvr"].contains(&step.kind.as_str()) && state.digests.contains_key(&step.id));
            tuned
                .next_back()
                .map(|step| step.id)
                .ok_or_else(|| CliError::user(format!("run {} has no finetuned model", state.run)))?
        }
    };
    Ok(home.open_store()?.artifact(&state.digest(id)?))
}
