//! [`Schedule`]: the state machine of a run. It decides which step may start next within the machine's threads, memory, GPUs and the
//! limits that users name; it does not know keys, clocks or what running means. Every operation costs at most the logarithm of the
//! number of steps, besides what it makes ready, blocks or parks.
//!
//! ```text
//! Waiting --inputs done--> Ready --start--> Running --settle--> Settling --finish--> Done
//!    |                      ^ |                |--------fail---------> Failed   (dependants: Blocked)
//!    |                      | |                |------interrupt------> Interrupted
//!    |                      | '-finish (hit)-> Done
//!    |                      '---wake--- Paused <--pause--'
//!    '--an input failed--> Blocked
//! ```

use std::collections::{BTreeMap, BTreeSet};

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
    /// Has run and occupies nothing; its artifact is on its way into the store.
    Settling,
    /// An attempt failed; it waits for the next.
    Paused,
    /// Its artifact is in the store.
    Done,
    /// It failed.
    Failed,
    /// A step it depends on failed: the first such.
    Blocked(StepId),
    /// It was stopped on request.
    Interrupted,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its artifact is in the store.
    Done,
    /// It failed.
    Failed,
    /// It was stopped on request.
    Interrupted,
}

/// What a started step has to itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Threads.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Numbers of its GPUs.
    pub gpus: Vec<u32>,
}

/// Most of each named limit that running steps may take together. A limit that is not listed is 1: steps that share its name
/// exclude each other.
pub type Limits = BTreeMap<String, u32>;

// Steps with the longest way to go come first, then those declared first.
type Place = (std::cmp::Reverse<u64>, StepId);

