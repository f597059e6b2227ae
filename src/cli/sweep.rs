//! `--sweep`: one recipe under several settings becomes one plan, in which equal steps are one; afterwards one table and one plot
//! over the settings. It does not know how steps run.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Output, Plan, PlanId, Source, StepDecl, StepId};

use super::show::RunState;
use crate::error::CliError;
use crate::report::sweep::{Row, Table};

/// Most combinations of one sweep.
const MOST: usize = 10_000;

/// One combination: the swept parameters and their values, in the order given.
pub(super) type Point = Vec<(String, String)>;

/// What was swept, and what each combination gives.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The combinations.
    pub points: Vec<Point>,
    /// For each combination, its outputs: name in the recipe, and step.
    pub outputs: Vec<Vec<(String, StepId)>>,
}

/// Reads `NAME=V1,V2,...` and `NAME=FIRST..LAST` (both included), and gives all combinations, the last name fastest.
pub(super) fn points(texts: &[String]) -> Result<Vec<Point>, CliError> {
    let mut points: Vec<Point> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    for text in texts {
        let wrong = |why: &str| {
            CliError::user(format!("--sweep {text}: {why}")).hint("for example: --sweep lr=1e-4,3e-4 --sweep seed=1..3")
        };
        let (name, values) = text.split_once('=').ok_or_else(|| wrong("expected NAME=VALUES"))?;
        let name = name.trim();
        if !seen.insert(name.to_owned()) {
            return Err(wrong("this parameter is swept twice"));
        }
        let mut list = Vec::new();
        for value in values.split(',').map(str::trim) {
            match value.split_once("..").map(|(first, last)| (first.parse::<i64>(), last.trim_start_matches('=').parse::<i64>()))
            {
                Some((Ok(first), Ok(last))) if first <= last && last.abs_diff(first) < MOST as u64 => {
                    list.extend((first..=last).map(|number| number.to_string()));
                }
                Some(_) => return Err(wrong("a range is FIRST..LAST, whole numbers, the smaller first")),
                None if value.is_empty() => return Err(wrong("a value is missing")),
                None => list.push(value.to_owned()),
            }
        }
        let distinct: BTreeSet<_> = list.iter().collect();
        if distinct.len() < list.len() {
            return Err(wrong("a value is given twice"));
        }
        if points.len().saturating_mul(list.len()) > MOST {
            return Err(wrong("that makes more than 10,000 combinations"));
        }
        let with = |point: &Point, value: &String| {
            let mut point = point.clone();
            point.push((name.to_owned(), value.clone()));
            point
        };
        points = points.iter().flat_map(|point| list.iter().map(|value| with(point, value)).collect::<Vec<_>>()).collect();
    }
    Ok(points)
}

/// One plan of the plans under all combinations. Steps that are the same under several are one step; others of one name get the
/// settings they depend on behind it: `base@lr=1e-4`.
pub(super) fn merge(plans: &[(Point, Plan)]) -> (Vec<StepDecl>, Vec<Output>, Sweep) {
    let mut steps: Vec<StepDecl> = Vec::new();
    let mut known: BTreeMap<PlanId, StepId> = BTreeMap::new();
    // Under which combinations each step occurs.
    let mut under: Vec<BTreeSet<usize>> = Vec::new();
    let mut sweep = Sweep::default();
    let mut outputs = Vec::new();
    for (number, (point, plan)) in plans.iter().enumerate() {
        let mut here: BTreeMap<StepId, StepId> = BTreeMap::new();
        for &id in plan.order() {
            let merged = *known.entry(plan.plan_id(id)).or_insert_with(|| {
                let mut step = plan.step(id).clone();
                for input in &mut step.inputs {
                    if let Source::Step(from) = &mut input.source {
                        *from = here[from];
                    }
                }
                steps.push(step);
                under.push(BTreeSet::new());
                StepId(steps.len() - 1)
            });
            under[merged.0].insert(number);
            here.insert(id, merged);
        }
        let label = label(point);
        for output in plan.outputs() {
            outputs.push(Output {
                name: format!("{}@{label}", output.name),
                step: here[&output.step],
                site: output.site.clone(),
            });
        }
        sweep.points.push(point.clone());
        sweep.outputs.push(plan.outputs().iter().map(|output| (output.name.clone(), here[&output.step])).collect());
    }
    rename(&mut steps, &under, &sweep.points);
    (steps, outputs, sweep)
}

