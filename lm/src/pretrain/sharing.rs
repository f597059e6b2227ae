//! How the devices of a run share its batches. Knows no tensor.

use burn::tensor::Device;

use super::{Precision, PretrainConfig, TrainError};
use crate::batch::Batch;
use crate::config::{FeedForward, ModelConfig};
use crate::device;
use crate::optim::passes::Passes;
use crate::parallel::ParallelError;

/// See the module.
#[derive(Debug)]
pub(super) struct Sharing<'a> {
    config: &'a PretrainConfig,
    n_devices: usize,
    /// Whether another cut of a batch is another loss: that which balances experts is the one of a pass.
    cut_matters: bool,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(config: &'a PretrainConfig, model: &ModelConfig, devices: &[Device]) -> Result<Self, TrainError> {
        let fail = |text: String| Err(TrainError::Config(text));
        if devices.is_empty() {
            return Err(ParallelError::NoDevice.into());
        }
        if config.precision == Precision::Bf16 && !devices.iter().all(device::has_bf16) {
            return fail("the device cannot compute in bf16; train with `precision` f32, or on another device".into());
        }
        let experts = model.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_)));
        let sharing = Self { config, n_devices: devices.len(), cut_matters: experts && config.load_balancing_loss > 0.0 };
        let n_passes = config.segments().into_iter().map(|segment| {
            let n_sequences = segment.batch_tokens as usize / segment.sequence_length;
            n_sequences.div_ceil(sharing.rows(segment.sequence_length, n_sequences))
        });
        let (n_passes, n_devices) = (n_passes.max().unwrap_or(0), sharing.n_devices);
        if n_passes >= n_devices {
            return Ok(sharing);
        }
        if sharing.cut_matters {
            return fail(format!(
                "a batch is cut into {n_passes} passes of `micro_batch` {} sequences, too few for {n_devices} devices; a pass \
                 is what the load-balancing loss of experts looks at, so it is not cut for them: lower `micro_batch`, or \
                 use fewer devices",
                config.micro_batch
            ));
        }
        fail(format!("a batch has {n_passes} sequences, too few for {n_devices} devices; use fewer"))
    }

    /// Sequences of a pass over a batch of so many: those of one device, or fewer so that every device has some.
    fn rows(&self, length: usize, n_sequences: usize) -> usize {
        let rows = self.config.rows(length);
        if self.cut_matters {
            return rows;
        }
        let even = n_sequences.div_ceil(self.n_devices).max(1);
        let enough = n_sequences.div_ceil(even) >= self.n_devices;
        rows.min(if enough { even } else { (n_sequences / self.n_devices).max(1) })
    }

    /// The passes of a batch.
    pub(super) fn passes(&self, batch: &Batch) -> Passes {
        let config = self.config;
        Passes {
            rows: self.rows(batch.tokens.length, batch.tokens.n_sequences),
            z_loss: config.z_loss,
            load_balancing: config.load_balancing_loss,
            router_z_loss: config.router_z_loss,
            recompute: config.recompute,
        }
    }
}
