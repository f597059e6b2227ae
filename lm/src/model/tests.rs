//! The OLMo 2 model against transformers: logits, log-probabilities, greedy tokens, a training trace.
//!
//! The fixture is a small random `Olmo2ForCausalLM` with what transformers 5.23 and PyTorch 2.15 computed for it.

use std::path::PathBuf;

use safetensors::SafeTensors;

use super::decode::Decoder;
use super::parameters::host;
use super::*;
use crate::batch::Batch;
use crate::device;
use crate::optim::{AdamW, AdamWConfig, Trainer};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/olmo2").join(name)
}

struct Expected(Vec<u8>);

impl Expected {
    fn read() -> Self {
        Self(fs_err::read(fixture("expected.safetensors")).unwrap())
    }
    fn ids(&self, name: &str) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }
    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn model() -> Model {
    Model::load(&fixture(""), &device::cpu()).unwrap()
}

fn assert_close(what: &str, found: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}[{i}]: {a}, transformers {b}");
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let expected = Expected::read();
    let tokens = Tokens::new(expected.ids("input_ids"), 100);
    for kernels in [Kernels::Fused, Kernels::Plain] {
        let model = model().with_kernels(kernels);
        assert_close("logits", &host(model.logits(&tokens)), &expected.floats("logits"), 1e-4);
        let log_probs = host(model.token_log_probs(&Batch::next_token(tokens.clone())));
        let log_probs: Vec<f32> = log_probs.chunks(100).flat_map(|row| row[..99].to_vec()).collect();
        assert_close("log-probabilities", &log_probs, &expected.floats("token_logprobs"), 1e-4);
    }
}

#[test]
fn greedy_decoding_gives_the_tokens_of_transformers() {
    let expected = Expected::read();
    let (prompt, wanted) = (expected.ids("greedy_prompt"), expected.ids("greedy_tokens"));
    let decoder = Decoder::new(&model());
    let mut cache = decoder.cache(1);
    let argmax = |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
    let mut found = Vec::new();
    let mut next = argmax(&decoder.advance(&mut cache, &[&prompt])[0]);
    while found.len() < wanted.len() {
        found.push(next);
        next = argmax(&decoder.advance(&mut cache, &[&[next]])[0]);
    }
    // The fixture's tokens may or may not include the prompt.
    let wanted = if wanted.starts_with(&prompt) { &wanted[prompt.len()..] } else { &wanted[..] };
    assert_eq!(&found[..wanted.len()], wanted);
}

#[test]
fn a_ragged_batch_decodes_like_its_sequences_alone() {
    let expected = Expected::read();
    let ids = expected.ids("input_ids");
    let decoder = Decoder::new(&model());
    let mut together = decoder.cache(3);
    let alone = |tokens: &[u32]| decoder.advance(&mut decoder.cache(1), &[tokens]).remove(0);
    decoder.advance(&mut together, &[&ids[..40], &ids[100..107], &[]]);
    let logits = decoder.advance(&mut together, &[&ids[40..41], &[], &ids[5..9]]);
    assert_close("first", &logits[0], &alone(&ids[..41]), 1e-5);
    assert!(logits[1].is_empty());
    assert_close("third", &logits[2], &alone(&ids[5..9]), 1e-5);
    let mut forked = together.fork(1, 2);
    forked.truncate(0, 3);
    let logits = decoder.advance(&mut forked, &[&ids[103..107], &ids[107..110]]);
    assert_close("truncated", &logits[0], &alone(&ids[100..107]), 1e-5);
    assert_close("forked", &logits[1], &alone(&ids[100..110]), 1e-5);
    assert_eq!((forked.len_of(0), forked.len_of(1), together.len_of(1)), (7, 10, 7));
}

#[test]
fn a_masked_document_is_seen_as_if_alone() {
    let expected = Expected::read();
    let mut ids = expected.ids("input_ids")[..100].to_vec();
    ids.iter_mut().for_each(|id| *id = (*id).max(1));
    ids[59] = 0;
    let model = model();
    let packed = host(model.logits(&Tokens::new(ids.clone(), 100).within_documents(0)));
    let first = host(model.logits(&Tokens::new(ids[..60].to_vec(), 60)));
    let second = host(model.logits(&Tokens::new(ids[60..].to_vec(), 40)));
    assert_close("first document", &packed[..60 * 256], &first, 2e-5);
    // Rotary attention depends on distances only, so the second document need not start at position 0.
    assert_close("second document", &packed[60 * 256..], &second, 2e-4);
}

#[test]
fn training_follows_the_trace_of_pytorch() {
    // AdamW (0.9, 0.95), eps 1e-8, decay 0.1 on all but the embedding, learning rate 1e-3, clipping at 1.
    let expected = Expected::read();
    let (losses, norms) = (expected.floats("train_losses"), expected.floats("train_grad_norms"));
    let batches = expected.ids("train_batches");
    let mut trainer = Trainer::new(model(), AdamW::new(AdamWConfig::default()), Some(1.0));
    let close = |what: &str, step: usize, found: f64, wanted: f32| {
        let wanted = f64::from(wanted);
        assert!((found - wanted).abs() <= 3e-6 * wanted, "{what} at step {step}: {found}, PyTorch {wanted}");
    };
    for (step, ids) in batches.chunks(4 * 64).enumerate() {
        let batch = Batch::next_token(Tokens::new(ids.to_vec(), 64));
        let scale = LossScale { z_loss: 0.0, divisor: batch.n_targets() as f64 };
        let loss = trainer.model().loss(&batch, scale);
        close("loss", step, loss.read().value, losses[step]);
        trainer.accumulate(&loss.tensor());
        close("gradient norm", step, trainer.update(1e-3), norms[step]);
    }
    assert_eq!(trainer.optimizer().step_number(), losses.len() as u64);
}
