//! [`draw`]: a picture of a state, a pure function of it, of what the person looks at and of the time. One file per panel below. It knows
//! no terminal.

mod chart;
mod details;
mod fit;
mod graph;
mod header;
mod help;
mod log;
mod machine;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType};

use crate::state::{State, Step};
use crate::ui::{Input, Pane, Ui};
use theme::Theme;

/// Draws the dashboard on the whole frame. `now_ms` is the time in ms since the epoch; for a run that ended, or of which no more will be
/// heard, the time of its last record is taken instead.
pub fn draw(state: &State, ui: &Ui, now_ms: u64, frame: &mut Frame<'_>) {
    let area = frame.area();
    paint(state, ui, now_ms, area, frame.buffer_mut());
}

/// Draws the dashboard on a part of a buffer.
pub(crate) fn paint(state: &State, ui: &Ui, now_ms: u64, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    let over = state.end().is_some() || ui.closed;
    let now_ms = if over { state.last_ms() } else { now_ms.max(state.last_ms()) };
    let scene = Scene { state, ui, now_ms, theme: Theme::of(ui.colour), selected: ui.selection(state) };
    let header = if area.height >= 8 { 2 } else { u16::from(area.height >= 3) };
    let footer = u16::from(area.height >= 5);
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(header), Constraint::Fill(1), Constraint::Length(footer)]).areas(area);
    header::paint(&scene, top, buffer);
    for (pane, area) in arrange(&scene, body) {
        match pane {
            Pane::Graph => graph::paint(&scene, area, buffer),
            Pane::Chart => chart::paint(&scene, area, buffer),
            Pane::Details => details::paint(&scene, area, buffer),
            Pane::Log => log::paint(&scene, area, buffer),
            Pane::Machine => machine::paint(&scene, area, buffer),
        }
    }
    help::footer(&scene, bottom, buffer);
    match ui.input {
        Input::Help => help::keys(&scene, area, buffer),
        Input::Question => help::question(&scene, area, buffer),
        Input::Normal | Input::Filter => {}
    }
}

/// What every panel is drawn from.
struct Scene<'a> {
    state: &'a State,
    ui: &'a Ui,
    now_ms: u64,
    theme: Theme,
    selected: Option<usize>,
}

impl<'a> Scene<'a> {
    fn step(&self) -> Option<&'a Step> {
        self.selected.and_then(|position| self.state.steps().get(position))
    }

    fn block(&self, pane: Pane, title: Line<'a>) -> Block<'a> {
        let style = if self.ui.focus == pane { self.theme.focused() } else { self.theme.border() };
        Block::bordered().border_type(BorderType::Rounded).border_style(style).title_style(self.theme.title()).title(title)
    }
}

/// Which panels are shown where, by the room there is.
fn arrange(scene: &Scene<'_>, body: Rect) -> Vec<(Pane, Rect)> {
    let ui = scene.ui;
    if ui.zoomed || body.width < 24 || body.height < 5 {
        return vec![(ui.focus, body)];
    }
    let has_chart = scene.step().is_some_and(|step| !step.metrics.is_empty());
    if body.width < 70 || body.height < 10 {
        return narrow(scene, body, has_chart);
    }
    if body.width < 110 || body.height < 30 {
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Fill(1)]).areas(body);
        let mut panes = vec![(Pane::Graph, left)];
        if has_chart {
            let [chart, lower] = Layout::vertical([Constraint::Percentage(52), Constraint::Fill(1)]).areas(right);
            panes.extend([(Pane::Chart, chart), (ui.lower, lower)]);
        } else {
            panes.push((ui.lower, right));
        }
        return panes;
    }
    wide(scene, body, has_chart)
}

fn narrow(scene: &Scene<'_>, body: Rect, has_chart: bool) -> Vec<(Pane, Rect)> {
    let below = match scene.ui.focus {
        Pane::Graph if has_chart => Pane::Chart,
        Pane::Graph => scene.ui.lower,
        focus => focus,
    };
    if body.height < 14 {
        let alone = if scene.ui.focus == Pane::Graph { Pane::Graph } else { below };
        return vec![(alone, body)];
    }
    let [top, bottom] = Layout::vertical([Constraint::Percentage(50), Constraint::Fill(1)]).areas(body);
    vec![(Pane::Graph, top), (below, bottom)]
}

fn wide(scene: &Scene<'_>, body: Rect, has_chart: bool) -> Vec<(Pane, Rect)> {
    let left_width = (body.width * 46 / 100).min(96);
    let [left, right] = Layout::horizontal([Constraint::Length(left_width), Constraint::Fill(1)]).areas(body);
    let mut panes = Vec::new();
    let machine = machine::height(scene).min(left.height / 3);
    if machine > 0 {
        let [graph, machine] = Layout::vertical([Constraint::Fill(1), Constraint::Length(machine)]).areas(left);
        panes.extend([(Pane::Graph, graph), (Pane::Machine, machine)]);
    } else {
        panes.push((Pane::Graph, left));
    }
    let lower = if has_chart || scene.ui.focus == Pane::Chart {
        let [chart, lower] = Layout::vertical([Constraint::Percentage(52), Constraint::Fill(1)]).areas(right);
        panes.push((Pane::Chart, chart));
        lower
    } else {
        right
    };
    let halves = [Constraint::Percentage(55), Constraint::Fill(1)];
    let [details, log] =
        if lower.width >= 100 { Layout::horizontal(halves).areas(lower) } else { Layout::vertical(halves).areas(lower) };
    panes.extend([(Pane::Details, details), (Pane::Log, log)]);
    panes
}
