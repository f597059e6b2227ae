//! Curves of the selected step: the chosen metric, others beside it where there is room, tabs over all of them.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition, Widget};

use super::{Scene, fit};
use crate::figures;
use crate::state::{Series, Step};
use crate::ui::{Pane, Scale};

/// Values beyond this are drawn at it, so that differences stay finite.
const LARGEST: f64 = 1e150;
/// Curves of other steps laid behind.
const BEHIND: usize = 6;

type Curve = Vec<(f64, f64)>;

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let Some((step, metric)) = scene.step().and_then(|step| Some((step, scene.ui.metric_of(step)?))) else {
        let block = scene.block(Pane::Chart, Line::raw(" curves "));
        let inner = block.inner(area);
        block.render(area, buffer);
        fit::lines([Line::styled(" this step has measured nothing in this run", scene.theme.faint())], inner, buffer);
        return;
    };
    let name = fit::cut(metric, usize::from(area.width).saturating_sub(6));
    let mut title = vec![Span::styled(format!(" {name} "), scene.theme.strong())];
    if let Some(series) = step.metrics.get(metric) {
        title.extend(summary(scene, series));
    }
    let mut used = 4;
    title.retain(|span| {
        used += span.width();
        used <= usize::from(area.width)
    });
    let block = scene.block(Pane::Chart, Line::from(title));
    let inner = block.inner(area);
    block.render(area, buffer);
    if inner.is_empty() {
        return;
    }
    let names: Vec<&str> = step.metrics.keys().map(String::as_str).collect();
    let tabs_height = u16::from(names.len() > 1 && inner.height >= 6);
    let [tabs, plots] = Layout::vertical([Constraint::Length(tabs_height), Constraint::Fill(1)]).areas(inner);
    fit::lines([tab_line(scene, &names, metric, usize::from(tabs.width))], tabs, buffer);
    let beside = usize::from(plots.height / 9).min(names.len() - 1);
    if plots.width < 96 || beside == 0 {
        plot(scene, step, metric, plots, buffer);
        return;
    }
    let [main, side] = Layout::horizontal([Constraint::Percentage(64), Constraint::Fill(1)]).areas(plots);
    plot(scene, step, metric, main, buffer);
    let at = names.iter().position(|name| *name == metric).unwrap_or(0);
    let areas = Layout::vertical(vec![Constraint::Fill(1); beside]).split(side);
    for (index, area) in areas.iter().enumerate() {
        let name = names[(at + 1 + index) % names.len()];
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(*area);
        let mut line = vec![Span::styled(format!(" {name} "), scene.theme.label())];
        line.extend(step.metrics.get(name).map(|series| summary(scene, series)).unwrap_or_default());
        fit::lines([Line::from(line)], head, buffer);
        plot(scene, step, name, body, buffer);
    }
}

fn summary<'a>(scene: &Scene<'_>, series: &Series) -> Vec<Span<'a>> {
    let mut spans = Vec::new();
    if let Some((at, value)) = series.last() {
        spans.push(Span::styled(format!("{} at {} ", figures::value(value), figures::count(at)), scene.theme.label()));
    }
    if let Some((low, high)) = series.range() {
        spans.push(Span::styled(format!("({} … {}) ", figures::value(low), figures::value(high)), scene.theme.faint()));
    }
    if series.not_finite() > 0 {
        spans.push(Span::styled(format!("{} not finite ", figures::count(series.not_finite())), scene.theme.bad()));
    }
    spans
}

