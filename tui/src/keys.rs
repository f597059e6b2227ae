//! A key press becomes an [`Action`], depending on who reads the keyboard. It does not know what actions do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::ui::{Input, Pane};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave, or ask whether to stop the run.
    Quit,
    /// Stop the run; progress is kept.
    Interrupt,
    /// Close what is open: popup, filter, zoom, pane; at last, follow the run again.
    Back,
    /// One step or line up.
    Up,
    /// One step or line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
    /// To the next failed step.
    NextFailed,
    /// To the next metric of the step.
    NextMetric,
    /// To the previous metric of the step.
    PrevMetric,
    /// To the next pane.
    NextPane,
    /// To the previous pane.
    PrevPane,
    /// Open a pane, or close it when it has the focus.
    Show(Pane),
    /// Give the focused pane the whole screen, or take it back.
    Zoom,
    /// Linear or logarithmic ordinate.
    ToggleScale,
    /// No, light or strong smoothing.
    CycleSmoothing,
    /// Show or hide the same metric of other steps.
    ToggleOverlay,
    /// Follow the running step, or stay on this one.
    Follow,
    /// Type a filter.
    Filter,
    /// A character of the filter.
    Type(char),
    /// Take back a character of the filter.
    Erase,
    /// Keep the filter.
    Accept,
    /// The page of keys.
    Help,
}

/// Keys and what they do, as the page of keys shows them.
pub const HELP: &[(&str, &str)] = &[
    ("↑ ↓  k j", "select a step; scroll in details and log"),
    ("PgUp PgDn", "ten at once"),
    ("Home End  g G", "first, last"),
    ("← →  h l", "previous, next metric of the step"),
    ("Tab Shift-Tab", "next, previous pane"),
    ("Enter  z", "focused pane on the whole screen"),
    ("c d o m", "chart, details, output (log), machine"),
    ("y", "linear or logarithmic chart"),
    ("s", "smooth curves: off, light, strong"),
    ("a", "same metric of all steps behind"),
    ("f", "follow the run, or stay on this step"),
    ("n", "next failed step"),
    ("/", "list only steps whose name or kind contains a text"),
    ("Esc", "close what is open; follow again"),
    ("q  Ctrl-C", "leave; in a run of this process, asks first"),
];

/// What a key asks for; none for keys without a meaning and for key releases.
pub fn action(key: KeyEvent, input: Input) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control {
        return match (key.code, input) {
            // The second one in a row does not ask again.
            (KeyCode::Char('c' | 'C'), Input::Question) => Some(Action::Interrupt),
            (KeyCode::Char('c' | 'C'), _) => Some(Action::Quit),
            (KeyCode::Char('u'), Input::Normal) => Some(Action::PageUp),
            (KeyCode::Char('d'), Input::Normal) => Some(Action::PageDown),
            _ => None,
        };
    }
    match input {
        Input::Normal => normal(key.code),
        Input::Filter => match key.code {
            KeyCode::Enter => Some(Action::Accept),
            KeyCode::Esc => Some(Action::Back),
            KeyCode::Backspace => Some(Action::Erase),
            KeyCode::Up => Some(Action::Up),
            KeyCode::Down => Some(Action::Down),
            KeyCode::Char(char) => Some(Action::Type(char)),
            _ => None,
        },
        Input::Help => matches!(key.code, KeyCode::Char('q' | '?') | KeyCode::Esc | KeyCode::Enter).then_some(Action::Back),
        Input::Question => match key.code {
            KeyCode::Char('s' | 'y' | 'i') => Some(Action::Interrupt),
            KeyCode::Char('c' | 'n' | 'q') | KeyCode::Esc => Some(Action::Back),
            _ => None,
        },
    }
}

fn normal(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Up | KeyCode::Char('k') => Action::Up,
        KeyCode::Down | KeyCode::Char('j') => Action::Down,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Left | KeyCode::Char('h') => Action::PrevMetric,
        KeyCode::Right | KeyCode::Char('l') => Action::NextMetric,
        KeyCode::Tab => Action::NextPane,
        KeyCode::BackTab => Action::PrevPane,
        KeyCode::Enter | KeyCode::Char('z') => Action::Zoom,
        KeyCode::Char('c') => Action::Show(Pane::Chart),
        KeyCode::Char('d') => Action::Show(Pane::Details),
        KeyCode::Char('o') => Action::Show(Pane::Log),
        KeyCode::Char('m') => Action::Show(Pane::Machine),
        KeyCode::Char('y') => Action::ToggleScale,
        KeyCode::Char('s') => Action::CycleSmoothing,
        KeyCode::Char('a') => Action::ToggleOverlay,
        KeyCode::Char('f') => Action::Follow,
        KeyCode::Char('n') => Action::NextFailed,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('?') | KeyCode::F(1) => Action::Help,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, input: Input) -> Option<Action> {
        action(KeyEvent::new(code, KeyModifiers::NONE), input)
    }

    #[test]
    fn the_same_key_means_different_things() {
        assert_eq!(press(KeyCode::Char('q'), Input::Normal), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('q'), Input::Filter), Some(Action::Type('q')));
        assert_eq!(press(KeyCode::Char('q'), Input::Question), Some(Action::Back));
        assert_eq!(press(KeyCode::Char('q'), Input::Help), Some(Action::Back));
    }

    #[test]
    fn control_c_asks_and_then_stops() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(key, Input::Normal), Some(Action::Quit));
        assert_eq!(action(key, Input::Filter), Some(Action::Quit));
        assert_eq!(action(key, Input::Question), Some(Action::Interrupt));
    }

    #[test]
    fn releases_do_nothing() {
        let key = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(key, Input::Normal), None);
    }
}
