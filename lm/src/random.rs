//! Counter-based random numbers: any draw of any stream is reached directly by its index.
//!
//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Knows no clock and keeps no
//! state, so results do not depend on order or thread count.

/// A stream of random numbers named by a seed and a label.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream of `seed` called `label`. Different labels give unrelated streams.
    pub fn new(seed: u64, label: &str) -> Self {
        // FNV-1a, then mixed with the seed through SplitMix64's finaliser.
        let hash = label
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let key = mix(mix(hash).wrapping_add(seed));
        Self { key: [key as u32, (key >> 32) as u32] }
    }

    /// The four 32-bit words at `counter`.
    pub fn words(&self, counter: u128) -> [u32; 4] {
        let mut x = [counter as u32, (counter >> 32) as u32, (counter >> 64) as u32, (counter >> 96) as u32];
        let mut key = self.key;
        for _ in 0..10 {
            let low = u64::from(x[0]) * 0xD251_1F53;
            let high = u64::from(x[2]) * 0xCD9E_8D57;
            x = [(high >> 32) as u32 ^ x[1] ^ key[0], high as u32, (low >> 32) as u32 ^ x[3] ^ key[1], low as u32];
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        x
    }

    /// A number uniform in the open interval (0, 1), with 53 random bits; `index` names the draw.
    pub fn uniform(&self, index: u64) -> f64 {
        let words = self.words(u128::from(index));
        let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
        (bits as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64)
    }

    /// An integer uniform in `0..n`; `index` names the draw. The bias is below 2^-64 * n.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&self, index: u64, n: usize) -> usize {
        assert!(n > 0, "an empty range has no elements");
        let words = self.words(u128::from(index));
        let bits = u64::from(words[0]) << 32 | u64::from(words[1]);
        ((u128::from(bits) * n as u128) >> 64) as usize
    }

    /// A standard normal number; `index` names the draw.
    pub fn normal(&self, index: u64) -> f64 {
        inverse_normal_cdf(self.uniform(index))
    }

    /// A standard normal number conditioned on lying within `cut` standard deviations; `index` names the draw.
    pub fn truncated_normal(&self, index: u64, cut: Cut) -> f64 {
        let u = cut.below + self.uniform(index) * (1.0 - 2.0 * cut.below);
        inverse_normal_cdf(u).clamp(-cut.at, cut.at)
    }
}

/// Where a normal distribution is cut off on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    at: f64,
    below: f64,
}

impl Cut {
    /// Three standard deviations, as OLMo-core initialises.
    pub const THREE_SIGMA: Self = Self { at: 3.0, below: 0.001_349_898_031_630_094_6 };
}

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The quantile function of the standard normal distribution (Wichura, algorithm AS 241, 1988; relative error 1e-16).
fn inverse_normal_cdf(p: f64) -> f64 {
    fn ratio(x: f64, top: &[f64; 8], bottom: &[f64; 8]) -> f64 {
        let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
        horner(top) / horner(bottom)
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180_625 - q * q, &CENTRE_TOP, &CENTRE_BOTTOM);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let x = if r <= 5.0 { ratio(r - 1.6, &MIDDLE_TOP, &MIDDLE_BOTTOM) } else { ratio(r - 5.0, &TAIL_TOP, &TAIL_BOTTOM) };
    x.copysign(q)
}

const CENTRE_TOP: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const CENTRE_BOTTOM: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_854,
];
const MIDDLE_TOP: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    7.745_450_142_783_414e-4,
];
const MIDDLE_BOTTOM: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const TAIL_TOP: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    0.001_242_660_947_388_078_4,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const TAIL_BOTTOM: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_7e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_vectors() {
        // Known-answer vectors of Random123 for philox4x32-10.
        let zero = Stream { key: [0, 0] };
        assert_eq!(zero.words(0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Stream { key: [u32::MAX, u32::MAX] };
        assert_eq!(ones.words(u128::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        for (p, x) in
            [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (1e-9, -5.997_807_015_007_681), (0.0013, -3.011_453_758_499_395)]
        {
            assert!((inverse_normal_cdf(p) - x).abs() < 1e-9, "{p}: {}", inverse_normal_cdf(p));
        }
    }

    #[test]
    fn truncated_draws_stay_inside_and_have_the_right_spread() {
        let stream = Stream::new(7, "weights");
        let draws: Vec<f64> = (0..20_000).map(|i| stream.truncated_normal(i, Cut::THREE_SIGMA)).collect();
        assert!(draws.iter().all(|x| x.abs() <= 3.0));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        // The variance of a normal distribution cut at three sigma is 0.9733.
        assert!(mean.abs() < 0.02 && (variance - 0.9733).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn labels_and_seeds_name_different_streams() {
        let draw = |seed, label| Stream::new(seed, label).words(3);
        assert_ne!(draw(0, "a"), draw(0, "b"));
        assert_ne!(draw(0, "a"), draw(1, "a"));
        assert_eq!(draw(5, "a"), draw(5, "a"));
        let stream = Stream::new(1, "below");
        assert!((0..1000).all(|i| stream.below(i, 7) < 7));
    }
}
