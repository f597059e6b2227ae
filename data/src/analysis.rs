//! What is in a corpus: the analyses of What's In My Big Data? (Elazar et al. 2024), exact, in bounded memory.
//! Knows documents; draws no page.
//!
//! [`analyze`] reads the corpus once for all analyses asked for that look at one document at a time, and for the words that n-grams
//! are counted over. [`compare`] sets several corpora side by side. Each gives tables: `analysis.json` and one `<name>.jsonl` a table.
//! Held in memory: an entry for every distinct word, host, suffix and so on; word sequences and hashes beyond the budget are on disk.

mod compare;
mod contamination;
mod countries;
mod dates;
mod duplicates;
mod lexicon;
mod ngrams;
mod people;
mod personal;
pub(crate) mod records;
pub(crate) mod sequence;
mod signals;
mod sites;
mod spill;
mod summary;
mod table;
mod tally;
pub(crate) mod vocabulary;
pub(crate) mod words;

use crate::error::DataError;
use crate::observe::Observer;
use duplicates::{Compared, Entry, clusters, entry};
use ngrams::Question;
use rayon::prelude::*;
use records::{Fields, Record, for_each_piece};
use sequence::{BETWEEN, Sequence, SequenceWriter};
use sites::{SiteTables, Sites};
use spill::Sorter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tally::Tally;
use vocabulary::{Lookup, NEW, Vocabulary};

pub use compare::{CompareParams, compare};
pub use contamination::Benchmark;
pub use table::{ANALYSIS, Analysis, Cell, Plot, Table};

/// The analyses by name, in the order of pages.
pub const ANALYSES: &[&str] = &[
    "summary",
    "domains",
    "schemes",
    "suffixes",
    "extensions",
    "dates",
    "geolocation",
    "common_ngrams",
    "rare_ngrams",
    "duplicates",
    "lengths",
    "language",
    "quality",
    "toxicity",
    "pii",
    "contamination",
    "demographics",
];

/// What is analysed, and how.
#[derive(Clone, Debug)]
pub struct AnalysisParams {
    /// Names of [`ANALYSES`].
    pub analyses: Vec<String>,
    /// Lengths of n-grams.
    pub ngrams: Vec<usize>,
    /// Rows of lists that could be endless: n-grams, hosts and so on.
    pub rows: usize,
    /// Metadata field with the address of a document.
    pub url_field: String,
    /// Table of countries for `geolocation`; see its documentation for the format.
    pub countries: Option<PathBuf>,
    /// The tagger of `language`, by name or group; it runs on documents without its attributes.
    pub language_tagger: String,
    /// Attributes of `quality` contain one of these; all with one score for a document where it is empty.
    pub quality: Vec<String>,
    /// Attributes that say how toxic a span is contain one of these.
    pub toxic_attributes: Vec<String>,
    /// From this score on a span is toxic.
    pub toxic_threshold: f64,
    /// Toxic terms, lines `term,category`.
    pub toxic_lexicon: Option<PathBuf>,
    /// Terms of `demographics`, lines `term,group`, in place of the short list of this program.
    pub people: Option<PathBuf>,
    /// Polar words of `demographics`, lines `word,polarity` from -1 to 1, in place of the short list of this program.
    pub sentiment: Option<PathBuf>,
    /// What `contamination` looks for.
    pub benchmarks: Vec<Benchmark>,
    /// Fields of an instance of a benchmark; all strings but `id` where it is empty.
    pub benchmark_fields: Vec<String>,
    /// Bytes that tables of n-grams, word sequences and hashes may take, each.
    pub memory: usize,
}

