//! Means with their standard errors.
//!
//! Pure functions of numbers.

use serde::{Deserialize, Serialize};

/// A measured value, how far it may be off, and from how many instances it comes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Standard error: sample standard deviation over `sqrt(n)`; for scores of 0 and 1 this is the binomial
    /// `sqrt(p (1 - p) / (n - 1))`. `None` below two instances.
    pub stderr: Option<f64>,
    /// Number of instances.
    pub n: usize,
}

impl Estimate {
    /// The mean of per-instance values. Zero, without an error, if there are none.
    pub fn mean(values: &[f64]) -> Estimate {
        let n = values.len();
        if n == 0 {
            return Estimate { value: 0.0, stderr: None, n };
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let stderr = (n > 1).then(|| {
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
            (variance / n as f64).sqrt()
        });
        Estimate { value: mean, stderr, n }
    }

    /// The quotient `sum(numerators) / sum(denominators)` over instances, with the delta-method standard error
    /// `sqrt(sum((a_i - r b_i)^2) * n / (n - 1)) / sum(b)`.
    pub fn ratio(numerators: &[f64], denominators: &[f64]) -> Estimate {
        let n = numerators.len().min(denominators.len());
        let total: f64 = denominators.iter().sum();
        if n == 0 || total == 0.0 {
            return Estimate { value: 0.0, stderr: None, n };
        }
        let value = numerators.iter().sum::<f64>() / total;
        let stderr = (n > 1).then(|| {
            let squares: f64 = numerators.iter().zip(denominators).map(|(a, b)| (a - value * b).powi(2)).sum();
            (squares * n as f64 / (n - 1) as f64).sqrt() / total
        });
        Estimate { value, stderr, n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_bits_has_the_binomial_error() {
        let estimate = Estimate::mean(&[1.0, 0.0, 1.0, 1.0]);
        assert_eq!((estimate.value, estimate.n), (0.75, 4));
        assert!((estimate.stderr.unwrap() - (0.75 * 0.25 / 3.0_f64).sqrt()).abs() < 1e-12);
        assert_eq!(Estimate::mean(&[2.0]), Estimate { value: 2.0, stderr: None, n: 1 });
        assert_eq!(Estimate::mean(&[]).n, 0);
    }

    #[test]
    fn a_ratio_weights_by_the_denominator() {
        let estimate = Estimate::ratio(&[2.0, 10.0], &[1.0, 9.0]);
        assert!((estimate.value - 1.2).abs() < 1e-12);
        let equal = Estimate::ratio(&[1.0, 3.0], &[2.0, 6.0]);
        assert!(equal.stderr.unwrap() < 1e-12);
        let as_mean = Estimate::ratio(&[1.0, 0.0, 1.0], &[1.0; 3]);
        assert!((as_mean.stderr.unwrap() - Estimate::mean(&[1.0, 0.0, 1.0]).stderr.unwrap()).abs() < 1e-12);
    }
}
