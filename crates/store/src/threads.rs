//! Threads and sessions as rows, for both databases. Text is made where the caller is.

use std::collections::BTreeSet;
use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::message::Message;
use ambidex_core::record::{Record, RecordKind, RunInput};
use ambidex_core::session::{NewSession, Session, SessionChange};
use ambidex_core::store::StoreError;
use ambidex_core::thread::{
    Cursor, End, Fork, NewThread, Shared, Signal, Summary, Thread, ThreadChange, ThreadMessage, ThreadStep,
    Unheard, searched, words,
};
use serde_json::Value;
use tokio::sync::watch;

use crate::rows::{Reading, signed, unsigned, unwritable};

/// Changes of lines and signals, seen here so far.
#[derive(Default)]
pub(crate) struct Stirs(watch::Sender<u64>);

impl Stirs {
    pub(crate) fn stir(&self) {
        self.0.send_modify(|stirs| *stirs += 1);
    }

    pub(crate) fn after(&self, seen: u64) -> BoxFuture<'static, u64> {
        let mut stirs = self.0.subscribe();
        Box::pin(async move {
            let found = stirs.wait_for(|stirs| *stirs > seen).await.map(|stirs| *stirs);
            match found {
                Ok(stirs) => stirs,
                // The store is closed: there will be no more.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

pub(crate) struct MessageRow {
    pub(crate) run: Option<String>,
    pub(crate) at: Option<i64>,
    pub(crate) message: String,
    /// What is searched, each word once.
    pub(crate) words: String,
}

pub(crate) struct NewThreadRow {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) words: String,
    pub(crate) session: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) ttl: Option<i64>,
    pub(crate) metadata: String,
    pub(crate) fork: Option<(String, i64)>,
    pub(crate) summary: Option<String>,
    pub(crate) messages: Vec<MessageRow>,
}

pub(crate) struct StepRow {
    pub(crate) thread: String,
    pub(crate) at: i64,
    /// What the thread is made of, where it has to be made.
    pub(crate) new: Option<NewThreadRow>,
    pub(crate) waits: bool,
    /// Kind of a signal for whoever has the thread.
    pub(crate) stop: Option<&'static str>,
    pub(crate) begins: bool,
    pub(crate) known: Option<(i64, i64)>,
    pub(crate) shared: (i64, i64, i64),
    pub(crate) heard: Vec<i64>,
    pub(crate) ends: bool,
    pub(crate) unheard: &'static str,
    pub(crate) messages: Vec<MessageRow>,
}

pub(crate) struct ChangeRow {
    pub(crate) title: Option<(String, String)>,
    pub(crate) session: Option<Option<String>>,
    pub(crate) agent: Option<Option<String>>,
    pub(crate) ttl: Option<Option<i64>>,
    pub(crate) metadata: Option<String>,
    pub(crate) summary: Option<(i64, Option<String>)>,
}

pub(crate) struct NewSessionRow {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) metadata: String,
    pub(crate) ttl: Option<i64>,
}

pub(crate) struct SessionChangeRow {
    pub(crate) state: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) ttl: Option<Option<i64>>,
}

/// A signal's kind, and a message with its words.
pub(crate) struct SignalRow {
    pub(crate) kind: &'static str,
    pub(crate) message: Option<MessageRow>,
}

/// Each word of a text once: what finds it.
pub(crate) fn index(text: &str) -> String {
    let words: BTreeSet<String> = words(text).into_iter().collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(unwritable)
}

/// Databases keep no zero in a text of theirs.
fn plain(text: &str) -> String {
    text.replace('\0', "")
}

impl MessageRow {
    pub(crate) fn new(message: &Message) -> Result<Self, StoreError> {
        Ok(Self { run: None, at: None, message: text(message)?, words: index(&searched(message)) })
    }

    fn all(messages: &[Arc<Message>]) -> Result<Vec<Self>, StoreError> {
        messages.iter().map(|message| Self::new(message)).collect()
    }
}

