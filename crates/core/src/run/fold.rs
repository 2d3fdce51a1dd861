//! How a record changes the state. Total and deterministic: no user code, no decision.

use super::flow::Flow;
use super::follow::in_doubt;
use super::{AskedByEffect, Open, Phase, Queued, Run};
use crate::effect::{EffectId, Task};
use crate::error::{Error, ErrorKind};
use crate::question::{Answer, Why};
use crate::record::{Output, Record, RecordKind, Refused, RunInput, VERSION};
use crate::tool::{EffectClass, ToolOutput};

impl Run {
    /// Folds one record. The only way the state changes.
    pub fn apply(&mut self, record: &Record) -> Result<(), Refused> {
        if record.v != VERSION {
            let text = format!("record {} has version {}, this build reads {VERSION}", record.seq, record.v);
            return Err(Refused::Corrupt(text));
        }
        if record.seq != self.seq {
            return Err(Refused::Corrupt(format!("record {} where {} should be", record.seq, self.seq)));
        }
        if !self.may_follow(&record.kind) {
            return Err(Refused::Corrupt(
                "a run begins with the record of its acceptance, and only once".into(),
            ));
        }
        if !matches!(record.kind, RecordKind::Claimed) {
            self.time.spent = self.active_at(record.at);
        }
        self.time.last = record.at;
        self.seq += 1;
        match &record.kind {
            RecordKind::Accepted { definition, input, thread, deadline_ms, parent, budget } => {
                self.check_beginning(definition, input)?;
                self.time.limit = *deadline_ms;
                self.thread.clone_from(thread);
                self.parent.clone_from(parent);
                self.queued = None;
                if let Some(budget) = budget {
                    self.flow.limit(budget);
                }
                self.flow.start(input, record.at);
                self.phase = Phase::Running;
            }
            RecordKind::Queued { definition, input, thread, deadline_ms, budget } => {
                self.check_beginning(definition, input)?;
                self.thread.clone_from(thread);
                self.queued = Some(Box::new(Queued {
                    input: input.clone(),
                    deadline_ms: *deadline_ms,
                    budget: budget.clone(),
                }));
            }
            RecordKind::Claimed => self.open.iter_mut().for_each(Open::survive),
            RecordKind::Intent(intent) => {
                let open = Open {
                    intent: intent.clone(),
                    attempt: self.flow.attempt(&intent.id),
                    doubt: false,
                    since: record.at,
                    asked: vec![],
                };
                self.flow.started(intent);
                self.open.insert(open);
            }
            RecordKind::Result { effect, attempt, result } => {
                self.apply_result(effect, *attempt, result, record.at)?;
            }
            RecordKind::Lost { effect } => match self.open.get_mut(effect) {
                Some(open) => open.doubt = true,
                None => return Err(Refused::Corrupt(format!("{effect} was lost, but is not open"))),
            },
            RecordKind::Asked { effect, question, beside } => {
                let asked = AskedByEffect { question: (**question).clone(), beside: *beside };
                self.asking(effect)?.push(asked);
            }
            RecordKind::Closed { effect, question, .. } => {
                self.asking(effect)?.retain(|asked| asked.question.id != *question);
            }
            RecordKind::Message(message) => self.flow.steer(message.clone()),
            RecordKind::Paused(pause) => self.phase = Phase::Paused(*pause),
            RecordKind::Resumed(grant) => {
                self.flow.grant(grant, record.at);
                self.phase = Phase::Running;
            }
            RecordKind::Patched(change) => match &mut self.flow {
                Flow::Graph(graph) => graph.patch(change),
                Flow::Agent(_) => {
                    return Err(Refused::Corrupt(
                        "the state of an agent was changed, but it has none".into(),
                    ));
                }
            },
            RecordKind::Stopping(outcome) => self.phase = Phase::Stopping(outcome.clone()),
            RecordKind::Finished(outcome) => {
                self.flow.close(outcome);
                self.approved.clear();
                self.queued = None;
                self.phase = Phase::Finished(outcome.clone());
            }
        }
        Ok(())
    }

    /// Whether a record can stand here: a run begins by being accepted, right away or once it has been in line.
    fn may_follow(&self, kind: &RecordKind) -> bool {
        let begins = matches!(self.phase, Phase::New);
        match kind {
            RecordKind::Queued { .. } => self.seq == 0,
            RecordKind::Accepted { .. } => self.seq == 0 || (begins && self.queued.is_some()),
            RecordKind::Claimed | RecordKind::Finished(_) => self.seq > 0,
            _ => self.seq > 0 && !begins,
        }
    }

    fn check_beginning(&self, definition: &str, input: &RunInput) -> Result<(), Refused> {
        if *definition != *self.definition.hash {
            let text = format!("the run was accepted with the definition {definition}");
            return Err(Refused::Corrupt(text));
        }
        if !self.flow.takes(input) {
            return Err(Refused::Corrupt("the run begins with what another kind of run takes".into()));
        }
        Ok(())
    }

