//! [`Ui`]: what the person looks at, and how actions change it. Pure: it knows neither keys nor the terminal.

use plan::StepId;

use crate::keys::Action;
use crate::state::{State, Step, StepState};

/// Rows that a page key moves.
const PAGE: usize = 10;

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// The terminal's sixteen colours.
    #[default]
    On,
    /// Bold, dim and reversed only, as `NO_COLOR` asks.
    Off,
}

/// Whose run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The run lives in this process: leaving means stopping it.
    Owner,
    /// The run lives elsewhere, or has ended: leaving changes nothing.
    #[default]
    Watcher,
}

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    /// The steps.
    #[default]
    Graph,
    /// Curves of the selected step.
    Chart,
    /// Everything about the selected step.
    Details,
    /// What the selected step wrote.
    Log,
    /// The machine's load.
    Machine,
}

impl Pane {
    /// All panes in the order of the tab key.
    pub const ALL: [Self; 5] = [Self::Graph, Self::Chart, Self::Details, Self::Log, Self::Machine];
}

/// Scale of the ordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// As measured.
    #[default]
    Linear,
    /// Decimal logarithm; what is not positive is left out.
    Log,
}

/// Smoothing of curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Smoothing {
    /// None.
    #[default]
    Off,
    /// Over a fortieth of the curve.
    Light,
    /// Over a tenth of the curve.
    Strong,
}

impl Smoothing {
    /// The span of the moving average as a share of the curve; none when off.
    pub fn share(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::Light => Some(1.0 / 40.0),
            Self::Strong => Some(1.0 / 10.0),
        }
    }
}

/// Who reads the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// The dashboard.
    #[default]
    Normal,
    /// The filter line.
    Filter,
    /// The page of keys.
    Help,
    /// The question whether to stop the run.
    Question,
}

/// What the person wants of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Close the dashboard.
    Leave,
    /// Stop the run; progress is kept.
    Interrupt,
}

/// What the person looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ui {
    /// Whether colours may be used.
    pub colour: Colour,
    /// Whose run it is.
    pub mode: Mode,
    /// The step chosen by hand; none while the selection follows the run.
    pub selected: Option<StepId>,
    /// The pane that keys go to.
    pub focus: Pane,
    /// Of details, log and machine, the one shown where there is room for one.
    pub lower: Pane,
    /// Whether the focused pane has the whole screen.
    pub zoomed: bool,
    /// The metric chosen by hand; it holds for every step that has it.
    pub metric: Option<String>,
    /// Scale of the ordinate.
    pub scale: Scale,
    /// Smoothing of curves.
    pub smoothing: Smoothing,
    /// Whether the same metric of other steps is drawn behind.
    pub overlay: bool,
    /// Only steps whose name or kind contains this are listed; empty for all.
    pub filter: String,
    /// Who reads the keyboard.
    pub input: Input,
    /// Lines scrolled: down in the details, up in the log.
    pub scroll: usize,
    /// Whether the run was asked to stop.
    pub stopping: bool,
    /// Whether no more records will come.
    pub closed: bool,
}

impl Ui {
    /// A screen that follows the run.
    pub fn new(mode: Mode, colour: Colour) -> Self {
        Self { mode, colour, lower: Pane::Details, ..Self::default() }
    }

    /// The position of the selected step: the one chosen by hand, else the one most worth looking at.
    pub fn selection(&self, state: &State) -> Option<usize> {
        self.selected.and_then(|id| state.position(id)).or_else(|| state.focus())
    }

    /// Positions of the steps that the filter lets through, in order.
    pub fn listed(&self, state: &State) -> Vec<usize> {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let matches = |step: &Step| wanted.is_empty() || has(&step.summary.name) || has(&step.summary.kind);
        (0..state.steps().len()).filter(|&position| matches(&state.steps()[position])).collect()
    }

    /// The metric shown for a step.
    pub fn metric_of<'a>(&'a self, step: &'a Step) -> Option<&'a str> {
        let chosen = self.metric.as_deref().filter(|name| step.metrics.contains_key(*name));
        chosen.or_else(|| step.default_metric())
    }

