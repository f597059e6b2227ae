//! The meaning of a few Python string methods that Dolma's taggers are written with, where Rust's differ.
//! Knows nothing of taggers. (Facts checked against CPython 3.11; category tables are those of `regex-syntax`.)

use regex_syntax::hir::{Class, HirKind};
use std::sync::LazyLock;

/// `str.isspace()` of one character: Unicode white space and the four ASCII separators U+001C..U+001F.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether an ASCII byte is space in that sense.
pub(crate) const fn is_space_byte(byte: u8) -> bool {
    matches!(byte, 9..=13 | 0x1c..=0x20)
}

/// `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// White space of the `regex` module and of Rust: `\s` without the ASCII separators.
pub(crate) const SPACE: u8 = 1;
/// `\w` of the `regex` module and of Rust.
pub(crate) const WORD: u8 = 2;
/// `str.isalpha()`.
pub(crate) const ALPHA: u8 = 4;
/// `str.isalnum()`.
pub(crate) const ALNUM: u8 = 8;
/// Punctuation and symbols: `[[:punct:]]` of the `regex` module.
pub(crate) const PUNCT: u8 = 16;

/// For every code point, which of the classes above it belongs to.
static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut classes = vec![0u8; char::MAX as usize + 1];
    let patterns = [(SPACE, r"\s"), (WORD, r"\w"), (ALPHA, r"\p{L}"), (ALNUM, r"[\p{L}\p{N}]"), (PUNCT, r"[\p{P}\p{S}]")];
    for (flag, pattern) in patterns {
        for (low, high) in class(pattern) {
            classes[low as usize..=high as usize].iter_mut().for_each(|flags| *flags |= flag);
        }
    }
    classes
});

/// The classes of all code points; index it by code point.
pub(crate) fn classes() -> &'static [u8] {
    &CLASSES
}

/// Sorted ranges of a Unicode class written as a regular expression.
pub(crate) fn class(pattern: &str) -> Vec<(u32, u32)> {
    match regex_syntax::parse(pattern).map(|hir| hir.into_kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => {
            class.ranges().iter().map(|range| (range.start() as u32, range.end() as u32)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether sorted ranges contain a character.
pub(crate) fn in_ranges(ranges: &[(u32, u32)], c: char) -> bool {
    let c = c as u32;
    ranges
        .binary_search_by(|&(low, high)| {
            if high < c {
                std::cmp::Ordering::Less
            } else if low > c {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
        .is_ok()
}

/// Whether any character of a word is alphabetic in the sense of `str.isalpha()`.
pub(crate) fn any_alpha(word: &str) -> bool {
    if word.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return true;
    }
    !word.is_ascii() && word.chars().any(|c| classes()[c as usize] & ALPHA != 0)
}

/// `round(x, 5)`: the nearest decimal of the exact binary value.
pub(crate) fn round5(x: f64) -> f64 {
    if x.fract() == 0.0 || !x.is_finite() {
        return x;
    }
    // Where the fifth decimal is plain to see, the quotient of two integers is the nearest value; ties and large values go by digits.
    let scaled = x * 1e5;
    if scaled.abs() < 1e9 && (scaled.fract().abs() - 0.5).abs() > 1e-4 {
        return scaled.round() / 1e5;
    }
    format!("{x:.5}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_strip_alpha_round() {
        assert!(is_space('\u{1c}') && is_space('\u{a0}') && is_space('\u{3000}') && !is_space('\u{200b}'));
        for byte in 0..128u8 {
            assert_eq!(is_space_byte(byte), is_space(byte as char), "{byte}");
        }
        assert_eq!(strip("\u{1f} a b\u{85}\n"), "a b");
        assert!(any_alpha("1é") && any_alpha("日") && !any_alpha("12…Ⅳ") && !any_alpha("\u{93e}"));
        assert_eq!([round5(0.000_025), round5(2.675), round5(1.0 / 3.0), round5(5.0)], [0.00003, 2.675, 0.33333, 5.0]);
        assert_eq!(class(r"\p{N}").first(), Some(&(0x30, 0x39)));
        let flags = |c: char| classes()[c as usize];
        assert!(flags('_') & WORD != 0 && flags('½') & ALNUM != 0 && flags('½') & ALPHA == 0 && flags('+') & PUNCT != 0);
        assert!(flags('\u{1c}') & SPACE == 0 && flags('\u{85}') & SPACE != 0);
    }

    proptest::proptest! {
        #[test]
        fn rounding_is_that_of_decimals(x in -1e5..1e5f64, k in 0u32..1000) {
            for x in [x, x / 1e5, f64::from(k) / 7.0, (f64::from(k) + 0.5) / 1e5] {
                proptest::prop_assert_eq!(round5(x), format!("{x:.5}").parse::<f64>().unwrap());
            }
        }
    }
}