/// Names of all metrics, scrolled so that the chosen one is in view.
fn tab_line<'a>(scene: &Scene<'_>, names: &[&'a str], chosen: &str, columns: usize) -> Line<'a> {
    let at = names.iter().position(|name| *name == chosen).unwrap_or(0);
    let mut first = at;
    let mut used = fit::width(names[at]) + 4;
    while first > 0 && used + fit::width(names[first - 1]) + 2 < columns {
        first -= 1;
        used += fit::width(names[first]) + 2;
    }
    let mut spans = vec![Span::styled(if first > 0 { "‹" } else { " " }, scene.theme.faint())];
    for (index, name) in names.iter().enumerate().skip(first) {
        let style = if index == at { scene.theme.selected() } else { scene.theme.faint() };
        spans.push(Span::styled(*name, style));
        spans.push(Span::raw("  "));
    }
    Line::from(spans)
}

fn plot(scene: &Scene<'_>, step: &Step, metric: &str, area: Rect, buffer: &mut Buffer) {
    let Some(series) = step.metrics.get(metric) else { return };
    if area.width < 12 || area.height < 3 {
        return;
    }
    let scale = scene.ui.scale;
    let share = scene.ui.smoothing.share();
    // Name in the legend, curve, style; the last is in front.
    let mut curves: Vec<(&str, Curve, Style)> = Vec::new();
    if scene.ui.overlay {
        let others = scene.state.steps().iter().filter(|other| other.summary.id != step.summary.id);
        let others = others.filter_map(|other| Some((other.summary.name.as_str(), other.metrics.get(metric)?)));
        for (index, (name, other)) in others.take(BEHIND).enumerate() {
            let curve = share.map_or_else(|| other.outline(), |share| other.smoothed(share));
            curves.push((name, scaled(curve, scale), scene.theme.other_curve(index)));
        }
    }
    if let Some(share) = share {
        curves.push(("", scaled(series.outline(), scale), scene.theme.curve_behind()));
        curves.push((&step.summary.name, scaled(series.smoothed(share), scale), scene.theme.curve()));
    } else {
        curves.push((&step.summary.name, scaled(series.outline(), scale), scene.theme.curve()));
    }
    let all = || curves.iter().flat_map(|(_, curve, _)| curve);
    let (Some(x), Some(y)) = (bounds(all().map(|(x, _)| *x)), bounds(all().map(|(_, y)| *y))) else {
        let note = if series.points().is_empty() {
            " nothing finite to draw"
        } else {
            " nothing above 0 to draw on a logarithmic scale"
        };
        fit::lines([Line::styled(note, scene.theme.faint())], area, buffer);
        return;
    };
    let pad = (y[1] - y[0]) * 0.04;
    let y = [y[0] - pad, y[1] + pad];
    let axis = scene.theme.faint();
    let sets = curves.iter().map(|(name, curve, style)| {
        let kind = if curve.len() == 1 { GraphType::Scatter } else { GraphType::Line };
        let set = Dataset::default().marker(Marker::Braille).graph_type(kind).style(*style).data(curve);
        if scene.ui.overlay && !name.is_empty() { set.name(fit::cut(name, 24)) } else { set }
    });
    let ticks_x = [x[0], f64::midpoint(x[0], x[1]), x[1]].map(|at| Line::styled(figures::count(at.max(0.0) as u64), axis));
    let count = usize::from(area.height / 4).clamp(2, 6);
    let ticks_y = (0..count).map(|index| {
        let at = y[0] + (y[1] - y[0]) * index as f64 / (count - 1) as f64;
        let value = if scale == Scale::Log { 10.0_f64.powf(at) } else { round(at, y[1] - y[0]) };
        Line::styled(fit::right(&figures::value(value), 7), axis)
    });
    Chart::new(sets.collect())
        .x_axis(Axis::default().style(axis).bounds(x).labels(ticks_x))
        .y_axis(Axis::default().style(axis).bounds(y).labels(ticks_y.collect::<Vec<_>>()))
        .legend_position(Some(LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)))
        .render(area, buffer);
}

fn scaled(curve: Curve, scale: Scale) -> Curve {
    let point = |(x, y): (f64, f64)| match scale {
        Scale::Linear => (x, y.clamp(-LARGEST, LARGEST)),
        Scale::Log => (x, y.log10()),
    };
    curve.into_iter().map(point).filter(|(_, y)| y.is_finite()).collect()
}

/// The smallest and the largest value, apart; none of nothing.
fn bounds(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let (low, high) = values.map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    if low < high {
        return Some([low, high]);
    }
    let apart = (low.abs() * 0.05).max(0.5);
    Some([low - apart, high + apart])
}

/// A tick without digits that the range does not resolve.
fn round(at: f64, range: f64) -> f64 {
    let unit = 10.0_f64.powf((range / 1000.0).log10().floor());
    if unit.is_normal() { (at / unit).round() * unit } else { at }
}
