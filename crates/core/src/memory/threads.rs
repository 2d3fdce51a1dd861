//! Threads of the store in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::Arc;

use super::MemoryStore;
use crate::BoxFuture;
use crate::message::Message;
use crate::session::Session;
use crate::store::StoreError;
use crate::thread::{
    Cursor, End, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage,
    ThreadQuery, ThreadStep, Threads, Unheard, check, searched, words,
};

/// Threads, who is in line for them, and what their runs are told.
#[derive(Default)]
pub(super) struct Conversations {
    rows: BTreeMap<u64, ThreadRow>,
    ids: HashMap<String, u64>,
    /// Threads so far, those that are forgotten too.
    created: u64,
    told: u64,
    signals: BTreeMap<u64, Told>,
    pub(super) sessions: BTreeMap<String, Session>,
}

struct ThreadRow {
    /// `holder` and `messages` are those of now.
    thread: Thread,
    /// Whose messages come before its own, and how many.
    base: Option<(u64, u64)>,
    own: Vec<ThreadMessage>,
    waiting: VecDeque<String>,
    /// Forgotten, but for what its forks share.
    hidden: bool,
}

struct Told {
    run: String,
    signal: Signal,
}

impl Conversations {
    fn find(&self, id: &str) -> Option<&ThreadRow> {
        self.rows.get(self.ids.get(id)?)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut ThreadRow> {
        self.rows.get_mut(self.ids.get(id)?)
    }

    fn alive(&self, id: &str, now: u64) -> Result<&ThreadRow, StoreError> {
        let row = self.find(id).filter(|row| !row.is_over(now));
        row.ok_or_else(|| StoreError::UnknownThread(id.to_owned()))
    }

    fn own(&self, number: u64, from: u64, until: u64) -> impl Iterator<Item = &ThreadMessage> {
        let row = self.rows.get(&number);
        let messages = row.into_iter().flat_map(|row| &row.own);
        messages.skip_while(move |message| message.number < from).take_while(move |it| it.number < until)
    }

    /// Messages of a thread in their order, those of others first.
    fn read(&self, number: u64, from: u64, limit: usize) -> Vec<ThreadMessage> {
        let mut pieces = Vec::new();
        let mut until = self.rows.get(&number).map_or(0, |row| row.thread.messages);
        let mut next = Some(number);
        while let Some(number) = next {
            let base = self.rows.get(&number).and_then(|row| row.base);
            let begins = base.map_or(0, |(_, count)| count);
            pieces.push((number, begins.max(from), until));
            until = until.min(begins);
            next = base.map(|(owner, _)| owner).filter(|_| from < until);
        }
        let messages =
            pieces.into_iter().rev().flat_map(|(number, from, until)| self.own(number, from, until));
        messages.take(limit).cloned().collect()
    }

    fn create(&mut self, new: NewThread, now: u64) -> Result<u64, StoreError> {
        if let Some(row) = self.find(&new.id) {
            if !row.is_over(now) || row.is_held() {
                return Err(StoreError::Exists(new.id));
            }
            self.forget(&new.id);
        }
        let base = match &new.fork {
            None => None,
            Some(fork) => {
                let parent = self.alive(&fork.thread, now)?;
                let (mut owner, count) = (parent.thread.number, fork.messages);
                if count > parent.thread.messages {
                    return Err(too_far(&fork.thread, parent.thread.messages));
                }
                // Whoever has the last of them: chains of forks do not grow longer than they must.
                while let Some((elder, shared)) = self.rows.get(&owner).and_then(|row| row.base) {
                    if count > shared {
                        break;
                    }
                    owner = elder;
                }
                (count > 0).then_some((owner, count))
            }
        };
        let first = base.map_or(0, |(_, count)| count);
        let mut own = new.messages;
        for (number, message) in (first..).zip(&mut own) {
            message.number = number;
        }
        self.created += 1;
        let number = self.created;
        let thread = Thread {
            number,
            created: now,
            updated: now,
            version: 1,
            messages: first + own.len() as u64,
            parent: new.fork,
            summary: new.summary,
            holder: None,
            id: new.id.clone(),
            title: new.title,
            session: new.session,
            agent: new.agent,
            ttl: new.ttl,
            metadata: new.metadata,
        };
        self.ids.insert(new.id, number);
        let waiting = VecDeque::new();
        self.rows.insert(number, ThreadRow { thread, base, own, waiting, hidden: false });
        Ok(number)
    }

    /// Also those that only lived on for it.
    pub(super) fn forget(&mut self, id: &str) {
        let Some(number) = self.ids.remove(id) else { return };
        if let Some(row) = self.rows.get_mut(&number) {
            row.hidden = true;
        }
        let mut next = Some(number);
        while let Some(number) = next {
            let shared = self.rows.values().any(|row| row.base.is_some_and(|(owner, _)| owner == number));
            if shared || self.rows.get(&number).is_none_or(|row| !row.hidden) {
                return;
            }
            next = self.rows.remove(&number).and_then(|row| row.base).map(|(owner, _)| owner);
        }
    }

    fn tell(&mut self, run: &str, signal: Signal) -> u64 {
        self.told += 1;
        self.signals.insert(self.told, Told { run: run.to_owned(), signal });
        self.told
    }

    /// The threads of a session, or who holds one of them.
    pub(super) fn of_session(&self, session: &str) -> Result<Vec<String>, StoreError> {
        let rows = self.rows.values().filter(|row| !row.hidden);
        let rows = rows.filter(|row| row.thread.session.as_deref() == Some(session));
        let ids = rows.map(|row| match row.held_by() {
            Some(run) => Err(StoreError::ThreadHeld(run)),
            None => Ok(row.thread.id.clone()),
        });
        ids.collect()
    }

    /// Why a step is refused. Changes nothing.
    pub(super) fn check(&self, run: &str, step: &ThreadStep) -> Result<(), StoreError> {
        let row = self.find(&step.thread).filter(|row| !row.is_over(step.at));
        if let Some(begin) = &step.begin {
            match row {
                None if begin.known.is_some() => return Err(StoreError::ThreadChanged),
                None => {}
                Some(row) => {
                    let line = row.line();
                    if !line.is_turn_of(run) {
                        let before = line.holder.or_else(|| line.waiting.first().cloned());
                        return Err(StoreError::ThreadHeld(before.unwrap_or_default()));
                    }
                    if begin.known != Some((row.thread.number, row.thread.version)) {
                        return Err(StoreError::ThreadChanged);
                    }
                }
            }
        }
        if let Some(End { unheard: Unheard::Refuse, .. }) = &step.end {
            let mut told = self.signals.iter().filter(|(_, told)| told.run == run);
            if told.any(|(no, told)| matches!(told.signal, Signal::Message(_)) && !step.heard.contains(no)) {
                return Err(StoreError::Unheard);
            }
        }
        Ok(())
    }

    /// Carries out a step that was checked. Says whether lines or signals changed.
    pub(super) fn apply(&mut self, run: &str, step: ThreadStep) -> bool {
        let ThreadStep { thread: id, at, wait, begin, heard, end } = step;
        let mut stirs = begin.is_none();
        for no in heard {
            self.signals.remove(&no);
        }
        for new in [wait.as_ref().map(|wait| &wait.new), begin.as_ref().map(|begin| &begin.new)] {
            if let Some(new) = new.filter(|_| self.alive(&id, at).is_err()) {
                // It cannot be there.
                drop(self.create(new.clone(), at));
            }
        }
        if let Some(wait) = wait {
            let holder = self.find(&id).and_then(|row| row.thread.holder.clone());
            if let (Some(holder), Some(stop)) = (holder, wait.stop) {
                self.tell(&holder, stop);
            }
            if let Some(row) = self.find_mut(&id).filter(|row| !row.waiting.iter().any(|one| one == run)) {
                row.waiting.push_back(run.to_owned());
            }
            stirs = true;
        }
        if let (Some(begin), Some(row)) = (begin, self.find_mut(&id)) {
            row.waiting.retain(|waiting| waiting != run);
            row.thread.holder = Some(run.to_owned());
            row.thread.agent = begin.new.agent.or(row.thread.agent.take());
        }
        if let Some(End { messages, unheard }) = end {
            stirs = true;
            let told: Vec<u64> =
                self.signals.iter().filter(|(_, told)| told.run == run).map(|(no, _)| *no).collect();
            let told = told.into_iter().filter_map(|no| self.signals.remove(&no));
            let late = told.filter_map(|told| match told.signal {
                Signal::Message(message) if unheard == Unheard::Keep => Some(message),
                Signal::Message(_) | Signal::Stop | Signal::RollBack => None,
            });
            let late: Vec<_> = late.collect();
            if let Some(row) = self.find_mut(&id) {
                row.waiting.retain(|waiting| waiting != run);
                if row.thread.holder.as_deref() == Some(run) {
                    row.thread.holder = None;
                    row.append(Some(run), messages.into_iter().chain(late), at);
                }
            }
        }
        stirs
    }
}

impl ThreadRow {
    fn is_over(&self, now: u64) -> bool {
        self.hidden || (self.thread.expires().is_some_and(|at| at <= now) && !self.is_held())
    }

