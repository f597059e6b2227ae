//! Pictures of the dashboard, and that nothing a journal can say makes it panic, at any size.

use std::collections::BTreeMap;

use plan::{Digest, Event, Key, Machine, Place, PlanId, Record, Resources, RunStatus, Site, StepId, StepSummary, Value};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::keys::Action;
use crate::sample;
use crate::state::State;
use crate::ui::{Colour, Input, Mode, Pane, Ui};
use crate::view;

fn screen(state: &State, ui: &Ui, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(state, ui, state.last_ms() + 300, frame)).unwrap();
    let text = terminal.backend().to_string();
    // Without the quotes that the backend puts around each line.
    text.lines().map(|line| format!("{}\n", line.trim_matches('"').trim_end())).collect()
}

fn owner() -> Ui {
    Ui::new(Mode::Owner, Colour::On)
}

#[test]
fn training_at_80_by_24() {
    insta::assert_snapshot!(screen(&sample::state_while("pretrain_base"), &owner(), 80, 24));
}

#[test]
fn training_at_120_by_40() {
    insta::assert_snapshot!(screen(&sample::state_while("pretrain_base"), &owner(), 120, 40));
}

#[test]
fn reinforcement_at_200_by_60() {
    insta::assert_snapshot!(screen(&sample::state_while("rlvr"), &owner(), 200, 60));
}

#[test]
fn three_at_once_with_curves_behind() {
    let ui = Ui { overlay: true, smoothing: crate::ui::Smoothing::Strong, ..owner() };
    insta::assert_snapshot!(screen(&sample::state_while("anneal_seed_666"), &ui, 120, 40));
}

#[test]
fn a_failure_at_80_by_24() {
    insta::assert_snapshot!(screen(&sample::failed_state(), &Ui::new(Mode::Watcher, Colour::Off), 80, 24));
}

#[test]
fn the_end_at_120_by_40() {
    insta::assert_snapshot!(screen(&sample::state(), &Ui::new(Mode::Watcher, Colour::On), 120, 40));
}

#[test]
fn popups() {
    let state = sample::state_while("pretrain_base");
    let help = screen(&state, &Ui { input: Input::Help, ..owner() }, 80, 24);
    assert!(help.contains("keys") && help.contains("log") && help.contains("blocked"), "{help}");
    insta::assert_snapshot!(screen(&state, &Ui { input: Input::Question, ..owner() }, 80, 24));
}

#[test]
fn nothing_has_happened_yet() {
    insta::assert_snapshot!(screen(&State::new(), &Ui::default(), 60, 12));
}

#[test]
fn the_selection_is_always_in_view() {
    let state = sample::state_while("pretrain_base");
    for (width, height) in [(80, 24), (40, 10), (120, 40), (200, 60)] {
        let mut ui = owner();
        ui.act(Action::First, &state);
        for step in state.steps() {
            let text = screen(&state, &ui, width, height);
            let start: String = step.summary.name.chars().take(8).collect();
            assert!(text.contains(&start), "{start} at {width}x{height}\n{text}");
            ui.act(Action::Down, &state);
        }
    }
}

#[test]
fn without_colours_no_cell_has_one() {
    let state = sample::failed_state();
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    for overlay in [false, true] {
        let ui = Ui { overlay, ..Ui::new(Mode::Watcher, Colour::Off) };
        terminal.draw(|frame| view::draw(&state, &ui, state.last_ms(), frame)).unwrap();
        let reset = ratatui::style::Color::Reset;
        assert!(terminal.backend().buffer().content().iter().all(|cell| cell.fg == reset && cell.bg == reset));
    }
}

#[test]
fn every_prefix_of_a_run_can_be_drawn() {
    let journal = sample::journal();
    let sizes = [(1, 1), (2, 3), (7, 2), (20, 5), (40, 12), (69, 20), (80, 24), (109, 30), (120, 40), (200, 60)];
    let mut state = State::new();
    for (index, record) in journal.iter().enumerate() {
        state.apply(record);
        if index % 20 == 0 || index + 1 == journal.len() {
            let (width, height) = sizes[index / 20 % sizes.len()];
            screen(&state, &owner(), width, height);
        }
    }
}

