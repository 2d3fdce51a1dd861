//! The machine. It knows effects, questions, recovery, limits and endings; what to want next it asks
//! the agent flow. No clock and no randomness: both come with the input.
//!
//! [`Run::advance`] is one step: `decide` (what an input means), `apply` (the only way the state
//! changes), `follow` (what the state implies), until nothing follows. The records of one step are one
//! batch.

mod agent;
mod compaction;
mod decide;
mod events;
mod fold;
mod follow;
mod open;
mod repeat;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::definition::{AgentDefinition, Definition, Pinned};
use crate::effect::{Effect, EffectId, Intent, Task, Work};
use crate::event::{EventKind, Status};
use crate::message::History;
use crate::question::{Question, Why};
use crate::record::{Input, Outcome, Pause, Record, RecordKind, Refused, Stamp, VERSION};
use crate::relay::Closing;
use crate::usage::Usage;

use open::OpenEffects;

pub use agent::Agent;
pub use open::{AskedByEffect, Open};

/// One run: a value made of its records and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    id: Arc<str>,
    definition: Pinned,
    thread: Option<String>,
    seq: u64,
    phase: Phase,
    agent: Agent,
    open: OpenEffects,
    /// Calls a person has let through, with the arguments where they were edited.
    approved: BTreeMap<EffectId, Option<Value>>,
    time: ActiveTime,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    New,
    Running,
    Paused(Pause),
    Stopping(Outcome),
    Finished(Outcome),
}

/// Time spent working: with work in flight, or queued for a permit to start it. Waiting for a person, a
/// pause (once its last effect has ended) and a dead process do not count.
#[derive(Clone, Debug, Default, PartialEq)]
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
        let Definition::Agent(agent) = &*definition.definition;
        Self {
            id: id.into(),
            agent: Agent::new(agent.clone()),
            definition,
            thread: None,
            seq: 0,
            phase: Phase::New,
            open: OpenEffects::default(),
            approved: BTreeMap::new(),
            time: ActiveTime::default(),
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
            Task::Summarise { until } => Work::Summarise { history: self.agent.to_summarise(*until) },
            _ => self.agent.work(&id, self.approved.get(&id).and_then(Option::as_ref))?,
        };
        Some(Effect { id, attempt: open.attempt, work })
    }

    /// The question an asking effect puts to a person.
    fn question(&self, id: &EffectId, about: &EffectId, why: Why) -> Question {
        let (tool, args) = match self.agent.work(about, self.approved.get(about).and_then(Option::as_ref)) {
            Some(Work::Tool { call, .. }) => (call.name().to_owned(), call.arguments().clone()),
            _ => (about.to_string(), Value::Null),
        };
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

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn definition(&self) -> &Pinned {
        &self.definition
    }

    pub fn agent(&self) -> &Arc<AgentDefinition> {
        self.agent.definition()
    }

    pub fn thread(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Number of the next record; also how many there are.
    pub fn next_seq(&self) -> u64 {
        self.seq
    }

    pub fn history(&self) -> &History {
        self.agent.history()
    }

    pub fn usage(&self) -> &Usage {
        self.agent.usage()
    }

    /// Model calls answered so far.
    pub fn iterations(&self) -> u32 {
        self.agent.turn()
    }

    /// The text so far: of the outcome, or of the last reply.
    pub fn text(&self) -> String {
        match &self.phase {
            Phase::Finished(Outcome::Succeeded { text, .. }) => text.clone(),
            _ => self.agent.last_text(),
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
            Phase::Running if self.waits_for_a_person() => Status::Waiting,
            Phase::Running | Phase::Stopping(_) => Status::Running,
        }
    }

    /// Nothing goes on before a person answers.
    pub fn waits_for_a_person(&self) -> bool {
        !self.open.is_empty() && self.effects().all(Open::waits_for_a_person)
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
        let wall = self.agent.wall_limit().filter(|_| matches!(self.phase, Phase::Running));
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
            _ => self.effects().any(|open| !open.waits_for_a_person()),
        }
    }

    fn question_of(&self, intent: &Intent) -> Option<Question> {
        match &intent.task {
            Task::Ask { about, why } => Some(self.question(&intent.id, about, *why)),
            _ => None,
        }
    }

    /// The questions these records of the last step ask.
    pub fn asked<'a>(&'a self, records: &'a [Record]) -> impl Iterator<Item = Question> + 'a {
        records.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => self.question_of(intent),
            RecordKind::Asked { question, .. } => Some((**question).clone()),
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
    id.starts_with("ask:") || id.starts_with("doubt:")
}
