//! What a graph wants done, how its effects are named, and what becomes of their results.
//!
//! Ids: `plan#0` (a node and its visit), `plan#0[2]` (an item), `plan#0?` (the branch behind it), `human:plan#0` (a
//! question), `retry:plan#0.1` (the wait before another attempt).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::active::{Active, BRANCH, End, Items, Slot};
use super::{Graph, due, ends_the_run};
use crate::definition::Approval;
use crate::effect::{CallToMake, EffectId, Intent, Task, Work};
use crate::error::{Error, ErrorKind};
use crate::graph::{Next, NodeCall, NodeDefinition, NodeOutput, NodeWork};
use crate::question::Answer;
use crate::record::{Outcome, Output};
use crate::tool::{EffectClass, ToolOutput};

/// An effect that may start when there is a place for it.
pub(in crate::run) struct Startable<'a> {
    pub node: &'a NodeDefinition,
    pub intent: Intent,
}

impl Graph {
    /// Items whose work may start, by node and item.
    pub(in crate::run) fn work(&self) -> &BTreeSet<(u32, u32)> {
        &self.work
    }

    pub(in crate::run) fn startable(&self, (node, item): (u32, u32)) -> Option<Startable<'_>> {
        let active = self.running.get(&node)?;
        let definition = &self.definition.nodes[node as usize];
        let id = EffectId::new(self.id(node, active, item));
        let (class, task) = match &definition.work {
            _ if item == BRANCH => (EffectClass::Read, Task::Code),
            NodeWork::Tool { exclusive, .. } => (definition.class(), Task::Tool { exclusive: *exclusive }),
            NodeWork::Agent { .. } | NodeWork::Graph { .. } => (definition.class(), Task::Child),
            _ => (definition.class(), Task::Code),
        };
        Some(Startable { node: definition, intent: Intent { id, class, task } })
    }

    /// How many more effects may start.
    pub(in crate::run) fn places(&self) -> u32 {
        self.definition.concurrency.max(1).saturating_sub(self.in_flight)
    }

    /// Tools in flight, and whether one of them wants to be alone.
    pub(in crate::run) fn tools(&self) -> (u32, bool) {
        (self.tools, self.exclusive)
    }

    /// What starts at once, for it takes no place: waits, and questions of nodes. Approvals are the run's: they
    /// come as an id alone.
    pub(in crate::run) fn free(&self, at: u64) -> impl Iterator<Item = Result<Intent, EffectId>> + '_ {
        self.free.iter().filter_map(move |&(node, item)| {
            let active = self.running.get(&node)?;
            let slot = active.slot(item)?;
            let definition = &self.definition.nodes[node as usize];
            let id = self.id(node, active, item);
            let class = EffectClass::Read;
            if slot.failures > 0
                && let Some(due) = slot.due
            {
                let retry = EffectId::new(format!("retry:{id}.{}", slot.failures));
                return Some(Ok(Intent { id: retry, class, task: Task::Retry { due } }));
            }
            Some(match &definition.work {
                NodeWork::Wait { .. } => {
                    let due = slot.due.unwrap_or(at);
                    Ok(Intent { id: EffectId::new(id), class, task: Task::Wait { due } })
                }
                NodeWork::Ask { expire_ms, .. } => {
                    let due = expire_ms.map(|ms| at.saturating_add(ms));
                    let class = EffectClass::Idempotent;
                    Ok(Intent {
                        id: EffectId::new(format!("human:{id}")),
                        class,
                        task: Task::Question { due },
                    })
                }
                _ => Err(EffectId::new(id)),
            })
        })
    }

    fn id(&self, node: u32, active: &Active, item: u32) -> String {
        let name = &self.definition.nodes[node as usize].name;
        let mut id = String::with_capacity(name.len() + 8);
        // Writing to a text cannot fail.
        let _ = match item {
            BRANCH => write!(id, "{name}#{}?", active.visit),
            _ if active.items == Items::One => write!(id, "{name}#{}", active.visit),
            _ => write!(id, "{name}#{}[{item}]", active.visit),
        };
        id
    }

    /// The node and the item that an effect belongs to, where it is under way.
    fn find(&self, id: &EffectId) -> Option<(u32, u32)> {
        let id = id.as_str();
        let id = id.strip_prefix("human:").unwrap_or(id);
        let (name, rest) = id.rsplit_once('#')?;
        let node = self.plan.0.index(name)?;
        let active = self.running.get(&node)?;
        let (visit, item) = match (rest.strip_suffix('?'), rest.split_once('[')) {
            (Some(visit), _) => (visit, BRANCH),
            (_, Some((visit, item))) => (visit, item.strip_suffix(']')?.parse().ok()?),
            _ => (rest, 0),
        };
        (visit.parse() == Ok(active.visit)).then_some((node, item))
    }

    fn active(&self, id: &EffectId) -> Option<(u32, u32, &Active)> {
        let (node, item) = self.find(id)?;
        Some((node, item, self.running.get(&node)?))
    }

    fn slot_mut(&mut self, (node, item): (u32, u32)) -> Option<&mut Slot> {
        self.running.get_mut(&node)?.slot_mut(item)
    }

    /// The attempt that starts now.
    pub(in crate::run) fn attempt(&self, id: &EffectId) -> u32 {
        let slot = self.active(id).and_then(|(_, item, active)| active.slot(item));
        slot.map_or(1, |slot| slot.attempt + 1)
    }

    /// An intent was recorded.
    pub(in crate::run) fn started(&mut self, intent: &Intent) {
        let retried = intent.retried();
        let about = match &intent.task {
            Task::Ask { about, .. } => about,
            Task::Retry { .. } => retried.as_ref().unwrap_or(&intent.id),
            task => {
                if task.takes_a_place() {
                    self.in_flight += 1;
                }
                if let Task::Tool { exclusive } = task {
                    self.tools += 1;
                    self.tool_calls += 1;
                    self.exclusive |= exclusive;
                }
                &intent.id
            }
        };
        if let Some(place) = self.find(about) {
            self.work.remove(&place);
            self.free.remove(&place);
        }
    }

    /// What was open is not any more, whatever came of it.
    pub(in crate::run) fn ended(&mut self, task: &Task) {
        if task.takes_a_place() {
            self.in_flight -= 1;
        }
        if let Task::Tool { exclusive } = task {
            self.tools -= 1;
            self.exclusive &= !exclusive;
        }
    }

    /// A person let it through, or the wait before another attempt is over.
    pub(in crate::run) fn released(&mut self, id: &EffectId, approved: bool) {
        let Some(place) = self.find(id) else { return };
        if let Some(slot) = self.slot_mut(place) {
            slot.approved |= approved;
            if !approved {
                slot.due = None;
            }
        }
        self.enqueue(place);
    }

    fn enqueue(&mut self, place: (u32, u32)) {
        let definition = &self.definition.nodes[place.0 as usize];
        let Some(slot) = self.running.get(&place.0).and_then(|active| active.slot(place.1)) else { return };
        let asks = definition.approval == Approval::Ask && !slot.approved && place.1 != BRANCH;
        let takes_none = matches!(definition.work, NodeWork::Wait { .. } | NodeWork::Ask { .. });
        if slot.due.is_some() || ((asks || takes_none) && place.1 != BRANCH) {
            self.free.insert(place);
        } else {
            self.work.insert(place);
        }
    }

    /// Starts a node's first items, as many as may run at once.
    pub(super) fn start_items(&mut self, node: u32, at: u64) {
        let graph = self.definition.clone();
        let definition = &graph.nodes[node as usize];
        let Some(active) = self.running.get_mut(&node) else { return };
        if active.missing == 0 || definition.work == NodeWork::Pass {
            return self.complete(node);
        }
        if definition.approval == Approval::Deny {
            return self.deny(node, definition);
        }
        let many = definition.concurrency.unwrap_or(u32::MAX).max(1).min(active.missing);
        active.next = many;
        for item in 0..many {
            self.start_item(definition, (node, item), at);
        }
    }

    fn deny(&mut self, node: u32, definition: &NodeDefinition) {
        let text = format!("the node `{}` is not allowed here", definition.name);
        let error = Error::new(ErrorKind::Denied, text);
        if ends_the_run(&definition.on_error) {
            return self.fail(error);
        }
        if let Some(active) = self.running.get_mut(&node) {
            active.slots.iter_mut().for_each(|slot| slot.end = Some(End::Failed(error.clone())));
            active.missing = 0;
            active.failed = true;
        }
        self.complete(node);
    }

    fn start_item(&mut self, definition: &NodeDefinition, place: (u32, u32), at: u64) {
        if let NodeWork::Wait { ms } = definition.work {
            let input = self.call(place, None).and_then(|call| call.input());
            match due(ms, input.as_ref(), at) {
                Ok(due) => {
                    if let Some(slot) = self.slot_mut(place) {
                        slot.due = Some(due);
                    }
                }
                Err(why) => {
                    let text = format!("the node `{}`: {why}", definition.name);
                    return self.item_ended(place, Err(Error::new(ErrorKind::InvalidArguments, text)), at);
                }
            }
        }
        self.enqueue(place);
    }

    /// Takes in a result. True where the effect has ended for good: no other attempt follows.
    pub(in crate::run) fn result(
        &mut self,
        run: &str,
        id: &EffectId,
        attempt: u32,
        result: &Result<Output, Error>,
        at: u64,
    ) -> bool {
        let Some(place) = self.find(id) else { return true };
        let graph = self.definition.clone();
        let definition = &graph.nodes[place.0 as usize];
        if let Ok(Output::Child { usage, .. }) = result {
            self.usage.add(usage);
        }
        let result = match result {
            Ok(output) => taken(definition, output, place.1),
            Err(error) => {
                if let Some(usage) = error.usage() {
                    self.usage.add(usage);
                }
                Err(error.clone())
            }
        };
        let Some(slot) = self.slot_mut(place) else { return true };
        slot.attempt = attempt;
        if let Err(error) = &result
            && error.is_retryable()
            && (place.1 == BRANCH || definition.class().repeatable())
            && slot.failures + 1 < definition.retry.attempts
        {
            slot.failures += 1;
            let wait = jitter(run, id, slot.failures, definition.retry.ceiling(slot.failures));
            let asked =
                error.retry_after().map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            slot.due = Some(at.saturating_add(asked).saturating_add(wait));
            self.enqueue(place);
            return false;
        }
        if place.1 == BRANCH {
            match (result, self.plan.0.node(place.0).on_error) {
                (Ok((output, _)), _) => self.choose(place.0, &chosen(output)),
                (Err(_), Some(target)) => self.leave(place.0, &[target]),
                (Err(error), None) => self.fail(of_node(definition, error).context("its branch")),
            }
        } else {
            self.item_ended(place, result, at);
        }
        self.settle(at);
        true
    }

    fn item_ended(&mut self, place: (u32, u32), result: Result<(NodeOutput, bool), Error>, at: u64) {
        let graph = self.definition.clone();
        let definition = &graph.nodes[place.0 as usize];
        let Some(active) = self.running.get_mut(&place.0) else { return };
        let next = active.next;
        let Some(slot) = active.slots.get_mut(place.1 as usize).filter(|slot| slot.end.is_none()) else {
            return;
        };
        match result {
            Ok((output, whole)) => slot.end = Some(End::Done(output, whole)),
            Err(error) if ends_the_run(&definition.on_error) => {
                return self.fail(of_node(definition, error));
            }
            Err(error) => {
                slot.end = Some(End::Failed(error));
                active.failed = true;
            }
        }
        active.missing -= 1;
        if active.missing == 0 {
            self.complete(place.0);
        } else if (next as usize) < active.slots.len() {
            active.next += 1;
            self.start_item(definition, (place.0, next), at);
        }
    }

    /// A call of a node's work, as things stand.
    fn call(&self, (node, item): (u32, u32), edited: Option<&Value>) -> Option<NodeCall> {
        let active = self.running.get(&node)?;
        let item = match &active.items {
            Items::Listed if item != BRANCH => Some(crate::graph::Item::Listed(item)),
            Items::Sent(items) => items.get(item as usize).cloned().map(crate::graph::Item::Sent),
            Items::One | Items::Listed => None,
        };
        let (graph, state) = (self.definition.clone(), active.path.seen.clone());
        Some(NodeCall { graph, node, state, item, edited: edited.cloned(), filled: None })
    }

    /// What is to be performed for an effect of a node.
    pub(in crate::run) fn to_perform(
        &self,
        run: &str,
        id: &EffectId,
        edited: Option<&Value>,
    ) -> Option<Work> {
        let (node, item) = self.find(id)?;
        let call = self.call((node, item), edited)?;
        let definition = &self.definition.nodes[node as usize];
        Some(match (&definition.work, &definition.next) {
            (_, Next::Branch { function: Some(function), .. }) if item == BRANCH => {
                Work::Code { function: function.clone(), call }
            }
            (NodeWork::Code { function }, _) => Work::Code { function: function.clone(), call },
            (NodeWork::Agent { .. } | NodeWork::Graph { .. }, _) => {
                let failures = self.running.get(&node)?.slot(item)?.failures;
                let mut child = format!("{run}/{id}");
                if failures > 0 {
                    let _ = write!(child, ".{failures}");
                }
                Work::Child { run: child, call, budget: self.left() }
            }
            (NodeWork::Tool { tool, .. }, _) => {
                let class = definition.class();
                Work::Tool { call: CallToMake::of_node(tool.clone(), call), class }
            }
            (NodeWork::Ask { .. } | NodeWork::Wait { .. } | NodeWork::Pass, _) => return None,
        })
    }

    /// What a person is shown of an effect: a name, and arguments.
    pub(in crate::run) fn described(&self, id: &EffectId, edited: Option<&Value>) -> Option<(String, Value)> {
        let (node, item) = self.find(id)?;
        let call = self.call((node, item), edited)?;
        let definition = &self.definition.nodes[node as usize];
        let name = match &definition.work {
            NodeWork::Tool { tool, .. } => tool,
            _ => &definition.name,
        };
        let input = call.template().map(Value::from).or_else(|| call.input()).unwrap_or_default();
        let args = match &definition.work {
            NodeWork::Ask { form: Some(form), .. } => json!({"question": input, "form": form}),
            NodeWork::Ask { form: None, .. } => json!({ "question": input }),
            _ => input,
        };
        Some((name.clone(), args))
    }

    /// The node of an effect, and the fields that its result sets.
    pub(in crate::run) fn change(&self, id: &EffectId, output: &Output) -> Option<(String, Value)> {
        let (node, item) = self.find(id)?;
        let definition = &self.definition.nodes[node as usize];
        if item == BRANCH {
            return None;
        }
        let (output, whole) = taken(definition, output, item).ok()?;
        let value = &*output.value;
        let update = match value {
            _ if whole => json!({ definition.field(): value }),
            Value::Object(fields) if !fields.is_empty() => value.clone(),
            _ => return None,
        };
        Some((definition.name.clone(), update))
    }

    /// Whether another attempt would follow this failure.
    pub(in crate::run) fn is_branch(&self, id: &EffectId) -> bool {
        self.find(id).is_some_and(|(_, item)| item == BRANCH)
    }

    /// The work of the node an effect belongs to.
    pub(in crate::run) fn node_work(&self, id: &EffectId) -> Option<&NodeWork> {
        let (node, _) = self.find(id)?;
        Some(&self.definition.nodes[node as usize].work)
    }
}

