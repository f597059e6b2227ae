//! `workbench cache gc`: which artifacts no run, tag or budget keeps, why, and their removal. `workbench cache du` and `workbench cache
//! dedup`: where the bytes are, and which of them are there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cache::{DedupPlan, GcPlan, Policy, Reason, Store, Temporary};
use plan::{Event, Key, Record};

use super::select::done;
use crate::error::CliError;
use crate::exec::journal::Tail;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Most artifacts that are listed one by one.
const MOST_LINES: usize = 40;

/// Arguments of `cache gc`.
#[derive(Debug, clap::Args)]
pub(super) struct GcArguments {
    /// How many of the latest runs keep their artifacts.
    #[arg(long, alias = "keep", default_value_t = 5, value_name = "N")]
    keep_runs: usize,
    /// Keep the last artifacts of each step of each recipe, so many.
    #[arg(long, default_value_t = 0, value_name = "K")]
    keep_last: usize,
    /// Of the rest, remove only what was not used for so long: 12h, 30d, 8w.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Of the rest, remove only as much as brings all artifacts under this size: 50GB, 800MiB. What costs the least time for its
    /// size to make again, and was not used for the longest time, goes first.
    #[arg(long, value_name = "SIZE", value_parser = super::export::parse_size)]
    max_size: Option<u64>,
    /// Also remove the files of temporary artifacts that are kept; their records stay.
    #[arg(long)]
    temp: bool,
    /// Remove what was listed.
    #[arg(long, conflicts_with = "dry_run")]
    apply: bool,
    /// Only tell, which is what happens without `--apply`.
    #[arg(long)]
    dry_run: bool,
    /// List everything.
    #[arg(long, short)]
    verbose: bool,
}

/// Arguments of `cache dedup`.
#[derive(Debug, clap::Args)]
pub(super) struct DedupArguments {
    /// Link them.
    #[arg(long)]
    apply: bool,
}

/// Arguments of `cache du`.
#[derive(Debug, clap::Args)]
pub(super) struct DuArguments {
    /// What to add up by.
    #[arg(long, value_enum, default_value = "kind")]
    by: By,
}

/// What sizes are added up by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    /// Kind of step.
    Kind,
    /// Runs that used it.
    Run,
    /// Recipes whose runs used it.
    Recipe,
}

/// A span of time as people write it.
fn parse_age(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("an age is a whole number and a unit (min, h, d, w), such as 30d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "an age is a whole number and a unit, such as 30d".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "the age is too large".into())
}

/// What a run's journal says that matters here.
struct Used {
    run: String,
    recipe: String,
    /// Names of steps with the keys of their artifacts.
    steps: Vec<(String, Key)>,
    /// Keys, also of what failed or was interrupted.
    keys: BTreeSet<Key>,
}

/// All runs, the latest first.
fn used(home: &Home) -> Result<Vec<Used>, CliError> {
    let mut all = Vec::new();
    for run in home.runs()?.into_iter().rev() {
        let state = super::show::read_state(home, &run)?;
        let first = Tail::open(&home.journal(&run))?.read()?.into_iter().next();
        let recipe = match first {
            Some(Record { event: Event::RunStarted { recipe, .. }, .. }) => recipe,
            _ => String::new(),
        };
        let finished: BTreeSet<Key> = done(&state).collect();
        let steps = state.keys.iter().filter(|(_, key)| finished.contains(key));
        let steps = steps.filter_map(|(id, key)| Some((state.steps.get(id.0)?.name.clone(), *key))).collect();
        all.push(Used { run, recipe, steps, keys: state.keys.values().copied().collect() });
    }
    Ok(all)
}

pub(super) fn gc(arguments: &GcArguments, home: &Home, store: &Store) -> Result<(), CliError> {
    let runs = used(home)?;
    let mut roots: BTreeSet<Key> = BTreeSet::new();
    let mut kept = Vec::new();
    let mut keep = |keys: &mut dyn Iterator<Item = Key>, what: String| {
        let before = roots.len();
        roots.extend(keys);
        if roots.len() > before {
            kept.push(format!("{} by {what}", roots.len() - before));
        }
    };
    keep(
        &mut runs.iter().take(arguments.keep_runs).flat_map(|run| run.keys.iter().copied()),
        format!("the last {} runs", arguments.keep_runs),
    );
    let tags = store.tags()?;
    keep(&mut tags.iter().flat_map(|tag| tag.keys.iter().copied()), format!("{} tags", tags.len()));
    let mut latest: BTreeMap<(&str, &str), BTreeSet<Key>> = BTreeMap::new();
    for run in &runs {
        for (step, key) in &run.steps {
            let keys = latest.entry((&run.recipe, step)).or_default();
            if keys.len() < arguments.keep_last {
                keys.insert(*key);
            }
        }
    }
    keep(&mut latest.into_values().flatten(), format!("the last {} of each step", arguments.keep_last));
    let temporary = if arguments.temp { Temporary::Drop } else { Temporary::Keep };
    let policy = Policy { roots, older_than: arguments.older_than, max_bytes: arguments.max_size, temporary };
    let plan = GcPlan::choose(store, policy)?;
    list(&plan, if arguments.verbose { usize::MAX } else { MOST_LINES });
    if !kept.is_empty() {
        terminal::line(&format!("keys kept: {}", kept.join(", ")));
    }
    let left = plan.total_bytes.saturating_sub(plan.objects.iter().map(|(_, bytes)| bytes).sum());
    terminal::line(&format!("artifacts: {} now, {} then", figures::size(plan.total_bytes), figures::size(left)));
    if let Some(most) = arguments.max_size.filter(|most| left > *most) {
        terminal::note(&format!(
            "that is more than {}: the rest is kept by runs, tags or its age; lower --keep-runs or --older-than, or untag",
            figures::size(most)
        ));
    }
    if arguments.apply {
        let freed = plan.apply(store)?;
        terminal::line(&format!("{} artifacts, {} removed", freed.keys, figures::size(freed.bytes)));
    } else {
        let count = plan.keys.len() + plan.artifacts.iter().filter(|(_, reason, _)| *reason == Reason::Temporary).count();
        let hint = if plan.is_empty() { "" } else { "; --apply removes them" };
        terminal::line(&format!("{count} artifacts, {} would go{hint}", figures::size(plan.bytes())));
    }
    Ok(())
}

fn list(plan: &GcPlan, most: usize) {
    let mut artifacts: Vec<_> = plan.artifacts.iter().collect();
    artifacts.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.key.cmp(&b.0.key)));
    for (artifact, reason, freed) in artifacts.iter().take(most) {
        let why = match reason {
            Reason::Unneeded => "no run or tag that counts needs it",
            Reason::OverBudget => "the store has to fit its budget",
            Reason::Temporary => "temporary; its record stays",
        };
        let (size, took) = (figures::size(*freed), figures::duration(artifact.took_ms as f64 / 1e3));
        let unused = artifact.unused.as_secs();
        let unused = if unused < 86_400 { format!("{} h", unused / 3600) } else { format!("{} d", unused / 86_400) };
        let (key, step, kind, run) = (artifact.key.short(), &artifact.step, &artifact.kind, &artifact.run);
        terminal::line(&format!("{size:>10}  {took:>12} to make  unused {unused:>5}  {key}  {step} ({kind}) of {run}: {why}"));
    }
    if artifacts.len() > most {
        let bytes = artifacts[most..].iter().map(|(_, _, freed)| freed).sum();
        terminal::line(&format!("{:>10}  in {} more; --verbose lists them", figures::size(bytes), artifacts.len() - most));
    }
    for (bytes, what) in [
        (
            plan.slots.iter().map(|(_, bytes)| bytes).sum(),
            format!("in {} unfinished steps that no such run needs", plan.slots.len()),
        ),
        (plan.leftover_bytes, "of damaged things set aside and leftovers of killed processes".into()),
    ] {
        if bytes > 0 {
            terminal::line(&format!("{:>10}  {what}", figures::size(bytes)));
        }
    }
}

