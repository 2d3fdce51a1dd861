//! The graph flow. A node starts when a path has reached it and no path under way can reach it any more: so a
//! join runs once, a branch not taken is not waited for, and unrelated branches do not wait for each other.
//!
//! In a cycle paths are told apart by their round. A node waits for paths of its own round that lead to it without
//! closing the cycle, and for all of earlier rounds: so what runs side by side in a cycle does so in each round, and
//! rounds do not mix. Who has left a cycle is in no round of it any more.
//!
//! What is looked at in a step is what the step touched: the node that ended, those that wait and that it could
//! reach, and the effects that may start now.

mod active;
mod effects;
mod patch;
mod path;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::budget::{Budget, BudgetKind, Grant};
use crate::error::{Error, ErrorKind};
use crate::graph::{Bits, END, GraphDefinition, OnError, Plan, PlannedNext, State};
use crate::message::History;
use crate::record::{Outcome, Pause};
use crate::usage::Usage;

use active::{Active, After};
use path::{Path, Segment, SentItem};

pub(super) use effects::Startable;
pub(super) use snapshot::GraphSnapshot;

/// State of a graph's run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Graph {
    definition: Arc<GraphDefinition>,
    plan: PlanRef,
    /// By node and round: paths that have arrived and wait.
    waiting: BTreeMap<Arrival, Vec<Path>>,
    waiting_set: Bits,
    /// By node: what runs.
    running: BTreeMap<u32, Box<Active>>,
    running_set: Bits,
    /// Paths that have come to their end.
    ended: Vec<Path>,
    visits: Vec<u32>,
    steps: u32,
    limit: u32,
    /// A node could start, but for the limit.
    stalled: bool,
    /// Nodes at which the run is to pause: right before, or right after them.
    held: BTreeSet<u32>,
    /// Items that may start when there is a place for them, and what needs none: questions, timers.
    work: BTreeSet<(u32, u32)>,
    free: BTreeSet<(u32, u32)>,
    /// Effects in flight that take a place; tools among them, and whether one wants to be alone.
    in_flight: u32,
    tools: u32,
    exclusive: bool,
    tool_calls: u64,
    usage: Usage,
    budget: Budget,
    patches: u32,
    done: Option<Outcome>,
    /// Of those that wait, which to look at. Empty between steps.
    check: BTreeSet<Arrival>,
    /// A graph has no conversation.
    messages: History,
}

/// A node, and the rounds in which a path comes to it.
type Arrival = (u32, Vec<u32>);

/// A plan follows from its definition.
#[derive(Clone, Debug)]
struct PlanRef(Arc<Plan>);

impl PartialEq for PlanRef {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Graph {
    pub(super) fn new(definition: Arc<GraphDefinition>) -> Self {
        let plan = definition.plan.of(&definition).clone();
        let count = definition.nodes.len();
        Self {
            plan: PlanRef(plan),
            waiting: BTreeMap::new(),
            waiting_set: Bits::new(count),
            running: BTreeMap::new(),
            running_set: Bits::new(count),
            ended: vec![],
            visits: vec![0; count],
            steps: 0,
            limit: definition.max_steps,
            stalled: false,
            held: BTreeSet::new(),
            work: BTreeSet::new(),
            free: BTreeSet::new(),
            in_flight: 0,
            tools: 0,
            exclusive: false,
            tool_calls: 0,
            usage: Usage::default(),
            budget: definition.budget.clone(),
            patches: 0,
            done: None,
            check: BTreeSet::new(),
            messages: History::default(),
            definition,
        }
    }

    pub(super) fn begin(&mut self, state: &Arc<State>, at: u64) {
        let plan = self.plan.0.clone();
        if let Some(fault) = &plan.fault {
            let text = format!("the graph `{}`: {fault}", self.definition.name);
            self.done = Some(Outcome::Failed(Error::new(ErrorKind::ConfigInvalid, text)));
            return;
        }
        let mut path = Path::begin(state.clone());
        if plan.start.len() > 1 {
            path.tip = Some(Arc::new(Segment::root(state.clone())));
        }
        for node in &plan.start {
            let rounds = vec![0; plan.node(*node).cycles.len()];
            self.arrive(*node, Path { rounds, ..path.clone() });
        }
        drop(path);
        self.settle(at);
    }

