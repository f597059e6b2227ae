//! An archive without its compression; what is asserted is in `cache::fuzz`. Once as it is, and once with sums in its headers that
//! agree with them, which chance would never find.
#![no_main]

/// Size of a block, and so of a header.
const BLOCK: usize = 512;
/// Where a header has its sum.
const SUM: std::ops::Range<usize> = 148..156;
/// Where a header has the word by which it is known.
const MAGIC: std::ops::Range<usize> = 257..262;

fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| &block[MAGIC] == b"ustar") {
        block[SUM].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cache::fuzz::fuzz_archive(bytes);
    let mended = mended(bytes);
    if mended != bytes {
        cache::fuzz::fuzz_archive(&mended);
    }
});
