//! Line charts as inline SVG. It does not know what the lines are.

use std::fmt::Write;

use super::{escape, figures};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 44.0;
const COLOURS: [&str; 8] = ["#3367b1", "#c2571a", "#3a8f4d", "#8a4fa3", "#b03a48", "#52808c", "#8b7a1e", "#5c5c6e"];
/// More points than the chart has columns are averaged.
const POINTS: usize = 240;

/// A chart of several lines over steps.
pub(super) fn lines(title: &str, lines: &[(&str, &[(u64, f64)])]) -> String {
    let finite = || lines.iter().flat_map(|(_, points)| points.iter()).filter(|(_, value)| value.is_finite());
    let (mut low, mut high) = finite().fold((f64::MAX, f64::MIN), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
    if low > high {
        return String::new();
    }
    if low == high {
        (low, high) = (low - 0.5, high + 0.5);
    }
    let last = finite().map(|(step, _)| *step).max().unwrap_or(1).max(1) as f64;
    let x = |step: f64| LEFT + step / last * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"system-ui,sans-serif\" \
         font-size=\"11\">\n<text x=\"{LEFT}\" y=\"18\" font-size=\"13\" font-weight=\"600\">{}</text>\n",
        escape(title)
    );
    for tick in 0..=4 {
        let value = low + (high - low) * f64::from(tick) / 4.0;
        let (at, label) = (y(value), figures::number(value));
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e3e6ee\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#667\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#667\">step {last}</text>",
        WIDTH - RIGHT,
        HEIGHT - BOTTOM + 14.0
    );
    let mut legend = LEFT;
    for (index, (label, points)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = thin(points).iter().map(|(step, value)| format!("{:.1},{:.1}", x(*step), y(*value))).collect();
        let _ = write!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
             <text x=\"{legend:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>\n",
            path.join(" "),
            HEIGHT - 10.0,
            escape(label)
        );
        legend += 14.0 + 6.4 * label.chars().count() as f64;
    }
    text + "</svg>\n"
}

/// At most [`POINTS`] points, each the mean of its neighbours.
fn thin(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let points: Vec<_> = points.iter().filter(|(_, value)| value.is_finite()).collect();
    let size = points.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[&(u64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0 as f64).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(size).map(mean).collect()
}
