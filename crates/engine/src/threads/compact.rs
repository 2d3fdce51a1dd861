//! Summaries of threads: what models see in place of the older messages, which stay.

use std::sync::Arc;

use ambidex_core::context::RunScope;
use ambidex_core::message::Role;
use ambidex_core::record::Output;
use ambidex_core::thread::{Summary, Thread, ThreadChange};
use ambidex_core::{Context, Error, ErrorKind};
use tokio_util::sync::CancellationToken;

use super::Threads;
use crate::agent::{Agent, RunOptions, new_run_id};
use crate::perform::{self, Ended};

impl Threads {
    /// Messages that stay as they are, where it is not said.
    pub const KEPT: u64 = 6;

    /// Has the model of an agent summarise all but about the last `keep` messages. Runs then begin with the summary and
    /// what comes after it. Nothing happens where there is nothing to summarise.
    ///
    /// # Errors
    /// `busy`: a run has the thread. `conflict`: it has grown meanwhile. Those of the model.
    pub async fn compact(
        &self,
        id: &str,
        agent: &Agent,
        keep: u64,
        token: CancellationToken,
    ) -> Result<Thread, Error> {
        self.compact_with(id, agent, keep, RunOptions { token: Some(token), ..RunOptions::default() }).await
    }

    /// Like [`compact`](Self::compact). Of the options those count that say who asks, and what stops it.
    ///
    /// # Errors
    /// As there.
    pub async fn compact_with(
        &self,
        id: &str,
        agent: &Agent,
        keep: u64,
        options: RunOptions,
    ) -> Result<Thread, Error> {
        let thread = self.load(id).await?;
        let limit = usize::try_from(thread.messages).unwrap_or(usize::MAX);
        let messages = self.messages(id, 0, limit).await?;
        let from = thread.summary.as_ref().map_or(0, |summary| summary.until);
        let most = thread.messages.saturating_sub(keep);
        // Where somebody began to speak: no call is parted from its result.
        let begins = messages.iter().filter(|it| it.message.role == Role::User && it.number <= most);
        let until = begins.map(|it| it.number).max().unwrap_or(0);
        if until <= from {
            return Ok(thread);
        }
        let earlier = thread.summary.iter().map(Summary::message);
        let part = messages.iter().filter(|it| (from..until).contains(&it.number));
        let part = earlier.chain(part.map(|it| it.message.clone())).collect();
        let threads = Some(self.engine.blocking_threads().clone());
        let caller = options.caller;
        let scope = RunScope { run: new_run_id().into(), threads, caller, ..RunScope::default() };
        let token = options.token.unwrap_or_default();
        let context = Context::new(Arc::new(scope), "compact".into(), 1, token, None);
        let text = match perform::summary(agent.runtime.clone(), Arc::new(part), context).await {
            Ended::Result(result) => match *result {
                Ok(Output::Reply(reply)) => reply.text(),
                Ok(_) => return Err(Error::new(ErrorKind::Internal, "a summary is no reply")),
                Err(error) => return Err(error),
            },
            _ => return Err(Error::cancelled()),
        };
        if text.trim().is_empty() {
            return Err(Error::new(ErrorKind::EmptyReply, "the model's summary of the thread is empty"));
        }
        let summary = Some((thread.version, Some(Summary { until, text })));
        self.change(id, ThreadChange { summary, ..ThreadChange::default() }).await
    }

    /// Takes the summary away: runs begin with all messages again.
    pub async fn expand(&self, id: &str) -> Result<Thread, Error> {
        let version = self.load(id).await?.version;
        self.change(id, ThreadChange { summary: Some((version, None)), ..ThreadChange::default() }).await
    }
}
