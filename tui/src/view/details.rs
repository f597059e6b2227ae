//! Everything about the selected step: how it stands, closing figures, why it ran, parameters, inputs, names.

use plan::{Place, Value};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::{Scene, fit, theme};
use crate::figures;
use crate::state::{Step, StepState};
use crate::ui::Pane;

/// Lines that one parameter may take.
const PARAM_LINES: usize = 6;
/// Columns of the labels.
const LABEL: usize = 9;

pub(super) fn paint(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(step) = scene.step() else {
        scene.block(Pane::Details, Line::raw(" details ")).render(area, buffer);
        return;
    };
    let title = vec![
        Span::raw(" "),
        Span::styled(step.summary.name.clone(), scene.theme.strong()),
        Span::styled(format!("  {} v{} ", step.summary.kind, step.summary.version), scene.theme.faint()),
    ];
    let block = scene.block(Pane::Details, Line::from(title));
    let inner = block.inner(area);
    block.render(area, buffer);
    let mut page = Page { scene, lines: Vec::new(), width: usize::from(inner.width) };
    page.standing(step);
    page.closing(step);
    page.reasons(step);
    page.params(step);
    page.inputs(step);
    page.names(step);
    let height = usize::from(inner.height);
    let scroll = if scene.ui.focus == Pane::Details { scene.ui.scroll.min(page.lines.len().saturating_sub(height)) } else { 0 };
    let more = page.lines.len() > scroll + height;
    fit::lines(page.lines.into_iter().skip(scroll), inner, buffer);
    if more && !inner.is_empty() {
        buffer.set_string(area.right() - 1, inner.bottom() - 1, "▼", scene.theme.faint());
    }
}

struct Page<'a> {
    scene: &'a Scene<'a>,
    lines: Vec<Line<'a>>,
    width: usize,
}

