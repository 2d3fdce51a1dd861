//! The machine. It knows effects, questions, recovery, limits and endings; what to want next it asks
//! its flow: an agent's turns (`agent.rs`) or a graph (`graph`). No clock and no randomness: both come with the input.
//!
//! [`Run::advance`] is one step: `decide` (what an input means), `apply` (the only way the state
//! changes), `follow` (what the state implies), until nothing follows. The records of one step are one
//! batch.

mod agent;
mod compaction;
mod decide;
mod events;
mod flow;
mod fold;
mod follow;
mod fork;
mod graph;
mod open;
mod repeat;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::Budget;
use crate::definition::{AgentDefinition, Pinned};
use crate::effect::{Effect, EffectId, Intent, Task, Work};
use crate::event::{EventKind, Status};
use crate::graph::{NodeDefinition, State};
use crate::message::History;
use crate::question::{Question, Why};
use crate::record::{Input, Outcome, Pause, Record, RecordKind, Refused, RunInput, Stamp, VERSION};
use crate::relay::Closing;
use crate::usage::Usage;

use flow::Flow;
use open::OpenEffects;

pub use agent::Agent;
pub use fork::{Checkpoint, Patch, checkpoints};
pub use open::{AskedByEffect, Open};
pub use snapshot::Snapshot;

/// One run: a value made of its records and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    id: Arc<str>,
    definition: Pinned,
    thread: Option<String>,
    parent: Option<String>,
    seq: u64,
    phase: Phase,
    flow: Flow,
    open: OpenEffects,
    /// Calls a person has let through, with the arguments where they were edited.
    approved: BTreeMap<EffectId, Option<Value>>,
    time: ActiveTime,
    /// While it is in line.
    queued: Option<Box<Queued>>,
}

/// What a run that is in line will begin with, behind what was said on its thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    pub input: RunInput,
    pub deadline_ms: Option<u64>,
    pub budget: Option<Box<Budget>>,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    New,
    Running,
    Paused(Pause),
    Stopping(Outcome),
    Finished(Outcome),
}

/// Time spent working: with work in flight, or queued for a permit to start it. Waiting for a person, a
/// pause (once its last effect has ended) and a dead process do not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ActiveTime {
    spent: u64,
    last: u64,
    limit: Option<u64>,
}

/// What the flow wants now. Whether it may start yet (approval, exclusion, limits) is the run's business.
enum Wanted {
    Effects(Vec<Want>),
    Pause(Pause),
    Finish(Outcome),
}

struct Want {
    intent: Intent,
    /// A person is asked first.
    ask: bool,
}

/// Says whether a tool call may start now; takes a permit when it may. Asked only while deciding what
/// follows, never while folding.
pub trait Admission {
    fn admit(&mut self, effect: &EffectId, tool: &str) -> bool;

    /// The same of a function or a child of a graph's node; `node` is the node, also for the branch behind it.
    fn admit_node(&mut self, _effect: &EffectId, _node: &NodeDefinition) -> bool {
        true
    }
}

/// Everything may start.
pub struct Unlimited;

impl Admission for Unlimited {
    fn admit(&mut self, _: &EffectId, _: &str) -> bool {
        true
    }
}

/// An event on its way out: not numbered and not stamped yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    pub step: Option<(EffectId, u32)>,
    pub kind: EventKind,
}

impl Run {
    pub fn new(id: impl Into<Arc<str>>, definition: Pinned) -> Self {
        Self {
            id: id.into(),
            flow: Flow::new(&definition.definition),
            definition,
            thread: None,
            parent: None,
            seq: 0,
            phase: Phase::New,
            open: OpenEffects::default(),
            approved: BTreeMap::new(),
            time: ActiveTime::default(),
            queued: None,
        }
    }

    /// The run its records make.
    pub fn fold(id: impl Into<Arc<str>>, definition: Pinned, records: &[Record]) -> Result<Self, Refused> {
        let mut run = Self::new(id, definition);
        for record in records {
            run.apply(record)?;
        }
        Ok(run)
    }