impl NewThreadRow {
    pub(crate) fn new(new: &NewThread) -> Result<Self, StoreError> {
        let message = |it: &ThreadMessage| {
            let row = MessageRow::new(&it.message)?;
            Ok(MessageRow { run: it.run.clone(), at: Some(signed(it.at)), ..row })
        };
        Ok(Self {
            id: new.id.clone(),
            title: plain(&new.title),
            words: index(&new.title),
            session: new.session.clone(),
            agent: new.agent.clone(),
            ttl: new.ttl.map(signed),
            metadata: text(&new.metadata)?,
            fork: new.fork.as_ref().map(|fork| (fork.thread.clone(), signed(fork.messages))),
            summary: new.summary.as_ref().map(text).transpose()?,
            messages: new.messages.iter().map(message).collect::<Result<_, StoreError>>()?,
        })
    }
}

impl StepRow {
    pub(crate) fn new(step: ThreadStep) -> Result<Self, StoreError> {
        let ThreadStep { thread, at, wait, begin, heard, end } = step;
        let new = begin.as_ref().map(|begin| &begin.new).or(wait.as_ref().map(|wait| &wait.new));
        let shared = begin.as_ref().map(|begin| begin.shared).unwrap_or_default();
        let unheard = match &end {
            Some(End { unheard: Unheard::Refuse, .. }) => "refuse",
            Some(End { unheard: Unheard::Keep, .. }) => "keep",
            Some(End { unheard: Unheard::Drop, .. }) | None => "drop",
        };
        Ok(Self {
            thread,
            at: signed(at),
            new: new.map(NewThreadRow::new).transpose()?,
            stop: wait.as_ref().and_then(|wait| wait.stop.as_ref()).map(kind),
            waits: wait.is_some(),
            known: begin.as_ref().and_then(|begin| begin.known).map(|(no, v)| (signed(no), signed(v))),
            begins: begin.is_some(),
            shared: (signed(shared.place), signed(shared.from), signed(shared.until)),
            heard: heard.into_iter().map(signed).collect(),
            ends: end.is_some(),
            unheard,
            messages: MessageRow::all(&end.map(|end| end.messages).unwrap_or_default())?,
        })
    }

    /// Whether others may have to look again after it. One that does nothing else is there for that, and a run that
    /// hears may come to rest with it.
    pub(crate) fn stirs(&self) -> bool {
        self.waits || self.ends || !self.begins
    }
}

fn kind(signal: &Signal) -> &'static str {
    match signal {
        Signal::Message(_) => "message",
        Signal::Stop => "stop",
        Signal::RollBack => "roll_back",
    }
}

impl SignalRow {
    pub(crate) fn new(signal: &Signal) -> Result<Self, StoreError> {
        let message = match signal {
            Signal::Message(message) => Some(MessageRow::new(message)?),
            Signal::Stop | Signal::RollBack => None,
        };
        Ok(Self { kind: kind(signal), message })
    }
}

impl ChangeRow {
    pub(crate) fn new(change: ThreadChange) -> Result<Self, StoreError> {
        let ThreadChange { title, session, agent, ttl, metadata, summary } = change;
        let summary = summary.map(|(version, summary)| {
            let summary = summary.as_ref().map(text).transpose()?;
            Ok::<_, StoreError>((signed(version), summary))
        });
        Ok(Self {
            title: title.map(|title| (plain(&title), index(&title))),
            session,
            agent,
            ttl: ttl.map(|ttl| ttl.map(signed)),
            metadata: metadata.as_ref().map(text).transpose()?,
            summary: summary.transpose()?,
        })
    }
}

impl NewSessionRow {
    pub(crate) fn new(new: &NewSession) -> Result<Self, StoreError> {
        let (id, ttl) = (new.id.clone(), new.ttl.map(signed));
        Ok(Self { id, state: text(&new.state)?, metadata: text(&new.metadata)?, ttl })
    }
}

impl SessionChangeRow {
    pub(crate) fn new(change: &SessionChange) -> Result<Self, StoreError> {
        Ok(Self {
            state: change.state.as_ref().map(text).transpose()?,
            metadata: change.metadata.as_ref().map(text).transpose()?,
            ttl: change.ttl.map(|ttl| ttl.map(signed)),
        })
    }
}

