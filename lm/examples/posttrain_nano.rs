//! Post-training at laptop scale: a short SFT on demonstrations, then RLVR on fresh problems, measured on held-out ones.
//!
//! ```text
//! cargo run --release -p lm --example posttrain_nano -- [base=DIR] [tokenizer=DIR] [out=DIR] [KEY=VALUE ...]
//! ```
//!
//! `base` is a checkpoint directory (without it, a fresh `nano` model is trained), `tokenizer` holds its
//! `tokenizer.json` (without it, one is trained on problem texts). The other keys override settings, see `Settings`.

#![allow(clippy::print_stdout, reason = "an example reports on standard output")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use data::problem::{Conversation, Demonstration, Family, Level, Problem, ProblemMix, Split, write_jsonl};
use lm::chat::Chat;
use lm::checkpoint::Checkpoint;
use lm::config::ModelConfig;
use lm::evaluate::answers::{accuracy_by_family, answer, metrics};
use lm::generate::Sampling;
use lm::init::initial_weights;
use lm::observe::Observer;
use lm::optim::AdamWConfig;
use lm::reward::ByVerifier;
use lm::rlvr::objective::Objective;
use lm::rlvr::{RlvrConfig, Task, Watch, rlvr};
use lm::schedule::{Schedule, Shape};
use lm::sft::{SftConfig, Start, sft};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `KEY=VALUE` arguments with their defaults.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn from_args() -> Result<Self> {
        let mut map = BTreeMap::new();
        for arg in std::env::args().skip(1) {
            let (key, value) = arg.split_once('=').ok_or_else(|| format!("`{arg}` is not KEY=VALUE"))?;
            map.insert(key.to_string(), value.to_string());
        }
        Ok(Settings(map))
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.0.get(key).map(PathBuf::from)
    }

    fn get<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T>
    where
        T::Err: Error + 'static,
    {
        match self.0.get(key) {
            Some(text) => Ok(text.parse()?),
            None => Ok(default),
        }
    }
}

/// Prints every `every` steps what matters most.
struct Printer {
    start: Instant,
    every: u64,
    names: &'static [&'static str],
}

