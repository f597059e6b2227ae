//! Documents of the Dolma toolkit with the attributes that were found in them: `documents/**` joined with `attributes/<name>/**`.
//! Knows the two kinds of files and how they belong together; rows are read as [`super::jsonl`] reads them.

use super::intake::{Care, Imported, Intake};
use super::jsonl::{Fields, rows};
use crate::document::{AttributeRows, Document, InputFile, LineReader};
use crate::error::DataError;
use crate::observe::{Observer, check};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads document files, in the order given, joined with attribute files, into `output`.
///
/// `P/attributes/<name>/F` belongs to `P/documents/F`, whatever compression each has. Of two attribute sets that hold the same key, the
/// later in order of names wins.
///
/// Fails when a document file lacks one of the attribute sets that others have, an attribute file belongs to no document file, or
/// rows are not those of the documents, one for one and id by id. A document that is a bad row passes over its row of attributes;
/// a row of attributes that cannot be read is an error whatever `care` says, since what follows could not be told apart.
pub fn read_dolma(
    documents: &[InputFile],
    attributes: &[InputFile],
    care: Care,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Imported, DataError> {
    let joined = pair(documents, attributes)?;
    let mut intake = Intake::create(output, care, observer)?;
    let mut total = 0;
    for file in documents {
        total += fs_err::metadata(&file.path)?.len();
    }
    let mut before = 0;
    for (file, sets) in documents.iter().zip(joined) {
        let mut sets = sets
            .into_iter()
            .map(|file| Ok((file.name.clone(), AttributeRows::open(file, care.max_line_bytes)?)))
            .collect::<Result<Vec<_>, DataError>>()?;
        let mut reader = LineReader::open(vec![file.clone()], care.max_line_bytes)?;
        let mut cut = false;
        while let Some(batch) = reader.next() {
            check(observer)?;
            let mut batch = batch?;
            let (mut documents, mut faults) = rows(&batch, &Fields::default());
            faults.append(&mut batch.faults);
            cut |= faults.iter().any(|fault| !fault.is_line);
            if !sets.is_empty() {
                let bad = faults.iter().filter(|fault| fault.is_line).map(|fault| fault.line).collect();
                join(&mut documents, bad, &mut sets)?;
            }
            intake.take(file, documents, faults)?;
            observer.progress(before + reader.position().0, Some(total));
        }
        before += reader.position().1;
        for (_, set) in sets.iter_mut().filter(|_| !cut) {
            if let Some(row) = set.next()? {
                return Err(row.error(format!("there is no document for `{}` in `{}`", row.id, file.name)));
            }
        }
    }
    intake.finish()
}

/// Adds to the documents of a batch what the sets say; rows of the lines in `bad` are passed over.
fn join(documents: &mut [(u64, Document)], mut bad: Vec<u64>, sets: &mut [(String, AttributeRows)]) -> Result<(), DataError> {
    bad.sort_unstable();
    let mut bad = bad.into_iter().peekable();
    for (line, document) in documents {
        while bad.next_if(|bad| bad < line).is_some() {
            pass(sets)?;
        }
        for (name, set) in sets.iter_mut() {
            let Some(row) = set.next()? else {
                let message = format!("`{name}` has no row for it; it holds fewer rows than there are documents");
                return Err(DataError::Document { id: document.id.clone(), message });
            };
            if row.id != document.id {
                return Err(row.error(format!("the row is for `{}`, but the document is `{}`", row.id, document.id)));
            }
            document.attributes.extend(row.attributes);
        }
    }
    for _ in bad {
        pass(sets)?;
    }
    Ok(())
}

fn pass(sets: &mut [(String, AttributeRows)]) -> Result<(), DataError> {
    sets.iter_mut().try_for_each(|(_, set)| set.next().map(drop))
}

/// The attribute files of every document file, by the names of their sets.
fn pair(documents: &[InputFile], attributes: &[InputFile]) -> Result<Vec<Vec<InputFile>>, DataError> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (index, file) in documents.iter().enumerate() {
        places.insert(plain(&file.path.to_string_lossy()).to_owned(), index);
    }
    let mut joined: Vec<BTreeMap<String, InputFile>> = vec![BTreeMap::new(); documents.len()];
    let mut all_sets: BTreeMap<String, String> = BTreeMap::new();
    for file in attributes {
        let path = file.path.to_string_lossy();
        let path = plain(&path);
        let mut expected = None;
        let mut found = None;
        for (at, _) in path.match_indices("/attributes/") {
            let (before, after) = (&path[..at], &path[at + "/attributes/".len()..]);
            // An experiment's name may have several parts.
            for (cut, _) in after.match_indices('/') {
                let (set, rest) = (&after[..cut], &after[cut + 1..]);
                let candidate = format!("{before}/documents/{rest}");
                match places.get(&candidate) {
                    Some(&index) => found = found.or(Some((index, format!("{before}/attributes/{set}"), set.to_owned()))),
                    None => expected = expected.or(Some(candidate)),
                }
            }
        }
        let Some((index, set, name)) = found else {
            let message = match expected {
                Some(expected) => format!("it belongs to `{expected}`, which is not among the documents"),
                None => "it is in no folder `attributes/<name>/`, which would say what documents it belongs to".to_owned(),
            };
            return Err(DataError::format(&file.path, message));
        };
        all_sets.insert(set.clone(), name);
        joined[index].insert(set, file.clone());
    }
    for (file, sets) in documents.iter().zip(&joined) {
        let path = file.path.to_string_lossy();
        // Sets of another dataset are not this file's.
        let missing = all_sets.iter().find(|(set, name)| {
            let base = set.strip_suffix(name.as_str()).and_then(|base| base.strip_suffix("attributes/")).unwrap_or(set);
            path.starts_with(&format!("{base}documents/")) && !sets.contains_key(*set)
        });
        if let Some((set, _)) = missing {
            return Err(DataError::format(&file.path, format!("it has no attributes in `{set}`, as other documents have")));
        }
    }
    Ok(joined.into_iter().map(|sets| sets.into_values().collect()).collect())
}

