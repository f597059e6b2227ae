//! `workbench generate`: continuations of given token ids, from tensor file to tensor file, or of a text.

use std::path::{Path, PathBuf};

use lm::chat::{Chat, StopStrings};
use lm::checkpoint::CheckpointError;
use lm::checkpoint::tensors::TensorFile;
use lm::generate::rectangle::{self, Rectangle};
use lm::generate::{Request, Sampling, Stop, sample};
use lm::model::decode::Decoder;

use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("from").required(true).args(["ids", "prompt"])))]
pub(super) struct Arguments {
    /// A Hugging Face folder, or a step's or output's name, or the beginning of a key.
    checkpoint: String,
    /// Text to continue; the continuation is printed and ends with the end-of-text token at the latest.
    #[arg(long, short)]
    prompt: Option<String>,
    /// A safetensors file with integer ids [B, T] to continue.
    #[arg(long, value_name = "FILE", requires = "out")]
    ids: Option<PathBuf>,
    /// The tensor of that file.
    #[arg(long, value_name = "NAME", default_value = "input_ids", conflicts_with = "prompt")]
    tensor: String,
    /// The safetensors file to write: int64 `tokens` [B, N] and their float32 `logprobs` [B, N].
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    out: Option<PathBuf>,
    /// With `--ids`: end a row at an end-of-text token and fill it up with the padding token (log-probability 0).
    #[arg(long, conflicts_with = "prompt")]
    stop_at_eos: bool,
    /// With `--prompt`: text that ends the continuation and is left out; may be given several times.
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    stop: Vec<String>,
    /// Tokens of a continuation, at most.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// 0 takes the most likely token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draw from so many of the most likely tokens; 0 for all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the most likely tokens that have this probability together.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Draw from tokens with at least this share of the most likely token's probability.
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
}

impl Arguments {
    fn sampling(&self) -> Result<Sampling, CliError> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            max_new_tokens: self.max_new_tokens,
        };
        sampling.validate().map_err(CliError::user)?;
        Ok(sampling)
    }
}

fn wrong(error: CheckpointError) -> CliError {
    CliError::user(error.to_string())
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let sampling = arguments.sampling()?;
    let folder = super::checkpoint_folder(home, &arguments.checkpoint, arguments.run.as_deref())?;
    match (&arguments.prompt, &arguments.ids, &arguments.out) {
        (Some(prompt), ..) => text(arguments, &folder, prompt, &sampling),
        (None, Some(ids), Some(out)) => tensors(arguments, &folder, (ids, out), &sampling),
        _ => Err(CliError::user("there is nothing to continue").hint("give --prompt TEXT, or --ids FILE and --out FILE")),
    }
}

fn text(arguments: &Arguments, folder: &Path, prompt: &str, sampling: &Sampling) -> Result<(), CliError> {
    if !folder.join("tokenizer.json").is_file() {
        let message = format!("{} has no tokenizer.json, so it cannot read a text", folder.display());
        return Err(CliError::user(message).hint("put its tokenizer there, or give token ids: --ids FILE --out FILE"));
    }
    let decoder = Decoder::load(folder).map_err(wrong)?;
    let (eos, ends) = (decoder.config().eos_token_id, decoder.config().eos_token_ids());
    let chat = Chat::open(folder, eos).map_err(|error| CliError::user(error.to_string()))?;
    let mut ids = chat.encode(prompt).map_err(|error| CliError::user(error.to_string()))?;
    if ids.is_empty() {
        ids.push(eos);
    }
    let vocab = decoder.config().vocab_size;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        let place = folder.display();
        return Err(CliError::user(format!("{place}: the tokenizer gives id {id}, the model has a vocabulary of {vocab}")));
    }
    let strings = StopStrings::new(&chat, &arguments.stop);
    let stop = Stop { ids: &ends, text: Some(&strings), ..Stop::default() };
    let request = Request { prompts: &[ids], n_samples: 1, sampling, stop, seed: arguments.seed };
    let sample = sample(&decoder, &request).swap_remove(0).swap_remove(0);
    let text = chat.decode(sample.text_ids()).map_err(CliError::system)?;
    terminal::line(strings.cut(&text));
    Ok(())
}

fn tensors(arguments: &Arguments, folder: &Path, (from, to): (&Path, &Path), sampling: &Sampling) -> Result<(), CliError> {
    let file = TensorFile::open(from).map_err(wrong)?;
    let entry = file.entry(&arguments.tensor).map_err(wrong)?;
    let place = format!("{}: `{}`", from.display(), arguments.tensor);
    let &[rows, length] = entry.shape.as_slice() else {
        return Err(CliError::user(format!("{place} has shape {:?}, not [B, T]", entry.shape)));
    };
    if rows == 0 || length == 0 {
        return Err(CliError::user(format!("{place} of shape {:?} holds no token", entry.shape)));
    }
    let ids = file.integers(entry).map_err(wrong)?;
    let decoder = Decoder::load(folder).map_err(wrong)?;
    let config = decoder.config();
    let tokens =
        lm::score::tokens(&ids, length, config.vocab_size).map_err(|error| CliError::user(format!("{place}: {error}")))?;
    let prompts: Vec<Vec<u32>> = tokens.ids.chunks_exact(length).map(<[u32]>::to_vec).collect();
    let ends = config.eos_token_ids();
    let stop = Stop { ids: if arguments.stop_at_eos { &ends } else { &[] }, ..Stop::default() };
    let request = Request { prompts: &prompts, n_samples: 1, sampling, stop, seed: arguments.seed };
    let samples: Vec<_> = sample(&decoder, &request).into_iter().flatten().collect();
    let rectangle = Rectangle::new(&samples, arguments.max_new_tokens, config.pad_token_id);
    rectangle::write(to, &rectangle).map_err(CliError::system)?;
    terminal::note(&format!("{rows} rows of {length} tokens continued by {} in {}", arguments.max_new_tokens, to.display()));
    Ok(())
}
