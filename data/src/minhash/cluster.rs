//! Which documents meet in a band, and the clusters they form. Knows keys and numbers of documents only.

use rayon::prelude::*;

/// Members of a bucket that did not agree with each other and are compared with later ones; bounds the work of a check in a bucket.
const MOST_COMPARED: usize = 16;

/// For each band the groups of at least two documents with the same key, in the order of keys, documents ascending.
pub(super) fn buckets(keys: &[Option<&[u64]>], bands: usize) -> Vec<Vec<Vec<u32>>> {
    (0..bands)
        .into_par_iter()
        .map(|band| {
            let mut order: Vec<(u64, u32)> =
                (0..).zip(keys).filter_map(|(document, keys)| keys.map(|keys| (keys[band], document))).collect();
            order.sort_unstable();
            order
                .chunk_by(|a, b| a.0 == b.0)
                .filter(|group| group.len() > 1)
                .map(|group| group.iter().map(|(_, document)| *document).collect())
                .collect()
        })
        .collect()
}

/// Disjoint sets whose root is always their lowest document.
#[derive(Debug)]
pub(super) struct Forest {
    parents: Vec<u32>,
}

impl Forest {
    pub(super) fn new(documents: usize) -> Forest {
        Forest { parents: (0..documents as u32).collect() }
    }

    /// The lowest document of the set; paths are halved on the way, without recursion.
    pub(super) fn root(&mut self, mut document: u32) -> u32 {
        while self.parents[document as usize] != document {
            let above = self.parents[self.parents[document as usize] as usize];
            self.parents[document as usize] = above;
            document = above;
        }
        document
    }

    fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

/// Joins documents that share a bucket and are alike. A document is compared with the first of its bucket that nothing before was
/// like, up to [`MOST_COMPARED`] of them.
pub(super) fn join(buckets: &[Vec<Vec<u32>>], forest: &mut Forest, alike: impl Fn(u32, u32) -> bool) {
    let mut distinct: Vec<u32> = Vec::new();
    for group in buckets.iter().flatten() {
        distinct.clear();
        for &document in group {
            let found =
                distinct.iter().copied().find(|&other| forest.root(other) == forest.root(document) || alike(other, document));
            match found {
                Some(other) => forest.unite(other, document),
                None if distinct.len() < MOST_COMPARED => distinct.push(document),
                None => {}
            }
        }
    }
}

/// Jaccard similarity of two sorted sets.
pub(super) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        both += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let either = a.len() + b.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}
