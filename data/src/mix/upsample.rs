//! Takes good documents several times and bad ones not at all, so that a corpus gives the bytes that are wanted (Olmo 3, 2025).
//! Knows a score of each document; does not know where it comes from.
//!
//! Documents of a group (a topic) are ranked by score; `x` in [0, 1] is the share of bytes below a document. Below the cut nothing is
//! taken; above it a document is taken `f(x) = C · u^p · e^{λu}` times on average, `u = (x − cut) / (1 − cut)`. `C` follows from the bytes
//! wanted, `∫f = wanted / available`. Of all `p ≥ 0` the largest is taken for which the mean of `f` over the best bucket is at most
//! `most`: the curve favours quality as much as the limit allows. Every bucket gets the mean of `f` over it as its number of copies:
//! the whole part for every document of it, and one more for documents whose hash of (seed, id) is below the rest.

use super::write;
use crate::dedup::field;
use crate::document::raw::{Row, decode_all, for_each_lines};
use crate::document::{Document, Totals};
use crate::error::DataError;
use crate::hash::{choice, unit};
use crate::observe::Observer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How a corpus is taken by quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpsampleParams {
    /// Where the score is: a field (`metadata.quality`), or the key of an attribute whose first span has it.
    pub quality: String,
    /// The field whose values are ranked apart; without one all documents are.
    pub group_by: Option<String>,
    /// Bytes wanted of all groups together, each in proportion to what it has.
    pub target_bytes: u64,
    /// Share of the bytes, from below, that is left out: 0.4 to 0.5 for Olmo 3.
    pub cut: f64,
    /// Most copies of the best bucket, on average: 7 for Olmo 3.
    pub most: f64,
    /// Number of buckets: 20 for Olmo 3.
    pub buckets: usize,
    /// λ of the curve.
    pub lambda: f64,
    /// Decides which documents get one more copy.
    pub seed: u64,
}

/// The solved curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Exponent.
    pub p: f64,
    /// Mean copies of each bucket, worst first.
    pub copies: Vec<f64>,
}

/// What became of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpsampledGroup {
    /// What it holds.
    pub available: Totals,
    /// What was taken, repetitions counted.
    pub taken: Totals,
    /// What was taken of each bucket, worst first.
    pub buckets: Vec<Totals>,
}

/// Solves the curve for a ratio of wanted to available bytes.
///
/// Fails when even a flat curve would take the best bucket more often than `most`.
pub fn solve(ratio: f64, cut: f64, most: f64, buckets: usize, lambda: f64) -> Result<Curve, DataError> {
    let sound = (0.0..1.0).contains(&cut) && most > 0.0 && ratio > 0.0 && buckets > 0 && (0.0..=20.0).contains(&lambda);
    if !sound {
        let message = "the cut lies in [0, 1), bytes, copies and buckets are positive, and lambda lies between 0 and 20";
        return Err(DataError::Params(message.to_owned()));
    }
    let top = |p: f64| shape(p, cut, buckets, lambda).last().copied().unwrap_or(0.0) * ratio * buckets as f64;
    if top(0.0) > most * (1.0 + 1e-9) {
        let reach = most * ratio / top(0.0);
        return Err(DataError::Params(format!(
            "{ratio:.3} times the available bytes are wanted, but with cut {cut} and at most {most} copies only {reach:.3} times can be had; \
             lower the bytes or the cut, or allow more copies"
        )));
    }
    // The mean over the best bucket rises with p.
    let (mut low, mut high) = (0.0, 64.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if top(middle) <= most { low = middle } else { high = middle }
    }
    let copies = shape(low, cut, buckets, lambda).into_iter().map(|share| share * ratio * buckets as f64).collect();
    Ok(Curve { p: low, copies })
}

