//! A model that does as it is told, and counts what it is asked.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote, RouteNote};
use ambidex_core::model::ModelInfo;
use ambidex_core::reply::Reply;
use ambidex_core::usage::Price;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model, Request, Usage};
use ambidex_models::collect;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

pub type Items = Vec<Result<Chunk, Error>>;

#[derive(Clone, Debug)]
pub enum Step {
    Wait(u64),
    Say(Chunk),
    Fail(Error),
    /// Silence until it is dropped.
    Hang,
}

/// Plays the n-th list of steps at the n-th call, and the last one for ever.
pub struct Told {
    pub info: ModelInfo,
    pub plays: Arc<Vec<Vec<Step>>>,
    /// Calls that were polled.
    pub calls: Arc<AtomicU32>,
    /// Calls under way: each is a socket or a permit of a real model.
    pub live: Arc<AtomicUsize>,
    pub permits: Arc<Semaphore>,
    pub contexts: Mutex<Vec<Context>>,
}

pub const PERMITS: usize = 64;

impl Told {
    pub fn new(name: &str, plays: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self {
            info: ModelInfo::new(name, "told"),
            plays: Arc::new(plays.into_iter().collect()),
            calls: Arc::default(),
            live: Arc::default(),
            permits: Arc::new(Semaphore::new(PERMITS)),
            contexts: Mutex::default(),
        }
    }

    pub fn context(mut self, tokens: u64) -> Self {
        self.info.context = Some(tokens);
        self
    }

    pub fn price(mut self, output: f64) -> Self {
        self.info.price = Some(Price { input: 0.0, output, cached_input: None });
        self
    }

    pub fn arc(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(SeqCst)
    }

    pub fn live(&self) -> usize {
        self.live.load(SeqCst)
    }
}

/// Held by a call from its first poll until it is dropped.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, SeqCst);
        Self(live.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Model for Told {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        self.contexts.lock().unwrap().push(context);
        let (calls, plays) = (self.calls.clone(), self.plays.clone());
        let (live, permits) = (self.live.clone(), self.permits.clone());
        let begin = async move {
            let call = calls.fetch_add(1, SeqCst) as usize;
            let steps = plays.get(call).or(plays.last()).cloned().unwrap_or_default();
            (steps.into_iter(), (Live::new(&live), permits.acquire_owned().await.unwrap()))
        };
        let play = stream::once(begin).flat_map(|begun| {
            stream::unfold(begun, |(mut steps, held)| async move {
                loop {
                    match steps.next()? {
                        Step::Wait(ms) => sleep(Duration::from_millis(ms)).await,
                        Step::Say(chunk) => return Some((Ok(chunk), (steps, held))),
                        Step::Fail(error) => return Some((Err(error), (Vec::new().into_iter(), held))),
                        Step::Hang => std::future::pending().await,
                    }
                }
            })
        });
        Box::pin(play)
    }
}

pub fn say(text: &str) -> Step {
    Step::Say(Chunk::Text { part: 0, text: text.into() })
}

pub fn used(output_tokens: u64) -> Step {
    Step::Say(Chunk::Usage(Usage { output_tokens, ..Usage::default() }))
}

pub fn end() -> Step {
    Step::Say(Chunk::End(Finish::Stop))
}

pub fn fail(kind: ErrorKind) -> Step {
    Step::Fail(Error::new(kind, "told"))
}

/// A whole reply of this text and two tokens.
pub fn good(text: &str) -> Vec<Step> {
    vec![say(text), used(2), end()]
}

/// The same after a while.
pub fn slow(ms: u64, text: &str) -> Vec<Step> {
    [vec![Step::Wait(ms)], good(text)].concat()
}

pub fn models<const N: usize>(told: [&Arc<Told>; N]) -> [Arc<dyn Model>; N] {
    told.map(|it| it.clone() as Arc<dyn Model>)
}

pub async fn items(model: &dyn Model) -> Items {
    model.stream(Request::user("Hi"), Context::detached()).collect().await
}

pub async fn ask(model: &dyn Model) -> Result<Reply, Error> {
    collect(model.stream(Request::user("Hi"), Context::detached())).await
}

pub fn notes(items: &Items) -> Vec<RouteNote> {
    let note = |item: &Result<Chunk, Error>| match item {
        Ok(Chunk::Note(note)) => Some(note.clone()),
        _ => None,
    };
    items.iter().filter_map(note).collect()
}

/// Every attempt as `target outcome`, in the order they ended.
pub fn attempts(items: &Items) -> Vec<String> {
    let attempt = |note: RouteNote| match note {
        RouteNote::Attempt(note) => Some(format!("{} {}", note.target, word(&note))),
        _ => None,
    };
    notes(items).into_iter().filter_map(attempt).collect()
}

pub fn word(note: &AttemptNote) -> &'static str {
    match note.end {
        AttemptEnd::Answered => "answered",
        AttemptEnd::Failed(_) => "failed",
        AttemptEnd::Lost => "lost",
        AttemptEnd::Skipped(_) => "skipped",
    }
}

pub fn last_usage(items: &Items) -> Usage {
    let usage = |item: &Result<Chunk, Error>| match item {
        Ok(Chunk::Usage(usage)) => Some(*usage),
        _ => None,
    };
    items.iter().rev().find_map(usage).unwrap_or_default()
}
