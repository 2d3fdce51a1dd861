//! One call of a route: who is asked, who wins, what is given.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote, RaceNote, RouteNote, SwitchNote, SwitchReason};
use ambidex_core::{Chunk, Context, Error, ErrorKind, EventKind, Request, Usage};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::attempt::Attempt;
use super::hedge::Stagger;
use super::helps::another_target_may_help;
use super::plan::{Plan, Rules, Start};
use super::race::Winner;
use super::valid;
use crate::adapter::truncated;
use crate::prompt_size::prompt_tokens;
use crate::retry::AfterFirstToken;

pub(super) struct RouteStream {
    plan: Arc<Plan>,
    rules: Rules,
    request: Request,
    context: Context,
    /// The first poll.
    started: Option<Instant>,
    /// What the run had waited for people until then.
    waited: Duration,
    /// Targets that were asked or passed over, by their place.
    tried: Vec<usize>,
    attempts: u32,
    /// Those that may still win, in the order they were started.
    running: Vec<Attempt>,
    /// The one whose chunks are given.
    winner: Option<Attempt>,
    /// When the next target is started beside those that run, and how long that is after the last one.
    timer: Option<(Pin<Box<Sleep>>, Duration)>,
    failures: Vec<(Arc<str>, Error)>,
    /// What failed and lost attempts used.
    spent: Usage,
    /// The prompt is too long for a context of so many tokens.
    too_long_for: Option<u64>,
    /// To be given before anything else.
    ready: VecDeque<Result<Chunk, Error>>,
    over: bool,
}

impl RouteStream {
    pub(super) fn new(plan: Arc<Plan>, rules: Rules, request: Request, context: Context) -> Self {
        Self {
            plan,
            rules,
            request,
            context,
            started: None,
            waited: Duration::ZERO,
            tried: Vec::new(),
            attempts: 0,
            running: Vec::new(),
            winner: None,
            timer: None,
            failures: Vec::new(),
            spent: Usage::default(),
            too_long_for: None,
            ready: VecDeque::new(),
            over: false,
        }
    }
}

impl Stream for RouteStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            if let Some(winner) = &mut this.winner {
                let mut polled = winner.poll(cx);
                // Nearly all chunks pass here, as they lie: each route on the way costs little.
                match &mut polled {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(Chunk::End(_)) | Err(_)) | None) => {}
                    Poll::Ready(Some(Ok(chunk))) => {
                        winner.meter.see(chunk);
                        if let Chunk::Usage(usage) = chunk {
                            usage.add(&this.spent);
                        }
                        return polled;
                    }
                }
                this.pass(ready!(polled));
            } else if this.over {
                return Poll::Ready(None);
            } else if this.started.is_none() {
                this.start();
            } else {
                ready!(this.contest(cx));
            }
        }
    }
}

impl RouteStream {
    fn start(&mut self) {
        self.started = Some(Instant::now());
        self.running.reserve_exact(if self.rules.start == Start::OnFailure {
            1
        } else {
            self.plan.targets.len()
        });
        self.waited = self.context.waited();
        if self.context.is_cancelled() {
            return self.end(Error::cancelled());
        }
        if self.plan.targets.is_empty() {
            let text = format!("the route `{}` has no targets; give it some with `use`", self.plan.name);
            return self.end(Error::new(ErrorKind::ConfigInvalid, text));
        }
        self.begin_next(None);
        while self.rules.start == Start::AtOnce && self.begin_next(None) {}
        if self.running.is_empty() {
            self.give_up();
        }
    }

