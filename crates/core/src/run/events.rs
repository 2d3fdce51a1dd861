//! The events a record gives rise to. Computed before the record is folded, shown after it is stored.

use super::flow::Flow;
use super::{Occurrence, Run};
use crate::definition::Mode;
use crate::effect::{EffectId, Task};
use crate::error::Error;
use crate::event::{EventKind, Status, StepKind};
use crate::graph::NodeWork;
use crate::message::Arguments;
use crate::question::Answer;
use crate::record::{Outcome, Output, Pause, Record, RecordKind};
use crate::reply::Reply;

impl Run {
    pub(super) fn occurrences(&self, record: &Record, events: &mut Vec<Occurrence>) {
        let mut say = |kind| events.push(Occurrence { step: None, kind });
        match &record.kind {
            RecordKind::Accepted { .. } if self.queued.is_some() => say(EventKind::RunStarted {}),
            RecordKind::Accepted { .. } | RecordKind::Queued { .. } => {
                let agent = self.agent();
                let mode = agent.map_or(Mode::Workflow, |agent| agent.mode);
                let model = agent.map_or_else(String::new, |agent| agent.model.clone());
                say(EventKind::RunCreated { mode, model });
                match &record.kind {
                    RecordKind::Queued { .. } => say(EventKind::RunStatus { status: Status::Queued }),
                    _ => say(EventKind::RunStarted {}),
                }
            }
            RecordKind::Claimed => say(note("a new process goes on with the run")),
            RecordKind::Intent(intent) => self.started(&intent.id, &intent.task, events),
            RecordKind::Result { effect, result, .. } => self.ended(effect, record.at, result, events),
            RecordKind::Asked { effect, question, .. } => {
                let id = question.id.clone();
                let kind = match &question.relay {
                    Some(relay) => EventKind::RelayAsked { id, queue: relay.queue.clone() },
                    None => EventKind::ApprovalAsked {
                        id,
                        tool: question.tool.clone(),
                        args: question.args.clone(),
                        why: question.why,
                    },
                };
                events.push(Occurrence { step: self.step(effect), kind });
            }
            RecordKind::Closed { effect, question, closing } => {
                let (id, decision) = (question.clone(), closing.as_str().to_owned());
                let asked = self.open.get(effect).map(|open| open.asked.iter()).into_iter().flatten();
                let is_relay =
                    asked.filter(|asked| asked.question.id == id).any(|asked| asked.question.relay.is_some());
                let kind = if is_relay {
                    EventKind::RelayAnswered { id, decision }
                } else {
                    EventKind::ApprovalAnswered { id, decision }
                };
                events.push(Occurrence { step: self.step(effect), kind });
            }
            RecordKind::Lost { effect } => say(note(&format!("{effect} may or may not have happened"))),
            RecordKind::Message(_) => say(note("a message came in")),
            RecordKind::Paused(pause) => match pause {
                Pause::MaxIterations => say(EventKind::BudgetReached { budget: "max_iterations".into() }),
                Pause::Budget(kind) => say(EventKind::BudgetReached { budget: kind.as_str().into() }),
                Pause::Operator => say(note("paused")),
                Pause::Node => say(note(&self.held_at())),
            },
            RecordKind::Resumed(_) => say(note("resumed")),
            RecordKind::Patched(_) => say(note("the state was changed from outside")),
            RecordKind::Stopping(_) => {}
            RecordKind::Finished(outcome) => say(self.finished(outcome)),
        }
    }

    fn step(&self, effect: &EffectId) -> Option<(EffectId, u32)> {
        self.open.get(effect).map(|open| (effect.clone(), open.attempt))
    }

