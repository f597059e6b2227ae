//! Filtering by named rules, and the account of what each of them dropped: documents and bytes, alone or together with others, with
//! examples.
//! Does not know where the rules come from. All rules are asked of every document, so that overlaps are known.

use super::Expression;
use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A condition on a document; an error stops the operation and is reported with the document's id.
pub type Condition<'a> = Box<dyn Fn(&Document) -> Result<bool, String> + Sync + 'a>;

/// How a rule decides.
pub enum Test<'a> {
    /// A function of the caller.
    Function(Condition<'a>),
    /// A jq program or a JSONPath.
    Expression(Expression),
}

/// What it means that a rule's test holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// The document may stay; it goes when the test does not hold.
    Keep,
    /// The document goes.
    Drop,
}

/// A named rule.
pub struct Rule<'a> {
    /// What it is called in the account.
    pub name: String,
    /// What its test decides.
    pub sense: Sense,
    /// The test.
    pub test: Test<'a>,
}

impl std::fmt::Debug for Rule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).field("sense", &self.sense).finish_non_exhaustive()
    }
}

/// A document that a rule dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// How its text begins.
    pub beginning: String,
}

/// What one rule dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name.
    pub name: String,
    /// All it dropped.
    pub dropped: Totals,
    /// What no other rule dropped: what would come back without it.
    pub alone: Totals,
    /// The first documents it dropped; those that only it dropped before others.
    pub examples: Vec<Example>,
    /// Attributes it names that no document has.
    pub absent: Vec<String>,
}

/// What a filter did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Each rule, in the order given.
    pub rules: Vec<RuleReport>,
    /// Documents that two rules both dropped; on the diagonal what each dropped.
    pub overlaps: Vec<Vec<u64>>,
    /// Some names of attributes that do occur, when a rule names one that does not.
    pub present: Vec<String>,
}

impl RulesReport {
    /// Documents dropped, and bytes of text gone.
    pub fn removed(&self) -> Totals {
        self.read - self.kept
    }

    /// The account as Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!(
            "# What the filter dropped\n\n{} of {} documents stay, {} of {} bytes.\n\n",
            self.kept.documents, self.read.documents, self.kept.bytes, self.read.bytes
        );
        page += "| rule | documents | bytes | alone: documents | alone: bytes |\n|---|--:|--:|--:|--:|\n";
        for rule in &self.rules {
            let (dropped, alone) = (rule.dropped, rule.alone);
            page += &format!(
                "| {} | {} | {} | {} | {} |\n",
                cell(&rule.name),
                dropped.documents,
                dropped.bytes,
                alone.documents,
                alone.bytes
            );
        }
        if self.rules.len() > 1 {
            page += "\nDocuments that both rules drop:\n\n| |";
            page += &self.rules.iter().map(|rule| format!(" {} |", cell(&rule.name))).collect::<String>();
            page += &format!("\n|---|{}\n", "--:|".repeat(self.rules.len()));
            for (rule, row) in self.rules.iter().zip(&self.overlaps) {
                page +=
                    &format!("| {} |{}\n", cell(&rule.name), row.iter().map(|count| format!(" {count} |")).collect::<String>());
            }
        }
        for rule in &self.rules {
            if !rule.absent.is_empty() {
                let names: Vec<String> = rule.absent.iter().map(|name| format!("`{name}`")).collect();
                page += &format!("\n**`{}` names attributes that no document has: {}.**", rule.name, names.join(", "));
                page += &format!(" There are: {}.\n", self.present.join(", "));
            }
            if !rule.examples.is_empty() {
                page += &format!("\n## {}\n\n", rule.name);
                for example in &rule.examples {
                    page += &format!("- `{}`: {}\n", example.id, cell(&example.beginning));
                }
            }
        }
        page
    }
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Code points of an example.
const EXAMPLE_CHARS: usize = 160;

/// Whether each attribute that rules name was met.
struct Named {
    unmet: BTreeSet<String>,
    present: BTreeSet<String>,
}