impl AnalysisParams {
    /// The given analyses with WIMBD's n-grams, 10,000 rows and 1 GiB.
    pub fn new(analyses: &[&str]) -> AnalysisParams {
        AnalysisParams {
            analyses: analyses.iter().map(|&name| name.to_owned()).collect(),
            ngrams: vec![1, 2, 3, 5, 10, 100],
            rows: 10_000,
            url_field: "url".to_owned(),
            countries: None,
            language_tagger: "language".to_owned(),
            quality: Vec::new(),
            toxic_attributes: Vec::new(),
            toxic_threshold: 0.5,
            toxic_lexicon: None,
            people: None,
            sentiment: None,
            benchmarks: Vec::new(),
            benchmark_fields: Vec::new(),
            memory: 1 << 30,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.analyses.iter().any(|wanted| wanted == name)
    }

    /// Fails, telling what there is, when a name or length cannot be used.
    pub fn check(&self) -> Result<(), DataError> {
        if let Some(unknown) = self.analyses.iter().find(|name| !ANALYSES.contains(&name.as_str())) {
            return Err(DataError::Params(format!("there is no analysis `{unknown}`; there are {}", ANALYSES.join(", "))));
        }
        if self.analyses.is_empty() {
            return Err(DataError::Params(format!("no analysis is asked for; there are {}", ANALYSES.join(", "))));
        }
        if self.ngrams.contains(&0) {
            return Err(DataError::Params("an n-gram has one word at least".to_owned()));
        }
        let missing = [
            (
                "geolocation",
                self.countries.is_none(),
                "a table of countries: lines `first,last,country`, `network/bits,country` or `host,country`",
            ),
            (
                "toxicity",
                self.toxic_attributes.is_empty() && self.toxic_lexicon.is_none(),
                "a lexicon of lines `term,category`, or the names of attributes that a classifier made",
            ),
            ("contamination", self.benchmarks.is_empty(), "benchmarks"),
        ];
        if let Some((name, _, what)) = missing.iter().find(|(name, missing, _)| self.wants(name) && *missing) {
            return Err(DataError::Params(format!("`{name}` needs {what}")));
        }
        Ok(())
    }
}

tally::tallies! {
    /// All analyses of single documents.
    struct Tallies {
        summary: summary::Summary,
        sites: Sites,
        dates: dates::Dates,
        lengths: summary::Lengths,
        language: signals::Languages,
        quality: signals::Scores,
        classified: signals::Classified,
        terms: lexicon::Terms,
        personal: personal::Personal,
        contamination: contamination::Contamination,
        people: people::People,
    }
}

impl Tallies {
    fn new(params: &AnalysisParams) -> Result<Tallies, DataError> {
        let wants = |name| params.wants(name);
        let site_tables = SiteTables {
            domains: wants("domains"),
            schemes: wants("schemes"),
            suffixes: wants("suffixes"),
            extensions: wants("extensions"),
            geolocation: wants("geolocation"),
        };
        let SiteTables { domains, schemes, suffixes, extensions, geolocation } = site_tables;
        let countries = match &params.countries {
            Some(path) if geolocation => Some(Arc::new(countries::Countries::read(path)?)),
            _ => None,
        };
        let sites = domains || schemes || suffixes || extensions || geolocation;
        Ok(Tallies {
            summary: wants("summary").then(summary::Summary::default),
            sites: sites.then(|| Sites::new(&params.url_field, site_tables, countries)),
            dates: wants("dates").then(dates::Dates::default),
            lengths: wants("lengths").then(summary::Lengths::default),
            language: wants("language").then(|| signals::Languages::new(&params.language_tagger)).transpose()?,
            quality: wants("quality").then(|| signals::Scores::new(&params.quality)),
            classified: (wants("toxicity") && !params.toxic_attributes.is_empty())
                .then(|| signals::Classified::new(&params.toxic_attributes, params.toxic_threshold)),
            terms: lexicon(params.toxic_lexicon.as_deref().filter(|_| wants("toxicity")))?.map(lexicon::Terms::new),
            personal: wants("pii").then(personal::Personal::default),
            contamination: wants("contamination")
                .then(|| contamination::Phrases::read(&params.benchmarks, &params.benchmark_fields))
                .transpose()?
                .map(|phrases| contamination::Contamination::new(Arc::new(phrases))),
            people: match wants("demographics") {
                true => {
                    let terms = lexicon(params.people.as_deref())?.unwrap_or_else(|| Arc::new(people::terms()));
                    let sentiment = params.sentiment.as_deref().map(people::Sentiment::read).transpose()?.unwrap_or_default();
                    Some(people::People::new(terms, Arc::new(sentiment)))
                }
                false => None,
            },
        })
    }
}

fn lexicon(path: Option<&Path>) -> Result<Option<Arc<lexicon::Lexicon>>, DataError> {
    Ok(path.map(lexicon::Lexicon::read).transpose()?.map(Arc::new))
}

/// What is made of consecutive documents.
struct Piece {
    tallies: Tallies,
    lookup: Lookup,
    ids: Vec<u32>,
    entries: [Vec<Entry>; 2],
}

/// Words of a corpus by number, and their sequence.
struct Words {
    vocabulary: Arc<Vocabulary>,
    sequence: Sequence,
}

impl Words {
    fn ngram(&self, first: u64, n: usize) -> Vec<String> {
        self.sequence[first as usize..first as usize + n].iter().map(|&id| self.vocabulary.text(id).to_owned()).collect()
    }
}

/// Gives the words that only pieces know their numbers, in the order of the corpus, and puts these into the pieces.
fn settle(shared: &Mutex<Arc<Vocabulary>>, pieces: Vec<Piece>) -> Vec<(Tallies, [Vec<Entry>; 2], Vec<u32>)> {
    let mut locals = Vec::new();
    let mut rest = Vec::new();
    for Piece { tallies, lookup, ids, entries } in pieces {
        locals.push(lookup.local);
        rest.push((tallies, entries, ids));
    }
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let vocabulary = Arc::get_mut(&mut shared).expect("the pieces have let go of it");
    let maps: Vec<Vec<u32>> = locals.iter().map(|local| vocabulary.take(local)).collect();
    rest.par_iter_mut().zip(maps).for_each(|((.., ids), map)| {
        for id in ids.iter_mut().filter(|id| **id >= NEW && **id != BETWEEN) {
            *id = map[(*id & !NEW) as usize];
        }
    });
    rest
}

/// Analyses the documents of some directories into `output`. Unnamed files in `scratch` take what does not fit in memory.
pub fn analyze(
    inputs: &[&Path],
    params: &AnalysisParams,
    scratch: &Path,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Analysis, DataError> {
    params.check()?;
    let mut tallies = Tallies::new(params)?;
    let ngrams = params.wants("common_ngrams") || params.wants("rare_ngrams");
    let duplicates = params.wants("duplicates");
    let attributes = tallies.language.is_some() || tallies.quality.is_some() || tallies.classified.is_some();
    let only_text = !duplicates && tallies.sites.is_none() && tallies.dates.is_none() && !attributes;
    let counted = tallies.summary.is_some() || tallies.sites.is_some() || tallies.dates.is_some() || tallies.language.is_some();
    let fields = if only_text { Fields::Text } else { Fields::All };

    let shared = Mutex::new(Arc::new(Vocabulary::default()));
    let mut sequence = SequenceWriter::new(scratch, params.memory);
    let mut entries = [Sorter::new(scratch, params.memory), Sorter::new(scratch, params.memory)];
    let pattern = tallies.fresh();
    let start = || {
        let vocabulary = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Piece { tallies: pattern.fresh(), lookup: Lookup::new(vocabulary), ids: Vec::new(), entries: Default::default() }
    };
    let work = |piece: &mut Piece, record: &Record<'_>| {
        let text = &record.document.text;
        let words = if ngrams {
            let (before, lookup, ids) = (piece.ids.len(), &mut piece.lookup, &mut piece.ids);
            words::for_each_word(text, |range| ids.push(lookup.id(&text.as_bytes()[range])));
            ids.push(BETWEEN);
            (ids.len() - before - 1) as u64
        } else if counted {
            words::count_words(text)
        } else {
            0
        };
        if duplicates {
            for (made, compared) in piece.entries.iter_mut().zip([Compared::Text, Compared::Url]) {
                made.extend(entry(record, compared, &params.url_field));
            }
        }
        piece.tallies.add(record, words);
    };
    for_each_piece(inputs, fields, observer, start, work, |pieces| {
        for (made, found, ids) in settle(&shared, pieces) {
            tallies.merge(made)?;
            for (sorter, found) in entries.iter_mut().zip(found) {
                found.into_iter().try_for_each(|entry| sorter.push(entry))?;
            }
            sequence.extend(&ids)?;
        }
        Ok(())
    })?;

    let mut tables = tallies.tables(params.rows)?;
    let [texts, urls] = entries;
    if duplicates {
        tables.extend(clusters(texts, Compared::Text, &params.url_field, inputs, observer)?);
        tables.extend(clusters(urls, Compared::Url, &params.url_field, inputs, observer)?);
    }
    if ngrams {
        let vocabulary = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        tables.extend(ngram_tables(&Words { vocabulary, sequence: sequence.finish()? }, params));
    }
    Analysis { tables }.write(output)
}

/// Tables of the most and least common n-grams, and of how many there are.
fn ngram_tables(words: &Words, params: &AnalysisParams) -> Vec<Table> {
    let (common, rare) = (params.wants("common_ngrams"), params.wants("rare_ngrams"));
    let mut tables = Vec::new();
    let mut totals = Vec::new();
    for &n in &params.ngrams {
        let rows = |wanted: bool| if wanted { params.rows } else { 0 };
        let question = Question { n, common: rows(common), rare: rows(rare), budget: params.memory };
        let found = ngrams::count(&words.sequence, question);
        totals.push(vec![(n as u64).into(), found.total.into(), found.distinct.into(), found.once.into()]);
        for (wanted, name, title, list) in
            [(common, "common", "Most common", &found.common), (rare, "rare", "Least common", &found.rare)]
        {
            if wanted {
                let rows = list.iter().enumerate().map(|(rank, ngram)| {
                    let tokens = words.ngram(ngram.first, n);
                    vec![(rank as u64 + 1).into(), ngram.count.into(), tokens.join(" ").into(), Cell::List(tokens)]
                });
                tables.push(
                    Table::new(
                        &format!("{name}_{n}grams"),
                        &format!("{title} {n}-grams"),
                        &["rank", "count", "string", "tokens"],
                    )
                    .note("Exact counts; of n-grams of one count, the one that the corpus has first comes first.")
                    .plot(Plot::Bars { label: 2, value: 1 })
                    .rows(rows),
                );
            }
        }
    }
    let unique = Table::new("unique_ngrams", "Distinct n-grams", &["n", "total", "unique", "once"])
        .note("`unique` is the number of distinct n-grams, `once` of those that stand in the corpus a single time.")
        .plot(Plot::Bars { label: 0, value: 2 })
        .rows(totals);
    tables.insert(0, unique);
    tables
}

#[cfg(test)]
mod tests;
