//! A run as a value: what its records make of it, so that a load need not fold them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::Agent;
use super::flow::Flow;
use super::graph::{Graph, GraphSnapshot};
use super::open::OpenEffects;
use super::{ActiveTime, Phase, Queued, Run};
use crate::definition::{Definition, Pinned};
use crate::effect::EffectId;
use crate::record::{Record, Refused};
use crate::store::{self, Stored};

/// The newest version of snapshots this code writes and reads. Of another one a run is folded from its records.
const VERSION: u8 = 1;

/// What the first records of a run make of it. Records stay the truth: a snapshot may be thrown away.
///
/// Of a graph on one path it is the size of its state; beside other paths it holds what came since they parted. Of an
/// agent it holds the conversation: a load needs that in any case, and where it came from is not kept for each message
/// of a run that waits. So an agent is rather folded from its records, at about a microsecond each, until they are
/// compacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    v: u8,
    /// How many records it stands for.
    seq: u64,
    /// Hash of the pinned definition.
    definition: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    phase: Phase,
    open: OpenEffects,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    approved: BTreeMap<EffectId, Option<Value>>,
    time: ActiveTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued: Option<Box<Queued>>,
    flow: FlowSnapshot,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlowSnapshot {
    Agent(Box<Agent>),
    Graph(Box<GraphSnapshot>),
}

impl Snapshot {
    /// What a store keeps of it.
    ///
    /// # Errors
    /// A value in it has no form as JSON.
    pub fn to_stored(&self) -> Result<store::Snapshot, serde_json::Error> {
        Ok(store::Snapshot { seq: self.seq, state: serde_json::to_vec(self)? })
    }

    /// Number of the first record that it does not stand for.
    pub fn next_seq(&self) -> u64 {
        self.seq
    }
}

impl Run {
    /// The run that a store has.
    ///
    /// # Errors
    /// What is stored makes no run. Where there is a snapshot, all records may still make one.
    pub fn load(id: impl Into<Arc<str>>, stored: &Stored) -> Result<Self, Refused> {
        let Some(snapshot) = &stored.snapshot else {
            return Self::fold(id, stored.definition.clone(), &stored.records);
        };
        let damaged = |why: String| Refused::Corrupt(format!("the snapshot at {}: {why}", snapshot.seq));
        let read: Snapshot =
            serde_json::from_slice(&snapshot.state).map_err(|error| damaged(error.to_string()))?;
        if read.seq != snapshot.seq {
            return Err(damaged(format!("it says that it stands for {} records", read.seq)));
        }
        Self::restore(id, stored.definition.clone(), read, &stored.records)
    }

    /// The run as it stands. Taken between steps: a run that is ahead of its store has none to give.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            v: VERSION,
            seq: self.seq,
            definition: self.definition.hash.clone(),
            thread: self.thread.clone(),
            parent: self.parent.clone(),
            phase: self.phase.clone(),
            open: self.open.clone(),
            approved: self.approved.clone(),
            time: self.time.clone(),
            queued: self.queued.clone(),
            flow: match &self.flow {
                Flow::Agent(agent) => FlowSnapshot::Agent(Box::new(agent.clone())),
                Flow::Graph(graph) => FlowSnapshot::Graph(Box::new(graph.snapshot())),
            },
        }
    }

    /// The run that a snapshot and the records after it make: the same as all records make.
    ///
    /// # Errors
    /// The snapshot is of another version or definition, or damaged; a record is not the next. The run is then
    /// folded from all its records instead.
    pub fn restore(
        id: impl Into<Arc<str>>,
        definition: Pinned,
        snapshot: Snapshot,
        after: &[Record],
    ) -> Result<Self, Refused> {
        let damaged = |why: &str| Refused::Corrupt(format!("the snapshot at {}: {why}", snapshot.seq));
        if snapshot.v != VERSION {
            return Err(damaged(&format!("it has version {}, this build reads {VERSION}", snapshot.v)));
        }
        if !snapshot.open.is_in_order() {
            return Err(damaged("its open effects are in no order"));
        }
        if snapshot.definition != definition.hash {
            return Err(damaged("it is of a run with another definition"));
        }
        let flow = match (&*definition.definition, snapshot.flow) {
            (Definition::Agent(definition), FlowSnapshot::Agent(agent)) => {
                Flow::Agent(agent.under(definition.clone()))
            }
            (Definition::Graph(definition), FlowSnapshot::Graph(graph)) => {
                let seq = snapshot.seq;
                let graph = Graph::restore(definition.clone(), *graph)
                    .and_then(|graph| graph.agrees_with(&snapshot.open).map(|()| graph))
                    .map_err(|why| Refused::Corrupt(format!("the snapshot at {seq}: {why}")))?;
                Flow::Graph(Box::new(graph))
            }
            _ => return Err(Refused::Corrupt("the snapshot is of another kind of run".into())),
        };
        let mut run = Self {
            id: id.into(),
            definition,
            thread: snapshot.thread,
            parent: snapshot.parent,
            seq: snapshot.seq,
            phase: snapshot.phase,
            flow,
            open: snapshot.open,
            approved: snapshot.approved,
            time: snapshot.time,
            queued: snapshot.queued,
        };
        for record in after {
            run.apply(record)?;
        }
        Ok(run)
    }
}
