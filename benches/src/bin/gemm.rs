//! Speed of every matrix product of the reference training step: GFLOP/s and the share of this machine's peak.
//!
//! `cargo run --release -p benches --bin gemm [-- SECONDS]`: at least SECONDS (0.2) per figure; the best repetition counts.
//! The peak is measured by multiply-adds in registers. Times include packing, which layers share among products where
//! they can. Activations of 8 x 256 tokens, width 256, feed-forward 1024, vocabulary 8192.

#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::time::Instant;

use lm::kernels::Precision;
use lm::kernels::measure::{Operand, Order, Place, linear, product, registers_only};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory stays with the process and sits on huge pages.
#[expect(non_upper_case_globals, reason = "the name jemalloc looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// One product: a name, `[m, n, k]`, the orders of both operands, and where it runs.
struct Case(&'static str, [usize; 3], [Order; 2], Place);

use Order::{Columns, Rows};
use Place::{Pool, ThisThread};

const FORWARD: [Order; 2] = [Rows, Columns];
const INPUT: [Order; 2] = [Rows, Rows];
const WEIGHT: [Order; 2] = [Columns, Rows];

const CASES: [Case; 15] = [
    Case("q/k/v/o forward", [2048, 256, 256], FORWARD, Pool),
    Case("q/k/v/o dX", [2048, 256, 256], INPUT, Pool),
    Case("q/k/v/o dW", [256, 256, 2048], WEIGHT, Pool),
    Case("gate/up forward", [2048, 1024, 256], FORWARD, Pool),
    Case("gate/up dX", [2048, 256, 1024], INPUT, Pool),
    Case("gate/up dW", [1024, 256, 2048], WEIGHT, Pool),
    Case("down forward", [2048, 256, 1024], FORWARD, Pool),
    Case("down dX", [2048, 1024, 256], INPUT, Pool),
    Case("down dW", [256, 1024, 2048], WEIGHT, Pool),
    Case("head forward, 256 rows", [256, 8192, 256], FORWARD, Pool),
    Case("head dX, 256 rows", [256, 256, 8192], INPUT, Pool),
    Case("head dW, 256 rows", [8192, 256, 256], WEIGHT, Pool),
    Case("attention scores tile", [64, 256, 64], FORWARD, ThisThread),
    Case("attention values tile", [64, 64, 256], INPUT, ThisThread),
    Case("attention dK tile", [256, 64, 64], WEIGHT, ThisThread),
];

/// Rows, outputs and inputs of the products of decoding.
const FEW: [[usize; 3]; 5] = [[1, 256, 256], [1, 1024, 256], [1, 8192, 256], [4, 8192, 256], [16, 8192, 256]];

/// The least time of one call, over repetitions for at least `seconds`.
fn best(seconds: f64, mut call: impl FnMut()) -> f64 {
    call();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        call();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    best
}

fn values(n: usize, modulus: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7 % modulus) as f32 / modulus as f32 - 0.5).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(0.2), |argument| argument.parse())?;
    let columns: Vec<(usize, Precision)> =
        [1, 2].into_iter().flat_map(|threads| [Precision::F32, Precision::Bf16].map(|precision| (threads, precision))).collect();
    let rounds = 2_000_000;
    let peaks = columns.iter().map(|(threads, precision)| {
        let operations = registers_only(10, *precision).map_or(f64::NAN, |ten| ten / 10.0 * rounds as f64);
        let time = best(2.0 * seconds, || {
            registers_only(rounds, *precision);
        });
        *threads as f64 * operations / time * 1e-9
    });
    let peaks: Vec<f64> = peaks.collect();
    let headings = columns.iter().map(|(threads, precision)| format!("{:>15}", format!("{precision:?} x{threads}")));
    println!("{:32}{}", "GFLOP/s (per cent of peak)", headings.collect::<String>());
    println!("{:32}{}", "peak", peaks.iter().map(|peak| format!("{peak:>9.1}      ")).collect::<String>());
    let row = |name: String, operations: f64, time: &mut dyn FnMut(usize, Precision) -> Option<f64>| {
        let cells = columns.iter().zip(&peaks).map(|((threads, precision), peak)| match time(*threads, *precision) {
            Some(time) => {
                let rate = operations / time * 1e-9;
                format!("{rate:>9.1} ({:>2.0}%)", 100.0 * rate / peak)
            }
            None => format!("{:>15}", ""),
        });
        println!("{name:32}{}", cells.collect::<String>());
    };
    let pools = [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
    let [one, two] = pools;
    let pools = [one?, two?];
    for Case(name, size @ [m, n, k], [left, right], place) in CASES {
        let (a, b, mut out) = (values(m * k, 17), values(k * n, 13), vec![0.0; m * n]);
        let (a, b) = (Operand { values: &a, order: left }, Operand { values: &b, order: right });
        row(format!("{name} {m}x{n}x{k}"), 2.0 * (m * n * k) as f64, &mut |threads, precision| {
            if place == ThisThread && threads > 1 {
                return None;
            }
            Some(pools[threads - 1].install(|| best(seconds, || product(&mut out, size, a, b, precision, place))))
        });
    }
    for [n, o, i] in FEW {
        let (x, w, mut out) = (values(n * i, 17), values(o * i, 13), vec![0.0; n * o]);
        row(format!("decoding, {n} rows {o}x{i}"), 2.0 * (n * o * i) as f64, &mut |threads, precision| {
            Some(pools[threads - 1].install(|| best(seconds, || linear(&mut out, &x, &w, i, precision))))
        });
    }
    Ok(())
}
