//! The doors of [`PostgresStore`] to threads and sessions.

use std::future::ready;
use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::message::Message;
use ambidex_core::session::{NewSession, Session, SessionChange, SessionPage, Sessions};
use ambidex_core::store::StoreError;
use ambidex_core::thread::{
    Cursor, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
    Threads, check, words,
};

use super::session::Function;
use super::writer::{Parameters, Reply};
use super::{PostgresStore, threads};
use crate::rows::{signed, unsigned};
use crate::threads::{
    ChangeRow, MessageRow, NewSessionRow, NewThreadRow, SessionChangeRow, SignalRow, StepRow,
};

/// What cannot be written is told without going there.
macro_rules! row {
    ($row:expr) => {
        match $row {
            Ok(row) => row,
            Err(error) => return Box::pin(ready(Err(error))),
        }
    };
}

macro_rules! parameters {
    ($($parameter:expr),* $(,)?) => {{
        let parameters: Parameters = vec![$(Box::new($parameter)),*];
        parameters
    }};
}

/// What a function has to say besides "done".
pub(super) fn refused(reply: &Reply, id: &str) -> Option<StoreError> {
    let first = || reply.first.clone().unwrap_or_else(|| id.to_owned());
    Some(match &*reply.outcome {
        "done" => return None,
        "unknown" => StoreError::UnknownThread(first()),
        "exists" => StoreError::Exists(id.to_owned()),
        "held" => StoreError::ThreadHeld(first()),
        "changed" => StoreError::ThreadChanged,
        "unheard" => StoreError::Unheard,
        "too_far" => {
            let messages = reply.number.unwrap_or_default();
            let text = format!("the thread has {messages} messages; fork it at one of them");
            StoreError::Malformed(text)
        }
        other => StoreError::Broken(format!("the store answered `{other}`")),
    })
}

fn refused_session(reply: &Reply, id: &str, expected: Option<u64>) -> Option<StoreError> {
    match &*reply.outcome {
        "unknown" => Some(StoreError::UnknownSession(id.to_owned())),
        "version" => Some(StoreError::VersionConflict {
            expected: expected.unwrap_or_default(),
            found: unsigned(reply.number.unwrap_or_default()),
        }),
        _ => refused(reply, id),
    }
}

/// What a batch does with a thread, behind the parameters of the batch itself.
pub(super) fn step_parameters(step: StepRow) -> Parameters {
    let is_new = step.new.is_some();
    let new = step.new;
    let (title, title_words) = new.as_ref().map(|new| (new.title.clone(), new.words.clone())).unzip();
    let metadata = new.as_ref().map(|new| new.metadata.clone());
    let ttl = new.as_ref().and_then(|new| new.ttl);
    let (session, agent) = new.map(|new| (new.session, new.agent)).unwrap_or_default();
    let (known, version) = step.known.unzip();
    let (place, from, until) = step.shared;
    let (messages, indexes): (Vec<_>, Vec<_>) =
        step.messages.into_iter().map(|row| (row.message, row.words)).unzip();
    parameters![
        step.thread,
        step.at,
        is_new,
        title,
        title_words,
        session,
        agent,
        ttl,
        metadata,
        step.waits,
        step.stop,
        step.begins,
        known,
        version,
        place,
        from,
        until,
        step.heard,
        step.ends,
        step.unheard,
        messages,
        indexes,
    ]
}

impl PostgresStore {
    /// Writes, and reads the thread then.
    fn write_thread(
        &self,
        function: Function,
        parameters: Parameters,
        id: String,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let about = id.clone();
        let written =
            self.write(function, parameters, move |reply| refused(&reply, &about).map_or(Ok(()), Err));
        let store = self.clone();
        Box::pin(async move {
            written.await?;
            Threads::thread(&store, &id, now).await
        })
    }

