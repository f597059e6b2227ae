//! Properties of the schedule over random graphs, and the rules for sharing threads.

use proptest::prelude::*;

use super::*;
use crate::graph::tests::step;

const FOUR: Resources = Resources { cpus: 4, memory_mib: 4096, gpus: 0 };

fn plan(edges: &[Vec<usize>], cpus: &[u32]) -> Plan {
    let steps = edges.iter().enumerate().map(|(index, inputs)| {
        let mut step = step(&index.to_string(), inputs);
        step.resources.cpus = cpus[index % cpus.len()];
        step
    });
    Plan::new(steps.collect(), vec![]).unwrap()
}

fn start(schedule: &mut Schedule) -> Option<(StepId, u32)> {
    schedule.start().map(|(id, grant)| (id, grant.cpus))
}

proptest! {
    #[test]
    fn every_step_runs_once_after_its_inputs_within_capacity(
        picks in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..20),
        cpus in prop::collection::vec(1u32..6, 1..5),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let edges: Vec<Vec<usize>> = picks.iter().enumerate()
            .map(|(i, inputs)| if i == 0 { vec![] } else { inputs.iter().map(|p| p.index(i)).collect() }).collect();
        let plan = plan(&edges, &cpus);
        let mut schedule = Schedule::new(&plan, FOUR, &Limits::new());
        let (mut running, mut done, mut ends) = (Vec::new(), Vec::new(), ends.into_iter());
        while !schedule.is_over() {
            while let Some((id, threads)) = schedule.start() {
                prop_assert!(edges[id.0].iter().all(|input| done.contains(&StepId(*input))));
                running.push((id, threads.cpus));
            }
            prop_assert!(!running.is_empty());
            prop_assert!(running.iter().map(|(_, threads)| threads).sum::<u32>() <= 4);
            let (id, _) = running.swap_remove(ends.next().unwrap().index(running.len()));
            schedule.finish(id, Outcome::Done);
            done.push(id);
        }
        prop_assert_eq!(done.len(), edges.len());
    }
}

#[test]
fn a_failure_blocks_what_depends_on_it_and_nothing_else() {
    let plan = plan(&[vec![], vec![0], vec![1], vec![]], &[1]);
    let mut schedule = Schedule::new(&plan, FOUR, &Limits::new());
    assert_eq!(schedule.start().unwrap().0, StepId(0));
    assert_eq!(schedule.start().unwrap().0, StepId(3));
    assert_eq!(schedule.finish(StepId(0), Outcome::Failed), [StepId(1), StepId(2)]);
    assert_eq!(schedule.state(StepId(2)), State::Blocked(StepId(0)));
    assert!(!schedule.is_over());
    schedule.finish(StepId(3), Outcome::Done);
    assert!(schedule.is_over());
}

#[test]
fn equal_steps_share_the_threads_and_a_lone_one_takes_them_all() {
    let four = plan(&[vec![], vec![], vec![], vec![]], &[4]);
    let mut schedule = Schedule::new(&four, Resources { cpus: 2, memory_mib: 4096, gpus: 0 }, &Limits::new());
    assert_eq!(start(&mut schedule), Some((StepId(0), 1)));
    assert_eq!(start(&mut schedule), Some((StepId(1), 1)));
    assert_eq!(start(&mut schedule), None);
    let mut schedule = Schedule::new(&plan(&[vec![]], &[4]), Resources { cpus: 2, memory_mib: 64, gpus: 0 }, &Limits::new());
    assert_eq!(start(&mut schedule), Some((StepId(0), 2)), "a step that wants more than there is runs alone");
}

#[test]
fn a_step_that_wants_all_threads_waits_for_them_and_is_not_overtaken() {
    // 0 is short and runs; 1 wants everything and has the longest way to go; 3 could fit beside 0.
    let mut edges = plan(&[vec![], vec![], vec![1], vec![]], &[1, 2, 1, 1]);
    let mut schedule = Schedule::new(&edges, Resources { cpus: 2, memory_mib: 4096, gpus: 0 }, &Limits::new());
    assert_eq!(start(&mut schedule), Some((StepId(1), 2)));
    assert_eq!(start(&mut schedule), None);
    schedule.finish(StepId(1), Outcome::Done);
    assert_eq!(start(&mut schedule), Some((StepId(0), 1)));
    assert_eq!(start(&mut schedule), Some((StepId(2), 1)));
    edges = plan(&[vec![], vec![], vec![0], vec![2]], &[1, 1, 2, 1]);
    let mut schedule = Schedule::new(&edges, Resources { cpus: 2, memory_mib: 4096, gpus: 0 }, &Limits::new());
    assert_eq!((start(&mut schedule), start(&mut schedule)), (Some((StepId(0), 1)), Some((StepId(1), 1))));
    schedule.finish(StepId(0), Outcome::Done);
    assert_eq!(start(&mut schedule), None, "2 wants both threads and 1 still runs");
    schedule.finish(StepId(1), Outcome::Done);
    assert_eq!(start(&mut schedule), Some((StepId(2), 2)));
}

