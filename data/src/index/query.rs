//! Questions to an index about one phrase: where it stands, how often, and what follows it. All answers are exact.
//! Knows symbols and ranks, no text.
#![allow(clippy::useless_conversion, reason = "the same code reads symbols of 8, 16 and 32 bits")]

use super::Index;
use super::file::with_symbols;
use std::cmp::Ordering;
use std::ops::Range;

/// A symbol that follows a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextToken {
    /// The symbol; 0 where a document ends.
    pub symbol: u32,
    /// How often.
    pub count: u64,
}

impl Index {
    /// Ranks of the suffixes that begin with `phrase`: all of them for an empty phrase.
    pub fn find(&self, phrase: &[u32]) -> Range<u64> {
        self.find_within(0..self.meta.symbols, phrase)
    }

    fn find_within(&self, ranks: Range<u64>, phrase: &[u32]) -> Range<u64> {
        let start = self.bound(ranks.clone(), |order| order == Ordering::Less, phrase);
        start..self.bound(start..ranks.end, |order| order != Ordering::Greater, phrase)
    }

    /// The first rank whose suffix, cut to the length of `phrase`, is not `before` it.
    pub(super) fn bound(&self, ranks: Range<u64>, before: impl Fn(Ordering) -> bool, phrase: &[u32]) -> u64 {
        let (mut low, mut high) = (ranks.start, ranks.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.compare(self.suffixes.at(middle), phrase)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The order of the symbols at a position, as many as there are in `phrase`, and `phrase`. Nothing follows the end of a document.
    fn compare(&self, position: u64, phrase: &[u32]) -> Ordering {
        with_symbols!(&self.symbols, text => {
            for (&symbol, &wanted) in text[position as usize..].iter().zip(phrase) {
                match u32::from(symbol).cmp(&wanted) {
                    Ordering::Equal if wanted == 0 => return Ordering::Equal,
                    Ordering::Equal => {}
                    other => return other,
                }
            }
            Ordering::Equal
        })
    }

    /// How often a phrase stands in the corpus.
    pub fn count(&self, phrase: &[u32]) -> u64 {
        let ranks = self.find(phrase);
        ranks.end - ranks.start
    }

    /// The position of the suffix of a rank.
    pub fn position(&self, rank: u64) -> u64 {
        self.suffixes.at(rank)
    }

    /// The positions of some ranks, in the order of the corpus: the `limit` first, or if there are more than 2²² of them, the first
    /// of as many that are evenly spread over the ranks.
    pub fn positions(&self, ranks: Range<u64>, limit: usize) -> Vec<u64> {
        const LOOKED_AT: u64 = 1 << 22;
        let step = (ranks.end - ranks.start).div_ceil(LOOKED_AT).max(1);
        let mut positions: Vec<u64> = ranks.step_by(step as usize).map(|rank| self.suffixes.at(rank)).collect();
        if positions.len() > limit {
            positions.select_nth_unstable(limit);
            positions.truncate(limit);
        }
        positions.sort_unstable();
        positions
    }

    /// What follows a phrase, the most frequent first: two binary searches for each distinct symbol.
    pub fn next(&self, phrase: &[u32]) -> Vec<NextToken> {
        let ranks = self.find(phrase);
        let mut longer = phrase.to_vec();
        let (mut found, mut at) = (Vec::new(), ranks.start);
        while at < ranks.end {
            let symbol = self.symbols.at(self.suffixes.at(at) + phrase.len() as u64);
            longer.push(symbol);
            // Most symbols are rare: the end of the stretch is looked for near its beginning first.
            let mut reach = 1;
            while at + reach < ranks.end && self.compare(self.suffixes.at(at + reach), &longer) == Ordering::Equal {
                reach *= 2;
            }
            let end = self.bound(at + reach / 2..ranks.end.min(at + reach), |order| order != Ordering::Greater, &longer);
            found.push(NextToken { symbol, count: end - at });
            longer.pop();
            at = end;
        }
        found.sort_by(|a, b| b.count.cmp(&a.count).then(a.symbol.cmp(&b.symbol)));
        found
    }

    /// The longest end of a phrase that stands in the corpus and is followed by something.
    pub fn longest_suffix<'a>(&self, phrase: &'a [u32]) -> &'a [u32] {
        let stands = |length: usize| self.count(&phrase[phrase.len() - length..]) > 0;
        // A shorter end stands wherever a longer one does.
        let mut reach = 1;
        while reach <= phrase.len() && stands(reach) {
            reach *= 2;
        }
        let (mut low, mut high) = (reach / 2, reach.min(phrase.len() + 1));
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if stands(middle) { low = middle } else { high = middle }
        }
        &phrase[phrase.len() - low.min(phrase.len())..]
    }

    /// How many of the first symbols of `phrase` stand together somewhere in the corpus: one search finds the neighbours of the phrase
    /// in the order, and one of them shares the longest beginning.
    pub fn longest_prefix(&self, phrase: &[u32]) -> usize {
        let at = self.bound(0..self.meta.symbols, |order| order == Ordering::Less, phrase);
        let common = |rank: u64| {
            let position = self.suffixes.at(rank);
            with_symbols!(&self.symbols, text => {
                let pairs = text[position as usize..].iter().zip(phrase);
                pairs.take_while(|(symbol, wanted)| **wanted != 0 && u32::from(**symbol) == **wanted).count()
            })
        };
        let before = at.checked_sub(1).map_or(0, common);
        let after = if at < self.meta.symbols { common(at) } else { 0 };
        before.max(after)
    }

    /// The symbols at some positions.
    pub fn symbols(&self, range: Range<u64>) -> Vec<u32> {
        self.symbols.range(range)
    }

    /// The number of the document that a position is in.
    pub fn document_at(&self, position: u64) -> u64 {
        let starts: &[u64] = self.starts.numbers();
        starts.partition_point(|&start| start <= position) as u64 - 1
    }

    /// The positions of a document, its end included.
    pub fn document_range(&self, document: u64) -> Range<u64> {
        let starts: &[u64] = self.starts.numbers();
        let end = starts.get(document as usize + 1).copied().unwrap_or(self.meta.symbols);
        starts[document as usize]..end
    }
}