    fn started(&self, id: &EffectId, task: &Task, events: &mut Vec<Occurrence>) {
        let attempt = self.flow.attempt(id);
        let mut say = |kind| events.push(Occurrence { step: Some((id.clone(), attempt)), kind });
        match task {
            Task::Model => {
                say(EventKind::StepStarted { kind: StepKind::Model });
                let model = self.agent().map_or_else(String::new, |agent| agent.model.clone());
                say(EventKind::ModelStarted { model });
            }
            Task::Tool { .. } => {
                say(EventKind::StepStarted { kind: StepKind::Tool });
                let edited = self.approved.get(id).and_then(Option::as_ref);
                if let Some((name, args)) = self.flow.described(id, edited) {
                    say(EventKind::ToolCalled { id: id.to_string(), name, args });
                }
            }
            Task::Summarise { .. } => say(EventKind::StepStarted { kind: StepKind::Summarise }),
            Task::FinishHook => say(EventKind::StepStarted { kind: StepKind::FinishHook }),
            Task::Ask { about, why } => {
                let question = self.question(id, about, *why);
                let (tool, args) = (question.tool, question.args);
                say(EventKind::ApprovalAsked { id: question.id, tool, args, why: *why });
            }
            Task::Question { due } => {
                say(EventKind::StepStarted { kind: StepKind::Question });
                let question = self.question_of_node(id, *due);
                let (tool, args, why) = (question.tool, question.args, question.why);
                say(EventKind::ApprovalAsked { id: question.id, tool, args, why });
            }
            Task::Code | Task::Child | Task::Wait { .. } => {
                say(EventKind::StepStarted { kind: self.step_kind(id, task) });
            }
            Task::Retry { .. } => say(note("waits for another attempt")),
        }
    }

    fn ended(&self, id: &EffectId, at: u64, result: &Result<Output, Error>, events: &mut Vec<Occurrence>) {
        let Some(open) = self.open.get(id) else {
            return;
        };
        let seconds = seconds(at.saturating_sub(open.since));
        let mut say = |kind| events.push(Occurrence { step: Some((id.clone(), open.attempt)), kind });
        let ok = result.is_ok();
        let output;
        let result = match result {
            Ok(Output::Spent { output: inner, .. }) => {
                output = Ok((**inner).clone());
                &output
            }
            other => other,
        };
        match &open.intent.task {
            Task::Model => {
                match result {
                    Ok(Output::Reply(reply)) => {
                        say(EventKind::ModelFinished { finish: reply.finish, usage: reply.usage });
                        self.refused_calls(reply, events);
                    }
                    Ok(_) => {}
                    Err(error) if self.is_saved_by_summary(error) => {
                        say(note(&format!("{error}; a summary takes the place of what was said before")));
                    }
                    Err(error) => say(error_event(error)),
                }
                let kind = EventKind::StepFinished { kind: StepKind::Model, ok, seconds };
                events.push(Occurrence { step: Some((id.clone(), open.attempt)), kind });
            }
            Task::Tool { .. } => {
                let output = match result {
                    Ok(Output::Tool(output)) => output.to_text(),
                    Ok(_) => String::new(),
                    Err(error) => error.to_string(),
                };
                let name = self.flow.tool_name(id);
                say(EventKind::ToolFinished { id: id.to_string(), name, ok, output, seconds });
                self.changed(id, result, &mut say);
                say(EventKind::StepFinished { kind: StepKind::Tool, ok, seconds });
            }
            Task::Code | Task::Child | Task::Wait { .. } => {
                if let Err(error) = result {
                    say(error_event(error));
                }
                self.changed(id, result, &mut say);
                let kind = self.step_kind(id, &open.intent.task);
                say(EventKind::StepFinished { kind, ok, seconds });
            }
            Task::Retry { .. } => {}
            Task::Question { .. } => {
                let decision = match result {
                    Ok(Output::Answer(answer)) => decision(answer),
                    Ok(_) => "unknown",
                    Err(_) => "withdrawn",
                };
                let question = format!("{}/{id}", self.id);
                say(EventKind::ApprovalAnswered { id: question, decision: decision.into() });
                self.changed(id, result, &mut say);
                say(EventKind::StepFinished { kind: StepKind::Question, ok, seconds });
            }
            Task::Summarise { .. } => {
                if let Err(error) = result {
                    say(note(&format!("no summary came: {error}")));
                }
                say(EventKind::StepFinished { kind: StepKind::Summarise, ok, seconds });
            }
            Task::FinishHook => {
                if let Err(error) = result {
                    say(error_event(error));
                }
                say(EventKind::StepFinished { kind: StepKind::FinishHook, ok, seconds });
            }
            Task::Ask { .. } => {
                let decision = match result {
                    Ok(Output::Answer(answer)) => decision(answer),
                    Ok(_) => "unknown",
                    Err(_) => "withdrawn",
                };
                let id = format!("{}/{id}", self.id);
                say(EventKind::ApprovalAnswered { id, decision: decision.into() });
            }
        }
    }

