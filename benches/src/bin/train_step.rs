//! Training speed of a small model on this machine: tokens per second, forward and backward.
//!
//! `cargo run --release -p benches --bin train_step -- WIDTH LAYERS HEADS FFN VOCAB LENGTH SEQUENCES MICRO STEPS [plain]`

#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::time::Instant;

use lm::batch::{Batch, Tokens};
use lm::config::{Family, Sizes};
use lm::kernels::{Kernels, LossScale};
use lm::model::Model;
use lm::optim::{AdamW, AdamWConfig, Trainer};
use lm::random::Stream;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory stays with the process and sits on huge pages.
#[expect(non_upper_case_globals, reason = "the name jemalloc looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (hidden_size, n_layers, n_heads) = (number(0, 128), number(1, 4), number(2, 4));
    let (intermediate_size, vocab_size) = (number(3, 4 * hidden_size), number(4, 4096));
    let (length, n_sequences, micro, steps) = (number(5, 256), number(6, 16), number(7, 16), number(8, 10));
    let kernels = if arguments.iter().any(|a| a == "plain") { Kernels::Plain } else { Kernels::Fused };
    let config =
        Family::Olmo2.model(&Sizes { n_layers, hidden_size, n_heads, n_kv_heads: n_heads, intermediate_size, vocab_size });
    let model = Model::init(&config, 0, &lm::device::cpu())?.with_kernels(kernels);
    let mut trainer = Trainer::new(model, AdamW::new(AdamWConfig::default()), Some(1.0));
    let stream = Stream::new(0, "speed");
    let n = length * n_sequences;
    let mut times = Vec::new();
    for step in 0..steps {
        let ids = (0..n).map(|i| stream.below((step * n + i) as u64, vocab_size) as u32).collect();
        let batch = Batch::next_token(Tokens::new(ids, length));
        let scale = LossScale::new(1e-5, batch.n_targets() as f64);
        let start = Instant::now();
        let mut parts = [0.0; 3];
        for micro in batch.micro_batches(micro) {
            let begin = Instant::now();
            let loss = trainer.model().loss(&micro, scale);
            parts[0] += begin.elapsed().as_secs_f64();
            let begin = Instant::now();
            trainer.accumulate(&loss.tensor());
            parts[1] += begin.elapsed().as_secs_f64();
        }
        let begin = Instant::now();
        trainer.update(1e-3);
        parts[2] += begin.elapsed().as_secs_f64();
        times.push((start.elapsed().as_secs_f64(), parts));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, [forward, backward, update]) = times[times.len() / 2];
    let rate = n as f64 / median;
    println!(
        "{} parameters, {} threads, {kernels:?}: {:.1} ms per step (best {:.1}; loss {:.1}, gradients {:.1}, update {:.1}), {rate:.0} tokens/s, {:.1} GFLOP/s",
        config.n_parameters(),
        rayon::current_num_threads(),
        median * 1e3,
        times[0].0 * 1e3,
        forward * 1e3,
        backward * 1e3,
        update * 1e3,
        rate * config.flops_per_token(length) * 1e-9,
    );
    Ok(())
}
