//! The proof that growth changed nothing: logits of both models on the same tokens.

use super::{Growth, GrowthError};
use crate::batch::Tokens;
use crate::checkpoint::Checkpoint;
use crate::device;
use crate::model::parameters::host;
use crate::random::Stream;

/// Largest difference allowed, relative to the largest logit, in single precision.
pub const TOLERANCE: f64 = 1e-4;

/// Tokens compared at once, and how often.
const PIECE: u64 = 512;
const PIECES: u64 = 8;

/// Largest absolute difference between the logits of two checkpoints on `tokens`, and the largest logit of the first.
///
/// # Errors
/// When weights do not fit their configuration.
pub fn logit_difference(before: &Checkpoint, after: &Checkpoint, tokens: &Tokens) -> Result<(f64, f64), GrowthError> {
    let logits =
        |checkpoint: &Checkpoint| -> Result<Vec<f32>, GrowthError> { Ok(host(checkpoint.model(&device::cpu())?.logits(tokens))) };
    let (before, after) = (logits(before)?, logits(after)?);
    let largest = before.iter().fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
    let difference = before.iter().zip(&after).fold(0.0_f64, |max, (a, b)| max.max(f64::from((a - b).abs())));
    Ok((difference, largest))
}

/// Applies `operators` in order and checks on 4096 random tokens that the function stayed, unless an operator is not
/// meant to preserve it.
///
/// # Errors
/// When an operator is not defined for the model, or the logits moved.
pub fn grow_verified(checkpoint: &Checkpoint, operators: &[Growth]) -> Result<Checkpoint, GrowthError> {
    let mut grown = checkpoint.clone();
    for operator in operators {
        grown = operator.apply(&grown)?;
    }
    if operators.iter().all(Growth::preserves_function) {
        let stream = Stream::new(0, "grow.verify");
        let mut moved: (f64, f64) = (0.0, 0.0);
        // A piece at a time, so that few logits are held at once.
        for piece in 0..PIECES {
            let id = |i: u64| stream.below(piece * PIECE + i, checkpoint.config.vocab_size) as u32;
            let tokens = Tokens::new((0..PIECE).map(id).collect(), 128);
            let (difference, largest) = logit_difference(checkpoint, &grown, &tokens)?;
            if difference.is_nan() {
                moved.0 = difference;
                break;
            }
            moved = (moved.0.max(difference), moved.1.max(largest));
        }
        let (difference, allowed) = (moved.0, TOLERANCE * moved.1);
        if difference.is_nan() || difference > allowed {
            return Err(GrowthError::NotPreserved { difference, allowed });
        }
    }
    Ok(grown)
}