    fn write_session(
        &self,
        function: Function,
        parameters: Parameters,
        (id, version): (String, Option<u64>),
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>> {
        let about = id.clone();
        let written = self.write(function, parameters, move |reply| {
            refused_session(&reply, &about, version).map_or(Ok(()), Err)
        });
        let store = self.clone();
        Box::pin(async move {
            written.await?;
            store.session(&id, now).await
        })
    }
}

impl Threads for PostgresStore {
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let row = row!(NewThreadRow::new(&new));
        let store = self.clone();
        Box::pin(async move {
            let mut all: Vec<Arc<Message>> = Vec::new();
            if let Some(fork) = &new.fork {
                let parent = Threads::thread(&store, &fork.thread, now).await?;
                // To see that no call is parted from its result.
                let until = usize::try_from(fork.messages).unwrap_or(usize::MAX);
                if fork.messages <= parent.messages {
                    let shared = store.messages(&fork.thread, 0, until, now).await?;
                    all.extend(shared.into_iter().map(|message| message.message));
                }
            }
            all.extend(new.messages.iter().map(|message| message.message.clone()));
            check(&all).map_err(StoreError::Malformed)?;
            let id = row.id.clone();
            let (parent, count) = row.fork.unzip();
            let mut messages = (vec![], vec![], vec![], vec![]);
            for message in row.messages {
                messages.0.push(message.run);
                messages.1.push(message.at);
                messages.2.push(message.message);
                messages.3.push(message.words);
            }
            let parameters = parameters![
                row.id,
                row.title,
                row.words,
                row.session,
                row.agent,
                row.ttl,
                row.metadata,
                parent,
                count,
                row.summary,
                messages.0,
                messages.1,
                messages.2,
                messages.3,
                signed(now),
            ];
            store.write_thread(Function::InsertThread, parameters, id, now).await
        })
    }

    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let (id, reading) = (id.to_owned(), self.shared.reading.clone());
        self.read(move |client| threads::thread(client, reading.clone(), id.clone(), now))
    }

    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage, StoreError>> {
        let reading = self.shared.reading.clone();
        self.read(move |client| threads::threads(client, reading.clone(), query.clone(), now))
    }

    fn search_threads(
        &self,
        text: &str,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<Found>, StoreError>> {
        let (words, reading) = (words(text), self.shared.reading.clone());
        self.read(move |client| threads::search(client, reading.clone(), words.clone(), limit, now))
    }

    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>, StoreError>> {
        let (id, reading) = (id.to_owned(), self.shared.reading.clone());
        self.read(move |client| threads::messages(client, reading.clone(), id.clone(), from, limit, now))
    }

    fn change_thread(
        &self,
        id: &str,
        change: ThreadChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let row = row!(ChangeRow::new(change));
        let (title, words) = row.title.unzip();
        let (version, summary) = row.summary.unzip();
        let parameters = parameters![
            id.to_owned(),
            title,
            words,
            row.session.is_some(),
            row.session.flatten(),
            row.agent.is_some(),
            row.agent.flatten(),
            row.ttl.is_some(),
            row.ttl.flatten(),
            row.metadata,
            version,
            summary.flatten(),
            signed(now),
        ];
        self.write_thread(Function::ChangeThread, parameters, id.to_owned(), now)
    }

    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        row!(check(&messages).map_err(StoreError::Malformed));
        let rows: Vec<_> = row!(messages.iter().map(|message| MessageRow::new(message)).collect());
        let (messages, indexes): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|row| (row.message, row.words)).unzip();
        let parameters = parameters![id.to_owned(), signed(version), messages, indexes, signed(now)];
        self.write_thread(Function::AppendMessages, parameters, id.to_owned(), now)
    }

    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let about = id.to_owned();
        self.write(Function::DeleteThread, parameters![id.to_owned()], move |reply| {
            refused(&reply, &about).map_or(Ok(()), Err)
        })
    }

    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line, StoreError>> {
        let id = id.to_owned();
        self.read(move |client| threads::line(client, id.clone()))
    }

    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64, StoreError>> {
        let row = row!(SignalRow::new(&signal));
        let (message, words) = row.message.map(|row| (row.message, row.words)).unzip();
        let parameters = parameters![id.to_owned(), run.to_owned(), row.kind, message, words];
        let (about, stirs) = (id.to_owned(), self.shared.stirs.clone());
        self.write(Function::TellRun, parameters, move |reply| match refused(&reply, &about) {
            Some(refused) => Err(refused),
            None => {
                stirs.stir();
                Ok(unsigned(reply.number.unwrap_or_default()))
            }
        })
    }

    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>, StoreError>> {
        let (run, reading) = (run.to_owned(), self.shared.reading.clone());
        self.read(move |client| threads::signals(client, reading.clone(), run.clone(), after))
    }

    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.shared.stirs.after(seen)
    }

    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(Function::Sweep, parameters![signed(now), limit], |reply| {
            Ok(unsigned(reply.number.unwrap_or_default()))
        })
    }
}

impl Sessions for PostgresStore {
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let NewSessionRow { id, state, metadata, ttl } = row!(NewSessionRow::new(&new));
        let about = (id.clone(), None);
        let parameters = parameters![id, state, metadata, ttl, signed(now)];
        self.write_session(Function::CreateSession, parameters, about, now)
    }

    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let (id, reading) = (id.to_owned(), self.shared.reading.clone());
        self.read(move |client| threads::session(client, reading.clone(), id.clone(), now))
    }

    fn sessions(
        &self,
        limit: usize,
        cursor: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage, StoreError>> {
        let reading = self.shared.reading.clone();
        self.read(move |client| threads::sessions(client, reading.clone(), limit, cursor.clone(), now))
    }

    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>> {
        let row = row!(SessionChangeRow::new(&change));
        let parameters = parameters![
            id.to_owned(),
            version.map(signed),
            row.state,
            row.metadata,
            row.ttl.is_some(),
            row.ttl.flatten(),
            signed(now),
        ];
        self.write_session(Function::ChangeSession, parameters, (id.to_owned(), version), now)
    }

    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let about = id.to_owned();
        self.write(Function::DeleteSession, parameters![id.to_owned()], move |reply| {
            refused_session(&reply, &about, None).map_or(Ok(()), Err)
        })
    }
}