    pub(super) fn messages(&self) -> &History {
        &self.messages
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn spent_on(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }

    /// What was told to stop cost this until it did.
    pub(super) fn spent(&mut self, error: &Error) {
        if let Some(usage) = error.usage() {
            self.usage.add(usage);
        }
    }

    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    pub(super) fn wall_limit(&self) -> Option<u64> {
        self.budget.wall_ms
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.done.as_ref()
    }

    /// Why nothing more may start before somebody resumes the run.
    pub(super) fn pause(&self) -> Option<Pause> {
        if !self.held.is_empty() {
            return Some(Pause::Node);
        }
        self.stalled.then_some(Pause::MaxIterations)
    }

    /// Names of the nodes at which the run stands, and whether it stands behind them.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, bool)> {
        self.held.iter().map(|node| {
            let after = self.running.get(node).is_some_and(|active| active.after.is_some());
            (self.definition.nodes[*node as usize].name.as_str(), after)
        })
    }

    pub(super) fn limit(&mut self, budget: &Budget) {
        self.budget.tighten(budget);
    }

    /// What a child may still use: of tokens and money, which its parent pays.
    pub(super) fn left(&self) -> Budget {
        self.budget.left(&self.usage)
    }

    pub(super) fn has_budget(&self) -> bool {
        self.budget != Budget::default()
    }

    /// The limit that keeps an effect from starting, when so many tools start with it in one step.
    pub(super) fn budget_reached(&self, active_ms: u64, tools: u64) -> Option<BudgetKind> {
        self.budget.reached(&self.usage, self.tool_calls + tools, active_ms)
    }

    /// The state that all that has happened makes, whichever paths have seen it.
    pub(super) fn state(&self) -> Arc<State> {
        let running = self.running.values().map(|active| active.with_updates());
        let paths = self.waiting.values().flatten().chain(&self.ended).cloned().chain(running);
        let met = Path::meet(paths.collect(), &self.plan.0.reducers);
        met.ok().flatten().map_or_else(Arc::default, |path| path.seen)
    }

    pub(super) fn grant(&mut self, grant: &Grant, at: u64) {
        self.limit = self.limit.saturating_add(grant.iterations);
        self.budget.raise(&grant.budget);
        self.stalled = false;
        for node in std::mem::take(&mut self.held) {
            if self.running.get(&node).is_some_and(|active| active.after.is_some()) {
                self.go_on(node);
            } else {
                self.start_items(node, at);
            }
        }
        self.check.extend(self.waiting.keys().cloned());
        self.settle(at);
    }

    fn fail(&mut self, error: Error) {
        self.done.get_or_insert(Outcome::Failed(error));
    }

    fn fail_at(&mut self, node: u32, kind: ErrorKind, why: &str) {
        let name = &self.definition.nodes[node as usize].name;
        self.fail(Error::new(kind, format!("the node `{name}`: {why}")));
    }

    fn is_alone(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.ended.is_empty()
    }

    fn arrive(&mut self, node: u32, path: Path) {
        let place = (node, path.rounds.clone());
        self.waiting.entry(place.clone()).or_default().push(path);
        self.waiting_set.insert(node);
        self.check.insert(place);
    }

    /// Starts what can start now, until nothing more can; ends the run where nothing is left.
    fn settle(&mut self, at: u64) {
        while self.done.is_none()
            && let Some(place) = self.check.pop_first()
        {
            if !self.waiting.contains_key(&place) || !self.is_free(&place) {
                continue;
            }
            if self.steps >= self.limit {
                self.stalled = true;
                break;
            }
            self.start(&place, at);
        }
        self.check.clear();
        if self.done.is_none() && self.running.is_empty() && self.waiting.is_empty() {
            self.finish();
        }
    }

