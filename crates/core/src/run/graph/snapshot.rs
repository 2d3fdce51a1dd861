//! A graph's run as it stands, as a value that can be stored: of a tree of pasts each segment once, and of states
//! only those that do not follow from others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Graph;
use super::active::{Active, After, Items, Slot};
use super::path::{Path, Segment, SentItem};
use crate::budget::Budget;
use crate::effect::Task;
use crate::graph::{GraphDefinition, State, Update};
use crate::record::Outcome;
use crate::run::open::OpenEffects;
use crate::usage::Usage;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::run) struct GraphSnapshot {
    segments: Vec<SegmentSnapshot>,
    waiting: Vec<(u32, PathSnapshot)>,
    running: BTreeMap<u32, ActiveSnapshot>,
    ended: Vec<PathSnapshot>,
    visits: Vec<u32>,
    steps: u32,
    limit: u32,
    stalled: bool,
    held: BTreeSet<u32>,
    work: BTreeSet<(u32, u32)>,
    free: BTreeSet<(u32, u32)>,
    in_flight: u32,
    tools: u32,
    exclusive: bool,
    tool_calls: u64,
    usage: Usage,
    budget: Budget,
    patches: u32,
    done: Option<Outcome>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SegmentSnapshot {
    level: u32,
    /// An earlier one of the list.
    parent: Option<usize>,
    updates: Vec<Update>,
    /// Paths parted here, so its state is kept.
    parts: bool,
    /// Where there is no parent to make it from.
    state: Option<Arc<State>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PathSnapshot {
    depth: u32,
    rounds: Vec<u32>,
    tip: Option<usize>,
    /// Where it does not follow from the tip.
    seen: Option<Arc<State>>,
    sent: Vec<SentItem>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ActiveSnapshot {
    visit: u32,
    path: PathSnapshot,
    items: Items,
    slots: Vec<Slot>,
    missing: u32,
    next: u32,
    failed: bool,
    after: Option<After>,
    branch: Slot,
}

/// No path is longer: a run's steps are counted in 32 bits.
const DEEPEST: u32 = u32::MAX / 2;

/// Numbers segments, parents first.
#[derive(Default)]
struct Numbering {
    numbers: HashMap<*const Segment, usize>,
    segments: Vec<SegmentSnapshot>,
}

impl Numbering {
    fn number(&mut self, tip: &Arc<Segment>) -> usize {
        let mut fresh = vec![];
        let mut next = Some(tip);
        while let Some(segment) = next.filter(|segment| !self.numbers.contains_key(&Arc::as_ptr(segment))) {
            fresh.push(segment);
            next = segment.parent.as_ref();
        }
        for segment in fresh.into_iter().rev() {
            let parent = segment.parent.as_ref().and_then(|parent| self.numbers.get(&Arc::as_ptr(parent)));
            let parent = parent.copied();
            self.numbers.insert(Arc::as_ptr(segment), self.segments.len());
            self.segments.push(SegmentSnapshot {
                level: segment.level,
                parent,
                updates: segment.updates.clone(),
                parts: segment.state.is_some(),
                state: segment.state.clone().filter(|_| parent.is_none()),
            });
        }
        self.numbers.get(&Arc::as_ptr(tip)).copied().unwrap_or_default()
    }

    fn path(&mut self, path: &Path) -> PathSnapshot {
        let tip = path.tip.as_ref().map(|tip| self.number(tip));
        let seen = tip.is_none().then(|| path.seen.clone());
        PathSnapshot { depth: path.depth, rounds: path.rounds.clone(), tip, seen, sent: path.sent.clone() }
    }
}

impl Graph {
    pub(in crate::run) fn snapshot(&self) -> GraphSnapshot {
        let mut numbering = Numbering::default();
        let mut path = |path: &Path| numbering.path(path);
        let waiting =
            self.waiting.iter().flat_map(|((node, _), paths)| paths.iter().map(|path| (*node, path)));
        let waiting = waiting.map(|(node, waiting)| (node, path(waiting))).collect();
        let running = self.running.iter().map(|(node, active)| {
            let active = ActiveSnapshot {
                visit: active.visit,
                path: path(&active.path),
                items: active.items.clone(),
                slots: active.slots.clone(),
                missing: active.missing,
                next: active.next,
                failed: active.failed,
                after: active.after.clone(),
                branch: active.branch.clone(),
            };
            (*node, active)
        });
        let running = running.collect();
        let ended = self.ended.iter().map(&mut path).collect();
        GraphSnapshot {
            segments: numbering.segments,
            waiting,
            running,
            ended,
            visits: self.visits.clone(),
            steps: self.steps,
            limit: self.limit,
            stalled: self.stalled,
            held: self.held.clone(),
            work: self.work.clone(),
            free: self.free.clone(),
            in_flight: self.in_flight,
            tools: self.tools,
            exclusive: self.exclusive,
            tool_calls: self.tool_calls,
            usage: self.usage,
            budget: self.budget.clone(),
            patches: self.patches,
            done: self.done.clone(),
        }
    }

    /// # Errors
    /// The snapshot is of another graph, or damaged.
    pub(in crate::run) fn restore(
        definition: Arc<GraphDefinition>,
        snapshot: GraphSnapshot,
    ) -> Result<Self, String> {
        let mut graph = Self::new(definition);
        let count = graph.visits.len();
        let nodes = snapshot.waiting.iter().map(|(node, _)| node).chain(snapshot.running.keys());
        let nodes = nodes.chain(snapshot.work.iter().chain(&snapshot.free).map(|(node, _)| node));
        let nodes = nodes.chain(&snapshot.held);
        if snapshot.visits.len() != count || nodes.copied().any(|node| node as usize >= count) {
            return Err("it names nodes that the graph does not have".into());
        }
        let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(snapshot.segments.len());
        for stored in snapshot.segments {
            let parent = match stored.parent {
                Some(at) => Some(segments.get(at).cloned().ok_or("a segment stands before its parent")?),
                None => None,
            };
            let kept = stored.state;
            let mut segment = Segment { level: stored.level, parent, updates: stored.updates, state: kept };
            if stored.parts && segment.state.is_none() {
                let whole = Arc::new(segment);
                let state = whole.fold(&graph.plan.0.reducers)?;
                segment = Arc::into_inner(whole).ok_or("a segment is in use")?;
                segment.state = Some(state);
            }
            segments.push(Arc::new(segment));
        }
        let path = |stored: PathSnapshot| graph.path(stored, &segments);
        let mut waiting: BTreeMap<_, Vec<Path>> = BTreeMap::new();
        for (node, stored) in snapshot.waiting {
            let path = path(stored)?;
            waiting.entry((node, path.rounds.clone())).or_default().push(path);
        }
        let mut running = BTreeMap::new();
        for (node, stored) in snapshot.running {
            let mut path = path(stored.path)?;
            if let (Some(_), Some(after)) = (&path.tip, &stored.after) {
                let state = Arc::make_mut(&mut path.seen);
                for update in &after.updates {
                    update.apply(state, &graph.plan.0.reducers)?;
                }
            }
            let active = Active {
                visit: stored.visit,
                path,
                items: stored.items,
                slots: stored.slots,
                missing: stored.missing,
                next: stored.next,
                failed: stored.failed,
                after: stored.after,
                branch: stored.branch,
            };
            running.insert(node, Box::new(active));
        }
        let ended = snapshot.ended.into_iter().map(path).collect::<Result<Vec<_>, _>>()?;
        for (node, active) in &running {
            graph.check(*node, &active.path)?;
            graph.check_active(*node, active)?;
        }
        for ((node, _), paths) in &waiting {
            paths.iter().try_for_each(|path| graph.check(*node, path))?;
        }
        if snapshot.held.iter().any(|node| !running.contains_key(node)) {
            return Err("it stands at a node that does not run".into());
        }
        running.keys().for_each(|node| graph.running_set.insert(*node));
        waiting.keys().for_each(|(node, _)| graph.waiting_set.insert(*node));
        Ok(Self {
            waiting,
            running,
            ended,
            visits: snapshot.visits,
            steps: snapshot.steps,
            limit: snapshot.limit,
            stalled: snapshot.stalled,
            held: snapshot.held,
            work: snapshot.work,
            free: snapshot.free,
            in_flight: snapshot.in_flight,
            tools: snapshot.tools,
            exclusive: snapshot.exclusive,
            tool_calls: snapshot.tool_calls,
            usage: snapshot.usage,
            budget: snapshot.budget,
            patches: snapshot.patches,
            done: snapshot.done,
            ..graph
        })
    }

    /// Whether a path can be at a node as it says: it is followed without looking again.
    fn check(&self, node: u32, path: &Path) -> Result<(), String> {
        if path.rounds.len() != self.plan.0.node(node).cycles.len() {
            return Err("a path is in cycles that its node is not in".into());
        }
        let level = path.tip.as_ref().map_or(0, |tip| tip.level);
        if path.depth > DEEPEST || level > DEEPEST {
            return Err("a path is longer than any".into());
        }
        Ok(())
    }

    fn check_active(&self, node: u32, active: &Active) -> Result<(), String> {
        // Once all have ended, or what they gave did not fit, none are kept.
        let missing = active.slots.iter().filter(|slot| slot.end.is_none()).count();
        let is_whole = match &active.items {
            Items::One => active.slots.len() == 1,
            Items::Sent(items) => active.slots.len() == items.len(),
            Items::Listed => true,
        };
        let is_counted = missing <= active.missing as usize && active.next as usize <= active.slots.len();
        if !(active.slots.is_empty() || is_whole && is_counted) {
            return Err("the items of a node are not counted rightly".into());
        }
        let sends = &self.plan.0.node(node).sends;
        let sent = active.after.iter().flat_map(|after| &after.sends);
        if sent.into_iter().any(|(target, _)| !sends.contains(target)) {
            return Err("a node sends to where it may not".into());
        }
        Ok(())
    }

    /// Whether what it counts in flight is what stands open.
    pub(in crate::run) fn agrees_with(&self, open: &OpenEffects) -> Result<(), String> {
        let tasks = || open.iter().map(|open| &open.intent.task);
        let places = tasks().filter(|task| task.takes_a_place()).count();
        let tools = tasks().filter(|task| matches!(task, Task::Tool { .. })).count();
        if (places, tools) == (self.in_flight as usize, self.tools as usize) {
            Ok(())
        } else {
            Err("what is in flight is not counted rightly".into())
        }
    }

    fn path(&self, stored: PathSnapshot, segments: &[Arc<Segment>]) -> Result<Path, String> {
        let tip = match stored.tip {
            Some(at) => Some(segments.get(at).cloned().ok_or("a path ends in no segment")?),
            None => None,
        };
        let seen = match (&tip, stored.seen) {
            (_, Some(seen)) => seen,
            (Some(tip), None) => tip.fold(&self.plan.0.reducers)?,
            (None, None) => return Err("a path has seen nothing".into()),
        };
        Ok(Path { depth: stored.depth, rounds: stored.rounds, tip, seen, sent: stored.sent })
    }
}
