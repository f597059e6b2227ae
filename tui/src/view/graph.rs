//! The steps: lanes of the graph, sign of the state, name, kind, progress and time; the selected step is always in view.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::{Scene, fit, theme};
use crate::figures;
use crate::state::{Done, Row, Step, StepState};
use crate::ui::Pane;

/// Columns of the fields behind the name; 0 for none.
struct Fields {
    kind: usize,
    status: usize,
    time: usize,
}

impl Fields {
    /// The most that leaves names enough of `room` columns, where the longest has `name`.
    fn of(room: usize, name: usize) -> Self {
        let choices = [(14, 26, 7, 22), (10, 13, 7, 20), (0, 13, 7, 18), (0, 9, 7, 18), (0, 9, 0, 12)];
        let fits = |&(kind, status, time, most): &(usize, usize, usize, usize)| {
            Self { kind, status, time }.width() + name.min(most) <= room
        };
        let (kind, status, time, _) = choices.into_iter().find(fits).unwrap_or_default();
        Self { kind, status, time }
    }

    fn width(&self) -> usize {
        [self.kind, self.status, self.time].into_iter().filter(|width| *width > 0).map(|width| width + 1).sum()
    }
}

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let listed = scene.ui.listed(scene.state);
    let block = scene.block(Pane::Graph, title(scene, listed.len()));
    let inner = block.inner(area);
    block.render(area, buffer);
    if inner.is_empty() {
        return;
    }
    if listed.is_empty() {
        let note = if scene.ui.filter.is_empty() { " no steps yet" } else { " no step has this in its name or kind" };
        fit::lines([Line::styled(note, scene.theme.faint())], inner, buffer);
        return;
    }
    let height = usize::from(inner.height);
    let at = scene.selected.map_or(0, |selected| listed.partition_point(|&other| other < selected)).min(listed.len() - 1);
    let first = at.saturating_sub(height / 2).min(listed.len().saturating_sub(height));
    let shown = &listed[first..listed.len().min(first + height)];
    let width = usize::from(inner.width);
    let lanes = if scene.ui.filter.is_empty() { lanes_width(scene.state.rows(), shown, width) } else { 1 };
    let longest = shown.iter().map(|&position| fit::width(&scene.state.steps()[position].summary.name)).max().unwrap_or(0);
    let fields = Fields::of(width.saturating_sub(lanes + 1), longest);
    for (&position, y) in shown.iter().zip(inner.top()..) {
        let line = row(scene, position, lanes, width, &fields);
        buffer.set_line(inner.x, y, &line, inner.width);
        if scene.selected == Some(position) {
            buffer.set_style(Rect { y, height: 1, ..inner }, scene.theme.selected());
        }
    }
    let edge = area.right().saturating_sub(1);
    if first > 0 {
        buffer.set_string(edge, inner.top(), "▲", scene.theme.faint());
    }
    if first + shown.len() < listed.len() {
        buffer.set_string(edge, inner.bottom() - 1, "▼", scene.theme.faint());
    }
}

fn title<'a>(scene: &Scene<'_>, listed: usize) -> Line<'a> {
    let mut spans = vec![Span::raw(" steps ")];
    if !scene.ui.filter.is_empty() {
        let text = format!("/{} ({listed} of {}) ", scene.ui.filter, scene.state.steps().len());
        spans.push(Span::styled(text, scene.theme.warning()));
    }
    if scene.ui.selected.is_none() && scene.state.end().is_none() && !scene.ui.closed {
        spans.push(Span::styled("· following ", scene.theme.label()));
    }
    Line::from(spans)
}

/// Columns that the lanes of the shown rows take, at most a third of the panel.
fn lanes_width(rows: &[Row], shown: &[usize], width: usize) -> usize {
    let widest = shown.iter().map(|&position| rows[position].cells.len().max(rows[position].lane * 2 + 1)).max();
    widest.unwrap_or(1).min(width / 3).max(1)
}

