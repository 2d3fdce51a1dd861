//! The agent flow: model, tools, model, tools, ... until a whole reply asks for no tool.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compaction::Compactor;
use super::repeat::{Repeated, Repeats};
use super::{Want, Wanted};
use crate::budget::{Budget, BudgetKind, Grant};
use crate::cap;
use crate::chunk::Finish;
use crate::definition::{AgentDefinition, Approval, Mode};
use crate::effect::{CallToMake, EffectId, Intent, Task, Work};
use crate::error::{Error, ErrorKind};
use crate::message::{Arguments, History, Message, Part, PlacedCall, ToolCall, ToolResult};
use crate::record::{Outcome, Output, Pause};
use crate::reply::Reply;
use crate::tool::EffectClass;
use crate::usage::Usage;

/// State of an agent's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Stored once for all runs that share it, and no part of a snapshot.
    #[serde(skip, default = "AgentDefinition::unknown")]
    definition: Arc<AgentDefinition>,
    history: History,
    usage: Usage,
    /// Model calls answered so far.
    turn: u32,
    limit: u32,
    budget: Budget,
    tool_calls: u64,
    /// The calls of the last reply; empty between rounds.
    calls: Vec<OpenCall>,
    /// Steering; joins the history right before the next model call.
    queue: Vec<Arc<Message>>,
    /// The provider paused its turn and wants the same history again, so steering waits.
    turn_paused: bool,
    repeats: Repeats,
    compactor: Compactor,
    /// Text of replies that are being continued: cut, or of a turn the provider paused.
    cut: String,
    repairs: u32,
    nudged: bool,
    done: Option<Outcome>,
    hooked: bool,
}

/// A call of the last reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OpenCall {
    id: EffectId,
    placed: PlacedCall,
    answer: Option<Arc<Message>>,
    failed: bool,
}

const REPAIRS: u32 = 1;
/// Calls of one reply that are run; the model is told about the others.
const CALLS_PER_REPLY: usize = 32;

impl Agent {
    pub(super) fn new(definition: Arc<AgentDefinition>) -> Self {
        Self {
            limit: definition.max_iterations,
            budget: definition.budget.clone(),
            compactor: Compactor::new(&definition),
            definition,
            history: History::default(),
            usage: Usage::default(),
            turn: 0,
            tool_calls: 0,
            calls: vec![],
            queue: vec![],
            turn_paused: false,
            repeats: Repeats::default(),
            cut: String::new(),
            repairs: 0,
            nudged: false,
            done: None,
            hooked: false,
        }
    }

    pub(super) fn start(&mut self, input: &[Arc<Message>]) {
        self.history = Arc::new(input.to_vec());
        self.compactor.start(input);
    }

    /// Read from a snapshot, under the definition of its run.
    pub(super) fn under(self, definition: Arc<AgentDefinition>) -> Self {
        Self { definition, ..self }
    }

