//! Mixes corpora so that groups of documents take given shares of the bytes.
//! Knows ids, groups and lengths; quality is decided before.
//!
//! The rule, in UTF-8 bytes of text. Shares are normalised to sum 1. A group of `available` bytes is to give
//! `wanted = share · target`; that is `⌊wanted / available⌋` whole copies of it, and for the remainder documents in the order of a
//! hash of (seed, group, id): they are taken until the next one would miss the remainder by more than leaving it out does, so a
//! group is off by at most half a document. A larger target takes a superset. Without a target, the mix is the largest one in which no group repeats more than
//! `max_repetition` allows. Groups without a share are left out.
//!
//! The output holds first all documents that are taken at least once, in the order of the input, then the second copies, and so on:
//! repetitions are far apart.

use crate::document::{DocumentWriter, Totals, read_documents};
use crate::error::DataError;
use crate::hash::choice;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

pub mod upsample;

/// What a mix is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixParams {
    /// The field whose value is the group: `source`, or a field of the metadata.
    pub group_by: String,
    /// Share of each group; any positive numbers, normalised to sum 1.
    pub ratios: BTreeMap<String, f64>,
    /// Bytes of text of the mix; `None` for as much as there is.
    pub target_bytes: Option<u64>,
    /// How often a group may be repeated to reach its share, at least 1 (Muennighoff et al. 2023 find up to 4 nearly harmless).
    pub max_repetition: f64,
    /// Groups that may repeat more or less often than that.
    #[serde(default)]
    pub max_repetition_of: BTreeMap<String, f64>,
    /// Greatest share of a group's own bytes that may be used, at most 1; the documents that come first in the order of the hash.
    /// With `max_repetition_of` this is OLMo-core's `SourceMixtureConfig` (`max_source_fraction`, `max_repetition_ratio`), and
    /// `ratios` are its `target_ratio`.
    #[serde(default)]
    pub max_fraction_of: BTreeMap<String, f64>,
    /// Decides which documents are taken.
    pub seed: u64,
}

impl MixParams {
    /// The largest mix of sources by these shares without repetition.
    pub fn new(ratios: BTreeMap<String, f64>, seed: u64) -> MixParams {
        MixParams {
            group_by: "source".to_owned(),
            ratios,
            target_bytes: None,
            max_repetition: 1.0,
            max_repetition_of: BTreeMap::new(),
            max_fraction_of: BTreeMap::new(),
            seed,
        }
    }

    fn repetition(&self, group: &str) -> f64 {
        self.max_repetition_of.get(group).copied().unwrap_or(self.max_repetition)
    }
}

/// What became of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// What the inputs hold.
    pub available: Totals,
    /// Bytes asked for: share times target.
    pub wanted_bytes: u64,
    /// What the mix holds, repetitions counted.
    pub taken: Totals,
}

/// What a mix became.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MixReport {
    /// Every group with a share.
    pub groups: BTreeMap<String, GroupReport>,
    /// Groups of the inputs that have no share and were left out (documents without the field under `""`).
    pub left_out: BTreeMap<String, Totals>,
}

/// One document of the inputs, as the plan sees it.
struct Candidate {
    /// Index among the ratios, if its group has a share.
    group: Option<u32>,
    bytes: u64,
    order: u64,
}