impl Named {
    /// Looks through the attributes of a batch while any is missing.
    fn look(&mut self, rows: &[Attributed<'_>]) {
        for attributes in rows.iter().filter_map(|row| row.attributes) {
            if self.unmet.is_empty() {
                return;
            }
            let Ok(names) = serde_json::from_str::<BTreeMap<Cow<'_, str>, serde::de::IgnoredAny>>(attributes.get()) else {
                continue;
            };
            for name in names.keys() {
                self.unmet.remove(name.as_ref());
                if self.present.len() < 200 && !self.present.contains(name.as_ref()) {
                    self.present.insert(name.clone().into_owned());
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Attributed<'a> {
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

/// Copies the documents that no rule drops, and says what each rule dropped, with up to `examples` examples each.
pub fn filter(
    input: &Path,
    output: &Path,
    rules: &[Rule<'_>],
    examples: usize,
    observer: &dyn Observer,
) -> Result<RulesReport, DataError> {
    let mut writer = LineWriter::create(output)?;
    let mut report = RulesReport {
        rules: rules.iter().map(|rule| RuleReport { name: rule.name.clone(), ..RuleReport::default() }).collect(),
        overlaps: vec![vec![0; rules.len()]; rules.len()],
        ..RulesReport::default()
    };
    let mut shared: Vec<Vec<Example>> = vec![Vec::new(); rules.len()];
    let asked: Vec<Vec<String>> = rules
        .iter()
        .map(|rule| if let Test::Expression(expression) = &rule.test { expression.attributes() } else { Vec::new() })
        .collect();
    let mut named = Named { unmet: asked.iter().flatten().cloned().collect(), present: BTreeSet::new() };
    let functions = rules.iter().any(|rule| matches!(rule.test, Test::Function(_)));
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        if !named.unmet.is_empty() {
            named.look(&decode_all::<Attributed<'_>>(batch)?);
        }
        let verdicts: Vec<Result<Vec<bool>, DataError>> = batch
            .lines()
            .enumerate()
            .map(|(index, (number, line))| {
                let document: Option<Document> = if functions { Some(decode(batch, number, line)?) } else { None };
                let drops = |rule: &Rule<'_>| {
                    let holds = match (&rule.test, &document) {
                        (Test::Function(test), Some(document)) => test(document),
                        (Test::Expression(test), _) if rule.sense == Sense::Drop => test.any(line),
                        (Test::Expression(test), _) => test.holds(line),
                        (Test::Function(_), None) => Ok(true),
                    };
                    holds.map(|holds| holds == (rule.sense == Sense::Drop)).map_err(|message| DataError::Document {
                        id: rows[index].id.clone().into_owned(),
                        message: format!("rule `{}`: {message}", rule.name),
                    })
                };
                rules.iter().map(drops).collect()
            })
            .collect();
        let verdicts: Vec<Vec<bool>> = verdicts.into_iter().collect::<Result<_, _>>()?;
        for (row, drops) in rows.iter().zip(&verdicts) {
            let size = Totals { documents: 1, bytes: row.text.len() as u64 };
            report.read += size;
            let hit: Vec<usize> = (0..rules.len()).filter(|&rule| drops[rule]).collect();
            for &rule in &hit {
                report.rules[rule].dropped += size;
                hit.iter().for_each(|&other| report.overlaps[rule][other] += 1);
                let into = if hit.len() == 1 { &mut report.rules[rule].examples } else { &mut shared[rule] };
                if into.len() < examples {
                    into.push(Example {
                        id: row.id.clone().into_owned(),
                        beginning: row.text.chars().take(EXAMPLE_CHARS).collect(),
                    });
                }
            }
            if let [rule] = hit.as_slice() {
                report.rules[*rule].alone += size;
            }
        }
        write_lines(
            &mut writer,
            batch,
            &rows,
            |row| row.text.len(),
            |index, _, _, _| Ok(if verdicts[index].contains(&true) { Fate::Drop } else { Fate::Keep }),
        )
    })?;
    report.kept = writer.finish()?;
    for ((rule, shared), asked) in report.rules.iter_mut().zip(shared).zip(asked) {
        rule.examples.extend(shared);
        rule.examples.truncate(examples);
        rule.absent = if report.read.documents == 0 {
            Vec::new()
        } else {
            asked.into_iter().filter(|name| named.unmet.contains(name)).collect()
        };
        observer.metric(&format!("dropped/{}", rule.name), rule.dropped.documents as f64);
    }
    if report.rules.iter().any(|rule| !rule.absent.is_empty()) {
        report.present = nearest(&named);
    }
    observer.metric("kept_documents", report.kept.documents as f64);
    observer.metric("kept_bytes", report.kept.bytes as f64);
    observer.metric("removed_documents", report.removed().documents as f64);
    Ok(report)
}

/// Names that occur, those first that share the longest beginning with one that does not.
fn nearest(named: &Named) -> Vec<String> {
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let mut found: Vec<&String> = named.present.iter().collect();
    found.sort_by_key(|name| std::cmp::Reverse(named.unmet.iter().map(|unmet| common(unmet, name)).max().unwrap_or(0)));
    found.into_iter().take(8).cloned().collect()
}