/// A result as an update, and whether it goes into one field whole.
fn taken(node: &NodeDefinition, output: &Output, item: u32) -> Result<(NodeOutput, bool), Error> {
    let is_code = item == BRANCH || matches!(node.work, NodeWork::Code { .. });
    let value = match output {
        Output::Node(output) => {
            let is_update = output.value.is_object() || output.value.is_null();
            return Ok((output.clone(), node.output.is_some() || !is_update));
        }
        Output::Tool(ToolOutput::Json(value)) => value.clone(),
        Output::Tool(ToolOutput::Text(text)) => Value::String(text.clone()),
        Output::Child { outcome, .. } => match &**outcome {
            Outcome::Succeeded { output: Some(output), .. } => output.clone(),
            Outcome::Succeeded { text, .. } => Value::String(text.clone()),
            Outcome::Failed(error) => return Err(error.clone()),
            Outcome::Cancelled => return Err(Error::cancelled()),
        },
        Output::Answer(answer) => match answer {
            Answer::Answer { answer } => answer.clone(),
            Answer::Edit { args } => args.clone(),
            Answer::Approve | Answer::Repeat => Value::Bool(true),
            Answer::Reject { reason } => return Err(Error::new(ErrorKind::Denied, reason)),
            Answer::Reply(reply) => reply.output.clone().unwrap_or_else(|| Value::String(reply.text.clone())),
        },
        Output::Reply(_) | Output::Outcome(_) | Output::Spent { .. } => {
            return Err(Error::new(ErrorKind::Internal, "the effect's result is of another kind"));
        }
    };
    // What stands in for user code's result is an update, as that would have been.
    let whole = !is_code || node.output.is_some() || !(value.is_object() || value.is_null());
    Ok((NodeOutput { value: Arc::new(value), ..NodeOutput::default() }, whole))
}

/// What a branch chose: its targets, or the name of one as its value.
fn chosen(output: NodeOutput) -> Vec<String> {
    match (&*output.value, output.go.is_empty()) {
        (Value::String(target), true) => vec![target.clone()],
        _ => output.go,
    }
}

fn of_node(node: &NodeDefinition, error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let name = format!("the node `{}`", node.name);
    if error.message().starts_with(&name) { error } else { error.context(name) }
}

/// Milliseconds below the ceiling, the same for the same attempt wherever it is folded, and another in another run.
fn jitter(run: &str, id: &EffectId, failures: u32, ceiling: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in run.bytes().chain(id.as_str().bytes()).chain(failures.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash >> 11) % ceiling.saturating_add(1)
}
