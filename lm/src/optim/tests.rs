//! What trains, what is frozen, what is skipped.

use super::rules::{Group, Trainable};
use super::*;
use crate::batch::{Batch, Tokens};
use crate::config::{Family, Sizes};
use crate::device;
use crate::kernels::LossScale;
use crate::random::Stream;

fn model() -> Model {
    let sizes = Sizes { n_layers: 2, hidden_size: 32, n_heads: 2, n_kv_heads: 2, intermediate_size: 48, vocab_size: 64 };
    Model::init(&Family::FlexOlmo.model(&sizes), 3, &device::cpu()).unwrap()
}

fn batch(seed: u64) -> Batch {
    let stream = Stream::new(seed, "ids");
    Batch::next_token(Tokens::new((0..64).map(|i| stream.below(i, 64) as u32).collect(), 16))
}

fn train(trainer: &mut Trainer, seed: u64) -> Updated {
    let batch = batch(seed);
    let loss = trainer.model().loss(&batch, LossScale::new(0.0, batch.n_targets() as f64));
    let value = loss.read().value;
    trainer.accumulate(&loss.tensor());
    trainer.step(Update { lr: 1e-2, max_grad_norm: Some(1.0), loss: value })
}

#[test]
fn only_the_chosen_rows_move() {
    let rules = Rules {
        trainable: vec![
            Trainable::nothing("*"),
            Trainable::rows("*.mlp.experts.*", 1..2),
            Trainable::rows("*.mlp.gate.weight", 1..2),
        ],
        ..Rules::default()
    };
    let before = model().weights();
    let mut trainer = Trainer::new(model(), AdamW::new(AdamWConfig::default()).with_rules(&rules, &model()).unwrap(), None);
    for seed in 0..3 {
        assert!(train(&mut trainer, seed).grad_norm > 0.0);
    }
    let state = trainer.optimizer_state();
    assert!(state.first.keys().all(|name| name.contains(".mlp.")), "{:?}", state.first.keys());
    let after = trainer.model().weights();
    for (name, old) in &before {
        let new = &after[name];
        let width: usize = old.shape[1..].iter().product();
        for row in 0..old.shape[0] {
            let range = row * width..(row + 1) * width;
            let moved = old.data[range.clone()] != new.data[range.clone()];
            assert_eq!(moved, name.contains(".mlp.") && row == 1, "{name} row {row}");
            if let Some(first) = state.first.get(name) {
                assert!(row == 1 || first.data[range].iter().all(|m| *m == 0.0), "{name} row {row}");
            }
        }
    }
    // Going on from the saved state gives the same bits.
    let weights = trainer.model().weights();
    let model = Model::from_weights(trainer.model().config(), weights, &device::cpu()).unwrap();
    let optimizer = AdamW::from_state(AdamWConfig::default(), state).with_rules(&rules, &model).unwrap();
    let mut resumed = Trainer::new(model, optimizer, None);
    assert_eq!(train(&mut trainer, 9), train(&mut resumed, 9));
    assert!(trainer.model().weights() == resumed.model().weights());
    assert_eq!(trainer.optimizer_state(), resumed.optimizer_state());
}

#[test]
fn a_group_has_its_own_rate_and_decay() {
    let groups = vec![
        Group { params: vec!["lm_head.weight".into()], lr_factor: Some(0.0), weight_decay: None },
        Group { params: vec!["model.norm.weight".into()], lr_factor: None, weight_decay: Some(0.0) },
    ];
    let rules = Rules { groups, ..Rules::default() };
    let after = |rules: &Rules| {
        let optimizer = AdamW::new(AdamWConfig::default()).with_rules(rules, &model()).unwrap();
        let mut trainer = Trainer::new(model(), optimizer, Some(1.0));
        train(&mut trainer, 0);
        trainer.model().weights()
    };
    let (with, without) = (after(&rules), after(&Rules::default()));
    assert_eq!(with["lm_head.weight"], model().weights()["lm_head.weight"]);
    // The first update moves by the rate; decay takes another 1e-2 * 0.1 of the value, 1.
    let difference = with["model.norm.weight"].data[0] - without["model.norm.weight"].data[0];
    assert!((difference - 1e-3).abs() < 1e-6, "{difference}");
    assert_eq!(with["model.embed_tokens.weight"], without["model.embed_tokens.weight"]);
    let decayed = after(&Rules { decay_embeddings: true, ..Rules::default() });
    assert_ne!(decayed["model.embed_tokens.weight"], without["model.embed_tokens.weight"]);
}

#[test]
fn a_spike_leaves_everything_as_it_was() {
    let config = SkipStepConfig { window: 16, min_history: 8, sigma: 6.0 };
    let mut trainer =
        Trainer::new(model(), AdamW::new(AdamWConfig::default()), Some(1.0)).with_skip_step(config, History::default());
    for seed in 0..10 {
        assert!(!train(&mut trainer, seed).skipped);
    }
    let (weights, state) = (trainer.model().weights(), trainer.optimizer_state());
    let batch = batch(11);
    // A thousandth of the divisor: loss and gradient are a thousand times as large.
    let loss = trainer.model().loss(&batch, LossScale::new(0.0, batch.n_targets() as f64 * 1e-3));
    let value = loss.read().value;
    trainer.accumulate(&loss.tensor());
    let spike = trainer.step(Update { lr: 1e-2, max_grad_norm: Some(1.0), loss: value });
    assert!(spike.skipped, "{spike:?}");
    assert!(trainer.model().weights() == weights);
    assert_eq!(trainer.optimizer_state(), state);
    assert_eq!(trainer.optimizer().step_number(), 10);
    assert!(!train(&mut trainer, 12).skipped);
    assert_eq!(trainer.optimizer().step_number(), 11);
}
