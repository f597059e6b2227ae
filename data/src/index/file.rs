//! Files of an index, mapped into memory: symbols, positions, offsets.
//! Knows widths and lengths, not what the numbers mean.
#![allow(clippy::useless_conversion, reason = "the same code reads symbols of 8, 16 and 32 bits")]

use crate::error::DataError;
use memmap2::Mmap;
use std::path::Path;

/// A mapped file.
pub(crate) struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a file of any length.
    pub(crate) fn whole(path: &Path) -> Result<Mapped, DataError> {
        let file = fs_err::File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: artifacts are not changed after they were made; this program never writes to a file that an index is made of.
        let map = unsafe { Mmap::map(file.file()) }.map_err(|error| DataError::format(path, error))?;
        Ok(Mapped(Some(map)))
    }

    /// Maps a file that must have a length.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Mapped, DataError> {
        let mapped = Mapped::whole(path)?;
        if mapped.bytes().len() as u64 != bytes {
            return Err(DataError::format(
                path,
                format!("it has {} bytes, but index.json promises {bytes}", mapped.bytes().len()),
            ));
        }
        Ok(mapped)
    }

    pub(crate) fn of(file: &std::fs::File) -> Result<Mapped, DataError> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: the file has no name, and nobody else has it open.
        Ok(Mapped(Some(unsafe { Mmap::map(file) }?)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// As numbers; pages begin where any number may.
    pub(crate) fn numbers<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }
}

/// The symbols of a corpus.
pub(crate) enum Symbols {
    One(Mapped),
    Two(Mapped),
    Four(Mapped),
}

/// Runs the same code for each width of symbols: `with_symbols!(symbols, text => ...)`.
macro_rules! with_symbols {
    ($symbols:expr, $text:ident => $body:expr) => {
        match $symbols {
            $crate::index::file::Symbols::One(map) => {
                let $text: &[u8] = map.numbers();
                $body
            }
            $crate::index::file::Symbols::Two(map) => {
                let $text: &[u16] = map.numbers();
                $body
            }
            $crate::index::file::Symbols::Four(map) => {
                let $text: &[u32] = map.numbers();
                $body
            }
        }
    };
}
pub(crate) use with_symbols;

impl Symbols {
    pub(crate) fn open(path: &Path, width: u8, count: u64) -> Result<Symbols, DataError> {
        let map = Mapped::open(path, count * u64::from(width))?;
        match width {
            1 => Ok(Symbols::One(map)),
            2 => Ok(Symbols::Two(map)),
            4 => Ok(Symbols::Four(map)),
            other => Err(DataError::format(path, format!("symbols of {other} bytes are unknown"))),
        }
    }

    pub(crate) fn at(&self, position: u64) -> u32 {
        with_symbols!(self, text => u32::from(text[position as usize]))
    }

    pub(crate) fn range(&self, range: std::ops::Range<u64>) -> Vec<u32> {
        with_symbols!(self, text => text[range.start as usize..range.end as usize].iter().map(|&symbol| u32::from(symbol)).collect())
    }
}

/// Positions of 4 or 5 bytes.
pub(crate) struct Places {
    map: Mapped,
    width: usize,
}

/// Bytes of a position in a corpus of so many symbols.
pub(crate) fn place_bytes(symbols: u64) -> u8 {
    if symbols <= 1 << 32 { 4 } else { 5 }
}

impl Places {
    pub(crate) fn open(path: &Path, width: u8, count: u64) -> Result<Places, DataError> {
        if !matches!(width, 4 | 5) {
            return Err(DataError::format(path, format!("positions of {width} bytes are unknown")));
        }
        Ok(Places { map: Mapped::open(path, count * u64::from(width))?, width: usize::from(width) })
    }

    pub(crate) fn at(&self, rank: u64) -> u64 {
        let at = rank as usize * self.width;
        let mut bytes = [0; 8];
        bytes[..self.width].copy_from_slice(&self.map.bytes()[at..at + self.width]);
        u64::from_le_bytes(bytes)
    }
}