    /// Polls those that may still win, until one of them says something.
    fn contest(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let mut place = 0;
        while let Some(attempt) = self.running.get_mut(place) {
            match attempt.poll(cx) {
                Poll::Pending => place += 1,
                Poll::Ready(Some(Ok(chunk))) => {
                    self.take(place, chunk);
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(error))) => {
                    let attempt = self.running.remove(place);
                    self.failed(attempt, error, false);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    let attempt = self.running.remove(place);
                    self.failed(attempt, cut(), false);
                    return Poll::Ready(());
                }
            }
        }
        self.poll_timer(cx)
    }

    /// Starts the next target when those before it have had their time.
    fn poll_timer(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let (Start::After(stagger), Some(last)) = (self.rules.start, self.running.last()) else {
            return Poll::Pending;
        };
        if self.tried.len() >= self.plan.targets.len() {
            return Poll::Pending;
        }
        let (timer, limit) = self.timer.get_or_insert_with(|| {
            let limit = match stagger {
                Stagger::Fixed(limit) => limit,
                Stagger::P95 { until_known } => last.target.latency.p95().unwrap_or(until_known),
            };
            (Box::pin(sleep_until(last.began() + limit)), limit)
        });
        ready!(timer.as_mut().poll(cx));
        let why = (last.target.name.clone(), SwitchReason::Slow(*limit));
        self.timer = None;
        self.begin_next(Some(why));
        Poll::Ready(())
    }

    /// Starts the next target that may be asked, if there is one. `why` says what it takes the place of.
    fn begin_next(&mut self, mut why: Option<(Arc<str>, SwitchReason)>) -> bool {
        while let Some(target) = self.pick() {
            let now = Instant::now();
            self.attempts += 1;
            if let Some((from, reason)) = why.take() {
                let (route, after) = (self.plan.name.clone(), self.since());
                let note = SwitchNote { route, from, target: target.name.clone(), reason, after };
                self.note(RouteNote::Switched(Box::new(note)));
            }
            let Some(error) = target.rests(now) else {
                let elapsed = self.used();
                let context = match self.context.time_left() {
                    Some(left) if !elapsed.is_zero() => {
                        self.context.with_time_left(left.saturating_sub(elapsed))
                    }
                    _ => self.context.clone(),
                };
                let alone = self.rules.start == Start::OnFailure;
                let counts = self.rules.after_first_token == AfterFirstToken::Fail;
                let request = self.request.clone();
                self.running.push(Attempt::new(target, self.attempts, request, context, alone, counts));
                return true;
            };
            self.note(RouteNote::Attempt(Box::new(AttemptNote {
                route: self.plan.name.clone(),
                target: target.name.clone(),
                attempt: self.attempts,
                end: AttemptEnd::Skipped(error.clone()),
                took: Duration::ZERO,
                first_token: None,
                usage: Usage::default(),
                wait: None,
            })));
            if self.rules.start != Start::AtOnce {
                why = Some((target.name.clone(), SwitchReason::Failed(error.clone())));
            }
            self.failures.push((target.name.clone(), error));
        }
        false
    }

    /// The next target that was not asked and may take the prompt.
    fn pick(&mut self) -> Option<Arc<super::target::Target>> {
        loop {
            let next = match &self.plan.balancer {
                Some(balancer) => balancer.next(&self.plan.targets, &self.tried),
                None => (0..self.plan.targets.len()).find(|index| !self.tried.contains(index)),
            }?;
            self.tried.push(next);
            let target = self.plan.targets.get(next)?;
            let context = target.model.info().context;
            if self.too_long_for.is_none_or(|short| context.is_some_and(|context| context > short)) {
                return Some(target.clone());
            }
        }
    }

    /// Takes a chunk of one that may still win.
    fn take(&mut self, place: usize, chunk: Chunk) {
        let win = self.rules.win;
        let Some(attempt) = self.running.get_mut(place) else { return };
        attempt.meter.see(&chunk);
        if attempt.first_token.is_none() && chunk.is_content() {
            attempt.first_token = Some(attempt.took());
        }
        match chunk {
            // Nobody saw what this voids.
            Chunk::Note(RouteNote::Restarted { .. }) => attempt.held.clear(),
            Chunk::Note(note) => self.note(note),
            // Told when it wins.
            Chunk::Usage(_) => {}
            Chunk::End(_) if win == Winner::FirstValid => {
                match valid::check(&self.request, &attempt.held, &chunk) {
                    Ok(()) => self.win(place, chunk),
                    Err(error) => {
                        let attempt = self.running.remove(place);
                        self.failed(attempt, error, false);
                    }
                }
            }
            Chunk::End(_) => self.win(place, chunk),
            chunk if win == Winner::FirstToken && chunk.is_content() => self.win(place, chunk),
            chunk => attempt.held.push(chunk),
        }
    }

    /// The attempt at this place has won with this chunk; the others are hung up on.
    fn win(&mut self, place: usize, chunk: Chunk) {
        let mut winner = self.running.remove(place);
        let mut losers = std::mem::take(&mut self.running);
        // Nothing was sent to those that were never polled.
        losers.retain(|loser| loser.meter.asked);
        self.timer = None;
        if let Some(time) = winner.first_token
            && self.measures()
        {
            winner.target.latency.record(time);
        }
        if self.rules.start != Start::OnFailure && self.attempts > 1 {
            let note = RaceNote {
                route: self.plan.name.clone(),
                winner: winner.target.name.clone(),
                reason: self.rules.win.word(),
                after: self.since(),
                losers: losers.iter().map(|loser| loser.target.name.clone()).collect(),
            };
            self.note(RouteNote::Race(Box::new(note)));
        }
        for loser in losers {
            if loser.first_token.is_none() && self.measures() {
                loser.target.latency.record(loser.took());
            }
            let used = loser.meter.spent(&self.request, loser.target.model.info(), None);
            self.spent.add(&used);
            let note = loser.note(&self.plan.name, AttemptEnd::Lost, used);
            drop(loser);
            self.note(RouteNote::Attempt(note));
        }
        self.ready.extend(winner.held.drain(..).map(Ok));
        if winner.meter.usage.is_some() || self.spent != Usage::default() {
            let mut usage = winner.meter.usage.unwrap_or_default();
            usage.add(&self.spent);
            self.ready.push_back(Ok(Chunk::Usage(usage)));
        }
        if matches!(chunk, Chunk::End(_)) {
            self.answered(&winner);
        }
        self.ready.push_back(Ok(chunk));
        self.winner = Some(winner);
    }

    /// Takes the winner's end, or its failure.
    fn pass(&mut self, item: Option<Result<Chunk, Error>>) {
        let Some(mut winner) = self.winner.take() else { return };
        match item {
            Some(Ok(end)) => {
                winner.meter.see(&end);
                self.answered(&winner);
                self.winner = Some(winner);
                self.ready.push_back(Ok(end));
            }
            Some(Err(error)) => self.failed(winner, error, true),
            None if winner.meter.whole => self.over = true,
            None => self.failed(winner, cut(), true),
        }
    }

    fn answered(&mut self, winner: &Attempt) {
        let usage = winner.meter.usage.unwrap_or_default();
        let note = winner.note(&self.plan.name, AttemptEnd::Answered, usage);
        self.note(RouteNote::Attempt(note));
    }

    /// An attempt failed: the others go on, the next target is asked, or the route has failed.
    fn failed(&mut self, attempt: Attempt, error: Error, won: bool) {
        let now = Instant::now();
        let target = attempt.target.clone();
        let (given, shown, characters) =
            (won && attempt.meter.given, won && attempt.meter.shown, attempt.meter.characters);
        target.take_note(&error, now);
        let used = attempt.meter.spent(&self.request, target.model.info(), Some(&error));
        self.spent.add(&used);
        // Nobody was asked, so nothing was learned about its speed.
        let skipped = matches!(error.kind(), ErrorKind::BreakerOpen | ErrorKind::Busy);
        if self.plan.balancer.is_some() && !skipped {
            target.latency.record_failure(attempt.took());
        }
        let end = if skipped { AttemptEnd::Skipped } else { AttemptEnd::Failed };
        let note = attempt.note(&self.plan.name, end(error.clone()), used);
        // Hangs up before the next one is asked.
        drop(attempt);
        self.note(RouteNote::Attempt(note));
        if error.kind() == ErrorKind::ContextTooLong {
            let known = target.model.info().context.unwrap_or_else(|| prompt_tokens(&self.request));
            self.too_long_for = Some(self.too_long_for.map_or(known, |before| before.max(known)));
        }
        let final_now = shown && self.rules.after_first_token == AfterFirstToken::Fail;
        let error = if final_now { error.after_shown(characters) } else { error };
        let switches = !final_now
            && another_target_may_help(&error)
            && !self.context.is_cancelled()
            && self.context.time_left().is_none_or(|left| self.used() < left);
        self.failures.push((target.name.clone(), error.clone()));
        self.timer = None;
        if switches && self.rules.start != Start::AtOnce && self.tried.len() < self.plan.targets.len() {
            let restarted = RouteNote::Restarted { target: target.name.clone(), error: error.clone() };
            let before = self.ready.len();
            if self.begin_next(Some((target.name.clone(), SwitchReason::Failed(error)))) {
                if given {
                    self.ready.insert(before, Ok(Chunk::Note(restarted)));
                    self.ready.insert(before + 1, Ok(Chunk::Usage(self.spent)));
                }
                return;
            }
        }
        if self.running.is_empty() {
            self.give_up();
        }
    }

    /// No target is left.
    fn give_up(&mut self) {
        let error = combined(&self.plan.name, std::mem::take(&mut self.failures));
        self.end(error);
    }

    fn end(&mut self, error: Error) {
        self.over = true;
        // Whoever is around hears what was spent for nothing.
        if self.spent != Usage::default() {
            self.ready.push_back(Ok(Chunk::Usage(self.spent)));
        }
        self.ready.push_back(Err(error));
    }

    fn note(&mut self, note: RouteNote) {
        self.ready.push_back(Ok(Chunk::Note(note)));
    }

    fn since(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// The part of the time left that is used up: a person's time is not counted.
    fn used(&self) -> Duration {
        self.since().saturating_sub(self.context.waited().saturating_sub(self.waited))
    }

    /// Whether anything of this route depends on first-token times.
    fn measures(&self) -> bool {
        self.plan.balancer.is_some() || matches!(self.rules.start, Start::After(Stagger::P95 { .. }))
    }
}