/// Mixes the documents of `inputs` into `output`.
///
/// Fails when a ratio is not positive and finite, names a group that is not there, or cannot be met within `max_repetition`.
pub fn mix(inputs: &[&Path], output: &Path, params: &MixParams, observer: &dyn Observer) -> Result<MixReport, DataError> {
    let shares = shares(params)?;
    let names: Vec<&String> = params.ratios.keys().collect();
    let mut report = MixReport::default();
    let mut available = vec![Totals::default(); names.len()];
    let mut candidates: Vec<Candidate> = Vec::new();
    for input in inputs {
        for batch in read_documents(input)? {
            check(observer)?;
            let batch = batch?;
            let groups: Vec<_> = batch
                .documents
                .par_iter()
                .map(|document| {
                    let group = document.group(&params.group_by).unwrap_or_default();
                    let order = choice("mix", params.seed, &[group.as_bytes(), document.id.as_bytes()]);
                    (group, order)
                })
                .collect();
            for (document, (group, order)) in batch.documents.iter().zip(groups) {
                let index = names.binary_search(&&group).ok();
                match index {
                    Some(index) => available[index].add(document),
                    None => report.left_out.entry(group).or_default().add(document),
                }
                candidates.push(Candidate { group: index.map(|index| index as u32), bytes: document.text.len() as u64, order });
            }
        }
    }
    for (index, name) in names.iter().enumerate() {
        if let Some(&fraction) = params.max_fraction_of.get(*name) {
            limit(&mut candidates, &mut available[index], index as u32, fraction);
        }
    }
    let wanted = wanted(params, &names, &shares, &available, &report.left_out)?;
    let copies = copies(&candidates, &available, &wanted);
    let mut taken = vec![Totals::default(); names.len()];
    for (candidate, &n) in candidates.iter().zip(&copies) {
        if let Some(group) = candidate.group {
            taken[group as usize] += Totals { documents: u64::from(n), bytes: u64::from(n) * candidate.bytes };
        }
    }
    drop(candidates);
    for (index, name) in names.iter().enumerate() {
        let group = GroupReport { available: available[index], wanted_bytes: wanted[index], taken: taken[index] };
        observer.metric(&format!("bytes/{name}"), group.taken.bytes as f64);
        report.groups.insert((*name).clone(), group);
    }
    write(inputs, output, &copies, observer)?;
    Ok(report)
}

fn shares(params: &MixParams) -> Result<Vec<f64>, DataError> {
    if params.ratios.is_empty() {
        return Err(DataError::Params("a mix needs at least one ratio".to_owned()));
    }
    if let Some((name, ratio)) = params.ratios.iter().find(|(_, ratio)| !(ratio.is_finite() && **ratio > 0.0)) {
        return Err(DataError::Params(format!("the ratio of `{name}` is {ratio}; ratios are positive numbers")));
    }
    if !(params.max_repetition >= 1.0 && params.max_repetition.is_finite()) {
        return Err(DataError::Params(format!("max_repetition is {}; it must be at least 1", params.max_repetition)));
    }
    let limits = [
        ("max_repetition_of", &params.max_repetition_of, 1.0..=f64::MAX),
        ("max_fraction_of", &params.max_fraction_of, 1e-12..=1.0),
    ];
    for (what, limits, range) in limits {
        if let Some((name, limit)) =
            limits.iter().find(|(name, limit)| !range.contains(*limit) || !params.ratios.contains_key(*name))
        {
            let rule = "names a group with a ratio, and repetitions are at least 1, fractions above 0 and at most 1";
            return Err(DataError::Params(format!("{what} is {limit} for `{name}`; it {rule}")));
        }
    }
    let sum: f64 = params.ratios.values().sum();
    Ok(params.ratios.values().map(|ratio| ratio / sum).collect())
}

/// Bytes each group is to give.
fn wanted(
    params: &MixParams,
    names: &[&String],
    shares: &[f64],
    available: &[Totals],
    left_out: &BTreeMap<String, Totals>,
) -> Result<Vec<u64>, DataError> {
    if let Some(index) = available.iter().position(|totals| totals.bytes == 0) {
        let mut present: Vec<&str> = left_out.keys().map(String::as_str).collect();
        present.extend(names.iter().zip(available).filter(|(_, totals)| totals.bytes > 0).map(|(name, _)| name.as_str()));
        present.sort_unstable();
        return Err(DataError::Params(format!(
            "no document has {} `{}`; the documents have {}",
            params.group_by,
            names[index],
            present.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        )));
    }
    let reach = |index: usize| available[index].bytes as f64 * params.repetition(names[index]) / shares[index];
    let most = (0..names.len()).map(reach).fold(f64::INFINITY, f64::min);
    let target = match params.target_bytes {
        None => most,
        Some(target) => {
            if let Some(index) = (0..names.len()).find(|&index| target as f64 > reach(index) * (1.0 + 1e-9)) {
                return Err(DataError::Params(format!(
                    "`{}` is to give {:.0} bytes but has {}, which max_repetition {} raises to {:.0}; \
                     lower the target to {most:.0} bytes, the ratio, or raise max_repetition",
                    names[index],
                    target as f64 * shares[index],
                    available[index].bytes,
                    params.repetition(names[index]),
                    available[index].bytes as f64 * params.repetition(names[index]),
                )));
            }
            target as f64
        }
    };
    Ok(shares.iter().map(|share| (share * target).round() as u64).collect())
}

