//! What is asked about threads and sessions, as plain data.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::event::Timestamp;
use ambidex_core::message::Message;
use ambidex_core::session::Session;
use ambidex_core::thread::{Thread, ThreadChange, ThreadMessage, ThreadQuery};
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::{Engine, ThreadFile, ThreadOptions};
use serde::Deserialize;
use serde_json::{Value, json};

/// As `ambidex._threads` writes them. Times are seconds.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Talk {
    CreateThread { options: Options },
    Thread { id: String },
    Threads { session: Option<String>, agent: Option<String>, limit: usize, cursor: Option<String> },
    Search { text: String, limit: usize },
    Messages { id: String, from: u64, limit: usize },
    Rename { id: String, title: String },
    Describe { id: String, metadata: Value },
    Append { id: String, messages: Vec<Arc<Message>> },
    ForkThread { id: String, messages: Option<u64>, options: Options },
    Edit { id: String, number: u64, message: Arc<Message>, options: Options },
    DeleteThread { id: String },
    Stop { id: String },
    Expand { id: String },
    Export { id: String },
    Import { file: Value, id: Option<String> },
    CreateSession { id: Option<String>, state: Value, ttl: Option<f64> },
    Session { id: String },
    Sessions { limit: usize, cursor: Option<String> },
    Save { id: String, version: Option<u64>, state: Value },
    DeleteSession { id: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    id: Option<String>,
    title: String,
    session: Option<String>,
    ttl: Option<f64>,
    metadata: Option<Value>,
}

impl Options {
    fn into_core(self) -> Result<ThreadOptions, Error> {
        let Self { id, title, session, ttl, metadata } = self;
        Ok(ThreadOptions { id, title, session, ttl: duration(ttl)?, metadata })
    }
}

impl Talk {
    pub(super) async fn carry_out(self, engine: &Engine) -> Result<Value, Error> {
        let (threads, sessions) = (engine.threads(), engine.sessions());
        Ok(match self {
            Self::CreateThread { options } => thread(&threads.create(options.into_core()?).await?),
            Self::Thread { id } => thread(&threads.load(&id).await?),
            Self::Threads { session, agent, limit, cursor } => {
                let query = ThreadQuery { session, agent, limit, cursor: place(cursor)? };
                let page = threads.list(query).await?;
                let found: Vec<_> = page.threads.iter().map(thread).collect();
                json!({ "items": found, "next": page.next.map(|next| next.to_string()) })
            }
            Self::Search { text, limit } => {
                let found = threads.search(&text, limit).await?;
                let found = found.iter().map(|found| {
                    json!({ "thread": thread(&found.thread), "message": found.message.as_ref().map(message) })
                });
                found.collect()
            }
            Self::Messages { id, from, limit } => {
                threads.messages(&id, from, limit).await?.iter().map(message).collect()
            }
            Self::Rename { id, title } => thread(&threads.rename(&id, title).await?),
            Self::Describe { id, metadata } => {
                let change = ThreadChange { metadata: Some(metadata), ..ThreadChange::default() };
                thread(&threads.change(&id, change).await?)
            }
            Self::Append { id, messages } => thread(&threads.append(&id, messages).await?),
            Self::ForkThread { id, messages, options } => {
                thread(&threads.fork(&id, messages, options.into_core()?).await?)
            }
            Self::Edit { id, number, message, options } => {
                thread(&threads.edit(&id, number, message, options.into_core()?).await?)
            }
            Self::DeleteThread { id } => {
                threads.delete(&id).await?;
                Value::Null
            }
            Self::Stop { id } => json!(threads.stop(&id).await?),
            Self::Expand { id } => thread(&threads.expand(&id).await?),
            Self::Export { id } => {
                let text = threads.export(&id).await?.to_json()?;
                serde_json::from_str(&text)
                    .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
            }
            Self::Import { file, id } => {
                thread(&threads.import(ThreadFile::parse(&file.to_string())?, id).await?)
            }
            Self::CreateSession { id, state, ttl } => {
                session(&sessions.create(id, state, duration(ttl)?).await?)
            }
            Self::Session { id } => session(&sessions.load(&id).await?),
            Self::Sessions { limit, cursor } => {
                let page = sessions.list(limit, place(cursor)?).await?;
                let found: Vec<_> = page.sessions.iter().map(session).collect();
                json!({ "items": found, "next": page.next.map(|next| next.to_string()) })
            }
            Self::Save { id, version, state } => session(&sessions.save(&id, version, state).await?),
            Self::DeleteSession { id } => {
                sessions.delete(&id).await?;
                Value::Null
            }
        })
    }
}

fn duration(seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let made = seconds.map(Duration::try_from_secs_f64).transpose();
    made.map_err(|error| Error::new(ErrorKind::InvalidRequest, format!("a time to live: {error}")))
}

fn place<T: std::str::FromStr<Err = String>>(cursor: Option<String>) -> Result<Option<T>, Error> {
    let place = cursor.map(|cursor| cursor.parse()).transpose();
    place.map_err(|why| Error::new(ErrorKind::InvalidRequest, why))
}

#[expect(clippy::cast_precision_loss, reason = "a time to live in milliseconds is far below 2^52")]
fn seconds(ttl: Option<u64>) -> Option<f64> {
    ttl.map(|ms| ms as f64 / 1000.0)
}

pub(crate) fn thread(thread: &Thread) -> Value {
    json!({
        "id": thread.id,
        "title": thread.title,
        "session": thread.session,
        "agent": thread.agent,
        "created_at": Timestamp(thread.created),
        "updated_at": Timestamp(thread.updated),
        "ttl": seconds(thread.ttl),
        "version": thread.version,
        "messages": thread.messages,
        "parent": thread.parent,
        "summary": thread.summary,
        "metadata": thread.metadata,
        "holder": thread.holder,
    })
}

fn message(message: &ThreadMessage) -> Value {
    json!({
        "number": message.number,
        "run": message.run,
        "at": Timestamp(message.at),
        "message": &*message.message,
    })
}

fn session(session: &Session) -> Value {
    json!({
        "id": session.id,
        "state": session.state,
        "version": session.version,
        "metadata": session.metadata,
        "created_at": Timestamp(session.created),
        "updated_at": Timestamp(session.updated),
        "ttl": seconds(session.ttl),
    })
}
