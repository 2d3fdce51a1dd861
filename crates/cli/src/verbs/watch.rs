//! One run from its start to its rest: events shown, questions asked, signals heeded.

use std::io;
use std::time::Duration;

use ambidex_core::event::EventKind;
use ambidex_engine::project::Project;
use ambidex_engine::{RunError, RunHandle, RunResult};
use serde_json::Value;

use crate::approvals::{Approvals, Asked, Said};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Lines;
use crate::interrupts::Interrupts;
use crate::show::Show;

/// Between two frames of the spinner.
const FRAME: Duration = Duration::from_millis(100);

pub type Ended = Result<RunResult, RunError>;

/// Who watches a run, and with what.
pub struct Watcher<'a> {
    pub console: &'a mut Console,
    pub show: &'a mut Show,
    pub interrupts: &'a Interrupts,
    /// Where a person types; made when he is first asked.
    pub lines: &'a mut Option<Lines>,
    /// Questions that were open before the run began.
    pub open: Vec<Asked>,
    pub interactive: bool,
    /// Knows what the tools take.
    pub project: &'a mut Project,
}

/// Watches until the run comes to rest.
///
/// # Errors
/// Stdout cannot be written to; the run was cancelled for it.
pub async fn watch(mut handle: RunHandle, watcher: Watcher<'_>) -> Result<Ended, Failure> {
    let Watcher { console, show, interrupts, lines, open, interactive, project } = watcher;
    let mut events = handle.take_events();
    let token = handle.token();
    interrupts.guard(token.clone());
    let mut approvals = Approvals::default();
    let mut ticker = tokio::time::interval(FRAME);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let spins = show.has_spinner(console);
    let (mut told, mut unwritable) = (false, None);
    if interactive {
        open.into_iter().for_each(|asked| approvals.ask(asked));
        prompt(&approvals, console, true);
    }
    loop {
        if approvals.is_asking() && lines.is_none() {
            *lines = Some(Lines::of_stdin()?);
        }
        let asking = approvals.is_asking() && unwritable.is_none() && !told;
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                if unwritable.is_none()
                    && let Err(error) = show.event(console, &event)
                {
                    handle.cancel();
                    unwritable = Some(error);
                }
                match event.kind {
                    EventKind::ApprovalAsked { id, tool, args, why } if interactive => {
                        let first = !approvals.is_asking();
                        approvals.ask(Asked { id, tool, args, why, reply: None });
                        if first {
                            prompt(&approvals, console, true);
                        }
                    }
                    EventKind::RelayAsked { id, .. } if interactive && !approvals.knows(&id) => {
                        let first = !approvals.is_asking();
                        let open = project.engine().questions().open(Some(handle.id())).await.unwrap_or_default();
                        if let Some(question) = open.into_iter().find(|question| question.id == id) {
                            approvals.ask(Asked::from(question));
                        }
                        if first {
                            prompt(&approvals, console, true);
                        }
                    }
                    EventKind::ApprovalAnswered { id, .. } | EventKind::RelayAnswered { id, .. } => {
                        approvals.withdraw(&id);
                    }
                    _ => {}
                }
            }
            () = token.cancelled(), if !told => {
                told = true;
                console.wipe();
                if unwritable.is_none() {
                    console.say("cancelling; Ctrl-C again ends at once");
                }
            }
            line = typed(lines), if asking => match line {
                Some(line) => {
                    console.prompt_answered();
                    heed(&line, &mut approvals, &handle, project, console).await;
                }
                // Nobody is there any more: the run comes to rest with its question.
                None => {
                    console.wipe();
                    approvals = Approvals::default();
                    if let Err(error) = handle.pause() {
                        console.error(error.message(), None);
                    }
                }
            },
            _ = ticker.tick(), if spins && !asking => show.tick(console),
        }
    }
    let ended = handle.outcome().await;
    interrupts.release();
    match unwritable {
        None => Ok(ended),
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed(Exit::Cancelled)),
        Some(error) => Err(Failure::from_stdout(error)),
    }
}

async fn typed(lines: &mut Option<Lines>) -> Option<String> {
    match lines {
        Some(lines) => lines.next().await,
        None => None,
    }
}

async fn heed(
    line: &str,
    approvals: &mut Approvals,
    handle: &RunHandle,
    project: &mut Project,
    console: &mut Console,
) {
    let mut next = false;
    match approvals.line(line, &mut |tool, args| fits(project, tool, args)) {
        Said::Answered { id, answer } => {
            next = true;
            if let Err(error) = handle.answer(&id, answer).await {
                console.error(&error.to_string(), None);
            }
        }
        Said::Writes { id, text } => {
            // On a terminal he sees what he types.
            if !console.stdout_is_terminal()
                && let Err(error) = project.engine().questions().write(&id, &text)
            {
                console.error(&error.to_string(), None);
            }
        }
        Said::Again(Some(why)) => console.complain(&why),
        Said::Again(None) => {}
    }
    prompt(approvals, console, next);
}

/// Whether the arguments are what a tool takes, so that a slip in an edit does not spend the call. Of a tool
/// that is not the project's, the run itself finds out.
pub fn fits(project: &mut Project, tool: &str, args: &Value) -> Result<(), String> {
    match project.tool(tool) {
        Ok(tool) => tool.check(args).map_err(|error| error.message().to_owned()),
        Err(_) => Ok(()),
    }
}

fn prompt(approvals: &Approvals, console: &mut Console, whole: bool) {
    let paint = console.stderr_paint();
    if let Some(question) = approvals.describe(paint, console.width()) {
        if whole {
            console.wipe();
            console.complain(&question);
        }
        console.prompt(&approvals.prompt(paint));
    }
}
