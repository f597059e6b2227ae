//! From token files to training batches: fixed windows, their order, mixes of several sources.
//!
//! As OLMo-core's fixed-sequence-length dataset: every file is cut into consecutive windows, a remainder is dropped, and
//! windows are shuffled anew each epoch with NumPy's generator seeded by `seed + epoch`. Any batch is reached directly by
//! its number, so a run resumes without replaying. Knows no model and no tokenizer.

use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::{Batch, Tokens};
use crate::shuffle::Pcg64;

pub mod directory;
pub mod recorded;

use recorded::Recorded;

/// Why tokens could not be read.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// Why batches cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// Tokens could not be read.
    #[error("cannot read tokens: {0}")]
    Read(#[source] ReadError),
    /// A directory has no such source.
    #[error("{} has no source `{name}`; it has: {known}", dir.display())]
    Source {
        /// What was asked for.
        name: String,
        /// The directory.
        dir: PathBuf,
        /// The sources it has.
        known: String,
    },
    /// The tokens were made for a larger vocabulary than the model's.
    #[error(
        "source `{label}` has ids up to {ids}, but the model has a vocabulary of {model}; give the model the tokenizer's vocabulary size"
    )]
    Vocabulary {
        /// The source.
        label: String,
        /// Vocabulary of the tokens.
        ids: u64,
        /// Vocabulary of the model.
        model: usize,
    },
    /// The files are too short.
    #[error(
        "source `{label}` has {windows} windows of {length} tokens, fewer than the {wanted} of one batch; use a shorter sequence, a smaller batch, or more text"
    )]
    TooSmall {
        /// The source.
        label: String,
        /// Whole windows it has.
        windows: u64,
        /// Tokens of a window.
        length: usize,
        /// Windows of a batch.
        wanted: u64,
    },
    /// The ratios are no mix.
    #[error("mix: {0}")]
    Mix(String),
    /// A recording cannot be replayed as asked.
    #[error("recorded batches: {0}")]
    Recording(String),
    /// The batch is not a whole number of sequences.
    #[error("a batch of {batch_tokens} tokens is not a whole number of sequences of {length}")]
    Batch {
        /// Tokens of a batch.
        batch_tokens: u64,
        /// Tokens of a sequence.
        length: usize,
    },
}

/// Files of token ids, without headers, in a fixed order.
pub trait TokenSource: Send + Sync {
    /// Number of tokens of every file.
    fn file_lengths(&self) -> Vec<u64>;

    /// Reads `out.len()` tokens of file `file` from token `start` on.
    ///
    /// # Errors
    /// When the file cannot be read there.
    fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError>;

    /// All ids are below this, if known.
    fn vocab_size(&self) -> Option<u64> {
        None
    }

    /// The batches that the tokens are, if they are to be trained on as they come.
    fn recorded(&self) -> Option<Recorded> {
        None
    }

    /// The id that ends documents, if known.
    fn eos(&self) -> Option<u32> {
        None
    }
}

/// Tokens in memory, one file.
impl TokenSource for Vec<u32> {
    fn file_lengths(&self) -> Vec<u64> {
        vec![self.len() as u64]
    }

    fn read(&self, _file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
        let start = start as usize;
        let range = self.get(start..start + out.len()).ok_or("the window lies outside the tokens")?;
        out.copy_from_slice(range);
        Ok(())
    }
}

/// A source and its share of the training tokens.
#[derive(Clone)]
pub struct Ingredient {
    /// Name for messages.
    pub label: String,
    /// The tokens.
    pub tokens: Arc<dyn TokenSource>,
    /// Share of the batch tokens; the shares of a mix add up to 1.
    pub ratio: f64,
}

impl Ingredient {
    /// `ratio` of the tokens of a mix, from `tokens`.
    pub fn new(label: &str, tokens: impl TokenSource + 'static, ratio: f64) -> Self {
        Self { label: label.into(), tokens: Arc::new(tokens), ratio }
    }
}

impl std::fmt::Debug for Ingredient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingredient").field("label", &self.label).field("ratio", &self.ratio).finish_non_exhaustive()
    }
}

/// Documents a token may attend to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentMask {
    /// All earlier tokens of the window, whatever document they are from (all OLMo pretraining).
    #[default]
    None,
    /// Only the token's own document.
    Within,
}

