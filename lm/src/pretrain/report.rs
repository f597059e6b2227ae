//! The numbers of a step under OLMo-core's names.
//!
//! What depends on the clock is named `throughput/device/...` or ends in `(s)`; everything else is the same whenever and
//! wherever a run is made.

use burn::tensor::{Device, Tensor, TensorData};

use super::spikes::Spikes;
use super::{PretrainConfig, StepMeasures};
use crate::batch::Batch;
use crate::checkpoint::TrainingRecord;
use crate::config::ModelConfig;
use crate::device;
use crate::kernels::Kernels;
use crate::loader::Instances;
use crate::loader::batches::{Position, Segment};
use crate::model::RouterFigures;
use crate::observe::Observer;

/// What reports need to know of a run, and the clock's last readings.
#[derive(Debug)]
pub(super) struct Report {
    config: PretrainConfig,
    segments: Vec<Segment>,
    model: ModelConfig,
    /// Floating-point operations per second that a device can do.
    peak_flops: Option<f64>,
    n_devices: f64,
    clock: Clock,
}

/// Times in seconds on the observer's clock, and what was done since the first step ended.
#[derive(Debug)]
struct Clock {
    last_step: f64,
    last_saving: f64,
    loading: f64,
    loading_seconds: f64,
    /// Seconds, tokens and operations of all steps but the first, which is slower.
    since_first: Option<[f64; 3]>,
}

impl Report {
    pub(super) fn new(config: &PretrainConfig, model: &ModelConfig, devices: &[Device], observer: &dyn Observer) -> Self {
        // Only that of the CPU is measured; replicas share it.
        let on_cpu = devices.iter().all(|device| *device == device::cpu());
        let peak_flops = observer.peak_flops().or_else(|| if on_cpu { measured_peak(observer) } else { None });
        let now = observer.elapsed();
        Self {
            config: config.clone(),
            segments: config.segments(),
            model: model.clone(),
            peak_flops,
            n_devices: if on_cpu { 1.0 } else { devices.len() as f64 },
            clock: Clock { last_step: now, last_saving: now, loading: now, loading_seconds: 0.0, since_first: None },
        }
    }

    /// The next batch is about to be read.
    pub(super) fn loading(&mut self, observer: &dyn Observer) {
        self.clock.loading = observer.elapsed();
    }

    /// The batch is there.
    pub(super) fn loaded(&mut self, observer: &dyn Observer) {
        self.clock.loading_seconds = observer.elapsed() - self.clock.loading;
    }

    pub(super) fn since_saving(&self, observer: &dyn Observer) -> f64 {
        observer.elapsed() - self.clock.last_saving
    }

    pub(super) fn saved(&mut self, observer: &dyn Observer) {
        self.clock.last_saving = observer.elapsed();
    }

    /// Floating-point operations of the first `tokens` of the run.
    pub(super) fn flops(&self, tokens: u64) -> f64 {
        let (mut seen, mut flops) = (0, 0.0);
        for segment in &self.segments {
            let these = (segment.n_batches * segment.batch_tokens).min(tokens.saturating_sub(seen));
            flops += these as f64 * self.model.flops_per_token(segment.sequence_length);
            seen += these;
        }
        flops
    }

    /// Reports a step.
    #[expect(clippy::too_many_arguments, reason = "everything that a step is reported by")]
    pub(super) fn step(
        &mut self,
        observer: &mut dyn Observer,
        step: u64,
        measured: &StepMeasures,
        batch: &Batch,
        at: Position,
        record: &TrainingRecord,
        spikes: &Spikes,
    ) {
        let tokens = at.segment.batch_tokens;
        let pace = self.pace(observer.elapsed(), tokens, self.model.flops_per_token(batch.tokens.length));
        let mut metric = |name: &str, value: f64| observer.metric(step, name, value);
        metric("train/CE loss", measured.cross_entropy);
        if measured.cross_entropy < 10.0 {
            metric("train/PPL", measured.cross_entropy.exp());
        }
        if self.config.z_loss > 0.0 {
            metric("train/Z loss", self.config.z_loss * measured.squared_lse);
            metric("train/Z loss unscaled", measured.squared_lse);
        }
        self.routers(&measured.routers, &mut metric);
        if self.config.filter.is_some() {
            metric("train/masked instances (%)", batch.filtered_rows as f64 / batch.tokens.n_sequences as f64);
        }
        if self.config.instances != Instances::Windows || batch.divisor() != predictable(batch) {
            metric("train/masked labels (%)", 1.0 - batch.divisor() as f64 / predictable(batch) as f64);
        }
        metric("train/global batch size", tokens as f64);
        metric("optim/total grad norm", measured.updated.grad_norm);
        metric("optim/LR", measured.lr);
        for (index, group) in self.config.rules.groups.iter().enumerate() {
            metric(&format!("optim/LR (group {index})"), measured.lr * group.lr_factor.unwrap_or(1.0));
        }
        if self.config.skip_step.is_some() {
            metric("optim/step skipped", f64::from(u8::from(measured.updated.skipped)));
        }
        if let Some(score) = spikes.score() {
            metric("spike/SpikeScore", score);
        }
        if let Some(score) = spikes.total_score() {
            metric("spike/SpikeScore (total)", score);
        }
        metric("throughput/total tokens", record.tokens as f64);
        metric("throughput/total petaflops", self.flops(at.tokens + tokens) * 1e-15);
        let parameters = self.model.n_non_embedding_parameters() as f64;
        metric("throughput/chinchilla multiple", record.tokens as f64 / (20.0 * parameters));
        for (name, value) in pace {
            metric(&format!("throughput/device/{name}"), value);
        }
    }