pub(super) fn dedup(arguments: &DedupArguments, store: &Store) -> Result<(), CliError> {
    let plan = DedupPlan::compute(store)?;
    if !arguments.apply {
        let hint = if plan.files == 0 { "" } else { "; --apply links them" };
        terminal::line(&format!("{} files are there again, {}{hint}", plan.files, figures::size(plan.bytes)));
        return Ok(());
    }
    let done = plan.apply(store)?;
    terminal::line(&format!("{} files linked, {} freed", done.files, figures::size(done.bytes)));
    if !done.damage.is_empty() {
        done.damage.iter().for_each(|damage| terminal::line(&damage.to_string()));
        return Err(CliError::system("some files are not what was committed; nothing was linked to them")
            .hint("`workbench cache verify --repair` sets damaged artifacts aside"));
    }
    Ok(())
}

pub(super) fn du(arguments: &DuArguments, home: &Home, store: &Store) -> Result<(), CliError> {
    let mut groups: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    let mut rest: BTreeSet<Key> = store.keys()?.into_iter().collect();
    match arguments.by {
        By::Kind => {
            for manifest in store.manifests()?.filter_map(Result::ok) {
                groups.entry(manifest.kind).or_default().insert(manifest.key);
                rest.remove(&manifest.key);
            }
        }
        By::Run | By::Recipe => {
            for run in used(home)? {
                rest.retain(|key| !run.keys.contains(key));
                let name = if matches!(arguments.by, By::Run) { run.run } else { run.recipe };
                groups.entry(name).or_default().extend(run.keys);
            }
        }
    }
    if !rest.is_empty() {
        groups.insert("(none)".into(), rest);
    }
    let usage = store.disk_use(&groups)?;
    let width = usage.shares.iter().map(|share| share.name.len()).max().unwrap_or(0);
    for share in &usage.shares {
        let (bytes, own) = (figures::size(share.bytes), figures::size(share.own));
        terminal::line(&format!("{:<width$}  {bytes:>10}  of its own {own:>10}  {:>6} artifacts", share.name, share.artifacts));
    }
    let (all, shared) = (figures::size(usage.bytes), figures::size(usage.shared));
    terminal::line(&format!("{all} in all, each byte counted once; {shared} of them belong to more than one"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_age("90min"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "30", "d", "1.5d", "30y", "99999999999999999999d", "9999999999999999999w"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