/// Leaves a group the documents that come first, up to a fraction of its bytes, but at least one.
fn limit(candidates: &mut [Candidate], available: &mut Totals, group: u32, fraction: f64) {
    let most = (available.bytes as f64 * fraction) as u64;
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i].group == Some(group)).collect();
    order.sort_unstable_by_key(|&i| (candidates[i].order, i));
    let mut left = Totals::default();
    for i in order {
        if left.documents > 0 && left.bytes + candidates[i].bytes > most {
            candidates[i].group = None;
        } else {
            left += Totals { documents: 1, bytes: candidates[i].bytes };
        }
    }
    *available = left;
}

/// How often each document is taken.
fn copies(candidates: &[Candidate], available: &[Totals], wanted: &[u64]) -> Vec<u32> {
    let whole: Vec<u32> = wanted.iter().zip(available).map(|(wanted, totals)| (wanted / totals.bytes) as u32).collect();
    let mut remainder: Vec<u64> = wanted.iter().zip(available).map(|(wanted, totals)| wanted % totals.bytes).collect();
    let mut copies: Vec<u32> = candidates.iter().map(|c| c.group.map_or(0, |group| whole[group as usize])).collect();
    let mut order: Vec<u32> = (0..candidates.len() as u32).filter(|&i| candidates[i as usize].group.is_some()).collect();
    order.par_sort_unstable_by_key(|&i| (candidates[i as usize].order, i));
    for i in order {
        let candidate = &candidates[i as usize];
        let Some(group) = candidate.group else { continue };
        let left = &mut remainder[group as usize];
        if candidate.bytes <= *left {
            *left -= candidate.bytes;
            copies[i as usize] += 1;
        } else {
            // The document that crosses the line is the last one considered.
            copies[i as usize] += u32::from(candidate.bytes - *left < *left);
            *left = 0;
        }
    }
    copies
}

