//! What was seen of one row: by the run's caller, its watcher, its tools, and the provider.

use std::time::Duration;

use ambidex::{Event, EventKind, Message, Part, Role, Status};
use ambidex_core::message::Arguments;
use ambidex_fake_provider::{Fault, Hangup, RecordedRequest};

use crate::case::Case;
use crate::scenario::{Line, call};

/// One row, carried out.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: Case,
    /// None where the run did not come to rest in time.
    pub status: Option<Status>,
    /// The code of the failure.
    pub code: Option<String>,
    pub message: String,
    /// Whether the run calls its task completed.
    pub completed: bool,
    pub text: String,
    pub history: Vec<Line>,
    pub watched: Watched,
    /// Calls that reached a tool.
    pub ran: Vec<String>,
    pub provider: AtProvider,
    /// Sockets open after the run that do not rest in the pool.
    pub sockets_held: usize,
    /// Sockets open after the client was dropped.
    pub sockets_left: usize,
    pub took: Duration,
    /// How late this process was at worst to wake up while the row ran: the machine's doing, not the run's.
    pub lateness: Duration,
}

/// What the run's events say.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Per reply, the text that still stands.
    pub shown: Vec<String>,
    pub restarts: usize,
    pub retries: usize,
    /// What `run.finished` says, if it is the last event and the only one of its kind.
    pub finished: Option<Status>,
}

/// What the provider recorded.
#[derive(Clone, Debug, Default)]
pub struct AtProvider {
    pub requests: usize,
    /// Requests the fault struck.
    pub struck: usize,
    /// Requests a strict vendor refuses, and why.
    pub refusals: Vec<String>,
    /// Requests that followed a redirect.
    pub redirected: usize,
    /// Requests after a reply with an item of an unknown kind, and how many of them bring it back.
    pub odd: (usize, usize),
    /// From each struck request to the one after it.
    pub waits: Vec<Duration>,
    /// From each struck request to the hang-up that ended it.
    pub hangups: Vec<Duration>,
}

impl Watched {
    pub fn take(&mut self, event: Event) {
        self.finished = None;
        match event.kind {
            EventKind::ModelStarted { .. } => self.shown.push(String::new()),
            EventKind::ModelDelta { text } => {
                if let Some(shown) = self.shown.last_mut() {
                    shown.push_str(&text);
                }
            }
            EventKind::ModelRestarted { .. } => {
                self.restarts += 1;
                if let Some(shown) = self.shown.last_mut() {
                    shown.clear();
                }
            }
            EventKind::RouteAttempt { .. } => self.retries += 1,
            EventKind::RunFinished { status, .. } => self.finished = Some(status),
            _ => {}
        }
    }
}

impl AtProvider {
    pub fn of(requests: &[RecordedRequest], hangups: &[Hangup]) -> Self {
        let struck = requests.iter().filter(|request| request.fault.is_some());
        let pairs = requests.iter().zip(requests.iter().skip(1));
        let since = |hangup: &Hangup| {
            let request = requests.iter().find(|request| request.number == hangup.request)?;
            request.fault?;
            Some(hangup.at.saturating_duration_since(request.at))
        };
        // The fault's own item, whichever format it is in.
        let is_odd = |request: &&RecordedRequest| request.body.to_string().contains("teleport");
        let later: Vec<_> = match requests.first().and_then(|request| request.fault) {
            Some(Fault::UnknownItem) => requests.iter().skip(1).collect(),
            _ => Vec::new(),
        };
        Self {
            odd: (later.len(), later.into_iter().filter(is_odd).count()),
            requests: requests.len(),
            struck: struck.count(),
            refusals: requests.iter().filter_map(|request| request.refusal.clone()).collect(),
            redirected: requests.iter().filter(|request| request.path.contains("redirected")).count(),
            waits: pairs
                .filter(|(request, _)| request.fault.is_some())
                .map(|(request, next)| next.at.saturating_duration_since(request.at))
                .collect(),
            hangups: hangups.iter().filter_map(since).collect(),
        }
    }
}

/// A history, as far as it is compared.
pub fn lines<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<Line> {
    let mut lines = Vec::new();
    for message in messages {
        match message.role {
            Role::Assistant => lines.push(Line::Assistant {
                text: message.text(),
                calls: message
                    .tool_calls()
                    .map(|it| match &it.arguments {
                        Arguments::Json(arguments) => call(&it.name, arguments),
                        Arguments::Invalid { .. } => format!("{}: broken", it.name),
                    })
                    .collect(),
            }),
            Role::Tool => lines.extend(message.parts.iter().filter_map(|part| match part {
                Part::ToolResult(result) if result.failed => {
                    let code = result.text.split(':').next().unwrap_or_default();
                    Some(Line::Answer(Err(code.to_owned())))
                }
                Part::ToolResult(result) => Some(Line::Answer(Ok(result.text.clone()))),
                _ => None,
            })),
            Role::User | Role::System => lines.push(Line::User(message.text())),
        }
    }
    lines
}
