//! A run as it is shown: its events while it is under way, its result at the end.

mod json;
mod line;
pub mod number;
mod spinner;

use std::io;

use ambidex_core::chunk::AttemptOutcome;
use ambidex_core::event::{Event, EventKind, Status};
use ambidex_core::{ErrorKind, Usage};
use ambidex_engine::{RunError, RunResult};

use crate::console::{Console, one_line, printable};
use crate::hint::hint;
use crate::markdown::Markdown;

pub use json::pretty;
use spinner::Spinner;

/// Text wider than this is hard to read.
const WIDEST: usize = 100;

/// What stdout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The words as they stream on a terminal, the final text alone elsewhere.
    Text,
    /// Every event as a line of JSON.
    Events,
    /// One object at the end.
    Result,
}

/// Shows one run.
pub struct Show {
    format: Format,
    /// Words are shown as they come.
    streams: bool,
    /// Calls and retries are told on stderr.
    progress: bool,
    /// The final reply is JSON; it is shown when it is whole.
    structured: bool,
    markdown: Markdown,
    reply: Reply,
    spinner: Spinner,
    last: Last,
    /// The number of the last event, and of the last one that the run's handle before this one gave.
    seq: u64,
    seq_before: u64,
    usage: Usage,
    calls: u32,
    tools: u64,
    /// The summary is said at the end.
    pub summary: bool,
    /// It counts steps, and no calls of models.
    pub is_graph: bool,
}

/// The reply under way.
#[derive(Default)]
struct Reply {
    /// Some of its text was shown.
    shown: bool,
    /// It is JSON and held back.
    held: bool,
    begun: bool,
    reasoning: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Words,
    Lines,
}

impl Show {
    pub fn new(console: &Console, format: Format, structured: bool) -> Self {
        let streams = format == Format::Text && console.stdout_is_terminal();
        let progress = match format {
            Format::Text => true,
            Format::Events => false,
            Format::Result => console.stderr_is_terminal(),
        };
        let width = console.width().min(WIDEST);
        Self {
            format,
            streams,
            progress,
            structured,
            markdown: Markdown::new(console.stdout_paint(), width),
            reply: Reply::default(),
            spinner: Spinner::default(),
            last: Last::Nothing,
            seq: 0,
            seq_before: 0,
            usage: Usage::default(),
            calls: 0,
            tools: 0,
            summary: true,
            is_graph: false,
        }
    }

    pub fn has_spinner(&self, console: &Console) -> bool {
        self.progress && console.stderr_is_terminal() && !console.quiet
    }

    /// The run goes on under another handle, whose events are numbered from 1 again; those shown are numbered on.
    pub fn goes_on(&mut self) {
        self.seq_before = self.seq;
    }

