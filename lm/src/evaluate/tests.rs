//! Tests of measurements on a tiny model over single bytes, against sums taken by hand.

use data::problem::{Family, Level, Problem, ProblemMix, Split};

use super::choices::{ChoiceInstance, ChoiceMetric, ChoiceTask};
use super::perplexity::{ScoredDocument, Windows};
use super::*;
use crate::batch::Tokens;
use crate::generate::Sampling;
use crate::model::Model;
use crate::model::parameters::host;
use crate::reward::ByVerifier;
use crate::sft::tests::Bench;

/// `log p(ids[i] | ids[..i])` for `i >= 1`, from the plain logits.
fn log_probs(model: &Model, ids: &[u32]) -> Vec<f64> {
    let n = ids.len() - 1;
    let logits = host(model.logits(&Tokens::new(ids[..n].to_vec(), n)));
    let n_vocab = logits.len() / n;
    logits
        .chunks(n_vocab)
        .zip(&ids[1..])
        .map(|(row, &id)| {
            let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            f64::from(row[id as usize]) - total.ln()
        })
        .collect()
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(|b| u32::from(b) + 2).collect()
}

#[test]
fn choices_are_scored_as_by_hand() {
    let bench = Bench::new();
    let model = bench.checkpoint.model(&bench.device).unwrap();
    let instances: Vec<ChoiceInstance> = (0..5)
        .map(|i| ChoiceInstance {
            id: i.to_string(),
            context: "the context ".repeat(i + 1),
            choices: vec![" yes".to_string(), " perhaps not".to_string()],
            gold: i % 2,
        })
        .collect();
    let task = ChoiceTask { name: "toy".into(), primary: ChoiceMetric::AccPerByte, instances };
    let records = choices::score(&model, &bench.chat, &task.instances, 256).unwrap();
    for (instance, record) in task.instances.iter().zip(&records) {
        for (choice, score) in instance.choices.iter().zip(&record.choices) {
            let mut ids = vec![0];
            ids.extend(bytes(&instance.context));
            ids.extend(bytes(choice));
            let all = log_probs(&model, &ids);
            let wanted: f64 = all[all.len() - choice.len()..].iter().sum();
            assert!((score.sum_logprob - wanted).abs() < 1e-3, "{} {wanted}", score.sum_logprob);
            assert_eq!((score.n_tokens, score.n_bytes), (choice.len(), choice.len()));
        }
    }
    let result = TaskResult::choices(&task, records);
    assert_eq!(result.primary_estimate(), result.metrics["acc_per_byte"]);
}

#[test]
fn perplexity_is_the_sum_over_windows() {
    let bench = Bench::new();
    let model = bench.checkpoint.model(&bench.device).unwrap();
    let text = "a held-out document of some length";
    let document =
        |id: &str, source: &str| ScoredDocument { id: id.into(), source: source.into(), ids: bytes(text), n_bytes: text.len() };
    let documents = [document("1", "a"), document("2", "b")];
    let whole = perplexity::score(&model, &documents, 0, Windows { window: 64, stride: 64 });
    let mut ids = vec![0];
    ids.extend(bytes(text));
    let wanted: f64 = log_probs(&model, &ids).iter().sum();
    assert!((whole[0].sum_logprob - wanted).abs() < 1e-2, "{} {wanted}", whole[0].sum_logprob);
    let windowed = perplexity::score(&model, &documents, 0, Windows { window: 16, stride: 16 });
    let by_hand: f64 = log_probs(&model, &ids[..17]).iter().sum::<f64>()
        + log_probs(&model, &ids[16..33]).iter().sum::<f64>()
        + log_probs(&model, &ids[18..]).iter().rev().take(ids.len() - 33).sum::<f64>();
    assert!((windowed[1].sum_logprob - by_hand).abs() < 1e-2, "{} {by_hand}", windowed[1].sum_logprob);
    let result = TaskResult::perplexity("held_out", whole);
    assert_eq!(result.groups.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(result.metrics.keys().collect::<Vec<_>>(), ["bits_per_byte", "ce_loss"]);
}

#[test]
fn held_out_documents_are_read_back() {
    let bench = Bench::new();
    let dir = bench.dir("tokens");
    let mut writer = data::shard::TokenWriter::create(&dir, 258, 0, String::new()).unwrap();
    let texts = [("a", "first é"), ("b", "second"), ("a", "third"), ("a", "fourth")];
    for (source, text) in texts {
        let place = data::shard::DocumentPlace { id: text, src: "documents", loc: 1, bytes: text.len() as u64 };
        writer.write(source, &bytes(text), place).unwrap();
    }
    let meta = writer.finish().unwrap();
    let tokens = data::shard::TokenFiles::open(&dir).unwrap();
    let documents = perplexity::documents(&tokens, &bench.chat, None).unwrap();
    let read: Vec<(&str, usize)> = documents.iter().map(|d| (d.source.as_str(), d.n_bytes)).collect();
    assert_eq!(read, [("a", 8), ("a", 5), ("a", 6), ("b", 6)]);
    assert_eq!(documents[0].ids, bytes("first é"));
    assert_eq!(meta.totals().bytes, documents.iter().map(|d| d.n_bytes as u64).sum::<u64>());
    let few = perplexity::documents(&tokens, &bench.chat, Some(10)).unwrap();
    assert_eq!(few.iter().filter(|d| d.source == "a").count(), 2);
}

#[test]
fn results_on_disk_are_those_of_the_harness() {
    let bench = Bench::new();
    let model = bench.checkpoint.model(&bench.device).unwrap();
    let mix = ProblemMix { families: vec![Family::Parity, Family::Addition], level: Level::Easy };
    let problems = Problem::generate_distinct(&mix, Split::HeldOut, 1, 6);
    let records = answers::answer(&model, &bench.chat, &problems, &Sampling::greedy(4), &ByVerifier, 0).unwrap();
    assert_eq!(records.len(), problems.len());
    assert!(records.iter().all(|record| record.n_tokens <= 4));
    let result = TaskResult::answers("problems", records);
    let dir = bench.dir("results");
    write_results(&dir, "tiny", std::slice::from_ref(&result)).unwrap();
    let json: Value = serde_json::from_slice(&fs_err::read(dir.join("results.json")).unwrap()).unwrap();
    assert_eq!(json["results"]["problems"]["accuracy,none"], result.primary_estimate().value);
    assert_eq!(json["n-samples"]["problems/parity"]["effective"], result.groups["parity"].n);
    assert_eq!(json["higher_is_better"]["problems"]["n_tokens"], false);
    let samples = fs_err::read_to_string(dir.join("samples_problems.jsonl")).unwrap();
    assert_eq!(samples.lines().count(), problems.len());
    let first: answers::AnswerRecord = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    assert_eq!(first.id, problems[0].id);
}
