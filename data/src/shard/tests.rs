//! Tests of token files.

use super::*;
use crate::document::Document;
use crate::error::DataError;
use crate::observe::Observer;
use crate::problem::{Conversation, Message, Role};
use crate::testing::{snapshot, threads, write};
use crate::tokenizer::{Tokenizer, TokenizerParams, train_tokenizer};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

fn corpus() -> tempfile::TempDir {
    let mut documents: Vec<_> =
        (0..30).map(|i| Document::new(format!("d{i}"), format!("the cat {i}\n"), ["b", "a"][i % 2])).collect();
    documents.push(Document::new("blank", " \n", "a"));
    documents.push(Document::new("odd, \"id\"", "ünï", "a/c"));
    write(&documents)
}

fn encoded(inputs: &[&Path], tokenizer: &Tokenizer, dir: &Path) -> TokensMeta {
    let progress = tempfile::tempdir().unwrap();
    tokenize(inputs, None, tokenizer, TokenizeOptions::default(), dir, progress.path(), &()).unwrap()
}

fn tokenized(dir: &Path) -> (Tokenizer, TokensMeta) {
    let input = corpus();
    let tokenizer = train_tokenizer(&[input.path()], &TokenizerParams::new(270), &()).unwrap();
    let meta = encoded(&[input.path()], &tokenizer, dir);
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

fn texts(dir: &Path, tokenizer: &Tokenizer) -> Vec<String> {
    let files = TokenFiles::open(dir).unwrap();
    let documents = files.documents(0..files.len()).unwrap();
    documents.into_iter().map(|range| tokenizer.decode(&files.tokens(range).unwrap()).unwrap()).collect()
}

fn trained(input: &Path) -> Tokenizer {
    train_tokenizer(&[input], &TokenizerParams::new(270), &()).unwrap()
}

#[test]
fn shuffled_within_sources_cut_and_begun() {
    let input = corpus();
    let tokenizer = trained(input.path());
    let run = |shuffle, bos, max_file_tokens| {
        let (output, progress) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = TokenizeOptions { shuffle, bos, max_file_tokens, strip: true };
        let meta = tokenize(&[input.path()], None, &tokenizer, options, output.path(), progress.path(), &()).unwrap();
        (meta, texts(output.path(), &tokenizer), snapshot(output.path()))
    };
    let (meta, plain, _) = run(None, None, 1 << 30);
    assert_eq!(plain[0], "the cat 1<|endoftext|>", "it is stripped");
    let (shuffled_meta, shuffled, bytes) = run(Some(1), None, 1 << 30);
    assert_eq!((shuffled_meta.tokens(), shuffled_meta.totals()), (meta.tokens(), meta.totals()));
    // Sources stay apart and in their order; within them the order is another, and another for another seed.
    let set = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>();
    for range in [0..15, 15..16, 16..31] {
        assert_eq!(set(&plain[range.clone()]), set(&shuffled[range]));
    }
    assert_ne!(plain, shuffled);
    assert_ne!(run(Some(2), None, 1 << 30).1, shuffled);
    assert_eq!(threads(1, || run(Some(1), None, 1 << 30).2), bytes);
    let (begun, texts, _) = run(None, Some(1), 20);
    assert!(texts.iter().all(|text| text.starts_with("<|pad|>")));
    assert!(begun.sources[0].files.len() > 3 && begun.sources[0].files.iter().all(|file| file.tokens <= 20));
}

#[test]
fn an_interrupted_attempt_goes_on_after_its_last_piece() {
    struct Stop(AtomicU64);
    impl Observer for Stop {
        fn should_stop(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) >= 2
        }
    }
    let inputs: Vec<_> = (0..4).map(|i| write(&[Document::new(format!("d{i}"), format!("the cat {i}"), "a")])).collect();
    let paths: Vec<&Path> = inputs.iter().map(tempfile::TempDir::path).collect();
    let tokenizer = trained(paths[0]);
    let (whole, output, progress) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    encoded(&paths, &tokenizer, whole.path());
    let run = |observer: &dyn Observer| {
        tokenize(&paths, None, &tokenizer, TokenizeOptions::default(), output.path(), progress.path(), observer)
    };
    assert!(matches!(run(&Stop(AtomicU64::new(0))), Err(DataError::Cancelled)));
    let lists = |dir: &Path| snapshot(dir).into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".list")).count();
    assert_eq!(lists(progress.path()), 2);
    // The finished pieces are not read again: their documents may be gone.
    fs_err::write(paths[0].join("part-00000.jsonl.zst"), b"gone").unwrap();
    run(&()).unwrap();
    assert_eq!(snapshot(output.path()), snapshot(whole.path()));
}

