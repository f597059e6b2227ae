//! Figures as people read them: durations, counts, sizes, measurements. Pure text, no styles.

/// A duration in at most seven characters: `0.42s`, `12.3s`, `4m05s`, `2h07m`, `3d04h`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{:.2}s", milliseconds as f64 / 1000.0),
        10..60 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        _ => "∞".to_owned(),
    }
}

/// A duration that is guessed, so without fractions: `8s`, `4m05s`.
pub fn guess(seconds: f64) -> String {
    if seconds > 59.0 { duration((seconds.ceil() * 1000.0) as u64) } else { format!("{}s", seconds.max(0.0).ceil() as u64) }
}

/// A count in at most five characters: `999`, `1.2k`, `34k`, `5.6M`.
pub fn count(count: u64) -> String {
    scaled(count as f64, 1000.0, ["", "k", "M", "G", "T", "P", "E"])
}

/// A size: `512B`, `1.2KiB`, `34MiB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// A rate with its unit: `1.2k tokens/s`, `0.31 documents/s`.
pub fn rate(per_second: f64, unit: &str) -> String {
    let figure = if per_second < 10.0 { value(per_second) } else { count(per_second as u64) };
    format!("{figure} {unit}/s")
}

/// A measurement to four significant digits: `2.314`, `0.0123`, `1.2e-5`, `12.35k`.
pub fn value(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if !value.is_finite() => return if value.is_nan() { "NaN".into() } else { format!("{value}") },
        0.0 => return "0".into(),
        _ if value.fract() == 0.0 && size < 100_000.0 => return format!("{value}"),
        _ if !(1e-4..1e15).contains(&size) => return format!("{value:.2e}"),
        _ if size >= 100_000.0 => {
            let mut size = value;
            let mut suffix = 0;
            while size.abs() >= 999.95 && suffix < 4 {
                size /= 1000.0;
                suffix += 1;
            }
            return format!("{size:.1}{}", ["", "k", "M", "G", "T"][suffix]);
        }
        _ => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 8) as usize;
            format!("{value:.digits$}")
        }
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn scaled(mut figure: f64, base: f64, suffixes: [&str; 7]) -> String {
    let mut place = 0;
    while figure >= base - 0.5 && place + 1 < suffixes.len() {
        figure /= base;
        place += 1;
    }
    // 9.95 would round to 10.0: one digit too many.
    if place == 0 || figure >= 9.95 {
        format!("{figure:.0}{}", suffixes[place])
    } else {
        format!("{figure:.1}{}", suffixes[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fit_seven_characters() {
        let shown: Vec<_> = [420, 12_340, 245_000, 7_620_000, 273_600_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["0.42s", "12.3s", "4m05s", "2h07m", "3d04h"]);
        assert!((0..64).all(|bit| duration((1_u64 << bit) - 1).chars().count() <= 7));
        assert_eq!((guess(7.2), guess(-1.0), guess(f64::NAN)), ("8s".into(), "0s".into(), "0s".into()));
    }

    #[test]
    fn counts_and_sizes_round_across_the_border() {
        let shown: Vec<_> = [0, 999, 1000, 1234, 9_960, 34_000, 999_700, 5_600_000, u64::MAX].into_iter().map(count).collect();
        assert_eq!(shown, ["0", "999", "1.0k", "1.2k", "10k", "34k", "1.0M", "5.6M", "18E"]);
        assert_eq!((bytes(512), bytes(1229), bytes(35 << 20)), ("512B".into(), "1.2KiB".into(), "35MiB".into()));
    }

    #[test]
    fn measurements_keep_four_digits() {
        let shown: Vec<_> =
            [0.0, 2.31416, 0.0123, 0.5, 1.25e-5, 98_765.4, 123_456.7, -3.0, 1e20, f64::NAN].into_iter().map(value).collect();
        assert_eq!(shown, ["0", "2.314", "0.0123", "0.5", "1.25e-5", "98765", "123.5k", "-3", "1.00e20", "NaN"]);
        assert_eq!((rate(1234.0, "tokens"), rate(0.31, "documents")), ("1.2k tokens/s".into(), "0.31 documents/s".into()));
    }
}
