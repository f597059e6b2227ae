//! Hashes of the n-grams of a paragraph's tokens. Knows where windows begin; does not know which were met before.
//!
//! A token is hashed by XXH3 and a window by a polynomial in those hashes modulo 2⁶⁴, mixed at the end, so a step of the window costs
//! two multiplications whatever its length.

use super::seen::mix;
use super::{Ngrams, Semantics};
use crate::wordbreak::for_each_token;
use xxhash_rust::xxh3::xxh3_64;

/// Odd, with its bits spread (the golden ratio).
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Calls `each` with the hash of every window of a paragraph that is taken. `hashes` is only there to be used again.
pub(super) fn for_each_ngram(
    paragraph: &str,
    ngrams: &Ngrams,
    semantics: Semantics,
    hashes: &mut Vec<u64>,
    mut each: impl FnMut(u64),
) {
    hashes.clear();
    let bytes = paragraph.as_bytes();
    for_each_token(paragraph, |range| hashes.push(xxh3_64(&bytes[range])));
    let n = ngrams.length;
    if hashes.len() < n {
        return;
    }
    // What a token weighs when it leaves the window.
    let leaving = (1..n).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut hash = 0u64;
    let mut last = 0usize;
    for (at, token) in hashes.iter().enumerate() {
        if at >= n {
            hash = hash.wrapping_sub(hashes[at - n].wrapping_mul(leaving));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(*token);
        if at + 1 < n {
            continue;
        }
        let start = at + 1 - n;
        let taken = match semantics {
            Semantics::Mended => start.is_multiple_of(ngrams.stride),
            // Dolma keeps the start of the last window that was taken, and 0 stands for none.
            Semantics::Dolma12 => last == 0 || start - last >= ngrams.stride,
        };
        if taken {
            last = start;
            each(mix(hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::Short;

    fn taken(text: &str, length: usize, stride: usize, semantics: Semantics) -> Vec<u64> {
        let mut found = Vec::new();
        let ngrams = Ngrams { length, stride, threshold: 1.0, short: Short::Whole };
        for_each_ngram(text, &ngrams, semantics, &mut Vec::new(), |hash| found.push(hash));
        found
    }

    #[test]
    fn equal_windows_have_equal_hashes() {
        let hashes = taken("a b c x a b c y a b", 3, 1, Semantics::Mended);
        assert_eq!(hashes.len(), 8);
        assert_eq!(hashes[0], hashes[4]);
        let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), 7);
        assert!(taken("a b", 3, 1, Semantics::Mended).is_empty());
    }

    #[test]
    fn strides_of_both_rules() {
        let all = taken("a b c d e f g h", 2, 1, Semantics::Mended);
        let [ours, dolmas] = [Semantics::Mended, Semantics::Dolma12].map(|semantics| taken("a b c d e f g h", 2, 3, semantics));
        assert_eq!(ours, [all[0], all[3], all[6]]);
        assert_eq!(dolmas, [all[0], all[1], all[4]]);
    }
}
