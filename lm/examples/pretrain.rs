//! Pretrains a small OLMo 2 on a token directory, with or without growing it halfway, and prints the loss.
//!
//! `cargo run --release -p lm --example pretrain -- TOKENS OUT [size=nano] [tokens=1200000] [batch=2048] [lr=3e-3]
//! [seedling=0] [rewarm=60000] [warmup=60000] [noise=0.1] [micro=8]`
//!
//! With `seedling=N`, the first N tokens train a model of half the width, which is then grown.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lm::checkpoint::Checkpoint;
use lm::config::ModelConfig;
use lm::growth::{Growth, KvHeads, verify::grow_verified};
use lm::loader::{Ingredient, TokenSource, directory::TokenDirectory};
use lm::observe::Observer;
use lm::pretrain::{PretrainConfig, Start, pretrain};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory stays with the process and sits on huge pages.
#[expect(non_upper_case_globals, reason = "the name jemalloc looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// Prints the mean loss of every fifty steps.
struct Printer {
    start: Instant,
    sum: f64,
}

impl Observer for Printer {
    fn metric(&mut self, step: u64, name: &str, value: f64) {
        if name == "train/CE loss" {
            self.sum = if step == 1 { value } else { self.sum + value };
            if step.is_multiple_of(50) {
                println!("{:7.1} s  step {step:5}  loss {:.4}", self.elapsed(), self.sum / 50.0);
                self.sum = 0.0;
            }
        }
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(tokens), Some(out)) = (arguments.next().map(PathBuf::from), arguments.next().map(PathBuf::from)) else {
        return Err("give a token directory and a directory for the result".into());
    };
    let options: BTreeMap<String, String> =
        arguments.filter_map(|a| a.split_once('=').map(|(key, value)| (key.into(), value.into()))).collect();
    let number = |key: &str, default: f64| options.get(key).map_or(Ok(default), |value| value.parse::<f64>());
    let directory = TokenDirectory::open(&tokens, None)?;
    let mut config = ModelConfig::olmo2(options.get("size").map_or("nano", String::as_str))?;
    config.vocab_size = usize::try_from(directory.vocab_size().unwrap_or(4096))?;
    config.eos_token_id = directory.eos().unwrap_or(0);
    let total = number("tokens", 1.2e6)? as u64;
    let seedling = number("seedling", 0.0)? as u64;
    let mut run = PretrainConfig::new(256, number("batch", 2048.0)? as u64, total - seedling, number("lr", 3e-3)?);
    run.micro_batch = number("micro", 8.0)? as usize;
    run.rate.warmup = number("warmup", 6e4)? as u64;
    run.rate.horizon = Some(total);
    let mut printer = Printer { start: Instant::now(), sum: 0.0 };
    let source = || -> Result<_, lm::loader::LoaderError> {
        Ok(vec![Ingredient::new("tokens", TokenDirectory::open(&tokens, None)?, 1.0)])
    };
    let mut start = Start::Fresh { config: config.clone(), seed: 0 };
    if seedling > 0 {
        let half = Start::Fresh { config: config.half_width()?, seed: 0 };
        let first = PretrainConfig { total_tokens: seedling, ..run.clone() };
        fs_err::create_dir_all(out.join("seedling"))?;
        println!("{:?}", pretrain(&first, &half, source()?, &out.join("seedling"), None, &mut printer)?);
        let small = Checkpoint::read(&out.join("seedling"))?;
        let noise = number("noise", 0.1)?;
        let width = Growth::Width { factor: 2, noise, seed: 0, kv_heads: KvHeads::Grow, intermediate_size: None };
        fs_err::create_dir_all(out.join("grown"))?;
        grow_verified(&small, &[width])?.write(&out.join("grown"))?;
        start = Start::Checkpoint(out.join("grown"));
        run.rate.start = seedling;
        run.rate.rewarm = number("rewarm", 6e4)? as u64;
        run.seed += 1;
    }
    fs_err::create_dir_all(&out)?;
    let summary = pretrain(&run, &start, source()?, Path::new(&out), None, &mut printer)?;
    println!("{:.1} s, {} parameters: {summary:?}", printer.elapsed(), config.n_parameters());
    Ok(())
}
