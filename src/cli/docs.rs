//! `workbench docs`: the reference of steps, recipe functions, modules and lineage tables, from what the engine itself uses.

use std::fmt::Write;

use lineage::Lineage;

use crate::error::CliError;
use crate::recipe;
use crate::report::terminal;
use crate::steps::params::closest;

/// Arguments of `docs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A kind of step, `sql` for the lineage tables; everything when left out.
    topic: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let registry = super::registry();
    let text = match arguments.topic.as_deref() {
        None => format!("{}\n{}", recipe::docs(registry), tables(&Lineage::open_in_memory()?)?),
        Some("sql" | "lineage") => tables(&Lineage::open_in_memory()?)?,
        Some(topic) => recipe::docs_for(registry, topic).ok_or_else(|| {
            let names = registry.kinds().map(|kind| kind.about.name);
            let hint = closest(topic, registry.kinds().map(|kind| kind.about.name));
            CliError::user(format!("there is nothing called `{topic}`")).hint(hint.map_or_else(
                || format!("kinds: {}; or `sql`", names.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            ))
        })?,
    };
    terminal::line(text.trim_end());
    Ok(())
}

/// The reference of lineage tables.
pub(super) fn tables(lineage: &Lineage) -> Result<String, CliError> {
    let mut text = format!("# Lineage\n\n{}", lineage.describe()?);
    text.push_str("\n## Questions (`workbench sql --ask NAME ...`)\n\n");
    for (name, answers, _) in lineage::QUESTIONS {
        let _ = writeln!(text, "- `{name}`: {answers}");
    }
    Ok(text)
}
