//! CPython's seeded shuffle, bit for bit: the Mersenne Twister and `random.Random(seed).shuffle`.
//!
//! OLMo-core permutes its file lists with it. Knows no data.

/// CPython's `random.Random(seed)`, as far as shuffling needs it (MT19937, Matsumoto and Nishimura, TOMACS 8, 1998).
#[derive(Clone, Debug)]
pub struct PythonRandom {
    state: [u32; N],
    next: usize,
}

const N: usize = 624;
const M: usize = 397;

impl PythonRandom {
    /// The generator CPython makes from the integer `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; N];
        state[0] = 19_650_218_u32;
        for i in 1..N {
            state[i] = 1_812_433_253_u32.wrapping_mul(state[i - 1] ^ state[i - 1] >> 30).wrapping_add(i as u32);
        }
        // The key is the seed in 32-bit words without leading zeros, at least one.
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let (mut i, mut j) = (1, 0);
        for _ in 0..N {
            let before = state[i - 1] ^ state[i - 1] >> 30;
            state[i] = (state[i] ^ before.wrapping_mul(1_664_525)).wrapping_add(key[j]).wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            let before = state[i - 1] ^ state[i - 1] >> 30;
            state[i] = (state[i] ^ before.wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 1 << 31;
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let word = self.state[i] & 1 << 31 | self.state[(i + 1) % N] & !(1 << 31);
                let twist = if word & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ word >> 1 ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    /// A number below `n`, at least 1 and at most 2^32 - 1: the top bits of draws until one is small enough.
    fn below(&mut self, n: u32) -> u32 {
        let shift = n.leading_zeros();
        loop {
            let draw = self.next_u32() >> shift;
            if draw < n {
                return draw;
            }
        }
    }

    /// Shuffles in place, as `Random.shuffle` does.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_are_cpythons() {
        let mut values: Vec<u32> = (0..20).collect();
        PythonRandom::new(123).shuffle(&mut values);
        assert_eq!(values, [7, 17, 3, 4, 14, 12, 11, 9, 5, 10, 15, 6, 0, 16, 19, 18, 13, 2, 8, 1]);
        let mut values: Vec<u32> = (0..10).collect();
        PythonRandom::new((1 << 40) + 7).shuffle(&mut values);
        assert_eq!(values, [0, 5, 2, 3, 6, 1, 8, 4, 7, 9]);
    }
}
