//! At which steps of a training run positions of its tokens were seen: the data order of the trainer, asked backwards. Knows the
//! parameters of `pretrain`, no model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lm::loader::{Ingredient, Loader, LoaderConfig};
use plan::Value;

use super::params::ParamType;
use super::pretrain::{Instances, Params};
use super::tokens_input::open;

/// One time that a position was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Seen {
    /// Optimiser step, from 1.
    pub step: u64,
    /// Number of the sequence in the batch, from 0.
    pub sequence: u64,
}

/// When the tokens at some positions of artifact `asked` of `tokens` were trained on by a `pretrain` step of these parameters. A
/// position may have been seen several times, or never.
///
/// # Errors
/// A text that says why the order cannot be told.
pub fn seen(params: &Value, tokens: &[PathBuf], asked: usize, positions: &[u64]) -> Result<BTreeMap<u64, Vec<Seen>>, String> {
    let params = Params::from_value("", params).map_err(|_| "its parameters are those of another version of this program")?;
    if params.instances != Instances::Windows {
        return Err("its instances are not windows of the token files".into());
    }
    if params.file_order_seed.is_some() {
        return Err("it permutes the token files".into());
    }
    let config = params.config(None).map_err(|error| error.to_string())?;
    let mut opened = Vec::new();
    for folder in tokens {
        opened.push(open(folder).map_err(|error| error.to_string())?);
    }
    if opened.iter().any(|source| source.recorded().is_some()) {
        return Err("it replays recorded batches".into());
    }
    let sizes: Vec<f64> = opened.iter().map(|source| source.file_lengths().iter().sum::<u64>() as f64).collect();
    let shares = if params.ratios.len() == sizes.len() { &params.ratios } else { &sizes };
    let sum: f64 = shares.iter().sum();
    let lengths = opened.get(asked).ok_or("it does not train on the tokens of the index")?.file_lengths();
    let ingredients = opened.into_iter().zip(shares).enumerate().map(|(number, (tokens, share))| Ingredient {
        label: format!("tokens {}", number + 1),
        tokens,
        ratio: share / sum,
    });
    let segments = config.segments();
    let longest = segments.iter().map(|segment| segment.sequence_length).max().unwrap_or(0);
    let unit = config.max_sequence_length.unwrap_or(longest) as u64;
    let batches: u64 = segments.iter().map(|segment| segment.n_batches).sum();
    let loader = LoaderConfig {
        batches: segments,
        max_sequence_length: config.max_sequence_length,
        ..LoaderConfig::windows(config.sequence_length, config.batch_tokens, batches, config.seed, usize::MAX)
    };
    let loader = Loader::new(loader, ingredients.collect()).map_err(|error| error.to_string())?;

    // The window of each position, and where in it; what a file has behind its last window is never seen.
    let mut wanted: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for &position in positions {
        let (mut start, mut first) = (0, 0);
        for &length in &lengths {
            if position < start + length {
                let window = (position - start) / unit;
                if window < length / unit {
                    wanted.entry(first + window).or_default().push(((position - start) % unit, position));
                }
                break;
            }
            (start, first) = (start + length, first + length / unit);
        }
    }
    let mut found: BTreeMap<u64, Vec<Seen>> = BTreeMap::new();
    for number in 0..batches {
        let (length, instances) = loader.instances(number);
        for (sequence, instance) in instances.iter().enumerate().filter(|(_, instance)| instance.ingredient == asked) {
            for &(offset, position) in wanted.get(&instance.unit).into_iter().flatten() {
                if (instance.offset..instance.offset + length as u64).contains(&offset) {
                    found.entry(position).or_default().push(Seen { step: number + 1, sequence: sequence as u64 });
                }
            }
        }
    }
    Ok(found)
}