#[test]
fn shards_merge_to_the_token_files_of_the_whole() {
    let documents: Vec<_> =
        (0..20).map(|i| Document::new(format!("d,{i}"), format!("the \"cat\" {i}"), ["b", "a"][i % 2])).collect();
    let (all, halves) = (write(&documents), [write(&documents[..7]), write(&documents[7..])]);
    let tokenizer = trained(all.path());
    let (whole, merged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meta = encoded(&[all.path()], &tokenizer, whole.path());
    let shards = halves.each_ref().map(|half| {
        let dir = tempfile::tempdir().unwrap();
        encoded(&[half.path()], &tokenizer, dir.path());
        dir
    });
    let paths: Vec<&Path> = shards.iter().map(tempfile::TempDir::path).collect();
    assert_eq!(merge_tokens(&paths, 1 << 30, merged.path(), &()).unwrap(), meta);
    let tokens = |dir: &Path| snapshot(dir).into_iter().filter(|(name, _)| !name.ends_with(".csv.gz")).collect::<Vec<_>>();
    assert_eq!(tokens(merged.path()), tokens(whole.path()));
    let rows = super::piece::read_sidecar(&merged.path().join("a-00000.csv.gz")).unwrap();
    assert_eq!((rows.len(), rows[0].2.as_str(), rows[9].3.as_str()), (10, "d,1", "shard-00001/part-00000.jsonl.zst"));
    let other = train_tokenizer(&[all.path()], &TokenizerParams::new(261), &()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    encoded(&[all.path()], &other, dir.path());
    let error = merge_tokens(&[paths[0], dir.path()], 9, tempfile::tempdir().unwrap().path(), &()).unwrap_err();
    assert!(error.to_string().contains("another tokenizer"), "{error}");
}

#[test]
fn conversations_have_label_masks() {
    let input = corpus();
    let tokenizer = trained(input.path());
    let conversations: Vec<_> = [("a", "the cat"), ("b", ""), ("c", "mat")]
        .map(|(id, answer)| Conversation {
            id: id.into(),
            dataset: "set".into(),
            messages: vec![Message::new(Role::User, "cat?"), Message::new(Role::Assistant, answer)],
        })
        .into();
    let encode = |one: &Conversation| {
        let (prompt, answer) = (tokenizer.encode(&one.messages[0].content)?, tokenizer.encode(&one.messages[1].content)?);
        let mask = [vec![false; prompt.len()], vec![true; answer.len()]].concat();
        Ok(Encoded { ids: [prompt, answer].concat(), mask: Some(mask) })
    };
    let (output, progress) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let chats = Chats { conversations: &conversations, encode: &encode };
    let options = TokenizeOptions::default();
    let meta = tokenize(&[input.path()], Some(chats), &tokenizer, options, output.path(), progress.path(), &()).unwrap();
    let source = meta.sources.iter().find(|source| source.source == CHATS).unwrap();
    // The conversation without an answer trains nothing and is left out.
    assert_eq!((source.documents, source.files[0].name.as_str()), (2, "token_ids_part_chats_0000.npy"));
    let mask = fs_err::read(output.path().join("labels_mask_part_chats_0000.npy")).unwrap();
    assert_eq!(source.files[0].mask.as_deref(), Some("labels_mask_part_chats_0000.npy"));
    let files = TokenFiles::open(output.path()).unwrap();
    let ids = files.tokens(files.source(CHATS).unwrap()).unwrap();
    assert_eq!(mask.len(), ids.len());
    let kept: Vec<u32> = ids.iter().zip(&mask).filter(|(_, trained)| **trained == 1).map(|(id, _)| *id).collect();
    assert_eq!(tokenizer.decode(&kept).unwrap(), "the cat<|endoftext|>mat<|endoftext|>");
    let merged = tempfile::tempdir().unwrap();
    merge_tokens(&[output.path(), output.path()], 1 << 30, merged.path(), &()).unwrap();
    let twice = fs_err::read(merged.path().join("labels_mask_part_chats_0000.npy")).unwrap();
    assert_eq!(twice, [mask.clone(), mask].concat());
}
