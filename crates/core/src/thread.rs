//! Threads: conversations that outlive the runs that write them. Their messages are only ever appended; a fork
//! shares those before it, and a summary is a view.
//!
//! Whose turn it is stands in the store. A run has its thread from its beginning to its end, so what runs add stands
//! one after another; those that come meanwhile wait in line.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BoxFuture;
use crate::message::{Message, Part, Role};
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Thread {
    pub id: String,
    /// Tells it from another that had its id before.
    pub number: u64,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whose runs it had last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Wall time in milliseconds since 1970.
    pub created: u64,
    pub updated: u64,
    /// Milliseconds it is kept after its last change; for ever where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Grows with each change of what its runs begin with.
    pub version: u64,
    /// How many it has, those it shares included.
    pub messages: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Fork>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// An object.
    pub metadata: Value,
    /// The run whose turn it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// Where a thread parted from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fork {
    pub thread: String,
    /// So many of its first messages are the other's.
    pub messages: u64,
}

/// What models see in place of a thread's first messages. The messages stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Stands for the messages before this one.
    pub until: u64,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMessage {
    /// Counts from 0.
    pub number: u64,
    /// The run that wrote it; none where it was put in by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Wall time in milliseconds since 1970.
    pub at: u64,
    pub message: Arc<Message>,
}

/// What a thread begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewThread {
    pub id: String,
    pub title: String,
    pub session: Option<String>,
    pub agent: Option<String>,
    pub ttl: Option<u64>,
    pub metadata: Value,
    pub fork: Option<Fork>,
    /// Behind those it shares. Their numbers do not count.
    pub messages: Vec<ThreadMessage>,
    pub summary: Option<Summary>,
}

impl NewThread {
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: String::new(),
            session: None,
            agent: None,
            ttl: None,
            metadata: Value::Object(serde_json::Map::new()),
            fork: None,
            messages: vec![],
            summary: None,
        }
    }
}

/// What is to be another; the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadChange {
    pub title: Option<String>,
    pub session: Option<Option<String>>,
    pub agent: Option<Option<String>>,
    pub ttl: Option<Option<u64>>,
    pub metadata: Option<Value>,
    /// Where the thread has this version.
    pub summary: Option<(u64, Option<Summary>)>,
}

/// Which threads to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadQuery {
    pub session: Option<String>,
    pub agent: Option<String>,
    /// Threads on a page, from 1 to 1000.
    pub limit: usize,
    /// [`ThreadPage::next`] of the page before.
    pub cursor: Option<Cursor>,
}

impl Default for ThreadQuery {
    fn default() -> Self {
        Self { session: None, agent: None, limit: 50, cursor: None }
    }
}

/// The last of a page. As text, `UPDATED:ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub updated: u64,
    pub id: String,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.updated, self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(updated, id)| Some((updated.parse().ok()?, id)));
        let (updated, id) = parts.ok_or_else(|| format!("`{text}` is no cursor; give `next` of a page"))?;
        Ok(Self { updated, id: id.to_owned() })
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadPage {
    pub threads: Vec<Thread>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Cursor>,
}

/// What a search found in a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub thread: Thread,
    /// The newest message that has all the words; none where it is the title.
    pub message: Option<ThreadMessage>,
}

/// Who is at work on a thread, and who is in line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub holder: Option<String>,
    /// First come first.
    pub waiting: Vec<String>,
}

impl Line {
    /// Whether it is this run's turn.
    pub fn is_turn_of(&self, run: &str) -> bool {
        match &self.holder {
            Some(holder) => holder == run,
            None => self.waiting.first().is_none_or(|first| first == run),
        }
    }
}

/// What those outside have to say to the run that has a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Steering, taken in before its next model call.
    Message(Arc<Message>),
    /// End, and keep what there is.
    Stop,
    /// End, and leave nothing on the thread.
    RollBack,
}

/// What a batch does with the thread its run is on. Checked before anything is written, so that a run's last
/// messages, its end and the next one's turn are one transaction. One that does nothing wakes those who look on.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadStep {
    pub thread: String,
    /// Wall time in milliseconds since 1970.
    pub at: u64,
    /// Gets the run in line behind those that wait; once.
    pub wait: Option<Wait>,
    /// It is the run's turn: it has the thread until its end.
    pub begin: Option<Begin>,
    /// Numbers of the signals that the records take in.
    pub heard: Vec<u64>,
    pub end: Option<End>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Made where there is none.
    pub new: NewThread,
    /// Told to whoever has the thread now.
    pub stop: Option<Signal>,
}

/// Refused unless nobody has the thread, the run is the first in line or nobody is, and the thread is as the caller
/// knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// Made where there is none, and none is known.
    pub new: NewThread,
    /// Number and version of the thread as the caller knows it; none where there was none.
    pub known: Option<(u64, u64)>,
    /// Messages of the thread that the accepted input holds: a store need not keep them twice.
    pub shared: Shared,
}

/// A piece of a thread within an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Where in the input it begins.
    pub place: u64,
    /// Its first message on the thread.
    pub from: u64,
    /// The first that it does not hold.
    pub until: u64,
}

impl Shared {
    pub fn len(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The run has ended, or has left the line.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Appended as the run's, if it has the thread.
    pub messages: Vec<Arc<Message>>,
    /// What it was told and has not heard of.
    pub unheard: Unheard,
}

/// What becomes of messages that reached a run and were not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// The batch is refused while there are any: the run can still answer them.
    Refuse,
    /// They stand at the thread's end, unanswered.
    Keep,
    Drop,
}