    /// Carries out an action. Returns what only the program can do.
    pub fn act(&mut self, action: Action, state: &State) -> Option<Request> {
        match action {
            Action::Quit => return self.quit(state),
            Action::Interrupt => {
                self.input = Input::Normal;
                if self.mode == Mode::Owner && self.is_live(state) {
                    self.stopping = true;
                    return Some(Request::Interrupt);
                }
                return Some(Request::Leave);
            }
            Action::Back => self.back(),
            Action::Up => self.step_by(state, Move::Back(1)),
            Action::Down => self.step_by(state, Move::Forward(1)),
            Action::PageUp => self.step_by(state, Move::Back(PAGE)),
            Action::PageDown => self.step_by(state, Move::Forward(PAGE)),
            Action::First => self.step_by(state, Move::Back(usize::MAX)),
            Action::Last => self.step_by(state, Move::Forward(usize::MAX)),
            Action::NextFailed => self.next_failed(state),
            Action::NextMetric => self.turn_metric(state, 1),
            Action::PrevMetric => self.turn_metric(state, -1),
            Action::NextPane => self.turn_pane(1),
            Action::PrevPane => self.turn_pane(Pane::ALL.len() - 1),
            Action::Show(pane) if self.focus == pane => self.show(Pane::Graph),
            Action::Show(pane) => self.show(pane),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::ToggleScale => {
                self.scale = match self.scale {
                    Scale::Linear => Scale::Log,
                    Scale::Log => Scale::Linear,
                }
            }
            Action::CycleSmoothing => {
                self.smoothing = match self.smoothing {
                    Smoothing::Off => Smoothing::Light,
                    Smoothing::Light => Smoothing::Strong,
                    Smoothing::Strong => Smoothing::Off,
                }
            }
            Action::ToggleOverlay => self.overlay = !self.overlay,
            Action::Follow => {
                self.selected = match self.selected {
                    Some(_) => None,
                    None => self.selection(state).map(|position| state.steps()[position].summary.id),
                };
                self.scroll = 0;
            }
            Action::Filter => self.input = Input::Filter,
            Action::Type(char) => self.filter.push(char),
            Action::Erase => {
                self.filter.pop();
            }
            Action::Accept => self.input = Input::Normal,
            Action::Help => self.input = Input::Help,
        }
        None
    }

    fn is_live(&self, state: &State) -> bool {
        state.end().is_none() && !self.closed
    }

    fn quit(&mut self, state: &State) -> Option<Request> {
        if self.mode == Mode::Watcher || !self.is_live(state) {
            return Some(Request::Leave);
        }
        self.input = Input::Question;
        None
    }

    fn back(&mut self) {
        match self.input {
            Input::Normal if self.zoomed => self.zoomed = false,
            Input::Normal if !self.filter.is_empty() => self.filter.clear(),
            Input::Normal if self.focus != Pane::Graph => self.show(Pane::Graph),
            Input::Normal => self.selected = None,
            Input::Filter => {
                self.filter.clear();
                self.input = Input::Normal;
            }
            Input::Help | Input::Question => self.input = Input::Normal,
        }
    }

    fn step_by(&mut self, state: &State, by: Move) {
        match (self.focus, by) {
            (Pane::Details, Move::Forward(lines)) | (Pane::Log, Move::Back(lines)) => {
                // A text is never this long; drawing takes what there is.
                self.scroll = self.scroll.saturating_add(lines).min(1_000_000);
            }
            (Pane::Details, Move::Back(lines)) | (Pane::Log, Move::Forward(lines)) => {
                self.scroll = self.scroll.saturating_sub(lines);
            }
            (Pane::Graph | Pane::Chart | Pane::Machine, by) => {
                let listed = self.listed(state);
                let Some(end) = listed.len().checked_sub(1) else { return };
                let at = self.selection(state).map_or(0, |position| listed.partition_point(|&other| other < position));
                let shown = listed.get(at).copied() == self.selection(state);
                let to = match by {
                    Move::Back(steps) => at.saturating_sub(steps),
                    Move::Forward(steps) if shown => at.saturating_add(steps),
                    Move::Forward(steps) => at.saturating_add(steps - 1),
                };
                self.select(state, listed[to.min(end)]);
            }
        }
    }

    fn select(&mut self, state: &State, position: usize) {
        self.selected = Some(state.steps()[position].summary.id);
        self.scroll = 0;
    }

    fn next_failed(&mut self, state: &State) {
        let count = state.steps().len();
        let from = self.selection(state).map_or(0, |position| position + 1);
        let failed = (from..from + count).map(|position| position % count).find(|&p| state.steps()[p].state == StepState::Failed);
        if let Some(position) = failed {
            self.select(state, position);
        }
    }

