//! Traces a text back to what was trained on: its longest spans that stand in the corpus, and the documents they stand in
//! (Liu et al. 2025, OLMoTrace). Knows an index and a text; which training step saw a document is told elsewhere.

use super::show::Snippet;
use super::{Index, Unit};
use crate::analysis::words::for_each_folded;
use crate::error::DataError;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// How a text is traced.
#[derive(Clone, Copy, Debug)]
pub struct TraceParams {
    /// Symbols that a span has at least.
    pub shortest: usize,
    /// Spans that stand in the corpus more often are left out.
    pub most: u64,
    /// Spans kept, as a share of the symbols of the text: the least probable by the frequencies of their symbols.
    pub keep: f64,
    /// Documents shown of each span.
    pub documents: usize,
    /// Symbols shown on either side of a span.
    pub context: u64,
}

impl TraceParams {
    /// The published settings, with a shortest span that fits the unit.
    pub fn new(unit: Unit) -> TraceParams {
        let shortest = if unit == Unit::Bytes { 24 } else { 5 };
        TraceParams { shortest, most: u64::MAX, keep: 0.05, documents: 10, context: 80 }
    }
}

/// A stretch of the text that stands in the corpus and in no longer one that does.
#[derive(Clone, Debug, Serialize)]
pub struct TracedSpan {
    /// Its bytes in the text.
    pub bytes: Range<usize>,
    /// It.
    pub text: String,
    /// How many symbols it has.
    pub symbols: usize,
    /// How often it stands in the corpus.
    pub count: u64,
    /// Sum of log₂ of the frequencies of its symbols.
    pub log_probability: f64,
}

/// How much a document has to do with the text: its BM25 score against the highest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relevance {
    /// 0.7 of it or more.
    High,
    /// 0.5 of it or more.
    Medium,
    /// Less.
    Low,
}

/// Where a span stands in a document.
#[derive(Clone, Debug, Serialize)]
pub struct Occurrence {
    /// Number of the span in [`Trace::spans`].
    pub span: usize,
    /// Position of its first symbol in the index.
    pub position: u64,
    /// It with its surroundings.
    pub snippet: Snippet,
}

/// A document that holds spans of the text.
#[derive(Clone, Debug, Serialize)]
pub struct TracedDocument {
    /// Its number in the index.
    pub document: u64,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its file.
    pub file: String,
    /// Its line there.
    pub line: u64,
    /// Its licence, if its metadata tell.
    pub licence: Option<String>,
    /// BM25 of text and prompt against the snippets.
    pub score: f64,
    /// That score in bands.
    pub relevance: Relevance,
    /// The spans it holds.
    pub occurrences: Vec<Occurrence>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Symbols of the text.
    pub symbols: usize,
    /// The spans kept, the rarest first.
    pub spans: Vec<TracedSpan>,
    /// Bytes of the text that they cover, overlapping spans joined.
    pub stretches: Vec<Range<usize>>,
    /// Their documents, the most relevant first.
    pub documents: Vec<TracedDocument>,
}

/// Traces `text`; `prompt` takes part in the ranking of documents alone.
pub fn trace(index: &Index, text: &str, prompt: &str, params: TraceParams) -> Result<Trace, DataError> {
    let symbols = index.encode_each(text)?;
    let places = places(index, text, symbols.len())?;
    // A word that the corpus does not have ends every span: nothing equals it.
    let wanted: Vec<u32> = symbols.iter().map(|symbol| symbol.unwrap_or(u32::MAX)).collect();
    let reaches: Vec<usize> = (0..wanted.len())
        .into_par_iter()
        .map(|at| if begins_word(text, places[at].start) { at + index.longest_prefix(&wanted[at..]) } else { at })
        .collect();
    let mut spans: Vec<(Range<usize>, u64)> = Vec::new();
    let mut furthest = 0;
    for (at, reach) in reaches.into_iter().enumerate() {
        let reach = cut(text, &places, at..reach);
        if reach <= furthest || reach - at < params.shortest {
            continue;
        }
        furthest = reach;
        let count = index.count(&wanted[at..reach]);
        if count <= params.most {
            spans.push((at..reach, count));
        }
    }
    let total = index.meta().symbols.max(1) as f64;
    let mut frequencies: HashMap<u32, f64> = HashMap::new();
    let mut ranked: Vec<(f64, Range<usize>, u64)> = Vec::new();
    for (range, count) in spans {
        let mut sum = 0.0;
        for &symbol in &wanted[range.clone()] {
            sum += *frequencies.entry(symbol).or_insert_with(|| (index.count(&[symbol]).max(1) as f64 / total).log2());
        }
        ranked.push((sum, range, count));
    }
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.start.cmp(&b.1.start)));
    ranked.truncate(((wanted.len() as f64 * params.keep).ceil() as usize).max(1));
    let spans: Vec<TracedSpan> = ranked
        .iter()
        .map(|(sum, range, count)| {
            let bytes = places[range.start].start..places[range.end - 1].end;
            let text = text[bytes.clone()].to_owned();
            TracedSpan { bytes, text, symbols: range.len(), count: *count, log_probability: *sum }
        })
        .collect();
    let documents = documents(index, &wanted, &ranked, &format!("{prompt}\n{text}"), params)?;
    Ok(Trace { symbols: wanted.len(), stretches: joined(&spans), spans, documents })
}

