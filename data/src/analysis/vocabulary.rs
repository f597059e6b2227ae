//! Numbers for words, in the order in which a corpus first uses them.
//! Knows no document; the words of a batch are looked up in parallel and new ones get their numbers afterwards, one after another.

use std::sync::Arc;

/// Marks the number of a word that only the local vocabulary of a piece of work knows.
pub(crate) const NEW: u32 = 1 << 31;

/// A word as it is looked up: up to seven bytes and their number are the key itself, longer words are a hash.
#[derive(Clone, Copy)]
pub(crate) struct WordKey(u64);

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl WordKey {
    pub(crate) fn of(word: &[u8]) -> WordKey {
        let length = word.len();
        let four = |at: usize| u64::from(u32::from_le_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]));
        WordKey(match length {
            0 => 0,
            1 => u64::from(word[0]) | 1 << 56,
            2 | 3 => {
                let pair = |at: usize| u64::from(u16::from_le_bytes([word[at], word[at + 1]]));
                pair(0) | pair(length - 2) << (8 * (length - 2)) | (length as u64) << 56
            }
            4..=7 => four(0) | four(length - 4) << (8 * (length - 4)) | (length as u64) << 56,
            _ => {
                let mut hash = length as u64;
                let mut mix = |value: u64| {
                    let product = u128::from(hash ^ value) * u128::from(MULTIPLIER | 1);
                    hash = (product as u64) ^ (product >> 64) as u64;
                };
                let mut chunks = word.chunks_exact(8);
                for chunk in &mut chunks {
                    mix(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
                }
                mix(four(length - 8) | four(length - 4) << 32);
                hash | 1 << 63
            }
        })
    }

    /// Whether equal keys may be those of different words.
    fn is_hash(self) -> bool {
        self.0 >> 63 == 1
    }

    fn slot(self, bits: u32) -> usize {
        let mixed = self.0.wrapping_mul(MULTIPLIER);
        ((mixed ^ (mixed >> 29)).wrapping_mul(MULTIPLIER) >> (64 - bits)) as usize
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// Number plus one; 0 for a free slot.
    id: u32,
}

/// Words and their numbers. Holds every distinct word once and about 32 bytes beside it.
pub(crate) struct Vocabulary {
    slots: Vec<Slot>,
    bits: u32,
    words: Vec<u8>,
    ends: Vec<u64>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Vocabulary { slots: vec![Slot::default(); 1 << 10], bits: 10, words: Vec::new(), ends: Vec::new() }
    }
}

impl Vocabulary {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The word of a number.
    pub(crate) fn word(&self, id: u32) -> &[u8] {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.words[start as usize..self.ends[id as usize] as usize]
    }

    /// The word of a number as text; words are cut from texts at boundaries of characters.
    pub(crate) fn text(&self, id: u32) -> &str {
        std::str::from_utf8(self.word(id)).unwrap_or_default()
    }

    fn probe(&self, key: WordKey, word: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut at = key.slot(self.bits);
        loop {
            let slot = self.slots[at];
            if slot.id == 0 {
                return Err(at);
            }
            if slot.key == key.0 && (!key.is_hash() || self.word(slot.id - 1) == word) {
                return Ok(slot.id - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of a word, if it has one.
    pub(crate) fn find(&self, key: WordKey, word: &[u8]) -> Option<u32> {
        self.probe(key, word).ok()
    }

    /// The number of a word, a new one if need be.
    pub(crate) fn intern(&mut self, key: WordKey, word: &[u8]) -> u32 {
        let at = match self.probe(key, word) {
            Ok(id) => return id,
            Err(at) => at,
        };
        self.words.extend_from_slice(word);
        self.ends.push(self.words.len() as u64);
        let id = self.ends.len() as u32;
        self.slots[at] = Slot { key: key.0, id };
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        id - 1
    }

    fn grow(&mut self) {
        self.bits += 1;
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); 1 << self.bits]);
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.id != 0) {
            let mut at = WordKey(slot.key).slot(self.bits);
            while self.slots[at].id != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    /// Takes over the words that only `local` knows. Gives the number here of each of its numbers.
    pub(crate) fn take(&mut self, local: &Vocabulary) -> Vec<u32> {
        (0..local.len() as u32).map(|id| self.intern(WordKey::of(local.word(id)), local.word(id))).collect()
    }
}

/// The numbers of words for one piece of work: shared where they are known, else local and marked [`NEW`].
pub(crate) struct Lookup {
    shared: Arc<Vocabulary>,
    pub(crate) local: Vocabulary,
}

impl Lookup {
    pub(crate) fn new(shared: Arc<Vocabulary>) -> Lookup {
        Lookup { shared, local: Vocabulary::default() }
    }

    pub(crate) fn id(&mut self, word: &[u8]) -> u32 {
        let key = WordKey::of(word);
        self.shared.find(key, word).unwrap_or_else(|| NEW | self.local.intern(key, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn numbers_are_those_of_first_use(words in proptest::collection::vec("[ab]{0,11}|[a-c]{6,20}", 0..4000)) {
            let (mut expected, mut vocabulary) = (HashMap::new(), Vocabulary::default());
            for word in &words {
                let next = expected.len() as u32;
                let id = *expected.entry(word.clone()).or_insert(next);
                prop_assert_eq!(vocabulary.intern(WordKey::of(word.as_bytes()), word.as_bytes()), id);
            }
            prop_assert_eq!(vocabulary.len(), expected.len());
            for (word, id) in expected {
                prop_assert_eq!(vocabulary.text(id), word.as_str());
                prop_assert_eq!(vocabulary.find(WordKey::of(word.as_bytes()), word.as_bytes()), Some(id));
            }
        }
    }

    #[test]
    fn new_words_of_a_piece_get_shared_numbers() {
        let mut shared = Vocabulary::default();
        shared.intern(WordKey::of(b"the"), b"the");
        let mut lookup = Lookup::new(Arc::new(shared));
        assert_eq!([lookup.id(b"the"), lookup.id(b"internationalisation"), lookup.id(b"a")], [0, NEW, NEW | 1]);
        let Lookup { shared, local } = lookup;
        assert_eq!(Arc::into_inner(shared).unwrap().take(&local), [1, 2]);
    }
}