fn label<'a>(point: impl IntoIterator<Item = &'a (String, String)>) -> String {
    point.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn rename(steps: &mut [StepDecl], under: &[BTreeSet<usize>], points: &[Point]) {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for step in steps.iter() {
        *count.entry(step.name.clone()).or_default() += 1;
    }
    let mut taken: BTreeSet<String> = count.iter().filter(|(_, count)| **count == 1).map(|(name, _)| name.clone()).collect();
    for (step, under) in steps.iter_mut().zip(under).filter(|(step, _)| count[&step.name] > 1) {
        // The settings that are the same wherever it occurs.
        let first = under.first().map(|&number| &points[number]).into_iter().flatten();
        let fixed = first.filter(|setting| under.iter().all(|&number| points[number].contains(setting)));
        let wished = format!("{}@{}", step.name, label(fixed));
        let numbered = (2..).map(|number| format!("{wished}-{number}"));
        let free = std::iter::once(wished.clone()).chain(numbered).find(|name| !taken.contains(name));
        step.name = free.unwrap_or(wished);
        taken.insert(step.name.clone());
    }
}

impl Sweep {
    /// The figures of each combination: those its outputs closed with, or where these have none, the steps they are made of.
    pub(super) fn table(&self, state: &RunState) -> Table {
        let mut rows = Vec::new();
        for (point, outputs) in self.points.iter().zip(&self.outputs) {
            let mut figures = BTreeMap::new();
            for (_, step) in outputs {
                let own = [*step];
                let inputs: Vec<StepId> = state.steps[step.0].inputs.iter().map(|(_, from)| *from).collect();
                let has = |step: &StepId| state.metrics.get(step).is_some_and(|metrics| !metrics.is_empty());
                let from: &[StepId] = if has(step) { &own } else { &inputs };
                for source in from {
                    let name = state.steps[source.0].name.split('@').next().unwrap_or_default();
                    for (metric, value) in state.metrics.get(source).into_iter().flatten() {
                        let key = if from.len() > 1 || outputs.len() > 1 { format!("{name} {metric}") } else { metric.clone() };
                        figures.insert(key, *value);
                    }
                }
            }
            rows.push(Row { settings: point.clone(), figures });
        }
        Table { rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::{Input, Place, Policy, Resources, Site, Value};

    fn given(texts: &[&str]) -> Result<Vec<String>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        points(&texts).map(|points| points.iter().map(label).collect()).map_err(|error| error.message)
    }

    #[test]
    fn values_and_ranges_combine() {
        assert_eq!(
            given(&["lr=1e-4,3e-4", "seed=1..2"]).unwrap(),
            ["lr=1e-4,seed=1", "lr=1e-4,seed=2", "lr=3e-4,seed=1", "lr=3e-4,seed=2"]
        );
        for (wrong, why) in
            [("lr", "NAME=VALUES"), ("lr=", "missing"), ("lr=3..1", "range"), ("lr=1,1", "twice"), ("n=1..99999", "range")]
        {
            assert!(given(&[wrong]).unwrap_err().contains(why), "{wrong}");
        }
        assert!(given(&["a=1", "a=2"]).is_err());
    }

    fn plan_of(lr: i64) -> Plan {
        let step = |name: &str, lr: i64, inputs: &[usize]| StepDecl {
            kind: name.into(),
            version: 1,
            params: Value::map([("lr", Value::Int(lr))]),
            inputs: inputs
                .iter()
                .map(|&from| Input { port: "in".into(), source: Source::Step(StepId(from)), part: None })
                .collect(),
            name: name.into(),
            site: Site::default(),
            resources: Resources::default(),
            place: Place::Thread,
            policy: Policy::default(),
        };
        let output = Output { name: "end".into(), step: StepId(2), site: Site::default() };
        Plan::new(vec![step("data", 0, &[]), step("train", lr, &[0]), step("score", 0, &[1])], vec![output]).unwrap()
    }

    #[test]
    fn equal_steps_are_one_and_others_are_named_by_their_settings() {
        let plans: Vec<(Point, Plan)> = points(&["lr=1,2".to_owned(), "x=7..8".to_owned()])
            .unwrap()
            .into_iter()
            .map(|point| (point.clone(), plan_of(point[0].1.parse().unwrap())))
            .collect();
        let (steps, outputs, sweep) = merge(&plans);
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["data", "train@lr=1", "score@lr=1", "train@lr=2", "score@lr=2"]);
        assert_eq!(outputs.len(), 4);
        assert_eq!(outputs[3].name, "end@lr=2,x=8");
        assert_eq!(sweep.outputs[2], [("end".to_owned(), StepId(4))]);
        Plan::new(steps, outputs).unwrap();
    }
}
