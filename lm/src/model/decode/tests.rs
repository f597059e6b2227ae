//! Decoding against the full forward pass and against itself: every family, every position, every way to cut a text.

use super::*;
use crate::batch::Tokens;
use crate::config::{Attention, Family, Sizes};
use crate::model::parameters::host;

const VOCAB: usize = 96;

/// A small model of every family, with windows of 20 and grouped heads where the family has them.
fn models() -> Vec<Model> {
    let sizes = Sizes { n_layers: 4, hidden_size: 48, n_heads: 4, n_kv_heads: 2, intermediate_size: 40, vocab_size: VOCAB };
    let mut configs: Vec<ModelConfig> = Family::ALL
        .into_iter()
        .map(|family| {
            let config = family.model(&sizes);
            config.map_attention(|attention| Attention { window: attention.window.map(|_| 20), ..attention })
        })
        .collect();
    configs.push(Family::Olmo3.model(&sizes).with_yarn(4.0));
    configs.push(ModelConfig { tie_word_embeddings: true, ..Family::Olmo2.model(&sizes) });
    configs.push(Family::Olmo.model(&sizes).map_attention(|a| Attention { clip_qkv: Some(0.05), rope: None, ..a }));
    configs.iter().map(|config| Model::init(config, 5, &crate::device::cpu()).unwrap()).collect()
}

fn ids(n: usize, seed: u64) -> Vec<u32> {
    let stream = crate::random::Stream::new(seed, "ids");
    (0..n).map(|i| stream.below(i as u64, VOCAB) as u32).collect()
}

fn assert_close(what: &str, found: &[f32], wanted: &[f32]) {
    let largest = wanted.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + largest), "{what}[{i}]: {a}, full forward {b}");
    }
    assert_eq!(found.len(), wanted.len(), "{what}");
}

#[test]
fn every_position_has_the_logits_of_the_full_forward() {
    // Longer than a window, a page, a block of rows and a chunk of the delta rule.
    let ids = ids(170, 1);
    for model in models() {
        let family = model.config().family;
        let wanted = host(model.logits(&Tokens::new(ids.clone(), ids.len())));
        let decoder = Decoder::new(&model);
        let mut cache = decoder.cache(1);
        for (position, id) in ids.iter().enumerate() {
            let logits = decoder.advance(&mut cache, &[&[*id]]).remove(0);
            assert_close(&format!("{family:?} position {position}"), &logits, &wanted[position * VOCAB..(position + 1) * VOCAB]);
        }
        assert_eq!(cache.len_of(0), ids.len());
    }
}

#[test]
fn bits_do_not_depend_on_the_cut_the_batch_or_the_threads() {
    for model in models() {
        let decoder = Decoder::new(&model);
        let texts: Vec<Vec<u32>> = (0..16).map(|i| ids(150 + 3 * i, i as u64)).collect();
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .map(|text| {
                let mut sequence = decoder.sequence();
                let step = |id: &u32| decoder.feed(&Crew::alone(), &mut [&mut sequence], &[&[*id]]);
                text.iter().map(step).last().unwrap()
            })
            .collect();
        // All at once, in blocks that cut through the texts.
        let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        assert_eq!(decoder.advance(&mut decoder.cache(16), &slices), alone, "{:?}", model.config().family);
        // The last tokens one by one, sixteen sequences side by side.
        for helpers in [0, 1] {
            let mut cache = decoder.cache(16);
            let mut last = Vec::new();
            let starts: Vec<&[u32]> = texts.iter().map(|text| &text[..text.len() - 5]).collect();
            decoder.advance(&mut cache, &starts);
            let mut sequences: Vec<&mut Sequence> = cache.sequences.iter_mut().collect();
            Crew::with(helpers, |crew| {
                for back in (1..=5).rev() {
                    let next: Vec<&[u32]> = texts.iter().map(|text| &text[text.len() - back..][..1]).collect();
                    last = decoder.feed(crew, &mut sequences, &next);
                }
            });
            assert_eq!(last, alone.concat(), "{:?}", model.config().family);
        }
    }
}

#[test]
fn copies_go_their_own_ways() {
    let prompt = ids(45, 1);
    for model in models() {
        let decoder = Decoder::new(&model);
        let mut prefix = decoder.cache(1);
        decoder.advance(&mut prefix, &[&prompt]);
        let mut forked = prefix.fork(0, 3);
        let tails = [ids(40, 7), ids(40, 8), ids(40, 9)];
        let slices: Vec<&[u32]> = tails.iter().map(Vec::as_slice).collect();
        let found = decoder.advance(&mut forked, &slices);
        for (tail, found) in tails.iter().zip(found) {
            let whole = [prompt.as_slice(), tail].concat();
            assert_eq!(found, decoder.advance(&mut decoder.cache(1), &[&whole]).remove(0));
        }
        // The prefix is as it was.
        let again = decoder.advance(&mut prefix, &[&tails[1]]).remove(0);
        assert_eq!(again, decoder.advance(&mut decoder.cache(1), &[&[prompt.as_slice(), &tails[1]].concat()]).remove(0));
    }
}

#[test]
fn truncation_works_or_says_what_was_forgotten() {
    let text = ids(70, 1);
    for model in models() {
        let config = model.config();
        let decoder = Decoder::new(&model);
        let mut cache = decoder.cache(1);
        decoder.advance(&mut cache, &[&text[..60]]);
        decoder.advance(&mut cache, &[&text[60..]]);
        let windowed = config.layers.iter().any(|layer| layer.attention().is_some_and(|a| a.window == Some(20)));
        let recurrent = config.layers.iter().any(|layer| layer.attention().is_none());
        let result = cache.truncate(0, 10);
        assert_eq!(result.is_err(), windowed || recurrent, "{:?}", config.family);
        let length = if result.is_ok() { 10 } else { 70 };
        assert_eq!(cache.len_of(0), length);
        let found = decoder.advance(&mut cache, &[&text[20..30]]).remove(0);
        let whole = [&text[..length], &text[20..30]].concat();
        assert_eq!(found, decoder.advance(&mut decoder.cache(1), &[&whole]).remove(0));
    }
}

#[test]
fn weights_make_the_same_decoder_as_a_model() {
    for model in models() {
        let text = ids(20, 3);
        let from_weights = Decoder::from_weights(model.config(), model.weights()).unwrap();
        let decoder = Decoder::new(&model);
        let read = |decoder: &Decoder| decoder.advance(&mut decoder.cache(1), &[&text]);
        assert_eq!(read(&from_weights), read(&decoder));
        let mut weights = model.weights();
        weights.pop_last();
        assert!(Decoder::from_weights(model.config(), weights).is_err());
    }
}
