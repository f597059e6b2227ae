//! Cost of a training step against the size of the model: width 64 to 1024 at sequences of 256, sequences of 128 to 4096
//! at width 256, for three families; a table on standard output and a plot.
//!
//! `cargo run --release -p benches --bin cost -- PLOT.svg [TOKENS] [STEPS]`: TOKENS per step (4096), median over STEPS (3).

#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::fmt::Write;
use std::time::Instant;

use lm::batch::{Batch, Tokens};
use lm::config::{Experts, Family, FeedForward, Layer, ModelConfig, Sizes};
use lm::kernels::LossScale;
use lm::model::Model;
use lm::optim::{AdamW, AdamWConfig, Trainer};
use lm::random::Stream;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory stays with the process and sits on huge pages.
#[expect(non_upper_case_globals, reason = "the name jemalloc looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// Four blocks with heads of 64 (of 32 below 128), FFN of four widths, a vocabulary of 8192.
fn model(family: Family, width: usize) -> ModelConfig {
    let n_heads = if width < 128 { 2 } else { width / 64 };
    let sizes =
        Sizes { n_layers: 4, hidden_size: width, n_heads, n_kv_heads: n_heads, intermediate_size: 4 * width, vocab_size: 8192 };
    family.model(&sizes).map_layers(|layer| match layer.feed_forward {
        FeedForward::Experts(e) => {
            let experts = Experts { n_experts: 8, top_k: 2, intermediate_size: e.intermediate_size / 2, ..e };
            Layer { feed_forward: FeedForward::Experts(experts), ..layer }
        }
        FeedForward::SwiGlu { .. } => layer,
    })
}

/// Median seconds of a training step on `tokens` tokens in sequences of `length`.
fn seconds(config: &ModelConfig, length: usize, tokens: usize, steps: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let model = Model::init(config, 0, &lm::device::cpu())?;
    let mut trainer = Trainer::new(model, AdamW::new(AdamWConfig::default()), Some(1.0));
    let stream = Stream::new(0, "cost");
    let mut times = Vec::new();
    for step in 0..=steps {
        let ids = (0..tokens).map(|i| stream.below((step * tokens + i) as u64, 8192) as u32).collect();
        let batch = Batch::next_token(Tokens::new(ids, length));
        let scale = LossScale::new(0.0, batch.n_targets() as f64);
        let start = Instant::now();
        // As many sequences at once as have 2048 tokens.
        for micro in batch.micro_batches((2048 / length).max(1)) {
            let loss = trainer.model().loss(&micro, scale);
            trainer.accumulate(&loss.tensor());
        }
        trainer.update(1e-3);
        times.push(start.elapsed().as_secs_f64());
    }
    // The first step warms up.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// A line of the plot: name, colour, whether dashed, `(size, microseconds per token)`.
struct Curve {
    name: String,
    colour: &'static str,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plot = arguments.first().ok_or("usage: cost PLOT.svg [TOKENS] [STEPS]")?;
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (tokens, steps) = (number(1, 4096), number(2, 3).max(1));
    let families = [(Family::Olmo2, "#1f77b4"), (Family::OlmoHybrid, "#d62728"), (Family::Olmoe, "#2ca02c")];
    let mut curves = Vec::new();
    println!("| family | width | sequence | us/token | GFLOP/s |\n|---|---|---|---|---|");
    for (family, colour) in families {
        let mut measure =
            |widths: &[usize], lengths: &[usize], by: &str, dashed: bool| -> Result<(), Box<dyn std::error::Error>> {
                let mut points = Vec::new();
                for (&width, &length) in widths.iter().flat_map(|w| lengths.iter().map(move |l| (w, l))) {
                    let config = model(family, width);
                    let each = seconds(&config, length, tokens.max(length), steps)? / tokens.max(length) as f64;
                    let rate = config.flops_per_token(length) / each * 1e-9;
                    println!("| {family:?} | {width} | {length} | {:.1} | {rate:.0} |", each * 1e6);
                    points.push((if dashed { length } else { width } as f64, each * 1e6));
                }
                curves.push(Curve { name: format!("{family:?}, by {by}"), colour, dashed, points });
                Ok(())
            };
        measure(&[64, 128, 256, 512, 1024], &[256], "width", false)?;
        measure(&[256], &[128, 256, 512, 1024, 2048, 4096], "sequence", true)?;
    }
    std::fs::write(plot, svg(&curves)?)?;
    Ok(())
}

/// Both axes logarithmic to base 2.
fn svg(curves: &[Curve]) -> Result<String, std::fmt::Error> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let range = |f: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(f).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        (low.log2().floor(), high.log2().ceil())
    };
    let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
    let x = |v: f64| 60.0 + (v.log2() - x0) / (x1 - x0).max(1.0) * 520.0;
    let y = |v: f64| 360.0 - (v.log2() - y0) / (y1 - y0).max(1.0) * 320.0;
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 420\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"800\" height=\"420\" fill=\"white\"/>\n",
    );
    for i in x0 as i32..=x1 as i32 {
        let at = x(f64::from(i).exp2());
        writeln!(out, "<line x1=\"{at:.1}\" y1=\"40\" x2=\"{at:.1}\" y2=\"360\" stroke=\"#ddd\"/>")?;
        writeln!(out, "<text x=\"{at:.1}\" y=\"378\" text-anchor=\"middle\">{}</text>", f64::from(i).exp2())?;
    }
    for i in y0 as i32..=y1 as i32 {
        let at = y(f64::from(i).exp2());
        writeln!(out, "<line x1=\"60\" y1=\"{at:.1}\" x2=\"580\" y2=\"{at:.1}\" stroke=\"#ddd\"/>")?;
        writeln!(out, "<text x=\"52\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", at + 4.0, f64::from(i).exp2())?;
    }
    writeln!(out, "<text x=\"320\" y=\"405\" text-anchor=\"middle\">width at sequences of 256, or sequence at width 256</text>")?;
    writeln!(out, "<text x=\"60\" y=\"24\">microseconds per token of training</text>")?;
    for (i, curve) in curves.iter().enumerate() {
        let (colour, at) = (curve.colour, 60.0 + 22.0 * i as f64);
        let dash = if curve.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let line: Vec<String> = curve.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>", line.join(" "))?;
        writeln!(out, "<line x1=\"600\" y1=\"{at}\" x2=\"630\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>")?;
        writeln!(out, "<text x=\"636\" y=\"{}\">{}</text>", at + 4.0, curve.name)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}