/// The bytes of the text that each symbol stands for.
fn places(index: &Index, text: &str, count: usize) -> Result<Vec<Range<usize>>, DataError> {
    let places = match index.meta().unit {
        Unit::Bytes => (0..text.len()).map(|at| at..at + 1).collect(),
        Unit::Words | Unit::Folded => index.words_of(text),
        Unit::Tokens => {
            let mut at = 0;
            let mut places = Vec::new();
            for symbol in index.encode_each(text)?.into_iter().flatten() {
                let tokenizer = index.tokenizer.as_ref().expect("opened for tokens");
                let start = at;
                at += tokenizer.token_bytes(symbol - 1)?.len();
                places.push(start..at);
            }
            if at != text.len() {
                let message =
                    "the tokenizer changes texts before it encodes them, so spans cannot be told in the text".to_owned();
                return Err(DataError::Params(message));
            }
            places
        }
    };
    debug_assert_eq!(places.len(), count);
    // Tokens and bytes may end within a character; spans are cut at characters.
    Ok(places.into_iter().map(|place: Range<usize>| floor(text, place.start)..floor(text, place.end)).collect())
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn begins_word(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at(at);
    !(before.chars().next_back().is_some_and(is_word) && after.chars().next().is_some_and(is_word))
}

/// Where a span ends: behind the first sentence or line, and not within a word.
fn cut(text: &str, places: &[Range<usize>], span: Range<usize>) -> usize {
    let mut end = span.end;
    for at in span.start..span.end {
        // What stands between this symbol and the next belongs to this one.
        let stop = places.get(at + 1).map_or(text.len(), |next| next.start.max(places[at].end));
        let piece = &text[places[at].start..stop];
        let following = text[stop..].chars().next();
        let sentence = piece.trim_end().ends_with(['.', '!', '?'])
            && (piece.ends_with(char::is_whitespace) || following.is_none_or(char::is_whitespace));
        if sentence || piece.trim_start().contains('\n') {
            end = at + 1;
            break;
        }
    }
    while end > span.start && !begins_word(text, places[end - 1].end) {
        end -= 1;
    }
    end
}

fn joined(spans: &[TracedSpan]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = spans.iter().map(|span| span.bytes.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn documents(
    index: &Index,
    wanted: &[u32],
    spans: &[(f64, Range<usize>, u64)],
    query: &str,
    params: TraceParams,
) -> Result<Vec<TracedDocument>, DataError> {
    let mut found: BTreeMap<u64, Vec<Occurrence>> = BTreeMap::new();
    for (span, (_, range, _)) in spans.iter().enumerate() {
        let ranks = index.find(&wanted[range.clone()]);
        // Evenly spread where there are more than are shown.
        let step = (ranks.end - ranks.start).div_ceil(params.documents.max(1) as u64).max(1);
        for rank in ranks.step_by(step as usize) {
            let position = index.position(rank);
            let occurrences = found.entry(index.document_at(position)).or_default();
            if occurrences.iter().all(|occurrence| occurrence.span != span) {
                let snippet = index.snippet(position, range.len() as u64, params.context)?;
                occurrences.push(Occurrence { span, position, snippet });
            }
        }
    }
    let texts: Vec<Vec<String>> = found
        .values()
        .map(|occurrences| {
            let mut words = Vec::new();
            for Occurrence { snippet, .. } in occurrences {
                let text = [snippet.before.as_str(), &snippet.hit, &snippet.after].concat();
                for_each_folded(&text, &mut String::new(), |word| words.push(word.to_owned()));
            }
            words
        })
        .collect();
    let scores = bm25(query, &texts);
    let highest = scores.iter().copied().fold(0.0, f64::max);
    let mut documents = Vec::new();
    for ((document, occurrences), score) in found.into_iter().zip(scores) {
        let stored = index.stored(document)?;
        let relevance = match score / highest {
            share if share >= 0.7 => Relevance::High,
            share if share >= 0.5 => Relevance::Medium,
            _ => Relevance::Low,
        };
        let licence = stored.licence().map(str::to_owned);
        let super::Stored { id, source, file, line, .. } = stored;
        documents.push(TracedDocument { document, id, source, file, line, licence, score, relevance, occurrences });
    }
    documents.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
    Ok(documents)
}

/// BM25 (k₁ = 1.2, b = 0.75; Robertson and Zaragoza 2009) of each text for the distinct words of a query, with the texts as the
/// collection.
fn bm25(query: &str, texts: &[Vec<String>]) -> Vec<f64> {
    let mut terms = HashSet::new();
    for_each_folded(query, &mut String::new(), |word| {
        terms.insert(word.to_owned());
    });
    let mut terms: Vec<String> = terms.into_iter().collect();
    terms.sort();
    let n = texts.len() as f64;
    let average = texts.iter().map(Vec::len).sum::<usize>().max(1) as f64 / n.max(1.0);
    let counts: Vec<HashMap<&str, f64>> = texts
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            words.iter().for_each(|word| *counts.entry(word.as_str()).or_default() += 1.0);
            counts
        })
        .collect();
    let mut scores = vec![0.0; texts.len()];
    for term in &terms {
        let having = counts.iter().filter(|counts| counts.contains_key(term.as_str())).count() as f64;
        let idf = ((n - having + 0.5) / (having + 0.5) + 1.0).ln();
        for ((score, counts), words) in scores.iter_mut().zip(&counts).zip(texts) {
            let frequency = counts.get(term.as_str()).copied().unwrap_or(0.0);
            let length = 0.25 + 0.75 * words.len() as f64 / average;
            *score += idf * frequency * 2.2 / (frequency + 1.2 * length);
        }
    }
    scores
}
