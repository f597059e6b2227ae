//! A drawn dashboard as a self-contained SVG picture. Lines, blocks and braille are drawn as shapes, so that they join whatever fonts the
//! viewer has; the rest is monospace text held to its columns. It knows no terminal.

mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use ratatui::text::Span;

use crate::state::State;
use crate::ui::Ui;
use crate::view;

/// Width of a column in pixels.
const COLUMN: f64 = 8.4;
/// Height of a row in pixels.
const ROW: f64 = 18.0;
/// Margin around the picture in pixels.
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#12151c";
const FOREGROUND: &str = "#d7dce5";

/// The dashboard as an SVG picture of `width` columns by `height` rows.
pub fn render(state: &State, ui: &Ui, now_ms: u64, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::paint(state, ui, now_ms, area, &mut buffer);
    picture(&buffer)
}

/// A buffer as an SVG picture.
pub fn picture(buffer: &Buffer) -> String {
    let area = buffer.area;
    let (width, height) = (f64::from(area.width) * COLUMN + 2.0 * MARGIN, f64::from(area.height) * ROW + 2.0 * MARGIN);
    let mut shapes: BTreeMap<Ink, String> = BTreeMap::new();
    let mut texts = String::new();
    for row in 0..area.height {
        let y = MARGIN + f64::from(row) * ROW;
        let mut run: Option<Run> = None;
        for column in 0..area.width {
            let cell = &buffer[(area.x + column, area.y + row)];
            let x = MARGIN + f64::from(column) * COLUMN;
            let style = Look::of(cell);
            if let Some(background) = style.background {
                let path = shapes.entry(Ink { layer: Layer::Ground, colour: background, faint: false }).or_default();
                shapes::rectangle(path, x, y, COLUMN + 0.3, ROW + 0.3);
            }
            let symbol = cell.symbol();
            let mut drawn = String::new();
            if let Some(layer) = symbol.chars().next().and_then(|char| shapes::draw(&mut drawn, char, x, y, COLUMN, ROW)) {
                shapes.entry(Ink { layer, colour: style.colour, faint: style.faint }).or_default().push_str(&drawn);
                flush(&mut texts, run.take(), y);
                continue;
            }
            match &mut run {
                // Viewers differ on what they do with several spaces, so a text has single ones only.
                Some(open) if open.look == style && open.end == column && !(symbol == " " && open.text.ends_with(' ')) => {
                    open.push(symbol, column);
                }
                _ => {
                    flush(&mut texts, run.take(), y);
                    run = (symbol != " ").then(|| Run::new(style, x, symbol, column));
                }
            }
        }
        flush(&mut texts, run.take(), y);
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <style>text{{font:14px ui-monospace,\"SF Mono\",Menlo,Consolas,\"DejaVu Sans Mono\",monospace}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (ink, path) in &shapes {
        let faint = if ink.faint { " opacity=\"0.6\"" } else { "" };
        let paint = match ink.layer {
            Layer::Ground | Layer::Fill => format!("fill=\"{}\"", ink.colour),
            Layer::Light => format!("fill=\"none\" stroke=\"{}\" stroke-width=\"1.2\"", ink.colour),
            Layer::Heavy => format!("fill=\"none\" stroke=\"{}\" stroke-width=\"3\"", ink.colour),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<path {paint}{faint} d=\"{path}\"/>");
    }
    svg.push_str(&texts);
    svg.push_str("</svg>\n");
    svg
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Ground,
    Fill,
    Light,
    Heavy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ink {
    layer: Layer,
    colour: &'static str,
    faint: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    colour: &'static str,
    background: Option<&'static str>,
    bold: bool,
    faint: bool,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        let (colour, background) = (hex(cell.fg), hex(cell.bg));
        let (colour, background) = if cell.modifier.contains(Modifier::REVERSED) {
            // The lighter half of a reversed cell is toned down, as a bright band would drown the row.
            (Some(background.unwrap_or(FOREGROUND)), Some("#2f3a52"))
        } else {
            (colour, background)
        };
        let faint = cell.modifier.contains(Modifier::DIM);
        let colour = if background.is_some() && cell.fg != Color::Reset { hex(cell.fg) } else { colour };
        Self { colour: colour.unwrap_or(FOREGROUND), background, bold: cell.modifier.contains(Modifier::BOLD), faint }
    }
}

/// A stretch of text of one look.
struct Run {
    look: Look,
    x: f64,
    text: String,
    end: u16,
}

impl Run {
    fn new(look: Look, x: f64, symbol: &str, column: u16) -> Self {
        let mut run = Self { look, x, text: String::new(), end: column };
        run.push(symbol, column);
        run
    }

    fn push(&mut self, symbol: &str, column: u16) {
        self.text.push_str(symbol);
        self.end = column + 1;
    }
}

fn flush(out: &mut String, run: Option<Run>, y: f64) {
    let Some(run) = run else { return };
    // The cell behind a wide character holds a space that takes no room.
    let text = run.text.trim_end();
    let width = Span::raw(text).width() as f64 * COLUMN;
    let weight = if run.look.bold { " font-weight=\"bold\"" } else { "" };
    let faint = if run.look.faint { " opacity=\"0.6\"" } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\"{weight}{faint}>{}</text>",
        run.x,
        y + ROW * 0.74,
        run.look.colour,
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The colour of the picture for a colour of the terminal; none for the default one.
fn hex(colour: Color) -> Option<&'static str> {
    Some(match colour {
        Color::Black => "#1c212b",
        Color::Red | Color::LightRed => "#f2777a",
        Color::Green | Color::LightGreen => "#8cc98c",
        Color::Yellow | Color::LightYellow => "#f5c76b",
        Color::Blue => "#7aa2f7",
        Color::LightBlue => "#a9c1ff",
        Color::Magenta | Color::LightMagenta => "#c794e0",
        Color::Cyan | Color::LightCyan => "#66c9d6",
        Color::Gray => "#aab2c0",
        Color::DarkGray => "#6b7486",
        Color::White => "#ffffff",
        Color::Reset | Color::Rgb(..) | Color::Indexed(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_is_escaped_and_held_to_its_columns() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(1, 0, "a<b & c", Style::new().fg(Color::Green).add_modifier(Modifier::BOLD));
        let svg = picture(&buffer);
        assert!(svg.contains(">a&lt;b &amp; c</text>"), "{svg}");
        assert!(svg.contains("textLength=\"58.8\"") && svg.contains("font-weight=\"bold\""), "{svg}");
        assert!(svg.contains("fill=\"#8cc98c\""), "{svg}");
    }

    #[test]
    fn lines_blocks_and_braille_are_shapes() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        buffer.set_string(0, 0, "╭─┼━╸▃⣿", Style::new());
        let svg = picture(&buffer);
        assert!(!svg.contains("<text"), "{svg}");
        assert_eq!(svg.matches("<path").count(), 3, "{svg}");
    }

    #[test]
    fn a_whole_dashboard_becomes_a_picture() {
        let state = crate::sample::state_while("pretrain_base");
        let svg = render(&state, &Ui::default(), state.last_ms(), 120, 40);
        for part in ["olmo2.rhai", "pretrain_base", "train/CE loss", "</svg>"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN") && svg.len() < 300_000, "{}", svg.len());
    }
}
