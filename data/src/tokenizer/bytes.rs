//! The 256 printable characters that stand for bytes in byte-level vocabularies (Radford et al. 2019).
//! Knows no vocabulary.

use std::sync::LazyLock;

/// The character of each byte: itself when printable in Latin-1, else one of U+0100 and up.
pub(crate) static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut chars = ['\0'; 256];
    let mut next = 0x100u32;
    for byte in 0..=255u8 {
        chars[byte as usize] = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as char,
            _ => {
                next += 1;
                char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
            }
        };
    }
    chars
});

/// Appends the characters that stand for bytes.
pub(crate) fn push_chars(bytes: &[u8], chars: &mut String) {
    chars.extend(bytes.iter().map(|&byte| CHARS[byte as usize]));
}

/// The bytes that characters stand for; `None` if one of them stands for none.
pub(crate) fn from_chars(chars: &str) -> Option<Vec<u8>> {
    chars
        .chars()
        .map(|c| match c as u32 {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(c as u8),
            0x100..=0x143 => CHARS.iter().position(|&other| other == c).map(|byte| byte as u8),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_character_the_library_gives_it() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(CHARS.iter().copied().collect::<ahash::AHashSet<_>>(), alphabet);
        let bytes: Vec<u8> = (0..=255).collect();
        let mut chars = String::new();
        push_chars(&bytes, &mut chars);
        assert_eq!(from_chars(&chars), Some(bytes));
        assert_eq!((CHARS[b' ' as usize], CHARS[b'\n' as usize]), ('Ġ', 'Ċ'));
        assert_eq!(from_chars("日"), None);
    }
}
