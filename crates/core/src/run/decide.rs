//! What an input means in the run's present state.

use super::flow::Flow;
use super::{AskedByEffect, Phase, Run};
use crate::budget::BudgetKind;
use crate::effect::EffectId;
use crate::error::{Error, ErrorKind};
use crate::record::{Input, Outcome, Pause, RecordKind, Refused};
use crate::relay::Closing;

impl Run {
    /// The records an input means, or why it is not taken. Changes nothing.
    pub fn decide(&self, input: Input, at: u64) -> Result<Vec<RecordKind>, Refused> {
        match (&self.phase, input) {
            (Phase::New, Input::Accept { input, .. } | Input::Queue { input, .. })
                if !self.flow.takes(&input) =>
            {
                Err(Refused::Corrupt("an agent begins with messages, a graph with a state".into()))
            }
            (Phase::New, Input::Accept { input, thread, deadline_ms, parent, budget }) => {
                let definition = self.definition.hash.clone();
                Ok(vec![RecordKind::Accepted { definition, input, thread, deadline_ms, parent, budget }])
            }
            (Phase::New, Input::Queue { input, thread, deadline_ms, budget }) if self.queued.is_none() => {
                let definition = self.definition.hash.clone();
                Ok(vec![RecordKind::Queued { definition, input, thread, deadline_ms, budget }])
            }
            (Phase::New, Input::Claim) if self.queued.is_some() => Ok(vec![RecordKind::Claimed]),
            (Phase::New, Input::Cancel) if self.queued.is_some() => {
                Ok(vec![RecordKind::Finished(Outcome::Cancelled)])
            }
            (Phase::New, _) => Err(Refused::NotAccepted),
            (_, Input::Accept { .. } | Input::Queue { .. }) => Err(Refused::AlreadyAccepted),
            (Phase::Finished(_), _) => Err(Refused::Finished),
            (_, Input::Claim) => Ok(vec![RecordKind::Claimed]),
            (_, Input::Done { effect, attempt, result }) => match self.open.get(&effect) {
                Some(open) if open.attempt == attempt && !open.doubt => {
                    // What the effect did not wait for in the end needs no answer.
                    let mut kinds: Vec<_> =
                        open.asked.iter().map(|asked| withdrawn(&effect, asked)).collect();
                    kinds.push(RecordKind::Result { effect, attempt, result });
                    Ok(kinds)
                }
                _ => Err(Refused::NotOpen),
            },
            (phase, Input::Asked { effect, attempt, question, beside }) => match self.open.get(&effect) {
                Some(open) if open.attempt == attempt && !open.doubt => {
                    let known = open.asked.iter().any(|asked| asked.question.id == question.id);
                    let takes = !known && !matches!(phase, Phase::Stopping(_));
                    Ok(takes.then_some(RecordKind::Asked { effect, question, beside }).into_iter().collect())
                }
                _ => Err(Refused::NotOpen),
            },
            (_, Input::Closed { effect, attempt, question, closing }) => match self.open.get(&effect) {
                Some(open) if open.attempt == attempt && !open.doubt => {
                    Ok(vec![RecordKind::Closed { effect, question, closing }])
                }
                _ => Err(Refused::NotOpen),
            },
            (_, Input::Lost { effect, attempt }) => match self.open.get(&effect) {
                Some(open) if open.attempt == attempt && !open.doubt && !open.intent.class.repeatable() => {
                    Ok(vec![RecordKind::Lost { effect }])
                }
                _ => Err(Refused::NotOpen),
            },
            (_, Input::Message(_)) if matches!(self.flow, Flow::Graph(_)) => Err(Refused::TakesNoMessage),
            (_, Input::Message(message)) => Ok(vec![RecordKind::Message(message)]),
            (_, Input::Patch(_)) if matches!(self.flow, Flow::Agent(_)) => Err(Refused::HasNoState),
            (Phase::Running | Phase::Paused(_), Input::Patch(state)) => Ok(vec![RecordKind::Patched(state)]),
            (Phase::Stopping(_), Input::Patch(_)) => Ok(vec![]),
            (Phase::Running, Input::Pause) => Ok(vec![RecordKind::Paused(Pause::Operator)]),
            (_, Input::Pause) => Ok(vec![]),
            (Phase::Paused(_), Input::Resume(grant)) => Ok(vec![RecordKind::Resumed(grant)]),
            (_, Input::Resume(_)) => Err(Refused::NotPaused),
            (Phase::Stopping(_), Input::Cancel | Input::Tick) => Ok(vec![]),
            (_, Input::Cancel) => Ok(vec![RecordKind::Stopping(Outcome::Cancelled)]),
            (_, Input::Tick) if self.time_left(at) == Some(0) && self.ticking() => {
                let limit = self.time.limit.unwrap_or(0);
                let text = format!("the run's deadline passed after {:.1} s", seconds(limit));
                let error = Error::new(ErrorKind::Timeout, text);
                Ok(vec![RecordKind::Stopping(Outcome::Failed(error))])
            }
            (Phase::Running, Input::Tick) if self.over_wall_budget(at) => {
                Ok(vec![RecordKind::Paused(Pause::Budget(BudgetKind::Wall))])
            }
            (_, Input::Tick) => Ok(vec![]),
        }
    }

    fn over_wall_budget(&self, at: u64) -> bool {
        self.flow.wall_limit().is_some_and(|limit| self.active_at(at) >= limit)
    }
}

fn withdrawn(effect: &EffectId, asked: &AskedByEffect) -> RecordKind {
    let (effect, question) = (effect.clone(), asked.question.id.clone());
    RecordKind::Closed { effect, question, closing: Closing::Withdrawn }
}

#[expect(clippy::cast_precision_loss, reason = "a limit in milliseconds is far below 2^52")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
