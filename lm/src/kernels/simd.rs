//! Vectorised arithmetic on slices: exponentials, sums in a fixed order, and compilation for the widest instructions.
//!
//! Every function gives the same bits on every x86-64 machine: no fused multiply-add is introduced, and sums run over
//! sixteen lanes that are added in a fixed tree.

/// Compiles a function three times (AVX-512, AVX2, baseline) and picks one at run time.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
                unsafe fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                unsafe fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }

                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the instructions were just found to exist.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the instructions were just found to exist.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

const LANES: usize = 16;

/// `e^x` with relative error below 2e-7; arguments outside [-87, 88] are clamped (polynomial of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let poly = 1.987_569_1e-4;
    let poly = poly * r + 1.398_2e-3;
    let poly = poly * r + 8.333_452e-3;
    let poly = poly * r + 4.166_579_6e-2;
    let poly = poly * r + 1.666_666_5e-1;
    let poly = poly * r + 0.5;
    let value = poly * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(exponent)
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tree(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f` over the pairs of two slices of the same length.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = (a.remainder(), b.remainder());
    for (a, b) in a.zip(b) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for (i, (a, b)) in rest.0.iter().zip(rest.1).enumerate() {
        lanes[i] += f(*a, *b);
    }
    tree(lanes, |x, y| x + y)
}

/// Sum of `f` over three slices of the same length.
#[inline(always)]
pub(crate) fn sum3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = a.len() - a.len() % LANES;
    let (b, c) = (&b[..a.len()], &c[..a.len()]);
    for start in (0..whole).step_by(LANES) {
        let (a, b, c) = (&a[start..start + LANES], &b[start..start + LANES], &c[start..start + LANES]);
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i], c[i]);
        }
    }
    for i in whole..a.len() {
        lanes[i - whole] += f(a[i], b[i], c[i]);
    }
    tree(lanes, |x, y| x + y)
}

/// Sum of `f` over a slice.
#[inline(always)]
pub(crate) fn sum1(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for a in chunks {
        for i in 0..LANES {
            lanes[i] += f(a[i]);
        }
    }
    for (i, a) in rest.iter().enumerate() {
        lanes[i] += f(*a);
    }
    tree(lanes, |x, y| x + y)
}

/// The largest element, negative infinity for none.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for a in chunks {
        for i in 0..LANES {
            lanes[i] = if a[i] > lanes[i] { a[i] } else { lanes[i] };
        }
    }
    for (i, a) in rest.iter().enumerate() {
        lanes[i] = lanes[i].max(*a);
    }
    tree(lanes, |x, y| if x > y { x } else { y })
}

multiversion! {
    /// `values *= factor`.
    pub(crate) fn scale(values: &mut [f32], factor: f32) {
        for x in values {
            *x *= factor;
        }
    }
}

multiversion! {
    /// `into += values`.
    pub(crate) fn add(into: &mut [f32], values: &[f32]) {
        for (x, y) in into.iter_mut().zip(values) {
            *x += *y;
        }
    }
}

multiversion! {
    /// `into += factor * values`.
    pub(crate) fn add_scaled(into: &mut [f32], values: &[f32], factor: f32) {
        for (x, y) in into.iter_mut().zip(values) {
            *x += factor * *y;
        }
    }
}

/// A vector of `n` floats with unspecified content, for outputs that are written in full.
#[expect(clippy::uninit_vec, reason = "zeroing would cost as much as the small operations")]
pub(crate) fn unwritten(n: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(n);
    // SAFETY: every bit pattern is a float, and callers write all elements before reading any.
    unsafe {
        values.set_len(n);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        let mut worst = 0.0_f64;
        for i in -86_999..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "{worst}");
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn sums_cover_whole_and_ragged_lengths() {
        for n in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let b = vec![2.0; n];
            let sum = (n * n.saturating_sub(1) / 2) as f32;
            assert_eq!(sum1(&a, |x| x), sum);
            assert_eq!(sum2(&a, &b, |x, y| x * y), 2.0 * sum);
            assert_eq!(sum3(&a, &b, &b, |x, y, z| x * y * z), 4.0 * sum);
            assert_eq!(max(&a), if n == 0 { f32::NEG_INFINITY } else { (n - 1) as f32 });
        }
    }
}
