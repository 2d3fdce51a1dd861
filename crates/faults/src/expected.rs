//! What is due in each row. Written down fault by fault, not worked out from what happened.

use std::time::Duration;

use ambidex_fake_provider::{Fault, Wire};
use serde_json::{Value, json};

use crate::case::{Case, Strikes};
use crate::scenario::{GO_ON, Line, TASK, call, halves, is_in_a_call, result, turns};

/// What a fault asks of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The answer arrives as it was sent, at the first attempt.
    Whole,
    /// There is no answer: tried again, and in the end a failure with one of these codes.
    Again { codes: &'static [&'static str], text: Text, wait: Duration },
    /// A failure with this code, at once.
    Fail { code: &'static str },
    /// The call does not run, and the model is told this code.
    Withhold { code: &'static str },
    /// The reply is whole but cut by the token limit: gone on with, never a result.
    GoOn,
}

/// Whether a watcher saw something of the answer before it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    NotShown,
    Shown,
    /// A reset discards what the kernel has not handed over yet.
    Perhaps,
}

const NOW: Duration = Duration::ZERO;
const TRUNCATED: &[&str] = &["stream_truncated"];
const BAD: &[&str] = &["bad_upstream"];
const UNREACHED: &[&str] = &["connect_failed"];
const LIMITED: &[&str] = &["rate_limited"];
const FAILED: &[&str] = &["provider_error"];
const OVERLOADED: &[&str] = &["overloaded"];
const TIMEOUT: &[&str] = &["timeout"];
const IDLE: &[&str] = &["idle_timeout"];

/// What is due for this fault.
pub fn due(fault: Fault, wire: Wire) -> Due {
    use Fault::*;
    let again = |codes, text| Due::Again { codes, text, wait: NOW };
    let later =
        |codes, millis| Due::Again { codes, text: Text::NotShown, wait: Duration::from_millis(millis) };
    match fault {
        TruncateClean | TruncateFin | TruncateMidEvent | TruncateMidEventFin | TruncateUntilClose
        | ShortBody | MissingFinish | MissingMessageStop | DoneWithoutFinish => again(TRUNCATED, Text::Shown),
        // A reset may overtake the head.
        TruncateReset => again(&["stream_truncated", "connect_failed"], Text::Perhaps),
        ResetAfterHead => again(&["stream_truncated", "connect_failed"], Text::NotShown),
        CloseBeforeResponse | ResetBeforeResponse | TruncateHead => again(UNREACHED, Text::NotShown),
        GarbageChunkSize => again(BAD, Text::NotShown),

        StallBeforeHead | StallAfterHead | StallPingsFirst => again(TIMEOUT, Text::NotShown),
        StallSilent | StallPings | StallAtEnd => again(IDLE, Text::Shown),

        SplitUtf8 | ByteByByte | OneChunk | Crlf | CrlfSplit | Comments | NoSpaceAfterColon
        | ByteOrderMark | MissingLastBlankLine | MissingDone | GarbageLine | UnknownEvent | UnknownItem => {
            Due::Whole
        }
        ArgumentsEmpty | DuplicateIdEqual => Due::Whole,

        GarbageData | Html200 | HtmlEventStream | Empty200 | JsonNotReply | HugeEvent | DeepJson => {
            again(BAD, Text::NotShown)
        }
        MalformedCall => again(BAD, Text::NotShown),
        HugeAnswer | DuplicateIdUnequal => again(BAD, Text::Shown),
        Redirect301 | Redirect302 | Redirect307 => Due::Fail { code: "bad_upstream" },

        RateLimitSeconds => later(LIMITED, 1000),
        // A date has whole seconds: of the two it is ahead at most one is lost.
        RateLimitDate => later(LIMITED, 1000),
        RateLimitInBody | RateLimitInStream => later(LIMITED, 1200),
        RateLimitFraction | RateLimitMillis => later(LIMITED, 200),
        RateLimitPastDate | RateLimitMissing | RateLimitInvalid | RateLimitNegative => later(LIMITED, 0),
        RateLimitHuge | RateLimitInBodyHuge => Due::Fail { code: "rate_limited" },
        QuotaExhausted => Due::Fail { code: "quota_exhausted" },

        Status400 | Status413 | Status422 => Due::Fail { code: "invalid_request" },
        Status401 => Due::Fail { code: "unauthorized" },
        Status403 => Due::Fail { code: "forbidden" },
        Status404 => Due::Fail { code: "not_found" },
        Status408 => again(TIMEOUT, Text::NotShown),
        Status500 | Status502 | Status504 => again(FAILED, Text::NotShown),
        Status503 => later(OVERLOADED, 1000),
        Status529 => again(OVERLOADED, Text::NotShown),

        ErrorEventFirst => match wire {
            Wire::Anthropic => again(OVERLOADED, Text::NotShown),
            _ => again(FAILED, Text::NotShown),
        },
        ErrorEventMid => match wire {
            Wire::Anthropic => again(OVERLOADED, Text::Shown),
            _ => again(FAILED, Text::Shown),
        },
        ResponseFailed => again(FAILED, Text::Shown),
        ErrorBody200 => again(FAILED, Text::NotShown),
        ErrorEventTyped => Due::Fail { code: "context_too_long" },

        ArgumentsCut | ArgumentsCutUnsaid | ArgumentsNotJson | ArgumentsNotObject | DeepArguments => {
            Due::Withhold { code: "invalid_arguments" }
        }
        UnknownTool => Due::Withhold { code: "unknown_tool" },

        FinishLength => Due::GoOn,
        // Anthropic has one stop reason for both.
        ContentFilter => match wire {
            Wire::Anthropic => Due::Fail { code: "refused" },
            _ => Due::Fail { code: "content_filter" },
        },
        PromptBlocked => Due::Fail { code: "content_filter" },
        Refusal => Due::Fail { code: "refused" },
    }
}

