//! Time travel: what a run was at a record, and another run that goes on from there.

use std::sync::Arc;

use super::flow::Flow;
use super::{Phase, Run};
use crate::definition::Pinned;
use crate::effect::{EffectId, Intent, Task};
use crate::graph::State;
use crate::message::Message;
use crate::record::{Record, RecordKind, Refused, Stamp, VERSION};

/// A change with which a fork begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// Fields of a graph's state take these values, for every path under way.
    State(State),
    /// A message for an agent, taken in before its next model call.
    Message(Arc<Message>),
}

/// A record after which the run had come on: a reply, a tool's result, a node's update.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The run at this point is made of the records up to and with this one.
    pub seq: u64,
    /// Wall time in milliseconds since 1970.
    pub at: u64,
    /// The effect that had ended; none at the beginning and the end.
    pub effect: Option<EffectId>,
}

/// The points of a run to look at and to fork from, oldest first.
pub fn checkpoints(records: &[Record]) -> impl Iterator<Item = Checkpoint> + '_ {
    let mut works = std::collections::HashSet::new();
    records.iter().filter_map(move |record| {
        let effect = match &record.kind {
            RecordKind::Intent(Intent { id, task, .. }) => {
                if !matches!(task, Task::Ask { .. } | Task::Retry { .. }) {
                    works.insert(id);
                }
                return None;
            }
            RecordKind::Result { effect, result: Ok(_), .. } if works.contains(effect) => {
                Some(effect.clone())
            }
            RecordKind::Accepted { .. } | RecordKind::Patched(_) | RecordKind::Finished(_) => None,
            _ => return None,
        };
        Some(Checkpoint { seq: record.seq, at: record.at, effect })
    })
}

impl Run {
    /// A new run that has the past of another up to the last of these records, and a change after it. The records
    /// are the new run's first batch; its driver then goes on with it as with any run it takes over.
    ///
    /// What was open at that point is so in the fork, under a new owner: reads and idempotent calls happen again,
    /// under the fork's own keys; those that must not be repeated are in doubt, for the other run may have done
    /// them. Forked right after a result, before the next intents, nothing of that path is open.
    ///
    /// # Errors
    /// The records are not a run's first ones, or those of one that was ending; the change is not of its kind.
    pub fn fork(
        id: impl Into<Arc<str>>,
        definition: Pinned,
        records: &[Record],
        patch: Option<Patch>,
        stamp: Stamp,
    ) -> Result<(Self, Vec<Record>), Refused> {
        let own = |record: &Record| Record { epoch: stamp.epoch, ..record.clone() };
        let mut records: Vec<Record> = records.iter().map(own).collect();
        let mut run = Self::fold(id, definition, &records)?;
        match &run.phase {
            Phase::Running | Phase::Paused(_) => {}
            Phase::New => return Err(Refused::NotAccepted), // nor one that is in line
            Phase::Stopping(_) | Phase::Finished(_) => {
                let text = "the run was ending or had ended; take an earlier record";
                return Err(Refused::NoFork(text.into()));
            }
        }
        let kind = match (patch, &run.flow) {
            (None, _) => None,
            (Some(Patch::State(state)), Flow::Graph(_)) => Some(RecordKind::Patched(state)),
            (Some(Patch::Message(message)), Flow::Agent(_)) => Some(RecordKind::Message(message)),
            (Some(Patch::State(_)), Flow::Agent(_)) => {
                return Err(Refused::NoFork("an agent has no state; give a message".into()));
            }
            (Some(Patch::Message(_)), Flow::Graph(_)) => return Err(Refused::TakesNoMessage),
        };
        // Claimed first: the time between does not count, and what was open belongs to the other run.
        for kind in [Some(RecordKind::Claimed), kind].into_iter().flatten() {
            let record = Record { v: VERSION, seq: run.seq, epoch: stamp.epoch, at: stamp.at, kind };
            run.apply(&record)?;
            records.push(record);
        }
        Ok((run, records))
    }
}
