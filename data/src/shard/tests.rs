//! Tests of token files.

use super::*;
use crate::document::Document;
use crate::testing::{snapshot, threads, write};
use crate::tokenizer::{TokenizerParams, train_tokenizer};
use proptest::prelude::*;
use std::io::Read;

fn corpus() -> tempfile::TempDir {
    let mut documents: Vec<_> =
        (0..30).map(|i| Document::new(format!("d{i}"), format!("the cat {i}\n"), ["b", "a"][i % 2])).collect();
    documents.push(Document::new("blank", " \n", "a"));
    documents.push(Document::new("odd, \"id\"", "ünï", "a/c"));
    write(&documents)
}

fn tokenized(dir: &Path) -> (Tokenizer, TokensMeta) {
    let input = corpus();
    let tokenizer = train_tokenizer(&[input.path()], &TokenizerParams::new(270), &()).unwrap();
    let meta = tokenize(&[input.path()], &tokenizer, dir, &()).unwrap();
    (tokenizer, meta)
}

#[test]
fn every_source_has_its_files_and_every_document_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (tokenizer, meta) = tokenized(dir.path());
    assert_eq!(
        meta.sources.iter().map(|s| (s.source.as_str(), s.documents)).collect::<Vec<_>>(),
        [("a", 15), ("a/c", 1), ("b", 15)]
    );
    assert_eq!((meta.dtype, meta.sources[1].bytes, meta.sources[1].files[0].name.as_str()), (Dtype::Uint16, 5, "a_c-00000.npy"));
    assert_eq!(meta.tokenizer, tokenizer.digest().unwrap());
    let files = TokenFiles::open(dir.path()).unwrap();
    assert_eq!((files.meta(), files.len()), (&meta, meta.tokens()));
    let documents = files.documents(0..files.len()).unwrap();
    assert_eq!(documents.len(), 31);
    let text = |range: Range<u64>| tokenizer.decode(&files.tokens(range).unwrap()).unwrap();
    assert_eq!(text(documents[0].clone()), "the cat 1\n<|endoftext|>");
    assert_eq!(text(files.source("a/c").unwrap()), "ünï<|endoftext|>");
    assert_eq!(files.documents(files.source("b").unwrap()).unwrap().len(), 15);
    assert_eq!(files.source("z"), None);
    assert!(files.tokens(0..files.len() + 1).is_err());
    let mut sidecar = String::new();
    let gz = fs_err::File::open(dir.path().join("a_c-00000.csv.gz")).unwrap();
    flate2::read::GzDecoder::new(gz).read_to_string(&mut sidecar).unwrap();
    assert_eq!(sidecar, format!("0,{},\"odd, \"\"id\"\"\",part-00000.jsonl.zst,32\n", meta.sources[1].tokens));
}

use std::ops::Range;

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let run = |n| {
        threads(n, || {
            let dir = tempfile::tempdir().unwrap();
            tokenized(dir.path());
            snapshot(dir.path())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_truncated_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    tokenized(dir.path());
    let path = dir.path().join("b-00000.npy");
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, &bytes[2..]).unwrap();
    let error = TokenFiles::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("b-00000.npy") && error.contains("promises"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn ids_come_back(documents in proptest::collection::vec((0usize..3, proptest::collection::vec(1u32..70_000, 0..20)), 1..12), wide in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let vocab = if wide { 70_000 } else { 65_536 };
        let mut writer = TokenWriter::create(dir.path(), vocab, 0, String::new()).unwrap();
        let mut expected = vec![Vec::new(); 3];
        for (source, ids) in &documents {
            let ids: Vec<u32> = ids.iter().map(|id| id % vocab as u32).map(|id| id.max(1)).collect();
            writer.write(["x", "X", "y/"][*source], &ids, DocumentPlace { id: "i", src: "s", loc: 1, bytes: 1 }).unwrap();
            expected[*source].extend(ids);
            expected[*source].push(0);
        }
        let refused = writer.write("x", &[vocab as u32], DocumentPlace { id: "i", src: "s", loc: 1, bytes: 1 });
        prop_assert!(refused.is_err());
        let meta = writer.finish().unwrap();
        prop_assert_eq!(meta.dtype, if wide { Dtype::Uint32 } else { Dtype::Uint16 });
        let files = TokenFiles::open(dir.path()).unwrap();
        let all = [expected[1].clone(), expected[0].clone(), expected[2].clone()].concat();
        prop_assert_eq!(files.tokens(0..files.len()).unwrap(), all.clone());
        for start in 0..all.len() {
            let end = (start + 7).min(all.len());
            prop_assert_eq!(files.tokens(start as u64..end as u64).unwrap(), &all[start..end]);
        }
        prop_assert_eq!(files.documents(0..files.len()).unwrap().len(), documents.len());
    }
}
