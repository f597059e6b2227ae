//! Box lines, blocks and braille as SVG path data. It knows geometry only.

use std::fmt::Write as _;

use super::Layer;

/// Appends the path of a character that is a shape; none if it is not one.
pub(super) fn draw(path: &mut String, char: char, x: f64, y: f64, w: f64, h: f64) -> Option<Layer> {
    match char {
        '\u{2801}'..='\u{28ff}' => {
            dots(path, char as u32 - 0x2800, x, y, w, h);
            Some(Layer::Fill)
        }
        // Lower eighths, as sparklines use them.
        '▁'..='█' => {
            let height = f64::from(char as u32 - '▁' as u32 + 1) / 8.0 * h;
            rectangle(path, x, y + h - height, w + 0.2, height);
            Some(Layer::Fill)
        }
        _ => lines(path, char, x, y, w, h),
    }
}

/// Appends a rectangle.
pub(super) fn rectangle(path: &mut String, x: f64, y: f64, w: f64, h: f64) {
    // Writing to a string cannot fail.
    let _ = write!(path, "M{x:.1} {y:.1}h{w:.1}v{h:.1}h-{w:.1}z");
}

/// Dots 1 2 3 7 go down the left side, 4 5 6 8 down the right; bit n-1 stands for dot n.
fn dots(path: &mut String, bits: u32, x: f64, y: f64, w: f64, h: f64) {
    let size = w * 0.26;
    for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
        let (column, row) = match bit {
            6 | 7 => (bit - 6, 3),
            _ => (bit / 3, bit % 3),
        };
        let (left, top) = (x + w * (0.25 + 0.5 * f64::from(column)), y + h * (0.125 + 0.25 * f64::from(row)));
        rectangle(path, left - size / 2.0, top - size / 2.0, size, size);
    }
}

fn lines(path: &mut String, char: char, x: f64, y: f64, w: f64, h: f64) -> Option<Layer> {
    let (middle, centre) = (x + w / 2.0, y + h / 2.0);
    let corner = |path: &mut String, from: f64, to: f64| {
        let _ = write!(path, "M{middle:.1} {from:.1}Q{middle:.1} {centre:.1} {to:.1} {centre:.1}");
    };
    match char {
        '╭' => corner(path, y + h, x + w),
        '╮' => corner(path, y + h, x),
        '╰' => corner(path, y, x + w),
        '╯' => corner(path, y, x),
        _ => {
            // Which arms leave the centre: left, right, up, down.
            let arms = match char {
                '─' | '━' => [1, 1, 0, 0],
                '│' => [0, 0, 1, 1],
                '┌' => [0, 1, 0, 1],
                '┐' => [1, 0, 0, 1],
                '└' => [0, 1, 1, 0],
                '┘' => [1, 0, 1, 0],
                '├' => [0, 1, 1, 1],
                '┤' => [1, 0, 1, 1],
                '┬' => [1, 1, 0, 1],
                '┴' => [1, 1, 1, 0],
                '┼' => [1, 1, 1, 1],
                '╸' => [1, 0, 0, 0],
                '╺' => [0, 1, 0, 0],
                _ => return None,
            };
            let ends = [(x, centre), (x + w, centre), (middle, y), (middle, y + h)];
            for (to_x, to_y) in ends.into_iter().zip(arms).filter(|(_, arm)| *arm == 1).map(|(end, _)| end) {
                let _ = write!(path, "M{middle:.1} {centre:.1}L{to_x:.1} {to_y:.1}");
            }
        }
    }
    Some(if matches!(char, '━' | '╸' | '╺') { Layer::Heavy } else { Layer::Light })
}
