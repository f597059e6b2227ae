//! `workbench graph`: a recipe's steps as dot, mermaid or svg, coloured by what the store has.

use std::collections::BTreeMap;
use std::fmt::Write;

use plan::{Plan, StepId};

use super::load::{RecipeArguments, load};
use crate::error::CliError;
use crate::exec::foresight::{Verdict, foresee};
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// What to draw.
    #[arg(long, short, default_value = "mermaid", value_parser = ["dot", "mermaid", "svg"])]
    format: String,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let loaded = load(&arguments.recipe, &store)?;
    let verdicts = foresee(&loaded.plan, &store, &loaded.identity)?;
    let plan = &loaded.plan;
    terminal::data(&match arguments.format.as_str() {
        "dot" => dot(plan, &verdicts),
        "svg" => svg(plan, &verdicts),
        _ => mermaid(plan, &verdicts),
    });
    Ok(())
}

type Verdicts = BTreeMap<StepId, Verdict>;

fn fill(verdicts: &Verdicts, id: StepId) -> &'static str {
    match verdicts.get(&id) {
        Some(Verdict::Hit { .. }) => "#cfe8cf",
        Some(Verdict::Miss { .. }) => "#f6e3b4",
        Some(Verdict::Unknown { .. }) => "#e8eef7",
        None => "#eeeeee",
    }
}

/// Edges between steps, each once, with the ports they enter.
fn edges(plan: &Plan) -> BTreeMap<(StepId, StepId), Vec<String>> {
    let mut edges: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (index, step) in plan.steps().iter().enumerate() {
        for input in &step.inputs {
            if let plan::Source::Step(from) = input.source {
                let label = input.part.as_ref().map_or(input.port.clone(), |part| format!("{} ({part})", input.port));
                let ports = edges.entry((from, StepId(index))).or_default();
                if !ports.contains(&label) {
                    ports.push(label);
                }
            }
        }
    }
    edges
}

fn dot(plan: &Plan, verdicts: &Verdicts) -> String {
    let mut text =
        String::from("digraph recipe {\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n");
    for (index, step) in plan.steps().iter().enumerate() {
        let label = if step.name == step.kind { step.name.clone() } else { format!("{}\\n{}", step.name, step.kind) };
        let _ = writeln!(
            text,
            "  s{index} [label=\"{}\", fillcolor=\"{}\"];",
            label.replace('"', "'"),
            fill(verdicts, StepId(index))
        );
    }
    for ((from, to), ports) in edges(plan) {
        let _ = writeln!(text, "  s{} -> s{} [label=\"{}\"];", from.0, to.0, ports.join(", "));
    }
    text + "}\n"
}

fn mermaid(plan: &Plan, verdicts: &Verdicts) -> String {
    let mut text = String::from("flowchart TB\n");
    for (index, step) in plan.steps().iter().enumerate() {
        let label = if step.name == step.kind { step.name.clone() } else { format!("{}<br/>{}", step.name, step.kind) };
        let _ = writeln!(text, "  s{index}[\"{}\"]", label.replace('"', "'"));
        let _ = writeln!(text, "  style s{index} fill:{}", fill(verdicts, StepId(index)));
    }
    for ((from, to), ports) in edges(plan) {
        let _ = writeln!(text, "  s{} -->|\"{}\"| s{}", from.0, ports.join(", "), to.0);
    }
    text
}

const BOX: f64 = 190.0;
const GAP: f64 = 24.0;
const ROW: f64 = 84.0;

/// A layered drawing: a step stands one row below the lowest of its inputs, each row ordered by the middle of its inputs.
fn svg(plan: &Plan, verdicts: &Verdicts) -> String {
    let mut row = vec![0; plan.steps().len()];
    for &id in plan.order() {
        row[id.0] = plan::graph::dependencies(plan.step(id)).map(|input| row[input.0] + 1).max().unwrap_or(0);
    }
    let rows = row.iter().max().map_or(0, |last| last + 1);
    let mut lanes: Vec<Vec<usize>> = vec![Vec::new(); rows];
    row.iter().enumerate().for_each(|(index, &row)| lanes[row].push(index));
    let widest = lanes.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let width = widest * (BOX + GAP) + GAP;
    let mut x = vec![0.0; row.len()];
    for lane in &mut lanes {
        let middle = |index: &usize| {
            let inputs: Vec<f64> = plan::graph::dependencies(&plan.steps()[*index]).map(|input| x[input.0]).collect();
            if inputs.is_empty() { *index as f64 } else { inputs.iter().sum::<f64>() / inputs.len() as f64 }
        };
        let mut placed: Vec<(f64, usize)> = lane.iter().map(|index| (middle(index), *index)).collect();
        placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let start = (width - placed.len() as f64 * (BOX + GAP) + GAP) / 2.0;
        for (position, (_, index)) in placed.iter().enumerate() {
            x[*index] = start + position as f64 * (BOX + GAP);
        }
    }
    let y = |index: usize| GAP + row[index] as f64 * ROW;
    let height = GAP + rows as f64 * ROW;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for ((from, to), _) in edges(plan) {
        let (x1, y1, x2, y2) = (x[from.0] + BOX / 2.0, y(from.0) + 44.0, x[to.0] + BOX / 2.0, y(to.0));
        let bend = (y2 - y1) / 2.0;
        let _ = writeln!(
            text,
            "<path d=\"M{x1:.0} {y1:.0} C{x1:.0} {:.0} {x2:.0} {:.0} {x2:.0} {y2:.0}\" fill=\"none\" stroke=\"#889\"/>",
            y1 + bend,
            y2 - bend
        );
    }
    for (index, step) in plan.steps().iter().enumerate() {
        let (left, top) = (x[index], y(index));
        let _ = writeln!(
            text,
            "<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"{BOX}\" height=\"44\" rx=\"6\" fill=\"{}\" stroke=\"#667\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#556\" font-size=\"11\">{}</text>",
            fill(verdicts, StepId(index)),
            left + BOX / 2.0,
            top + 19.0,
            escape(&step.name),
            left + BOX / 2.0,
            top + 35.0,
            escape(&step.kind),
        );
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
