//! One attempt of one call, as a stream: send, read, decode, under the limits of time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use ambidex_core::{BoxFuture, Chunk, Context, Error, ErrorKind, Request, Usage};
use ambidex_http::{
    Body, EventStream, HeaderMap, HttpError, HttpErrorKind, IdleLimit, LineDecoder, Response, TimeoutPhase,
    header, retry_after,
};
use futures_core::Stream;
use serde::de::IgnoredAny;
use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep, timeout};

use crate::adapter::{Decoder, Framing, Seen, truncated};
use crate::call_ids::CallIds;
use crate::failure;
use crate::provider::Shared;

/// Bytes of content one answer may have.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of a body that tells of an error.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How long such a body is waited for.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);
/// How long the body's end is waited for after the reply's, so that its connection can be used again.
const END_TIME: Duration = Duration::from_millis(100);
/// Events read before what they gave is passed on.
const EVENTS_AT_ONCE: usize = 64;
/// Bytes per token where the provider counts none.
const BYTES_PER_TOKEN: u64 = 4;

pub(crate) struct ReplyStream {
    shared: Arc<Shared>,
    state: State,
    /// Chunks of the event under way.
    fresh: Vec<Chunk>,
    /// Chunks to be given.
    ready: VecDeque<Chunk>,
    /// Given after them.
    error: Option<Error>,
    deadline: Option<Pin<Box<Sleep>>>,
    request_id: Option<String>,
    sent: u64,
    received: usize,
    counted: bool,
    calls: CallIds,
}