#[test]
fn every_size_can_be_drawn() {
    let state = sample::state_while("rlvr");
    for size in 1..=60_u16 {
        for (width, height) in [(size, size), (size, 60 - size + 1), (size * 3, size), (200, size), (size, 1), (1, size)] {
            screen(&state, &owner(), width, height);
        }
    }
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(f64::MIN), Just(0.0), -10.0..10.0]
}

fn step_id() -> impl Strategy<Value = StepId> {
    prop_oneof![9 => 0..6_usize, 1 => any::<usize>()].prop_map(StepId)
}

fn figures() -> impl Strategy<Value = BTreeMap<String, f64>> {
    prop::collection::btree_map(prop_oneof![Just("train/CE loss".to_owned()), ".{0,12}"], float(), 0..5)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,30}", "[a-z \u{1b}\n\r\t漢👩‍🔬é]{0,200}"]
}

fn summary() -> impl Strategy<Value = StepSummary> {
    let names = (text(), text(), text());
    (step_id(), names, prop::collection::vec(("[a-z]{0,5}", step_id()), 0..4), any::<bool>(), any::<u32>(), any::<u64>())
        .prop_map(|(id, (name, kind, param), inputs, wanted, cpus, memory_mib)| StepSummary {
            id,
            name,
            kind,
            version: cpus,
            plan_id: PlanId::from_bytes([7; 32]),
            params: Value::map([("p", Value::Str(param)), ("q", Value::List(vec![Value::Float(f64::NAN)]))]),
            inputs,
            files: vec![(String::new(), "x".into())],
            site: Site::default(),
            resources: Resources { cpus, memory_mib, gpus: 0 },
            place: Place::Child,
            wanted,
        })
}

