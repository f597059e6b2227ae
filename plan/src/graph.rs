//! [`Plan::new`]: declarations become a checked graph, or all that is wrong with them at once. It does not know what kinds exist;
//! ports and types are checked where kinds are registered.

use std::collections::BTreeMap;

use petgraph::graph::{DiGraph, NodeIndex};

use crate::{Hasher, PlanId, Site, Source, StepDecl, StepId};

/// A named result of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name.
    pub name: String,
    /// Step whose artifact it is.
    pub step: StepId,
    /// Where it was declared.
    pub site: Site,
}

/// One thing wrong with a set of declarations.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Two steps have the same name.
    #[error("two steps are called `{name}`: here and at {first}; give one another name with .named(\"...\")")]
    SameName {
        /// The name.
        name: String,
        /// Where it was used first.
        first: Site,
        /// Where it was used again.
        site: Site,
    },
    /// Two outputs have the same name.
    #[error("two outputs are called `{name}`")]
    SameOutput {
        /// The name.
        name: String,
        /// Where it was used again.
        site: Site,
    },
    /// A step consumes a step that does not exist.
    #[error("step `{step}` takes step number {input}, which does not exist")]
    NoSuchInput {
        /// The consumer.
        step: String,
        /// The missing position.
        input: usize,
        /// Where the consumer was declared.
        site: Site,
    },
    /// Steps depend on each other in a circle.
    #[error("steps depend on each other in a circle: {}", path.join(" -> "))]
    Cycle {
        /// Names along the circle, first and last the same.
        path: Vec<String>,
        /// Where one of them was declared.
        site: Site,
    },
}

impl PlanError {
    /// Where to point at.
    pub fn site(&self) -> &Site {
        match self {
            Self::SameName { site, .. }
            | Self::SameOutput { site, .. }
            | Self::NoSuchInput { site, .. }
            | Self::Cycle { site, .. } => site,
        }
    }
}

/// A checked, acyclic set of steps. Steps keep the position they were declared at.
#[derive(Debug, Clone)]
pub struct Plan {
    steps: Vec<StepDecl>,
    outputs: Vec<Output>,
    order: Vec<StepId>,
    dependants: Vec<Vec<StepId>>,
    plan_ids: Vec<PlanId>,
    wanted: Vec<bool>,
}

impl Plan {
    /// Checks names and edges, and orders the steps. Without outputs every step is wanted.
    ///
    /// # Errors
    /// All duplicate names, dangling inputs and one circle, each with its site.
    pub fn new(steps: Vec<StepDecl>, outputs: Vec<Output>) -> Result<Self, Vec<PlanError>> {
        let mut errors = name_errors(&steps, &outputs);
        let mut graph = DiGraph::<(), ()>::with_capacity(steps.len(), steps.len());
        steps.iter().for_each(|_| {
            graph.add_node(());
        });
        let mut dependants = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            for StepId(input) in dependencies(step) {
                if input < steps.len() {
                    graph.add_edge(NodeIndex::new(input), NodeIndex::new(index), ());
                    if dependants[input].last() != Some(&StepId(index)) {
                        dependants[input].push(StepId(index));
                    }
                } else {
                    let (step, site) = (step.name.clone(), step.site.clone());
                    errors.push(PlanError::NoSuchInput { step, input, site });
                }
            }
        }
        let order = match topological(&graph) {
            Ok(order) => order,
            Err(circle) => {
                let site = steps[circle[0]].site.clone();
                errors.push(PlanError::Cycle { path: circle.iter().map(|&i| steps[i].name.clone()).collect(), site });
                Vec::new()
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let plan_ids = name_declarations(&steps, &order);
        let wanted = reach(&steps, &outputs, &order);
        Ok(Self { steps, outputs, order, dependants, plan_ids, wanted })
    }

    /// All steps, in declaration order.
    pub fn steps(&self) -> &[StepDecl] {
        &self.steps
    }

    /// One step.
    pub fn step(&self, id: StepId) -> &StepDecl {
        &self.steps[id.0]
    }

    /// Declared outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Steps in an order in which every step comes after its inputs; ties go by declaration.
    pub fn order(&self) -> &[StepId] {
        &self.order
    }

    /// Steps that consume this one.
    pub fn dependants(&self, id: StepId) -> &[StepId] {
        &self.dependants[id.0]
    }

    /// The name of a step's declaration, known before anything runs.
    pub fn plan_id(&self, id: StepId) -> PlanId {
        self.plan_ids[id.0]
    }

    /// Whether an output needs this step.
    pub fn is_wanted(&self, id: StepId) -> bool {
        self.wanted[id.0]
    }

    /// Wants these steps and what they need, and nothing else.
    pub fn want(&mut self, targets: &[StepId]) {
        let outputs: Vec<_> = self.outputs.iter().filter(|output| targets.contains(&output.step)).cloned().collect();
        let wishes = targets.iter().map(|&step| Output { name: String::new(), step, site: Site::default() }).collect::<Vec<_>>();
        self.wanted = reach(&self.steps, &wishes, &self.order);
        if targets.is_empty() {
            self.wanted.fill(false);
        }
        self.outputs = outputs;
    }

    /// The steps a pattern means: those whose name it matches, else those whose kind it does. `*` stands for any text, `?` for any
    /// character.
    pub fn matching(&self, pattern: &str) -> Vec<StepId> {
        let found = |text: &dyn Fn(&StepDecl) -> &str| -> Vec<StepId> {
            let steps = self.steps.iter().enumerate().filter(|(_, step)| matches(pattern, text(step)));
            steps.map(|(index, _)| StepId(index)).collect()
        };
        let named = found(&|step| &step.name);
        if named.is_empty() { found(&|step| &step.kind) } else { named }
    }

    /// The steps a user means: the one of that name, else all of that kind.
    pub fn find(&self, text: &str) -> Vec<StepId> {
        let matching = |test: &dyn Fn(&StepDecl) -> bool| -> Vec<StepId> {
            self.steps.iter().enumerate().filter(|(_, step)| test(step)).map(|(index, _)| StepId(index)).collect()
        };
        let named = matching(&|step| step.name == text);
        if named.is_empty() { matching(&|step| step.kind == text) } else { named }
    }
}

/// Whether a pattern with `*` and `?` matches a whole text; linear in their product at worst.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position, mut star) = (0, 0, None);
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(&c) if c == '?' || c == text[position] => {
                at += 1;
                position += 1;
            }
            _ => {
                // The last star takes one character more.
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = place + 1;
                position = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|&c| c == '*')
}