    /// One step. The records form one batch; if it cannot be stored this run is ahead of its store and
    /// must be dropped. `events`, where given, takes what watchers should see once the batch is stored.
    pub fn advance(
        &mut self,
        input: Input,
        stamp: Stamp,
        admission: &mut dyn Admission,
        mut events: Option<&mut Vec<Occurrence>>,
    ) -> Result<Vec<Record>, Refused> {
        let mut records = Vec::new();
        let before = self.status();
        let mut kinds = self.decide(input, stamp.at)?;
        loop {
            for kind in kinds {
                let record = Record { v: VERSION, seq: self.seq, epoch: stamp.epoch, at: stamp.at, kind };
                if let Some(events) = events.as_deref_mut() {
                    self.occurrences(&record, events);
                }
                self.apply(&record)?;
                records.push(record);
            }
            kinds = self.follow(stamp.at, admission);
            if kinds.is_empty() {
                break;
            }
        }
        if let Some(events) = events {
            let status = self.status();
            if status != before && !status.is_final() && before != Status::Queued {
                events.push(Occurrence { step: None, kind: EventKind::RunStatus { status } });
            }
        }
        Ok(records)
    }

    /// What stands open and should be in flight.
    pub fn effects(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| !open.doubt)
    }

    /// The same effect with everything needed to perform it.
    pub fn effect(&self, open: &Open) -> Option<Effect> {
        let id = open.intent.id.clone();
        let work = match &open.intent.task {
            Task::Ask { about, why } => Work::Ask(self.question(&id, about, *why)),
            Task::Summarise { until } => match &self.flow {
                Flow::Agent(agent) => Work::Summarise { history: agent.to_summarise(*until) },
                Flow::Graph(_) => return None,
            },
            Task::Question { due } => Work::Ask(self.question_of_node(&id, *due)),
            Task::Wait { due } | Task::Retry { due } => Work::Wait { due: *due },
            _ => self.flow.work(&self.id, &id, self.approved.get(&id).and_then(Option::as_ref))?,
        };
        Some(Effect { id, attempt: open.attempt, work })
    }

    /// The question an asking effect puts to a person.
    fn question(&self, id: &EffectId, about: &EffectId, why: Why) -> Question {
        let edited = self.approved.get(about).and_then(Option::as_ref);
        let described = self.flow.described(about, edited);
        let (tool, args) = described.unwrap_or_else(|| (about.to_string(), Value::Null));
        Question {
            id: format!("{}/{id}", self.id),
            run: self.id.to_string(),
            about: about.clone(),
            why,
            tool,
            args,
            due: None,
            relay: None,
        }
    }

    /// A question that a node of a graph asks by itself. Any answer but a rejection is its result.
    fn question_of_node(&self, id: &EffectId, due: Option<u64>) -> Question {
        Question { due, ..self.question(id, id, Why::Approval) }
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn definition(&self) -> &Pinned {
        &self.definition
    }

    /// The agent that is followed; none where it is a graph.
    pub fn agent(&self) -> Option<&Arc<AgentDefinition>> {
        self.definition.definition.agent()
    }

    /// The state of a graph: what all that has happened makes of it, whichever paths have seen it. Folded up to any
    /// record, it is the state at that point.
    pub fn state(&self) -> Option<Arc<State>> {
        match &self.flow {
            Flow::Agent(_) => None,
            Flow::Graph(graph) => Some(graph.state()),
        }
    }

    /// The nodes at which a graph's run is paused, and whether it stands behind them.
    pub fn paused_at(&self) -> Vec<(&str, bool)> {
        match &self.flow {
            Flow::Graph(graph) if matches!(self.phase, Phase::Paused(Pause::Node)) => graph.held().collect(),
            _ => vec![],
        }
    }

    /// An effect that stands open.
    pub fn open(&self, id: &EffectId) -> Option<&Open> {
        self.open.get(id).filter(|open| !open.doubt)
    }

    pub fn thread(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    /// The run whose node started this one.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// What it will begin with; nothing once its turn has come.
    pub fn queued(&self) -> Option<&Queued> {
        self.queued.as_deref()
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Number of the next record; also how many there are.
    pub fn next_seq(&self) -> u64 {
        self.seq
    }

    pub fn history(&self) -> &History {
        self.flow.history()
    }

    pub fn usage(&self) -> &Usage {
        self.flow.usage()
    }

    /// Model calls answered so far; of a graph, nodes started.
    pub fn iterations(&self) -> u32 {
        self.flow.iterations()
    }

    /// The text so far: of the outcome, or of the last reply.
    pub fn text(&self) -> String {
        match &self.phase {
            Phase::Finished(Outcome::Succeeded { text, .. }) => text.clone(),
            _ => self.flow.last_text(),
        }
    }

    /// The status as doors show it.
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::New => Status::Queued,
            Phase::Paused(_) => Status::Paused,
            Phase::Finished(Outcome::Succeeded { .. }) => Status::Succeeded,
            Phase::Finished(Outcome::Failed(_)) => Status::Failed,
            Phase::Finished(Outcome::Cancelled) => Status::Cancelled,
            Phase::Running if self.stands_still() => Status::Waiting,
            Phase::Running | Phase::Stopping(_) => Status::Running,
        }
    }

    /// Nothing goes on before a person answers.
    pub fn waits_for_a_person(&self) -> bool {
        !self.open.is_empty() && self.effects().all(Open::waits_for_a_person)
    }

    /// Nothing goes on before a person answers or a time has come.
    pub fn stands_still(&self) -> bool {
        !self.open.is_empty() && self.effects().all(Open::stands_still)
    }

    /// When the first of the waits is over, in milliseconds since 1970.
    pub fn next_wait(&self) -> Option<u64> {
        let due = |open: &Open| match &open.intent.task {
            Task::Wait { due } | Task::Retry { due } => Some(*due),
            Task::Question { due } => *due,
            _ => None,
        };
        self.effects().filter_map(due).min()
    }

    /// The questions that wait for an answer.
    pub fn questions(&self) -> impl Iterator<Item = Question> {
        self.open.iter().flat_map(|open| {
            let own = open.asked.iter().map(|asked| asked.question.clone());
            self.question_of(&open.intent).into_iter().chain(own)
        })
    }

    /// Milliseconds until the run must be looked at again (deadline or time budget); nothing while the
    /// clock stands or there is no limit.
    pub fn next_tick(&self, at: u64) -> Option<u64> {
        if !self.ticking() || matches!(self.phase, Phase::Stopping(_) | Phase::Finished(_)) {
            return None;
        }
        let active = self.active_at(at);
        let wall = self.flow.wall_limit().filter(|_| matches!(self.phase, Phase::Running));
        let limits = [self.time.limit, wall];
        limits.into_iter().flatten().map(|limit| limit.saturating_sub(active)).min()
    }

    /// Milliseconds of active time left until the deadline.
    pub fn time_left(&self, at: u64) -> Option<u64> {
        self.time.limit.map(|limit| limit.saturating_sub(self.active_at(at)))
    }

    /// Milliseconds spent working; waiting for a person, a pause and a dead process do not count.
    pub fn active_at(&self, at: u64) -> u64 {
        let since = if self.ticking() { at.saturating_sub(self.time.last) } else { 0 };
        self.time.spent + since
    }

    fn ticking(&self) -> bool {
        match self.phase {
            // Nothing open while running: a call waits for a permit of its process.
            Phase::Running if self.open.is_empty() => true,
            _ => self.effects().any(|open| !open.stands_still()),
        }
    }

    fn question_of(&self, intent: &Intent) -> Option<Question> {
        match &intent.task {
            Task::Ask { about, why } => Some(self.question(&intent.id, about, *why)),
            Task::Question { due } => Some(self.question_of_node(&intent.id, *due)),
            _ => None,
        }
    }

    /// The questions these records of the last step ask.
    pub fn asked<'a>(&'a self, records: &'a [Record]) -> impl Iterator<Item = Question> + 'a {
        records.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => self.question_of(intent),
            // That of a node's run is stored with that run.
            RecordKind::Asked { question, .. } if *question.run == *self.id => Some((**question).clone()),
            _ => None,
        })
    }

    /// Ids of the questions these records close without an answer.
    pub fn withdrawn<'a>(&'a self, records: &'a [Record]) -> impl Iterator<Item = String> + 'a {
        records.iter().filter_map(|record| match &record.kind {
            RecordKind::Result { effect, result: Err(_), .. } if is_question(effect) => {
                Some(format!("{}/{effect}", self.id))
            }
            RecordKind::Closed { question, closing: Closing::Expired | Closing::Withdrawn, .. } => {
                Some(question.clone())
            }
            _ => None,
        })
    }
}

/// Asking effects carry their kind in their id.
fn is_question(effect: &EffectId) -> bool {
    let id = effect.as_str();
    ["ask:", "doubt:", "human:"].iter().any(|kind| id.starts_with(kind))
}