    /// The losses of the routers, in all and by block. Unscaled figures are means over blocks.
    fn routers(&self, routers: &[RouterFigures], metric: &mut impl FnMut(&str, f64)) {
        let n = routers.len() as f64;
        let weights = [self.config.load_balancing_loss, self.config.router_z_loss];
        let mut figures = |place: &str, balance: f64, z: f64, share: f64, imbalance: f64| {
            for (name, value, weight) in [("load balancing loss", balance, weights[0]), ("router Z loss", z, weights[1])] {
                metric(&format!("train/{place}{name}"), weight * share * value);
                metric(&format!("train/{place}{name} unscaled"), value);
            }
            metric(&format!("train/{place}load imbalance"), imbalance);
        };
        if routers.is_empty() {
            return;
        }
        let mean = |value: fn(&RouterFigures) -> f64| routers.iter().map(value).sum::<f64>() / n;
        let worst = routers.iter().map(imbalance).fold(0.0, f64::max);
        figures("", mean(|router| router.load_balancing), mean(|router| router.z_loss), 1.0, worst);
        let blocks = self.model.layers.iter().enumerate();
        let blocks = blocks.filter(|(_, layer)| matches!(layer.feed_forward, crate::config::FeedForward::Experts(_)));
        for ((block, _), router) in blocks.zip(routers) {
            let place = format!("block {block:02}/");
            figures(&place, router.load_balancing, router.z_loss, 1.0 / n, imbalance(router));
        }
    }

    /// Rates of the step that ends now and of all but the first.
    fn pace(&mut self, now: f64, tokens: u64, flops_per_token: f64) -> Vec<(&'static str, f64)> {
        let clock = &mut self.clock;
        let seconds = now - clock.last_step;
        clock.last_step = now;
        if seconds <= 0.0 {
            return Vec::new();
        }
        // A device's share.
        let tokens = tokens as f64 / self.n_devices;
        let flops = tokens * flops_per_token;
        let mut rates = vec![
            ("TPS", tokens / seconds),
            ("BPS", 1.0 / seconds),
            ("flopsPS", flops / seconds),
            ("data loading (s)", clock.loading_seconds),
            ("data loading (%)", 100.0 * clock.loading_seconds / seconds),
        ];
        rates.extend(self.peak_flops.map(|peak| ("MFU", 100.0 * flops / seconds / peak)));
        if let Some([all_seconds, all_tokens, all_flops]) = &mut clock.since_first {
            *all_seconds += seconds;
            *all_tokens += tokens;
            *all_flops += flops;
            rates.push(("TPS (actual avg)", *all_tokens / *all_seconds));
            rates.push(("flopsPS (actual avg)", *all_flops / *all_seconds));
            rates.extend(self.peak_flops.map(|peak| ("MFU (actual avg)", 100.0 * *all_flops / *all_seconds / peak)));
        } else {
            clock.since_first = Some([0.0; 3]);
        }
        rates
    }
}

/// Positions of a batch that have a next token.
fn predictable(batch: &Batch) -> usize {
    batch.tokens.n_sequences * (batch.tokens.length - 1)
}

/// Slots of the busiest expert over the mean.
fn imbalance(router: &RouterFigures) -> f64 {
    let most = router.counts.iter().copied().fold(0.0, f64::max);
    most * router.counts.len() as f64 / router.counts.iter().sum::<f64>().max(1.0)
}

/// What this machine does at best: the fastest of some products of matrices of 512 by 512. None without a clock.
fn measured_peak(observer: &dyn Observer) -> Option<f64> {
    const SIZE: usize = 512;
    let square = || {
        let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 7) as f32 - 3.0).collect();
        Tensor::<2>::from_data(TensorData::new(values, [SIZE, SIZE]), &device::cpu())
    };
    let (a, b) = (square(), square());
    let seconds = (0..5).map(|_| {
        let began = observer.elapsed();
        let product = Kernels::default().linear(a.clone(), b.clone());
        drop(product);
        observer.elapsed() - began
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    (best > 0.0 && best.is_finite()).then(|| 2.0 * (SIZE * SIZE * SIZE) as f64 / best)
}
