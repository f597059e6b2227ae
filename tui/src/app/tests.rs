//! The loop on a terminal and a keyboard that are not there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::backend::TestBackend;

use super::*;
use crate::sample;

struct Desk {
    interrupts: Cell<usize>,
    time: Cell<u64>,
}

/// Drives an app with batches of records (none: no more will come) and one key for each turn of the loop.
fn drive(options: Options, batches: Vec<Option<Vec<Record>>>, keys: &[Option<KeyCode>]) -> (io::Result<Exit>, App, Desk, String) {
    let desk = Desk { interrupts: Cell::new(0), time: Cell::new(0) };
    let mut app = App::new(options);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let mut batches = VecDeque::from(batches);
    let keys = RefCell::new(keys.iter().copied().collect::<VecDeque<_>>());
    let mut keyboard = |wait: Duration| {
        if wait.is_zero() {
            return Ok(None);
        }
        match keys.borrow_mut().pop_front() {
            Some(key) => Ok(key.map(|code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))),
            None => Err(io::Error::other("no keys left")),
        }
    };
    let exit = app.drive(
        &mut terminal,
        &mut keyboard,
        &mut |_| batches.pop_front().unwrap_or(Some(Vec::new())),
        &|| desk.interrupts.set(desk.interrupts.get() + 1),
        &|| {
            desk.time.set(desk.time.get() + 60);
            desk.time.get()
        },
    );
    let screen = terminal.backend().to_string();
    (exit, app, desk, screen)
}

fn key(char: char) -> Option<KeyCode> {
    Some(KeyCode::Char(char))
}

#[test]
fn the_owner_is_asked_and_the_run_ends_by_itself() {
    let options = Options { mode: Mode::Owner, ..Options::default() };
    let records = sample::journal();
    let (tail, head) = (records[records.len() - 1].clone(), records[..records.len() - 1].to_vec());
    let batches = vec![Some(head), Some(vec![]), Some(vec![]), Some(vec![]), Some(vec![tail])];
    let (exit, app, desk, _) = drive(options, batches, &[key('q'), key('s'), None, None, None]);
    assert_eq!((exit.unwrap(), desk.interrupts.get()), (Exit::Ended, 1));
    assert!(app.state().end().is_some());
}

#[test]
fn a_question_can_be_taken_back() {
    let options = Options { mode: Mode::Owner, ..Options::default() };
    let records = sample::journal()[..40].to_vec();
    let (exit, _, desk, screen) = drive(options, vec![Some(records)], &[key('q'), None, key('c'), None]);
    assert!(exit.is_err() && desk.interrupts.get() == 0);
    assert!(!screen.contains("stop?"), "{screen}");
    let (_, _, _, screen) = drive(options, vec![], &[key('q'), None]);
    assert!(screen.contains("stop?"), "{screen}");
}

#[test]
fn a_watcher_leaves_at_once() {
    let records = sample::journal()[..40].to_vec();
    let (exit, _, desk, _) = drive(Options::default(), vec![Some(records)], &[None, key('q')]);
    assert_eq!((exit.unwrap(), desk.interrupts.get()), (Exit::Left, 0));
}

#[test]
fn a_watcher_stays_with_a_finished_run() {
    let options = Options { at_end: AtEnd::Stay, ..Options::default() };
    let (exit, _, _, screen) = drive(options, vec![Some(sample::journal()), None], &[None, None, key('q')]);
    assert_eq!(exit.unwrap(), Exit::Ended);
    assert!(screen.contains("succeeded"), "{screen}");
}

#[test]
fn a_run_that_is_gone_is_not_waited_for() {
    let records = sample::journal()[..40].to_vec();
    let owner = Options { mode: Mode::Owner, ..Options::default() };
    let (exit, ..) = drive(owner, vec![Some(records.clone()), None], &[None, None]);
    assert_eq!(exit.unwrap(), Exit::Closed);
    let (exit, _, _, screen) = drive(Options::default(), vec![Some(records), None], &[None, None, None, key('q')]);
    assert_eq!(exit.unwrap(), Exit::Closed);
    assert!(screen.contains("gone without an end"), "{screen}");
}

#[test]
fn channels_are_sources() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut source = from_channel(&receiver);
    sample::journal().into_iter().take(3).for_each(|record| sender.send(record).unwrap());
    assert_eq!(source(Duration::from_secs(1)).map(|records| records.len()), Some(3));
    assert_eq!(source(Duration::ZERO).map(|records| records.len()), Some(0));
    drop(sender);
    assert_eq!(source(Duration::ZERO), None);
}
