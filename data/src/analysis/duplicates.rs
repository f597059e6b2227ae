//! Documents and addresses that a corpus holds more than once, exactly, for corpora of any size.
//! Knows contents by 128 bits of BLAKE3, sorted on disk beyond the budget; the texts of the largest clusters are read again at the end.

use super::records::{Fields, Record, for_each_piece};
use super::spill::Sorter;
use super::table::{Cell, Plot, Table};
use crate::error::DataError;
use crate::hash::content;
use crate::observe::Observer;
use std::collections::BTreeMap;
use std::path::Path;

/// Clusters whose texts are shown.
const CLUSTERS: usize = 30;
/// Characters of a text that are shown.
const SHOWN_CHARS: usize = 2000;

/// Content and number of a document, in the order of the content's bytes.
pub(crate) type Entry = [u8; 24];

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Whole texts.
    Text,
    /// Addresses in the metadata.
    Url,
}

/// The entry of a document; none if it has no address to compare.
pub(crate) fn entry(record: &Record<'_>, compared: Compared, field: &str) -> Option<Entry> {
    let hash = match compared {
        Compared::Text => content(record.document.text.as_bytes()),
        Compared::Url => content(record.document.metadata.get(field)?.as_str()?.as_bytes()),
    };
    let mut entry = [0; 24];
    entry[..16].copy_from_slice(&hash.to_be_bytes());
    entry[16..].copy_from_slice(&record.ordinal.to_be_bytes());
    Some(entry)
}

/// Copies of one content: how many, and which document is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cluster {
    fewer: std::cmp::Reverse<u64>,
    first: u64,
}

/// The table of clusters, and a row of totals.
pub(crate) fn clusters(
    entries: Sorter<24>,
    compared: Compared,
    field: &str,
    inputs: &[&Path],
    observer: &dyn Observer,
) -> Result<Vec<Table>, DataError> {
    let (mut total, mut unique, mut clusters, mut copies) = (0u64, 0u64, 0u64, 0u64);
    let mut largest: Vec<Cluster> = Vec::new();
    let mut close = |size: u64, first: u64| {
        unique += 1;
        if size > 1 {
            clusters += 1;
            copies += size;
            largest.push(Cluster { fewer: std::cmp::Reverse(size), first });
            if largest.len() >= 4 * CLUSTERS {
                largest.sort_unstable();
                largest.truncate(CLUSTERS);
            }
        }
    };
    let mut open: Option<([u8; 16], u64, u64)> = None;
    entries.for_each(|entry| {
        total += 1;
        let content: [u8; 16] = entry[..16].try_into().expect("sixteen bytes");
        match &mut open {
            Some((last, size, _)) if *last == content => *size += 1,
            _ => {
                if let Some((_, size, first)) = open {
                    close(size, first);
                }
                open = Some((content, 1, u64::from_be_bytes(entry[16..].try_into().expect("eight bytes"))));
            }
        }
        Ok(())
    })?;
    if let Some((_, size, first)) = open {
        close(size, first);
    }
    largest.sort_unstable();
    largest.truncate(CLUSTERS);
    let shown = texts(&largest, compared, field, inputs, observer)?;
    let (name, title, what) = match compared {
        Compared::Text => ("duplicates_text", "Duplicate documents", "text"),
        Compared::Url => ("duplicates_url", "Duplicate addresses", "url"),
    };
    let counts: [(&str, u64); 4] =
        [("duplicates", copies), ("total", total), ("uniq_duplicates", clusters), ("uniq_total", unique)];
    let rows = largest.iter().map(|cluster| {
        let (place, text) = shown.get(&cluster.first).cloned().unwrap_or_default();
        vec![Cell::Count(cluster.fewer.0), place.into(), text.into()]
    });
    Ok(vec![
        Table::new(name, title, &["statistic", "count"])
            .note("`duplicates` are all copies of what stands there more than once, `uniq_duplicates` the different contents among them.")
            .plot(Plot::Bars { label: 0, value: 1 })
            .rows(counts.map(|(name, count)| vec![name.into(), count.into()])),
        Table::new(&format!("{name}_clusters"), &format!("{title}: the largest clusters"), &["count", "first", what])
            .note(format!("The {CLUSTERS} largest, with the place of the first copy and up to {SHOWN_CHARS} characters."))
            .rows(rows),
    ])
}

/// Places and beginnings of the first documents of clusters.
fn texts(
    clusters: &[Cluster],
    compared: Compared,
    field: &str,
    inputs: &[&Path],
    observer: &dyn Observer,
) -> Result<BTreeMap<u64, (String, String)>, DataError> {
    let mut found = BTreeMap::new();
    if clusters.is_empty() {
        return Ok(found);
    }
    let wanted: std::collections::BTreeSet<u64> = clusters.iter().map(|cluster| cluster.first).collect();
    let fields = if compared == Compared::Text { Fields::Text } else { Fields::All };
    for_each_piece(
        inputs,
        fields,
        observer,
        Vec::new,
        |made: &mut Vec<(u64, (String, String))>, record| {
            if wanted.contains(&record.ordinal) {
                let text = match compared {
                    Compared::Text => record.document.text.as_str(),
                    Compared::Url => record.document.metadata.get(field).and_then(|url| url.as_str()).unwrap_or_default(),
                };
                made.push((record.ordinal, (record.place(), text.chars().take(SHOWN_CHARS).collect())));
            }
        },
        |pieces| {
            found.extend(pieces.into_iter().flatten());
            Ok(())
        },
    )?;
    Ok(found)
}
