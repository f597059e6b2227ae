//! What a run would do, as far as that can be known without running. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use cache::Store;
use plan::{Difference, Key, Plan, Preimage, StepId};

use super::keying::{self, Done};

/// What a run would do with a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Its artifact is in the store.
    Hit {
        /// Its key.
        key: Key,
        /// Whether its files are gone, as those of temporary artifacts may be.
        absent: bool,
    },
    /// It would run.
    Miss {
        /// Its key.
        key: Key,
        /// Differences to its last execution under this name; none when there was no such.
        because: Option<Vec<Difference>>,
        /// What would be asked.
        preimage: Box<Preimage>,
    },
    /// Its key depends on what these steps will make.
    Unknown {
        /// The steps.
        waits: Vec<StepId>,
    },
}

/// The verdict on each wanted step; `recipe` is the recipe's identity.
///
/// # Errors
/// If the store cannot be read.
pub fn foresee(plan: &Plan, store: &Store, recipe: &str) -> Result<BTreeMap<StepId, Verdict>, cache::StoreError> {
    let names = store.names(recipe)?;
    let mut recent = store.recent(recipe)?;
    let mut done = Done::new();
    let mut verdicts = BTreeMap::new();
    for &id in plan.order().iter().filter(|&&id| plan.is_wanted(id)) {
        let step = plan.step(id);
        let Some(preimage) = keying::preimage(plan, id, &done) else {
            let waits: BTreeSet<StepId> = plan::graph::dependencies(step).filter(|input| !done.contains_key(input)).collect();
            verdicts.insert(id, Verdict::Unknown { waits: waits.into_iter().collect() });
            continue;
        };
        let key = preimage.key();
        let mut found = recent.lookup(&key);
        let mut absent = false;
        if found.is_none() && step.policy.temp {
            // Its files may have gone for good reason.
            found = store.dropped(&key).ok().flatten();
            absent = found.is_some();
        }
        if found.is_none() {
            found = store.lookup(&key)?.map(|artifact| artifact.manifest);
        }
        if let Some(manifest) = found {
            done.insert(id, manifest);
            verdicts.insert(id, Verdict::Hit { key, absent });
        } else {
            let because = names.recall(&step.name)?.as_ref().map(|before| preimage.differences(before));
            verdicts.insert(id, Verdict::Miss { key, because, preimage: Box::new(preimage) });
        }
    }
    Ok(verdicts)
}
