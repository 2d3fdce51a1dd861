//! A graph made ready to be followed: names as numbers, and what leads to what.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::END;
use super::bits::Bits;
use super::definition::{GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Source};
use super::state::Reducer;
use crate::definition::Approval;

/// Holds a definition's plan once it was made. A copy of a definition makes its own.
#[derive(Default)]
pub struct PlanCell(OnceLock<Arc<Plan>>);

impl PlanCell {
    pub(crate) fn of(&self, definition: &GraphDefinition) -> &Arc<Plan> {
        self.0.get_or_init(|| Arc::new(Plan::new(definition)))
    }
}

impl Clone for PlanCell {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for PlanCell {
    fn eq(&self, _: &Self) -> bool {
        true // follows from the rest of the definition
    }
}

impl std::fmt::Debug for PlanCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanCell")
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub nodes: Vec<Planned>,
    pub start: Vec<u32>,
    pub reducers: HashMap<String, Reducer>,
    /// Why the graph cannot be followed.
    pub fault: Option<String>,
    index: HashMap<String, u32>,
    /// By node: all it leads to by one edge of any kind.
    edges: Vec<Vec<u32>>,
}

#[derive(Debug)]
pub(crate) struct Planned {
    pub next: PlannedNext,
    pub sends: Vec<u32>,
    pub on_error: Option<u32>,
    /// The field of a result that is no update, and the one of failures.
    pub field: Arc<str>,
    pub error_field: Option<Arc<str>>,
    /// Nodes it can lead to.
    pub reaches: Bits,
    /// The cycles that it is in, the widest first.
    pub cycles: Vec<u32>,
    /// Whether a round of the narrowest of them begins here.
    pub is_header: bool,
    /// Nodes that lead to it within so many cycles that they share, and to which it does not lead back there.
    pub before: Vec<Bits>,
    /// Nodes it shares a cycle with.
    pub beside: Bits,
}

#[derive(Debug)]
pub(crate) enum PlannedNext {
    To(Vec<u32>),
    Branch {
        has_function: bool,
        /// Without `end`.
        targets: Vec<u32>,
        may_end: bool,
    },
}

impl PlannedNext {
    fn targets(&self) -> &[u32] {
        match self {
            Self::To(targets) | Self::Branch { targets, .. } => targets,
        }
    }
}

impl Plan {
    fn new(definition: &GraphDefinition) -> Self {
        let nodes = &definition.nodes;
        let mut index = HashMap::with_capacity(nodes.len());
        let mut fault = None;
        for (at, node) in (0..).zip(nodes) {
            let before = index.insert(node.name.clone(), at);
            if before.is_some() {
                fault.get_or_insert(format!("two nodes are called `{}`; rename one", node.name));
            }
        }
        let mut plan = Self {
            nodes: Vec::with_capacity(nodes.len()),
            start: vec![],
            reducers: definition.fields.iter().map(|(field, reducer)| (field.clone(), *reducer)).collect(),
            fault,
            index,
            edges: Vec::with_capacity(nodes.len()),
        };
        let start = plan.resolve("the start", &definition.start);
        plan.start = start;
        if plan.start.is_empty() {
            plan.fault.get_or_insert_with(|| "the graph has no start; name a node in `start`".into());
        }
        for node in nodes {
            plan.add(node, nodes.len());
        }
        plan.close();
        plan.find_unreachable(nodes);
        plan
    }

    fn add(&mut self, node: &NodeDefinition, count: usize) {
        let place = format!("the node `{}`", node.name);
        if let Some(why) = flaw(node) {
            self.fault.get_or_insert(format!("{place} {why}"));
        }
        let next = match &node.next {
            Next::End => PlannedNext::To(vec![]),
            Next::To(targets) => PlannedNext::To(self.resolve(&place, targets)),
            Next::Branch { function, targets } => {
                let nodes: Vec<_> = targets.iter().filter(|target| *target != END).cloned().collect();
                PlannedNext::Branch {
                    has_function: function.is_some(),
                    may_end: nodes.len() < targets.len(),
                    targets: self.resolve(&place, &nodes),
                }
            }
        };
        let sends = self.resolve(&place, &node.sends);
        let on_error = match &node.on_error {
            OnError::Go(target) => self.resolve(&place, std::slice::from_ref(target)).first().copied(),
            OnError::Fail | OnError::Continue => None,
        };
        if let Some(field) = &node.error_field {
            self.reducers.entry(field.clone()).or_insert(Reducer::Append);
        }
        let mut reaches = Bits::new(count);
        let mut edges = next.targets().to_vec();
        edges.extend(sends.iter().chain(&on_error));
        edges.iter().for_each(|target| reaches.insert(*target));
        self.edges.push(edges);
        self.nodes.push(Planned {
            next,
            sends,
            on_error,
            field: node.field().into(),
            error_field: node.error_field.as_deref().map(Into::into),
            reaches,
            cycles: vec![],
            is_header: false,
            before: vec![],
            beside: Bits::new(count),
        });
    }

