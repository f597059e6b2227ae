//! Opening the file: again, while another has it, damaged, of another version, where nothing may be written.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::story::story;
use super::{answer, everything, no_manifests};
use crate::{Lineage, Notice};

#[test]
fn a_file_remembers() {
    let story = story();
    let path = story.runs.path().join("new folder/lineage.duckdb");
    let mut lineage = Lineage::open(&path).unwrap();
    assert_eq!(lineage.notices(), []);
    lineage.sync(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    let before = everything(&lineage);
    drop(lineage);
    let mut again = Lineage::open(&path).unwrap();
    assert_eq!(everything(&again), before);
    assert_eq!(again.sync(&story.runs.journals, &mut no_manifests()).unwrap().rows, 0);
    again.rebuild(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    drop(again);
    assert_eq!(everything(&Lineage::open(&path).unwrap()), before);
}

#[test]
fn a_file_in_use_is_answered_from_memory() {
    let story = story();
    let path = story.runs.path().join("lineage.duckdb");
    let first = Lineage::open(&path).unwrap();
    let mut second = Lineage::open_waiting(&path, Duration::ZERO).unwrap();
    assert_eq!(second.notices(), [Notice::Locked { path: path.clone() }]);
    second.sync(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    assert_eq!(everything(&second), everything(&story.lineage()));
    drop(first);
    assert_eq!(Lineage::open(&path).unwrap().notices(), []);
}

/// Not a test: the other process of the next one. It keeps the file until its standard input ends.
#[test]
#[ignore = "run by another test"]
fn another_process() {
    let Some(path) = std::env::var_os("LINEAGE_TEST_HOLD") else { return };
    let lineage = Lineage::open(path.as_ref()).unwrap();
    assert_eq!(lineage.notices(), []);
    fs_err::write(std::path::Path::new(&path).with_extension("held"), "").unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_file_of_another_process_is_answered_from_memory_and_left_whole() {
    let story = story();
    let path = story.runs.path().join("lineage.duckdb");
    let mut lineage = Lineage::open(&path).unwrap();
    lineage.sync(&story.runs.journals, &mut story.manifests.clone().into_iter()).unwrap();
    drop(lineage);
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "tests::open::another_process"])
        .env("LINEAGE_TEST_HOLD", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !path.with_extension("held").exists() {
        assert_eq!(other.try_wait().unwrap(), None, "the other process ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let waited = Lineage::open_waiting(&path, Duration::from_millis(200)).unwrap();
    assert_eq!(waited.notices(), [Notice::Locked { path: path.clone() }]);
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    let free = Lineage::open(&path).unwrap();
    assert_eq!((free.notices(), answer(&free, "select count(*) n from runs")), (&[][..], "n | 2".to_owned()));
}

#[test]
fn waiting_ends_when_the_other_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lineage.duckdb");
    let first = Lineage::open(&path).unwrap();
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| Lineage::open_waiting(&path, Duration::from_secs(20)).unwrap());
        drop(first);
        second.join().unwrap()
    });
    assert_eq!(second.notices(), []);
}

#[test]
fn a_damaged_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lineage.duckdb");
    let aside = folder.path().join("lineage.duckdb.aside");
    let garbage = vec![b'x'; 20_000];
    fs_err::write(&path, &garbage).unwrap();
    let lineage = Lineage::open(&path).unwrap();
    assert!(matches!(lineage.notices(), [Notice::Damaged { aside: at, .. }] if *at == aside), "{:?}", lineage.notices());
    assert_eq!(fs_err::read(&aside).unwrap(), garbage);
    assert_eq!(answer(&lineage, "select count(*) n from runs"), "n | 0");
    drop(lineage);
    // Cut short in the middle of a write.
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() / 3]).unwrap();
    let lineage = Lineage::open(&path).unwrap();
    assert!(matches!(lineage.notices(), [Notice::Damaged { .. }]), "{:?}", lineage.notices());
    assert_eq!(answer(&lineage, "select count(*) n from runs"), "n | 0");
}

#[test]
fn a_file_of_another_version_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lineage.duckdb");
    let other = duckdb::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE something (a INTEGER)").unwrap();
    drop(other);
    let lineage = Lineage::open(&path).unwrap();
    assert!(matches!(lineage.notices(), [Notice::OtherSchema { .. }]), "{:?}", lineage.notices());
    assert!(lineage.notices()[0].to_string().contains("lineage.duckdb.aside"));
    assert_eq!(answer(&lineage, "select count(*) n from runs"), "n | 0");
}

#[test]
fn where_nothing_can_be_written_memory_serves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs_err::write(&file, "a file, not a folder").unwrap();
    let lineage = Lineage::open(&file.join("lineage.duckdb")).unwrap();
    assert!(matches!(lineage.notices(), [Notice::Unwritable { .. }]), "{:?}", lineage.notices());
    assert_eq!(answer(&lineage, "select count(*) n from runs"), "n | 0");
}