/// Writes first copies, then second copies, and so on.
fn write(inputs: &[&Path], output: &Path, copies: &[u32], observer: &dyn Observer) -> Result<(), DataError> {
    let mut writer = DocumentWriter::create(output)?;
    let most = copies.iter().copied().max().unwrap_or(0);
    let steps = u64::from(most) * inputs.len() as u64;
    for copy in 0..most {
        let mut index = 0;
        for (i, input) in inputs.iter().enumerate() {
            let mut reader = read_documents(input)?;
            while let Some(batch) = reader.next() {
                check(observer)?;
                let documents: Vec<_> = batch?
                    .documents
                    .into_iter()
                    .filter(|_| {
                        index += 1;
                        copies[index - 1] > copy
                    })
                    .collect();
                writer.write(&documents)?;
                let (done, total) = reader.position();
                let before = (u64::from(copy) * inputs.len() as u64 + i as u64) * total;
                observer.progress(before + done, Some(steps * total));
            }
        }
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::testing::{read, snapshot, threads, write};
    use proptest::prelude::*;

    fn corpus(prose: usize, code: usize) -> tempfile::TempDir {
        let mut documents = Vec::new();
        for i in 0..prose.max(code) {
            if i < prose {
                documents.push(Document::new(format!("p{i}"), "p".repeat(10), "prose"));
            }
            if i < code {
                documents.push(Document::new(format!("c{i}"), "c".repeat(20), "code"));
            }
        }
        documents.push(Document::new("x", "xx", "other"));
        write(&documents)
    }

    fn params(prose: f64, code: f64) -> MixParams {
        MixParams::new(BTreeMap::from([("prose".into(), prose), ("code".into(), code)]), 7)
    }

    fn ids(dir: &Path) -> Vec<String> {
        read(dir).into_iter().map(|document| document.id).collect()
    }

    #[test]
    fn the_largest_mix_without_repetition() {
        let (input, output) = (corpus(100, 100), tempfile::tempdir().unwrap());
        let report = mix(&[input.path()], output.path(), &params(3.0, 1.0), &()).unwrap();
        // 1000 bytes of prose are all there is, so code gives a third of that, to the nearest document.
        assert_eq!(report.groups["prose"].taken, Totals { documents: 100, bytes: 1000 });
        assert_eq!(report.groups["code"].taken, Totals { documents: 17, bytes: 340 });
        assert_eq!(report.left_out["other"], Totals { documents: 1, bytes: 2 });
        let ids = ids(output.path());
        assert_eq!(ids.len(), 117);
        let position = |id: &str| id[1..].parse::<usize>().unwrap();
        assert!(ids.iter().map(|id| position(id.as_str())).is_sorted(), "input order is kept");
    }

    #[test]
    fn repetition_is_whole_copies_and_a_remainder() {
        let (input, output) = (corpus(10, 100), tempfile::tempdir().unwrap());
        let mut params = params(1.0, 1.0);
        params.target_bytes = Some(500);
        let error = mix(&[input.path()], output.path(), &params, &()).unwrap_err().to_string();
        assert!(error.starts_with("`prose` is to give 250 bytes but has 100"), "{error}");
        params.max_repetition = 4.0;
        let report = mix(&[input.path()], output.path(), &params, &()).unwrap();
        assert_eq!(report.groups["prose"].taken, Totals { documents: 25, bytes: 250 });
        let ids = ids(output.path());
        let count = |id: &str| ids.iter().filter(|other| *other == id).count();
        assert!((0..10).all(|i| (2..=3).contains(&count(&format!("p{i}")))));
        let second = ids.iter().rposition(|id| id.starts_with('c')).unwrap();
        assert!(ids[second + 1..].iter().all(|id| id.starts_with('p')), "copies come after all first ones");
    }

    #[test]
    fn limits_of_single_groups_are_those_of_olmo_core() {
        let (input, output) = (corpus(100, 100), tempfile::tempdir().unwrap());
        let mut params = params(1.0, 1.0);
        params.max_fraction_of.insert("code".into(), 0.25);
        params.max_repetition_of.insert("code".into(), 2.0);
        let report = mix(&[input.path()], output.path(), &params, &()).unwrap();
        // A quarter of 2000 bytes of code is 500, twice; prose gives as many.
        assert_eq!(report.groups["code"].available, Totals { documents: 25, bytes: 500 });
        assert_eq!((report.groups["code"].taken.bytes, report.groups["prose"].taken.bytes), (1000, 1000));
        let ids = ids(output.path());
        let code: std::collections::BTreeSet<&String> = ids.iter().filter(|id| id.starts_with('c')).collect();
        assert_eq!(code.len(), 25);
        params.max_fraction_of.insert("code".into(), 1.5);
        assert!(
            mix(&[input.path()], output.path(), &params, &())
                .unwrap_err()
                .to_string()
                .contains("max_fraction_of is 1.5 for `code`")
        );
    }

    #[test]
    fn unknown_groups_are_named() {
        let (input, output) = (corpus(1, 1), tempfile::tempdir().unwrap());
        let params = MixParams::new(BTreeMap::from([("proze".into(), 1.0)]), 0);
        let error = mix(&[input.path()], output.path(), &params, &()).unwrap_err().to_string();
        assert_eq!(error, "no document has source `proze`; the documents have `code`, `other`, `prose`");
    }

    #[test]
    fn same_seed_same_bytes_other_seed_other_documents() {
        let input = corpus(50, 50);
        let run = |seed| {
            let output = tempfile::tempdir().unwrap();
            let params = MixParams { seed, target_bytes: Some(400), ..params(1.0, 1.0) };
            mix(&[input.path()], output.path(), &params, &()).unwrap();
            snapshot(output.path())
        };
        assert_eq!(threads(1, || run(1)), threads(4, || run(1)));
        assert_ne!(run(1), run(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn shares_are_met_to_half_a_document_and_targets_nest(prose in 1usize..40, code in 1usize..40, a in 1u32..9, b in 1u32..9, target in 20u64..200) {
            let input = corpus(prose, code);
            let mut params = MixParams { max_repetition: 1000.0, target_bytes: Some(target), ..params(a.into(), b.into()) };
            let mut before: BTreeMap<String, usize> = BTreeMap::new();
            for target in [target, target * 2] {
                params.target_bytes = Some(target);
                let output = tempfile::tempdir().unwrap();
                let report = mix(&[input.path()], output.path(), &params, &()).unwrap();
                for (name, half) in [("prose", 5), ("code", 10)] {
                    let group = report.groups[name];
                    prop_assert!(group.taken.bytes.abs_diff(group.wanted_bytes) <= half);
                }
                let mut counts = BTreeMap::new();
                for id in ids(output.path()) {
                    *counts.entry(id).or_insert(0) += 1;
                }
                prop_assert!(before.iter().all(|(id, n)| counts.get(id).is_some_and(|m| m >= n)));
                before = counts;
            }
        }
    }
}