    /// Shows one event.
    pub fn event(&mut self, console: &mut Console, event: &Event) -> io::Result<()> {
        self.count(&event.kind);
        if self.format == Format::Events {
            self.seq = self.seq_before + event.seq;
            let line = match self.seq_before {
                0 => serde_json::to_string(event),
                _ => serde_json::to_string(&Event { seq: self.seq, ..event.clone() }),
            };
            let line = line.map_err(io::Error::other)?;
            console.print_line(&line)?;
            return console.flush();
        }
        match &event.kind {
            EventKind::ModelStarted { model } => {
                self.reply = Reply::default();
                self.spinner.model(model);
            }
            EventKind::ModelDelta { text } => self.words(console, text)?,
            EventKind::ModelReasoning { text } => {
                self.reply.reasoning.push_str(&printable(text));
                self.spinner.thought(&self.reply.reasoning);
            }
            EventKind::ModelFinished { .. } => {
                self.end_words(console)?;
                self.thought(console);
                self.spinner.model_ended();
            }
            EventKind::ModelRestarted { reason } => {
                self.end_words(console)?;
                self.reply = Reply::default();
                let reason = one_line(reason, console.width().saturating_sub(30));
                self.line(console, &format!("  ↻ the answer begins again: {reason}"));
            }
            EventKind::RouteAttempt { target, attempt, reason, wait: Some(wait), .. } => {
                self.end_words(console)?;
                let wait = number::seconds(*wait);
                let reason = one_line(reason, console.width().saturating_sub(target.len() + 30));
                self.line(
                    console,
                    &format!("  ↻ {target}: attempt {attempt} failed, again in {wait}: {reason}"),
                );
            }
            EventKind::RouteSwitched { from, target, reason, .. } => {
                self.end_words(console)?;
                let names = from.len() + target.len();
                let reason = one_line(reason, console.width().saturating_sub(names + 14));
                self.line(console, &format!("  ↪ {from} → {target}: {reason}"));
            }
            EventKind::RouteAttempt { target, outcome: AttemptOutcome::Cached, reason, .. } => {
                self.end_words(console)?;
                self.line(console, &format!("  ≡ {target}: {reason}"));
            }
            // Every attempt has an event; a terminal shows what changes.
            EventKind::RouteAttempt { .. } | EventKind::RouteRace { .. } => {}
            EventKind::ToolCalled { id, name, args } => {
                self.end_words(console)?;
                self.spinner.tool(id, name, line::arguments(args));
            }
            EventKind::ToolProgress { id, data } => self.tool_progress(console, id, data),
            EventKind::ToolFinished { id, name, ok, output, seconds } => {
                self.end_words(console)?;
                let args = self.spinner.tool_ended(id);
                let (paint, width) = (console.stderr_paint(), console.width());
                let text = line::tool(name, &args, *ok, output, *seconds, paint, width);
                self.line(console, &text);
            }
            EventKind::ApprovalAsked { .. } | EventKind::RelayAsked { .. } => self.end_words(console)?,
            EventKind::ApprovalAnswered { decision, .. } => {
                self.line(console, &format!("  ▸ answered: {decision}"));
            }
            EventKind::StepFinished { kind, ok, seconds } => {
                if let Some(name) = event.step.as_deref().and_then(|step| line::step_name(step, *kind)) {
                    self.end_words(console)?;
                    let text = line::step(name, *ok, *seconds, console.stderr_paint());
                    self.line(console, &text);
                }
            }
            EventKind::Note { text } => self.line(console, &format!("  · {}", printable(text))),
            EventKind::RunFinished { .. } => {
                self.end_words(console)?;
                console.wipe();
            }
            EventKind::RunCreated { .. }
            | EventKind::RunStarted {}
            | EventKind::RunStatus { .. }
            | EventKind::StepStarted { .. }
            | EventKind::RelayAnswered { .. }
            | EventKind::StateChanged { .. }
            | EventKind::CheckpointSaved { .. }
            | EventKind::BudgetReached { .. }
            | EventKind::Error { .. } => {}
        }
        Ok(())
    }

    fn count(&mut self, kind: &EventKind) {
        match kind {
            EventKind::ModelFinished { usage, .. } => {
                self.calls += 1;
                self.usage.add(usage);
            }
            EventKind::ToolFinished { .. } => self.tools += 1,
            _ => {}
        }
    }

    /// Turns the spinner.
    pub fn tick(&mut self, console: &mut Console) {
        let width = console.width().saturating_sub(1);
        if let Some(line) = self.spinner.turn(console.stderr_paint(), width) {
            console.show_transient(&line);
        }
    }

    fn words(&mut self, console: &mut Console, text: &str) -> io::Result<()> {
        if !self.streams {
            return Ok(());
        }
        if !self.reply.begun && !text.trim().is_empty() {
            self.thought(console);
            self.reply.begun = true;
            self.reply.held = self.structured && text.trim_start().starts_with(['{', '[']);
            self.spinner.writes();
            if !self.reply.held && self.last == Last::Lines {
                console.print("\n")?;
            }
        }
        if self.reply.held || !self.reply.begun {
            return Ok(());
        }
        self.reply.shown = true;
        self.last = Last::Words;
        let shown = self.markdown.push(text);
        console.print(&shown)?;
        console.flush()
    }

    fn end_words(&mut self, console: &mut Console) -> io::Result<()> {
        let rest = self.markdown.finish();
        console.print(&rest)?;
        console.flush()
    }

    /// A line for a stretch of reasoning.
    fn thought(&mut self, console: &mut Console) {
        let reasoning = std::mem::take(&mut self.reply.reasoning);
        if reasoning.trim().is_empty() {
            return;
        }
        let words = reasoning.split_whitespace().count() as u64;
        let count = format!(" ({})", number::counted(words, "word"));
        let room = console.width().min(WIDEST).saturating_sub(count.len() + 4);
        let text = format!("  ∴ {}{count}", one_line(&reasoning, room));
        let text = console.stderr_paint().with("2;3", &text);
        self.line(console, &text);
    }

