//! Counter-based random choices: the k-th draw of a key is a pure function of key and k.
//!
//! Knows nothing of problems. The mixing function is SplitMix64's finaliser (Steele, Lea, Flood 2014).

/// A stream of draws belonging to one key.
#[derive(Clone, Debug)]
pub struct Draw {
    key: u64,
    counter: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The stream of a key made of several words (seed, index, ...); order matters.
    pub fn new(words: &[u64]) -> Self {
        let key = words.iter().fold(GOLDEN, |key, &word| mix(key.wrapping_add(GOLDEN) ^ mix(word.wrapping_add(GOLDEN))));
        Draw { key, counter: 0 }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.counter += 1;
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// A number in `0..n`; the bias is below `n / 2^64`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of the items, with equal probability.
    ///
    /// # Panics
    /// If there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// `n` different positions in `0..len`, in random order (a partial Fisher-Yates shuffle).
    ///
    /// # Panics
    /// If `n > len`.
    pub fn distinct(&mut self, n: usize, len: usize) -> Vec<usize> {
        assert!(n <= len, "cannot draw {n} different positions of {len}");
        let mut order: Vec<usize> = (0..len).collect();
        for i in 0..n {
            let j = i + self.below((len - i) as u64) as usize;
            order.swap(i, j);
        }
        order.truncate(n);
        order
    }
}
