//! What decontamination found, by task. Knows matches; decides nothing.

use super::{Found, Instance, Words, size};
use crate::document::Totals;
use crate::document::raw::Row;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was found of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its problems.
    pub instances: u64,
    /// Those long enough to be looked for, without repetitions.
    pub checked: u64,
    /// Those that stand in some document.
    pub contaminated: u64,
    /// Documents that hold one.
    pub documents: Totals,
    /// Words of the longest match.
    pub longest: u64,
}

/// One problem in one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchRow {
    /// The file of documents.
    pub file: String,
    /// Line in it, from 1.
    pub line: u64,
    /// The document.
    pub id: String,
    /// The task.
    pub task: String,
    /// The problem's number in the task, from 0.
    pub instance: u64,
    /// First code point of the match in the text.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Words of the match.
    pub words: u64,
    /// From 0 to 1.
    pub score: f64,
}

/// What decontamination found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContaminationReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Documents that hold a problem.
    pub contaminated: Totals,
    /// By task.
    pub tasks: BTreeMap<String, TaskReport>,
    /// Every match, in the order of documents and of problems.
    pub matches: Vec<MatchRow>,
}

impl ContaminationReport {
    /// Tables by task as Markdown, with the first matches of each.
    pub fn markdown(&self) -> String {
        let mut page = format!(
            "# Contamination\n\n{} of {} documents hold a problem of an evaluation; {} stay.\n\n\
             | task | problems | looked for | found | share | documents | bytes | longest match, words |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
            self.contaminated.documents, self.read.documents, self.kept.documents
        );
        for (name, task) in &self.tasks {
            let share = task.contaminated as f64 / task.checked.max(1) as f64;
            page += &format!(
                "| {name} | {} | {} | {} | {:.2} % | {} | {} | {} |\n",
                task.instances,
                task.checked,
                task.contaminated,
                share * 100.0,
                task.documents.documents,
                task.documents.bytes,
                task.longest
            );
        }
        for name in self.tasks.keys() {
            let rows: Vec<&MatchRow> = self.matches.iter().filter(|row| row.task == *name).take(10).collect();
            if !rows.is_empty() {
                page += &format!("\n## {name}\n\n");
                for row in rows {
                    page += &format!(
                        "- problem {} in `{}` ({}:{}), {} words at {}..{}, score {:.3}\n",
                        row.instance, row.id, row.file, row.line, row.words, row.start, row.end, row.score
                    );
                }
            }
        }
        page
    }

    /// All matches as a table of tabs, with a line of names.
    pub fn table(&self) -> String {
        let mut table = "file\tline\tid\ttask\tproblem\tstart\tend\twords\tscore\n".to_owned();
        for row in &self.matches {
            let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
            table += &format!(
                "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.6}\n",
                plain(&row.file),
                row.line,
                plain(&row.id),
                plain(&row.task),
                row.instance,
                row.start,
                row.end,
                row.words,
                row.score
            );
        }
        table
    }
}

/// Gathers matches.
pub(super) struct Builder<'a> {
    instances: &'a [Instance],
    report: ContaminationReport,
    found: BTreeSet<u32>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(instances: &'a [Instance], checked: &[bool]) -> Builder<'a> {
        let mut report = ContaminationReport::default();
        for (instance, checked) in instances.iter().zip(checked) {
            let task = report.tasks.entry(instance.task.clone()).or_default();
            task.instances += 1;
            task.checked += u64::from(*checked);
        }
        Builder { instances, report, found: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, row: &Row<'_>, file: &str, line: u64, words: &Words, found: &[Found]) {
        self.report.read += size(row);
        if found.is_empty() {
            return;
        }
        self.report.contaminated += size(row);
        let mut tasks = BTreeSet::new();
        for one in found {
            let instance = &self.instances[one.instance as usize];
            let span = words.span(&row.text, &one.words, one.score);
            self.report.matches.push(MatchRow {
                file: file.to_owned(),
                line,
                id: row.id.clone().into_owned(),
                task: instance.task.clone(),
                instance: instance.number,
                start: span.start,
                end: span.end,
                words: one.words.len() as u64,
                score: one.score,
            });
            let task = self.report.tasks.entry(instance.task.clone()).or_default();
            task.contaminated += u64::from(self.found.insert(one.instance));
            task.longest = task.longest.max(one.words.len() as u64);
            if tasks.insert(&instance.task) {
                task.documents += size(row);
            }
        }
    }

    pub(super) fn finish(mut self, kept: Totals) -> ContaminationReport {
        self.report.kept = kept;
        self.report
    }
}
