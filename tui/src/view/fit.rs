//! Text into columns: cut, pad, wrap, bars. It knows terminal width, not meaning.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { Span::raw(text).width() }
}

fn char_width(char: char) -> usize {
    if char.is_ascii() { 1 } else { Span::raw(char.to_string()).width() }
}

/// The text, cut with `…` to at most so many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for char in text.chars() {
        used += char_width(char);
        if used > columns {
            break;
        }
        out.push(char);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text cut or padded on the right to exactly so many columns.
pub(super) fn left(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&text))));
    text
}

/// The text cut or padded on the left to exactly so many columns.
pub(super) fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let mut out = " ".repeat(columns.saturating_sub(width(&text)));
    out.push_str(&text);
    out
}

/// The text in lines of at most so many columns, broken at spaces where that wastes less than half a line.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        while width(rest) > columns {
            let (mut used, mut end, mut space) = (0, 0, None);
            for (at, char) in rest.char_indices() {
                used += char_width(char);
                if used > columns && at > 0 {
                    break;
                }
                if char == ' ' && used > columns / 2 {
                    space = Some(at + 1);
                }
                end = at + char.len_utf8();
            }
            // A space just behind the line ends it as well.
            let end = if rest[end..].starts_with(' ') { end } else { space.unwrap_or(end) };
            lines.push(rest[..end].trim_end().to_owned());
            rest = rest[end..].trim_start_matches(' ');
        }
        if !rest.is_empty() || paragraph.is_empty() {
            lines.push(rest.to_owned());
        }
    }
    lines
}

/// A bar of so many columns, filled by `ratio` (0 to 1).
pub(super) fn bar<'a>(columns: usize, ratio: f64, filled: Style, empty: Style) -> [Span<'a>; 2] {
    let halves = (ratio.clamp(0.0, 1.0) * (columns * 2) as f64).round() as usize;
    let mut full = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        full.push('╸');
    }
    let rest = columns.saturating_sub(halves.div_ceil(2));
    [Span::styled(full, filled), Span::styled("─".repeat(rest), empty)]
}

/// Writes lines from the top of an area; those that do not fit are left out.
pub(super) fn lines<'a>(lines: impl IntoIterator<Item = Line<'a>>, area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x, y, &line, area.width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns() {
        assert_eq!((cut("pretrain", 8), cut("pretrain", 5), cut("abc", 0)), ("pretrain".into(), "pret…".into(), String::new()));
        assert_eq!((cut("漢字漢字", 5), left("ab", 4), right("ab", 4)), ("漢字…".into(), "ab  ".into(), "  ab".into()));
    }

    #[test]
    fn wrapping_loses_nothing_but_spaces() {
        assert_eq!(wrap("the model does not fit", 10), ["the model", "does not", "fit"]);
        assert_eq!(wrap("0123456789abcdef", 10), ["0123456789", "abcdef"]);
        assert_eq!(wrap("one\n\ntwo", 10), ["one", "", "two"]);
        assert_eq!((wrap("", 3), wrap("漢字", 1)), (vec![String::new()], vec!["漢".into(), "字".into()]));
    }

    #[test]
    fn bars_have_their_width() {
        for columns in 0..12 {
            for ratio in [0.0, 0.04, 0.5, 0.97, 1.0, f64::NAN] {
                let [full, rest] = bar(columns, ratio, Style::new(), Style::new());
                assert_eq!(full.width() + rest.width(), columns);
            }
        }
    }
}
