//! One call of a route: who is asked, who wins, what is given.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote, RaceNote, RouteNote, SwitchNote, SwitchReason};
use ambidex_core::{Chunk, Context, Error, ErrorKind, EventKind, Request, Usage};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::attempt::Attempt;
use super::balancer::Balancer;
use super::few::Few;
use super::hedge::Stagger;
use super::helps::another_target_may_help;
use super::plan::{Plan, Rules, Start};
use super::race::Winner;
use super::target::Target;
use super::valid;
use crate::adapter::truncated;
use crate::prompt_size::prompt_tokens;
use crate::retry::AfterFirstToken;

type Item = Result<Chunk, Error>;

pub(super) struct RouteStream {
    plan: Arc<Plan>,
    rules: Rules,
    /// Those that may still win, in the order they were started; once one has won, that one.
    running: Few<Attempt>,
    /// Whether the one that runs has won: its chunks are given.
    won: bool,
    /// Whether nothing is to be given before what the winner says next.
    passes: bool,
    over: bool,
    attempts: u32,
    /// To be given before anything else.
    ready: Few<Item>,
    /// Targets that were asked or passed over, by their place.
    tried: Few<usize>,
    /// When the next target is started beside those that run, and how long that is after the last one.
    timer: Option<(Pin<Box<Sleep>>, Duration)>,
    /// The first poll.
    started: Option<Instant>,
    /// What the run had waited for people until then.
    waited: Duration,
    trouble: Option<Box<Trouble>>,
    request: Request,
    context: Context,
}

/// What did not go well.
#[derive(Default)]
struct Trouble {
    failures: Vec<(Arc<str>, Error)>,
    /// What failed and lost attempts used.
    spent: Usage,
    /// The prompt is too long for a context of so many tokens.
    too_long_for: Option<u64>,
}

impl RouteStream {
    pub(super) fn new(plan: Arc<Plan>, rules: Rules, request: Request, context: Context) -> Self {
        Self {
            plan,
            rules,
            running: Few::new(),
            won: false,
            passes: false,
            over: false,
            attempts: 0,
            ready: Few::new(),
            tried: Few::new(),
            timer: None,
            started: None,
            waited: Duration::ZERO,
            trouble: None,
            request,
            context,
        }
    }
}

impl Stream for RouteStream {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Nearly all chunks pass here as they lie, so each route on the way costs little.
        if this.passes
            && let Some(winner) = this.running.first_mut()
        {
            let polled = winner.stream.as_mut().poll_next(cx);
            // What failed attempts used is added to what the winner says.
            if this.trouble.is_none() && winner.meter.sees(&polled) {
                return polled;
            }
            return this.look(polled, cx);
        }
        this.poll_slowly(cx)
    }
}

// What is done a few times in a call stays out of line, so that passing a chunk on is short.
impl RouteStream {
    /// Looks at what the winner said.
    #[inline(never)]
    fn look(&mut self, polled: Poll<Option<Item>>, cx: &mut std::task::Context<'_>) -> Poll<Option<Item>> {
        let Some(winner) = self.running.first_mut() else { return polled };
        let item = match ready!(polled) {
            Some(Ok(mut chunk)) if !matches!(chunk, Chunk::End(_)) => {
                winner.see(&chunk);
                if let Chunk::Usage(usage) = &mut chunk
                    && let Some(trouble) = &self.trouble
                {
                    usage.add(&trouble.spent);
                }
                return Poll::Ready(Some(Ok(chunk)));
            }
            item => item,
        };
        match self.ended(item) {
            Some(note) => Poll::Ready(Some(Ok(note))),
            None => self.poll_slowly(cx),
        }
    }

