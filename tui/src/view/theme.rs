//! Glyphs and styles: every colour and sign of the dashboard is chosen here, with and without colours.

use plan::RunStatus;
use ratatui::style::{Color, Modifier, Style};

use crate::state::{Done, StepState};
use crate::ui::Colour;

/// Colours of the curves laid behind the chosen one.
const BEHIND: [Color; 6] = [Color::Blue, Color::Magenta, Color::Green, Color::Yellow, Color::Red, Color::LightBlue];

#[derive(Debug, Clone, Copy)]
pub(super) struct Theme(Colour);

impl Theme {
    pub(super) fn of(colour: Colour) -> Self {
        Self(colour)
    }

    fn fg(self, colour: Color) -> Style {
        match self.0 {
            Colour::On => Style::new().fg(colour),
            Colour::Off => Style::new(),
        }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Titles, which would else take the colour of the border below them.
    pub(super) fn title(self) -> Style {
        Style::new().fg(Color::Reset).remove_modifier(Modifier::DIM)
    }

    /// What is said in passing.
    pub(super) fn faint(self) -> Style {
        match self.0 {
            Colour::On => Style::new().fg(Color::DarkGray),
            Colour::Off => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub(super) fn border(self) -> Style {
        self.faint()
    }

    pub(super) fn focused(self) -> Style {
        match self.0 {
            Colour::On => Style::new().fg(Color::Cyan),
            Colour::Off => self.strong(),
        }
    }

    pub(super) fn label(self) -> Style {
        self.fg(Color::Cyan)
    }

    pub(super) fn good(self) -> Style {
        self.fg(Color::Green)
    }

    pub(super) fn bad(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warning(self) -> Style {
        self.fg(Color::Yellow)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Curve of the selected step.
    pub(super) fn curve(self) -> Style {
        self.fg(Color::Cyan)
    }

    /// The measured curve where a smoothed one lies over it.
    pub(super) fn curve_behind(self) -> Style {
        self.fg(Color::DarkGray)
    }

    /// Curve of another step.
    pub(super) fn other_curve(self, index: usize) -> Style {
        self.fg(BEHIND[index % BEHIND.len()])
    }

    pub(super) fn state(self, state: StepState) -> Style {
        match state {
            StepState::Unwanted | StepState::Waiting => self.faint(),
            StepState::Ready => self.plain(),
            StepState::Running => self.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            StepState::Done(Done::Hit) => self.fg(Color::Blue),
            StepState::Done(Done::Executed) => self.good(),
            StepState::Failed => self.bad(),
            StepState::Blocked(_) | StepState::Interrupted => self.warning(),
        }
    }

    pub(super) fn status(self, status: RunStatus) -> Style {
        match status {
            RunStatus::Succeeded => self.good().add_modifier(Modifier::BOLD),
            RunStatus::Failed => self.bad(),
            RunStatus::Interrupted => self.warning().add_modifier(Modifier::BOLD),
        }
    }
}

/// The sign of a state, one column wide.
pub(super) fn glyph(state: StepState) -> char {
    match state {
        StepState::Unwanted => '·',
        StepState::Waiting => '○',
        StepState::Ready => '◎',
        StepState::Running => '▶',
        StepState::Done(Done::Hit) => '◆',
        StepState::Done(Done::Executed) => '✓',
        StepState::Failed => '✗',
        StepState::Blocked(_) => '⊘',
        StepState::Interrupted => '‖',
    }
}