/// Stored threads. One whose time is over is not given any more. As everywhere, the time comes with the call.
pub trait Threads: Send + Sync {
    /// # Errors
    /// `Exists`. `UnknownThread`: of the fork. `Malformed`: the fork has more messages than the other thread, or parts
    /// calls from their results; messages that no provider takes.
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>>;

    /// # Errors
    /// `UnknownThread`.
    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>>;

    /// Those that changed last come first, a page at a time.
    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage, StoreError>>;

    /// Threads whose title has all these words, or one of whose messages has, last changed first. Whole words, whatever
    /// their case; see [`words`]. What a fork shares is found in the thread that has it.
    fn search_threads(
        &self,
        text: &str,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<Found>, StoreError>>;

    /// Messages from this number on, at most `limit`.
    ///
    /// # Errors
    /// `UnknownThread`.
    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>, StoreError>>;

    /// # Errors
    /// `UnknownThread`. `ThreadChanged`: the version is another than that of the summary. `ThreadHeld`: a run is at
    /// work on what would be summarised.
    fn change_thread(
        &self,
        id: &str,
        change: ThreadChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>>;

    /// Appends by hand, where the thread has this version.
    ///
    /// # Errors
    /// `UnknownThread`, `ThreadHeld`, `ThreadChanged`.
    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>>;

    /// Forgets it with its messages. Those that forks share live on with them; runs on it lose what was said before
    /// them.
    ///
    /// # Errors
    /// `UnknownThread`, `ThreadHeld`.
    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>>;

    /// # Errors
    /// `UnknownThread`.
    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line, StoreError>>;

    /// Says something to the run that has the thread.
    ///
    /// # Errors
    /// `ThreadChanged`: it has it no more.
    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64, StoreError>>;

    /// What a run was told after this number and has not heard of, oldest first. Numbers begin at 1.
    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>, StoreError>>;

    /// Resolves once lines or signals changed after the number given, with the number to give next, which begins at 0.
    /// Through other processes, too.
    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64>;

    /// Forgets threads and sessions whose time is over and whose turn is nobody's, at most so many. Gives how many it
    /// were.
    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>>;
}

impl Thread {
    /// When it is no longer given, in milliseconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.ttl.map(|ttl| self.updated.saturating_add(ttl))
    }
}

impl ThreadStep {
    pub fn new(thread: impl Into<String>, at: u64) -> Self {
        Self { thread: thread.into(), at, wait: None, begin: None, heard: vec![], end: None }
    }
}

/// A title from what was said first: a line of at most 80 characters.
pub fn title(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut title: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
    if line.chars().nth(80).is_some() {
        title.push('…');
    }
    title
}

/// Bytes of a message that are searched.
const SEARCHED: usize = 64 * 1024;
/// Bytes of a word that are searched: no index takes words of any length.
const WORD: usize = 256;

/// The words of a text as search knows them, in their order: runs of letters and digits in small letters; of scripts
/// that do not part words, each character by itself.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut left = SEARCHED;
    for c in text.chars() {
        left = left.saturating_sub(c.len_utf8());
        let alone = is_ideograph(c);
        if (alone || !c.is_alphanumeric() || left == 0) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if left == 0 {
            break;
        }
        if alone {
            words.push(c.to_string());
        } else if c.is_alphanumeric() && word.len() < WORD {
            word.extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Han, Hiragana and Katakana.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

/// What is searched of a message: what was said, and what tools were asked and answered.
pub fn searched(message: &Message) -> String {
    let mut text = String::new();
    for part in &message.parts {
        let more = match part {
            Part::Text { text } | Part::Refusal { text } => text,
            Part::ToolCall(call) => &call.name,
            Part::ToolResult(result) => &result.text,
            Part::Image(_) | Part::Reasoning { .. } | Part::Opaque { .. } => continue,
        };
        text.push_str(more);
        text.push('\n');
    }
    text
}

/// Whether every provider takes these messages as the beginning of a conversation: calls are answered right behind
/// their message, once each and in their order, and no message is empty.
///
/// # Errors
/// The number of the message that is wrong, and why.
pub fn check<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> Result<(), String> {
    let mut due: std::collections::VecDeque<&str> = std::collections::VecDeque::new();
    let mut number = 0;
    for message in messages {
        let wrong = |why: String| Err(format!("message {number}: {why}"));
        if message.parts.is_empty() {
            return wrong("it is empty".into());
        }
        for part in &message.parts {
            match (message.role, part) {
                (Role::Tool, Part::ToolResult(result)) => match due.pop_front() {
                    Some(call) if call == result.call_id => {}
                    Some(call) => return wrong(format!("the call `{call}` is answered first")),
                    None => return wrong(format!("there is no call `{}`", result.call_id)),
                },
                (Role::Tool, _) => return wrong("a tool says nothing but results".into()),
                (_, Part::ToolResult(_)) => return wrong("a result is a tool's to give".into()),
                (Role::System | Role::User, Part::ToolCall(_)) => {
                    return wrong("only an assistant calls tools".into());
                }
                _ if !due.is_empty() => return wrong(format!("the call `{}` has no result", due[0])),
                _ => {}
            }
        }
        due.extend(message.tool_calls().map(|call| call.id.as_str()));
        number += 1;
    }
    match due.front() {
        Some(call) => Err(format!("message {number}: the result of the call `{call}` is missing")),
        None => Ok(()),
    }
}

const SUMMARISED: &str =
    "[Summary of the earlier part of this conversation. That part is no longer shown; go on from here.]";

impl Summary {
    /// As it stands before the messages that it does not stand for.
    pub fn message(&self) -> Arc<Message> {
        Message::user(format!("{SUMMARISED}\n\n{}", self.text))
    }
}
