//! Figures as people read them: durations, sizes, counts, times of day. Pure.

/// `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// `512 B`, `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].iter().peekable();
    while value >= 1024.0 && units.len() > 1 {
        value /= 1024.0;
        units.next();
    }
    let unit = units.peek().map_or("B", |unit| **unit);
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `950`, `12.3 k`, `1.05 M`, `3.2 T`.
pub fn count(value: f64) -> String {
    let steps = [(1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")];
    match steps.iter().find(|(scale, _)| value.abs() >= *scale) {
        Some((1e4, unit)) => format!("{:.1}{unit}", value / 1e3),
        Some((scale, unit)) => format!("{:.2}{unit}", value / scale),
        None if value.fract() == 0.0 => format!("{value:.0}"),
        None => number(value),
    }
}

/// A measurement with four significant digits.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if (-4..7).contains(&magnitude) {
        let digits = usize::try_from(3 - magnitude).unwrap_or(0);
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.3e}")
    }
}

/// `2026-11-24 08:30:05` in UTC from milliseconds since the epoch.
pub fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to civil date: Howard Hinnant's algorithm over 400-year eras.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(245.2), "4 min 05 s");
        assert_eq!(size(1_500_000), "1.4 MiB");
        assert_eq!(count(1_048_576.0), "1.05 M");
        assert_eq!(count(12_345.0), "12.3 k");
        assert_eq!(number(0.000_123_46), "0.0001235");
        assert_eq!(number(123_456.0), "123456");
        assert_eq!(time(1_795_508_005_000), "2026-11-24 08:13:25");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
    }
}
