//! [`Progress`]: how far a step is, how fast it goes and when it will end, from the times of records. It knows no clock.

/// Seconds after which an observation of the rate counts 1/e.
const MEMORY_SECONDS: f64 = 20.0;
/// Seconds to observe before a rate is told.
const WARM_UP_SECONDS: f64 = 1.0;

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Work done, in `unit`.
    pub done: u64,
    /// All work, if known.
    pub total: Option<u64>,
    /// Unit, e.g. `tokens`.
    pub unit: String,
    seen_ms: Option<u64>,
    worked: f64,
    took: f64,
}

impl Progress {
    pub(super) fn update(&mut self, time_ms: u64, done: u64, total: Option<u64>, unit: &str) {
        match self.seen_ms {
            // The first report says where it starts, perhaps from saved progress; a smaller one says that it started over.
            Some(seen) if done >= self.done => {
                let seconds = time_ms.saturating_sub(seen) as f64 / 1000.0;
                let decay = (-seconds / MEMORY_SECONDS).exp();
                self.worked = self.worked * decay + (done - self.done) as f64;
                self.took = self.took * decay + seconds;
            }
            _ => (self.worked, self.took) = (0.0, 0.0),
        }
        self.seen_ms = Some(time_ms);
        self.done = done;
        self.total = total;
        if self.unit != unit {
            self.unit = unit.to_owned();
        }
    }

    /// Share of the work done, 0 to 1; none when the total is unknown.
    pub fn ratio(&self) -> Option<f64> {
        match self.total {
            Some(0) => Some(1.0),
            Some(total) => Some((self.done as f64 / total as f64).clamp(0.0, 1.0)),
            None => None,
        }
    }

    /// Units a second, averaged with exponentially fading weights over the last seconds; none until it has been seen for a second.
    pub fn rate(&self) -> Option<f64> {
        (self.took >= WARM_UP_SECONDS && self.worked > 0.0).then(|| self.worked / self.took)
    }

    /// Seconds until all is done at the present rate, counted from `now_ms`.
    pub fn eta_seconds(&self, now_ms: u64) -> Option<f64> {
        let left = self.total?.saturating_sub(self.done) as f64;
        let since = now_ms.saturating_sub(self.seen_ms?) as f64 / 1000.0;
        Some((left / self.rate()? - since).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_gives_a_steady_end() {
        let mut progress = Progress::default();
        for second in 0..=30 {
            progress.update(second * 1000, 5_000 + second * 100, Some(10_000), "tokens");
        }
        assert!((progress.rate().unwrap() - 100.0).abs() < 1e-9, "saved progress must not count as speed");
        assert!((progress.eta_seconds(30_000).unwrap() - 20.0).abs() < 1e-9);
        assert!((progress.eta_seconds(35_000).unwrap() - 15.0).abs() < 1e-9);
        assert_eq!(progress.ratio(), Some(0.8));
    }

    #[test]
    fn the_rate_follows_changes_but_not_at_once() {
        let mut progress = Progress::default();
        let mut done = 0;
        for second in 0..60 {
            done += if second < 30 { 100 } else { 200 };
            progress.update(second * 1000, done, None, "tokens");
            if second == 31 {
                assert!((100.0..130.0).contains(&progress.rate().unwrap()));
            }
        }
        assert!((170.0..200.0).contains(&progress.rate().unwrap()));
        assert_eq!(progress.eta_seconds(60_000), None, "no total, no end");
    }

    #[test]
    fn nonsense_gives_no_rate() {
        let mut progress = Progress::default();
        progress.update(1000, 50, Some(0), "x");
        progress.update(900, 60, Some(0), "x");
        progress.update(5000, 10, Some(5), "x");
        assert_eq!((progress.rate(), progress.ratio()), (None, Some(1.0)));
    }
}
