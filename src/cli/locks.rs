//! `workbench cache locks`: who holds what in the store.

use cache::{Holding, Pulse, Store};

use crate::error::CliError;
use crate::report::{figures, terminal};

pub(super) fn run(store: &Store) -> Result<(), CliError> {
    let held = store.held()?;
    if held.is_empty() {
        terminal::line("nothing is held");
    }
    for held in held {
        let what = match &held.what {
            Holding::Store => "the store (a run, or something that reads all of it)".to_owned(),
            Holding::Slot { key, preimage } => {
                let kind = preimage.as_ref().map_or("a step", |preimage| preimage.kind.as_str());
                format!("{kind} {}", key.short())
            }
        };
        let pulse = match held.pulse {
            Pulse::Alive => "alive",
            Pulse::Unknown => "not heard of yet",
            Pulse::Dead => "stale: whoever needs it takes it over",
        };
        let since = figures::time(held.owner.since_ms);
        terminal::line(&format!("{what}: {}, since {since} UTC by its clock, {pulse}", held.owner));
    }
    Ok(())
}
