//! What one evaluation has declared so far: steps, outputs, parameters, notes, mistakes. Equal declarations are one step. It does
//! not know scripts; how calls become declarations is told in `call`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use plan::{Hasher, Input, Output, Place, Policy, Resources, Site, Source, StepDecl, StepId, Value};

use super::mistake::Mistake;
use super::params::ParamUse;

/// A declaration before it has a name.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) kind: String,
    pub(super) version: u32,
    pub(super) params: Value,
    pub(super) inputs: Vec<Input>,
    pub(super) site: Site,
    pub(super) resources: Resources,
    pub(super) place: Place,
}

struct Declared {
    declaration: Declaration,
    policy: Policy,
    // Given with `.named`.
    given: Option<String>,
    // The variable that first held it.
    variable: Option<String>,
}

/// Everything declared so far.
#[derive(Default)]
pub(super) struct State {
    steps: Vec<Declared>,
    by_content: BTreeMap<[u8; 32], StepId>,
    /// Outputs.
    pub(super) outputs: Vec<Output>,
    /// Parameters the recipe asked for, in order.
    pub(super) params: Vec<ParamUse>,
    /// Lines that were printed.
    pub(super) notes: Vec<String>,
    /// What is wrong.
    pub(super) mistakes: Vec<Mistake>,
    /// The last function that was not found, and what it was called on.
    pub(super) last_missing: Option<(String, String)>,
    /// Whether a placeholder was handed out.
    pub(super) pretended: bool,
}

/// The state, shared by the functions of the engine.
#[derive(Default)]
pub(super) struct Session(Mutex<State>);

impl Session {
    /// The state. The guard must not live while a script function is called.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no function of the engine panics while it holds the state")
    }

    /// Takes the state out.
    pub(super) fn take(&self) -> State {
        std::mem::take(&mut self.lock())
    }
}

impl State {
    /// Adds a declaration, or finds the equal one.
    pub(super) fn declare(&mut self, declaration: Declaration) -> StepId {
        let content = content(&declaration);
        if let Some(id) = self.by_content.get(&content) {
            return *id;
        }
        let id = StepId(self.steps.len());
        self.steps.push(Declared { declaration, policy: Policy::default(), given: None, variable: None });
        self.by_content.insert(content, id);
        id
    }

    /// Gives a step a name; the name it got first stays.
    pub(super) fn name(&mut self, step: StepId, name: &str) {
        let given = &mut self.steps[step.0].given;
        if given.is_none() {
            *given = Some(name.to_owned());
        }
    }

    /// Notes the variable that holds a step; the first one counts.
    pub(super) fn held_by(&mut self, step: StepId, variable: &str) {
        let held = &mut self.steps[step.0].variable;
        if held.is_none() {
            *held = Some(variable.to_owned());
        }
    }

    /// How a step is treated.
    pub(super) fn policy(&mut self, step: StepId) -> &mut Policy {
        &mut self.steps[step.0].policy
    }

    /// What a step occupies.
    pub(super) fn resources(&mut self, step: StepId) -> &mut Resources {
        &mut self.steps[step.0].declaration.resources
    }

    /// Adds a mistake.
    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// The steps with their names: given, else the variable, else the kind; the latter two are made unique.
    pub(super) fn named_steps(&mut self) -> Vec<StepDecl> {
        let mut taken: BTreeSet<String> = self.steps.iter().filter_map(|step| step.given.clone()).collect();
        let mut names: Vec<Option<String>> = self.steps.iter().map(|step| step.given.clone()).collect();
        // The number to try next of each wish, so that a thousand steps of one kind do not each begin at 2.
        let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
        let wishes: [fn(&Declared) -> Option<&str>; 2] = [|step| step.variable.as_deref(), |step| Some(&step.declaration.kind)];
        for wish in wishes {
            for (name, step) in names.iter_mut().zip(&self.steps).filter(|(name, _)| name.is_none()) {
                if let Some(wished) = wish(step) {
                    let number = numbers.entry(wished).or_insert(1);
                    let free = loop {
                        let candidate = if *number == 1 { wished.to_owned() } else { format!("{wished}-{number}") };
                        *number += 1;
                        if taken.insert(candidate.clone()) {
                            break candidate;
                        }
                    };
                    *name = Some(free);
                }
            }
        }
        let named = self.steps.iter().zip(names).map(|(step, name)| {
            let Declaration { kind, version, params, inputs, site, resources, place } = step.declaration.clone();
            let policy = step.policy.clone();
            StepDecl { kind, version, params, inputs, name: name.unwrap_or_default(), site, resources, place, policy }
        });
        named.collect()
    }
}

/// What makes two declarations one step: kind, version, parameters, inputs.
fn content(declaration: &Declaration) -> [u8; 32] {
    let mut hasher = Hasher::new("workbench declaration");
    hasher.field(declaration.kind.as_bytes()).field(&declaration.version.to_le_bytes());
    let mut params = Vec::new();
    declaration.params.encode(&mut params);
    hasher.field(&params);
    for input in &declaration.inputs {
        hasher.field(input.port.as_bytes()).field(input.part.as_deref().unwrap_or_default().as_bytes());
        match &input.source {
            Source::Step(StepId(step)) => {
                hasher.field(b"step").field(&(*step as u64).to_le_bytes());
            }
            Source::Files(files) => {
                hasher.field(b"files").field(&(files.len() as u64).to_le_bytes());
                for file in files {
                    hasher.field(file.path.as_bytes()).field(file.digest.as_bytes());
                }
            }
        }
    }
    hasher.finish()
}
