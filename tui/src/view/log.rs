//! What the selected step wrote, the latest line at the bottom.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::{Scene, fit};
use crate::ui::Pane;

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(step) = scene.step() else {
        scene.block(Pane::Log, Line::raw(" output ")).render(area, buffer);
        return;
    };
    let log = step.log.lines();
    let scroll = if scene.ui.focus == Pane::Log { scene.ui.scroll.min(log.len().saturating_sub(1)) } else { 0 };
    let mut title = vec![Span::raw(format!(" output of {} ", step.summary.name))];
    if scroll > 0 {
        title.push(Span::styled(format!("-{scroll} lines "), scene.theme.warning()));
    }
    let block = scene.block(Pane::Log, Line::from(title));
    let inner = block.inner(area);
    block.render(area, buffer);
    let width = usize::from(inner.width).saturating_sub(1);
    let mut shown = Vec::new();
    if let Some(error) = step.error.as_ref().filter(|_| scroll == 0) {
        shown.extend(fit::wrap(error, width).into_iter().rev().map(|line| Line::styled(format!(" {line}"), scene.theme.bad())));
    }
    for line in log.iter().rev().skip(scroll) {
        if shown.len() >= usize::from(inner.height) {
            break;
        }
        shown.extend(fit::wrap(line, width).into_iter().rev().map(|line| Line::raw(format!(" {line}"))));
    }
    if shown.is_empty() {
        shown.push(Line::styled(" nothing written", scene.theme.faint()));
    }
    shown.truncate(usize::from(inner.height));
    fit::lines(shown.into_iter().rev(), inner, buffer);
}
