//! Questions and answers of the store in memory.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{MemoryStore, Tables};
use crate::BoxFuture;
use crate::question::{Answer, AnswerError, Question, Questions, Standing};
use crate::store::StoreError;

pub(super) struct Asked {
    order: u64,
    pub(super) question: Question,
    pub(super) answer: Option<Answer>,
    pub(super) withdrawn: bool,
    /// The run is done with it.
    pub(super) taken: bool,
    /// A reply that is being written.
    written: String,
}

impl Asked {
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_none() && !self.withdrawn
    }
}

impl Tables {
    /// Idempotent on its id: a question asked before keeps its answer.
    pub(super) fn ask(&mut self, run: &str, question: Question) {
        if self.questions.contains_key(&question.id) {
            return;
        }
        self.asked += 1;
        if let Some(row) = self.runs.get_mut(run) {
            row.questions.push(question.id.clone());
        }
        let asked = Asked {
            order: self.asked,
            answer: None,
            withdrawn: false,
            taken: false,
            written: String::new(),
            question,
        };
        self.questions.insert(asked.question.id.clone(), asked);
    }

    pub(super) fn withdraw(&mut self, id: &str) -> Option<Answer> {
        let asked = self.questions.get_mut(id)?;
        asked.withdrawn = asked.answer.is_none();
        asked.answer.clone()
    }

    /// The question, if it is open.
    fn open(&mut self, id: &str) -> Result<&mut Asked, AnswerError> {
        match self.questions.get_mut(id) {
            None => Err(AnswerError::Unknown),
            Some(asked) if asked.withdrawn => Err(AnswerError::Withdrawn),
            Some(asked) if asked.answer.is_some() => Err(AnswerError::AlreadyAnswered),
            Some(asked) => Ok(asked),
        }
    }
}

impl MemoryStore {
    /// Resolves when `look` finds in the question what it looks for.
    fn until<T: Send + 'static>(
        &self,
        id: &str,
        look: impl Fn(&Asked) -> Option<T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            loop {
                // Listen before looking, or what came in between would be missed.
                let mut next = std::pin::pin!(shared.answered.notified());
                next.as_mut().enable();
                let found = {
                    let tables = shared.tables.lock().unwrap_or_else(PoisonError::into_inner);
                    tables.questions.get(&id).and_then(&look)
                };
                match found {
                    Some(found) => return found,
                    None => next.await,
                }
            }
        })
    }

    pub(super) fn until_answers(&self, seen: u64) -> BoxFuture<'static, u64> {
        let shared = self.shared.clone();
        Box::pin(async move {
            loop {
                let mut next = std::pin::pin!(shared.answered.notified());
                next.as_mut().enable();
                match shared.answers.load(Ordering::Acquire) {
                    answers if answers > seen => return answers,
                    _ => next.await,
                }
            }
        })
    }
}

impl Questions for MemoryStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        let (id, run) = (question.id.clone(), question.run.clone());
        let mut tables = self.tables();
        tables.ask(&run, question);
        let standing = tables.questions.get(&id).map(|asked| Standing {
            question: asked.question.clone(),
            answer: asked.answer.clone(),
            withdrawn: asked.withdrawn,
        });
        let standing = standing.ok_or_else(|| StoreError::Broken(format!("no question {id}")));
        Box::pin(std::future::ready(standing))
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.tables().withdraw(id))))
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        let taken = self.tables().open(id).map(|asked| asked.answer = Some(answer));
        if taken.is_ok() {
            self.shared.answers.fetch_add(1, Ordering::AcqRel);
            self.shared.answered.notify_waiters();
        }
        Box::pin(std::future::ready(taken))
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        let tables = self.tables();
        let open = tables.questions.values();
        let mut open: Vec<_> =
            open.filter(|asked| asked.is_open() && run.is_none_or(|run| asked.question.run == run)).collect();
        open.sort_by_key(|asked| asked.order);
        let open = open.into_iter().map(|asked| asked.question.clone()).collect();
        Box::pin(std::future::ready(Ok(open)))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.until(id, |asked| asked.answer.clone())
    }

    fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        let written = self.tables().open(id).map(|asked| asked.written.push_str(text));
        self.shared.answered.notify_waiters();
        written
    }

    fn written(&self, id: &str, seen: usize) -> BoxFuture<'static, String> {
        self.until(id, move |asked| (asked.written.len() > seen).then(|| asked.written.clone()))
    }
}
