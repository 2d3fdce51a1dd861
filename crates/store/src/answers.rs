//! Who in this process waits for answers, and replies that are being written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::BoxFuture;
use ambidex_core::question::{Answer, AnswerError};
use tokio::sync::{Notify, oneshot, watch};

/// The table of those who wait. Whoever waits registers first and reads the store then, and an answer is
/// delivered after its commit: so none falls in between.
#[derive(Default)]
pub(crate) struct Answers {
    table: Mutex<Table>,
    /// Answers seen so far, of this process and of others.
    count: watch::Sender<u64>,
    written: Notify,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<String, Vec<oneshot::Sender<Answer>>>,
    /// Of questions that were asked or are waited for here and are open as far as is known.
    drafts: HashMap<String, String>,
}

/// One who waits.
pub(crate) struct Waiting {
    answers: Arc<Answers>,
    id: String,
    receiver: oneshot::Receiver<Answer>,
}

impl Answers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait(self: &Arc<Self>, id: &str) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.table();
        table.waiting.entry(id.to_owned()).or_default().push(sender);
        table.drafts.entry(id.to_owned()).or_default();
        Waiting { answers: self.clone(), id: id.to_owned(), receiver }
    }

    /// Wakes who waits for this answer, and whoever waits for any.
    pub(crate) fn deliver(&self, id: &str, answer: &Answer) {
        let waiting = {
            let mut table = self.table();
            table.drafts.remove(id);
            table.waiting.remove(id)
        };
        for sender in waiting.into_iter().flatten() {
            // It may have gone away.
            drop(sender.send(answer.clone()));
        }
        self.count();
    }

    /// An answer came in somewhere.
    pub(crate) fn count(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Questions that somebody here waits for.
    pub(crate) fn waited_for(&self) -> Vec<String> {
        self.table().waiting.keys().cloned().collect()
    }

    pub(crate) fn after(self: &Arc<Self>, seen: u64) -> BoxFuture<'static, u64> {
        let mut count = self.count.subscribe();
        Box::pin(async move {
            let found = count.wait_for(|count| *count > seen).await.map(|count| *count);
            match found {
                Ok(count) => count,
                // The store is closed: there will be no more.
                Err(_) => std::future::pending().await,
            }
        })
    }

    pub(crate) fn asked(&self, id: &str) {
        self.table().drafts.entry(id.to_owned()).or_default();
    }

    pub(crate) fn closed(&self, id: &str) {
        self.table().drafts.remove(id);
    }

    pub(crate) fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        let mut table = self.table();
        table.drafts.get_mut(id).ok_or(AnswerError::Unknown)?.push_str(text);
        drop(table);
        self.written.notify_waiters();
        Ok(())
    }

    pub(crate) fn written(self: &Arc<Self>, id: &str, seen: usize) -> BoxFuture<'static, String> {
        let (answers, id) = (self.clone(), id.to_owned());
        Box::pin(async move {
            loop {
                // Listen before looking, or what came in between would be missed.
                let mut next = std::pin::pin!(answers.written.notified());
                next.as_mut().enable();
                let found = answers.table().drafts.get(&id).filter(|draft| draft.len() > seen).cloned();
                match found {
                    Some(found) => return found,
                    None => next.await,
                }
            }
        })
    }
}

impl Waiting {
    pub(crate) async fn answer(mut self) -> Answer {
        match (&mut self.receiver).await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.receiver.close();
        let mut table = self.answers.table();
        if let Some(waiting) = table.waiting.get_mut(&self.id) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                table.waiting.remove(&self.id);
            }
        }
    }
}
