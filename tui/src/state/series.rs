//! [`Series`]: one curve in bounded memory. Long histories are halved in place; every kept point remembers the mean and the extremes of
//! the samples it stands for, so that spikes stay visible. It does not know what is measured.

/// Points a series keeps at most.
pub const POINTS: usize = 2000;

/// Neighbouring samples in one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Abscissa of the last sample.
    pub at: u64,
    /// Number of samples.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Point {
    fn merge(&mut self, next: &Point) {
        let count = self.count.saturating_add(next.count);
        self.mean += (next.mean - self.mean) * (next.count as f64 / count as f64);
        self.count = count;
        self.at = next.at;
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
    }
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    points: Vec<Point>,
    per_point: u64,
    samples: u64,
    not_finite: u64,
    last: Option<(u64, f64)>,
}

impl Default for Series {
    fn default() -> Self {
        Self { points: Vec::new(), per_point: 1, samples: 0, not_finite: 0, last: None }
    }
}

impl Series {
    /// Adds a sample. A step back in `at` (a step that goes on from a checkpoint) replaces what was beyond.
    pub fn push(&mut self, at: u64, value: f64) {
        if self.last.is_some_and(|(last, _)| at < last) {
            while self.points.last().is_some_and(|point| point.at >= at) {
                self.points.pop();
            }
        }
        self.last = Some((at, value));
        self.samples = self.samples.saturating_add(1);
        if !value.is_finite() {
            self.not_finite = self.not_finite.saturating_add(1);
            return;
        }
        let sample = Point { at, count: 1, mean: value, min: value, max: value };
        match self.points.last_mut() {
            Some(point) if point.count < self.per_point => point.merge(&sample),
            _ => self.points.push(sample),
        }
        if self.points.len() > POINTS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let halves = self.points.chunks(2).map(|pair| {
            let mut point = pair[0];
            if let Some(next) = pair.get(1) {
                point.merge(next);
            }
            point
        });
        self.points = halves.collect();
        self.per_point = self.per_point.saturating_mul(2);
    }

    /// The kept points, at most [`POINTS`], ascending in `at`.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Samples taken, those that are not finite included.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples that were NaN or infinite; they have no place in the curve.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// The latest sample, as it came.
    pub fn last(&self) -> Option<(u64, f64)> {
        self.last
    }

    /// The smallest and the largest finite sample that is kept.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.points.iter().map(|point| (point.min, point.max)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The curve as a polyline that keeps every extreme: one vertex for a single sample, two for a point that stands for several.
    pub fn outline(&self) -> Vec<(f64, f64)> {
        let mut line = Vec::with_capacity(self.points.len());
        for point in &self.points {
            line.push((point.at as f64, point.min));
            if point.count > 1 {
                line.push((point.at as f64, point.max));
            }
        }
        line
    }

    /// The exponential moving average over a span of `share` (above 0) of all samples, at least three, without bias at the start: with
    /// d = 1 - 1/span per sample, the sum of d^age·(1-d)·value over the same sum without the values.
    pub fn smoothed(&self, share: f64) -> Vec<(f64, f64)> {
        let span = (self.points.iter().map(|point| point.count as f64).sum::<f64>() * share).max(3.0);
        let keep = 1.0 - 1.0 / span;
        let (mut sum, mut weight) = (0.0, 0.0);
        let values = self.points.iter().map(|point| {
            let decay = keep.powf(point.count as f64);
            sum = sum * decay + (1.0 - decay) * point.mean;
            weight = weight * decay + (1.0 - decay);
            (point.at as f64, sum / weight)
        });
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_histories_are_bounded_and_keep_their_spikes() {
        let mut series = Series::default();
        for at in 0..100_000_u64 {
            let spike = if at == 31_337 { 40.0 } else { 0.0 };
            series.push(at, 10.0 - at as f64 / 10_000.0 + spike);
        }
        assert!(series.points().len() <= POINTS && series.points().len() > POINTS / 2 - 1);
        assert_eq!(series.samples(), 100_000);
        assert_eq!(series.points().iter().map(|point| point.count).sum::<u64>(), 100_000);
        let (low, high) = series.range().unwrap();
        assert!((low - 0.0001).abs() < 1e-9 && high > 46.0);
        let mean = series.points().iter().map(|p| p.mean * p.count as f64).sum::<f64>() / 100_000.0;
        assert!((mean - (5.00005 + 40.0 / 100_000.0)).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn going_on_from_a_checkpoint_rewrites_the_tail() {
        let mut series = Series::default();
        (0..10).for_each(|at| series.push(at, at as f64));
        series.push(6, 60.0);
        let curve: Vec<_> = series.points().iter().map(|point| (point.at, point.mean)).collect();
        assert_eq!(curve[5..], [(5, 5.0), (6, 60.0)]);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_not_drawn() {
        let mut series = Series::default();
        [1.0, f64::NAN, f64::INFINITY].into_iter().enumerate().for_each(|(at, value)| series.push(at as u64, value));
        assert_eq!((series.points().len(), series.not_finite(), series.last().unwrap().0), (1, 2, 2));
    }

    #[test]
    fn smoothing_keeps_a_constant_and_damps_noise() {
        let mut flat = Series::default();
        let mut noisy = Series::default();
        for at in 0..500 {
            flat.push(at, 3.0);
            noisy.push(at, 3.0 + if at % 2 == 0 { 1.0 } else { -1.0 });
        }
        assert!(flat.smoothed(0.1).iter().all(|(_, y)| (y - 3.0).abs() < 1e-12));
        assert!(noisy.smoothed(0.1)[100..].iter().all(|(_, y)| (y - 3.0).abs() < 0.1));
    }
}
