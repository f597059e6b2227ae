//! `workbench score`: logits and log-probabilities of given token ids, from tensor file to tensor file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lm::checkpoint::tensors::{TensorFile, TensorWriter};
use lm::checkpoint::{CheckpointError, Precision};
use lm::device::Devices;
use lm::kernels::Kernels;
use lm::model::Model;

use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Which operations a model computes with.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KernelArgument {
    /// The program's own fast ones.
    Fused,
    /// Their plain twins, for checking.
    Plain,
}

/// Arguments of `score`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A Hugging Face folder, or a step's or output's name, or the beginning of a key.
    checkpoint: String,
    /// A safetensors file with integer `input_ids` [B, T].
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// The safetensors file to write: float32 `logits` [B, T, V] and `token_logprobs` [B, T - 1].
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave the logits out.
    #[arg(long)]
    no_logits: bool,
    /// What to compute on: `cpu`, `cuda`, `cuda:1` or `wgpu`.
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = super::device::parse)]
    device: Devices,
    /// Operations to compute with.
    #[arg(long, value_enum, default_value = "fused")]
    kernels: KernelArgument,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let folder = super::checkpoint_folder(home, &arguments.checkpoint, arguments.run.as_deref())?;
    let wrong = |error: CheckpointError| CliError::user(error.to_string());
    let file = TensorFile::open(&arguments.ids).map_err(wrong)?;
    let entry = file.entry("input_ids").map_err(wrong)?;
    let place = arguments.ids.display();
    let &[rows, length] = entry.shape.as_slice() else {
        return Err(CliError::user(format!("{place}: `input_ids` has shape {:?}, not [B, T]", entry.shape)));
    };
    if rows == 0 || length == 0 {
        return Err(CliError::user(format!("{place}: `input_ids` of shape {:?} holds no token", entry.shape)));
    }
    let ids = file.integers(entry).map_err(wrong)?;
    let device = super::device::open_one(&arguments.device)?;
    let kernels = match arguments.kernels {
        KernelArgument::Fused => Kernels::on(&device),
        KernelArgument::Plain => Kernels::Plain,
    };
    let model = Model::load(&folder, &device).map_err(wrong)?.with_kernels(kernels);
    let vocab = model.config().vocab_size;
    let tokens = lm::score::tokens(&ids, length, vocab).map_err(|error| CliError::user(format!("{place}: {error}")))?;
    let partial = arguments.out.with_extension("partial");
    let written =
        write(&partial, &model, &tokens, arguments.no_logits).and_then(|()| Ok(fs_err::rename(&partial, &arguments.out)?));
    if let Err(error) = written {
        // What went wrong is told; a leftover is no second error.
        let _ = fs_err::remove_file(&partial);
        return Err(CliError::system(error));
    }
    terminal::note(&format!("{rows} rows of {length} tokens scored in {}", arguments.out.display()));
    Ok(())
}

fn write(path: &Path, model: &Model, tokens: &lm::batch::Tokens, no_logits: bool) -> Result<(), CheckpointError> {
    let (rows, length, vocab) = (tokens.n_sequences, tokens.length, model.config().vocab_size);
    let (logits, scores) = ([rows, length, vocab], [rows, length - 1]);
    let mut tensors: Vec<(&str, &[usize], Precision)> =
        vec![("logits", &logits, Precision::F32), ("token_logprobs", &scores, Precision::F32)];
    if no_logits {
        tensors.remove(0);
    }
    let mut writer = TensorWriter::create(path, &tensors)?;
    let mut failed = None;
    let mut sink = |piece: &[f32]| match writer.write(piece) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    let scores = lm::score::score(model, tokens, if no_logits { None } else { Some(&mut sink) });
    if let Some(error) = failed {
        return Err(error);
    }
    writer.write(&scores)?;
    writer.finish()
}
