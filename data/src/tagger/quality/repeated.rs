//! Shares of a text in repeated lines, paragraphs and n-grams, by the definitions of datatrove and of datamap.
//! Knows strings only.

use std::collections::HashMap;
use std::collections::HashSet;

type Seen<'a> = HashSet<&'a str, ahash::RandomState>;

/// How many pieces were there before, and their code points: first copies do not count (datatrove).
pub(super) fn duplicates<'a>(pieces: impl Iterator<Item = &'a str>) -> (usize, usize, usize) {
    let mut seen = Seen::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let (mut all, mut copies, mut chars) = (0, 0, 0);
    for piece in pieces {
        all += 1;
        if !seen.insert(piece) {
            copies += 1;
            chars += piece.chars().count();
        }
    }
    (all, copies, chars)
}

/// Number of each distinct word, and code points of all words before each position.
pub(super) struct Numbered {
    ids: Vec<u32>,
    before: Vec<usize>,
}

type Grams<V> = HashMap<u64, V, ahash::RandomState>;

impl Numbered {
    pub(super) fn new<'a>(words: impl Iterator<Item = &'a str>) -> Numbered {
        let mut numbers: HashMap<&str, u32, ahash::RandomState> =
            HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let (mut ids, mut before, mut sum) = (Vec::new(), vec![0], 0);
        for word in words {
            let next = numbers.len() as u32;
            ids.push(*numbers.entry(word).or_insert(next));
            sum += word.chars().count();
            before.push(sum);
        }
        Numbered { ids, before }
    }

    fn chars(&self, start: usize, n: usize) -> usize {
        self.before[start + n] - self.before[start]
    }

    /// The names of the n-grams at each position: equal n-grams have equal names. `shorter` names the (n−1)-grams.
    fn extend(&self, shorter: &[u32], n: usize) -> Vec<u32> {
        let mut names: Grams<u32> = Grams::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8));
        let count = (self.ids.len() + 1).saturating_sub(n);
        (0..count)
            .map(|start| {
                let key = u64::from(shorter[start]) << 32 | u64::from(self.ids[start + n - 1]);
                let next = names.len() as u32;
                *names.entry(key).or_insert(next)
            })
            .collect()
    }

    /// For n = 2 up to `longest`, the names of all n-grams.
    pub(super) fn grams(&self, longest: usize, mut each: impl FnMut(usize, &[u32])) {
        let mut names = self.ids.clone();
        for n in 2..=longest {
            names = self.extend(&names, n);
            if names.is_empty() {
                break;
            }
            each(n, &names);
        }
    }

    /// Count and first position of the most common n-gram; of equals the first.
    pub(super) fn most_common(names: &[u32]) -> (usize, usize) {
        let mut counts: Vec<(usize, usize)> = Vec::new();
        for (start, &name) in names.iter().enumerate() {
            if name as usize == counts.len() {
                counts.push((0, start));
            }
            counts[name as usize].0 += 1;
        }
        counts.into_iter().fold((0, 0), |best, here| if here.0 > best.0 { here } else { best })
    }

    /// Code points of an n-gram as words joined by a space.
    pub(super) fn joined(&self, start: usize, n: usize) -> usize {
        self.chars(start, n) + n - 1
    }

    /// Code points in n-grams met before, from left to right, jumping over each that is (datatrove).
    pub(super) fn jumped(&self, names: &[u32], n: usize) -> usize {
        let mut seen = vec![false; names.len()];
        let (mut at, mut chars) = (0, 0);
        while at < names.len() {
            let name = names[at] as usize;
            if seen[name] {
                chars += self.chars(at, n);
                at += n;
            } else {
                seen[name] = true;
                at += 1;
            }
        }
        chars
    }

    /// Code points of all words that a repeated n-gram covers (datamap).
    pub(super) fn covered(&self, names: &[u32], n: usize) -> usize {
        let mut counts = vec![0u32; names.len()];
        names.iter().for_each(|&name| counts[name as usize] += 1);
        let (mut end, mut chars) = (0, 0);
        for (start, &name) in names.iter().enumerate() {
            if counts[name as usize] > 1 {
                let from = start.max(end);
                chars += self.before[start + n] - self.before[from];
                end = start + n;
            }
        }
        chars
    }

    /// Code points of all words.
    pub(super) fn total(&self) -> usize {
        self.before.last().copied().unwrap_or(0)
    }
}
