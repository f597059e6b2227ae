//! Model soups: the weighted mean of checkpoints of the same shape (Wortsman et al., arXiv 2203.05482).
//!
//! Sums run in double precision, checkpoint after checkpoint in the given order. The optimiser's state is not averaged.

use std::path::PathBuf;

use crate::checkpoint::{Checkpoint, CheckpointError, TrainingState};
use crate::optim::OptimizerState;
use crate::weights::{Array, NamedArrays};

/// Why checkpoints cannot be averaged.
#[derive(Debug, thiserror::Error)]
pub enum AverageError {
    /// A checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is nothing to average.
    #[error("average: there is no checkpoint")]
    Empty,
    /// The weights of the mean are unusable.
    #[error("average: {0}")]
    Weights(String),
    /// Two checkpoints do not belong together.
    #[error("average: {} and {} differ in {what}", first.display(), other.display())]
    Mismatch {
        /// The first checkpoint.
        first: PathBuf,
        /// The one that differs from it.
        other: PathBuf,
        /// In what.
        what: String,
    },
}

/// The mean of the checkpoint directories `dirs`, with `weights` normalised to sum 1 (`None`: equal weights).
///
/// The result keeps the counters of the first checkpoint and an empty optimiser state.
///
/// # Errors
/// When a checkpoint cannot be read, shapes or growth histories differ (copies made with different noise are in
/// different bases, so their mean is meaningless), or the weights are unusable.
pub fn average(dirs: &[PathBuf], weights: Option<&[f64]>) -> Result<Checkpoint, AverageError> {
    let shares = shares(dirs.len(), weights)?;
    let mut sums: Vec<(String, Vec<usize>, Vec<f64>)> = Vec::new();
    let mut first: Option<Checkpoint> = None;
    for (dir, share) in dirs.iter().zip(shares) {
        let checkpoint = Checkpoint::read(dir)?;
        if let Some(first) = &first {
            check(first, &checkpoint).map_err(|what| AverageError::Mismatch {
                first: dirs[0].clone(),
                other: dir.clone(),
                what,
            })?;
        } else {
            sums = checkpoint
                .weights
                .iter()
                .map(|(name, array)| (name.clone(), array.shape.clone(), vec![0.0; array.len()]))
                .collect();
        }
        for ((_, _, sum), array) in sums.iter_mut().zip(checkpoint.weights.values()) {
            for (sum, x) in sum.iter_mut().zip(&array.data) {
                *sum += share * f64::from(*x);
            }
        }
        first.get_or_insert(checkpoint);
    }
    let first = first.ok_or(AverageError::Empty)?;
    let weights: NamedArrays = sums
        .into_iter()
        .map(|(name, shape, sum)| (name, Array::new(shape, sum.into_iter().map(|x| x as f32).collect())))
        .collect();
    let training =
        first.training.map(|TrainingState { record, .. }| TrainingState { record, optimizer: OptimizerState::default() });
    Ok(Checkpoint { config: first.config, weights, training })
}

fn shares(n: usize, weights: Option<&[f64]>) -> Result<Vec<f64>, AverageError> {
    let Some(weights) = weights else { return Ok(vec![1.0 / n.max(1) as f64; n]) };
    if weights.len() != n {
        return Err(AverageError::Weights(format!("{} weights for {n} checkpoints", weights.len())));
    }
    let sum: f64 = weights.iter().sum();
    if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || sum <= 0.0 {
        return Err(AverageError::Weights(format!("{weights:?} are not numbers of 0 or more with a positive sum")));
    }
    Ok(weights.iter().map(|w| w / sum).collect())
}

/// What sets `other` apart from `first`, if anything.
fn check(first: &Checkpoint, other: &Checkpoint) -> Result<(), String> {
    if first.config != other.config {
        return Err("their configuration".into());
    }
    let shapes = |c: &Checkpoint| c.weights.iter().map(|(n, a)| (n.clone(), a.shape.clone())).collect::<Vec<_>>();
    if shapes(first) != shapes(other) {
        return Err("the names or shapes of their tensors".into());
    }
    let growth = |c: &Checkpoint| c.training.as_ref().map(|t| t.record.growth.clone()).unwrap_or_default();
    if growth(first) != growth(other) {
        return Err("their growth history, so their channels do not correspond".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::init::initial_weights;

    fn saved(seed: u64, size: &str) -> (tempfile::TempDir, Checkpoint) {
        let config = ModelConfig::olmo2(size).unwrap();
        let checkpoint = Checkpoint::new(config.clone(), initial_weights(&config, seed));
        let dir = tempfile::tempdir().unwrap();
        checkpoint.write(dir.path()).unwrap();
        (dir, checkpoint)
    }

    #[test]
    fn the_mean_of_equals_is_the_same_and_weights_are_shares() {
        let ((a, first), (b, second)) = (saved(1, "pico"), saved(2, "pico"));
        let paths = |dirs: &[&tempfile::TempDir]| dirs.iter().map(|d| d.path().to_path_buf()).collect::<Vec<_>>();
        assert_eq!(average(&paths(&[&a, &a, &a]), None).unwrap().weights, first.weights);
        let mean = average(&paths(&[&a, &b]), Some(&[3.0, 1.0])).unwrap();
        for (name, array) in &mean.weights {
            for (i, x) in array.data.iter().enumerate() {
                let wanted = 0.75 * first.weights[name].data[i] + 0.25 * second.weights[name].data[i];
                assert!((x - wanted).abs() <= 1e-7, "{name}");
            }
        }
    }

    #[test]
    fn strangers_are_refused() {
        let ((a, _), (b, _)) = (saved(1, "pico"), saved(1, "nano"));
        let dirs = [a.path().to_path_buf(), b.path().to_path_buf()];
        assert!(average(&dirs, None).unwrap_err().to_string().contains("configuration"));
        assert!(average(&[], None).is_err());
        assert!(average(&dirs[..1], Some(&[-1.0])).is_err());
        assert!(average(&dirs[..1], Some(&[0.5, 0.5])).is_err());
    }
}
