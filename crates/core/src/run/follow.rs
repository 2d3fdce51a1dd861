//! What follows from a state alone: asking, starting, pausing, ending.

use super::flow::Flow;
use super::graph::{Graph, Startable};
use super::{Admission, Agent, Open, Phase, Run, Want, Wanted};
use crate::effect::{EffectId, Intent, Task};
use crate::error::{Error, ErrorKind};
use crate::graph::NodeWork;
use crate::question::Why;
use crate::record::{Outcome, Pause, RecordKind};
use crate::tool::EffectClass;

impl Run {
    /// What follows from the state. Because it looks at nothing else (and asks for permits), a run folded
    /// from any prefix of its records, even half a batch, finds its way on.
    pub(super) fn follow(&self, at: u64, admission: &mut dyn Admission) -> Vec<RecordKind> {
        match &self.phase {
            Phase::New | Phase::Paused(_) | Phase::Finished(_) => vec![],
            Phase::Stopping(outcome) if self.open.is_empty() => vec![RecordKind::Finished(outcome.clone())],
            Phase::Stopping(_) => self.give_up_doubts(),
            Phase::Running => {
                let mut kinds = self.ask_about_doubts();
                match &self.flow {
                    Flow::Graph(graph) => self.follow_graph(graph, at, admission, &mut kinds),
                    Flow::Agent(agent) => match agent.wanted() {
                        Wanted::Effects(wants) => self.admit(agent, wants, at, admission, &mut kinds),
                        Wanted::Pause(pause) => kinds.push(RecordKind::Paused(pause)),
                        Wanted::Finish(outcome) => kinds.push(self.end(outcome)),
                    },
                }
                kinds
            }
        }
    }

    fn end(&self, outcome: Outcome) -> RecordKind {
        if self.open.is_empty() { RecordKind::Finished(outcome) } else { RecordKind::Stopping(outcome) }
    }

    /// The same for a graph. It looks at what may start and has not, and stops at the first for which there is no
    /// place: a step of a long fan-out costs the same as one of a short.
    fn follow_graph(
        &self,
        graph: &Graph,
        at: u64,
        admission: &mut dyn Admission,
        kinds: &mut Vec<RecordKind>,
    ) {
        if let Some(outcome) = graph.outcome() {
            return kinds.push(self.end(outcome.clone()));
        }
        if let Some(pause) = graph.pause() {
            return kinds.push(RecordKind::Paused(pause));
        }
        kinds.extend(graph.free(at).filter_map(|free| match free {
            Ok(intent) => Some(RecordKind::Intent(intent)),
            Err(about) => self.ask_once(format!("ask:{about}"), &about, Why::Approval),
        }));
        let mut places = graph.places();
        let (mut tools, mut excluded) = graph.tools();
        let mut started = 0;
        let mut from = (0, 0);
        while places > 0
            && let Some(&place) = graph.work().range(from..).next()
        {
            from = (place.0, place.1.saturating_add(1));
            if from == place {
                from = (place.0 + 1, 0);
            }
            let Some(startable) = graph.startable(place) else { continue };
            let Startable { node, intent } = startable;
            let is_tool = is_tool(&intent);
            if graph.has_budget()
                && let Some(kind) = graph.budget_reached(self.active_at(at), started + u64::from(is_tool))
            {
                return kinds.push(RecordKind::Paused(Pause::Budget(kind)));
            }
            let admitted = match &node.work {
                NodeWork::Tool { tool, .. } if is_tool => {
                    let exclusive = is_exclusive(&intent);
                    if excluded || (exclusive && tools > 0) {
                        excluded |= exclusive;
                        false
                    } else {
                        excluded |= exclusive;
                        admission.admit(&intent.id, tool)
                    }
                }
                _ => admission.admit_node(&intent.id, node),
            };
            if !admitted {
                // What holds up one item of a node holds up the others.
                from = (place.0 + 1, 0);
                continue;
            }
            if is_tool {
                tools += 1;
                started += 1;
            }
            places -= 1;
            kinds.push(RecordKind::Intent(intent));
        }
    }

    /// Only what may start now gets an intent: an intent means "may have happened", and a call that was
    /// still queued at a crash must not come back in doubt.
    fn admit(
        &self,
        agent: &Agent,
        wants: Vec<Want>,
        at: u64,
        admission: &mut dyn Admission,
        kinds: &mut Vec<RecordKind>,
    ) {
        let mut running = self.open.iter().filter(|open| is_tool(&open.intent)).count();
        let mut excluded = self.open.iter().any(|open| is_exclusive(&open.intent));
        let limit = agent.definition().tool_concurrency.max(1) as usize;
        let mut started = 0;
        for want in wants {
            let id = &want.intent.id;
            if self.open.contains(id) {
                continue;
            }
            if let Some(kind) = agent.budget_reached(self.active_at(at), started, &want.intent) {
                kinds.push(RecordKind::Paused(Pause::Budget(kind)));
                return;
            }
            if want.ask && !self.approved.contains_key(id) {
                kinds.extend(self.ask_once(format!("ask:{id}"), id, Why::Approval));
                continue;
            }
            if is_tool(&want.intent) {
                let exclusive = is_exclusive(&want.intent);
                if excluded || running >= limit || (exclusive && running > 0) {
                    // Its turn has come: later calls wait behind it.
                    excluded |= exclusive;
                    continue;
                }
                if !admission.admit(id, agent.tool_name(id)) {
                    excluded |= exclusive;
                    continue;
                }
                running += 1;
                started += 1;
                excluded |= exclusive;
            }
            kinds.push(RecordKind::Intent(want.intent));
        }
    }

    fn ask_about_doubts(&self) -> Vec<RecordKind> {
        let doubts = self.open.iter().filter(|open| open.doubt);
        doubts
            .filter_map(|open| {
                // The attempt is part of the id: a repeated effect that is lost again is a new question.
                let question = format!("doubt:{}.{}", open.intent.id, open.attempt);
                self.ask_once(question, &open.intent.id, Why::InDoubt)
            })
            .collect()
    }

    fn give_up_doubts(&self) -> Vec<RecordKind> {
        let doubts = self.open.iter().filter(|open| open.doubt);
        doubts.map(give_up).collect()
    }

    fn ask_once(&self, id: String, about: &EffectId, why: Why) -> Option<RecordKind> {
        let id = EffectId::new(id);
        if self.open.contains(&id) {
            return None;
        }
        let task = Task::Ask { about: about.clone(), why };
        Some(RecordKind::Intent(Intent { id, class: EffectClass::Idempotent, task }))
    }
}

fn give_up(open: &Open) -> RecordKind {
    RecordKind::Result {
        effect: open.intent.id.clone(),
        attempt: open.attempt,
        result: Err(in_doubt("nobody said whether it did")),
    }
}

fn is_tool(intent: &Intent) -> bool {
    matches!(intent.task, Task::Tool { .. })
}

fn is_exclusive(intent: &Intent) -> bool {
    matches!(intent.task, Task::Tool { exclusive: true })
}

pub(super) fn in_doubt(why: &str) -> Error {
    Error::new(
        ErrorKind::InDoubt,
        format!("the call may have happened, {why}; check before calling it again"),
    )
}