fn row<'a>(scene: &Scene<'_>, position: usize, lanes: usize, width: usize, fields: &Fields) -> Line<'a> {
    let theme = scene.theme;
    let step = &scene.state.steps()[position];
    let state = theme.state(step.state);
    let mut spans = graph_cells(scene, position, lanes);
    let name = width.saturating_sub(lanes + 1 + fields.width());
    let name_style = match step.state {
        StepState::Running | StepState::Failed => state,
        StepState::Unwanted | StepState::Waiting | StepState::Blocked(_) => theme.faint(),
        StepState::Ready | StepState::Done(_) | StepState::Interrupted => theme.plain(),
    };
    spans.push(Span::raw(" "));
    spans.push(Span::styled(fit::left(&step.summary.name, name), name_style));
    if fields.kind > 0 {
        spans.push(Span::styled(format!(" {}", fit::left(&step.summary.kind, fields.kind)), theme.faint()));
    }
    if fields.status > 0 {
        spans.push(Span::raw(" "));
        spans.extend(status(scene, step, fields, state));
    }
    if fields.time > 0 {
        let time = step.elapsed_ms(scene.now_ms).map(figures::duration).unwrap_or_default();
        spans.push(Span::styled(format!(" {}", fit::right(&time, fields.time)), theme.faint()));
    }
    Line::from(spans)
}

fn graph_cells<'a>(scene: &Scene<'_>, position: usize, lanes: usize) -> Vec<Span<'a>> {
    let state = scene.state.steps()[position].state;
    let sign = Span::styled(theme::glyph(state).to_string(), scene.theme.state(state));
    if lanes == 1 {
        return vec![sign];
    }
    let row = &scene.state.rows()[position];
    let at = (row.lane * 2).min(lanes - 1);
    let cell = |column: usize| row.cells.get(column).copied().unwrap_or(' ');
    let faint = scene.theme.border();
    vec![
        Span::styled((0..at).map(cell).collect::<String>(), faint),
        sign,
        Span::styled((at + 1..lanes).map(cell).collect::<String>(), faint),
    ]
}

fn status<'a>(scene: &Scene<'_>, step: &Step, fields: &Fields, style: Style) -> Vec<Span<'a>> {
    let columns = fields.status;
    let word = match (step.state, &step.progress) {
        (StepState::Running, Some(progress)) => match progress.ratio() {
            Some(ratio) => return progress_bar(scene, step, ratio, columns, style),
            None => format!("{} {}", figures::count(progress.done), progress.unit),
        },
        // Without a column for times they stand here.
        (StepState::Done(Done::Executed), _) if fields.time == 0 => {
            let time = step.elapsed_ms(scene.now_ms).map(figures::duration).unwrap_or_default();
            return vec![Span::styled(fit::right(&time, columns), scene.theme.faint())];
        }
        (StepState::Done(_), _) if columns > 20 => format!("{}  {}", step.state.word(), figures::bytes(step.bytes)),
        (StepState::Blocked(by), _) if columns > 20 => format!("blocked by {}", scene.state.name(by)),
        (StepState::Waiting | StepState::Unwanted, _) => String::new(),
        (state, _) => state.word().to_owned(),
    };
    let word = if fields.time == 0 { fit::right(&word, columns) } else { fit::left(&word, columns) };
    vec![Span::styled(word, style)]
}

fn progress_bar<'a>(scene: &Scene<'_>, step: &Step, ratio: f64, columns: usize, style: Style) -> Vec<Span<'a>> {
    let percent = format!(" {:>3.0}%", (ratio * 100.0).floor());
    let eta = step.eta_seconds(scene.now_ms).filter(|_| columns > 20).map(|left| format!(" -{}", figures::guess(left)));
    let eta = if columns > 20 { fit::left(&eta.unwrap_or_default(), 9) } else { String::new() };
    let room = columns.saturating_sub(percent.len() + fit::width(&eta));
    let mut spans = Vec::from(fit::bar(room, ratio, style, scene.theme.faint()));
    spans.push(Span::styled(percent, style));
    spans.push(Span::styled(eta, scene.theme.faint()));
    spans
}