/// How batches are cut and ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// Tokens of a batch, a multiple of the sequence length.
    pub batch_tokens: u64,
    /// Batches of the whole run; a mix of several sources needs it to fix how often each window is seen.
    pub n_batches: u64,
    /// Seed of the order.
    pub seed: u64,
    /// What a token may attend to.
    pub document_mask: DocumentMask,
    /// Vocabulary of the model; sources with larger ids are refused.
    pub vocab_size: usize,
    /// The token that ends a document, where the source does not know it.
    pub eos: u32,
}

/// Makes the batches of a run.
#[derive(Debug)]
pub struct Loader {
    config: LoaderConfig,
    ingredients: Vec<Ingredient>,
    /// Per ingredient, the files' windows: `(file, first window number)`.
    files: Vec<Vec<u64>>,
    order: Order,
}

/// The order of windows.
#[derive(Debug)]
enum Order {
    /// One source: epoch after epoch; the shuffled epoch last used is kept.
    Epochs { n_windows: u64, current: std::sync::Mutex<(u64, Arc<[u32]>)> },
    /// A mix: every instance of the run, as `(ingredient, window)`.
    Run(Vec<(u32, u32)>),
    /// Recorded batches, one after the other.
    Recorded,
}

impl Loader {
    /// A loader over one source or a mix.
    ///
    /// # Errors
    /// When the sources are too short or the ratios do not add up to 1.
    pub fn new(config: LoaderConfig, ingredients: Vec<Ingredient>) -> Result<Self, LoaderError> {
        let length = config.sequence_length as u64;
        if length == 0 || config.batch_tokens == 0 || !config.batch_tokens.is_multiple_of(length) {
            return Err(LoaderError::Batch { batch_tokens: config.batch_tokens, length: config.sequence_length });
        }
        for Ingredient { label, tokens, .. } in &ingredients {
            if let Some(ids) = tokens.vocab_size().filter(|ids| *ids > config.vocab_size as u64) {
                return Err(LoaderError::Vocabulary { label: label.clone(), ids, model: config.vocab_size });
            }
        }
        let files: Vec<Vec<u64>> = ingredients
            .iter()
            .map(|ingredient| ingredient.tokens.file_lengths().iter().map(|tokens| tokens / length).collect())
            .collect();
        let n_windows: Vec<u64> = files.iter().map(|windows| windows.iter().sum()).collect();
        let order = match ingredients.as_slice() {
            [] => return Err(LoaderError::Mix("there is no source".into())),
            all if all.iter().any(|ingredient| ingredient.tokens.recorded().is_some()) => {
                check_recorded(&config, all)?;
                Order::Recorded
            }
            [only] => {
                let wanted = config.batch_tokens / length;
                if n_windows[0] < wanted {
                    let (label, windows) = (only.label.clone(), n_windows[0]);
                    return Err(LoaderError::TooSmall { label, windows, length: config.sequence_length, wanted });
                }
                Order::Epochs { n_windows: n_windows[0], current: std::sync::Mutex::new((0, Arc::new([]))) }
            }
            several => Order::Run(mix(config, several, &n_windows)?),
        };
        Ok(Self { config, ingredients, files, order })
    }

    fn instances_per_batch(&self) -> u64 {
        self.config.batch_tokens / self.config.sequence_length as u64
    }

    /// The windows of batch `number` (0-based): `(ingredient, window)` per sequence.
    pub fn instances(&self, number: u64) -> Vec<(usize, u64)> {
        let per_batch = self.instances_per_batch();
        match &self.order {
            Order::Recorded => (number * per_batch..(number + 1) * per_batch).map(|window| (0, window)).collect(),
            Order::Run(all) => {
                let start = (number * per_batch) as usize;
                all[start..start + per_batch as usize].iter().map(|(i, w)| (*i as usize, u64::from(*w))).collect()
            }
            Order::Epochs { n_windows, current } => {
                let batches_per_epoch = n_windows / per_batch;
                let epoch = number / batches_per_epoch + 1;
                let mut current = current.lock().expect("no code panics while holding the order");
                if current.0 != epoch {
                    *current = (epoch, shuffled(*n_windows, self.config.seed.wrapping_add(epoch)));
                }
                let start = (number % batches_per_epoch * per_batch) as usize;
                current.1[start..start + per_batch as usize].iter().map(|window| (0, u64::from(*window))).collect()
            }
        }
    }

