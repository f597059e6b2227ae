//! Stop strings: where a generated text is to end.

use super::Chat;
use crate::generate::StopText;

/// Ends a sample as soon as its text holds one of some strings.
#[derive(Clone)]
pub struct StopStrings<'a> {
    chat: &'a Chat,
    strings: Vec<String>,
    /// Ids at the end of a sample that can hold the longest string.
    reach: usize,
}

impl<'a> StopStrings<'a> {
    /// Stops at any of `strings`; empty ones are ignored.
    pub fn new(chat: &'a Chat, strings: &[String]) -> Self {
        let strings: Vec<String> = strings.iter().filter(|string| !string.is_empty()).cloned().collect();
        let longest = strings.iter().map(String::len).max().unwrap_or(0);
        // An id gives at least one byte; a few more for ids that give none.
        Self { chat, strings, reach: longest + 8 }
    }

    /// The text before the first stop string.
    pub fn cut<'t>(&self, text: &'t str) -> &'t str {
        let end = self.strings.iter().filter_map(|string| text.find(string.as_str())).min();
        &text[..end.unwrap_or(text.len())]
    }
}

impl StopText for StopStrings<'_> {
    fn stops(&self, ids: &[u32]) -> bool {
        if self.strings.is_empty() {
            return false;
        }
        // Text that the tokenizer cannot decode holds no string.
        let tail = self.chat.decode(&ids[ids.len().saturating_sub(self.reach)..]).unwrap_or_default();
        self.strings.iter().any(|string| tail.contains(string.as_str()))
    }
}