/// States of all steps, and what is free.
#[derive(Debug)]
pub struct Schedule {
    states: Vec<State>,
    waiting: Vec<usize>,
    dependants: Vec<Vec<StepId>>,
    wants: Vec<Resources>,
    // Which limits a step takes from, by index, and how much; only of steps that do.
    takes: BTreeMap<StepId, Vec<(usize, u32)>>,
    held: BTreeMap<StepId, Grant>,
    ready: BTreeSet<Place>,
    // Ready steps that wait for a limit, by its index.
    parked: Vec<BTreeSet<Place>>,
    fresh: Vec<StepId>,
    priority: Vec<u64>,
    // Steps of one kind and height share the threads.
    family: Vec<u32>,
    peers: Vec<u32>,
    free: Resources,
    free_gpus: BTreeSet<u32>,
    free_limits: Vec<u32>,
    capacity: Resources,
    unfinished: usize,
    active: usize,
    stopping: Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

/// More GPUs than this count as so many.
const MOST_GPUS: u32 = 1 << 16;
/// Index of the limit that GPUs are.
const GPUS: usize = 0;

impl Schedule {
    /// All wanted steps, none started. `capacity` is what steps may occupy at the same time, `limits` what they may take of named
    /// limits.
    pub fn new(plan: &Plan, mut capacity: Resources, limits: &Limits) -> Self {
        capacity.gpus = capacity.gpus.min(MOST_GPUS);
        let count = plan.steps().len();
        let mut names: Vec<&str> = vec![""];
        let mut indices = BTreeMap::new();
        let mut takes = BTreeMap::new();
        for (index, step) in plan.steps().iter().enumerate() {
            let mut list = Vec::new();
            if step.resources.gpus > 0 && capacity.gpus > 0 {
                list.push((GPUS, step.resources.gpus.min(capacity.gpus)));
            }
            for (name, &amount) in &step.policy.limits {
                let at = *indices.entry(name.as_str()).or_insert_with(|| {
                    names.push(name);
                    names.len() - 1
                });
                list.push((at, amount.min(limits.get(name).copied().unwrap_or(1)).max(1)));
            }
            if !list.is_empty() {
                takes.insert(StepId(index), list);
            }
        }
        let (family, families) = families(plan);
        let mut schedule = Self {
            states: vec![State::Unwanted; count],
            waiting: vec![0; count],
            dependants: (0..count).map(|index| plan.dependants(StepId(index)).to_vec()).collect(),
            wants: plan.steps().iter().map(|step| step.resources).collect(),
            takes,
            held: BTreeMap::new(),
            ready: BTreeSet::new(),
            parked: vec![BTreeSet::new(); names.len()],
            fresh: Vec::new(),
            priority: vec![0; count],
            family,
            peers: vec![0; families],
            free: capacity,
            free_gpus: (0..capacity.gpus).collect(),
            free_limits: names.iter().map(|name| limits.get(*name).copied().unwrap_or(1).max(1)).collect(),
            capacity,
            unfinished: 0,
            active: 0,
            stopping: Stopping::No,
        };
        schedule.free_limits[GPUS] = capacity.gpus;
        schedule.rank(plan, &|_| None);
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

    /// Puts first what lies on the longest way to an end, given the milliseconds each step took when it last ran; a step that never
    /// ran counts as one second.
    pub fn rank(&mut self, plan: &Plan, took_ms: &dyn Fn(StepId) -> Option<u64>) {
        let queued: Vec<StepId> = self.ready.iter().map(|&(_, id)| id).collect();
        let mut parked: Vec<Vec<StepId>> = Vec::new();
        for set in &mut self.parked {
            parked.push(std::mem::take(set).into_iter().map(|(_, id)| id).collect());
        }
        self.ready.clear();
        for &id in plan.order().iter().rev() {
            let after = plan.dependants(id).iter().map(|next| self.priority[next.0]).max().unwrap_or(0);
            self.priority[id.0] = after.saturating_add(took_ms(id).unwrap_or(1000).max(1));
        }
        for id in queued {
            self.ready.insert(self.place(id));
        }
        for (limit, list) in parked.into_iter().enumerate() {
            for id in list {
                let place = self.place(id);
                self.parked[limit].insert(place);
            }
        }
    }

    /// The state of a step.
    pub fn state(&self, id: StepId) -> State {
        self.states[id.0]
    }

    /// The next step to start and what it gets, or none if it does not fit. The step is then running.
    ///
    /// Steps start in the order of the longest way to go. The first that finds too few threads or too little memory holds back those
    /// after it, so that a step that wants the whole machine gets it; one that waits for a GPU or a named limit holds back nobody. A
    /// step starts with three quarters of the threads it wants or more; ready steps of one kind and height, such as anneals with
    /// different seeds, share the threads rather than queue. A step that wants more memory than there is runs alone.
    pub fn start(&mut self) -> Option<(StepId, Grant)> {
        if self.stopping == Stopping::Yes {
            return None;
        }
        loop {
            let &(place, id) = self.ready.first()?;
            let short =
                self.takes.get(&id).and_then(|takes| takes.iter().find(|&&(limit, amount)| self.free_limits[limit] < amount));
            if let Some(&(limit, _)) = short {
                self.ready.remove(&(place, id));
                self.parked[limit].insert((place, id));
                continue;
            }
            let grant = self.fit(id)?;
            self.ready.remove(&(place, id));
            self.peers[self.family[id.0] as usize] -= 1;
            self.free.cpus -= grant.cpus.min(self.free.cpus);
            self.free.memory_mib -= grant.memory_mib;
            for &(limit, amount) in self.takes.get(&id).into_iter().flatten() {
                self.free_limits[limit] -= amount;
            }
            self.held.insert(id, grant.clone());
            self.states[id.0] = State::Running;
            self.active += 1;
            return Some((id, grant));
        }
    }

    fn fit(&mut self, id: StepId) -> Option<Grant> {
        let wants = self.wants[id.0];
        let capacity = self.capacity.cpus.max(1);
        let peers = self.peers[self.family[id.0] as usize];
        let share = if peers > 1 { (capacity / peers).max(1) } else { capacity };
        let cpus = wants.cpus.clamp(1, share);
        let memory_mib = wants.memory_mib.min(self.capacity.memory_mib);
        let idle = self.held.is_empty();
        if !idle && (self.free.cpus * 4 < cpus * 3 || self.free.cpus == 0 || self.free.memory_mib < memory_mib) {
            return None;
        }
        let mut gpus = Vec::new();
        for _ in 0..wants.gpus.min(self.capacity.gpus) {
            gpus.extend(self.free_gpus.pop_first());
        }
        Some(Grant { cpus: cpus.min(self.free.cpus).max(1), memory_mib, gpus })
    }

    /// Gives back what a running step occupies; its artifact is on its way into the store.
    ///
    /// # Panics
    /// If the step is not running.
    pub fn settle(&mut self, id: StepId) {
        assert_eq!(self.states[id.0], State::Running, "step {} settles", id.0);
        self.release(id);
        self.states[id.0] = State::Settling;
    }

    /// Gives back what a running step occupies until [`Schedule::wake`]: an attempt failed and another will be made.
    ///
    /// # Panics
    /// If the step neither runs nor settles.
    pub fn pause(&mut self, id: StepId) {
        match self.states[id.0] {
            State::Running => self.release(id),
            State::Settling => {}
            state => panic!("step {} paused while {state:?}", id.0),
        }
        self.states[id.0] = State::Paused;
    }

    /// Makes a paused step ready again.
    pub fn wake(&mut self, id: StepId) {
        if self.states[id.0] == State::Paused {
            self.active -= 1;
            self.make_ready(id);
            // Its key is known already.
            self.fresh.retain(|fresh| *fresh != id);
        }
    }

    /// Ends a running, settling or paused step, or a ready one that needed no running. Returns the steps that this blocks, in order.
    ///
    /// # Panics
    /// If the step is in another state.
    pub fn finish(&mut self, id: StepId, outcome: Outcome) -> Vec<StepId> {
        match self.states[id.0] {
            State::Running => {
                self.release(id);
                self.active -= 1;
            }
            State::Settling | State::Paused => self.active -= 1,
            State::Ready => {
                let place = self.place(id);
                if !self.ready.remove(&place) {
                    self.parked.iter_mut().any(|parked| parked.remove(&place));
                }
                self.peers[self.family[id.0] as usize] -= 1;
            }
            state => panic!("step {} ended while {state:?}", id.0),
        }
        self.unfinished -= 1;
        match outcome {
            Outcome::Done => {
                self.states[id.0] = State::Done;
                for next in std::mem::take(&mut self.dependants[id.0]) {
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

    /// Steps that became ready since this was last asked.
    pub fn take_fresh(&mut self) -> Vec<StepId> {
        std::mem::take(&mut self.fresh)
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
        let waits = self.stopping == Stopping::No && !(self.ready.is_empty() && self.parked.iter().all(BTreeSet::is_empty));
        self.unfinished == 0 || self.active == 0 && !waits
    }

    fn place(&self, id: StepId) -> Place {
        (std::cmp::Reverse(self.priority[id.0]), id)
    }

    fn make_ready(&mut self, id: StepId) {
        self.states[id.0] = State::Ready;
        self.peers[self.family[id.0] as usize] += 1;
        self.fresh.push(id);
        self.ready.insert(self.place(id));
    }

    fn release(&mut self, id: StepId) {
        let Some(grant) = self.held.remove(&id) else { return };
        self.free.cpus += grant.cpus;
        self.free.memory_mib += grant.memory_mib;
        self.free_gpus.extend(grant.gpus);
        for &(limit, amount) in self.takes.get(&id).into_iter().flatten() {
            self.free_limits[limit] += amount;
            // As many as could start now; those that then find another limit short are parked there.
            for _ in 0..self.free_limits[limit] {
                let Some(next) = self.parked[limit].pop_first() else { break };
                self.ready.insert(next);
            }
        }
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

/// The family of each step, which is its kind and its height over the ends of the plan, and the number of families.
fn families(plan: &Plan) -> (Vec<u32>, usize) {
    let mut height = vec![0_u32; plan.steps().len()];
    let mut known: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    let mut family = vec![0; plan.steps().len()];
    for &id in plan.order().iter().rev() {
        height[id.0] = plan.dependants(id).iter().map(|next| height[next.0] + 1).max().unwrap_or(0);
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        family[id.0] = *known.entry((plan.step(id).kind.as_str(), height[id.0])).or_insert(next);
    }
    let count = known.len();
    (family, count)
}

#[cfg(test)]
mod tests;