    /// Batch `number` (0-based).
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn batch(&self, number: u64) -> Result<Batch, LoaderError> {
        let length = self.config.sequence_length;
        let instances = self.instances(number);
        let mut ids = vec![0; instances.len() * length];
        for (row, (ingredient, window)) in ids.chunks_exact_mut(length).zip(instances) {
            let mut window = window;
            let mut file = 0;
            while window >= self.files[ingredient][file] {
                window -= self.files[ingredient][file];
                file += 1;
            }
            let tokens = &self.ingredients[ingredient].tokens;
            tokens.read(file, window * length as u64, row).map_err(LoaderError::Read)?;
        }
        let tokens = Tokens::new(ids, length);
        Ok(Batch::next_token(match self.config.document_mask {
            DocumentMask::None => tokens,
            DocumentMask::Within => tokens.within_documents(self.ingredients[0].tokens.eos().unwrap_or(self.config.eos)),
        }))
    }
}

/// Recorded batches are taken alone, whole, and at most once.
fn check_recorded(config: &LoaderConfig, ingredients: &[Ingredient]) -> Result<(), LoaderError> {
    let ([Ingredient { label, tokens, .. }], Some(recorded)) = (ingredients, ingredients[0].tokens.recorded()) else {
        return Err(LoaderError::Recording("they are trained on alone, not in a mix".into()));
    };
    let Recorded { steps, rows, length, .. } = recorded;
    if config.sequence_length != length || config.batch_tokens != recorded.batch_tokens() {
        let (wanted, tokens) = (config.sequence_length, config.batch_tokens);
        return Err(LoaderError::Recording(format!(
            "`{label}` has {rows} sequences of {length} tokens a batch, not batches of {tokens} tokens in sequences of {wanted}"
        )));
    }
    debug_assert_eq!(tokens.file_lengths(), [recorded.tokens()]);
    if config.n_batches > steps {
        return Err(LoaderError::Recording(format!("`{label}` has {steps} batches, fewer than the {} steps", config.n_batches)));
    }
    Ok(())
}

fn shuffled(n: u64, seed: u64) -> Arc<[u32]> {
    let mut windows: Vec<u32> = (0..n as u32).collect();
    Pcg64::new(seed).shuffle(&mut windows);
    windows.into()
}

