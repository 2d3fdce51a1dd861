//! What a path through a graph has seen.
//!
//! Paths part and meet, so their pasts form a tree of segments. As long as there is one path, nothing is kept:
//! what it has seen is its state, which is changed in place. Where paths meet, only what came since they parted
//! is folded again.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use crate::graph::{Place, Reducer, State, Update};

/// A path under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    /// The longest chain of nodes before it.
    pub depth: u32,
    /// How often it went round in each cycle that it is in.
    pub rounds: Vec<u32>,
    /// None while there is no other path, nor was.
    pub tip: Option<Arc<Segment>>,
    /// The state that its past makes.
    pub seen: Arc<State>,
    /// Items that were sent along.
    pub sent: Vec<SentItem>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SentItem {
    /// Of the node that sent it.
    pub place: Place,
    pub number: u32,
    pub value: Arc<serde_json::Value>,
}

/// A piece of a past: what a node, or a meeting of paths, added to what was before.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Above that of its parent.
    pub level: u32,
    pub parent: Option<Arc<Segment>>,
    /// In their order.
    pub updates: Vec<Update>,
    /// What the past makes up to here. Kept where paths part; a segment without a parent always has it.
    pub state: Option<Arc<State>>,
}

impl Path {
    pub(crate) fn begin(state: Arc<State>) -> Self {
        Self { depth: 0, rounds: vec![], tip: None, seen: state, sent: vec![] }
    }

    /// The path that goes on where these meet.
    ///
    /// # Errors
    /// A reducer that cannot take an update.
    pub(crate) fn meet(
        mut paths: Vec<Path>,
        reducers: &HashMap<String, Reducer>,
    ) -> Result<Option<Self>, String> {
        if paths.len() < 2 {
            return Ok(paths.pop());
        }
        let depth = paths.iter().map(|path| path.depth).max().unwrap_or_default();
        let mut sent: Vec<_> = paths.iter_mut().flat_map(|path| std::mem::take(&mut path.sent)).collect();
        sent.sort_by_key(|sent| (sent.place, sent.number));
        let tips = paths.iter().filter_map(|path| path.tip.clone());
        let (since, mut updates) = parted(tips.collect());
        updates.sort_by_key(|update| update.place);
        updates.dedup_by_key(|update| update.place);
        let first = paths.swap_remove(0);
        let rounds = first.rounds.clone();
        let (Some(since), false) = (since, updates.is_empty()) else {
            return Ok(Some(Self { depth, sent, ..first }));
        };
        let level = paths.iter().chain([&first]).filter_map(|path| path.tip.as_ref());
        let level = level.map(|tip| tip.level).max().unwrap_or_default() + 1;
        drop((first, paths));
        let mut seen = since.fold(reducers)?;
        let state = Arc::make_mut(&mut seen);
        for update in &updates {
            update.apply(state, reducers)?;
        }
        let tip = Arc::new(Segment { level, parent: Some(since), updates, state: None });
        Ok(Some(Self { depth, rounds, tip: Some(tip), seen, sent }))
    }
}

/// The last segment that all of these have in common, and the updates since, in no order.
fn parted(tips: Vec<Arc<Segment>>) -> (Option<Arc<Segment>>, Vec<Update>) {
    let mut updates = Vec::new();
    let mut ends: BinaryHeap<ByLevel> = tips.into_iter().map(ByLevel).collect();
    while let Some(ByLevel(last)) = ends.pop() {
        while ends.peek().is_some_and(|next| Arc::ptr_eq(&next.0, &last)) {
            ends.pop();
        }
        if ends.is_empty() {
            return (Some(last), updates);
        }
        updates.extend(last.updates.iter().cloned());
        match &last.parent {
            Some(parent) => ends.push(ByLevel(parent.clone())),
            None => return (None, updates), // never: all paths part from one segment
        }
    }
    (None, updates)
}

/// The highest level first; the same segment beside itself.
struct ByLevel(Arc<Segment>);

impl ByLevel {
    fn key(&self) -> (u32, usize) {
        (self.0.level, Arc::as_ptr(&self.0) as usize)
    }
}

impl PartialEq for ByLevel {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByLevel {}

impl PartialOrd for ByLevel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByLevel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Segment {
    /// The state up to here.
    pub(crate) fn fold(self: &Arc<Self>, reducers: &HashMap<String, Reducer>) -> Result<Arc<State>, String> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let mut later = vec![self];
        let mut state = loop {
            match later.last().and_then(|segment| segment.parent.as_ref()) {
                Some(parent) => match &parent.state {
                    Some(state) => break state.clone(),
                    None => later.push(parent),
                },
                None => break Arc::default(),
            }
        };
        let changed = Arc::make_mut(&mut state);
        for update in later.into_iter().rev().flat_map(|segment| &segment.updates) {
            update.apply(changed, reducers)?;
        }
        Ok(state)
    }
}

/// By value, and not by descent into ever older segments: a past may be long.
impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut two) = (self, other);
        loop {
            if std::ptr::eq(one, two) {
                return true;
            }
            if one.level != two.level || one.updates != two.updates || one.state != two.state {
                return false;
            }
            match (&one.parent, &two.parent) {
                (Some(a), Some(b)) => (one, two) = (a, b),
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

/// One after another, for the same reason.
impl Drop for Segment {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut segment) = parent.and_then(Arc::into_inner) {
            parent = segment.parent.take();
        }
    }
}

impl Segment {
    pub(crate) fn root(state: Arc<State>) -> Self {
        Self { level: 0, parent: None, updates: vec![], state: Some(state) }
    }
}
