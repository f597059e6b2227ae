//! What is handed to `sbatch`: a script that starts one step, or by array index one of many, and the options beside it. It runs
//! nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::Options;
use crate::exec::backend::Needs;

/// Seconds before its time limit at which a job is asked to stop and save; Slurm looks once a minute.
const WARNED: u64 = 90;
/// Jobs shorter than this, in seconds, are asked when three quarters of their time have passed.
const SHORT: u64 = 4 * WARNED;

/// One step of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Its slot.
    pub(super) slot: PathBuf,
    /// What its ticket says.
    pub(super) token: String,
    /// Its name.
    pub(super) step: String,
    /// What it occupies.
    pub(super) needs: Needs,
}

/// A text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The script for one task, or for an array of them.
pub(super) fn script(options: &Options, tasks: &[Task]) -> String {
    let mut text = String::from("#!/bin/bash\n");
    let program = quoted(&options.program.to_string_lossy());
    let threads = tasks.first().map_or(1, |task| task.needs.cpus);
    let step = |task: &Task| format!("{} {}", quoted(&task.slot.to_string_lossy()), quoted(&task.token));
    match tasks {
        [task] => {
            let _ = writeln!(text, "set -- {}", step(task));
        }
        _ => {
            text += "case $SLURM_ARRAY_TASK_ID in\n";
            for (index, task) in tasks.iter().enumerate() {
                let _ = writeln!(text, "{index}) set -- {} ;;", step(task));
            }
            text += "*) echo \"there is no step of number $SLURM_ARRAY_TASK_ID\" >&2; exit 2 ;;\nesac\n";
        }
    }
    text += "[ -d \"$1\" ] || { echo 'nobody waits for this step any more'; exit 0; }\n";
    // As the batch process itself, so that signals reach the step.
    let _ = write!(text, "export RAYON_NUM_THREADS={threads}\nexec {program} job \"$1\" \"$2\" </dev/null\n");
    text
}

/// What `sbatch` is told of the tasks, which all need the same. `batch` names the submission.
pub(super) fn arguments(options: &Options, tasks: &[Task], batch: &str, script: &Path) -> Vec<String> {
    let needs = tasks.first().map_or(Needs { cpus: 1, memory_mib: 1, gpus: 0, seconds: None }, |task| task.needs);
    let about = match tasks {
        [task] => task.step.clone(),
        _ => format!("{} steps", tasks.len()),
    };
    let pattern = if tasks.len() == 1 { "%j.out" } else { "%A_%a.out" };
    let mut arguments = vec![
        "--parsable".to_owned(),
        format!("--job-name={}", job_name(&options.run)),
        format!("--comment={batch} {about}"),
        format!("--chdir={}", options.folder.display()),
        format!("--output={}", options.folder.join(pattern).display()),
        "--open-mode=append".to_owned(),
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", needs.cpus),
        format!("--mem={}M", needs.memory_mib),
        format!("--signal=B:TERM@{}", needs.seconds.filter(|seconds| *seconds < SHORT).map_or(WARNED, |seconds| seconds / 4)),
        "--requeue".to_owned(),
    ];
    if needs.gpus > 0 {
        arguments.push(format!("--gres=gpu:{}", needs.gpus));
    }
    arguments.extend(needs.seconds.map(|seconds| format!("--time={}", time(seconds))));
    arguments.extend(options.partition.as_ref().map(|partition| format!("--partition={partition}")));
    arguments.extend(options.account.as_ref().map(|account| format!("--account={account}")));
    if tasks.len() > 1 {
        arguments.push(format!("--array=0-{}", tasks.len() - 1));
    }
    arguments.extend(options.extra.iter().cloned());
    arguments.push(script.to_string_lossy().into_owned());
    arguments
}

/// The name that all jobs of a run share: what `squeue --name` takes.
pub(super) fn job_name(run: &str) -> String {
    run.chars().map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '_' }).collect()
}

/// A time limit as Slurm writes it, `days-hours:minutes:seconds`.
fn time(seconds: u64) -> String {
    format!("{}-{:02}:{:02}:{:02}", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Options of `sbatch` that this program gives itself, or that it could not follow a job with.
const OWN: [&str; 19] = [
    "--array",
    "-a",
    "--job-name",
    "-J",
    "--comment",
    "--parsable",
    "--wrap",
    "--wait",
    "-W",
    "--clusters",
    "-M",
    "--chdir",
    "-D",
    "--output",
    "-o",
    "--help",
    "-h",
    "--test-only",
    "--version",
];

/// Splits further options as a shell does, quotes and backslashes included.
///
/// # Errors
/// If a quote is not closed, a word is no option, or an option is one that this program gives itself.
pub fn split_arguments(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(letters.next().ok_or("a backslash ends the options")?),
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, None) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a quote {quote} is not closed in `{text}`"));
    }
    words.extend(word);
    if let Some(first) = words.first().filter(|first| !first.starts_with('-')) {
        return Err(format!("`{first}` is no option of sbatch: the options begin with a dash"));
    }
    for word in &words {
        let name = word.split('=').next().unwrap_or_default();
        let is_own = |own: &str| name == own || (own.len() == 2 && !word.starts_with("--") && word.starts_with(own));
        if let Some(own) = OWN.iter().find(|own| is_own(own)) {
            return Err(format!("`{own}` cannot be given to sbatch: the workbench decides it"));
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