    fn turn_metric(&mut self, state: &State, by: isize) {
        let Some(step) = self.selection(state).map(|position| &state.steps()[position]) else { return };
        let names: Vec<&String> = step.metrics.keys().collect();
        let Some(at) = self.metric_of(step).and_then(|shown| names.iter().position(|name| *name == shown)) else { return };
        let to = (at as isize + by).rem_euclid(names.len() as isize) as usize;
        self.metric = Some(names[to].clone());
    }

    fn turn_pane(&mut self, by: usize) {
        let at = Pane::ALL.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        self.show(Pane::ALL[(at + by) % Pane::ALL.len()]);
    }

    fn show(&mut self, pane: Pane) {
        self.focus = pane;
        self.scroll = 0;
        if matches!(pane, Pane::Details | Pane::Log | Pane::Machine) {
            self.lower = pane;
        }
    }
}

#[derive(Clone, Copy)]
enum Move {
    Back(usize),
    Forward(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_selection_follows_until_the_person_moves() {
        let mut ui = Ui::new(Mode::Watcher, Colour::On);
        let state = sample::state_while("pretrain_base");
        let followed = ui.selection(&state).unwrap();
        assert_eq!(state.steps()[followed].summary.name, "pretrain_base");
        ui.act(Action::Up, &state);
        assert_eq!(ui.selection(&state), Some(followed - 1));
        ui.act(Action::First, &state);
        assert_eq!(ui.selection(&state), Some(0));
        ui.act(Action::Last, &state);
        assert_eq!(ui.selection(&state), Some(state.steps().len() - 1));
        ui.act(Action::Follow, &state);
        assert_eq!(ui.selection(&state), Some(followed));
    }

    #[test]
    fn moving_stays_within_the_filter() {
        let mut ui = Ui::new(Mode::Watcher, Colour::On);
        let state = sample::state_while("pretrain_base");
        "ANNEAL".chars().for_each(|char| assert_eq!(ui.act(Action::Type(char), &state), None));
        let listed = ui.listed(&state);
        assert!(listed.len() >= 3);
        ui.act(Action::First, &state);
        for _ in 0..10 {
            ui.act(Action::Down, &state);
            assert!(listed.contains(&ui.selection(&state).unwrap()));
        }
        assert_eq!(ui.selection(&state), listed.last().copied());
        "zzz".chars().for_each(|char| assert_eq!(ui.act(Action::Type(char), &state), None));
        ui.act(Action::Down, &state);
        assert_eq!(ui.selection(&state), listed.last().copied(), "nothing listed, nothing moves");
        ui.act(Action::Back, &state);
        assert!(ui.filter.is_empty());
    }

    #[test]
    fn only_the_owner_of_a_live_run_is_asked() {
        let live = sample::state_while("pretrain_base");
        let mut ui = Ui::new(Mode::Owner, Colour::On);
        assert_eq!(ui.act(Action::Quit, &live), None);
        assert_eq!(ui.input, Input::Question);
        assert_eq!(ui.act(Action::Interrupt, &live), Some(Request::Interrupt));
        assert!(ui.stopping && ui.input == Input::Normal);
        let mut watcher = Ui::new(Mode::Watcher, Colour::On);
        assert_eq!(watcher.act(Action::Quit, &live), Some(Request::Leave));
        let over = sample::state();
        assert_eq!(Ui::new(Mode::Owner, Colour::On).act(Action::Quit, &over), Some(Request::Leave));
    }

    #[test]
    fn metrics_turn_around_and_stick() {
        let state = sample::state_while("pretrain_base");
        let mut ui = Ui::new(Mode::Watcher, Colour::On);
        let step = &state.steps()[ui.selection(&state).unwrap()];
        assert_eq!(ui.metric_of(step), Some("train/CE loss"));
        let mut seen = Vec::new();
        for _ in 0..step.metrics.len() {
            ui.act(Action::NextMetric, &state);
            seen.push(ui.metric_of(step).unwrap().to_owned());
        }
        seen.sort();
        assert_eq!(seen, step.metrics.keys().cloned().collect::<Vec<_>>());
        assert_eq!(ui.metric_of(step), Some("train/CE loss"));
    }

    #[test]
    fn failed_steps_are_found_in_a_circle() {
        let state = sample::failed_state();
        let mut ui = Ui::new(Mode::Watcher, Colour::On);
        ui.act(Action::First, &state);
        ui.act(Action::NextFailed, &state);
        let found = ui.selection(&state).unwrap();
        assert_eq!(state.steps()[found].state, StepState::Failed);
        ui.act(Action::NextFailed, &state);
        assert_eq!(ui.selection(&state), Some(found));
        assert_eq!(ui.act(Action::NextFailed, &State::new()), None);
    }
}
