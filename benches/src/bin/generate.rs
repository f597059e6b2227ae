//! Greedy decoding speed of small models on this machine: tokens per second for one sequence and for sixteen.
//!
//! `cargo run --release -p benches --bin generate -- [WIDTH LAYERS HEADS FFN VOCAB PROMPT NEW] [--only FAMILY/THREADS/BATCH]`;
//! one line of JSON per family, batch and number of threads. `benches/torch/generate.py` measures the same with PyTorch.

#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::time::Instant;

use benches::cpu_seconds;
use lm::config::{Experts, Family, FeedForward, Layer, ModelConfig, Sizes};
use lm::generate::{Request, Sampling, Stop, sample};
use lm::model::Model;
use lm::model::decode::Decoder;
use lm::random::Stream;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory stays with the process and sits on huge pages.
#[expect(non_upper_case_globals, reason = "the name jemalloc looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// Runs of which the fastest counts.
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().position(|argument| argument == "--only").map(|at| arguments.split_off(at).pop());
    let wanted = |case: &str| only.iter().flatten().all(|only| only == case);
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (hidden_size, n_layers, n_heads) = (number(0, 256), number(1, 4), number(2, 4));
    let (intermediate_size, vocab_size) = (number(3, 1024), number(4, 8192));
    let (prompt, new) = (number(5, 64), number(6, 256));
    let sizes = Sizes { n_layers, hidden_size, n_heads, n_kv_heads: n_heads, intermediate_size, vocab_size };
    for family in [Family::Olmo2, Family::OlmoHybrid, Family::Olmoe] {
        let config = with_experts(&family.model(&sizes));
        let model = Model::init(&config, 0, &lm::device::cpu())?;
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            for batch in [1, 16] {
                if !wanted(&format!("{}/{threads}/{batch}", family.model_type())) {
                    continue;
                }
                let (prefill, decode, cpu) = pool.install(|| measure(&model, batch, prompt, new));
                let rate = |seconds: f64, n: usize| (batch * n) as f64 / seconds;
                let line = json!({
                    "program": "workbench", "family": family.model_type(), "threads": threads, "batch": batch,
                    "prompt": prompt, "new": new, "parameters": config.n_parameters(),
                    "prompt_tokens_per_s": rate(prefill, prompt).round(), "tokens_per_s": rate(decode, new).round(),
                    "tokens_per_cpu_s": rate(cpu, new).round(),
                });
                println!("{line}");
            }
        }
    }
    Ok(())
}

/// Eight experts of which a token reads two, as wide together as the layer they stand for.
fn with_experts(config: &ModelConfig) -> ModelConfig {
    config.map_layers(|layer| match layer.feed_forward {
        FeedForward::SwiGlu { .. } => layer,
        FeedForward::Experts(e) => {
            let e = Experts { n_experts: 8, top_k: 2, intermediate_size: e.intermediate_size / 2, ..e };
            Layer { feed_forward: FeedForward::Experts(e), ..layer }
        }
    })
}

/// Seconds for reading the prompts and for the new tokens after that, the best of some runs, and the mean processor time
/// of the latter, which other programs on the machine disturb less.
fn measure(model: &Model, batch: usize, prompt: usize, new: usize) -> (f64, f64, f64) {
    let decoder = Decoder::new(model);
    let stream = Stream::new(0, "prompts");
    let vocab = model.config().vocab_size;
    let prompts: Vec<Vec<u32>> =
        (0..batch).map(|b| (0..prompt).map(|i| stream.below((b * prompt + i) as u64, vocab) as u32).collect()).collect();
    let run = |n: usize| {
        let sampling = Sampling::greedy(n);
        let request = Request { prompts: &prompts, n_samples: 1, sampling: &sampling, stop: Stop::default(), seed: 0 };
        let start = Instant::now();
        let samples = sample(&decoder, &request);
        assert!(samples.iter().all(|samples| samples[0].ids.len() == n), "nothing stops a sample");
        start.elapsed().as_secs_f64()
    };
    let best = |n: usize| {
        let before = cpu_seconds();
        let best = (0..REPEATS).map(|_| run(n)).fold(f64::INFINITY, f64::min);
        (best, (cpu_seconds() - before) / REPEATS as f64)
    };
    let ((first, first_cpu), (all, all_cpu)) = (best(1), best(new + 1));
    (first, all - first, all_cpu - first_cpu)
}