    pub(super) fn definition(&self) -> &Arc<AgentDefinition> {
        &self.definition
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn turn(&self) -> u32 {
        self.turn
    }

    pub(super) fn wall_limit(&self) -> Option<u64> {
        self.budget.wall_ms
    }

    pub(super) fn count_tool_call(&mut self) {
        self.tool_calls += 1;
    }

    /// The limit that keeps this effect from starting, when so many calls start with it in one step.
    pub(super) fn budget_reached(&self, active_ms: u64, started: u64, intent: &Intent) -> Option<BudgetKind> {
        if matches!(intent.task, Task::FinishHook) {
            return None; // the work is done, and asking what to make of it uses nothing up
        }
        let next = matches!(intent.task, Task::Tool { .. });
        self.budget.reached(&self.usage, self.tool_calls + started + u64::from(next), active_ms)
    }

    pub(super) fn last_text(&self) -> String {
        let replies = self.history.iter().rev().filter(|message| message.role == crate::Role::Assistant);
        replies.map(|message| message.text()).next().unwrap_or_default()
    }

    pub(super) fn tool_name(&self, id: &EffectId) -> &str {
        self.calls.iter().find(|call| call.id == *id).and_then(OpenCall::call).map_or("", |call| &call.name)
    }

    pub(super) fn wanted(&self) -> Wanted {
        if let Some(outcome) = &self.done {
            if self.definition.finish_hook && !self.hooked {
                return one(EffectId::new("finish"), EffectClass::Idempotent, Task::FinishHook);
            }
            return Wanted::Finish(outcome.clone());
        }
        if !self.calls.is_empty() {
            let missing = self.calls.iter().filter(|call| call.answer.is_none());
            return Wanted::Effects(missing.map(|call| self.want_tool(call)).collect());
        }
        if self.turn >= self.limit {
            return Wanted::Pause(Pause::MaxIterations);
        }
        if let Some(until) = self.compactor.wanted(&self.history, &self.queue, self.is_continued()) {
            let id = EffectId::new(format!("c{}.{}", self.turn, self.compactor.number()));
            return one(id, EffectClass::Read, Task::Summarise { until });
        }
        one(self.model_id(), EffectClass::Read, Task::Model)
    }

    fn model_id(&self) -> EffectId {
        let turn = self.turn;
        EffectId::new(if self.compactor.again() { format!("m{turn}.1") } else { format!("m{turn}") })
    }

    /// The next reply goes on with the last one, so that stays as it is.
    fn is_continued(&self) -> bool {
        self.turn_paused || !self.cut.is_empty()
    }

    pub(super) fn to_summarise(&self, until: usize) -> History {
        self.compactor.part(&self.history, until)
    }

    /// Whether a summary saves the turn from this error of its model.
    pub(super) fn is_saved_by_summary(&self, error: &Error) -> bool {
        self.done.is_none()
            && error.kind() == ErrorKind::ContextTooLong
            && self.compactor.helps(&self.history, self.is_continued())
    }

    fn want_tool(&self, open: &OpenCall) -> Want {
        let tool = open.call().and_then(|call| self.definition.tool(&call.name));
        let intent = Intent {
            id: open.id.clone(),
            class: tool.map_or(EffectClass::Once, |tool| tool.spec.effect),
            task: Task::Tool { exclusive: tool.is_some_and(|tool| tool.spec.exclusive) },
        };
        Want { intent, ask: tool.is_none_or(|tool| tool.approval == Approval::Ask) }
    }

    pub(super) fn work(&self, id: &EffectId, edited: Option<&Value>) -> Option<Work> {
        if let Some(open) = self.calls.iter().find(|call| call.id == *id) {
            let call = CallToMake::new(open.placed.clone(), edited.cloned())?;
            let class = self.definition.tool(call.name()).map_or(EffectClass::Once, |tool| tool.spec.effect);
            return Some(Work::Tool { call, class });
        }
        match &self.done {
            Some(outcome) => Some(Work::FinishHook { outcome: outcome.clone() }),
            None if *id == self.model_id() => {
                let history = self.compactor.view(&self.history);
                Some(Work::Model { agent: self.definition.clone(), history })
            }
            None => None,
        }
    }

    pub(super) fn result(&mut self, id: &EffectId, result: &Result<Output, Error>) {
        if let Some(index) = self.calls.iter().position(|call| call.id == *id) {
            self.answer(index, result);
            self.close_round();
            return;
        }
        match result {
            Ok(Output::Reply(reply)) if self.done.is_none() => self.reply(reply),
            Ok(Output::Outcome(outcome)) => {
                self.done = Some((**outcome).clone());
                self.hooked = true;
            }
            Ok(_) => self.fail(ErrorKind::Internal, "the effect's result is of another kind"),
            Err(error) => {
                if let Some(usage) = error.usage() {
                    self.usage.add(usage);
                }
                if self.is_saved_by_summary(error) {
                    return self.compactor.was_too_long(error);
                }
                self.hooked |= self.done.is_some();
                self.done = Some(Outcome::Failed(error.clone()));
            }
        }
    }

    pub(super) fn spent(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }

    pub(super) fn summarised(&mut self, until: usize, result: &Result<Output, Error>) {
        let usage = match result {
            Ok(Output::Reply(reply)) => Some(&reply.usage),
            Ok(_) => None,
            Err(error) => error.usage(),
        };
        if let Some(usage) = usage {
            self.usage.add(usage);
        }
        if let Some(error) = self.compactor.summarised(&self.history, until, result) {
            self.done.get_or_insert(Outcome::Failed(error));
        }
    }

    fn fail(&mut self, kind: ErrorKind, message: impl Into<String>) {
        self.done = Some(Outcome::Failed(Error::new(kind, message)));
    }

    fn reply(&mut self, reply: &Reply) {
        self.usage.add(&reply.usage);
        self.compactor.replied(&self.history, &reply.usage);
        self.turn += 1;
        // Providers refuse a message of nothing.
        if !reply.message.parts.iter().all(is_blank) {
            Arc::make_mut(&mut self.history).push(reply.message.clone());
        }
        // Also of a reply that fails the run: no call stays in history without an answer.
        self.open_calls(reply);
        match reply.finish {
            Finish::ContentFilter => {
                return self
                    .fail(ErrorKind::ContentFilter, "the provider's content filter stopped the reply");
            }
            Finish::Refusal => return self.fail(ErrorKind::Refused, refusal(&reply.message)),
            _ => {}
        }
        if self.takes_output_tool(reply) || self.is_stopped(reply) {
            return;
        }
        self.turn_paused = self.calls.is_empty() && reply.finish == Finish::Paused;
        if self.calls.is_empty() {
            return self.answer_without_tools(reply);
        }
        self.nudged = false;
        self.cut.clear();
        self.close_round();
    }

    fn open_calls(&mut self, reply: &Reply) {
        let turn = self.turn - 1;
        self.calls = PlacedCall::all(&reply.message)
            .enumerate()
            .map(|(index, placed)| OpenCall {
                id: EffectId::new(format!("t{turn}.{index}")),
                placed,
                answer: None,
                failed: false,
            })
            .collect();
        for index in 0..self.calls.len() {
            if let Some(error) = self.refusal_of(reply, index) {
                self.answer(index, &Err(error));
            }
        }
    }

    /// Why a call of this reply is answered without being run.
    pub(super) fn refusal_of(&self, reply: &Reply, index: usize) -> Option<Error> {
        let call = reply.message.tool_calls().nth(index)?;
        if index >= CALLS_PER_REPLY {
            let text = format!("at most {CALLS_PER_REPLY} calls in one reply are run; call it again");
            return Some(Error::new(ErrorKind::Denied, text));
        }
        if let Arguments::Invalid { reason, .. } = &call.arguments {
            let cut =
                if reply.finish == Finish::Length { "; the reply was cut by the token limit" } else { "" };
            let text = format!("{reason}{cut}. Nothing was run; call it again with whole, valid arguments");
            return Some(Error::new(ErrorKind::InvalidArguments, text));
        }
        if let Some(fault) = reply.faults.iter().find(|fault| fault.call == index) {
            return Some(fault.error.clone());
        }
        let Some(tool) = self.definition.tool(&call.name) else {
            if self.definition.output_tool.as_deref() == Some(call.name.as_str()) {
                return None;
            }
            let names: Vec<_> = self.definition.tools.iter().map(|tool| tool.spec.name.as_str()).collect();
            let text = format!("there is no tool `{}`; there are: {}", call.name, names.join(", "));
            return Some(Error::new(ErrorKind::UnknownTool, text));
        };
        (tool.approval == Approval::Deny)
            .then(|| Error::new(ErrorKind::Denied, format!("the tool `{}` is not allowed here", call.name)))
    }

    /// A call of the output tool ends the run when its arguments match the schema.
    fn takes_output_tool(&mut self, reply: &Reply) -> bool {
        if !self.calls.iter().any(|open| self.is_output(open)) {
            return false;
        }
        if reply.output.is_some() {
            let (text, output) = (self.whole_text(reply), reply.output.clone());
            self.done = Some(Outcome::Succeeded { text, output, completed: true });
            return true;
        }
        let fault = reply.output_fault.as_deref().unwrap_or("the output does not match");
        let fault = Err(Error::new(ErrorKind::OutputInvalid, fault));
        for index in 0..self.calls.len() {
            if self.calls[index].answer.is_none() && self.is_output(&self.calls[index]) {
                self.answer(index, &fault);
            }
        }
        if self.repairs >= REPAIRS {
            let fault = reply.output_fault.as_deref().unwrap_or("the arguments are not JSON");
            self.fail(ErrorKind::OutputInvalid, format!("{fault} (after {REPAIRS} repair)"));
            return true;
        }
        self.repairs += 1;
        false
    }

    fn is_output(&self, open: &OpenCall) -> bool {
        let name = self.definition.output_tool.as_deref();
        name.is_some() && open.call().map(|call| call.name.as_str()) == name
    }

    fn is_stopped(&mut self, reply: &Reply) -> bool {
        let by_text = self.definition.stop.text.as_ref().is_some_and(|text| reply.text().contains(text));
        if !reply.stop && !by_text {
            return false;
        }
        let (text, output) = (self.whole_text(reply), reply.output.clone());
        let misses_output = self.definition.output.is_some() && output.is_none();
        let completed = self.calls.is_empty() && reply.finish == Finish::Stop && !misses_output;
        self.done = Some(Outcome::Succeeded { text, output, completed });
        true
    }

    fn answer_without_tools(&mut self, reply: &Reply) {
        let text = reply.text();
        let wants_output = self.definition.output.is_some();
        match reply.finish {
            Finish::Paused => self.cut.push_str(&text),
            Finish::Length if wants_output => {
                let text = "the output was cut by the token limit; raise `max_tokens`";
                self.fail(ErrorKind::ReplyTruncated, text);
            }
            Finish::Length if self.definition.mode == Mode::Auto && text.trim().is_empty() && self.nudged => {
                let text = "the replies were cut by the token limit before a word came; raise `max_tokens`";
                self.fail(ErrorKind::ReplyTruncated, text);
            }
            Finish::Length if self.definition.mode == Mode::Auto => {
                self.nudged = true;
                self.cut.push_str(&text);
                self.tell("Your reply was cut at the token limit. Go on exactly where it stopped.");
            }
            Finish::Length => {
                let text = self.whole_text(reply);
                self.done = Some(Outcome::Succeeded { text, output: None, completed: false });
            }
            _ if text.trim().is_empty() && self.nudged => {
                self.fail(ErrorKind::EmptyReply, "the model answered with nothing, twice in a row");
            }
            _ if text.trim().is_empty() => {
                self.nudged = true;
                self.tell("Your reply was empty. Answer in words, or call a tool.");
            }
            _ if wants_output && reply.output.is_none() => self.repair(reply),
            _ if !self.queue.is_empty() => {} // the model has not seen it: another turn
            _ => {
                let (text, output) = (self.whole_text(reply), reply.output.clone());
                self.done = Some(Outcome::Succeeded { text, output, completed: true });
            }
        }
        if !text.trim().is_empty() {
            self.nudged = false;
            if !matches!(reply.finish, Finish::Length | Finish::Paused) {
                self.cut.clear();
            }
        }
    }

    fn repair(&mut self, reply: &Reply) {
        let fault = reply.output_fault.as_deref().unwrap_or("it is not JSON");
        if self.repairs >= REPAIRS {
            return self.fail(ErrorKind::OutputInvalid, format!("{fault} (after {REPAIRS} repair)"));
        }
        self.repairs += 1;
        let how = match &self.definition.output_tool {
            Some(tool) => format!("Call `{tool}` with arguments that match its schema."),
            None => "Reply again with nothing but JSON that matches the schema.".to_owned(),
        };
        self.tell(&format!("Your reply does not match the output schema: {fault}. {how}"));
    }

    /// Text of this reply behind those it continues.
    fn whole_text(&self, reply: &Reply) -> String {
        if self.cut.is_empty() { reply.text() } else { format!("{}{}", self.cut, reply.text()) }
    }

    fn tell(&mut self, text: &str) {
        Arc::make_mut(&mut self.history).push(Message::user(text));
    }

    fn answer(&mut self, index: usize, result: &Result<Output, Error>) {
        let Some(call) = self.calls[index].call() else {
            return;
        };
        let (text, failed) = match result {
            Ok(Output::Tool(output)) => (cap::head_and_tail(output.to_text(), cap::FOR_THE_MODEL), false),
            Ok(_) => ("the tool gave no result".to_owned(), true),
            Err(error) => {
                if let Some(usage) = error.usage() {
                    self.usage.add(usage);
                }
                (cap::head_and_tail(error.to_string(), cap::FOR_THE_MODEL), true)
            }
        };
        let message = Message::tool_result(call, text, failed);
        self.calls[index].answer = Some(message);
        self.calls[index].failed = failed;
    }

    fn close_round(&mut self) {
        if self.calls.iter().any(|call| call.answer.is_none()) {
            return;
        }
        self.notice_repeats();
        self.stop_after_tools();
        self.keep_answers();
    }

    /// Answers join the history in the order of the calls, whatever order they came in.
    fn keep_answers(&mut self) {
        let answers = self.calls.drain(..).filter_map(|call| call.answer);
        Arc::make_mut(&mut self.history).extend(answers);
    }

    /// Counted when the round is over, in the order of the calls, for the same reason.
    fn notice_repeats(&mut self) {
        for open in &mut self.calls {
            let repeated = match (open.call(), open.result()) {
                (Some(call), Some(result)) => self.repeats.count(call, &result.text),
                _ => Repeated::No,
            };
            match repeated {
                Repeated::No => {}
                Repeated::Tell => open.add_to_result(
                    "\n\n[The same call with the same arguments gave the same result several times. \
                     Do something else.]",
                ),
                Repeated::Stop => {
                    let name = open.call().map_or("", |call| &call.name);
                    let times = Repeats::STOP;
                    let why = format!(
                        "`{name}` was called {times} times with the same arguments and the same result"
                    );
                    self.done.get_or_insert(Outcome::Failed(Error::new(ErrorKind::RepeatedCalls, why)));
                }
            }
        }
    }

    fn stop_after_tools(&mut self) {
        let after = &self.definition.stop.after_tools;
        if after.is_empty() || self.done.is_some() {
            return;
        }
        let stops =
            |open: &&OpenCall| !open.failed && open.call().is_some_and(|call| after.contains(&call.name));
        let Some(stopping) = self.calls.iter().find(stops) else {
            return;
        };
        let said = stopping.placed.message().text();
        let answer = || stopping.result().map(|result| result.text.clone()).unwrap_or_default();
        let text = if said.trim().is_empty() { answer() } else { said };
        self.done = Some(Outcome::Succeeded { text, output: None, completed: false });
    }

    pub(super) fn steer(&mut self, message: Arc<Message>) {
        self.queue.push(message);
    }

    pub(super) fn summarising(&mut self, until: usize) {
        self.compactor.summarising(until);
    }

    /// A model call starts. Not sooner: a call in flight has not seen what comes now.
    pub(super) fn take_in_steering(&mut self) {
        self.compactor.asked();
        if !self.turn_paused && !self.queue.is_empty() {
            Arc::make_mut(&mut self.history).append(&mut self.queue);
        }
    }

    pub(super) fn limit(&mut self, budget: &Budget) {
        self.budget.tighten(budget);
    }

    pub(super) fn grant(&mut self, grant: &Grant) {
        self.limit = self.limit.saturating_add(grant.iterations);
        self.budget.raise(&grant.budget);
    }

    /// A finished run leaves no call without an answer: providers refuse such a history.
    pub(super) fn close(&mut self, outcome: &Outcome) {
        let error = match outcome {
            Outcome::Succeeded { .. } => {
                Error::new(ErrorKind::Cancelled, "not run: the run ended with this reply")
            }
            Outcome::Failed(error) => Error::new(ErrorKind::Cancelled, format!("the run failed: {error}")),
            Outcome::Cancelled => Error::cancelled(),
        };
        let taken = Ok(Output::Tool("taken".into()));
        let error = Err(error);
        for index in 0..self.calls.len() {
            if self.calls[index].answer.is_some() {
                continue;
            }
            let is_taken = matches!(outcome, Outcome::Succeeded { .. }) && self.is_output(&self.calls[index]);
            self.answer(index, if is_taken { &taken } else { &error });
        }
        self.keep_answers();
        Arc::make_mut(&mut self.history).append(&mut self.queue);
    }
}

impl OpenCall {
    fn call(&self) -> Option<&ToolCall> {
        self.placed.get()
    }

    fn result(&self) -> Option<&ToolResult> {
        match self.answer.as_ref()?.parts.first()? {
            Part::ToolResult(result) => Some(result),
            _ => None,
        }
    }

    fn add_to_result(&mut self, note: &str) {
        let message = self.answer.as_mut().map(Arc::make_mut);
        if let Some(Part::ToolResult(result)) = message.and_then(|message| message.parts.first_mut()) {
            result.text.push_str(note);
        }
    }
}

fn one(id: EffectId, class: EffectClass, task: Task) -> Wanted {
    Wanted::Effects(vec![Want { intent: Intent { id, class, task }, ask: false }])
}

fn is_blank(part: &Part) -> bool {
    matches!(part, Part::Text { text } if text.trim().is_empty())
}

fn refusal(message: &Message) -> String {
    let words = message.parts.iter().find_map(|part| match part {
        Part::Refusal { text } if !text.is_empty() => Some(text.clone()),
        _ => None,
    });
    let words = words.unwrap_or_else(|| message.text());
    if words.is_empty() { "the model refused".to_owned() } else { format!("the model refused: {words}") }
}
