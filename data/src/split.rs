//! Sets documents aside for evaluation, by the hash of their text, so that no text is on both sides.
//! Knows exact texts only; near-duplicates can still cross (dedup first).

use crate::document::{DocumentWriter, Totals};
use crate::error::DataError;
use crate::hash::{choice, unit};
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use std::path::Path;

/// A part to set aside.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut<'a> {
    /// Where its documents go.
    pub dir: &'a Path,
    /// Expected share of the documents, between 0 and 1.
    pub fraction: f64,
}

/// Writes the documents of `input` into the held-out parts and the `rest`; returns the totals of the rest, then of each part.
///
/// A text's place is decided by a hash of (seed, text) alone: it is the same in any corpus, and a part only grows with its fraction
/// when it is the first one. Fails when fractions are not in (0, 1) or sum to 1 or more.
pub fn split(
    input: &Path,
    rest: &Path,
    held_out: &[HeldOut<'_>],
    seed: u64,
    observer: &dyn Observer,
) -> Result<Vec<Totals>, DataError> {
    let sum: f64 = held_out.iter().map(|part| part.fraction).sum();
    if held_out.iter().any(|part| !(part.fraction > 0.0 && part.fraction < 1.0)) || sum >= 1.0 {
        return Err(DataError::Params("held-out fractions must lie between 0 and 1 and sum to less than 1".to_owned()));
    }
    let mut writers = vec![DocumentWriter::create(rest)?];
    for part in held_out {
        writers.push(DocumentWriter::create(part.dir)?);
    }
    for_each_batch(input, observer, |batch| {
        let places: Vec<usize> = batch
            .documents
            .par_iter()
            .map(|document| {
                let mut u = unit(choice("split", seed, &[document.text.as_bytes()]));
                for (i, part) in held_out.iter().enumerate() {
                    if u < part.fraction {
                        return i + 1;
                    }
                    u -= part.fraction;
                }
                0
            })
            .collect();
        let mut parts: Vec<Vec<_>> = (0..writers.len()).map(|_| Vec::new()).collect();
        for (document, place) in batch.documents.into_iter().zip(places) {
            parts[place].push(document);
        }
        writers.iter_mut().zip(parts).try_for_each(|(writer, part)| writer.write(&part))
    })?;
    let totals: Vec<Totals> = writers.into_iter().map(DocumentWriter::finish).collect::<Result<_, _>>()?;
    observer.metric("held_out_documents", totals[1..].iter().map(|totals| totals.documents).sum::<u64>() as f64);
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::testing::{read, write};
    use std::collections::BTreeSet;

    fn parts(documents: &[Document], fraction: f64, seed: u64) -> (Vec<Document>, Vec<Document>) {
        let (input, rest, valid) = (write(documents), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        split(input.path(), rest.path(), &[HeldOut { dir: valid.path(), fraction }], seed, &()).unwrap();
        (read(rest.path()), read(valid.path()))
    }

    #[test]
    fn no_text_crosses_and_every_document_is_somewhere() {
        let documents: Vec<_> = (0..2000).map(|i| Document::new(format!("d{i}"), format!("text {}", i % 1000), "s")).collect();
        let (rest, valid) = parts(&documents, 0.1, 3);
        assert_eq!(rest.len() + valid.len(), 2000);
        assert!((130..270).contains(&valid.len()), "{}", valid.len());
        let texts = |documents: &[Document]| documents.iter().map(|document| document.text.clone()).collect::<BTreeSet<_>>();
        assert!(texts(&rest).is_disjoint(&texts(&valid)));
        let larger = texts(&parts(&documents, 0.2, 3).1);
        assert!(texts(&valid).is_subset(&larger), "a part grows with its fraction");
        assert_ne!(texts(&parts(&documents, 0.1, 4).1), texts(&valid));
    }

    #[test]
    fn fractions_are_checked() {
        let input = write(&[]);
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            let dir = tempfile::tempdir().unwrap();
            assert!(split(input.path(), dir.path(), &[HeldOut { dir: dir.path(), fraction }], 0, &()).is_err());
        }
    }
}