    /// Whether nothing under way can still come to the node in these rounds. What holds up what is an order, of
    /// cycles, rounds and edges that close none: two never wait for each other.
    fn is_free(&self, (node, rounds): &Arrival) -> bool {
        let planned = self.plan.0.node(*node);
        let under_way = [&self.running_set, &self.waiting_set];
        let Some(before) = planned.before.first() else { return false };
        if self.running_set.contains(*node) || under_way.iter().any(|set| set.meets(before)) {
            return false;
        }
        if planned.cycles.is_empty() {
            return true;
        }
        let goes_before = |other: u32, of: &[u32]| self.plan.0.goes_before((other, of), (*node, rounds));
        let running = self.running_set.both(&planned.beside);
        let mut running = running.filter_map(|other| Some((other, self.running.get(&other)?)));
        if running.any(|(other, active)| goes_before(other, &active.path.rounds)) {
            return false;
        }
        let waiting = self.waiting_set.both(&planned.beside);
        let mut waiting = waiting.flat_map(|other| self.waiting_at(other));
        !waiting.any(|(other, of)| goes_before(*other, of))
    }

    /// The arrivals at a node that wait.
    fn waiting_at(&self, node: u32) -> impl Iterator<Item = &Arrival> {
        self.waiting.range((node, vec![])..(node + 1, vec![])).map(|(arrival, _)| arrival)
    }

    fn start(&mut self, place: &Arrival, at: u64) {
        let node = place.0;
        let paths = self.waiting.remove(place).unwrap_or_default();
        if self.waiting_at(node).next().is_none() {
            self.waiting_set.remove(node);
        }
        let mut path = match Path::meet(paths, &self.plan.0.reducers) {
            Ok(Some(path)) => path,
            Ok(None) => return,
            Err(why) => return self.fail_at(node, ErrorKind::OutputInvalid, &why),
        };
        let definition = self.definition.clone();
        let definition = &definition.nodes[node as usize];
        self.steps += 1;
        let visit = self.visits[node as usize];
        self.visits[node as usize] += 1;
        if let Some(max) = definition.max_visits.filter(|max| visit >= *max) {
            // The state of the run is what it was.
            self.ended.push(path);
            let why = format!("it was to start once more than its {max} visits; raise `max_visits`");
            return self.fail_at(node, ErrorKind::LoopLimit, &why);
        }
        if self.is_alone() {
            path.tip = None; // what it has seen is all there is
        }
        match Active::new(definition, visit, path) {
            Ok(active) => {
                self.running.insert(node, Box::new(active));
                self.running_set.insert(node);
            }
            Err(why) => return self.fail_at(node, ErrorKind::InvalidArguments, &why),
        }
        if definition.pause_before {
            self.held.insert(node);
        } else {
            self.start_items(node, at);
        }
    }

    /// All items have ended: the path goes on, or stands until somebody resumes the run.
    fn complete(&mut self, node: u32) {
        let definition = self.definition.clone();
        let definition = &definition.nodes[node as usize];
        let plan = self.plan.0.clone();
        let Some(active) = self.running.get_mut(&node) else { return };
        if let Err((kind, why)) = active.complete(node, definition, &plan) {
            return self.fail_at(node, kind, &why);
        }
        if definition.pause_after {
            self.held.insert(node);
        } else {
            self.go_on(node);
        }
    }

    fn go_on(&mut self, node: u32) {
        let plan = self.plan.0.clone();
        let planned = plan.node(node);
        let Some(active) = self.running.get(&node) else { return };
        if let Some(target) = planned.on_error.filter(|_| active.failed) {
            return self.leave(node, &[target]);
        }
        match &planned.next {
            PlannedNext::To(targets) => self.leave(node, targets),
            PlannedNext::Branch { has_function: true, .. } => {
                self.work.insert((node, active::BRANCH));
            }
            PlannedNext::Branch { has_function: false, .. } => {
                let go = active.after.as_ref().map(|after| after.go.clone());
                self.choose(node, &go.unwrap_or_default());
            }
        }
    }