/// The share of the curve's integral in each bucket; they sum to 1.
fn shape(p: f64, cut: f64, buckets: usize, lambda: f64) -> Vec<f64> {
    const STEPS: usize = 200;
    let at = |x: f64| if x < cut { 0.0 } else { ((x - cut) / (1.0 - cut)).powf(p) * (lambda * (x - cut) / (1.0 - cut)).exp() };
    // Midpoint rule, within the part of a bucket above the cut.
    let part = |bucket: usize| {
        let (from, to) = ((bucket as f64 / buckets as f64).max(cut), (bucket + 1) as f64 / buckets as f64);
        let width = (to - from).max(0.0) / STEPS as f64;
        (0..STEPS).map(|i| at(from + (i as f64 + 0.5) * width) * width).sum::<f64>()
    };
    let parts: Vec<f64> = (0..buckets).map(part).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

struct Scored {
    group: u32,
    quality: f64,
    bytes: u64,
    luck: f64,
}

/// Writes the documents of `input` as often as their quality says; first copies first. Returns the groups and the curve.
pub fn upsample(
    input: &Path,
    output: &Path,
    params: &UpsampleParams,
    observer: &dyn Observer,
) -> Result<(BTreeMap<String, UpsampledGroup>, Curve), DataError> {
    let (scored, names) = read(input, params, observer)?;
    let all: u64 = scored.iter().map(|document| document.bytes).sum();
    let curve = solve(params.target_bytes as f64 / all.max(1) as f64, params.cut, params.most, params.buckets, params.lambda)?;
    let mut groups: Vec<UpsampledGroup> = names
        .iter()
        .map(|_| UpsampledGroup { buckets: vec![Totals::default(); params.buckets], ..UpsampledGroup::default() })
        .collect();
    for document in &scored {
        groups[document.group as usize].available += Totals { documents: 1, bytes: document.bytes };
    }
    let mut order: Vec<u32> = (0..scored.len() as u32).collect();
    order.par_sort_unstable_by(|&a, &b| {
        let (x, y) = (&scored[a as usize], &scored[b as usize]);
        x.group.cmp(&y.group).then(x.quality.total_cmp(&y.quality)).then(a.cmp(&b))
    });
    let mut copies = vec![0u32; scored.len()];
    let (mut group, mut below) = (u32::MAX, 0u64);
    for index in order {
        let document = &scored[index as usize];
        if document.group != group {
            (group, below) = (document.group, 0);
        }
        let into = &mut groups[group as usize];
        // The middle of a document decides its bucket.
        let x = (below as f64 + document.bytes as f64 / 2.0) / into.available.bytes.max(1) as f64;
        let bucket = ((x * params.buckets as f64) as usize).min(params.buckets - 1);
        below += document.bytes;
        let wanted = curve.copies[bucket];
        let taken = wanted.floor() as u32 + u32::from(document.luck < wanted.fract());
        copies[index as usize] = taken;
        let size = Totals { documents: u64::from(taken), bytes: u64::from(taken) * document.bytes };
        into.taken += size;
        into.buckets[bucket] += size;
    }
    write(&[input], output, &copies, observer)?;
    Ok((names.into_iter().zip(groups).collect(), curve))
}

fn read(input: &Path, params: &UpsampleParams, observer: &dyn Observer) -> Result<(Vec<Scored>, Vec<String>), DataError> {
    let mut scored = Vec::new();
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        let lines: Vec<(u64, &[u8])> = batch.lines().collect();
        let found: Vec<Result<(f64, String, f64), DataError>> = rows
            .par_iter()
            .zip(&lines)
            .map(|(row, (_, line))| {
                let missing = |what: &str| DataError::Document {
                    id: row.id.clone().into_owned(),
                    message: format!("it has no {what}; every document needs one to be ranked"),
                };
                let known = field(row, &params.quality).and_then(|value| value.parse().ok());
                let quality = known.or_else(|| attribute(line, &params.quality));
                let quality = quality.filter(|score: &f64| score.is_finite());
                let quality = quality.ok_or_else(|| missing(&format!("number `{}`", params.quality)))?;
                let group = match &params.group_by {
                    None => String::new(),
                    Some(path) => field(row, path).ok_or_else(|| missing(&format!("field `{path}`")))?.into_owned(),
                };
                let luck = unit(choice("upsample", params.seed, &[row.id.as_bytes()]));
                Ok((quality, group, luck))
            })
            .collect();
        for (row, found) in rows.iter().zip(found) {
            let (quality, group, luck) = found?;
            let next = numbers.len() as u32;
            let group = *numbers.entry(group).or_insert(next);
            scored.push(Scored { group, quality, bytes: row.text.len() as u64, luck });
        }
        Ok(())
    })?;
    let mut names = vec![String::new(); numbers.len()];
    numbers.into_iter().for_each(|(name, number)| names[number as usize] = name);
    Ok((scored, names))
}

