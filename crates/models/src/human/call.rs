//! One call: asked once, then waited for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::RouteNote;
use ambidex_core::question::{Answer, Question, Standing};
use ambidex_core::relay::{Closing, RelayReply};
use ambidex_core::{BoxFuture, Chunk, Context, Error, ErrorKind, Finish, Request, Usage};
use futures_core::Stream;
use tokio::time::{Instant, sleep};

use super::HumanModel;
use super::check::reply_of;

type Item = Result<Chunk, Error>;

pub(super) struct Call {
    human: HumanModel,
    request: Request,
    context: Context,
    /// As it was asked, and since when it is waited for here.
    asked: Option<(Question, Instant)>,
    /// The text that was given so far.
    given: String,
}

/// What one step gave, and the call where it is not over.
struct Stepped {
    items: Vec<Item>,
    next: Option<Call>,
}

/// What is heard while waiting.
enum Heard {
    Answer(Answer),
    Written(String),
    Due,
}

impl Call {
    pub(super) fn new(human: HumanModel, request: Request, context: Context) -> Self {
        Self { human, request, context, asked: None, given: String::new() }
    }

    async fn step(mut self) -> Stepped {
        let stepped = match self.asked.take() {
            None => self.ask().await,
            Some((question, since)) => self.wait(question, since).await,
        };
        stepped.unwrap_or_else(|error| Stepped { items: vec![free(), Err(error)], next: None })
    }

    async fn ask(mut self) -> Result<Stepped, Error> {
        let question = self.human.question(&self.request, &self.context);
        let standing = self.human.questions.ask(question).await.map_err(failed)?;
        let Standing { question, answer, withdrawn } = standing;
        let since = Instant::now();
        let mut items = vec![Ok(Chunk::Start { request_id: None, model: None }), free()];
        if withdrawn {
            return Err(self.late());
        }
        let answer = match answer {
            // Its time ran out while no process waited.
            None if self.left(&question) == Some(Duration::ZERO) => {
                Some(self.expire(&question, since).await?)
            }
            answer => answer,
        };
        if let Some(answer) = answer {
            items.extend(self.end(&question, since, answer)?);
            return Ok(Stepped { items, next: None });
        }
        self.context.asked(&question);
        self.asked = Some((question, since));
        Ok(Stepped { items, next: Some(self) })
    }

    async fn wait(mut self, question: Question, since: Instant) -> Result<Stepped, Error> {
        let heard = self.hear(&question).await;
        let answer = match heard {
            Heard::Answer(answer) => answer,
            Heard::Written(text) => {
                let more = text.get(self.given.len()..).unwrap_or_default().to_owned();
                self.given = text;
                self.asked = Some((question, since));
                return Ok(Stepped {
                    items: vec![Ok(Chunk::Text { part: 0, text: more })],
                    next: Some(self),
                });
            }
            Heard::Due => self.expire(&question, since).await?,
        };
        Ok(Stepped { items: self.end(&question, since, answer)?, next: None })
    }

    /// Time is up.
    ///
    /// # Errors
    /// `timeout`, unless somebody answered in the last moment.
    async fn expire(&self, question: &Question, since: Instant) -> Result<Answer, Error> {
        if let Some(answer) = self.human.questions.withdraw(&question.id).await.map_err(failed)? {
            return Ok(answer);
        }
        self.context.closed(&question.id, Closing::Expired, since.elapsed());
        Err(self.late())
    }

    fn left(&self, question: &Question) -> Option<Duration> {
        question.due.map(|due| Duration::from_millis(due.saturating_sub((self.human.wall)())))
    }

    async fn hear(&self, question: &Question) -> Heard {
        let questions = &self.human.questions;
        let mut answered = questions.answered(&question.id);
        let mut written = questions.written(&question.id, self.given.len());
        let mut due = self.left(question).map(|left| Box::pin(sleep(left)));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answered.as_mut().poll(cx) {
                return Poll::Ready(Heard::Answer(answer));
            }
            if let Poll::Ready(text) = written.as_mut().poll(cx) {
                return Poll::Ready(Heard::Written(text));
            }
            match &mut due {
                Some(due) => due.as_mut().poll(cx).map(|()| Heard::Due),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The answer as a model's stream.
    fn end(&self, question: &Question, since: Instant, answer: Answer) -> Result<Vec<Item>, Error> {
        let closing = if matches!(answer, Answer::Reject { .. }) { Closing::Reject } else { Closing::Reply };
        self.context.closed(&question.id, closing, since.elapsed());
        match answer {
            Answer::Reply(reply) => Ok(self.reply(reply)),
            Answer::Answer { answer } => Ok(self.reply(reply_of(&answer, self.request.output.is_some()))),
            Answer::Reject { reason } => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let text = format!("`{}` declined to answer{why}", self.human.queue);
                Err(self.error(ErrorKind::Refused, text))
            }
            Answer::Approve | Answer::Edit { .. } | Answer::Repeat => {
                Err(self.error(ErrorKind::BadUpstream, "the answer is a decision, and a reply was asked for"))
            }
        }
    }

    fn reply(&self, reply: RelayReply) -> Vec<Item> {
        let mut items = Vec::new();
        let text = match &reply.output {
            Some(output) => output.to_string(),
            None => reply.text,
        };
        match text.strip_prefix(self.given.as_str()) {
            Some("") => {}
            Some(rest) => items.push(Chunk::Text { part: 0, text: rest.to_owned() }),
            None => {
                let error = self.error(ErrorKind::BadUpstream, "the reply was written anew");
                items.push(Chunk::Note(RouteNote::Restarted {
                    target: self.human.info.name.as_str().into(),
                    error,
                }));
                items.push(Chunk::Text { part: 0, text });
            }
        }
        let finish = if reply.tool_calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        for (part, call) in (1..).zip(reply.tool_calls) {
            // Another model may read the history later, so the id must be one in the whole of it.
            let id = format!(
                "relay_{}_{part}",
                self.context.effect().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            );
            items.push(Chunk::ToolCall { part, id, name: call.name });
            items.push(Chunk::Arguments { part, text: call.arguments.to_string() });
            items.push(Chunk::PartEnd { part });
        }
        items.push(Chunk::End(finish));
        items.into_iter().map(Ok).collect()
    }

    fn late(&self) -> Error {
        let text = format!("nobody of `{}` answered in time; the question is closed", self.human.queue);
        // The same question would be closed again; another target may answer.
        self.error(ErrorKind::Timeout, text).retryable(false)
    }

    fn error(&self, kind: ErrorKind, text: impl Into<String>) -> Error {
        Error::new(kind, text).with_provider(&self.human.info.provider)
    }
}

/// Nothing is spent, and nobody has to estimate it.
fn free() -> Item {
    Ok(Chunk::Usage(Usage { usd: Some(0.0), ..Usage::default() }))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::StoreFailed, format!("the question for a person could not be stored: {error}"))
}

/// A call as a stream.
pub(super) struct CallStream {
    ready: VecDeque<Item>,
    step: Option<BoxFuture<'static, Stepped>>,
}

impl CallStream {
    pub(super) fn new(call: Call) -> Self {
        Self { ready: VecDeque::new(), step: Some(Box::pin(call.step())) }
    }
}

impl Stream for CallStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            let Some(step) = &mut self.step else { return Poll::Ready(None) };
            let Stepped { items, next } = ready!(step.as_mut().poll(cx));
            self.ready.extend(items);
            self.step = next.map(|call| Box::pin(call.step()) as BoxFuture<'static, Stepped>);
        }
    }
}
