//! How the journal introduces the steps of a plan. It does not know whether they run.

use plan::{Plan, Source, StepId, StepSummary};

/// How the journal introduces the steps of a plan.
pub(super) fn summaries(plan: &Plan) -> Vec<StepSummary> {
    let summary = |(index, step): (usize, &plan::StepDecl)| {
        let id = StepId(index);
        let mut inputs = Vec::new();
        let mut files = Vec::new();
        for input in &step.inputs {
            match &input.source {
                Source::Step(from) => inputs.push((input.port.clone(), *from)),
                Source::Files(list) => files.extend(list.iter().map(|file| (input.port.clone(), file.path.clone()))),
            }
        }
        StepSummary {
            id,
            name: step.name.clone(),
            kind: step.kind.clone(),
            version: step.version,
            plan_id: plan.plan_id(id),
            params: step.params.clone(),
            inputs,
            files,
            site: step.site.clone(),
            resources: step.resources,
            place: step.place,
            wanted: plan.is_wanted(id),
        }
    };
    plan.steps().iter().enumerate().map(summary).collect()
}