    /// A branch has chosen.
    fn choose(&mut self, node: u32, go: &[String]) {
        let plan = self.plan.0.clone();
        let PlannedNext::Branch { targets, may_end, .. } = &plan.node(node).next else { return };
        let mut chosen = Vec::with_capacity(go.len());
        for name in go.iter().filter(|name| !(*may_end && *name == END)) {
            match plan.index(name).filter(|target| targets.contains(target)) {
                Some(target) if chosen.contains(&target) => {}
                Some(target) => chosen.push(target),
                None => {
                    let known = self.definition.nodes[node as usize].next.targets().join("`, `");
                    let why = format!("its branch chose `{name}`, which is none of its targets: `{known}`");
                    return self.fail_at(node, ErrorKind::UnknownEdge, &why);
                }
            }
        }
        if go.is_empty() && !may_end {
            return self.fail_at(node, ErrorKind::UnknownEdge, "its branch chose nothing");
        }
        self.leave(node, &chosen);
    }

    /// The node is done: its updates join the path, and the path goes on to each target.
    fn leave(&mut self, node: u32, targets: &[u32]) {
        let Some(active) = self.running.remove(&node) else { return };
        self.running_set.remove(node);
        let Active { path, after, .. } = *active;
        let After { updates, sends, .. } = after.unwrap_or_default();
        let Path { depth, rounds, tip, seen, .. } = path;
        let depth = depth + 1;
        let mut goes: Vec<(u32, Vec<SentItem>)> = targets.iter().map(|target| (*target, vec![])).collect();
        for (target, sent) in sends {
            match goes.iter_mut().find(|(to, _)| *to == target) {
                Some((_, items)) => items.push(sent),
                None => goes.push((target, vec![sent])),
            }
        }
        let parts = goes.len() > 1;
        let tip = match (self.is_alone(), tip) {
            (true, _) if parts => Some(Arc::new(Segment::root(seen.clone()))),
            (true, _) => None,
            (false, tip) => {
                let level = tip.as_ref().map_or(0, |tip| tip.level + 1);
                let state = (parts || tip.is_none()).then(|| seen.clone());
                Some(Arc::new(Segment { level, parent: tip, updates, state }))
            }
        };
        let last = goes.pop();
        for (target, sent) in goes {
            let rounds = self.plan.0.rounds(node, &rounds, target);
            self.arrive(target, Path { depth, rounds, tip: tip.clone(), seen: seen.clone(), sent });
        }
        match last {
            Some((target, sent)) => {
                let rounds = self.plan.0.rounds(node, &rounds, target);
                self.arrive(target, Path { depth, rounds, tip, seen, sent });
            }
            None => self.ended.push(Path { depth, rounds: vec![], tip, seen, sent: vec![] }),
        }
        for place in self.waiting.keys() {
            if place.0 == node || self.plan.0.reaches(node, place.0) {
                self.check.insert(place.clone());
            }
        }
    }

    fn finish(&mut self) {
        let state = match Path::meet(self.ended.clone(), &self.plan.0.reducers) {
            Ok(path) => path.map(|path| path.seen).unwrap_or_default(),
            Err(why) => return self.fail(Error::new(ErrorKind::OutputInvalid, why)),
        };
        let output = match &self.definition.output {
            Some(field) => crate::graph::lookup(&state, field).cloned().unwrap_or_default(),
            None => Value::Object((*state).clone()),
        };
        let text = match &output {
            Value::String(text) => text.clone(),
            _ if self.definition.output.is_none() => String::new(),
            other => other.to_string(),
        };
        self.done = Some(Outcome::Succeeded { text, output: Some(output), completed: true });
    }
}

/// When a wait is over, in milliseconds since 1970.
fn due(ms: Option<u64>, input: Option<&Value>, at: u64) -> Result<u64, String> {
    if let Some(ms) = ms {
        return Ok(at.saturating_add(ms));
    }
    match input {
        Some(Value::Number(number)) if number.as_u64().is_some() => Ok(number.as_u64().unwrap_or(at)),
        Some(Value::String(text)) => {
            let time: jiff::Timestamp =
                text.parse().map_err(|_| format!("`{text}` is no time such as 2026-01-31T09:00:00Z"))?;
            Ok(u64::try_from(time.as_millisecond()).unwrap_or(0))
        }
        other => {
            let other = other.cloned().unwrap_or_default();
            Err(format!("it is to wait until `{other}`, which is neither milliseconds since 1970 nor a time"))
        }
    }
}

/// Whether a failure of the node ends the run.
fn ends_the_run(on_error: &OnError) -> bool {
    *on_error == OnError::Fail
}