/// A record without the messages that the thread has anyway.
pub(crate) fn without_shared(record: &Record, shared: Shared) -> Option<Record> {
    let mut record = record.clone();
    let RecordKind::Accepted { input: RunInput::Messages(messages), .. } = &mut record.kind else {
        return None;
    };
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let (begin, end) = (place(shared.place), place(shared.place + shared.len()));
    messages.drain(begin.min(messages.len())..end.min(messages.len()));
    Some(record)
}

/// Whether one of them was stored without what its thread has.
pub(crate) fn begins(records: &[Record]) -> bool {
    records.iter().any(|record| matches!(record.kind, RecordKind::Accepted { .. }))
}

/// The messages that were left out, put back.
pub(crate) fn put_back(records: &mut [Record], place: i64, shared: Vec<Arc<Message>>) {
    for record in records {
        if let RecordKind::Accepted { input: RunInput::Messages(messages), .. } = &mut record.kind {
            let place = usize::try_from(place).unwrap_or(0).min(messages.len());
            messages.splice(place..place, shared);
            return;
        }
    }
}

/// Columns of a thread, as both databases have them.
pub(crate) const THREAD: &str = "id, no, title, session, agent, created, updated, ttl, version, messages, parent, \
     parent_messages, summary, metadata, holder";

/// A thread's row.
pub(crate) struct ThreadColumns {
    pub(crate) id: String,
    pub(crate) no: i64,
    pub(crate) title: String,
    pub(crate) session: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) ttl: Option<i64>,
    pub(crate) version: i64,
    pub(crate) messages: i64,
    pub(crate) parent: Option<String>,
    pub(crate) parent_messages: Option<i64>,
    pub(crate) summary: Option<String>,
    pub(crate) metadata: String,
    pub(crate) holder: Option<String>,
}

pub(crate) const SESSION: &str = "id, state, version, metadata, created, updated, ttl";

pub(crate) struct SessionColumns {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) metadata: String,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) ttl: Option<i64>,
}

impl Reading {
    fn json<T: serde::de::DeserializeOwned>(&self, what: &str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.wrong(what, error))
    }

    pub(crate) fn thread(&self, row: ThreadColumns) -> Result<Thread, StoreError> {
        let what = format!("thread `{}`", row.id);
        let summary: Option<Summary> = row.summary.map(|text| self.json(&what, &text)).transpose()?;
        let metadata: Value = self.json(&what, &row.metadata)?;
        let parent = row.parent.zip(row.parent_messages);
        Ok(Thread {
            id: row.id,
            number: unsigned(row.no),
            title: row.title,
            session: row.session,
            agent: row.agent,
            created: unsigned(row.created),
            updated: unsigned(row.updated),
            ttl: row.ttl.map(unsigned),
            version: unsigned(row.version),
            messages: unsigned(row.messages),
            parent: parent.map(|(thread, messages)| Fork { thread, messages: unsigned(messages) }),
            summary,
            metadata,
            holder: row.holder,
        })
    }

    pub(crate) fn message(&self, thread: i64, number: i64, text: &str) -> Result<Arc<Message>, StoreError> {
        self.json(&format!("message {number} of thread number {thread}"), text)
    }

    pub(crate) fn session(&self, row: SessionColumns) -> Result<Session, StoreError> {
        let what = format!("session `{}`", row.id);
        Ok(Session {
            state: self.json(&what, &row.state)?,
            metadata: self.json(&what, &row.metadata)?,
            version: unsigned(row.version),
            created: unsigned(row.created),
            updated: unsigned(row.updated),
            ttl: row.ttl.map(unsigned),
            id: row.id,
        })
    }

    pub(crate) fn signal(&self, kind: &str, message: Option<&str>) -> Result<Signal, StoreError> {
        Ok(match (kind, message) {
            ("message", Some(text)) => Signal::Message(self.json("a message to a run", text)?),
            ("roll_back", _) => Signal::RollBack,
            _ => Signal::Stop,
        })
    }
}

/// Cuts what was read down to a page, of which one more was read than is shown.
pub(crate) fn page<T>(
    mut rows: Vec<T>,
    limit: usize,
    cursor: impl Fn(&T) -> Cursor,
) -> (Vec<T>, Option<Cursor>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}