/// The score of the first span of an attribute.
fn attribute(line: &[u8], key: &str) -> Option<f64> {
    let document: Document = serde_json::from_slice(line).ok()?;
    document.attributes.get(key)?.first().map(|span| span.score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documents, read as read_back, snapshot, threads, write as write_out};

    #[test]
    fn the_curve_gives_what_is_wanted_within_its_limits() {
        for (ratio, cut, most, lambda) in [(1.0, 0.4, 7.0, 0.0), (1.0, 0.5, 2.0, 0.0), (2.0, 0.4, 7.0, 1.5), (0.3, 0.0, 7.0, 0.0)]
        {
            let curve = solve(ratio, cut, most, 20, lambda).unwrap();
            let mean = curve.copies.iter().sum::<f64>() / 20.0;
            assert!((mean - ratio).abs() < 1e-6, "{mean} for {ratio}");
            let rises = curve.copies.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9);
            assert!(rises && curve.copies[19] <= most * (1.0 + 1e-6), "{curve:?}");
            assert!(curve.copies[..(cut * 20.0) as usize].iter().all(|copies| *copies == 0.0));
            assert!(curve.copies[19] > most * 0.999 || curve.p > 60.0, "the limit is used: {curve:?}");
        }
        let error = solve(4.0, 0.5, 7.0, 20, 0.0).unwrap_err().to_string();
        assert!(error.contains("only 3.500 times can be had"), "{error}");
    }

    fn corpus() -> Vec<Document> {
        let texts: Vec<String> = (0..400).map(|_| "x".repeat(10)).collect();
        let mut corpus = documents(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for (index, document) in corpus.iter_mut().enumerate() {
            document.metadata.insert("quality".into(), ((index * 37) % 400).into());
            document.metadata.insert("topic".into(), if index % 2 == 0 { "even" } else { "odd" }.into());
        }
        corpus
    }

    fn params() -> UpsampleParams {
        UpsampleParams {
            quality: "metadata.quality".into(),
            group_by: Some("metadata.topic".into()),
            target_bytes: 4000,
            cut: 0.5,
            most: 7.0,
            buckets: 20,
            lambda: 0.0,
            seed: 1,
        }
    }

    #[test]
    fn good_documents_come_often_and_bad_ones_not_at_all() {
        let input = write_out(&corpus());
        let run = |params: &UpsampleParams, count| {
            let output = tempfile::tempdir().unwrap();
            let report = threads(count, || upsample(input.path(), output.path(), params, &())).unwrap();
            (report, snapshot(output.path()), read_back(output.path()))
        };
        let ((groups, curve), files, found) = run(&params(), 1);
        assert_eq!(files, run(&params(), 4).1);
        assert_eq!(groups.keys().collect::<Vec<_>>(), ["even", "odd"]);
        let taken: u64 = groups.values().map(|group| group.taken.bytes).sum();
        assert!(taken.abs_diff(4000) < 400, "{taken}");
        let quality = |document: &Document| document.metadata["quality"].as_u64().unwrap();
        assert!(found.iter().all(|document| quality(document) >= 196), "the lower half is left out");
        let best = found.iter().filter(|document| quality(document) == 399).count() as f64;
        assert!((best - curve.copies[19]).abs() <= 1.0, "{best} copies, {curve:?}");
        assert_ne!(files, run(&UpsampleParams { seed: 2, ..params() }, 1).1);
    }

    #[test]
    fn every_document_needs_a_score() {
        let mut corpus = corpus();
        corpus[7].metadata.remove("quality");
        let (input, output) = (write_out(&corpus), tempfile::tempdir().unwrap());
        let error = upsample(input.path(), output.path(), &params(), &()).unwrap_err().to_string();
        assert!(error.starts_with("document `d7`: it has no number `metadata.quality`"), "{error}");
        for document in &mut corpus {
            document.attributes.insert("a__b__c".into(), vec![crate::document::Span { start: 0, end: 1, score: 0.5 }]);
        }
        let (input, by_attribute) = (write_out(&corpus), UpsampleParams { quality: "a__b__c".into(), cut: 0.0, ..params() });
        upsample(input.path(), output.path(), &by_attribute, &()).unwrap();
    }
}