    fn is_held(&self) -> bool {
        self.held_by().is_some()
    }

    fn held_by(&self) -> Option<String> {
        self.thread.holder.clone().or_else(|| self.waiting.front().cloned())
    }

    fn line(&self) -> Line {
        Line { holder: self.thread.holder.clone(), waiting: self.waiting.iter().cloned().collect() }
    }

    fn append(&mut self, run: Option<&str>, messages: impl Iterator<Item = Arc<Message>>, at: u64) {
        let before = self.own.len();
        for message in messages {
            let (number, run) = (self.thread.messages, run.map(str::to_owned));
            self.own.push(ThreadMessage { number, run, at, message });
            self.thread.messages += 1;
        }
        if self.own.len() > before {
            self.thread.version += 1;
        }
        self.thread.updated = at;
    }

    fn cursor(&self) -> Cursor {
        Cursor { updated: self.thread.updated, id: self.thread.id.clone() }
    }
}

fn too_far(thread: &str, messages: u64) -> StoreError {
    StoreError::Malformed(format!("thread `{thread}` has {messages} messages; fork it at one of them"))
}

impl MemoryStore {
    fn stir(&self) {
        self.shared.stirs.send_modify(|stirs| *stirs += 1);
    }

    fn thread_page(&self, query: &ThreadQuery, now: u64) -> ThreadPage {
        let tables = self.tables();
        let rows = tables.conversations.rows.values().filter(|row| {
            !row.is_over(now)
                && (query.session.is_none() || query.session == row.thread.session)
                && (query.agent.is_none() || query.agent == row.thread.agent)
                && query.cursor.as_ref().is_none_or(|last| row.cursor() < *last)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_cached_key(|row| Reverse(row.cursor()));
        let limit = query.limit.clamp(1, 1000);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.cursor());
        ThreadPage { threads: rows.into_iter().map(|row| row.thread.clone()).collect(), next }
    }

    fn found(&self, text: &str, limit: usize, now: u64) -> Vec<Found> {
        let wanted: HashSet<String> = words(text).into_iter().collect();
        let tables = self.tables();
        let has = |text: &str| {
            let there: HashSet<String> = words(text).into_iter().collect();
            wanted.is_subset(&there)
        };
        let mut found: Vec<Found> = Vec::new();
        for row in tables.conversations.rows.values().filter(|row| !row.is_over(now) && !wanted.is_empty()) {
            let message = row.own.iter().rev().find(|message| has(&searched(&message.message)));
            if message.is_some() || has(&row.thread.title) {
                found.push(Found { thread: row.thread.clone(), message: message.cloned() });
            }
        }
        found.sort_by_key(|found| Reverse((found.thread.updated, found.thread.id.clone())));
        found.truncate(limit);
        found
    }

    fn change(&self, id: &str, change: ThreadChange, now: u64) -> Result<Thread, StoreError> {
        let mut tables = self.tables();
        let row = tables.conversations.alive(id, now)?;
        if let Some((version, _)) = &change.summary {
            if let Some(run) = row.held_by() {
                return Err(StoreError::ThreadHeld(run));
            }
            if row.thread.version != *version {
                return Err(StoreError::ThreadChanged);
            }
        }
        let unknown = || StoreError::UnknownThread(id.to_owned());
        let thread = &mut tables.conversations.find_mut(id).ok_or_else(unknown)?.thread;
        let ThreadChange { title, session, agent, ttl, metadata, summary } = change;
        thread.title = title.unwrap_or(std::mem::take(&mut thread.title));
        thread.session = session.unwrap_or(thread.session.take());
        thread.agent = agent.unwrap_or(thread.agent.take());
        thread.ttl = ttl.unwrap_or(thread.ttl);
        thread.metadata = metadata.unwrap_or(std::mem::take(&mut thread.metadata));
        if let Some((_, summary)) = summary {
            thread.summary = summary;
            thread.version += 1;
        }
        thread.updated = now;
        Ok(thread.clone())
    }

    fn append(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> Result<Thread, StoreError> {
        check(&messages).map_err(StoreError::Malformed)?;
        let mut tables = self.tables();
        let row = tables.conversations.alive(id, now)?;
        if let Some(run) = row.held_by() {
            return Err(StoreError::ThreadHeld(run));
        }
        if row.thread.version != version {
            return Err(StoreError::ThreadChanged);
        }
        let unknown = || StoreError::UnknownThread(id.to_owned());
        let row = tables.conversations.find_mut(id).ok_or_else(unknown)?;
        row.append(None, messages.into_iter(), now);
        Ok(row.thread.clone())
    }

    fn delete(&self, id: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let row = tables.conversations.find(id).ok_or_else(|| StoreError::UnknownThread(id.to_owned()))?;
        if let Some(run) = row.held_by() {
            return Err(StoreError::ThreadHeld(run));
        }
        tables.conversations.forget(id);
        Ok(())
    }

    fn tell_run(&self, id: &str, run: &str, signal: Signal) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let row = tables.conversations.find(id).filter(|row| row.thread.holder.as_deref() == Some(run));
        row.ok_or(StoreError::ThreadChanged)?;
        Ok(tables.conversations.tell(run, signal))
    }

    fn make(&self, new: NewThread, now: u64) -> Result<Thread, StoreError> {
        let shared = match &new.fork {
            // To see that no call is parted from its result.
            Some(fork) => {
                let tables = self.tables();
                let parent = tables.conversations.alive(&fork.thread, now)?;
                if fork.messages > parent.thread.messages {
                    return Err(too_far(&fork.thread, parent.thread.messages));
                }
                let until = usize::try_from(fork.messages).unwrap_or(usize::MAX);
                tables.conversations.read(parent.thread.number, 0, until)
            }
            None => vec![],
        };
        check(shared.iter().chain(&new.messages).map(|message| &message.message))
            .map_err(StoreError::Malformed)?;
        let mut tables = self.tables();
        let number = tables.conversations.create(new, now)?;
        let row = tables.conversations.rows.get(&number);
        row.map(|row| row.thread.clone()).ok_or_else(|| StoreError::Broken("the thread is not there".into()))
    }

    fn sweep_conversations(&self, now: u64, limit: usize) -> u64 {
        let mut tables = self.tables();
        let rows = tables.conversations.rows.values();
        let over = rows.filter(|row| !row.hidden && row.is_over(now)).map(|row| row.thread.id.clone());
        let over: Vec<String> = over.take(limit).collect();
        for id in &over {
            tables.conversations.forget(id);
        }
        let left = limit - over.len();
        (over.len() + tables.conversations.sweep_sessions(now, left)) as u64
    }
}

impl Threads for MemoryStore {
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        Box::pin(ready(self.make(new, now)))
    }

    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let found = self.tables().conversations.alive(id, now).map(|row| row.thread.clone());
        Box::pin(ready(found))
    }

    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage, StoreError>> {
        Box::pin(ready(Ok(self.thread_page(&query, now))))
    }

