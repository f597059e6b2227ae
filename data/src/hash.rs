//! 64 bits that stand for a random choice. They are BLAKE3, so they depend on nothing but their input; knows no document.

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
