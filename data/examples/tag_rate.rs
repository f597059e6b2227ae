//! Does what `dolma tag` does, for measuring both: reads a folder of Dolma documents, runs taggers, writes attribute files
//! (`<tagger>/<name>.jsonl.gz`, gzip level 6). `tag_rate DOCUMENTS OUTPUT THREADS TAGGER...`; the figures go to standard error.

use data::document::{Attributes, Batch, Document, read_documents};
use data::tagger::{Compat, Tagger, tag_document, taggers};
use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::prelude::*;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(serde::Serialize)]
struct Row<'a> {
    id: &'a str,
    attributes: &'a Attributes,
    source: &'a str,
}

fn rows(documents: &mut [Document], taggers: &[Box<dyn Tagger>]) -> Result<Vec<u8>, serde_json::Error> {
    let rows: Vec<Result<Vec<u8>, serde_json::Error>> = documents
        .par_iter_mut()
        .map(|document| {
            document.attributes.clear();
            tag_document(document, taggers, Compat::Dolma12);
            let row = Row { id: &document.id, attributes: &document.attributes, source: &document.source };
            let mut line = serde_json::to_vec(&row)?;
            line.push(b'\n');
            Ok(line)
        })
        .collect();
    Ok(rows.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// Files are shared out to threads, as Dolma's are to processes.
fn file(path: &Path, output: &Path, taggers: &[Box<dyn Tagger>]) -> Result<(u64, u64), Box<dyn Error + Send + Sync>> {
    let (mut documents, mut bytes) = (0, 0);
    let mut encoder = GzEncoder::new(std::io::BufWriter::new(fs_err::File::create(output)?), Compression::new(6));
    for batch in read_documents(path)? {
        let Batch { documents: mut found, .. } = batch?;
        documents += found.len() as u64;
        bytes += found.iter().map(|document| document.text.len() as u64).sum::<u64>();
        encoder.write_all(&rows(&mut found, taggers)?)?;
    }
    encoder.finish()?.flush()?;
    Ok((documents, bytes))
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, threads, names @ ..] = arguments.as_slice() else {
        return Err("usage: tag_rate DOCUMENTS OUTPUT THREADS TAGGER...".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let taggers = taggers(names)?;
    let folder = PathBuf::from(output).join(names.join("+"));
    fs_err::create_dir_all(&folder)?;
    let start = Instant::now();
    let totals: Vec<(u64, u64)> = data::document::document_files(Path::new(input))?
        .par_iter()
        .map(|path| file(path, &folder.join(path.file_name().unwrap_or_default()), &taggers))
        .collect::<Result<_, _>>()?;
    let (documents, bytes) = totals.iter().fold((0, 0), |sum, here| (sum.0 + here.0, sum.1 + here.1));
    let seconds = start.elapsed().as_secs_f64();
    writeln!(std::io::stderr(), "{documents} documents, {bytes} bytes of text, {seconds:.2} s on {threads} threads")?;
    Ok(())
}
