//! The report as markdown and as one self-contained page: scores of every model, curves, what each stage cost. Pure; wall times come
//! from outside, because they are not part of a reproducible artifact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::figures;

mod chart;

/// A measured value with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The value.
    pub value: f64,
    /// Its standard error, if it has one.
    pub stderr: Option<f64>,
}

/// One line of a score table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Task, with its group after a slash.
    pub task: String,
    /// Metric.
    pub metric: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Instances.
    pub instances: u64,
    /// The score.
    pub score: Score,
}

/// All scores of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelScores {
    /// What the model is called.
    pub label: String,
    /// Its scores.
    pub scores: Vec<TaskScore>,
}

/// One stage of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What it is called.
    pub label: String,
    /// Closing figures.
    pub figures: BTreeMap<String, f64>,
    /// Curves by metric: step and value.
    pub curves: BTreeMap<String, Vec<(u64, f64)>>,
    /// Digest of its artifact, by which its wall time is found.
    pub digest: String,
}

/// Everything a report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Title.
    pub title: String,
    /// Models, in the order they were made.
    pub models: Vec<ModelScores>,
    /// Stages, in the order they were run.
    pub stages: Vec<Stage>,
}

/// Wall seconds by artifact digest.
pub type Seconds = BTreeMap<String, f64>;

/// Figures of a stage that have a column of their own.
const COSTS: [(&str, &str); 3] = [("cost/tokens", "tokens"), ("cost/flops", "FLOPs"), ("model/parameters", "parameters")];

impl Report {
    fn tasks(&self) -> Vec<(&str, &str, bool, u64)> {
        let mut seen = BTreeSet::new();
        let all = self.models.iter().flat_map(|model| &model.scores);
        all.filter(|score| seen.insert((&score.task, &score.metric)))
            .map(|score| (score.task.as_str(), score.metric.as_str(), score.higher_is_better, score.instances))
            .collect()
    }

    /// Header and rows of the score table.
    fn score_table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut header = vec!["task".to_owned(), "metric".to_owned(), "n".to_owned()];
        header.extend(self.models.iter().map(|model| model.label.clone()));
        let row = |(task, metric, higher, instances): (&str, &str, bool, u64)| {
            let arrow = if higher { "↑" } else { "↓" };
            let mut cells = vec![task.to_owned(), format!("{metric} {arrow}"), instances.to_string()];
            cells.extend(self.models.iter().map(|model| {
                let found = model.scores.iter().find(|score| score.task == task && score.metric == metric);
                found.map_or_else(|| "–".to_owned(), |found| shown(found.score))
            }));
            cells
        };
        let rows = self.tasks().into_iter().map(row).collect();
        (header, rows)
    }

    /// Header and rows of the cost table; the last row sums.
    fn cost_table(&self, seconds: Option<&Seconds>) -> (Vec<String>, Vec<Vec<String>>) {
        let mut header = vec!["stage".to_owned()];
        header.extend(COSTS.iter().map(|(_, name)| (*name).to_owned()));
        if seconds.is_some() {
            header.push("wall time".to_owned());
        }
        let time = |stage: &Stage| seconds.and_then(|seconds| seconds.get(&stage.digest)).copied();
        let row = |stage: &Stage| {
            let mut cells = vec![stage.label.clone()];
            cells.extend(
                COSTS.iter().map(|(name, _)| stage.figures.get(*name).map_or("–".into(), |value| figures::count(*value))),
            );
            if seconds.is_some() {
                cells.push(time(stage).map_or("–".into(), figures::duration));
            }
            cells
        };
        let mut rows: Vec<Vec<String>> = self.stages.iter().map(row).collect();
        let sum = |name: &str| self.stages.iter().filter_map(|stage| stage.figures.get(name)).sum::<f64>();
        let mut total =
            vec!["all".to_owned(), figures::count(sum("cost/tokens")), figures::count(sum("cost/flops")), "–".to_owned()];
        if seconds.is_some() {
            total.push(figures::duration(self.stages.iter().filter_map(time).sum()));
        }
        rows.push(total);
        (header, rows)
    }

    /// The report as markdown.
    pub fn markdown(&self, seconds: Option<&Seconds>) -> String {
        let mut text = format!("# {}\n\n## Scores\n\nValue ± standard error.\n\n", self.title);
        text.push_str(&markdown_table(&self.score_table()));
        text.push_str("\n## Cost\n\n");
        text.push_str(&markdown_table(&self.cost_table(seconds)));
        text.push_str("\n## Stages\n");
        for stage in &self.stages {
            let _ = write!(text, "\n### {}\n\n", stage.label);
            for (name, points) in &stage.curves {
                if let (Some(first), Some(last)) = (points.first(), points.last()) {
                    let (from, to) = (figures::number(first.1), figures::number(last.1));
                    let _ = writeln!(text, "- {name}: {from} at step {}, {to} at step {}", first.0, last.0);
                }
            }
            for (name, value) in stage.figures.iter().filter(|(name, _)| COSTS.iter().all(|(cost, _)| cost != &name.as_str())) {
                if !name.starts_with("licence/") && !name.starts_with("source/") {
                    let _ = writeln!(text, "- {name}: {}", figures::number(*value));
                }
            }
        }
        text
    }

    /// The report as one page that needs nothing else.
    pub fn html(&self, seconds: Option<&Seconds>) -> String {
        let mut body = format!("<h1>{}</h1>\n<h2>Scores</h2>\n<p>Value ± standard error.</p>\n", escape(&self.title));
        body.push_str(&html_table(&self.score_table()));
        body.push_str("<h2>Cost</h2>\n");
        body.push_str(&html_table(&self.cost_table(seconds)));
        body.push_str("<h2>Curves</h2>\n<div class=\"charts\">\n");
        let names: BTreeSet<&String> = self.stages.iter().flat_map(|stage| stage.curves.keys()).collect();
        for name in names {
            let lines: Vec<(&str, &[(u64, f64)])> =
                self.stages.iter().filter_map(|stage| Some((stage.label.as_str(), stage.curves.get(name)?.as_slice()))).collect();
            body.push_str(&chart::lines(name, &lines));
        }
        body.push_str("</div>\n");
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{}</title>\n<style>\n{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
            escape(&self.title)
        )
    }
}

