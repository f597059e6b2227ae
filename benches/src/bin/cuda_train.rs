//! Training speed of OLMo 2 models on a GPU: tokens per second, model FLOPs utilisation, memory. One JSON line per size.
//!
//! `cuda_train [--device cuda:0] [--size 190M,1B] [--sequence 4096] [--micro-batch 2] [--sequences 16]
//! [--precision bf16] [--kernels own] [--warmup 5] [--steps 20] [--peak-flops 989.5e12]`; the same arguments and output
//! as `benches/torch/gpu_train.py`. Several devices, as in `--device cuda:0,1`, train
//! together. On the CPU, for a try: `--device cpu --size nano --sequence 256 --precision f32`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to its user")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use lm::batch::{Batch, Tokens};
use lm::config::ModelConfig;
use lm::kernels::{Kernels, Precision};
use lm::model::Model;
use lm::optim::AdamWConfig;
use lm::optim::passes::Passes;
use lm::parallel::{Learner, Origin};
use lm::random::Stream;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Error = Box<dyn std::error::Error>;

/// Arguments by name, with their defaults.
struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read() -> Result<Self, Error> {
        let defaults = [
            ("device", "cuda:0"),
            ("size", "190M,1B"),
            ("sequence", "4096"),
            ("micro-batch", "2"),
            ("sequences", "16"),
            ("precision", "bf16"),
            ("kernels", "own"),
            ("warmup", "5"),
            ("steps", "20"),
            ("peak-flops", "989.5e12"),
        ];
        let mut all: BTreeMap<String, String> = defaults.map(|(name, value)| (name.into(), value.into())).into();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_default().to_string();
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
            let known = all.get_mut(&name).ok_or_else(|| format!("`{word}` is unknown; see the head of this file"))?;
            *known = value;
        }
        Ok(Self(all))
    }

    fn text(&self, name: &str) -> &str {
        &self.0[name]
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        self.text(name).parse().map_err(|_| format!("--{name} {} is no number", self.text(name)).into())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cuda_train: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments = Arguments::read()?;
    for size in arguments.text("size").split(',') {
        println!("{}", measure(&arguments, size)?);
    }
    Ok(())
}

fn measure(arguments: &Arguments, size: &str) -> Result<serde_json::Value, Error> {
    let config = ModelConfig::olmo2(size)?;
    let devices = arguments.text("device").parse::<lm::device::Devices>()?.open()?;
    let precision = match arguments.text("precision") {
        "bf16" => Precision::Bf16,
        "f32" => Precision::F32,
        other => return Err(format!("--precision {other}: write bf16 or f32").into()),
    };
    let kernels = match arguments.text("kernels") {
        "own" => Kernels::on(&devices[0]),
        "plain" => Kernels::Plain,
        other => return Err(format!("--kernels {other}: write own or plain").into()),
    };
    let (length, sequences): (usize, usize) = (arguments.number("sequence")?, arguments.number("sequences")?);
    let micro: usize = arguments.number("micro-batch")?;
    let (warmup, steps): (usize, usize) = (arguments.number("warmup")?, arguments.number("steps")?);
    if steps == 0 {
        return Err("--steps 0 measures nothing".into());
    }
    let peak: f64 = arguments.number("peak-flops")?;
    let model = match devices.as_slice() {
        [device] => Model::init(&config, 0, device)?.with_kernels(kernels),
        // Replicas have the fastest kernels of their devices.
        _ => Model::init(&config, 0, &lm::device::cpu())?,
    };
    let origin = Origin { precision, ..Origin::new(model, AdamWConfig::default()) };
    let mut learner = Learner::new(origin, &devices)?;
    let passes = Passes::new(micro, 1e-5);
    let stream = Stream::new(0, "speed");
    let n = length * sequences;
    let (mut times, mut losses, mut memory) = (Vec::new(), Vec::new(), 0);
    for step in 0..warmup + steps {
        let ids = (0..n).map(|i| stream.below((step * n + i) as u64, config.vocab_size) as u32).collect();
        let batch = Batch::next_token(Tokens::new(ids, length));
        let start = Instant::now();
        losses.push(learner.step(&batch, &passes, 1e-4, Some(1.0))?.0.cross_entropy);
        for device in &devices {
            device.sync()?;
        }
        times.push(start.elapsed().as_secs_f64());
        memory = memory.max(devices[0].memory_pool_usage().map_or(0, |usage| usage.bytes_reserved));
    }
    let first = times.first().copied().unwrap_or_default();
    let mut measured = times.split_off(warmup);
    measured.sort_by(f64::total_cmp);
    let median = measured[measured.len() / 2];
    let rate = n as f64 / median;
    let flops = config.flops_per_token(length);
    Ok(json!({
        "framework": "burn",
        "device": arguments.text("device"),
        "size": size,
        "parameters": config.n_parameters(),
        "sequence": length,
        "micro_batch": micro,
        "sequences": sequences,
        "precision": arguments.text("precision"),
        "kernels": format!("{kernels:?}"),
        "steps": steps,
        "first_step_s": first,
        "step_ms": median * 1e3,
        "best_step_ms": measured[0] * 1e3,
        "tokens_per_s": rate,
        "flops_per_token": flops,
        "mfu": rate * flops / peak / devices.len() as f64,
        "peak_memory_bytes": memory,
        "first_loss": losses[0],
        "last_loss": losses[losses.len() - 1],
    }))
}