fn event() -> impl Strategy<Value = Event> {
    let key = Key::from_bytes([3; 32]);
    let started =
        (prop::collection::vec(summary(), 0..6), text(), any::<u32>()).prop_map(|(steps, recipe, cpus)| Event::RunStarted {
            run: "run".into(),
            recipe,
            recipe_digest: Digest::from_bytes([1; 32]),
            settings: BTreeMap::new(),
            program: String::new(),
            host: "host".into(),
            pid: 1,
            device: String::new(),
            capacity: Resources { cpus, memory_mib: u64::MAX, gpus: 0 },
            steps,
            outputs: vec![("out".into(), StepId(99))],
        });
    let machine = (
        float(),
        any::<u64>(),
        any::<u64>(),
        float(),
        prop::collection::vec((text(), float(), any::<u64>(), any::<u64>()), 0..3),
    )
        .prop_map(|(cpu_percent, memory_mib, memory_total_mib, load, gpus)| {
            Event::Machine(Machine { cpu_percent, memory_mib, memory_total_mib, load, gpus })
        });
    prop_oneof![
        2 => started,
        2 => (step_id(), any::<bool>()).prop_map(move |(step, hit)| Event::StepKeyed { step, key, hit, because: Vec::new() }),
        4 => (step_id(), any::<u32>(), any::<bool>())
            .prop_map(move |(step, threads, resumed)| Event::StepStarted { step, key, threads, resumed }),
        6 => (step_id(), any::<u64>(), any::<Option<u64>>(), text())
            .prop_map(|(step, done, total, unit)| Event::StepProgress { step, done, total, unit }),
        12 => (step_id(), prop_oneof![any::<u64>(), 0..50_u64], figures())
            .prop_map(|(step, at, values)| Event::Metrics { step, at, values }),
        4 => (step_id(), text()).prop_map(|(step, line)| Event::Log { step, line }),
        3 => (step_id(), any::<bool>(), float(), any::<u64>(), figures()).prop_map(move |(step, hit, seconds, bytes, metrics)| {
            Event::StepFinished { step, key, digest: Digest::from_bytes([9; 32]), hit, seconds, bytes, cpu_seconds: seconds, peak_memory_mib: bytes, metrics }
        }),
        1 => (step_id(), text(), float()).prop_map(|(step, error, seconds)| Event::StepFailed { step, error, seconds, class: plan::ErrorClass::Killed }),
        1 => (step_id(), text(), float(), any::<u32>()).prop_map(|(step, error, wait_s, attempt)| {
            Event::StepRetried { step, attempt, error, wait_s, class: plan::ErrorClass::Transient }
        }),
        1 => step_id().prop_map(move |step| Event::StepAccepted { step, key, from: key, differences: Vec::new() }),
        1 => (step_id(), step_id()).prop_map(|(step, by)| Event::StepBlocked { step, by }),
        1 => step_id().prop_map(|step| Event::StepInterrupted { step }),
        2 => machine,
        1 => (any::<u64>(), float()).prop_map(|(n, seconds)| Event::RunFinished {
            status: RunStatus::Failed,
            executed: n,
            hits: n,
            failed: n,
            seconds,
        }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let moves = prop_oneof![
        Just(Action::Up),
        Just(Action::Down),
        Just(Action::PageUp),
        Just(Action::PageDown),
        Just(Action::First),
        Just(Action::Last),
        Just(Action::NextFailed),
        Just(Action::NextMetric),
        Just(Action::PrevMetric),
        Just(Action::NextPane),
        Just(Action::PrevPane),
    ];
    let rest = prop_oneof![
        Just(Action::Show(Pane::Log)),
        Just(Action::Zoom),
        Just(Action::ToggleScale),
        Just(Action::CycleSmoothing),
        Just(Action::ToggleOverlay),
        Just(Action::Follow),
        Just(Action::Filter),
        Just(Action::Type('a')),
        Just(Action::Erase),
        Just(Action::Accept),
        Just(Action::Help),
        Just(Action::Back),
        Just(Action::Quit),
        Just(Action::Interrupt),
    ];
    prop_oneof![moves, rest]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_a_journal_says_makes_it_panic(
        story in prop::collection::vec((event(), any::<u64>(), prop::option::of(action())), 1..60),
        first in prop::collection::vec(summary(), 1..6),
        (width, height) in (1..200_u16, 1..60_u16),
    ) {
        let mut state = State::new();
        let mut ui = owner();
        let settled = Event::RunStarted {
            run: "run".into(), recipe: "r".into(), recipe_digest: Digest::from_bytes([1; 32]), settings: BTreeMap::new(),
            program: String::new(), host: String::new(), pid: 1, device: String::new(), capacity: Resources::default(),
            steps: first, outputs: Vec::new(),
        };
        state.apply(&Record { seq: 0, time_ms: 0, event: settled });
        for (index, (event, time_ms, action)) in story.iter().enumerate() {
            state.apply(&Record { seq: index as u64, time_ms: *time_ms, event: event.clone() });
            if let Some(action) = action {
                ui.act(*action, &state);
            }
            if index % 16 == 0 || index + 1 == story.len() {
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                terminal.draw(|frame| view::draw(&state, &ui, time_ms / 2, frame)).unwrap();
                ui.zoomed = false;
                terminal.draw(|frame| view::draw(&state, &ui, u64::MAX, frame)).unwrap();
            }
        }
    }
}

#[test]
fn a_plan_of_ten_thousand_steps_is_drawn_at_once() {
    let mut records = sample::journal();
    if let Event::RunStarted { steps, .. } = &mut records[0].event {
        let model = steps[29].clone();
        // A long chain with a fan from its root, so that lanes stay open all the way down.
        steps.extend((31..10_000).map(|index| StepSummary {
            id: StepId(index),
            name: format!("seed_{index}"),
            inputs: vec![("in".into(), StepId(index - 1)), ("root".into(), StepId(if index % 2 == 0 { 0 } else { index / 2 }))],
            ..model.clone()
        }));
    }
    let state = sample::fold(&records[..60]);
    let mut ui = owner();
    ui.act(Action::Last, &state);
    let text = screen(&state, &ui, 80, 24);
    assert!(text.contains("seed_9999") && text.contains("/9999 steps"), "{text}");
}
