//! The head on chosen positions only: in finetuning, reinforcement learning and scoring few positions count, and the
//! head is a large part of a small model's work.
//!
//! Knows no loss and no sampling; everything here is differentiable if the model is.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use crate::batch::{Batch, IGNORED};
use crate::kernels::LossScale;
use crate::model::Model;

/// The activations at the positions whose target counts, `[n, d]` in order, and their targets.
pub(crate) struct Counted {
    hidden: Tensor<2>,
    targets: Arc<[u32]>,
}

impl Counted {
    /// Runs the model below the head; `None` if no target counts.
    pub(crate) fn of(model: &Model, batch: &Batch) -> Option<Self> {
        let counts = batch.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED);
        let (at, targets): (Vec<i64>, Vec<u32>) = counts.map(|(i, target)| (i as i64, *target)).unzip();
        if at.is_empty() {
            return None;
        }
        let hidden = model.hidden(&batch.tokens);
        let n = at.len();
        let index = Tensor::<1, Int>::from_data(TensorData::new(at, [n]), &hidden.device());
        Some(Counted { hidden: hidden.select(0, index), targets: targets.into() })
    }

    /// The targets that count.
    pub(crate) fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// The loss, as [`Model::loss`] gives it: `[3]`, the loss to differentiate first, then the sum of the negative
    /// log-likelihoods.
    pub(crate) fn loss(&self, model: &Model, scale: LossScale) -> Tensor<1> {
        model.kernels().cross_entropy(self.hidden.clone(), model.head_weight(), &self.targets, scale)
    }

    /// Log-probability of each target under the softmax of the logits divided by `temperature`: `[n]`.
    pub(crate) fn log_probs(&self, model: &Model, temperature: f64) -> Tensor<1> {
        let hidden = match temperature == 1.0 {
            true => self.hidden.clone(),
            false => self.hidden.clone().div_scalar(temperature),
        };
        model.kernels().token_log_probs(hidden, model.head_weight(), &self.targets)
    }

    /// The logits of positions `range` of those that count: `[range.len(), V]`.
    pub(crate) fn logits(&self, model: &Model, range: std::ops::Range<usize>) -> Tensor<2> {
        model.kernels().linear(self.hidden.clone().slice([range]), model.head_weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;
    use crate::model::parameters::host;
    use crate::sft::tests::byte_checkpoint;

    fn batch() -> Batch {
        let tokens = Tokens::new((10..22).collect(), 6);
        let targets = (0..12).map(|i| if i % 3 == 0 { IGNORED } else { 30 + i }).collect();
        Batch::new(tokens, targets)
    }

    #[test]
    fn chosen_positions_have_the_models_log_probabilities_and_loss() {
        let model = byte_checkpoint(1).model(&crate::device::cpu()).unwrap();
        let batch = batch();
        let counted = Counted::of(&model, &batch).unwrap();
        let all = host(model.token_log_probs(&batch));
        let wanted: Vec<f32> = all.into_iter().filter(|logp| *logp != 0.0).collect();
        let got = host(counted.log_probs(&model, 1.0));
        assert_eq!(got.len(), 8);
        assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{got:?} {wanted:?}");
        let scale = LossScale::new(0.0, 8.0);
        let loss = host(counted.loss(&model, scale));
        assert!((f64::from(loss[0]) - model.loss(&batch, scale).read().value).abs() < 1e-4);
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        let model = byte_checkpoint(1).model(&crate::device::cpu()).unwrap();
        let counted = Counted::of(&model, &batch()).unwrap();
        let got = host(counted.log_probs(&model, 0.5));
        let logits = host(counted.logits(&model, 0..8));
        for ((row, &target), got) in logits.chunks(258).zip(counted.targets()).zip(got) {
            let total: f64 = row.iter().map(|x| (2.0 * f64::from(*x)).exp()).sum();
            let wanted = 2.0 * f64::from(row[target as usize]) - total.ln();
            assert!((f64::from(got) - wanted).abs() < 1e-3, "{got} {wanted}");
        }
    }

    #[test]
    fn nothing_to_count_is_no_work() {
        let model = byte_checkpoint(1).model(&crate::device::cpu()).unwrap();
        let empty = Batch::new(Tokens::new(vec![1, 2], 2), vec![IGNORED; 2]);
        assert!(Counted::of(&model, &empty).is_none());
    }
}
