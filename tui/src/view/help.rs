//! The line of keys at the bottom, the page of keys, and the question whether to stop.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::{Scene, fit, theme};
use crate::keys::HELP;
use crate::state::{Done, StepState};
use crate::ui::{Input, Mode, Pane, Scale, Smoothing};

pub(super) fn footer(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let ui = scene.ui;
    let line = if ui.input == Input::Filter {
        Line::from(vec![
            Span::styled(format!(" /{}▏", ui.filter), theme.strong()),
            Span::styled("  Enter keeps, Esc clears", theme.faint()),
        ])
    } else if ui.stopping && scene.state.end().is_none() {
        Line::styled(
            " stopping: steps that run save their progress and end; running the recipe again goes on from there",
            theme.warning(),
        )
    } else {
        keys_line(scene, usize::from(area.width))
    };
    fit::lines([line], area, buffer);
}

fn keys_line<'a>(scene: &Scene<'_>, width: usize) -> Line<'a> {
    let ui = scene.ui;
    let quit = if ui.mode == Mode::Owner && scene.state.end().is_none() { "stop" } else { "leave" };
    let scroll = if matches!(ui.focus, Pane::Details | Pane::Log) { "scroll" } else { "step" };
    let scale = if ui.scale == Scale::Log { "linear" } else { "log" };
    let smooth = match ui.smoothing {
        Smoothing::Off => "smooth",
        Smoothing::Light => "smoother",
        Smoothing::Strong => "raw",
    };
    let follow = if ui.selected.is_some() { "follow" } else { "stay" };
    let keys = [
        ("?", "keys"),
        ("q", quit),
        ("↑↓", scroll),
        ("←→", "metric"),
        ("tab", "pane"),
        ("f", follow),
        ("/", "filter"),
        ("o", "output"),
        ("z", "zoom"),
        ("y", scale),
        ("s", smooth),
        ("a", "all steps' curves"),
        ("m", "machine"),
        ("n", "next failed"),
    ];
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, word) in keys {
        used += fit::width(key) + word.len() + 3;
        if used > width {
            break;
        }
        spans.push(Span::styled(format!(" {key}"), scene.theme.label()));
        spans.push(Span::styled(format!(" {word} "), scene.theme.faint()));
    }
    Line::from(spans)
}

pub(super) fn keys(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let mut lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(fit::left(&format!(" {key}"), 17), theme.label()), Span::raw(*what)]))
        .collect();
    let states = [
        StepState::Waiting,
        StepState::Ready,
        StepState::Running,
        StepState::Done(Done::Executed),
        StepState::Done(Done::Hit),
        StepState::Failed,
        StepState::Blocked(plan::StepId(0)),
        StepState::Interrupted,
        StepState::Unwanted,
    ];
    let legend = |states: &[StepState]| {
        let sign = |state: &StepState| Span::styled(format!(" {} {} ", theme::glyph(*state), state.word()), theme.state(*state));
        Line::from(states.iter().map(sign).collect::<Vec<_>>())
    };
    lines.extend([Line::raw(""), legend(&states[..5]), legend(&states[5..])]);
    popup(scene, " keys ", lines, area, buffer);
}

pub(super) fn question(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let running = scene.state.counts().running;
    let steps =
        if running == 1 { "1 step runs and would save".to_owned() } else { format!("{running} steps run and would save") };
    let key = |key: &'static str, what: &'static str| Line::from(vec![Span::styled(key, theme.label()), Span::raw(what)]);
    let lines = vec![
        Line::raw(" The run lives in this process."),
        Line::raw(format!(" {steps} their progress.")),
        Line::raw(""),
        key(" s", "  stop the run cleanly"),
        key(" c", "  go on"),
    ];
    popup(scene, " stop? ", lines, area, buffer);
}

fn popup(scene: &Scene<'_>, title: &'static str, lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0).saturating_add(3).min(usize::from(area.width)) as u16;
    let height = (lines.len() + 2).min(usize::from(area.height)) as u16;
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(scene.theme.focused()).title(title);
    let inner = block.inner(place);
    block.render(place, buffer);
    fit::lines(lines, inner, buffer);
}
