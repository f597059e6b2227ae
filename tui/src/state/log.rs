//! [`Log`]: the last lines a step wrote, made safe to show. It does not know how they are drawn.

use std::collections::VecDeque;

/// Lines kept for each step.
pub const LOG_LINES: usize = 500;
/// Characters kept of each line.
const LINE_CHARS: usize = 2000;

/// The last [`LOG_LINES`] lines a step wrote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Log {
    lines: VecDeque<String>,
    dropped: u64,
}

impl Log {
    pub(super) fn push(&mut self, text: &str) {
        for line in text.trim_end_matches(['\n', '\r']).split('\n') {
            if self.lines.len() == LOG_LINES {
                self.lines.pop_front();
                self.dropped += 1;
            }
            // A carriage return writes the line anew.
            self.lines.push_back(clean(line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default()));
        }
    }

    /// The kept lines, oldest first, without control characters.
    pub fn lines(&self) -> &VecDeque<String> {
        &self.lines
    }

    /// Lines that were written before those kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The text without terminal escape sequences and control characters but line feeds; tabs become four spaces.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LINE_CHARS));
    let mut chars = text.chars().peekable();
    let mut count = 0;
    while let Some(char) = chars.next() {
        if count >= LINE_CHARS {
            out.push('…');
            break;
        }
        count += 1;
        match char {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                // A control sequence ends with a byte from @ to ~.
                while chars.next().is_some_and(|char| !('@'..='~').contains(&char)) {}
            }
            '\t' => out.push_str("    "),
            '\n' => out.push('\n'),
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_rewritten_lines_do_not_reach_the_screen() {
        let mut log = Log::default();
        log.push("\u{1b}[1;31mred\u{1b}[0m\tend\r\n");
        log.push("10 %\r20 %\r30 %");
        assert_eq!(log.lines(), &["red    end", "30 %"]);
    }

    #[test]
    fn old_lines_make_room() {
        let mut log = Log::default();
        (0..LOG_LINES + 3).for_each(|line| log.push(&line.to_string()));
        assert_eq!((log.lines().len(), log.dropped(), log.lines()[0].as_str()), (LOG_LINES, 3, "3"));
    }
}