/// A path without the ending that names a compression.
fn plain(path: &str) -> &str {
    [".gz", ".zst", ".zstd"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::intake::{Duplicates, OnBad, QUARANTINE};
    use super::*;
    use crate::source::expand_named;
    use crate::testing::read;

    const NAMES: [&str; 2] = ["a.jsonl", "sub/b.jsonl"];

    /// Two files of two documents each, with a set of attributes.
    fn dataset() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in NAMES.iter().enumerate() {
            let document = |n| format!("{{\"id\":\"{i}-{n}\",\"text\":\"t\",\"source\":\"s\",\"extra\":{n}}}\n");
            let row = |n| format!("{{\"id\":\"{i}-{n}\",\"attributes\":{{\"k__k__n\":[[0,1,{n}]]}},\"source\":\"s\"}}\n");
            for (kind, text) in [("documents", document(0) + &document(1)), ("attributes/k", row(0) + &row(1))] {
                let path = dir.path().join(kind).join(name);
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                fs_err::write(path, text).unwrap();
            }
        }
        dir
    }

    fn import(dir: &Path, care: Care) -> Result<(Imported, Vec<Document>), String> {
        let output = tempfile::tempdir().unwrap();
        let files = |kind: &str| expand_named(&[format!("{}/{kind}/**/*.jsonl*", dir.display())]).unwrap();
        let imported = read_dolma(&files("documents"), &files("attributes"), care, output.path(), &())
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.display()), ""))?;
        Ok((imported, read(output.path())))
    }

    #[test]
    fn documents_are_joined_with_their_attributes() {
        let dir = dataset();
        let (imported, documents) = import(dir.path(), Care::default()).unwrap();
        assert_eq!((imported.kept.documents, imported.bad), (4, 0));
        let scores: Vec<_> =
            documents.iter().map(|document| (document.id.as_str(), document.attributes["k__k__n"][0].score)).collect();
        assert_eq!(scores, [("0-0", 0.0), ("0-1", 1.0), ("1-0", 0.0), ("1-1", 1.0)]);
        assert_eq!(documents[1].metadata["extra"], 1);
    }

    #[test]
    fn rows_must_be_those_of_the_documents() {
        let write = |name: &str, text: &str| {
            let dir = dataset();
            fs_err::write(dir.path().join("attributes/k").join(name), text).unwrap();
            import(dir.path(), Care::default()).unwrap_err()
        };
        let row = |id: &str| format!("{{\"id\":\"{id}\",\"attributes\":{{}}}}\n");
        assert_eq!(write("a.jsonl", &row("1-1")), "attributes/k/a.jsonl:1: the row is for `1-1`, but the document is `0-0`");
        assert!(write("a.jsonl", &row("0-0")).starts_with("document `0-1`: "));
        let more = [row("1-0"), row("1-1"), row("1-2")].concat();
        assert_eq!(write("sub/b.jsonl", &more), "attributes/k/sub/b.jsonl:3: there is no document for `1-2` in `sub/b.jsonl`");
        assert!(write("a.jsonl", "{\n").starts_with("attributes/k/a.jsonl:1: not a row of attributes"));
        assert!(write("c.jsonl", &row("x")).contains("belongs to `documents/c.jsonl`, which is not among the documents"));
        let dir = dataset();
        fs_err::remove_file(dir.path().join("attributes/k/a.jsonl")).unwrap();
        let error = import(dir.path(), Care::default()).unwrap_err();
        assert_eq!(error, "cannot read `documents/a.jsonl`: it has no attributes in `attributes/k`, as other documents have");
    }

    #[test]
    fn bad_documents_pass_over_their_attributes() {
        let dir = dataset();
        let path = dir.path().join("documents/a.jsonl");
        fs_err::write(&path, b"{\"id\":\"0-0\",\"text\":\"\xff\"}\n{\"id\":\"0-1\",\"text\":\"t\"}\n").unwrap();
        assert!(import(dir.path(), Care::default()).unwrap_err().starts_with("documents/a.jsonl:1: not a JSON object"));
        let (imported, documents) = import(dir.path(), Care { on_bad: OnBad::Skip, ..Care::default() }).unwrap();
        assert_eq!((imported.bad, documents.len(), documents[0].attributes["k__k__n"][0].score), (1, 3, 1.0));
    }

    #[test]
    fn quarantine_and_duplicate_ids() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("documents/a.jsonl");
        fs_err::create_dir(dir.path().join("documents")).unwrap();
        fs_err::write(&path, b"{\"id\":\"a\",\"text\":\"1\"}\n\xff\n{\"id\":\"a#2\",\"text\":\"2\"}\n{\"id\":\"a\",\"text\":\"3\"}\nno\n{\"id\":\"a\",\"text\":\"4\"}\n").unwrap();
        let files = expand_named(&[path.display().to_string()]).unwrap();
        let take = |on_bad, duplicate_ids| {
            let output = tempfile::tempdir().unwrap();
            let care = Care { on_bad, duplicate_ids, ..Care::default() };
            let imported = read_dolma(&files, &[], care, output.path(), &());
            imported.map(|imported| {
                let ids: Vec<String> = read(output.path()).into_iter().map(|document| document.id).collect();
                (imported, ids.join(" "), fs_err::read_to_string(output.path().join(QUARANTINE)).ok())
            })
        };
        let (imported, ids, aside) = take(OnBad::Quarantine, Duplicates::Rename).unwrap();
        assert_eq!((imported.bad, imported.duplicate_ids, ids.as_str()), (2, 2, "a a#2 a#3 a#4"));
        let aside = aside.unwrap();
        assert!(aside.starts_with("{\"file\":\"a.jsonl\",\"line\":2,") && aside.contains("\"hex\":\"ff\"}\n"), "{aside}");
        assert!(aside.ends_with("\"text\":\"no\"}\n"), "{aside}");
        for (choice, expected) in [(Duplicates::Keep, "a a#2 a a"), (Duplicates::Count, "a a#2 a a"), (Duplicates::Drop, "a a#2")]
        {
            let (imported, ids, aside) = take(OnBad::Skip, choice).unwrap();
            assert_eq!((ids.as_str(), aside), (expected, None));
            assert_eq!(imported.duplicate_ids, if choice == Duplicates::Keep { 0 } else { 2 });
        }
        let error = take(OnBad::Skip, Duplicates::Stop).unwrap_err().to_string();
        assert!(
            error.ends_with("a.jsonl:4: the id `a` came before; duplicate_ids can keep, rename or drop such rows"),
            "{error}"
        );
    }
}
