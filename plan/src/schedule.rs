//! [`Schedule`]: the state machine of a run. It decides which step may start next within the machine's threads and memory; it does
//! not know keys, clocks or what running means.
//!
//! ```text
//! Waiting --inputs done--> Ready --start--> Running --finish--> Done
//!    |                       |                 |-----fail-----> Failed   (dependants: Blocked)
//!    '--an input failed--> Blocked             '--interrupt---> Interrupted
//! ```

use std::collections::BTreeSet;

use crate::graph::dependencies;
use crate::{Plan, Resources, StepId};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No output needs it.
    Unwanted,
    /// Some inputs are not done.
    Waiting,
    /// All inputs are done.
    Ready,
    /// Occupies threads and memory.
    Running,
    /// Its artifact is in the store.
    Done,
    /// It failed.
    Failed,
    /// A step it depends on failed: the first such.
    Blocked(StepId),
    /// It was stopped on request.
    Interrupted,
}

/// How a running step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its artifact is in the store.
    Done,
    /// It failed.
    Failed,
    /// It was stopped on request.
    Interrupted,
}

/// States of all steps, and what is free.
#[derive(Debug)]
pub struct Schedule {
    states: Vec<State>,
    waiting: Vec<usize>,
    dependants: Vec<Vec<StepId>>,
    wants: Vec<Resources>,
    kinds: Vec<String>,
    held: Vec<Resources>,
    // Ready steps, those with the longest way to go first, then by declaration.
    ready: BTreeSet<(std::cmp::Reverse<usize>, StepId)>,
    height: Vec<usize>,
    free: Resources,
    capacity: Resources,
    unfinished: usize,
    stopping: Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

impl Schedule {
    /// All wanted steps, none started. `capacity` is what steps may occupy at the same time.
    pub fn new(plan: &Plan, capacity: Resources) -> Self {
        let count = plan.steps().len();
        let mut height = vec![0; count];
        for &id in plan.order().iter().rev() {
            height[id.0] = plan.dependants(id).iter().map(|next| height[next.0] + 1).max().unwrap_or(0);
        }
        let mut schedule = Self {
            states: vec![State::Unwanted; count],
            waiting: vec![0; count],
            dependants: (0..count).map(|index| plan.dependants(StepId(index)).to_vec()).collect(),
            wants: plan.steps().iter().map(|step| step.resources).collect(),
            kinds: plan.steps().iter().map(|step| step.kind.clone()).collect(),
            held: vec![Resources { cpus: 0, memory_mib: 0 }; count],
            ready: BTreeSet::new(),
            height,
            free: capacity,
            capacity,
            unfinished: 0,
            stopping: Stopping::No,
        };
        for &id in plan.order().iter().filter(|&&id| plan.is_wanted(id)) {
            schedule.unfinished += 1;
            schedule.states[id.0] = State::Waiting;
            schedule.waiting[id.0] = dependencies(plan.step(id)).collect::<BTreeSet<_>>().len();
            if schedule.waiting[id.0] == 0 {
                schedule.make_ready(id);
            }
        }
        schedule
    }

    /// The state of a step.
    pub fn state(&self, id: StepId) -> State {
        self.states[id.0]
    }

    /// The next step to start and the threads it gets, or none if it does not fit. The step is then running.
    ///
    /// Steps start in the order of the longest way to go. The first that does not fit holds back those after it, so that a step
    /// that wants the whole machine gets it. A step starts with three quarters of the threads it wants or more; ready steps of
    /// one kind and height, such as anneals with different seeds, share the threads rather than queue. A step that wants more
    /// memory than there is runs alone.
    pub fn start(&mut self) -> Option<(StepId, u32)> {
        if self.stopping == Stopping::Yes {
            return None;
        }
        let &(place, id) = self.ready.first()?;
        let wants = self.wants[id.0];
        let capacity = self.capacity.cpus.max(1);
        let peers =
            self.ready.iter().filter(|&&(height, peer)| height == place && self.kinds[peer.0] == self.kinds[id.0]).count();
        let share = if peers > 1 { (capacity / u32::try_from(peers).unwrap_or(u32::MAX)).max(1) } else { capacity };
        let cpus = wants.cpus.clamp(1, share);
        let memory_mib = wants.memory_mib.min(self.capacity.memory_mib);
        let idle = self.free == self.capacity;
        if !idle && (self.free.cpus * 4 < cpus * 3 || self.free.cpus == 0 || self.free.memory_mib < memory_mib) {
            return None;
        }
        let grant = Resources { cpus: cpus.min(self.free.cpus).max(1), memory_mib };
        self.ready.remove(&(place, id));
        self.free.cpus -= grant.cpus.min(self.free.cpus);
        self.free.memory_mib -= grant.memory_mib;
        self.held[id.0] = grant;
        self.states[id.0] = State::Running;
        Some((id, grant.cpus))
    }

    /// Ends a running step, or a ready one that needed no running. Returns the steps that this blocks, in order.
    ///
    /// # Panics
    /// If the step is neither running nor ready.
    pub fn finish(&mut self, id: StepId, outcome: Outcome) -> Vec<StepId> {
        match self.states[id.0] {
            State::Running => {
                let held = std::mem::replace(&mut self.held[id.0], Resources { cpus: 0, memory_mib: 0 });
                self.free.cpus += held.cpus;
                self.free.memory_mib += held.memory_mib;
            }
            State::Ready => {
                self.ready.remove(&(std::cmp::Reverse(self.height[id.0]), id));
            }
            state => panic!("step {} ended while {state:?}", id.0),
        }
        self.unfinished -= 1;
        match outcome {
            Outcome::Done => {
                self.states[id.0] = State::Done;
                for next in self.dependants[id.0].clone() {
                    if self.states[next.0] == State::Waiting {
                        self.waiting[next.0] -= 1;
                        if self.waiting[next.0] == 0 {
                            self.make_ready(next);
                        }
                    }
                }
                Vec::new()
            }
            Outcome::Failed => {
                self.states[id.0] = State::Failed;
                self.block(id)
            }
            Outcome::Interrupted => {
                self.states[id.0] = State::Interrupted;
                Vec::new()
            }
        }
    }

    /// Ready steps, in the order they would start.
    pub fn ready(&self) -> impl Iterator<Item = StepId> {
        self.ready.iter().map(|&(_, id)| id)
    }

    /// Starts nothing more.
    pub fn stop(&mut self) {
        self.stopping = Stopping::Yes;
    }

    /// Whether every wanted step has ended.
    pub fn is_complete(&self) -> bool {
        self.unfinished == 0
    }

    /// Whether nothing runs and nothing will.
    pub fn is_over(&self) -> bool {
        self.unfinished == 0
            || !self.states.contains(&State::Running) && (self.stopping == Stopping::Yes || self.ready.is_empty())
    }

    fn make_ready(&mut self, id: StepId) {
        self.states[id.0] = State::Ready;
        self.ready.insert((std::cmp::Reverse(self.height[id.0]), id));
    }

    fn block(&mut self, by: StepId) -> Vec<StepId> {
        let mut blocked = BTreeSet::new();
        let mut stack = self.dependants[by.0].clone();
        while let Some(id) = stack.pop() {
            if self.states[id.0] == State::Waiting {
                self.states[id.0] = State::Blocked(by);
                self.unfinished -= 1;
                blocked.insert(id);
                stack.extend(&self.dependants[id.0]);
            }
        }
        blocked.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
