//! The two lines at the top: which run, how it stands, how long it takes; and all steps as one bar with counts.

use plan::RunStatus;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Scene, fit};
use crate::figures;
use crate::state::{Counts, Done, StepState};

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    fit::lines([run(scene, area.width), steps(scene, area.width)], area, buffer);
}

fn status(scene: &Scene<'_>) -> (&'static str, Style) {
    let theme = scene.theme;
    match (scene.state.end(), scene.state.run()) {
        (Some(end), _) => match end.status {
            RunStatus::Succeeded => ("✓ succeeded", theme.status(end.status)),
            RunStatus::Failed => ("✗ failed", theme.status(end.status)),
            RunStatus::Interrupted => ("‖ interrupted", theme.status(end.status)),
        },
        _ if scene.ui.closed => ("✗ gone without an end", theme.bad()),
        (None, None) => ("waiting for the run", theme.faint()),
        (None, Some(_)) if scene.ui.stopping => ("‖ stopping", theme.warning()),
        (None, Some(_)) => ("▶ running", theme.state(StepState::Running)),
    }
}

fn run<'a>(scene: &Scene<'_>, width: u16) -> Line<'a> {
    let theme = scene.theme;
    let (status, style) = status(scene);
    let mut right = vec![Span::styled(status, style)];
    if scene.state.run().is_some() {
        right.push(Span::raw(format!(" {}", figures::duration(scene.state.elapsed_ms(scene.now_ms)))));
    }
    if let Some(eta) = scene.state.eta(scene.now_ms).filter(|_| !scene.ui.closed) {
        let bound = if eta.at_least { "≥ " } else { "" };
        right.push(Span::styled(format!("  ETA {bound}{}", figures::guess(eta.seconds)), theme.label()));
    }
    let right_width: usize = right.iter().map(Span::width).sum();
    let room = usize::from(width).saturating_sub(right_width + 3);
    let mut left = vec![Span::raw(" ")];
    match scene.state.run() {
        Some(run) => {
            let recipe = fit::cut(&run.recipe, room);
            let rest = fit::cut(&format!("  {}  {} on {}", run.run, run.device, run.host), room - fit::width(&recipe).min(room));
            left.extend([Span::styled(recipe, theme.strong()), Span::styled(rest, theme.faint())]);
        }
        None => left.push(Span::styled(fit::cut("workbench", room), theme.strong())),
    }
    let used: usize = left.iter().map(Span::width).sum();
    left.push(Span::raw(" ".repeat(usize::from(width).saturating_sub(used + right_width + 1).max(1))));
    left.extend(right);
    Line::from(left)
}

fn steps<'a>(scene: &Scene<'_>, width: u16) -> Line<'a> {
    let counts = scene.state.counts();
    let theme = scene.theme;
    let mut figures = vec![Span::raw(format!(" {}/{} steps", counts.done(), counts.wanted))];
    let groups = [
        (counts.hits, "cached", StepState::Done(Done::Hit)),
        (counts.executed, "done", StepState::Done(Done::Executed)),
        (counts.running, "running", StepState::Running),
        (counts.failed, "failed", StepState::Failed),
        (counts.blocked, "blocked", StepState::Blocked(plan::StepId(0))),
        (counts.interrupted, "stopped", StepState::Interrupted),
    ];
    for (count, word, state) in groups.into_iter().filter(|(count, ..)| *count > 0) {
        figures.push(Span::styled(format!("  {count} {word}"), theme.state(state)));
    }
    let used: usize = figures.iter().map(Span::width).sum();
    let room = usize::from(width).saturating_sub(used + 3);
    let mut line = vec![Span::raw(" ")];
    if room >= 8 && counts.wanted > 0 {
        line.extend(segments(scene, counts, room.min(60)));
        line.push(Span::raw(" "));
    }
    line.extend(figures);
    Line::from(line)
}

/// The bar of all wanted steps: a stretch for each state, in proportion.
fn segments<'a>(scene: &Scene<'_>, counts: Counts, columns: usize) -> Vec<Span<'a>> {
    let theme = scene.theme;
    let order = [
        (counts.hits, StepState::Done(Done::Hit)),
        (counts.executed, StepState::Done(Done::Executed)),
        (counts.failed, StepState::Failed),
        (counts.blocked, StepState::Blocked(plan::StepId(0))),
        (counts.interrupted, StepState::Interrupted),
        (counts.running, StepState::Running),
    ];
    let (mut spans, mut seen, mut drawn) = (Vec::new(), 0, 0);
    for (count, state) in order {
        seen += count;
        let end = (seen * columns + counts.wanted / 2) / counts.wanted;
        spans.push(Span::styled("━".repeat(end.saturating_sub(drawn)), theme.state(state)));
        drawn = drawn.max(end);
    }
    spans.push(Span::styled("─".repeat(columns.saturating_sub(drawn)), theme.faint()));
    spans
}