impl Page<'_> {
    /// A label and a text that may go over several lines.
    fn entry(&mut self, label: &str, text: &str, style: Style, most: usize) {
        let wrapped = fit::wrap(text, self.width.saturating_sub(LABEL + 2));
        let cut = wrapped.len() > most;
        for (index, mut line) in wrapped.into_iter().take(most).enumerate() {
            if cut && index + 1 == most {
                line.push('…');
            }
            let label = fit::left(if index == 0 { label } else { "" }, LABEL);
            self.lines
                .push(Line::from(vec![Span::styled(format!(" {label} "), self.scene.theme.label()), Span::styled(line, style)]));
        }
    }

    fn standing(&mut self, step: &Step) {
        let (scene, theme) = (self.scene, self.scene.theme);
        let mut text = format!("{} {}", theme::glyph(step.state), step.state.word());
        if let Some(elapsed) = step.elapsed_ms(scene.now_ms) {
            text.push_str(&format!(" {}", figures::duration(elapsed)));
        }
        match step.state {
            StepState::Running => {
                let threads = if step.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", step.threads) };
                text.push_str(&format!(" on {threads}"));
            }
            StepState::Done(_) => text.push_str(&format!(", {}", figures::bytes(step.bytes))),
            StepState::Blocked(by) => text.push_str(&format!(" by {}", scene.state.name(by))),
            StepState::Waiting => {
                let open = step.inputs.iter().map(|&input| &scene.state.steps()[input]);
                let open: Vec<&str> = open
                    .filter(|input| !matches!(input.state, StepState::Done(_)))
                    .map(|input| input.summary.name.as_str())
                    .collect();
                text.push_str(&format!(" for {}", open.join(", ")));
            }
            StepState::Unwanted => text.push_str(": no output needs it"),
            StepState::Ready | StepState::Failed | StepState::Interrupted => {}
        }
        if step.resumed {
            text.push_str(", went on from saved progress");
        }
        self.entry("state", &text, theme.state(step.state), 3);
        if let Some(error) = &step.error {
            self.entry("error", error, theme.bad(), 12);
        }
        let Some(progress) = &step.progress else { return };
        let total = progress.total.map(|total| format!(" of {}", figures::count(total))).unwrap_or_default();
        let mut text = format!("{}{total} {}", figures::count(progress.done), progress.unit);
        if let Some(rate) = progress.rate() {
            text.push_str(&format!(", {}", figures::rate(rate, &progress.unit)));
        }
        if let Some(left) = step.eta_seconds(scene.now_ms) {
            text.push_str(&format!(", {} to go", figures::guess(left)));
        }
        self.entry("work", &text, theme.plain(), 2);
    }

    fn closing(&mut self, step: &Step) {
        if step.closing.is_empty() {
            return;
        }
        let width = step.closing.keys().map(|name| fit::width(name)).max().unwrap_or(0).min(36);
        for (index, (name, value)) in step.closing.iter().enumerate() {
            let label = if index == 0 { "figures" } else { "" };
            let text = format!("{} {}", fit::left(name, width), fit::right(&figures::value(*value), 9));
            self.entry(label, &text, self.scene.theme.plain(), 1);
        }
    }

    fn reasons(&mut self, step: &Step) {
        let theme = self.scene.theme;
        match step.hit {
            Some(false) if step.because.is_empty() => self.entry("why", "never ran under this name", theme.plain(), 1),
            Some(false) => {
                for (index, difference) in step.because.iter().enumerate() {
                    self.entry(if index == 0 { "why" } else { "" }, &difference.to_string(), theme.warning(), 3);
                }
            }
            Some(true) => self.entry("why not", "the store has an artifact with this key", theme.plain(), 1),
            None => {}
        }
    }

    fn params(&mut self, step: &Step) {
        let mut flat = Vec::new();
        flatten("", &step.summary.params, &mut flat);
        for (index, (path, value)) in flat.iter().enumerate() {
            let label = if index == 0 { "params" } else { "" };
            self.entry(label, &format!("{path}: {value}"), self.scene.theme.plain(), PARAM_LINES);
        }
    }

    fn inputs(&mut self, step: &Step) {
        let scene = self.scene;
        for (index, (port, id)) in step.summary.inputs.iter().enumerate() {
            let sign = scene.state.step(*id).map_or(' ', |input| theme::glyph(input.state));
            let digest = scene.state.step(*id).and_then(|input| input.digest).map(|digest| digest.short()).unwrap_or_default();
            let text = format!("{port} ← {sign} {}  {digest}", scene.state.name(*id));
            self.entry(if index == 0 { "inputs" } else { "" }, &text, scene.theme.plain(), 2);
        }
        for (index, (port, path)) in step.summary.files.iter().enumerate() {
            self.entry(if index == 0 { "files" } else { "" }, &format!("{port} ← {path}"), scene.theme.plain(), 2);
        }
    }

    fn names(&mut self, step: &Step) {
        let faint = self.scene.theme.faint();
        let short = |name: Option<String>| name.unwrap_or_else(|| "not known yet".to_owned());
        self.entry("key", &short(step.key.map(|key| key.short())), faint, 1);
        if let Some(digest) = step.digest {
            self.entry("digest", &digest.short(), faint, 1);
        }
        self.entry("plan id", &step.summary.plan_id.short(), faint, 1);
        self.entry("declared", &step.summary.site.to_string(), faint, 2);
        let place = match step.summary.place {
            Place::Thread => "on a thread of the run",
            Place::Child => "in a process of its own",
        };
        let wants = step.summary.resources;
        let memory = figures::bytes(wants.memory_mib.saturating_mul(1 << 20));
        self.entry("runs", &format!("{place}, up to {} threads, {memory}", wants.cpus), faint, 2);
    }
}

/// Dotted paths and values as a recipe would write them.
fn flatten(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Map(map) if path.is_empty() || !map.is_empty() => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, out);
            }
        }
        value => out.push((path.to_owned(), value.to_string())),
    }
}
