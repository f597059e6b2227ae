//! From a declared step whose inputs are done to its preimage. It does not know whether the key is in the store.

use std::collections::BTreeMap;

use plan::key::{FORMAT, InputDigest};
use plan::{InputRecord, Manifest, Plan, Preimage, Source, StepId};

/// Manifests of the steps that are done.
pub type Done = BTreeMap<StepId, Manifest>;

/// The preimage of a step, or none while some input is not done.
pub fn preimage(plan: &Plan, id: StepId, done: &Done) -> Option<Preimage> {
    let step = plan.step(id);
    let records = inputs(plan, id, done)?;
    let inputs = records.into_iter().map(|record| InputDigest { port: record.port, digest: record.digest }).collect();
    Some(Preimage { format: FORMAT, kind: step.kind.clone(), version: step.version, params: step.params.clone(), inputs })
}

/// What a step consumes, in port order, or none while some input is not done.
pub fn inputs(plan: &Plan, id: StepId, done: &Done) -> Option<Vec<InputRecord>> {
    let mut records = Vec::new();
    for input in &plan.step(id).inputs {
        match &input.source {
            Source::Step(from) => {
                let manifest = done.get(from)?;
                let digest = manifest.digest_of(input.part.as_deref());
                records.push(InputRecord { port: input.port.clone(), digest, key: Some(manifest.key) });
            }
            Source::Files(files) => records.extend(files.iter().map(|file| InputRecord {
                port: format!("{} {}", input.port, file.path),
                digest: file.digest,
                key: None,
            })),
        }
    }
    Some(records)
}
