//! Token directories that the `data` crate wrote, as sources of training windows.

use std::ops::Range;
use std::path::Path;

use data::shard::TokenFiles;

use super::{LoaderError, ReadError, TokenSource};

/// The token files of a directory, or those of one source in it.
#[derive(Debug)]
pub struct TokenDirectory {
    files: TokenFiles,
    chosen: Vec<Range<u64>>,
}

impl TokenDirectory {
    /// Opens `dir`; with `source`, only the files of that source.
    ///
    /// # Errors
    /// When the directory cannot be read or has no such source.
    pub fn open(dir: &Path, source: Option<&str>) -> Result<Self, LoaderError> {
        let files = TokenFiles::open(dir).map_err(|error| LoaderError::Read(error.into()))?;
        let mut chosen = files.files();
        if let Some(name) = source {
            let range = files.source(name).ok_or_else(|| {
                let known = files.meta().sources.iter().map(|s| s.source.as_str()).collect::<Vec<_>>().join(", ");
                LoaderError::Source { name: name.into(), dir: dir.to_path_buf(), known }
            })?;
            chosen.retain(|file| range.start <= file.start && file.end <= range.end);
        }
        Ok(Self { files, chosen })
    }
}

impl TokenSource for TokenDirectory {
    fn file_lengths(&self) -> Vec<u64> {
        self.chosen.iter().map(|file| file.end - file.start).collect()
    }

    fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
        Ok(self.files.read(self.chosen[file].start + start, out)?)
    }

    fn documents(&self, file: usize, _eos: u32) -> Result<Vec<Range<u64>>, ReadError> {
        let start = self.chosen[file].start;
        let documents = self.files.documents(self.chosen[file].clone())?;
        Ok(documents.into_iter().map(|place| place.start - start..place.end - start).collect())
    }

    fn vocab_size(&self) -> Option<u64> {
        Some(self.files.meta().vocab_size)
    }

    fn eos(&self) -> Option<u32> {
        Some(self.files.meta().eos)
    }
}

#[cfg(test)]
mod tests {
    use data::shard::{DocumentPlace, TokenWriter};

    use super::*;
    use crate::loader::{Ingredient, Loader, LoaderConfig};

    #[test]
    fn a_source_of_a_directory_is_read_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = TokenWriter::create(dir.path(), 1000, 0, String::new()).unwrap();
        let place = || DocumentPlace { id: "d", src: "f", loc: 1, bytes: 10 };
        writer.write("code", &[1, 2, 3, 4, 5, 6, 7, 0], place()).unwrap();
        writer.write("prose", &[11, 12, 13, 0], place()).unwrap();
        writer.finish().unwrap();
        let prose = TokenDirectory::open(dir.path(), Some("prose")).unwrap();
        assert_eq!((prose.file_lengths(), prose.eos(), prose.vocab_size()), (vec![4], Some(0), Some(1000)));
        let error = TokenDirectory::open(dir.path(), Some("verse")).unwrap_err().to_string();
        assert!(error.contains("verse") && error.contains("code, prose"), "{error}");

        assert_eq!(prose.documents(0, 0).unwrap(), vec![0..4]);
        let config = LoaderConfig::windows(4, 4, 1, 0, 1000);
        let loader = Loader::new(config.clone(), vec![Ingredient::new("prose", prose, 1.0)]).unwrap();
        assert_eq!(&*loader.batch(0).unwrap().tokens.ids, &[11, 12, 13, 0]);
        let all = TokenDirectory::open(dir.path(), None).unwrap();
        let error = Loader::new(LoaderConfig { vocab_size: 500, ..config }, vec![Ingredient::new("all", all, 1.0)]);
        assert!(error.unwrap_err().to_string().contains("500"));
    }
}
