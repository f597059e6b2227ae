//! NumPy's seeded shuffle, bit for bit: `SeedSequence`, `PCG64` and `Generator.shuffle`.
//!
//! OLMo-core orders its training instances with it, so the same seed gives the same order here. Knows no data.

pub mod python;

/// NumPy's `Generator(PCG64(seed))`, as far as shuffling needs it.
#[derive(Clone, Debug)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
    buffered: Option<u32>,
}

impl Pcg64 {
    /// The generator NumPy makes from the integer `seed`.
    pub fn new(seed: u64) -> Self {
        let words = seed_sequence(seed);
        let long = |i: usize| u128::from(words[2 * i]) | u128::from(words[2 * i + 1]) << 32;
        let (initial, sequence) = (long(0) << 64 | long(1), long(2) << 64 | long(3));
        let mut generator = Self { state: 0, increment: sequence << 1 | 1, buffered: None };
        generator.advance();
        generator.state = generator.state.wrapping_add(initial);
        generator.advance();
        generator
    }

    fn advance(&mut self) {
        const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.advance();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// NumPy hands out the low half of a 64-bit draw first and keeps the high half.
    fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.buffered.take() {
            return high;
        }
        let draw = self.next_u64();
        self.buffered = Some((draw >> 32) as u32);
        draw as u32
    }

    /// A number in `0..=max` by rejection under the smallest covering bit mask.
    fn interval(&mut self, max: u64) -> u64 {
        if max == 0 {
            return 0;
        }
        let mask = u64::MAX >> max.leading_zeros();
        loop {
            let draw = if max <= u64::from(u32::MAX) { u64::from(self.next_u32()) } else { self.next_u64() };
            if draw & mask <= max {
                return draw & mask;
            }
        }
    }

    /// A number below `n`, as `Generator.integers(n)` draws it (Lemire, arXiv 1805.10941).
    ///
    /// # Panics
    /// When `n` is 0 or does not fit into 32 bits.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0 && n <= u64::from(u32::MAX), "{n} is no range of 32 bits");
        if n == 1 {
            return 0;
        }
        let threshold = (1 << 32) % n;
        loop {
            let product = u64::from(self.next_u32()) * n;
            if u64::from(product as u32) >= threshold {
                return product >> 32;
            }
        }
    }

    /// Shuffles in place, as `Generator.shuffle` does.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.interval(i as u64) as usize;
            values.swap(i, j);
        }
    }
}

/// The first eight words of NumPy's `SeedSequence(seed)`.
fn seed_sequence(seed: u64) -> [u32; 8] {
    const POOL: usize = 4;
    let entropy = [seed as u32, (seed >> 32) as u32];
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |value: u32| {
        let value = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(constant);
        value ^ value >> 16
    };
    let mix = |x: u32, y: u32| {
        let mixed = 0xca01_f9dd_u32.wrapping_mul(x).wrapping_sub(0x4973_f715_u32.wrapping_mul(y));
        mixed ^ mixed >> 16
    };
    // Words beyond the entropy are 0, as is the missing high word of a small seed.
    let mut pool = [0; POOL];
    for (i, slot) in pool.iter_mut().enumerate() {
        *slot = hash(entropy.get(i).copied().unwrap_or(0));
    }
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                pool[target] = mix(pool[target], hash(pool[source]));
            }
        }
    }
    let mut constant = 0x8b51_f9dd_u32;
    std::array::from_fn(|i| {
        let value = pool[i % POOL] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        let value = value.wrapping_mul(constant);
        value ^ value >> 16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_six(seed: u64, n: u32) -> Vec<u32> {
        let mut values: Vec<u32> = (0..n).collect();
        Pcg64::new(seed).shuffle(&mut values);
        values.truncate(6);
        values
    }

    #[test]
    fn shuffles_are_numpys() {
        assert_eq!(first_six(34522, 1000), [905, 250, 414, 554, 333, 834]);
        assert_eq!(first_six(0, 10), [4, 6, 2, 7, 3, 5]);
    }

    #[test]
    fn draws_are_numpys() {
        let mut generator = Pcg64::new(42);
        assert_eq!([1, 2, 10, 1000, 7].map(|n| generator.below(n)), [0, 0, 7, 654, 3]);
        let mut values: Vec<u32> = (0..8).collect();
        generator.shuffle(&mut values[1..]);
        assert_eq!(values, [0, 6, 7, 1, 2, 4, 3, 5]);
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        for n in [0, 1, 2, 4097] {
            let mut values: Vec<u32> = (0..n).collect();
            Pcg64::new(6199).shuffle(&mut values);
            values.sort_unstable();
            assert!(values.into_iter().eq(0..n));
        }
    }
}