    fn search_threads(
        &self,
        text: &str,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<Found>, StoreError>> {
        Box::pin(ready(Ok(self.found(text, limit, now))))
    }

    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>, StoreError>> {
        let tables = self.tables();
        let number = tables.conversations.alive(id, now).map(|row| row.thread.number);
        Box::pin(ready(number.map(|number| tables.conversations.read(number, from, limit))))
    }

    fn change_thread(
        &self,
        id: &str,
        change: ThreadChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        Box::pin(ready(self.change(id, change, now)))
    }

    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        Box::pin(ready(self.append(id, version, messages, now)))
    }

    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(self.delete(id)))
    }

    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line, StoreError>> {
        let line = self.tables().conversations.find(id).map(ThreadRow::line);
        Box::pin(ready(line.ok_or_else(|| StoreError::UnknownThread(id.to_owned()))))
    }

    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64, StoreError>> {
        let told = self.tell_run(id, run, signal);
        self.stir();
        Box::pin(ready(told))
    }

    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>, StoreError>> {
        let tables = self.tables();
        let signals = tables.conversations.signals.range(after.saturating_add(1)..);
        let signals = signals.filter(|(_, told)| told.run == run);
        Box::pin(ready(Ok(signals.map(|(no, told)| (*no, told.signal.clone())).collect())))
    }

    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64> {
        let mut stirs = self.shared.stirs.subscribe();
        // The store lives as long as somebody waits.
        let shared = self.shared.clone();
        Box::pin(async move {
            let found = stirs.wait_for(|stirs| *stirs > seen).await.map(|stirs| *stirs);
            drop(shared);
            match found {
                Ok(stirs) => stirs,
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        Box::pin(ready(Ok(self.sweep_conversations(now, limit))))
    }
}
