//! Compares what was seen of a row with what is due.

use std::fmt;
use std::time::Duration;

use ambidex::Status;

use crate::case::Strikes;
use crate::expected::{Due, Text, due, may_be_replaced_unseen, story, struck_turns};
use crate::limits;
use crate::run::KEY;
use crate::scenario::{Line, MAX_ITERATIONS, TASK, turns};
use crate::seen::Row;

/// Attempts of one call, as the retry layer has them by default.
const ATTEMPTS: usize = 3;
/// A wait is kept in whole milliseconds.
const WAIT_ACCURACY: Duration = Duration::from_millis(5);
/// A failure «at once» takes less than this.
const AT_ONCE: Duration = Duration::from_secs(10);

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The run ended otherwise than is due.
    Outcome,
    /// It was called a success, but is not what the model said.
    NotWhole,
    /// A tool ran on arguments that did not come whole.
    PartialArguments,
    /// Other calls ran than should have.
    Tools,
    /// History holds other messages than should be there.
    History,
    /// What a provider sent was not sent back to it.
    Dropped,
    /// Events do not tell what happened.
    Events,
    /// Too many or too few requests.
    Attempts,
    /// Tried again sooner than the provider asked, or waited where nothing was to be waited for.
    Wait,
    /// A stall lasted longer than its limit and the grace.
    Stall,
    /// An answer that was given up was not hung up on.
    HangUp,
    Sockets,
    Redirect,
    /// A strict vendor refuses our request.
    Refused,
    /// A message shows the key, or is no message.
    Message,
    /// The run did not come to rest.
    Hung,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn check(&mut self, holds: bool, kind: Kind, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { kind, detail: detail() });
        }
    }
}

/// Everything that is wrong with a row; nothing where all holds.
pub fn violations(row: &Row) -> Vec<Violation> {
    let mut found = Findings::default();
    let due = due(row.case.fault, row.case.wire);
    everywhere(row, &mut found);
    match (due, row.case.strikes) {
        (Due::Whole | Due::Withhold { .. }, _) => {
            succeeded(row, &mut found);
            attempts(row, turns().len(), &mut found);
            retries(row, 0, 0, &mut found);
        }
        (Due::Again { text, wait, .. }, Strikes::First) => {
            succeeded(row, &mut found);
            let struck = struck_turns(row.case.fault);
            attempts_after_faults(row, turns().len() + struck, &mut found);
            tried_again(row, text, struck, &mut found);
            waited(row, wait, &mut found);
        }
        (Due::Again { codes, text, wait }, Strikes::Always) => {
            failed(row, codes, &mut found);
            nothing_came_of_it(row, &mut found);
            attempts(row, ATTEMPTS, &mut found);
            tried_again(row, text, ATTEMPTS - 1, &mut found);
            waited(row, wait, &mut found);
        }
        (Due::Fail { code }, _) => {
            failed(row, &[code], &mut found);
            attempts(row, 1, &mut found);
            retries(row, 0, 0, &mut found);
            found.check(row.took < AT_ONCE, Kind::Wait, || format!("failed after {:?}", row.took));
            found.check(row.ran.is_empty(), Kind::Tools, || format!("ran {:?}", row.ran));
        }
        (Due::GoOn, Strikes::First) => {
            succeeded(row, &mut found);
            attempts(row, turns().len() + 1, &mut found);
            retries(row, 0, 0, &mut found);
        }
        (Due::GoOn, Strikes::Always) => {
            let paused = row.status == Some(Status::Paused) && !row.completed;
            found.check(paused, Kind::NotWhole, || {
                format!("{:?}, completed: {}, where every reply is cut", row.status, row.completed)
            });
            attempts(row, MAX_ITERATIONS as usize, &mut found);
        }
    }
    found.0
}

/// What holds whatever the fault.
fn everywhere(row: &Row, found: &mut Findings) {
    found.check(row.status.is_some(), Kind::Hung, || format!("no end within {:?}", limits::ROW));
    let at_rest = row.status.is_none_or(|status| !status.is_final());
    found.check(at_rest || row.watched.finished == row.status, Kind::Events, || {
        format!("run.finished says {:?}, the result {:?}", row.watched.finished, row.status)
    });
    let provider = &row.provider;
    found.check(provider.struck > 0, Kind::Attempts, || "the fault never struck".into());
    found.check(provider.refusals.is_empty(), Kind::Refused, || provider.refusals.join("; "));
    found.check(provider.redirected == 0, Kind::Redirect, || format!("{} followed", provider.redirected));
    found.check(row.sockets_held == 0 && row.sockets_left == 0, Kind::Sockets, || {
        format!("{} open after the run, {} after the client", row.sockets_held, row.sockets_left)
    });
    let (later, kept) = provider.odd;
    found.check(later == kept, Kind::Dropped, || {
        format!("{kept} of {later} requests bring an item of an unknown kind back")
    });
    let fit = !row.message.contains(KEY) && (10..1000).contains(&row.message.len());
    found.check(row.code.is_none() || fit, Kind::Message, || row.message.clone());
    let whole = story(row.case).ran;
    for call in &row.ran {
        found.check(whole.contains(call), Kind::PartialArguments, || call.clone());
    }
    // Of other answers the rest may have been sent already when they are given up.
    if limits::of_silence(row.case.fault).is_some() {
        found.check(provider.hangups.len() == provider.struck, Kind::HangUp, || {
            format!("{} answers given up, {} hang-ups seen", provider.struck, provider.hangups.len())
        });
    }
    for beyond in stalls(row) {
        // A hang-up takes four steps: the timer, the connection's task, the kernel, the provider's task.
        let allowed = limits::GRACE + row.lateness * 4;
        found.check(beyond <= allowed, Kind::Stall, || {
            format!("{beyond:?} beyond the limit, this process being {:?} late at worst", row.lateness)
        });
    }
}

