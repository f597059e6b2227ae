//! What the dispatcher asks of the store: whether a step is done already, why it is not, what the user declared good, and which
//! temporary artifacts must be made again or may go.

use plan::graph::dependencies;
use plan::{Difference, ErrorClass, Event, Key, Manifest, Preimage, Provenance, StepId};

use super::super::keying;
use super::{Dispatcher, worker};
use crate::exec::foresight::{Verdict, foresee};
use crate::exec::journal::now_ms;

impl Dispatcher<'_> {
    /// Looks up every ready step; hits are done at once and may make more steps ready.
    pub(super) fn key_ready_steps(&mut self) {
        loop {
            let fresh = self.schedule.take_fresh();
            if fresh.is_empty() {
                return;
            }
            for id in fresh {
                let preimage = keying::preimage(self.plan, id, &self.done).expect("inputs of a ready step are done");
                self.key(id, preimage);
            }
        }
    }

    fn key(&mut self, id: StepId, preimage: Preimage) {
        let key = preimage.key();
        let forced = self.config.wishes.force.contains(&id);
        match self.find(id, &key) {
            Ok(Some(manifest)) if forced => drop(self.before_force.insert(id, manifest.digest)),
            Ok(Some(manifest)) => {
                self.journal.publish(Event::StepKeyed { step: id, key, hit: true, because: Vec::new() });
                return self.conclude(id, manifest, None);
            }
            Ok(None) => {}
            Err(error) => return self.fail(id, ErrorClass::Failed, error.to_string(), 0.0),
        }
        let because = self.reasons(id, &preimage);
        let accepted = if self.config.wishes.accept.contains(&id) { Some(self.accept(id, &preimage)) } else { None };
        match accepted {
            Some(Ok((manifest, from))) => {
                self.journal.publish(Event::StepKeyed { step: id, key, hit: true, because: Vec::new() });
                self.journal.publish(Event::StepAccepted { step: id, key, from, differences: because });
                self.conclude(id, manifest, None);
            }
            Some(Err(error)) => self.fail(id, ErrorClass::Failed, error, 0.0),
            None => {
                self.journal.publish(Event::StepKeyed { step: id, key, hit: false, because });
                self.keyed.insert(id, preimage);
                self.rank();
            }
        }
    }

    /// The artifact of a key, or of a temporary step the record of one.
    fn find(&mut self, id: StepId, key: &Key) -> Result<Option<Manifest>, cache::StoreError> {
        if let Some(manifest) = self.recent.lookup(key) {
            return Ok(Some(manifest));
        }
        // What is gone for good reason must not be reported as damage.
        if self.plan.step(id).policy.temp
            && let Some(manifest) = self.config.store.dropped(key).ok().flatten()
        {
            return Ok(Some(manifest));
        }
        let found = self.config.store.lookup(key)?.map(|artifact| artifact.manifest);
        if let Some(manifest) = &found {
            self.recent.note(manifest);
        }
        Ok(found)
    }

    fn reasons(&self, id: StepId, now: &Preimage) -> Vec<Difference> {
        let before = self.names.recall(&self.plan.step(id).name).ok().flatten();
        before.map(|before| now.differences(&before)).unwrap_or_default()
    }

    /// At the first miss: puts first what lies on the longest way by past durations.
    fn rank(&mut self) {
        if !std::mem::replace(&mut self.ranked, true) {
            let names = &self.names;
            let took = |id: StepId| names.last(&self.plan.step(id).name).map(|last| last.took_ms);
            self.schedule.rank(self.plan, &took);
        }
    }

    /// Declares the artifact under a step's last key good for its new one.
    fn accept(&self, id: StepId, preimage: &Preimage) -> Result<(Manifest, Key), String> {
        let name = &self.plan.step(id).name;
        let nothing =
            || format!("`--accept {name}`: no step of this name has run from this recipe, so there is nothing to accept");
        let last = self.names.last(name).ok_or_else(nothing)?;
        let store = &self.config.store;
        let before = store.lookup(&last.key).map_err(|error| error.to_string())?;
        let gone = || format!("`--accept {name}`: the artifact of its last key {} is no longer in the store", last.key.short());
        let before = before.ok_or_else(gone)?.manifest;
        if before.kind != preimage.kind {
            return Err(format!(
                "`--accept {name}`: its last artifact was made by a `{}`, not a `{}`",
                before.kind, preimage.kind
            ));
        }
        let provenance = Provenance {
            run: self.config.run.clone(),
            step: name.clone(),
            finished_ms: now_ms(),
            host: worker::host(),
            accepted_from: Some(last.key),
            ..before.provenance.clone()
        };
        let artifact = store.accept(preimage, &before, provenance).map_err(|error| error.to_string())?;
        Ok((artifact.manifest, last.key))
    }

    /// After a forced execution: says so when the bytes are others than before.
    pub(super) fn compare_with_before(&mut self, id: StepId, manifest: &Manifest) {
        if !self.config.wishes.force.contains(&id) {
            return;
        }
        let runs = &self.config.run;
        let line = match self.before_force.get(&id) {
            Some(before) if *before == manifest.digest => format!("forced: the same bytes as before, {}", before.short()),
            Some(before) => format!(
                "forced in {runs}: other bytes than before ({} -> {}) under the same key: this step is not reproducible",
                before.short(),
                manifest.digest.short()
            ),
            None => return,
        };
        self.journal.publish(Event::Log { step: id, line });
    }

    /// Steps whose temporary artifact is gone and is needed again are executed.
    pub(super) fn revive(&mut self) {
        if !self.plan.steps().iter().any(|step| step.policy.temp) {
            return;
        }
        let Ok(verdicts) = foresee(self.plan, &self.config.store, &self.config.identity) else { return };
        for &id in self.plan.order().iter().rev() {
            let absent = self.plan.step(id).policy.temp && matches!(verdicts.get(&id), Some(Verdict::Hit { absent: true, .. }));
            let needed = self.plan.dependants(id).iter().any(|next| {
                self.config.wishes.force.contains(next)
                    || matches!(verdicts.get(next), Some(Verdict::Miss { .. } | Verdict::Unknown { .. }))
            });
            if absent && needed {
                self.config.wishes.force.insert(id);
            }
        }
    }

    /// Notes the temporary inputs of a step that nothing waits for any more.
    pub(super) fn release_temporaries(&mut self, id: StepId) {
        for from in dependencies(self.plan.step(id)) {
            if !self.plan.step(from).policy.temp || self.plan.outputs().iter().any(|output| output.step == from) {
                continue;
            }
            let over = |next: &StepId| !self.plan.is_wanted(*next) || self.done.contains_key(next);
            if self.plan.dependants(from).iter().all(over) {
                self.temporary.insert(from, self.done[&from].key);
            }
        }
    }
}