    /// What a node's result makes of the state.
    fn changed(&self, id: &EffectId, result: &Result<Output, Error>, say: &mut impl FnMut(EventKind)) {
        if let (Flow::Graph(graph), Ok(output)) = (&self.flow, result)
            && let Some((node, update)) = graph.change(id, output)
        {
            say(EventKind::StateChanged { node, update });
        }
    }

    fn step_kind(&self, id: &EffectId, task: &Task) -> StepKind {
        let Flow::Graph(graph) = &self.flow else { return StepKind::Code };
        match (task, graph.node_work(id)) {
            (Task::Wait { .. }, _) => StepKind::Wait,
            (Task::Child, Some(NodeWork::Graph { .. })) => StepKind::Graph,
            (Task::Child, _) => StepKind::Agent,
            _ if graph.is_branch(id) => StepKind::Branch,
            _ => StepKind::Code,
        }
    }

    fn held_at(&self) -> String {
        let Flow::Graph(graph) = &self.flow else { return "paused".into() };
        let places = graph
            .held()
            .map(|(node, after)| if after { format!("behind `{node}`") } else { format!("before `{node}`") });
        format!("paused {}", places.collect::<Vec<_>>().join(", "))
    }

    fn is_saved_by_summary(&self, error: &Error) -> bool {
        matches!(&self.flow, Flow::Agent(agent) if agent.is_saved_by_summary(error))
    }

    /// Calls that are answered without being run are shown too.
    fn refused_calls(&self, reply: &Reply, events: &mut Vec<Occurrence>) {
        let Flow::Agent(agent) = &self.flow else { return };
        for (index, call) in reply.message.tool_calls().enumerate() {
            let Some(error) = agent.refusal_of(reply, index) else {
                continue;
            };
            let call_id = format!("t{}.{index}", agent.turn());
            let args = match &call.arguments {
                Arguments::Json(args) => args.clone(),
                Arguments::Invalid { raw, .. } => serde_json::Value::String(raw.clone()),
            };
            let step = Some((EffectId::new(call_id.as_str()), 1));
            let called = EventKind::ToolCalled { id: call_id.clone(), name: call.name.clone(), args };
            let finished = EventKind::ToolFinished {
                id: call_id,
                name: call.name.clone(),
                ok: false,
                output: error.to_string(),
                seconds: 0.0,
            };
            events.push(Occurrence { step: step.clone(), kind: called });
            events.push(Occurrence { step, kind: finished });
        }
    }

    fn finished(&self, outcome: &Outcome) -> EventKind {
        let (status, text, output, error) = match outcome {
            Outcome::Succeeded { text, output, .. } => {
                (Status::Succeeded, text.clone(), output.clone(), None)
            }
            Outcome::Failed(error) => (Status::Failed, self.flow.last_text(), None, Some(error.clone())),
            Outcome::Cancelled => (Status::Cancelled, self.flow.last_text(), None, None),
        };
        EventKind::RunFinished { status, text, output, usage: *self.usage(), error }
    }
}

fn note(text: &str) -> EventKind {
    EventKind::Note { text: text.to_owned() }
}

fn error_event(error: &Error) -> EventKind {
    EventKind::Error {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        retryable: error.is_retryable(),
    }
}

fn decision(answer: &Answer) -> &'static str {
    match answer {
        Answer::Approve => "approve",
        Answer::Edit { .. } => "edit",
        Answer::Reject { .. } => "reject",
        Answer::Answer { .. } => "answer",
        Answer::Repeat => "repeat",
        Answer::Reply(_) => "reply",
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations in milliseconds are far below 2^52")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