impl Drop for RouteStream {
    /// Whoever hung up on the route does not hear its notes any more, so watchers are told directly.
    fn drop(&mut self) {
        if !self.context.is_watched() {
            return;
        }
        let open = self.running.drain(..).chain(self.winner.take());
        for attempt in open.filter(|attempt| attempt.meter.asked && !attempt.meter.whole) {
            let used = attempt.meter.spent(&self.request, attempt.target.model.info(), None);
            let note = attempt.note(&self.plan.name, AttemptEnd::Lost, used);
            self.context.emit(EventKind::from(&RouteNote::Attempt(note)));
        }
    }
}

fn cut() -> Error {
    truncated("it ends without its end")
}

/// The error of a route whose targets all failed: the last that was really asked, with the others named. A
/// retry may help if it may at one of them, and then when the first of them is free.
fn combined(route: &str, mut failures: Vec<(Arc<str>, Error)>) -> Error {
    let asked = |error: &Error| !matches!(error.kind(), ErrorKind::BreakerOpen | ErrorKind::Busy);
    let place = failures.iter().rposition(|(_, error)| asked(error));
    let Some(place) = place.or(failures.len().checked_sub(1)) else {
        // Only targets whose context is too small were left.
        return Error::new(ErrorKind::ContextTooLong, format!("route `{route}`: no target takes the prompt"));
    };
    let (name, error) = failures.remove(place);
    if failures.is_empty() || error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let others: Vec<String> = failures.iter().map(|(name, error)| format!("`{name}`: {error}")).collect();
    let words = format!("route `{route}`: no target answered; {}; `{name}`", others.join("; "));
    if !another_target_may_help(&error) || error.shown().is_some() {
        return error.context(words);
    }
    let retryable: Vec<&Error> =
        failures.iter().map(|(_, error)| error).chain([&error]).filter(|it| it.is_retryable()).collect();
    let waits: Option<Vec<Duration>> = retryable.iter().map(|error| error.retry_after()).collect();
    let (any, wait) = (!retryable.is_empty(), waits.and_then(|waits| waits.into_iter().min()));
    error.context(words).retryable(any).with_retry_after(wait)
}
