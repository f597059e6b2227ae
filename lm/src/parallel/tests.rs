//! Tests of replicas on one CPU: the trace of one device, and replicas that stay equal to the bit.

use super::*;
use crate::batch::Tokens;
use crate::config::{Family, ModelConfig, Sizes};
use crate::device;
use crate::model::recompute::Recompute;
use crate::optim::rules::Trainable;
use crate::random::Stream;

const CLIP: Option<f64> = Some(0.5);

fn origin() -> Origin {
    let config = ModelConfig::olmo2("pico").unwrap();
    Origin::new(Model::init(&config, 5, &device::cpu()).unwrap(), AdamWConfig::default())
}

fn batch(step: u64, n_sequences: usize) -> Batch {
    let stream = Stream::new(2, "parallel");
    let n = 24 * n_sequences as u64;
    Batch::next_token(Tokens::new((0..n).map(|i| stream.below(step * n + i, 90) as u32).collect(), 24))
}

struct Trace {
    steps: Vec<(Measured, Updated)>,
    /// Of every replica.
    weights: Vec<NamedArrays>,
}

fn trace(origin: &Origin, n_replicas: usize, n_sequences: usize, passes: &Passes) -> Trace {
    let mut replicas = Replicas::new(origin, &vec![device::cpu(); n_replicas]).unwrap();
    let steps = (0..6).map(|step| replicas.step(&batch(step, n_sequences), passes, 1e-2, CLIP).unwrap()).collect();
    let weights = replicas.into_trainers().unwrap().iter().map(|trainer| trainer.model().weights()).collect();
    Trace { steps, weights }
}

/// Compares two traces within what another order of the additions does, and the replicas with each other.
fn assert_same(found: &Trace, one: &Trace) {
    for ((found, found_update), (one, one_update)) in found.steps.iter().zip(&one.steps) {
        assert!((found.cross_entropy - one.cross_entropy).abs() < 1e-5, "{found:?} {one:?}");
        assert!((found.squared_lse - one.squared_lse).abs() < 1e-4, "{found:?} {one:?}");
        assert_eq!(found.routers.len(), one.routers.len());
        for (found, one) in found.routers.iter().zip(&one.routers) {
            assert!((found.load_balancing - one.load_balancing).abs() < 1e-4, "{found:?} {one:?}");
        }
        let (found, one) = (found_update, one_update);
        assert!((found.grad_norm - one.grad_norm).abs() < 1e-4 * one.grad_norm, "{found:?} {one:?}");
        assert_eq!(found.skipped, one.skipped);
    }
    assert!(found.weights.iter().all(|other| *other == found.weights[0]));
}

#[test]
fn replicas_have_the_trace_of_one_device_and_stay_equal() {
    let passes = Passes::new(2, 1e-4);
    let one = trace(&origin(), 1, 8, &passes);
    for n_replicas in [2, 4] {
        assert_same(&trace(&origin(), n_replicas, 8, &passes), &one);
    }
    assert!(one.steps[5].0.cross_entropy < one.steps[0].0.cross_entropy);
}

#[test]
fn experts_recomputation_and_frozen_rows() {
    let sizes = Sizes { n_layers: 2, hidden_size: 32, n_heads: 2, n_kv_heads: 2, intermediate_size: 32, vocab_size: 96 };
    let config = Family::Olmoe.model(&sizes);
    let mut origin = Origin::new(Model::init(&config, 5, &device::cpu()).unwrap(), AdamWConfig::default());
    origin.rules.trainable =
        vec![Trainable::nothing("model.embed_tokens.weight"), Trainable::rows("*.mlp.experts.up_proj.weight", 1..3)];
    let before = origin.model.weights();
    let plain = Passes { load_balancing: 0.1, router_z_loss: 0.01, ..Passes::new(2, 1e-4) };
    let one = trace(&origin, 1, 8, &plain);
    for recompute in [Recompute::None, Recompute::Blocks] {
        let found = trace(&origin, 2, 8, &Passes { recompute, ..plain });
        assert_same(&found, &one);
        let after = &found.weights[1];
        assert!(after["model.embed_tokens.weight"] == before["model.embed_tokens.weight"]);
        let name = "model.layers.0.mlp.experts.up_proj.weight";
        let row = before[name].data.len() / before[name].shape[0];
        assert_eq!(after[name].data[..row], before[name].data[..row]);
        assert_ne!(after[name].data[row..2 * row], before[name].data[row..2 * row]);
    }
}

#[test]
fn steps_are_left_out_together() {
    let mut origin = origin();
    let config = SkipStepConfig { window: 4, min_history: 3, sigma: -2.0 };
    origin.skip_step = Some((config, History::default()));
    let passes = Passes::new(2, 1e-4);
    let (one, two) = (trace(&origin, 1, 8, &passes), trace(&origin, 2, 8, &passes));
    assert_same(&two, &one);
    let mut learner = Learner::new(origin, &[device::cpu()]).unwrap();
    for (step, (_, updated)) in one.steps.iter().enumerate() {
        assert_eq!(*updated, learner.step(&batch(step as u64, 8), &passes, 1e-2, CLIP).unwrap().1);
    }
    assert!(one.steps.iter().any(|step| step.1.skipped) && one.steps.iter().any(|step| !step.1.skipped));
}

#[test]
fn one_replica_is_plain_training() {
    let Origin { model, optimizer, .. } = origin();
    let mut trainer = Trainer::new(model, AdamW::new(optimizer), CLIP);
    let passes = Passes::new(2, 1e-4);
    let found = trace(&origin(), 1, 8, &passes);
    for (step, (measured, updated)) in found.steps.iter().enumerate() {
        assert_eq!(*measured, trainer.differentiate(&batch(step as u64, 8), &passes));
        assert_eq!(updated.grad_norm, trainer.update(1e-2));
    }
    assert_eq!(found.weights[0], trainer.model().weights());
}

#[test]
fn a_replica_without_work_still_updates() {
    // Three passes for four replicas.
    let passes = Passes::new(2, 1e-4);
    assert_same(&trace(&origin(), 4, 6, &passes), &trace(&origin(), 1, 6, &passes));
}

#[test]
fn zeros_stand_in_for_the_gradients_of_a_replica_without_work() {
    let mut origin = origin();
    origin.rules.trainable = vec![Trainable::rows("lm_head.weight", 1..3)];
    let Learner::One(mut trainer) = Learner::new(origin, &[device::cpu()]).unwrap() else { unreachable!("one device") };
    let d = trainer.model().config().hidden_size;
    trainer.zero_missing_gradients(&["lm_head.weight", "model.norm.weight"].map(String::from).into());
    let host = trainer.gradients_mut().host();
    assert_eq!(host["lm_head.weight"], vec![0.0; 2 * d]);
    assert_eq!(host["model.norm.weight"], vec![0.0; d]);
}

#[test]
fn no_device_is_an_error() {
    assert!(matches!(Replicas::new(&origin(), &[]), Err(ParallelError::NoDevice)));
}
