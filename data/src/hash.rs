//! The two hashes of this crate: 128 bits that name a content, and 64 bits that stand for a random choice.
//! Both are BLAKE3, so they depend on nothing but their input; knows no document.

/// 128 bits of BLAKE3: equal for equal bytes, and distinct otherwise up to a chance of about n²/2¹²⁹ among n contents.
pub(crate) fn content(bytes: &[u8]) -> u128 {
    let hash = blake3::hash(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// A uniform number for a choice named by `purpose`, `seed` and `parts`: the same for the same names, whatever was chosen before.
pub(crate) fn choice(purpose: &str, seed: u64, parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// That number as a fraction of one, in [0, 1).
pub(crate) fn unit(choice: u64) -> f64 {
    (choice >> 11) as f64 / (1u64 << 53) as f64
}

/// Passes a key that is already a hash through; for maps keyed by [`content`].
#[derive(Default)]
pub(crate) struct Prehashed(u64);

impl std::hash::Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
