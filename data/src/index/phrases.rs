//! Boolean questions to an index: documents in which every clause is met, a clause by any of its phrases.
//! Knows symbols; the rarest clause is looked up, the others are looked for around it.

use super::Index;
use crate::error::DataError;
use std::collections::BTreeMap;

/// A conjunction of disjunctions of phrases.
#[derive(Clone, Debug)]
pub struct PhraseQuery {
    /// Clauses, each a list of phrases of which one is enough.
    pub clauses: Vec<Vec<String>>,
    /// How many symbols may lie between the first symbol of the rarest clause's phrase and that of another's; `None` for a whole
    /// document.
    pub within: Option<u64>,
    /// Occurrences of the rarest clause that are looked at; beyond, evenly spread ones stand for all and the answer is approximate.
    pub most: u64,
}

/// The answer to a [`PhraseQuery`].
#[derive(Clone, Debug, PartialEq)]
pub struct PhraseHits {
    /// Occurrences of the rarest clause with all others near; scaled up when approximate.
    pub occurrences: u64,
    /// Documents among those looked at, with the position of the first such occurrence in each, in the order of the corpus.
    pub documents: BTreeMap<u64, u64>,
    /// Whether only a sample was looked at.
    pub approximate: bool,
}

impl Index {
    /// Answers a boolean question. Fails on a clause without a phrase and on a phrase without a symbol.
    pub fn phrases(&self, query: &PhraseQuery) -> Result<PhraseHits, DataError> {
        let mut clauses = Vec::new();
        for clause in &query.clauses {
            let mut phrases = Vec::new();
            for text in clause {
                match self.encode(text)? {
                    Some(symbols) if symbols.is_empty() => {
                        return Err(DataError::Params(format!("the phrase {text:?} has nothing that could be found")));
                    }
                    Some(symbols) => phrases.push(symbols),
                    // A word that the corpus does not have: the phrase stands nowhere.
                    None => {}
                }
            }
            if clause.is_empty() {
                return Err(DataError::Params("a clause has no phrase".to_owned()));
            }
            clauses.push(phrases);
        }
        if clauses.is_empty() {
            return Err(DataError::Params("there is no clause to look for".to_owned()));
        }
        let sizes: Vec<u64> = clauses.iter().map(|phrases| phrases.iter().map(|phrase| self.count(phrase)).sum()).collect();
        let rarest = (0..sizes.len()).min_by_key(|&clause| sizes[clause]).unwrap_or(0);
        let step = sizes[rarest].div_ceil(query.most.max(1)).max(1);
        let (mut looked, mut met) = (0u64, 0u64);
        let mut documents = BTreeMap::new();
        for phrase in &clauses[rarest] {
            for rank in self.find(phrase).step_by(step as usize) {
                let position = self.position(rank);
                looked += 1;
                let document = self.document_at(position);
                let others = clauses.iter().enumerate().filter(|(clause, _)| *clause != rarest).map(|(_, phrases)| phrases);
                if self.all_near(position, document, query.within, others) {
                    met += 1;
                    let first = documents.entry(document).or_insert(position);
                    *first = position.min(*first);
                }
            }
        }
        let occurrences = if step == 1 { met } else { (met as f64 * sizes[rarest] as f64 / looked.max(1) as f64).round() as u64 };
        Ok(PhraseHits { occurrences, documents, approximate: step > 1 })
    }

    fn all_near<'a>(
        &self,
        position: u64,
        document: u64,
        within: Option<u64>,
        mut clauses: impl Iterator<Item = &'a Vec<Vec<u32>>>,
    ) -> bool {
        let range = self.document_range(document);
        let from = within.map_or(range.start, |within| position.saturating_sub(within).max(range.start));
        // The last symbol at which a phrase may begin.
        let to = within.map_or(range.end, |within| (position + within + 1).min(range.end));
        clauses.all(|phrases| {
            phrases.iter().any(|phrase| {
                let text = self.symbols.range(from..(to + phrase.len() as u64 - 1).min(range.end));
                text.windows(phrase.len()).any(|window| window == phrase)
            })
        })
    }
}