/// How long each stall lasted beyond its limit.
pub fn stalls(row: &Row) -> impl Iterator<Item = Duration> {
    let limit = limits::of_silence(row.case.fault);
    let lasted = row.provider.hangups.iter().filter(move |_| limit.is_some());
    lasted.map(move |lasted| lasted.saturating_sub(limit.unwrap_or_default()))
}

fn succeeded(row: &Row, found: &mut Findings) {
    let story = story(row.case);
    let success = row.status == Some(Status::Succeeded) && row.completed && row.code.is_none();
    found.check(success, Kind::Outcome, || {
        format!("{:?} {}, completed: {}, where success is due", row.status, row.message, row.completed)
    });
    let same = row.text == story.text && row.history == story.history;
    let kind = if success { Kind::NotWhole } else { Kind::History };
    found.check(same, kind, || difference(&row.history, &story.history));
    let (mut ran, mut due) = (row.ran.clone(), story.ran);
    ran.sort();
    due.sort();
    found.check(ran == due, Kind::Tools, || format!("ran {ran:?}, due {due:?}"));
    found.check(row.watched.shown == story.shown, Kind::Events, || {
        format!("watchers are left with {}", short(&row.watched.shown))
    });
}

fn failed(row: &Row, codes: &[&str], found: &mut Findings) {
    let code = row.code.as_deref().unwrap_or("no failure");
    let right = row.status == Some(Status::Failed) && codes.contains(&code);
    let kind = if row.status == Some(Status::Succeeded) { Kind::NotWhole } else { Kind::Outcome };
    found.check(right, kind, || format!("{code}, due {} ({})", codes.join(" or "), row.message));
    found.check(!row.completed, Kind::NotWhole, || "a failed run calls its task completed".into());
}

/// Of an answer that never came whole nothing stays.
fn nothing_came_of_it(row: &Row, found: &mut Findings) {
    found.check(row.ran.is_empty(), Kind::Tools, || format!("ran {:?}", row.ran));
    let task = [Line::User(TASK.to_owned())];
    found.check(row.history == task, Kind::History, || difference(&row.history, &task));
}

fn attempts(row: &Row, due: usize, found: &mut Findings) {
    let seen = row.provider.requests;
    found.check(seen == due, Kind::Attempts, || format!("{seen} requests, due {due}"));
}

/// On a busy machine the short limits of a stall may strike an attempt that was not meant.
fn attempts_after_faults(row: &Row, due: usize, found: &mut Findings) {
    let seen = row.provider.requests;
    let most = if limits::of_silence(row.case.fault).is_some() { due + turns().len() } else { due };
    found.check((due..=most).contains(&seen), Kind::Attempts, || format!("{seen} requests, due {due}"));
}

/// Every further attempt is told, and so is every text that it makes void.
fn tried_again(row: &Row, text: Text, times: usize, found: &mut Findings) {
    let calls = if row.case.strikes == Strikes::First { turns().len() } else { 1 };
    let again = row.provider.requests.saturating_sub(calls);
    let least = if may_be_replaced_unseen(row.case.fault) { 1 } else { again };
    let told = row.watched.retries;
    found.check((least..=again).contains(&told), Kind::Events, || {
        format!("{told} times route.attempt for {again} further attempts")
    });
    let restarts = row.watched.restarts;
    // Attempts that were struck by nothing but a busy machine.
    let not_meant = again.saturating_sub(times);
    let right = match text {
        Text::NotShown => restarts <= not_meant,
        Text::Shown => restarts >= times && restarts <= again,
        Text::Perhaps => restarts <= again,
    };
    found
        .check(right, Kind::Events, || format!("{restarts} times model.restarted in {times} broken replies"));
}

fn retries(row: &Row, retries: usize, restarts: usize, found: &mut Findings) {
    let watched = &row.watched;
    found.check(watched.retries == retries && watched.restarts == restarts, Kind::Events, || {
        format!("{} times route.attempt, {} times model.restarted", watched.retries, watched.restarts)
    });
}

fn waited(row: &Row, asked: Duration, found: &mut Findings) {
    for wait in &row.provider.waits {
        found.check(*wait + WAIT_ACCURACY >= asked, Kind::Wait, || format!("{wait:?}, asked for {asked:?}"));
    }
}

fn difference(seen: &[Line], due: &[Line]) -> String {
    let at = seen.iter().zip(due).position(|(seen, due)| seen != due).unwrap_or(seen.len().min(due.len()));
    let show = |lines: &[Line]| lines.get(at).map_or("nothing".to_owned(), short);
    format!("message {at} is {}, due {}", show(seen), show(due))
}

fn short(value: &(impl fmt::Debug + ?Sized)) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