    fn resolve(&mut self, place: &str, names: &[String]) -> Vec<u32> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match self.index.get(name) {
                Some(at) if found.contains(at) => {}
                Some(at) => found.push(*at),
                None => {
                    let mut known: Vec<_> = self.index.keys().map(String::as_str).collect();
                    known.sort_unstable(); // a run fails with the same words in every process
                    let hint = crate::suggest::nearest(name, known)
                        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    self.fault.get_or_insert(format!("{place} leads to `{name}`, which is no node{hint}"));
                }
            }
        }
        found
    }

    /// Closes `reaches` over all edges.
    fn close(&mut self) {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        for through in 0..count {
            let more = self.nodes[through as usize].reaches.clone();
            for node in &mut self.nodes {
                if node.reaches.contains(through) {
                    node.reaches.add(&more);
                }
            }
        }
        let nodes: Vec<u32> = (0..count).collect();
        let closure: Vec<Bits> = self.nodes.iter().map(|node| node.reaches.clone()).collect();
        let mut cycles =
            Cycles { order: self.order(count), edges: &self.edges, found: vec![], before: vec![] };
        cycles.before = vec![vec![]; count as usize];
        cycles.split(&nodes, &closure);
        let Cycles { found, before, .. } = cycles;
        for (node, before) in self.nodes.iter_mut().zip(before) {
            node.before = before;
        }
        for (number, (header, members)) in (0..).zip(found) {
            let mut set = Bits::new(count as usize);
            members.iter().for_each(|member| set.insert(*member));
            for member in members {
                let node = &mut self.nodes[member as usize];
                node.cycles.push(number);
                node.beside.add(&set);
                node.is_header = member == header;
            }
        }
    }

    /// When a search from the start comes to each node first.
    fn order(&self, count: u32) -> Vec<u32> {
        let mut order = vec![u32::MAX; count as usize];
        let mut next = 0;
        let mut stack: Vec<u32> = self.start.iter().rev().copied().collect();
        while let Some(node) = stack.pop() {
            if order[node as usize] == u32::MAX {
                order[node as usize] = next;
                next += 1;
                stack.extend(self.edges[node as usize].iter().rev());
            }
        }
        order
    }

    /// The rounds in which a path that leaves `from` comes to `to`: one for each cycle it is in then, and one more
    /// where it comes back to where rounds of that cycle begin.
    pub(crate) fn rounds(&self, from: u32, rounds: &[u32], to: u32) -> Vec<u32> {
        let target = self.node(to);
        let shared = self.shared(from, to);
        let mut rounds = rounds[..shared].to_vec();
        if target.is_header
            && shared == target.cycles.len()
            && let Some(round) = rounds.last_mut()
        {
            *round += 1;
        }
        rounds.resize(target.cycles.len(), 0);
        rounds
    }

    /// How many cycles both are in.
    fn shared(&self, one: u32, other: u32) -> usize {
        let pairs = self.node(one).cycles.iter().zip(&self.node(other).cycles);
        pairs.take_while(|(one, other)| one == other).count()
    }

    /// Whether a path that waits at or works in `other` may come to `node` in these rounds, or has to go before.
    /// They share a cycle.
    pub(crate) fn goes_before(&self, (other, of): (u32, &[u32]), (node, rounds): (u32, &[u32])) -> bool {
        let shared = self.shared(other, node);
        match of[..shared].cmp(&rounds[..shared]) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.node(node).before[shared].contains(other),
            std::cmp::Ordering::Greater => false,
        }
    }

    fn find_unreachable(&mut self, nodes: &[NodeDefinition]) {
        if self.fault.is_some() {
            return;
        }
        let reached = |at: u32| {
            self.start.iter().any(|start| *start == at || self.nodes[*start as usize].reaches.contains(at))
        };
        let lost = (0..).zip(nodes).find(|(at, _)| !reached(*at)).map(|(_, node)| &node.name);
        if let Some(name) = lost {
            self.fault =
                Some(format!("nothing leads to the node `{name}`; add an edge to it or take it out"));
        }
    }

    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    pub(crate) fn node(&self, at: u32) -> &Planned {
        &self.nodes[at as usize]
    }

    pub(crate) fn reaches(&self, from: u32, to: u32) -> bool {
        self.node(from).reaches.contains(to)
    }
}

