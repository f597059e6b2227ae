//! The machine's load: processors, memory, GPUs when there are any, with their recent history.

use plan::Machine;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget};

use super::{Scene, fit};
use crate::figures;
use crate::ui::Pane;

/// Columns of the figure behind a bar.
const FIGURE: usize = 16;

/// Rows that the panel would like, borders included; 0 while there is nothing to show.
pub(super) fn height(scene: &Scene<'_>) -> u16 {
    scene.state.machine().back().map_or(0, |(_, sample)| 8 + sample.gpus.len().min(16) as u16)
}

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let title = match scene.state.run() {
        Some(run) => {
            format!(" machine {} · {} threads, {} for steps ", run.host, run.capacity.cpus, mib(run.capacity.memory_mib))
        }
        None => " machine ".to_owned(),
    };
    let block = scene.block(Pane::Machine, Line::raw(title));
    let inner = block.inner(area);
    block.render(area, buffer);
    let Some((_, now)) = scene.state.machine().back() else {
        fit::lines([Line::styled(" no measurement yet", scene.theme.faint())], inner, buffer);
        return;
    };
    let lines = bars(scene, now, usize::from(inner.width));
    let used = (lines.len() as u16).min(inner.height);
    fit::lines(lines, inner, buffer);
    history(scene, Rect { y: inner.y + used, height: inner.height - used, ..inner }, buffer);
}

fn bars<'a>(scene: &Scene<'_>, now: &Machine, width: usize) -> Vec<Line<'a>> {
    let memory = share(now.memory_mib, now.memory_total_mib);
    let mut lines = vec![
        bar(scene, "cpu", now.cpu_percent / 100.0, &format!("{:.0}%  load {:.1}", now.cpu_percent, now.load), width),
        bar(scene, "memory", memory, &format!("{} / {}", mib(now.memory_mib), mib(now.memory_total_mib)), width),
    ];
    for (name, percent, used, total) in &now.gpus {
        lines.push(bar(scene, name, percent / 100.0, &format!("{percent:.0}%  {} / {}", mib(*used), mib(*total)), width));
    }
    lines
}

fn bar<'a>(scene: &Scene<'_>, label: &str, ratio: f64, figure: &str, width: usize) -> Line<'a> {
    let label = fit::left(label, if width >= 50 { 12 } else { 7 });
    let figure_width = FIGURE.max(fit::width(figure));
    let room = width.saturating_sub(fit::width(&label) + figure_width + 3);
    let mut spans = vec![Span::styled(format!(" {label}"), scene.theme.label())];
    spans.extend(fit::bar(room, ratio, load_style(scene, ratio), scene.theme.faint()));
    spans.push(Span::raw(format!(" {figure}")));
    Line::from(spans)
}

fn load_style(scene: &Scene<'_>, ratio: f64) -> Style {
    if ratio > 0.95 { scene.theme.warning() } else { scene.theme.good() }
}

/// Two sparklines, processors over memory, the latest sample at the right edge.
fn history(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let samples = scene.state.machine();
    let label = 8.min(area.width);
    let columns = area.width - label;
    if area.height == 0 || columns < 8 || samples.len() < 2 {
        return;
    }
    let cpu = |sample: &Machine| sample.cpu_percent / 100.0;
    let memory = |sample: &Machine| share(sample.memory_mib, sample.memory_total_mib);
    let heights = if area.height >= 2 { vec![area.height - area.height / 2, area.height / 2] } else { vec![1] };
    let mut y = area.y;
    for (height, (name, measure)) in heights.into_iter().zip([("cpu", &cpu as &dyn Fn(&Machine) -> f64), ("memory", &memory)]) {
        let skip = samples.len().saturating_sub(usize::from(columns));
        let data: Vec<u64> =
            samples.iter().skip(skip).map(|(_, sample)| (measure(sample).clamp(0.0, 1.0) * 1000.0) as u64).collect();
        let width = data.len() as u16;
        let plot = Rect { x: area.right() - width, y, width, height };
        buffer.set_stringn(area.x + 1, y + height - 1, name, usize::from(label.saturating_sub(1)), scene.theme.faint());
        Sparkline::default().data(data).max(1000).style(scene.theme.curve()).render(plot, buffer);
        y += height;
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mib(mib: u64) -> String {
    figures::bytes(mib.saturating_mul(1 << 20))
}