enum State {
    Start {
        request: Request,
        context: Context,
    },
    Opening(BoxFuture<'static, Result<Opened, Error>>),
    Reading(Box<Reading>),
    /// The reply is whole; its connection is read to the end.
    Ending {
        reading: Box<Reading>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Over,
}

struct Reading {
    events: EventStream<Response>,
    decoder: Box<dyn Decoder>,
    any_event: bool,
    /// The limits once content has come.
    idle: Option<IdleLimit>,
}

struct Opened {
    request_id: Option<String>,
    body: OpenedBody,
}

enum OpenedBody {
    Events(Box<Reading>),
    Whole(Vec<Chunk>, Option<Error>),
}

impl ReplyStream {
    pub(crate) fn new(shared: Arc<Shared>, request: Request, context: Context) -> Self {
        Self {
            shared,
            state: State::Start { request, context },
            fresh: Vec::new(),
            ready: VecDeque::new(),
            error: None,
            deadline: None,
            request_id: None,
            sent: 0,
            received: 0,
            counted: false,
            calls: CallIds::default(),
        }
    }

    fn start(&mut self, request: &Request, context: &Context) -> Result<(), Error> {
        if context.is_cancelled() {
            return Err(Error::cancelled());
        }
        let (body, first_token) = self.shared.prepare(request, context)?;
        self.sent = body.len();
        let total = self.shared.timeouts.total;
        let limit = context.time_left().map_or(total, |left| left.min(total));
        self.deadline = Some(Box::pin(sleep(limit)));
        self.state = State::Opening(Box::pin(open(self.shared.clone(), body, first_token)));
        Ok(())
    }

    /// Counts and prices what one event gave. Pieces of one part that came in together are one.
    ///
    /// # Errors
    /// The reply came to its end, but is none: the end is not given.
    fn take(&mut self) -> Result<(), Error> {
        let mut fresh = std::mem::take(&mut self.fresh);
        let taken = fresh.drain(..).try_for_each(|mut chunk| {
            self.calls.take(&chunk)?;
            match &mut chunk {
                Chunk::Text { text, .. }
                | Chunk::Reasoning { text, .. }
                | Chunk::Refusal { text, .. }
                | Chunk::Arguments { text, .. } => self.received += text.len(),
                Chunk::Usage(usage) => {
                    self.counted = true;
                    usage.usd = self.shared.info.price.map(|price| price.cost(usage));
                }
                Chunk::End(_) if !self.counted => {
                    self.counted = true;
                    self.ready.push_back(Chunk::Usage(self.estimate()));
                }
                _ => {}
            }
            if !self.ready.back_mut().is_some_and(|last| last.join(&chunk)) {
                self.ready.push_back(chunk);
            }
            Ok(())
        });
        self.fresh = fresh;
        taken
    }

    /// The usage of a reply whose provider counted nothing.
    fn estimate(&self) -> Usage {
        let output_tokens = (self.received as u64).div_ceil(BYTES_PER_TOKEN);
        let input_tokens = self.sent.div_ceil(BYTES_PER_TOKEN);
        let mut usage = Usage { input_tokens, output_tokens, estimated: true, ..Usage::default() };
        usage.usd = self.shared.info.price.map(|price| price.cost(&usage));
        usage
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Over;
        self.error = Some(self.named(error));
    }

    fn named(&self, error: Error) -> Error {
        let provider = &self.shared.info.provider;
        let id = error.request_id().map(str::to_owned).or_else(|| self.request_id.clone());
        let error =
            if error.message().starts_with(provider.as_str()) { error } else { error.context(provider) };
        error.with_provider(provider.as_str()).with_request_id(id)
    }

    fn poll_deadline(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Error> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(poll_timer(deadline, cx));
        let text = "the call took longer than its limit of time; raise `timeout.total` or the run's deadline";
        Poll::Ready(Error::new(ErrorKind::Timeout, text))
    }

    /// Reads what events there are, and waits for one where there is none.
    fn read(&mut self, mut reading: Box<Reading>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        for events in 1.. {
            let event = match reading.events.poll_next(cx) {
                Poll::Ready(event) => event,
                Poll::Pending if !self.ready.is_empty() => break,
                Poll::Pending => {
                    let error = self.poll_deadline(cx);
                    self.state = State::Reading(reading);
                    self.fail(ready!(error));
                    return Poll::Ready(());
                }
            };
            let chunks = &mut self.fresh;
            let result = match event {
                Ok(Some(event)) => {
                    reading.any_event = true;
                    let seen = reading.decoder.event(event.event.as_deref(), &event.data, chunks);
                    // The decoder keeps it for later, so it counts now.
                    if chunks.is_empty() && matches!(seen, Ok(Seen::Content)) {
                        self.received += event.data.len();
                    }
                    match seen {
                        Err(error) if reading.is_cut(&event.data, &error, cx) => {
                            Err(truncated("it ends inside an event"))
                        }
                        seen => seen,
                    }
                }
                Ok(None) if !reading.any_event => {
                    let text = "the answer has status 200, but holds no event; check `base_url`";
                    Err(Error::new(ErrorKind::BadUpstream, text))
                }
                Ok(None) => reading.decoder.end(chunks).map(|()| Seen::End),
                Err(error) if reading.idle.is_some() && is_idle(&error) => {
                    let text = format!("{error}, before any content; raise `timeout.first_token`");
                    Err(Error::new(ErrorKind::Timeout, text))
                }
                Err(error) => Err(failure::of_http(&self.shared.place, &error, true)),
            };
            // The first token has come: from now on the idle limit counts.
            if reading.idle.is_some()
                && self.fresh.iter().any(Chunk::is_content)
                && let Some(limit) = reading.idle.take()
            {
                reading.events.set_idle(limit);
            }
            let taken = self.take();
            match result.and_then(|seen| taken.map(|()| seen)) {
                Ok(Seen::Life) => reading.events.mark_ping(),
                Ok(Seen::Content) => {}
                Ok(Seen::End) => {
                    self.state = State::Ending { reading, timer: None };
                    return Poll::Ready(());
                }
                Err(error) => {
                    self.fail(error);
                    return Poll::Ready(());
                }
            }
            if self.received > MAX_ANSWER {
                let text = format!("the answer is over the limit of {MAX_ANSWER} bytes");
                self.fail(Error::new(ErrorKind::BadUpstream, text));
                return Poll::Ready(());
            }
            if events >= EVENTS_AT_ONCE && !self.ready.is_empty() {
                break;
            }
        }
        self.state = State::Reading(reading);
        Poll::Ready(())
    }
}

impl Stream for ReplyStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if let Some(error) = this.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            match std::mem::replace(&mut this.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Start { request, context } => {
                    if let Err(error) = this.start(&request, &context) {
                        this.fail(error);
                    }
                }
                State::Opening(mut opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => {
                        let error = this.poll_deadline(cx);
                        this.state = State::Opening(opening);
                        this.fail(ready!(error));
                    }
                    Poll::Ready(Err(error)) => this.fail(error),
                    Poll::Ready(Ok(opened)) => {
                        this.request_id.clone_from(&opened.request_id);
                        let start = Chunk::Start { request_id: opened.request_id, model: None };
                        match opened.body {
                            OpenedBody::Events(reading) => {
                                this.ready.push_back(start);
                                this.state = State::Reading(reading);
                            }
                            OpenedBody::Whole(chunks, error) => {
                                this.ready.push_back(start);
                                this.fresh = chunks;
                                let taken = this.take();
                                if let Some(error) = error.or(taken.err()) {
                                    this.fail(error);
                                }
                            }
                        }
                    }
                },
                State::Reading(reading) => ready!(this.read(reading, cx)),
                State::Ending { mut reading, mut timer } => {
                    // What comes after the end is not looked at.
                    while let Poll::Ready(event) = reading.events.poll_next(cx) {
                        if !matches!(event, Ok(Some(_))) {
                            return Poll::Ready(None);
                        }
                    }
                    let sleep = timer.get_or_insert_with(|| Box::pin(sleep(END_TIME)));
                    if poll_timer(sleep, cx).is_ready() {
                        return Poll::Ready(None);
                    }
                    this.state = State::Ending { reading, timer };
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Reading {
    /// Whether an event could not be read because the body ends inside it.
    fn is_cut(&mut self, data: &[u8], error: &Error, cx: &mut std::task::Context<'_>) -> bool {
        let ends_early = |error: serde_json::Error| error.is_eof();
        error.kind() == ErrorKind::BadUpstream
            && serde_json::from_slice::<IgnoredAny>(data).is_err_and(ends_early)
            && matches!(self.events.poll_next(cx), Poll::Ready(Ok(None)))
    }
}

async fn open(shared: Arc<Shared>, body: Body, first_token: Duration) -> Result<Opened, Error> {
    let answer = send(&shared, body, first_token).await;
    // The response goes on into a box: it would have a place in every call that waits for one.
    let rest: BoxFuture<'_, Result<Opened, Error>> = {
        let response = answer.map_err(|error| failure::of_http(&shared.place, &error, false))?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let lines = shared.adapter.framing() == Framing::Lines;
        let streams = if lines { kind.contains("ndjson") } else { kind.contains("event-stream") };
        if response.status().as_u16() != 200 {
            Box::pin(refused(&shared, response))
        } else if !streams && (kind.contains("json") || kind.contains("html")) {
            Box::pin(whole(&shared, response, first_token))
        } else {
            return Ok(reading(&shared, response, lines, first_token));
        }
    };
    rest.await
}

fn reading(shared: &Shared, response: Response, lines: bool, first_token: Duration) -> Opened {
    let request_id = request_id(response.headers());
    let limits = &shared.timeouts;
    let after = IdleLimit { silence: limits.idle, pings: limits.pings() };
    let before = IdleLimit { silence: first_token, pings: first_token.max(limits.pings()) };
    let events = response.events().idle(before);
    let reading = Reading {
        events: if lines { events.lines(LineDecoder::new()) } else { events },
        decoder: shared.adapter.decoder(),
        any_event: false,
        idle: Some(after),
    };
    Opened { request_id, body: OpenedBody::Events(Box::new(reading)) }
}

/// Sends, and once more when a connection from the pool turns out closed: that says nothing about the
/// provider, and asking a model twice does no harm.
async fn send(shared: &Shared, body: Body, first_token: Duration) -> Result<Response, HttpError> {
    let mut again = false;
    loop {
        let request = shared.http_request(body.clone(), first_token);
        match shared.client.send(request).await {
            Err(error)
                if !again
                    && error.on_reused_connection()
                    && matches!(error.kind(), HttpErrorKind::Closed | HttpErrorKind::Reset) =>
            {
                again = true;
            }
            answer => return answer,
        }
    }
}

/// The failure that a response of another status than 200 tells of.
async fn refused(shared: &Shared, response: Response) -> Result<Opened, Error> {
    let request_id = request_id(response.headers());
    let status = response.status().as_u16();
    let wait = retry_after(response.headers(), SystemTime::now());
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(str::to_owned);
    let body = timeout(ERROR_BODY_TIME, response.collect(MAX_ERROR_BODY)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let error = failure::of_response(&shared.place, status, &body, wait, location.as_deref());
    Err(error.with_request_id(request_id))
}

/// Of a server that does not stream: its whole answer is as good, if it is one.
async fn whole(shared: &Shared, response: Response, first_token: Duration) -> Result<Opened, Error> {
    let place = &shared.place;
    let request_id = request_id(response.headers());
    let body = timeout(first_token, response.collect(MAX_ANSWER)).await.map_err(|_| {
        let text = format!("no whole answer within {first_token:?}; raise `timeout.first_token`");
        Error::new(ErrorKind::Timeout, text).with_request_id(request_id.clone())
    })?;
    let body =
        body.map_err(|error| failure::of_http(place, &error, true).with_request_id(request_id.clone()))?;
    if failure::is_html(&body) || body.trim_ascii().is_empty() {
        let what = if body.trim_ascii().is_empty() { "an empty body" } else { "an HTML page" };
        let text = format!("{} answers 200 with {what}, not with a reply; check `base_url`", place.base_url);
        return Err(Error::new(ErrorKind::BadUpstream, text).with_request_id(request_id));
    }
    let mut chunks = Vec::new();
    let error = shared.adapter.decoder().whole(&body, &mut chunks).err();
    Ok(Opened { request_id, body: OpenedBody::Whole(chunks, error) })
}

/// Also where a flood of bytes has spent the task's budget.
fn poll_timer(timer: &mut Pin<Box<Sleep>>, cx: &mut std::task::Context<'_>) -> Poll<()> {
    pin!(unconstrained(timer.as_mut())).poll(cx)
}

fn is_idle(error: &HttpError) -> bool {
    error.kind() == HttpErrorKind::Timeout(TimeoutPhase::Idle)
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = ["x-request-id", "request-id"].iter().find_map(|name| headers.get(*name))?;
    // Shown to people and written to logs: a token, not a text.
    let text = value.to_str().ok()?;
    (!text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .then(|| text.to_owned())
}