/// All instances of a run over several sources: each gives its share (largest remainders make up the whole), epoch after
/// epoch of its own windows, and the union is shuffled.
fn mix(config: LoaderConfig, ingredients: &[Ingredient], n_windows: &[u64]) -> Result<Vec<(u32, u32)>, LoaderError> {
    let sum: f64 = ingredients.iter().map(|ingredient| ingredient.ratio).sum();
    if let Some(bad) = ingredients.iter().find(|ingredient| !(ingredient.ratio > 0.0 && ingredient.ratio <= 1.0)) {
        return Err(LoaderError::Mix(format!("source `{}` has ratio {}, which is not in (0, 1]", bad.label, bad.ratio)));
    }
    if (sum - 1.0).abs() > 1e-6 {
        return Err(LoaderError::Mix(format!("the ratios add up to {sum}, not to 1")));
    }
    let total = config.n_batches * (config.batch_tokens / config.sequence_length as u64);
    let exact: Vec<f64> = ingredients.iter().map(|ingredient| ingredient.ratio / sum * total as f64).collect();
    let mut take: Vec<u64> = exact.iter().map(|x| x.floor() as u64).collect();
    let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
    by_remainder.sort_by(|a, b| (exact[*b].fract()).total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let missing = total.saturating_sub(take.iter().sum()) as usize;
    for i in by_remainder.into_iter().cycle().take(missing) {
        take[i] += 1;
    }
    let mut all = Vec::with_capacity(total as usize);
    for (i, ((ingredient, take), n)) in ingredients.iter().zip(take).zip(n_windows).enumerate() {
        if *n == 0 && take > 0 {
            let (label, length) = (ingredient.label.clone(), config.sequence_length);
            return Err(LoaderError::TooSmall { label, windows: 0, length, wanted: 1 });
        }
        let epochs = take.div_ceil((*n).max(1));
        let windows = (1..=epochs).flat_map(|epoch| shuffled(*n, config.seed.wrapping_add(epoch)).to_vec());
        all.extend(windows.take(take as usize).map(|window| (i as u32, window)));
    }
    Pcg64::new(config.seed).shuffle(&mut all);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n_batches: u64) -> LoaderConfig {
        LoaderConfig {
            sequence_length: 4,
            batch_tokens: 12,
            n_batches,
            seed: 34521,
            document_mask: DocumentMask::None,
            vocab_size: 4000,
            eos: 0,
        }
    }

    fn ingredient(label: &str, tokens: Vec<u32>, ratio: f64) -> Ingredient {
        Ingredient::new(label, tokens, ratio)
    }

    /// Files of different lengths whose tokens say where they are from.
    struct Files(Vec<u32>);

    impl TokenSource for Files {
        fn file_lengths(&self) -> Vec<u64> {
            self.0.iter().map(|n| u64::from(*n)).collect()
        }
        fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
            for (i, token) in out.iter_mut().enumerate() {
                *token = 1000 * file as u32 + start as u32 + i as u32;
            }
            Ok(())
        }
    }

    #[test]
    fn the_order_of_an_epoch_is_olmo_cores() {
        let loader = Loader::new(config(10), vec![ingredient("all", (0..4000).collect(), 1.0)]).unwrap();
        let windows: Vec<u64> = (0..2).flat_map(|b| loader.instances(b)).map(|(_, window)| window).collect();
        assert_eq!(windows, [905, 250, 414, 554, 333, 834]);
        assert_eq!(&loader.batch(0).unwrap().tokens.ids[..4], &[3620, 3621, 3622, 3623]);
    }

    #[test]
    fn an_epoch_sees_every_window_once_and_the_next_in_another_order() {
        // 10 windows, 3 per batch: 3 batches per epoch, one window left out.
        let loader = Loader::new(config(6), vec![ingredient("all", (0..43).collect(), 1.0)]).unwrap();
        let epoch = |e: u64| -> Vec<u64> { (3 * e..3 * e + 3).flat_map(|b| loader.instances(b)).map(|x| x.1).collect() };
        let (first, second) = (epoch(0), epoch(1));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 9);
        assert_ne!(first, second);
        assert_eq!(first, epoch(0), "batches are reached directly");
    }

    #[test]
    fn windows_never_span_files() {
        let files = Ingredient { label: "files".into(), tokens: Arc::new(Files(vec![7, 3, 9])), ratio: 1.0 };
        let loader = Loader::new(config(1), vec![files]).unwrap();
        let batch = loader.batch(0).unwrap();
        let mut starts: Vec<u32> = batch.tokens.ids.chunks(4).map(|row| row[0]).collect();
        starts.sort_unstable();
        assert_eq!(starts, [0, 2000, 2004]);
    }

    #[test]
    fn a_mix_gives_each_source_its_share() {
        let sources = || vec![ingredient("web", (0..400).collect(), 0.75), ingredient("maths", (1000..1040).collect(), 0.25)];
        let loader = Loader::new(config(20), sources()).unwrap();
        let all: Vec<(usize, u64)> = (0..20).flat_map(|b| loader.instances(b)).collect();
        assert_eq!(all.iter().filter(|x| x.0 == 1).count(), 15);
        // 15 instances of 10 windows: every window once or twice.
        for window in 0..10 {
            let n = all.iter().filter(|x| **x == (1, window)).count();
            assert!((1..=2).contains(&n), "{window}: {n}");
        }
        let again = Loader::new(config(20), sources()).unwrap();
        assert_eq!(again.instances(7), loader.instances(7));
    }

    #[test]
    fn unusable_sources_are_named() {
        let error = Loader::new(config(1), vec![ingredient("web", vec![0; 8], 1.0)]).unwrap_err().to_string();
        assert!(error.contains("`web`") && error.contains('2'), "{error}");
        let sources = vec![ingredient("a", vec![0; 80], 0.5), ingredient("b", vec![0; 80], 0.4)];
        assert!(Loader::new(config(1), sources).unwrap_err().to_string().contains("0.9"));
    }
}