    #[inline(never)]
    fn poll_slowly(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Item>> {
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(self.given());
            } else if self.over {
                return Poll::Ready(None);
            } else if self.started.is_none() {
                self.start();
            } else {
                ready!(self.contest(cx));
            }
        }
    }

    /// What is to be given before anything else: what was held of the winner, then the rest.
    fn given(&mut self) -> Option<Item> {
        if self.won
            && let Some(held) = self.running.first_mut().and_then(|winner| winner.held.pop())
        {
            return Some(Ok(held));
        }
        let item = self.ready.pop();
        self.passes = self.won && self.ready.is_empty();
        item
    }

    fn start(&mut self) {
        let now = Instant::now();
        self.started = Some(now);
        if self.context.time_left().is_some() {
            self.waited = self.context.waited();
        }
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
                    self.lost(place, error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    self.lost(place, cut());
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
            self.attempts += 1;
            if let Some((from, reason)) = why.take() {
                let (route, after) = (self.plan.name.clone(), self.since());
                let note = SwitchNote { route, from, target: target.name.clone(), reason, after };
                self.note(RouteNote::Switched(Box::new(note)));
            }
            let Some(error) = target.rests() else {
                self.begin(target);
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
            self.trouble().failures.push((target.name.clone(), error));
        }
        false
    }

    fn begin(&mut self, target: Arc<Target>) {
        // The first is asked as the call begins.
        let (now, elapsed) = match self.started {
            Some(started) if self.attempts == 1 => (started, Duration::ZERO),
            _ => (Instant::now(), self.used()),
        };
        let counts = self.rules.after_first_token == AfterFirstToken::Fail;
        let alone = self.rules.start == Start::OnFailure || self.plan.targets.len() == 1;
        let mut context = if alone { self.context.clone() } else { self.context.child().beside_others() };
        if let Some(left) = context.time_left().filter(|_| !elapsed.is_zero()) {
            context = context.with_time_left(left.saturating_sub(elapsed));
        }
        let call = (self.request.clone(), context);
        self.running.push(Attempt::new(target, self.attempts, call, !alone, now, counts));
    }

    /// The next target that was not asked and may take the prompt.
    fn pick(&mut self) -> Option<Arc<Target>> {
        loop {
            let next = match &self.plan.balancer {
                Some(balancer) => balancer.next(&self.plan.targets, &self.tried),
                None => (0..self.plan.targets.len()).find(|index| !self.tried.contains(index)),
            }?;
            self.tried.push(next);
            let target = self.plan.targets.get(next)?;
            let context = || target.model.info().context;
            let too_long_for = self.trouble.as_ref().and_then(|trouble| trouble.too_long_for);
            if too_long_for.is_none_or(|short| context().is_some_and(|context| context > short)) {
                return Some(target.clone());
            }
        }
    }

    /// Takes a chunk of one that may still win.
    fn take(&mut self, place: usize, chunk: Chunk) {
        let win = self.rules.win;
        let Some(attempt) = self.running.get_mut(place) else { return };
        attempt.see(&chunk);
        if attempt.answered.is_none() && chunk.is_content() {
            attempt.answered = Some(Instant::now());
        }
        match chunk {
            // Nobody saw what this voids.
            Chunk::Note(RouteNote::Restarted { .. }) => drop(attempt.held.take()),
            Chunk::Note(note) => self.note(note),
            // Told when it wins.
            Chunk::Usage(_) => {}
            Chunk::End(_) if win == Winner::FirstValid => {
                match valid::check(&self.request, attempt.held.iter(), &chunk) {
                    Ok(()) => self.win(place, chunk),
                    Err(error) => self.lost(place, error),
                }
            }
            Chunk::End(_) => self.win(place, chunk),
            chunk if win == Winner::FirstToken && chunk.is_content() => self.win(place, chunk),
            chunk => attempt.hold(chunk),
        }
    }

    /// The attempt at this place has won with this chunk; the others are hung up on.
    fn win(&mut self, place: usize, chunk: Chunk) {
        let losers = self.running.keep(place);
        self.won = true;
        self.timer = None;
        if self.plan.measures
            && let Some(winner) = self.running.first_mut()
            && let Some(time) = winner.first_token()
        {
            winner.target.latency.record(time);
        }
        if self.rules.start != Start::OnFailure && self.attempts > 1 {
            self.beat(losers);
        }
        let spent = self.trouble.as_ref().map(|trouble| trouble.spent).filter(|it| *it != Usage::default());
        let end = matches!(chunk, Chunk::End(_));
        let Some(winner) = self.running.first_mut() else { return };
        // What was held is given first, and where nothing else is, from where it lies.
        if !self.ready.is_empty() || winner.meter.usage.is_some() || spent.is_some() || end {
            for held in winner.held.take() {
                self.ready.push(Ok(held));
            }
            if winner.meter.usage.is_some() || spent.is_some() {
                let mut usage = winner.meter.usage.unwrap_or_default();
                usage.add(&spent.unwrap_or_default());
                self.ready.push(Ok(Chunk::Usage(usage)));
            }
            if end && let Some(note) = self.answered() {
                self.ready.push(Ok(note));
            }
        }
        self.ready.push(Ok(chunk));
    }

    /// Hangs up on those that lost, and tells who won.
    fn beat(&mut self, mut losers: Vec<Attempt>) {
        // Nothing was sent to those that were never polled.
        losers.retain(|loser| loser.meter.asked);
        if let Some(winner) = self.running.last() {
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
            if loser.answered.is_none() && self.plan.measures {
                loser.target.latency.record(loser.took());
            }
            let used = loser.meter.spent(&self.request, loser.target.model.info(), None);
            self.trouble().spent.add(&used);
            let note = loser.note(&self.plan.name, AttemptEnd::Lost, used);
            drop(loser);
            self.note(RouteNote::Attempt(note));
        }
    }

    /// Takes the winner's end, or its failure. What it gives comes next.
    fn ended(&mut self, item: Option<Item>) -> Option<Chunk> {
        self.passes = false;
        let winner = self.running.first_mut()?;
        let error = match item {
            Some(Ok(end)) => {
                winner.see(&end);
                self.ready.push(Ok(end));
                return self.answered();
            }
            Some(Err(error)) => error,
            None if winner.meter.whole => {
                (self.won, self.over) = (false, true);
                self.running.clear();
                return None;
            }
            None => cut(),
        };
        self.won = false;
        let winner = self.running.pop()?;
        self.failed(winner, error, true);
        None
    }

    fn answered(&self) -> Option<Chunk> {
        let winner = self.running.last()?;
        let usage = winner.meter.usage.unwrap_or_default();
        let note = winner.note(&self.plan.name, AttemptEnd::Answered, usage);
        Some(Chunk::Note(RouteNote::Attempt(note)))
    }

    /// The attempt at this place failed before it won.
    fn lost(&mut self, place: usize, error: Error) {
        if let Some(attempt) = self.running.remove(place) {
            self.failed(attempt, error, false);
        }
    }

    /// An attempt failed: the others go on, the next target is asked, or the route has failed.
    fn failed(&mut self, attempt: Attempt, error: Error, won: bool) {
        let now = Instant::now();
        let target = attempt.target.clone();
        let (given, shown, characters) =
            (won && attempt.meter.given, won && attempt.meter.shown, attempt.meter.characters);
        target.take_note(&error, now);
        let used = attempt.meter.spent(&self.request, target.model.info(), Some(&error));
        self.trouble().spent.add(&used);
        // Nobody was asked, so nothing was learned about its speed.
        let skipped = matches!(error.kind(), ErrorKind::BreakerOpen | ErrorKind::Busy);
        if self.plan.balancer.as_ref().is_some_and(Balancer::measures) && !skipped {
            target.latency.record_failure(attempt.took());
        }
        let end = if skipped { AttemptEnd::Skipped } else { AttemptEnd::Failed };
        let note = attempt.note(&self.plan.name, end(error.clone()), used);
        // Hangs up before the next one is asked.
        drop(attempt);
        self.note(RouteNote::Attempt(note));
        if error.kind() == ErrorKind::ContextTooLong {
            let known = target.model.info().context.unwrap_or_else(|| prompt_tokens(&self.request));
            let trouble = self.trouble();
            trouble.too_long_for = Some(trouble.too_long_for.map_or(known, |before| before.max(known)));
        }
        let final_now = shown && self.rules.after_first_token == AfterFirstToken::Fail;
        let error = if final_now { error.after_shown(characters) } else { error };
        let switches = !final_now
            && another_target_may_help(&error)
            && !self.context.is_cancelled()
            && self.context.time_left().is_none_or(|left| self.used() < left);
        self.trouble().failures.push((target.name.clone(), error.clone()));
        self.timer = None;
        if switches && self.rules.start != Start::AtOnce && self.tried.len() < self.plan.targets.len() {
            let restarted = RouteNote::Restarted { target: target.name.clone(), error: error.clone() };
            let (before, spent) = (self.ready.len(), self.trouble().spent);
            if self.begin_next(Some((target.name.clone(), SwitchReason::Failed(error)))) {
                if given {
                    self.ready.insert(before, Ok(Chunk::Note(restarted)));
                    self.ready.insert(before + 1, Ok(Chunk::Usage(spent)));
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
        let failures = std::mem::take(&mut self.trouble().failures);
        let error = combined(&self.plan.name, failures);
        self.end(error);
    }

    fn end(&mut self, error: Error) {
        self.over = true;
        // Whoever is around hears what was spent for nothing.
        if let Some(trouble) = &self.trouble
            && trouble.spent != Usage::default()
        {
            self.ready.push(Ok(Chunk::Usage(trouble.spent)));
        }
        self.ready.push(Err(error));
    }

    fn note(&mut self, note: RouteNote) {
        self.ready.push(Ok(Chunk::Note(note)));
    }

    fn since(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// The part of the time left that is used up: a person's time is not counted.
    fn used(&self) -> Duration {
        self.since().saturating_sub(self.context.waited().saturating_sub(self.waited))
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }
}

impl Drop for RouteStream {
    /// Whoever hung up on the route does not hear its notes any more, so watchers are told directly.
    fn drop(&mut self) {
        if self.running.is_empty() || !self.context.is_watched() {
            return;
        }
        for attempt in self.running.take().filter(|attempt| attempt.meter.asked && !attempt.meter.whole) {
            let used = attempt.meter.spent(&self.request, attempt.target.model.info(), None);
            let note = attempt.note(&self.plan.name, AttemptEnd::Lost, used);
            self.context.emit(EventKind::from(RouteNote::Attempt(note)));
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