/// Finds the cycles of a graph, and those within them.
struct Cycles<'a> {
    order: Vec<u32>,
    edges: &'a [Vec<u32>],
    /// By number, the wider before the narrower: where rounds begin, and all members.
    found: Vec<(u32, Vec<u32>)>,
    /// By node, and by the cycles it shares with others.
    before: Vec<Vec<Bits>>,
}

impl Cycles<'_> {
    /// `closure` says what leads to what among these nodes, by their places in the list.
    fn split(&mut self, nodes: &[u32], closure: &[Bits]) {
        let count = self.edges.len();
        let leads = |from: usize, to: usize| closure[from].contains(nodes[to]);
        let mut taken = vec![false; nodes.len()];
        let mut inner = vec![];
        for (at, &node) in nodes.iter().enumerate() {
            let mut before = Bits::new(count);
            for other in (0..nodes.len()).filter(|other| leads(*other, at) && !leads(at, *other)) {
                before.insert(nodes[other]);
            }
            self.before[node as usize].push(before);
            if !taken[at] && leads(at, at) {
                let both = |other: &usize| leads(at, *other) && leads(*other, at);
                let members: Vec<_> = (0..nodes.len()).filter(both).collect();
                members.iter().for_each(|member| taken[*member] = true);
                inner.push(members.into_iter().map(|member| nodes[member]).collect::<Vec<u32>>());
            }
        }
        for members in inner {
            let first = members.iter().copied().min_by_key(|node| self.order[*node as usize]);
            let Some(header) = first else { continue };
            self.found.push((header, members.clone()));
            let closure = self.within(&members, header);
            self.split(&members, &closure);
        }
    }

    /// What leads to what in a cycle, when nothing leads back to where its rounds begin.
    fn within(&self, members: &[u32], header: u32) -> Vec<Bits> {
        let mut closure: Vec<Bits> = members
            .iter()
            .map(|member| {
                let mut reaches = Bits::new(self.edges.len());
                let edges = self.edges[*member as usize].iter();
                edges.filter(|to| **to != header && members.contains(to)).for_each(|to| reaches.insert(*to));
                reaches
            })
            .collect();
        for (at, through) in members.iter().enumerate() {
            let more = closure[at].clone();
            closure
                .iter_mut()
                .filter(|reaches| reaches.contains(*through))
                .for_each(|reaches| reaches.add(&more));
        }
        closure
    }
}

/// What is wrong with a node by itself.
fn flaw(node: &NodeDefinition) -> Option<String> {
    let taken = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    if node.name.is_empty() || node.name.contains(taken) {
        return Some("needs a name of letters, digits, `_`, `-` and spaces".into());
    }
    if node.name == END {
        return Some("has a name that stands for the end of a path; rename it".into());
    }
    let template = matches!(node.input, Source::Template(_));
    let calls_nothing = matches!(node.work, NodeWork::Ask { .. } | NodeWork::Wait { .. } | NodeWork::Pass);
    if calls_nothing && node.approval != Approval::Allow {
        return Some("does nothing that could be approved; put the approval on the node that does".into());
    }
    match &node.work {
        NodeWork::Ask { .. } | NodeWork::Wait { .. } if template => {
            Some("takes no template as its input; let a node before it write a field".into())
        }
        NodeWork::Wait { ms: None } if node.input == Source::State && node.each.is_none() => {
            Some("waits for no time; give `ms`, or an input that is a time".into())
        }
        NodeWork::Ask { .. } if node.input == Source::State && node.each.is_none() => {
            Some("asks nothing; give the question as its input".into())
        }
        _ => None,
    }
}
