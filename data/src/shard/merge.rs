//! One tokens artifact of several, as if their documents had been tokenised together.
//! Knows token files and sidecars; encodes nothing. Held are the sidecar of one file and one document.

use super::piece::read_sidecar;
use super::{DocumentPlace, TokenFiles, TokenWriter, TokensMeta};
use crate::error::DataError;
use crate::observe::{Observer, check};
use std::path::Path;

/// Writes the documents of `inputs` to `output`, source by source, in the order of the inputs: the token files are those of the documents
/// tokenised in one, and close at the same number of ids. Sidecars name the input before the document file: `shard-00002/part-…`.
///
/// Fails when the inputs are of different tokenizers.
pub fn merge_tokens(
    inputs: &[&Path],
    max_file_tokens: u64,
    output: &Path,
    observer: &dyn Observer,
) -> Result<TokensMeta, DataError> {
    let opened: Vec<TokenFiles> = inputs.iter().map(|input| TokenFiles::open(input)).collect::<Result<_, _>>()?;
    let Some(first) = opened.first().map(TokenFiles::meta) else {
        return Err(DataError::Params("there are no token files to merge".to_owned()));
    };
    for (input, files) in inputs.iter().zip(&opened) {
        let meta = files.meta();
        if (meta.tokenizer.as_str(), meta.vocab_size, meta.eos) != (first.tokenizer.as_str(), first.vocab_size, first.eos) {
            return Err(DataError::format(input, "its tokens are of another tokenizer than those of the first"));
        }
    }
    let total: u64 = opened.iter().map(TokenFiles::len).sum();
    let mut done = 0;
    let writer = TokenWriter::create(output, first.vocab_size as usize, first.eos, first.tokenizer.clone())?;
    let mut writer = writer.closing_at(max_file_tokens);
    for (index, (input, files)) in inputs.iter().zip(&opened).enumerate() {
        let mut start = 0;
        for source in &files.meta().sources {
            for file in &source.files {
                check(observer)?;
                let mask = match &file.mask {
                    Some(mask) => Some(fs_err::read(input.join(mask))?),
                    None => None,
                };
                let sidecar = input.join(file.name.replace(".npy", ".csv.gz"));
                for (from, to, id, src, loc) in read_sidecar(&sidecar)? {
                    let wrong = || DataError::format(&sidecar, format!("tokens {from}..{to} are not in `{}`", file.name));
                    if from > to || to > file.tokens {
                        return Err(wrong());
                    }
                    let ids = files.tokens(start + from..start + to)?;
                    let src = format!("shard-{index:05}/{src}");
                    let place = DocumentPlace { id: &id, src: &src, loc, bytes: 0 };
                    match &mask {
                        None => writer.write(&source.source, &ids, place)?,
                        Some(mask) => {
                            let mask = mask.get(from as usize..to as usize).ok_or_else(wrong)?;
                            let mask: Vec<bool> = mask.iter().map(|&byte| byte != 0).collect();
                            writer.write_masked(&source.source, &ids, &mask, place)?;
                        }
                    }
                }
                start += file.tokens;
                done += file.tokens;
                observer.progress(done, Some(total));
            }
            writer.add_bytes(&source.source, source.bytes);
        }
    }
    writer.finish()
}
