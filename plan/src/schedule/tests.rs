//! Properties of the schedule over random graphs, and the rules for sharing threads.

use proptest::prelude::*;

use super::*;
use crate::graph::tests::step;

const FOUR: Resources = Resources { cpus: 4, memory_mib: 4096 };

fn plan(edges: &[Vec<usize>], cpus: &[u32]) -> Plan {
    let steps = edges.iter().enumerate().map(|(index, inputs)| {
        let mut step = step(&index.to_string(), inputs);
        step.resources.cpus = cpus[index % cpus.len()];
        step
    });
    Plan::new(steps.collect(), vec![]).unwrap()
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
        let mut schedule = Schedule::new(&plan, FOUR);
        let (mut running, mut done, mut ends) = (Vec::new(), Vec::new(), ends.into_iter());
        while !schedule.is_over() {
            while let Some((id, threads)) = schedule.start() {
                prop_assert!(edges[id.0].iter().all(|input| done.contains(&StepId(*input))));
                running.push((id, threads));
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
    let mut schedule = Schedule::new(&plan, FOUR);
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
    let mut schedule = Schedule::new(&four, Resources { cpus: 2, memory_mib: 4096 });
    assert_eq!(schedule.start(), Some((StepId(0), 1)));
    assert_eq!(schedule.start(), Some((StepId(1), 1)));
    assert_eq!(schedule.start(), None);
    let mut schedule = Schedule::new(&plan(&[vec![]], &[4]), Resources { cpus: 2, memory_mib: 64 });
    assert_eq!(schedule.start(), Some((StepId(0), 2)), "a step that wants more than there is runs alone");
}

#[test]
fn a_step_that_wants_all_threads_waits_for_them_and_is_not_overtaken() {
    // 0 is short and runs; 1 wants everything and has the longest way to go; 3 could fit beside 0.
    let mut edges = plan(&[vec![], vec![], vec![1], vec![]], &[1, 2, 1, 1]);
    let mut schedule = Schedule::new(&edges, Resources { cpus: 2, memory_mib: 4096 });
    assert_eq!(schedule.start(), Some((StepId(1), 2)));
    assert_eq!(schedule.start(), None);
    schedule.finish(StepId(1), Outcome::Done);
    assert_eq!(schedule.start(), Some((StepId(0), 1)));
    assert_eq!(schedule.start(), Some((StepId(2), 1)));
    edges = plan(&[vec![], vec![], vec![0], vec![2]], &[1, 1, 2, 1]);
    let mut schedule = Schedule::new(&edges, Resources { cpus: 2, memory_mib: 4096 });
    assert_eq!((schedule.start(), schedule.start()), (Some((StepId(0), 1)), Some((StepId(1), 1))));
    schedule.finish(StepId(0), Outcome::Done);
    assert_eq!(schedule.start(), None, "2 wants both threads and 1 still runs");
    schedule.finish(StepId(1), Outcome::Done);
    assert_eq!(schedule.start(), Some((StepId(2), 2)));
}

#[test]
fn stopping_starts_nothing_more() {
    let plan = plan(&[vec![], vec![0]], &[1]);
    let mut schedule = Schedule::new(&plan, FOUR);
    schedule.start().unwrap();
    schedule.stop();
    schedule.finish(StepId(0), Outcome::Interrupted);
    assert!(schedule.is_over());
    assert_eq!(schedule.state(StepId(1)), State::Waiting);
}
