//! A batch in several forward and backward passes: how it is cut, and what the passes measured together.
//!
//! Every pass is divided by the targets of the whole batch, so that it does not matter for the loss how a batch is cut;
//! only a load-balancing loss is that of a pass. Values are added up in the order of the passes, whoever made them.

use super::Trainer;
use crate::batch::Batch;
use crate::kernels::LossScale;
use crate::model::recompute::Recompute;
use crate::model::{RouterFigures, RouterScale};

/// How a batch is differentiated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passes {
    /// Sequences of a pass, at most.
    pub rows: usize,
    /// Weight of the squared log-partition function.
    pub z_loss: f64,
    /// Weight of the load-balancing loss of experts.
    pub load_balancing: f64,
    /// Weight of the z-loss of their routers.
    pub router_z_loss: f64,
    /// What is computed again in the backward pass.
    pub recompute: Recompute,
}

impl Passes {
    /// Passes of `rows` sequences with weight `z_loss` of the squared log-partition function and no loss of routers.
    pub fn new(rows: usize, z_loss: f64) -> Self {
        Self { rows, z_loss, load_balancing: 0.0, router_z_loss: 0.0, recompute: Recompute::None }
    }

    /// The passes of `batch`, in order.
    pub(crate) fn of(&self, batch: &Batch) -> Vec<Pass> {
        let divisor = batch.divisor().max(1) as f64;
        let pass = |piece: Batch| {
            let share = piece.tokens.len() as f64 / batch.tokens.len() as f64;
            let router = RouterScale { load_balancing: self.load_balancing, z_loss: self.router_z_loss, share };
            Pass { scale: LossScale { z_loss: self.z_loss, divisor, router }, piece, recompute: self.recompute }
        };
        batch.micro_batches(self.rows).map(pass).collect()
    }
}

/// One forward and backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    piece: Batch,
    scale: LossScale,
    recompute: Recompute,
}

/// What a pass measured.
#[derive(Clone, Debug)]
pub(crate) struct PassValues {
    scale: LossScale,
    /// Sums over the targets of the pass.
    cross_entropy: f64,
    squared_lse: f64,
    routers: Vec<RouterFigures>,
}

/// What a batch measured; sums are divided by the number of its targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Negative log-likelihood in nats per target.
    pub cross_entropy: f64,
    /// Squared log-partition function per target.
    pub squared_lse: f64,
    /// Per layer of experts, the losses weighted by the tokens of the passes, and slots per expert.
    pub routers: Vec<RouterFigures>,
}

impl Measured {
    pub(crate) fn sum(passes: impl IntoIterator<Item = PassValues>) -> Self {
        let mut sum = Self::default();
        for pass in passes {
            let LossScale { divisor, router, .. } = pass.scale;
            sum.cross_entropy += pass.cross_entropy / divisor;
            sum.squared_lse += pass.squared_lse / divisor;
            sum.routers.resize_with(pass.routers.len(), RouterFigures::default);
            for (sum, figures) in sum.routers.iter_mut().zip(&pass.routers) {
                sum.load_balancing += router.share * figures.load_balancing;
                sum.z_loss += router.share * figures.z_loss;
                sum.counts.resize(figures.counts.len(), 0.0);
                sum.counts.iter_mut().zip(&figures.counts).for_each(|(sum, count)| *sum += count);
            }
        }
        sum
    }
}

impl Trainer {
    /// Differentiates the losses of `batch` and adds their gradients to those of the step.
    pub fn differentiate(&mut self, batch: &Batch, passes: &Passes) -> Measured {
        Measured::sum(self.run(&passes.of(batch)))
    }

    /// Makes passes of a batch, in order.
    pub(crate) fn run(&mut self, passes: &[Pass]) -> Vec<PassValues> {
        let losses: Vec<_> = passes.iter().map(|pass| self.accumulate_batch(&pass.piece, pass.scale, pass.recompute)).collect();
        // Read at the end, so that a device is never left without work.
        let read = |(pass, loss): (&Pass, crate::model::Loss)| {
            let values = loss.read();
            let routers = loss.routers().map(|routers| routers.read()).unwrap_or_default();
            PassValues { scale: pass.scale, cross_entropy: values.cross_entropy, squared_lse: values.squared_lse, routers }
        };
        passes.iter().zip(losses).map(read).collect()
    }
}