#[test]
fn stopping_starts_nothing_more() {
    let plan = plan(&[vec![], vec![0]], &[1]);
    let mut schedule = Schedule::new(&plan, FOUR, &Limits::new());
    schedule.start().unwrap();
    schedule.stop();
    schedule.finish(StepId(0), Outcome::Interrupted);
    assert!(schedule.is_over());
    assert_eq!(schedule.state(StepId(1)), State::Waiting);
}

#[test]
fn named_limits_and_gpus_hold_back_nobody_else() {
    let mut steps: Vec<_> = (0..6).map(|index| step(&index.to_string(), &[])).collect();
    for index in [0, 1, 2] {
        steps[index].policy.limits.insert("downloads".into(), 1);
    }
    steps[3].resources.gpus = 2;
    steps[4].resources.gpus = 1;
    let plan = Plan::new(steps, vec![]).unwrap();
    let limits = Limits::from([("downloads".to_owned(), 2)]);
    let capacity = Resources { cpus: 16, memory_mib: 65536, gpus: 2 };
    let mut schedule = Schedule::new(&plan, capacity, &limits);
    let started: Vec<_> = std::iter::from_fn(|| schedule.start()).map(|(id, grant)| (id.0, grant.gpus)).collect();
    assert_eq!(started, [(0, vec![]), (1, vec![]), (3, vec![0, 1]), (5, vec![])]);
    schedule.finish(StepId(3), Outcome::Done);
    assert_eq!(schedule.start().map(|(id, grant)| (id.0, grant.gpus)), Some((4, vec![0])));
    assert_eq!(schedule.start(), None);
    assert!(!schedule.is_over());
    schedule.finish(StepId(1), Outcome::Failed);
    assert_eq!(schedule.start().map(|(id, _)| id.0), Some(2));
}

#[test]
fn an_unlisted_limit_excludes() {
    let mut steps = vec![step("a", &[]), step("b", &[])];
    for step in &mut steps {
        step.policy.limits.insert("port".into(), 3);
    }
    let plan = Plan::new(steps, vec![]).unwrap();
    let mut schedule = Schedule::new(&plan, FOUR, &Limits::new());
    assert_eq!(start(&mut schedule).unwrap().0, StepId(0));
    assert_eq!(start(&mut schedule), None);
    schedule.settle(StepId(0));
    assert_eq!(start(&mut schedule).unwrap().0, StepId(1));
}

#[test]
fn a_paused_step_frees_its_place_and_comes_back() {
    let plan = plan(&[vec![], vec![]], &[4]);
    let mut schedule = Schedule::new(&plan, Resources { cpus: 1, memory_mib: 4096, gpus: 0 }, &Limits::new());
    schedule.take_fresh();
    let (id, _) = schedule.start().unwrap();
    schedule.pause(id);
    assert!(!schedule.is_over());
    assert_eq!(start(&mut schedule).unwrap().0, StepId(1));
    schedule.finish(StepId(1), Outcome::Done);
    assert!(!schedule.is_over());
    schedule.wake(id);
    assert!(schedule.take_fresh().is_empty());
    assert_eq!(start(&mut schedule).unwrap().0, id);
    schedule.settle(id);
    schedule.finish(id, Outcome::Done);
    assert!(schedule.is_complete() && schedule.is_over());
}

#[test]
fn the_longest_way_by_past_durations_goes_first() {
    let plan = plan(&[vec![], vec![], vec![0], vec![1]], &[1]);
    let mut schedule = Schedule::new(&plan, Resources { cpus: 1, memory_mib: 4096, gpus: 0 }, &Limits::new());
    schedule.rank(&plan, &|id| Some([1, 1, 10, 5000][id.0]));
    assert_eq!(start(&mut schedule).unwrap().0, StepId(1));
}

#[test]
fn a_hundred_thousand_ready_steps_cost_no_more_than_their_number() {
    let plan = plan(&vec![vec![]; 100_000], &[1]);
    let mut schedule = Schedule::new(&plan, FOUR, &Limits::new());
    assert_eq!(schedule.take_fresh().len(), 100_000);
    let mut ended = 0;
    while let Some((id, _)) = schedule.start() {
        schedule.finish(id, Outcome::Done);
        ended += 1;
    }
    assert!(ended == 100_000 && schedule.is_over());
}

#[test]
fn a_capacity_without_end_costs_no_memory() {
    let mut first = step("a", &[]);
    first.resources.gpus = 3;
    let plan = Plan::new(vec![first], vec![]).unwrap();
    let capacity = Resources { cpus: u32::MAX, memory_mib: u64::MAX, gpus: u32::MAX };
    let mut schedule = Schedule::new(&plan, capacity, &Limits::new());
    assert_eq!(schedule.start().unwrap().1.gpus, [0, 1, 2]);
}