impl Observer for Printer {
    fn metric(&mut self, step: u64, name: &str, value: f64) {
        if step.is_multiple_of(self.every) && self.names.contains(&name) {
            println!("  {:6.1}s  step {step:4}  {name} {value:.4}", self.start.elapsed().as_secs_f64());
        }
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// The families of the experiment, or those named by `families=a,b,c`.
fn mix(settings: &Settings) -> Result<ProblemMix> {
    let families = match settings.0.get("families") {
        Some(names) => names
            .split(',')
            .map(|name| Family::from_name(name).ok_or_else(|| format!("no family is named `{name}`").into()))
            .collect::<Result<Vec<_>>>()?,
        None => Family::ELEMENTARY.to_vec(),
    };
    let level = match settings.get("level", 0_u8)? {
        0 => Level::Easy,
        1 => Level::Medium,
        _ => Level::Hard,
    };
    Ok(ProblemMix { families, level })
}

/// Trains a tokenizer on problem texts.
fn problem_tokenizer(mix: &ProblemMix, dir: &Path) -> Result<Vec<u8>> {
    let documents: Vec<serde_json::Value> = Problem::generate_many(mix, Split::Train, 99, 3000)
        .iter()
        .map(|problem| {
            let text = format!("<|user|>\n{}\n<|assistant|>\n{}", problem.prompt(), problem.answer);
            serde_json::json!({"id": problem.id, "text": text, "source": "problems"})
        })
        .collect();
    let path = dir.join("problems.jsonl");
    write_jsonl(&path, &documents)?;
    let params = data::tokenizer::TokenizerParams::new(1024);
    data::tokenizer::train_tokenizer(&[&path], &params, &())?.save(dir)?;
    Ok(std::fs::read(dir.join("tokenizer.json"))?)
}

fn main() -> Result<()> {
    let settings = Settings::from_args()?;
    let out = settings.path("out").unwrap_or_else(|| std::env::temp_dir().join("posttrain_nano"));
    for name in ["tokenizer", "sft", "rlvr"] {
        std::fs::create_dir_all(out.join(name))?;
    }
    let mix = mix(&settings)?;
    let seed: u64 = settings.get("seed", 0)?;
    let file = match settings.path("tokenizer") {
        Some(dir) => std::fs::read(dir.join("tokenizer.json"))?,
        None => problem_tokenizer(&mix, &out.join("tokenizer"))?,
    };
    let chat = Chat::new(file, 0)?;
    let base = match settings.path("base") {
        Some(dir) => Checkpoint::read(&dir)?,
        None => {
            let config = ModelConfig { vocab_size: chat.vocab_size(), ..ModelConfig::olmo2("nano")? };
            let weights = initial_weights(&config, seed);
            Checkpoint::new(config, weights)
        }
    };
    let device = lm::device::cpu();
    let held_out = Problem::generate_distinct(&mix, Split::HeldOut, 1_000 + seed, settings.get("n_eval", 400)?);
    println!("{} parameters, {} held-out problems", base.config.n_parameters(), held_out.len());

    let n_sft: u64 = settings.get("n_sft", 3000)?;
    let conversations: Vec<Conversation> = Problem::generate_many(&mix, Split::Train, 2_000 + seed, n_sft)
        .iter()
        .map(|problem| problem.demonstration(Demonstration::Answer))
        .collect();
    let sft_config = SftConfig {
        epochs: settings.get("epochs", 2)?,
        batch_size: settings.get("batch_size", 32)?,
        learning_rate: settings.get("sft_lr", 1e-3)?,
        shape: Shape::Linear { floor: settings.get("sft_floor", 0.0)? },
        seed,
        ..SftConfig::default()
    };
    let tuned = match settings.path("sft") {
        Some(dir) => Checkpoint::read(&dir)?,
        None => {
            let clock = Instant::now();
            let mut printer = Printer { start: clock, every: 25, names: &["train/CE loss"] };
            let start = Start { checkpoint: &base, chat: &chat, device: &device };
            let summary = sft(&sft_config, start, &conversations, &out.join("sft"), None, &mut printer)?;
            println!("sft: {summary:?} in {:.1} s", clock.elapsed().as_secs_f64());
            Checkpoint::read(&out.join("sft"))?
        }
    };
    let before = measure("sft", &tuned, &chat, &held_out)?;

    let steps = settings.get("steps", 300)?;
    let config = RlvrConfig {
        steps,
        prompts_per_step: settings.get("prompts", 32)?,
        samples_per_prompt: settings.get("group", 8)?,
        minibatches: settings.get("minibatches", 1)?,
        objective: Objective { beta: settings.get("beta", 0.0)?, ..Objective::default() },
        sampling: Sampling {
            temperature: settings.get("temperature", 1.0)?,
            max_new_tokens: settings.get("max_new_tokens", 16)?,
            ..Sampling::default()
        },
        schedule: Schedule {
            peak: settings.get("rl_lr", 3e-4)?,
            warmup: settings.get("rl_warmup", 20)?,
            total: steps,
            shape: Shape::Linear { floor: settings.get("rl_floor", 1.0)? },
            rewarm: None,
        },
        optimizer: AdamWConfig { weight_decay: 0.0, beta2: settings.get("beta2", 0.99)?, ..AdamWConfig::default() },
        seed,
        ..RlvrConfig::default()
    };
    let problems = Problem::generate_many(&mix, Split::Train, 3_000 + seed, settings.get("n_rl", 20_000)?);
    let clock = Instant::now();
    let names = &[
        "objective/verifiable_correct_rate",
        "eval/verifiable_correct_rate",
        "val/total_filtered",
        "val/stop_rate",
        "policy/entropy_avg",
        "optim/total grad norm",
    ];
    let mut printer = Printer { start: clock, every: settings.get("print", 50)?, names };
    let watch = Watch { problems: &held_out, every: settings.get("watch", 50)? };
    let task = Task { problems: &problems, reward: &ByVerifier, watch: Some(watch) };
    let start = Start { checkpoint: &tuned, chat: &chat, device: &device };
    let summary = rlvr(&config, start, task, &out.join("rlvr"), None, &mut printer)?;
    println!("rlvr: {summary:?} in {:.1} s", clock.elapsed().as_secs_f64());

    let after = measure("rlvr", &Checkpoint::read(&out.join("rlvr"))?, &chat, &held_out)?;
    println!("accuracy {:.1} % -> {:.1} % ({:+.1} points)", 100.0 * before, 100.0 * after, 100.0 * (after - before));
    Ok(())
}

/// Greedy accuracy on problems, printed per family.
fn measure(name: &str, checkpoint: &Checkpoint, chat: &Chat, problems: &[Problem]) -> Result<f64> {
    let model = checkpoint.model(&lm::device::cpu())?;
    let records = answer(&model, chat, problems, &Sampling::greedy(16), &ByVerifier, 0)?;
    let total = metrics(&records)["accuracy"];
    println!("{name}: accuracy {:.3} +- {:.3}", total.value, total.stderr.unwrap_or(0.0));
    for (family, estimate) in accuracy_by_family(&records) {
        let shown = records.iter().find(|record| record.family == family);
        let shown = shown.map(|r| format!("{} -> {:?} (gold {:?})", r.prompt, r.response, r.answer));
        println!("  {family:14} {:.3} of {:3}   {}", estimate.value, estimate.n, shown.unwrap_or_default());
    }
    Ok(total.value)
}
