//! Tests of the stat cache.

use std::time::{Duration, SystemTime};

use super::*;
use crate::fixtures::store;

/// Both times of a file count, and the inode's change time cannot be set, so a file at rest is one that the cache was told of.
fn remember_as_if_at_rest(cache: &StatCache, path: &Path) {
    let stat = Stat::of(&fs::metadata(path).unwrap());
    let digest = hash(&mut File::open(path).unwrap()).unwrap().digest;
    cache.entries().insert(path.to_path_buf(), Entry { stat, digest, asked: true });
}

#[test]
fn a_file_that_was_just_written_is_read_each_time() {
    let (folder, store) = store();
    let cache = StatCache::open(&store).unwrap();
    let path = folder.path().join("data.jsonl");
    for text in ["one", "two", "one"] {
        fs::write(&path, text).unwrap();
        // An old modification time, as an unpacked archive has it, does not make it look at rest.
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let found = hash_file(&path, &cache).unwrap();
        assert_eq!(found.digest.as_bytes(), blake3::hash(text.as_bytes()).as_bytes());
        assert_eq!(found.bytes, 3);
        assert!(cache.entries().is_empty());
    }
}

#[test]
fn a_file_at_rest_is_not_read_again_until_it_changes() {
    let (folder, store) = store();
    let cache = StatCache::open(&store).unwrap();
    let path = folder.path().join("data with spaces.jsonl");
    fs::write(&path, "text").unwrap();
    remember_as_if_at_rest(&cache, &path);
    // A digest that the bytes do not have shows that they were not read.
    let told = Digest::from_bytes([9; 32]);
    cache.entries().get_mut(&path).unwrap().digest = told;
    assert_eq!(hash_file(&path, &cache).unwrap().digest, told);
    cache.save().unwrap();
    let again = StatCache::open(&store).unwrap();
    assert_eq!(hash_file(&path, &again).unwrap().digest, told);
    fs::write(&path, "next").unwrap();
    assert_eq!(hash_file(&path, &again).unwrap().digest.as_bytes(), blake3::hash(b"next").as_bytes());
}

#[test]
fn two_processes_do_not_lose_each_others_entries_and_rubbish_is_forgotten() {
    let (folder, store) = store();
    let (one, two) = (StatCache::open(&store).unwrap(), StatCache::open(&store).unwrap());
    for (cache, name) in [(&one, "one"), (&two, "two")] {
        fs::write(folder.path().join(name), name).unwrap();
        remember_as_if_at_rest(cache, &folder.path().join(name));
        cache.save().unwrap();
    }
    let mut text = fs::read_to_string(store.layout().stat_cache()).unwrap();
    text.push_str("not a line\nabc 1 2 3 4 5 /x\n");
    fs::write(store.layout().stat_cache(), text).unwrap();
    assert_eq!(StatCache::open(&store).unwrap().entries().len(), 2);
    fs::write(store.layout().stat_cache(), "another format").unwrap();
    assert!(StatCache::open(&store).unwrap().entries().is_empty());
}

#[test]
fn a_folder_is_no_file() {
    let (folder, store) = store();
    let cache = StatCache::open(&store).unwrap();
    assert!(hash_file(folder.path(), &cache).unwrap_err().to_string().contains("is a folder"));
}
