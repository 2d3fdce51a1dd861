//! A turn as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use ambidex_core::model::Request;
use ambidex_core::{BoxFuture, Chunk, Context, Error, Finish, Usage};
use futures_core::Stream;
use tokio::time::Sleep;

use super::Shared;

/// Plans its speech when it is first polled. Keeps no timer unless the turn has a pace or a delay.
pub(super) struct Answer {
    state: State,
    sleep: Option<Pin<Box<Sleep>>>,
    slept: bool,
}

enum State {
    Asked(Arc<Shared>, Box<(Request, Context)>),
    Saying(Box<Speech>),
    Silent(BoxFuture<'static, ()>),
    Over,
}

impl Answer {
    pub fn new(shared: Arc<Shared>, request: Request, context: Context) -> Self {
        Self { state: State::Asked(shared, Box::new((request, context))), sleep: None, slept: false }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Chunk, Error>>> {
        self.state = State::Over;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Answer {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(task));
                self.sleep = None;
                self.slept = true;
            }
            let slept = std::mem::take(&mut self.slept);
            match &mut self.state {
                State::Asked(shared, asked) => match shared.plan(&asked.0, &asked.1) {
                    Ok(speech) => self.state = State::Saying(Box::new(speech)),
                    Err(error) => return self.fail(error),
                },
                State::Saying(speech) => {
                    let wait = speech.wait();
                    if !slept && !wait.is_zero() {
                        self.sleep = Some(Box::pin(tokio::time::sleep(wait)));
                        continue;
                    }
                    match speech.next() {
                        Next::Say(chunk) => return Poll::Ready(Some(Ok(chunk))),
                        Next::Fail(error) => return self.fail(error),
                        Next::Silence => {
                            let cancelled = speech.context.token().clone().cancelled_owned();
                            self.state = State::Silent(Box::pin(cancelled));
                        }
                        Next::Over => self.state = State::Over,
                    }
                }
                State::Silent(cancelled) => {
                    ready!(cancelled.as_mut().poll(task));
                    return self.fail(Error::cancelled());
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

/// What will be said, and how far it is.
pub(super) struct Speech {
    pub model: String,
    pub parts: Vec<Part>,
    pub usage: Usage,
    pub finish: Finish,
    pub delay: Duration,
    pub pace: Duration,
    /// Characters per piece; without it word by word where there is a pace, else all at once.
    pub chunk: Option<usize>,
    /// What goes wrong after so many pieces.
    pub breach: Option<(u32, Breach)>,
    pub context: Context,
    pub place: Place,
}

/// How a fault ends a speech.
pub(super) enum Breach {
    Error(Error),
    Idle,
}

pub(super) struct Part {
    pub kind: PartKind,
    pub text: Arc<str>,
}

pub(super) enum PartKind {
    Reasoning,
    Text,
    Refusal,
    Call { id: String, name: String },
}

#[derive(Default)]
pub(super) struct Place {
    started: bool,
    part: usize,
    /// The call of this part has begun.
    opened: bool,
    /// Bytes of the part's text that were said.
    offset: usize,
    pieces: u32,
    told_usage: bool,
    ended: bool,
}

enum Next {
    Say(Chunk),
    Fail(Error),
    Silence,
    Over,
}

impl Speech {
    /// How long to wait before what comes next.
    fn wait(&self) -> Duration {
        if !self.place.started {
            return self.delay;
        }
        match self.parts.get(self.place.part) {
            Some(part) if self.is_open(part) && !self.is_said(part) && !self.is_broken() => self.pace,
            _ => Duration::ZERO,
        }
    }

    fn is_open(&self, part: &Part) -> bool {
        self.place.opened || !matches!(part.kind, PartKind::Call { .. })
    }

    fn is_said(&self, part: &Part) -> bool {
        self.place.offset >= part.text.len()
    }

    fn is_broken(&self) -> bool {
        let all_said = self.place.part >= self.parts.len();
        self.breach.as_ref().is_some_and(|(after, _)| all_said || self.place.pieces >= *after)
    }

    fn next(&mut self) -> Next {
        if self.place.ended {
            return Next::Over;
        }
        if self.is_broken() {
            self.place.ended = true;
            return match self.breach.take() {
                Some((_, Breach::Error(error))) => Next::Fail(error),
                _ => Next::Silence,
            };
        }
        if !self.place.started {
            self.place.started = true;
            return Next::Say(Chunk::Start { request_id: None, model: Some(self.model.clone()) });
        }
        let Some(part) = self.parts.get(self.place.part) else { return self.end() };
        #[expect(clippy::cast_possible_truncation, reason = "a script has few parts")]
        let number = self.place.part as u32;
        if !self.is_open(part)
            && let PartKind::Call { id, name } = &part.kind
        {
            self.place.opened = true;
            return Next::Say(Chunk::ToolCall { part: number, id: id.clone(), name: name.clone() });
        }
        if self.is_said(part) {
            self.place.part += 1;
            self.place.opened = false;
            self.place.offset = 0;
            return Next::Say(Chunk::PartEnd { part: number });
        }
        let rest = &part.text[self.place.offset..];
        let size = self.piece(rest);
        let text = rest[..size].to_owned();
        let chunk = match &part.kind {
            PartKind::Reasoning => Chunk::Reasoning { part: number, text },
            PartKind::Text => Chunk::Text { part: number, text },
            PartKind::Refusal => Chunk::Refusal { part: number, text },
            PartKind::Call { .. } => Chunk::Arguments { part: number, text },
        };
        self.place.offset += size;
        self.place.pieces = self.place.pieces.saturating_add(1);
        Next::Say(chunk)
    }

    fn end(&mut self) -> Next {
        if self.place.told_usage {
            self.place.ended = true;
            return Next::Say(Chunk::End(self.finish));
        }
        self.place.told_usage = true;
        Next::Say(Chunk::Usage(self.usage))
    }

    /// Bytes of the next piece.
    fn piece(&self, rest: &str) -> usize {
        match self.chunk {
            Some(characters) => rest.char_indices().nth(characters).map_or(rest.len(), |(end, _)| end),
            None if self.pace.is_zero() => rest.len(),
            None => word(rest),
        }
    }
}

/// Bytes of the first word and the white space behind it.
fn word(text: &str) -> usize {
    let mut ended = false;
    for (at, character) in text.char_indices() {
        if character.is_whitespace() {
            ended = true;
        } else if ended {
            return at;
        }
    }
    text.len()
}