/// The steps a declaration consumes, in port order, with repeats.
pub fn dependencies(step: &StepDecl) -> impl Iterator<Item = StepId> {
    step.inputs.iter().filter_map(|input| match input.source {
        Source::Step(id) => Some(id),
        Source::Files(_) => None,
    })
}

fn name_errors(steps: &[StepDecl], outputs: &[Output]) -> Vec<PlanError> {
    let mut errors = Vec::new();
    let mut seen = BTreeMap::new();
    for step in steps {
        if let Some(first) = seen.insert(&step.name, &step.site) {
            let (name, first, site) = (step.name.clone(), first.clone(), step.site.clone());
            errors.push(PlanError::SameName { name, first, site });
        }
    }
    let mut seen = BTreeMap::new();
    for output in outputs {
        if seen.insert(&output.name, ()).is_some() {
            errors.push(PlanError::SameOutput { name: output.name.clone(), site: output.site.clone() });
        }
    }
    errors
}

/// Kahn's algorithm with the smallest ready position first; on a circle, the positions along it.
fn topological(graph: &DiGraph<(), ()>) -> Result<Vec<StepId>, Vec<usize>> {
    use std::cmp::Reverse;
    let mut waiting: Vec<usize> =
        graph.node_indices().map(|node| graph.neighbors_directed(node, petgraph::Incoming).count()).collect();
    let mut ready: std::collections::BinaryHeap<_> =
        (0..waiting.len()).filter(|&index| waiting[index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(StepId(index));
        for next in graph.neighbors(NodeIndex::new(index)) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    if order.len() == waiting.len() {
        return Ok(order);
    }
    // Every step left waits for one that is left: walking inputs from any of them must come round.
    let mut position = waiting.iter().position(|&count| count > 0).expect("some step is left");
    let mut path = Vec::new();
    while !path.contains(&position) {
        path.push(position);
        position = graph
            .neighbors_directed(NodeIndex::new(position), petgraph::Incoming)
            .map(NodeIndex::index)
            .find(|&input| waiting[input] > 0)
            .expect("a step that waits has an input that waits");
    }
    let start = path.iter().position(|&seen| seen == position).expect("the walk came round");
    let mut circle = path.split_off(start);
    circle.push(position);
    circle.reverse();
    Err(circle)
}

fn name_declarations(steps: &[StepDecl], order: &[StepId]) -> Vec<PlanId> {
    let mut ids = vec![PlanId::from_bytes([0; 32]); steps.len()];
    for &StepId(index) in order {
        let step = &steps[index];
        let mut hasher = Hasher::new("workbench plan");
        let mut params = Vec::new();
        step.params.encode(&mut params);
        hasher.field(step.kind.as_bytes()).field(&step.version.to_le_bytes()).field(&params);
        for input in &step.inputs {
            hasher.field(input.port.as_bytes()).field(input.part.as_deref().unwrap_or_default().as_bytes());
            match &input.source {
                Source::Step(StepId(from)) => {
                    hasher.field(b"step").field(ids[*from].as_bytes());
                }
                Source::Files(files) => {
                    hasher.field(b"files").field(&(files.len() as u64).to_le_bytes());
                    for file in files {
                        hasher.field(file.path.as_bytes()).field(file.digest.as_bytes());
                    }
                }
            }
        }
        ids[index] = PlanId::from_bytes(hasher.finish());
    }
    ids
}

fn reach(steps: &[StepDecl], outputs: &[Output], order: &[StepId]) -> Vec<bool> {
    let mut wanted = vec![outputs.is_empty(); steps.len()];
    for output in outputs {
        wanted[output.step.0] = true;
    }
    for &id in order.iter().rev() {
        if wanted[id.0] {
            for input in dependencies(&steps[id.0]) {
                wanted[input.0] = true;
            }
        }
    }
    wanted
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Input, Place, Policy, Resources, Value};

    pub(crate) fn step(name: &str, inputs: &[usize]) -> StepDecl {
        StepDecl {
            kind: "test".into(),
            version: 1,
            params: Value::map([("seed", Value::Int(1))]),
            inputs: inputs
                .iter()
                .map(|&from| Input { port: "in".into(), source: Source::Step(StepId(from)), part: None })
                .collect(),
            name: name.into(),
            site: Site::default(),
            resources: Resources::default(),
            place: Place::Thread,
            policy: Policy::default(),
        }
    }

    #[test]
    fn steps_are_ordered_after_their_inputs() {
        let plan = Plan::new(vec![step("c", &[1, 2]), step("a", &[]), step("b", &[1])], vec![]).unwrap();
        assert_eq!(plan.order(), [StepId(1), StepId(2), StepId(0)]);
        assert_eq!(plan.dependants(StepId(1)), [StepId(0), StepId(2)]);
        assert_eq!(plan.find("b"), [StepId(2)]);
        assert_eq!(plan.find("test").len(), 3);
    }

    #[test]
    fn all_mistakes_are_reported() {
        let errors = Plan::new(vec![step("a", &[9]), step("a", &[]), step("b", &[3]), step("c", &[2])], vec![]).unwrap_err();
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(text[0].starts_with("two steps are called `a`"), "{text:?}");
        assert!(text[1].contains("step number 9"), "{text:?}");
        assert!(text[2].ends_with("b -> c -> b") || text[2].ends_with("c -> b -> c"), "{text:?}");
    }

    #[test]
    fn only_what_outputs_need_is_wanted() {
        let output = Output { name: "out".into(), step: StepId(1), site: Site::default() };
        let plan = Plan::new(vec![step("a", &[]), step("b", &[0]), step("c", &[0])], vec![output]).unwrap();
        assert_eq!((0..3).map(|i| plan.is_wanted(StepId(i))).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn patterns_match_whole_names() {
        let yes = [("a*c", "abbc"), ("*", ""), ("a?c", "abc"), ("*-2", "tok-1-2"), ("a*b*c", "aXbXbXc"), ("é*", "étape")];
        let no = [("a*c", "abcd"), ("?", ""), ("abc", "ab"), ("a*b", "ac")];
        assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)));
        assert!(no.iter().all(|(pattern, text)| !matches(pattern, text)));
        let mut plan = Plan::new(vec![step("a", &[]), step("b", &[0]), step("c", &[])], vec![]).unwrap();
        assert_eq!(plan.matching("[ab]"), []);
        assert_eq!(plan.matching("te*").len(), 3);
        plan.want(&plan.matching("b"));
        assert_eq!((0..3).map(|i| plan.is_wanted(StepId(i))).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn names_do_not_reach_the_plan_id_but_ancestors_do() {
        let ids = |steps: Vec<StepDecl>| {
            let plan = Plan::new(steps, vec![]).unwrap();
            plan.plan_id(StepId(1))
        };
        let first = ids(vec![step("a", &[]), step("b", &[0])]);
        assert_eq!(first, ids(vec![step("x", &[]), step("y", &[0])]));
        let mut other = step("a", &[]);
        other.params = Value::map([("seed", Value::Int(2))]);
        assert_ne!(first, ids(vec![other, step("b", &[0])]));
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let inputs = |i: usize| if i == 0 { vec![] } else { vec![i - 1] };
        let steps = (0..100_000).map(|i| step(&i.to_string(), &inputs(i))).collect();
        assert_eq!(Plan::new(steps, vec![]).unwrap().order().len(), 100_000);
    }
}