    fn tool_progress(&mut self, console: &mut Console, id: &str, data: &serde_json::Value) {
        let (Some(attempt), Some(after)) = (data["attempt"].as_u64(), data["after"].as_str()) else { return };
        let name = self.spinner.name_of(id).unwrap_or(id).to_owned();
        let after = one_line(after, console.width().saturating_sub(name.len() + 24));
        self.line(console, &format!("  ↻ {name}: attempt {attempt} after {after}"));
    }

    fn line(&mut self, console: &mut Console, text: &str) {
        if !self.progress {
            return;
        }
        if self.last == Last::Words && self.streams && console.stderr_is_terminal() {
            console.say("");
        }
        self.last = Last::Lines;
        console.say(text);
    }

    /// Shows how the run came to rest. What a person has to do next is the caller's to say.
    pub fn end(&mut self, console: &mut Console, ended: &Result<RunResult, RunError>) -> io::Result<()> {
        console.wipe();
        self.end_words(console)?;
        let result = match ended {
            Ok(result) => Some(result),
            Err(error) => error.result.as_deref(),
        };
        match self.format {
            Format::Events => {}
            Format::Result => console.print_line(&object(ended).to_string())?,
            Format::Text => {
                if let Some(result) = result.filter(|result| result.status == Status::Succeeded) {
                    self.result(console, result)?;
                }
            }
        }
        console.flush()?;
        if let Err(error) = ended {
            self.failure(console, error);
        }
        if let Some(result) = result.filter(|_| self.progress && self.summary) {
            self.sum_up(console, result);
        }
        Ok(())
    }

    fn result(&mut self, console: &mut Console, result: &RunResult) -> io::Result<()> {
        // A text that a workflow gives is a text.
        if let Some(output) = result.output.as_ref().filter(|output| !output.is_string()) {
            if self.streams && self.last != Last::Nothing {
                console.print("\n")?;
            }
            return console.print_line(&pretty(output, console.stdout_paint()));
        }
        if !self.streams {
            return if result.text.is_empty() { Ok(()) } else { console.print_line(&result.text) };
        }
        if !self.reply.shown && !result.text.is_empty() {
            let mut text = self.markdown.push(&result.text);
            text.push_str(&self.markdown.finish());
            console.print_line(&text)?;
        }
        Ok(())
    }

    fn failure(&mut self, console: &mut Console, error: &RunError) {
        if error.kind() == ErrorKind::Cancelled {
            if self.progress {
                console.complain("cancelled");
            }
            return;
        }
        let error = &error.error;
        let request = error.request_id().map_or_else(String::new, |id| format!(" (request {id})"));
        let message = format!("{} [{}]{request}", error.message(), error.code());
        console.error(&message, hint(error));
    }

    /// What the run used, in one line.
    fn sum_up(&self, console: &mut Console, result: &RunResult) {
        let paint = console.stderr_paint();
        let calls = result.iterations_used.max(self.calls);
        let calls = (u64::from(calls), if self.is_graph { "step" } else { "model call" });
        let text = line::summary(&result.usage, calls, self.tools, result.execution_time);
        let (mark, word) = match result.status {
            Status::Succeeded if result.task_completed => (paint.green("✓"), "done"),
            Status::Succeeded => (paint.yellow("✓"), "done, cut short"),
            Status::Failed => (paint.red("✗"), "failed"),
            Status::Cancelled => (paint.yellow("✗"), "cancelled"),
            Status::Waiting => (paint.yellow("…"), "waits"),
            Status::Paused => (paint.yellow("…"), "paused"),
            Status::Queued | Status::Running => (paint.yellow("…"), "under way"),
        };
        if console.stderr_is_terminal() {
            console.say("");
        }
        console.say(&format!("{mark} {}", paint.dim(&format!("{word} · {text}"))));
    }
}

/// The object that `--result-json` prints.
pub fn object(ended: &Result<RunResult, RunError>) -> serde_json::Value {
    match ended {
        Ok(result) => result.to_json(),
        Err(RunError { result: Some(result), .. }) => result.to_json(),
        Err(error) => without_a_result(error),
    }
}

/// The object for a run that could not be driven to any state.
fn without_a_result(error: &RunError) -> serde_json::Value {
    let error = &error.error;
    let status = if error.kind() == ErrorKind::Cancelled { Status::Cancelled } else { Status::Failed };
    serde_json::json!({
        "run": null,
        "thread": null,
        "status": status.as_str(),
        "text": "",
        "output": null,
        "task_completed": false,
        "iterations_used": 0,
        "execution_time": 0.0,
        "usage": Usage::default(),
        "error": {"code": error.code(), "message": error.message(), "retryable": error.is_retryable()},
    })
}