/// Whether a broken connection is replaced unseen: one from the pool may have been closed by a provider
/// that never saw the request.
pub fn may_be_replaced_unseen(fault: Fault) -> bool {
    use Fault::*;
    matches!(fault, CloseBeforeResponse | ResetBeforeResponse | TruncateHead | ResetAfterHead)
}

/// Turns whose first attempt the fault strikes.
pub fn struck_turns(fault: Fault) -> usize {
    turns().iter().filter(|says| !is_in_a_call(fault) || !says.calls.is_empty()).count()
}

/// How a run that is due to come to its end says it: the text of each turn, and the whole history.
pub struct Story {
    pub history: Vec<Line>,
    /// What a watcher has seen of each reply in the end.
    pub shown: Vec<String>,
    /// Calls that reach a tool, in the order of the replies.
    pub ran: Vec<String>,
    pub text: String,
}

/// The story of a run that succeeds in this row.
pub fn story(case: Case) -> Story {
    let due = due(case.fault, case.wire);
    let mut story =
        Story { history: vec![Line::User(TASK.to_owned())], shown: vec![], ran: vec![], text: String::new() };
    for (number, says) in turns().into_iter().enumerate() {
        let struck = number == 0 || case.strikes == Strikes::Always;
        let calls: Vec<Call> =
            says.calls.into_iter().map(|(name, arguments)| Call { name, arguments }).collect();
        if due == Due::GoOn && calls.is_empty() {
            let (half, rest) = halves(says.text);
            story.says(&half, &[], &[]);
            story.history.push(Line::User(GO_ON.to_owned()));
            story.says(&rest, &[], &[]);
            story.text = half + &rest;
            continue;
        }
        let calls = if struck && !calls.is_empty() { broken(case.fault, calls) } else { Broken::none(calls) };
        story.says(says.text, &calls.lines, &calls.answers);
        story.ran.extend(calls.ran);
        story.text = says.text.to_owned();
    }
    story
}

impl Story {
    fn says(&mut self, text: &str, calls: &[String], answers: &[Result<String, String>]) {
        self.shown.push(text.to_owned());
        self.history.push(Line::Assistant { text: text.to_owned(), calls: calls.to_vec() });
        self.history.extend(answers.iter().cloned().map(Line::Answer));
    }
}

struct Call {
    name: &'static str,
    arguments: Value,
}

/// The calls of a reply, their answers, and which of them ran.
struct Broken {
    lines: Vec<String>,
    answers: Vec<Result<String, String>>,
    ran: Vec<String>,
}

impl Broken {
    fn none(calls: Vec<Call>) -> Self {
        let lines: Vec<_> = calls.iter().map(|it| call(it.name, &it.arguments)).collect();
        let answers = calls.iter().map(|it| Ok(result(it.name, &it.arguments))).collect();
        Self { ran: lines.clone(), lines, answers }
    }

    /// The first call is as `line` and fails with `code`; the others go well.
    fn first(line: String, code: &str, rest: Vec<Call>) -> Self {
        let mut all = Self::none(rest);
        all.lines.insert(0, line);
        all.answers.insert(0, Err(code.to_owned()));
        all
    }
}

/// What such a fault makes of a reply's calls: it strikes the first.
fn broken(fault: Fault, calls: Vec<Call>) -> Broken {
    let mut rest = calls;
    if rest.is_empty() {
        return Broken::none(rest);
    }
    match fault {
        // Nothing comes after a call that is cut.
        Fault::ArgumentsCut | Fault::ArgumentsCutUnsaid => {
            let first = rest.remove(0);
            Broken::first(format!("{}: broken", first.name), "invalid_arguments", vec![])
        }
        Fault::ArgumentsNotJson | Fault::ArgumentsNotObject | Fault::DeepArguments => {
            let first = rest.remove(0);
            Broken::first(format!("{}: broken", first.name), "invalid_arguments", rest)
        }
        Fault::UnknownTool => {
            let first = rest.remove(0);
            Broken::first(call("no_such_tool", &first.arguments), "unknown_tool", rest)
        }
        Fault::ArgumentsEmpty => {
            rest[0].arguments = json!({});
            Broken::none(rest)
        }
        _ => Broken::none(rest),
    }
}