/// The look of every page.
pub(super) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#223}\n\
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #dde;text-align:right;white-space:nowrap}\n\
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}th{border-bottom:2px solid #99a}\n\
.scroll{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:1.2rem}svg{background:#fafbfd;border:1px solid #dde;border-radius:6px}\n";

fn shown(score: Score) -> String {
    let digits =
        score.stderr.filter(|error| *error > 0.0).map_or(3, |error| (1 - error.log10().floor() as i32).clamp(0, 6) as usize);
    match score.stderr {
        Some(error) => format!("{:.digits$} ± {error:.digits$}", score.value),
        None => format!("{:.digits$}", score.value),
    }
}

pub(super) fn markdown_table((header, rows): &(Vec<String>, Vec<Vec<String>>)) -> String {
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
    let rule: Vec<String> = header.iter().enumerate().map(|(i, _)| if i == 0 { ":--" } else { "--:" }.to_owned()).collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}|{}|\n{body}", line(header), rule.join("|"))
}

pub(super) fn html_table((header, rows): &(Vec<String>, Vec<Vec<String>>)) -> String {
    let line = |cells: &[String], tag: &str| {
        format!("<tr>{}</tr>\n", cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>())
    };
    let rows: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<div class=\"scroll\"><table>\n<thead>{}</thead>\n<tbody>{rows}</tbody></table></div>\n", line(header, "th"))
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let score = |value| TaskScore {
            task: "problems".into(),
            metric: "accuracy".into(),
            higher_is_better: true,
            instances: 400,
            score: Score { value, stderr: Some(0.0245) },
        };
        Report {
            title: "a <b>".into(),
            models: vec![
                ModelScores { label: "sft".into(), scores: vec![score(0.4)] },
                ModelScores { label: "chat".into(), scores: vec![score(0.65)] },
            ],
            stages: vec![Stage {
                label: "base".into(),
                figures: BTreeMap::from([("cost/tokens".into(), 1.2e6), ("cost/flops".into(), 3.4e13)]),
                curves: BTreeMap::from([("train/CE loss".into(), vec![(1, 8.0), (2, 4.0), (3, 3.0)])]),
                digest: "d".into(),
            }],
        }
    }

    #[test]
    fn markdown_has_scores_and_costs() {
        let text = report().markdown(Some(&Seconds::from([("d".into(), 61.0)])));
        assert!(text.contains("| problems | accuracy ↑ | 400 | 0.400 ± 0.025 | 0.650 ± 0.025 |"), "{text}");
        assert!(text.contains("| base | 1.20 M | 34.00 T | – | 1 min 01 s |"), "{text}");
        assert!(!report().markdown(None).contains("wall time"));
    }

    #[test]
    fn the_page_is_escaped_and_self_contained() {
        let page = report().html(None);
        assert!(page.contains("a &lt;b&gt;") && page.contains("<svg") && !page.contains("http-equiv"));
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