    fn asking(&mut self, effect: &EffectId) -> Result<&mut Vec<AskedByEffect>, Refused> {
        let open = self.open.get_mut(effect).map(|open| &mut open.asked);
        open.ok_or_else(|| Refused::Corrupt(format!("{effect} asks, but is not open")))
    }

    fn apply_result(
        &mut self,
        effect: &EffectId,
        attempt: u32,
        result: &Result<Output, Error>,
        at: u64,
    ) -> Result<(), Refused> {
        let Some(open) = self.open.remove(effect).filter(|open| open.attempt == attempt) else {
            let text = format!("a result of attempt {attempt} of {effect}, which is not open");
            return Err(Refused::Corrupt(text));
        };
        self.flow.ended(&open.intent.task);
        match &open.intent.task {
            Task::Ask { about, why: Why::Approval } => self.apply_approval(about, result, at),
            Task::Ask { about, why: Why::InDoubt } => self.apply_doubt(about, result, at),
            // A reply is asked for by the effect of a model, never by one of its own.
            Task::Ask { why: Why::Reply, .. } => {}
            Task::Summarise { until } => self.flow.summarised(*until, result),
            Task::Retry { .. } => {
                if let Some(about) = open.intent.retried() {
                    self.flow.released(&about, false);
                }
            }
            _ => self.take_in(effect, attempt, result, at),
        }
        Ok(())
    }

    /// What was done, or stands in for it, reaches the flow.
    fn take_in(&mut self, effect: &EffectId, attempt: u32, result: &Result<Output, Error>, at: u64) {
        let output;
        let result = match result {
            Ok(Output::Spent { output: inner, usage }) => {
                self.flow.spent(usage);
                output = Ok((**inner).clone());
                &output
            }
            other => other,
        };
        // What a graph told to stop reports is not news to it: nothing follows from that but what it cost.
        let is_told = match (&mut self.flow, &self.phase, result) {
            (Flow::Graph(graph), Phase::Stopping(_), Err(error)) => {
                graph.spent(error);
                true
            }
            _ => false,
        };
        if is_told || self.flow.result(&self.id, effect, attempt, result, at) {
            self.approved.remove(effect);
        }
    }

    fn apply_approval(&mut self, about: &EffectId, result: &Result<Output, Error>, at: u64) {
        let answer = match result {
            Ok(Output::Answer(answer)) => answer,
            Ok(_) => return self.take_in(about, 1, &Err(denied("the answer was no decision")), at),
            Err(error) => return self.take_in(about, 1, &Err(error.clone()), at),
        };
        match answer {
            Answer::Approve | Answer::Repeat => {
                self.approved.insert(about.clone(), None);
                self.flow.released(about, true);
            }
            Answer::Edit { args } => {
                self.approved.insert(about.clone(), Some(args.clone()));
                self.flow.released(about, true);
            }
            Answer::Reject { reason } => self.take_in(about, 1, &Err(denied(reason)), at),
            Answer::Answer { answer } => self.take_in(about, 1, &stand_in(answer), at),
            Answer::Reply(_) => self.take_in(about, 1, &Err(denied("the answer was no decision")), at),
        }
    }

    fn apply_doubt(&mut self, about: &EffectId, result: &Result<Output, Error>, at: u64) {
        if let Ok(Output::Answer(Answer::Repeat | Answer::Approve)) = result {
            if let Some(open) = self.open.get_mut(about) {
                open.doubt = false;
                open.attempt += 1;
            }
            return;
        }
        let Some(open) = self.open.remove(about) else {
            return; // given up before the question was closed
        };
        self.flow.ended(&open.intent.task);
        let given_up = |why: &str| Err(in_doubt(why));
        let result = match result {
            Ok(Output::Answer(Answer::Answer { answer })) => stand_in(answer),
            Ok(Output::Answer(Answer::Reject { reason })) => {
                given_up(&format!("and a person said: {reason}"))
            }
            _ => given_up("nobody said whether it did"),
        };
        self.take_in(about, open.attempt, &result, at);
    }
}

impl Open {
    /// Its process is gone.
    fn survive(&mut self) {
        // Whoever performs the effect now asks again, and finds what was answered meanwhile.
        self.asked.clear();
        match self.intent.class {
            EffectClass::Once | EffectClass::Undeclared => self.doubt = true,
            EffectClass::Read | EffectClass::Idempotent if !self.doubt => self.attempt += 1,
            EffectClass::Read | EffectClass::Idempotent => {}
        }
    }
}

fn denied(reason: &str) -> Error {
    Error::new(ErrorKind::Denied, reason)
}

fn stand_in(answer: &serde_json::Value) -> Result<Output, Error> {
    Ok(Output::Tool(ToolOutput::Json(answer.clone())))
}
