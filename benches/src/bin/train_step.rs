//! Training speed of a small model on this machine: tokens per second, forward and backward.
//!
//! `cargo run --release -p benches --bin train_step -- WIDTH LAYERS HEADS FFN VOCAB LENGTH SEQUENCES MICRO STEPS [WORD...]`
//!
//! Words: `plain` or `bf16` for other kernels, `forward` for the loss alone, `recompute`,
//! `olmo_hybrid` or `olmoe` (eight experts of half FFN, two active) for another family than OLMo 2. `benches/torch/train_step.py` takes the same
//! numbers.

#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::time::Instant;

use benches::{cpu_seconds, peak_megabytes};
use lm::batch::{Batch, Tokens};
use lm::config::{Experts, Family, FeedForward, Layer, Sizes};
use lm::kernels::{Kernels, LossScale};
use lm::model::Model;
use lm::model::recompute::Recompute;
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
    let word = |wanted: &str| arguments.iter().any(|a| a == wanted);
    let kernels = match (word("plain"), word("bf16")) {
        (true, _) => Kernels::Plain,
        (_, true) => Kernels::FusedBf16,
        _ => Kernels::Fused,
    };
    let recompute = if word("recompute") { Recompute::Blocks } else { Recompute::None };
    let family = match (word("olmo_hybrid"), word("olmoe")) {
        (true, _) => Family::OlmoHybrid,
        (_, true) => Family::Olmoe,
        _ => Family::Olmo2,
    };
    let config = family.model(&Sizes { n_layers, hidden_size, n_heads, n_kv_heads: n_heads, intermediate_size, vocab_size });
    // Eight experts of which two: a token meets as many weights as in a dense layer.
    let config = config.map_layers(|layer| match layer.feed_forward {
        FeedForward::Experts(experts) => {
            let experts = Experts { n_experts: 8, top_k: 2, intermediate_size: intermediate_size / 2, ..experts };
            Layer { feed_forward: FeedForward::Experts(experts), ..layer }
        }
        FeedForward::SwiGlu { .. } => layer,
    });
    let model = Model::init(&config, 0, &lm::device::cpu())?.with_kernels(kernels);
    let forward_only = word("forward").then(|| model.clone());
    let mut trainer = Trainer::new(model, AdamW::new(AdamWConfig::default()), Some(1.0));
    let stream = Stream::new(0, "speed");
    let n = length * n_sequences;
    let mut times = Vec::new();
    for step in 0..steps {
        let ids = (0..n).map(|i| stream.below((step * n + i) as u64, vocab_size) as u32).collect();
        let batch = Batch::next_token(Tokens::new(ids, length));
        let scale = LossScale::new(1e-5, batch.n_targets() as f64);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut parts = [0.0; 3];
        for micro in batch.micro_batches(micro) {
            let begin = Instant::now();
            if recompute == Recompute::Blocks {
                trainer.accumulate_batch(&micro, scale, recompute);
                parts[1] += begin.elapsed().as_secs_f64();
                continue;
            }
            let loss = forward_only.as_ref().unwrap_or(trainer.model()).loss(&micro, scale);
            parts[0] += begin.elapsed().as_secs_f64();
            if forward_only.is_some() {
                continue;
            }
            let begin = Instant::now();
            trainer.accumulate(&loss.tensor());
            parts[1] += begin.elapsed().as_secs_f64();
        }
        if forward_only.is_none() {
            let begin = Instant::now();
            trainer.update(1e-3);
            parts[2] += begin.elapsed().as_secs_f64();
        }
        times.push((start.elapsed().as_secs_f64(), parts, cpu_seconds() - cpu));
    }
    let best = times.iter().map(|(time, ..)| *time).fold(f64::INFINITY, f64::min);
    let mut warm = times.split_off(3.min(steps - 1));
    let cpu = warm.iter().map(|(.., cpu)| cpu).sum::<f64>() / warm.len() as f64;
    warm.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, [forward, backward, update], _) = warm[warm.len() / 2];
    let rate = n as f64 / median;
    println!(
        "{family:?}, {} parameters, {} threads, {kernels:?}: {:.1} ms per step (best {:.1}; loss {:.1}, gradients {:.1}, update {:.1}), {rate:.0} tokens/s, {:.0} per second of processor time, {:.1} GFLOP/s, peak {:.0} MB",
        config.n_parameters(),
        rayon::current_num_threads(),
        median * 1e3,
        best * 1e3,
        forward * 1e3,
        backward * 1e3,
        update * 1e3,
        n as f64 / cpu,
        rate * config.flops_per_token(length) * 1e-9 / if forward_only.is_some() { 3.0 } else { 1.0 },
        peak_megabytes(),
    );
    Ok(())
}
