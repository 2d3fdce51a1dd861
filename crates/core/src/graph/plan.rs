//! A graph made ready to be followed: names as numbers, and what leads to what.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::END;
use super::bits::Bits;
use super::definition::{GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Source};
use super::state::Reducer;

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
}

#[derive(Debug)]
pub(crate) struct Planned {
    pub next: PlannedNext,
    pub sends: Vec<u32>,
    pub on_error: Option<u32>,
    /// The field of a result that is no update, and the one of failures.
    pub field: Arc<str>,
    pub error_field: Option<Arc<str>>,
    /// Nodes it can lead to, and those that can lead to it.
    pub reaches: Bits,
    pub reached_by: Bits,
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
        let targets = match &next {
            PlannedNext::To(targets) | PlannedNext::Branch { targets, .. } => targets,
        };
        targets.iter().chain(&sends).chain(&on_error).for_each(|target| reaches.insert(*target));
        self.nodes.push(Planned {
            next,
            sends,
            on_error,
            field: node.field().into(),
            error_field: node.error_field.as_deref().map(Into::into),
            reaches,
            reached_by: Bits::new(count),
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
        for from in 0..count {
            for to in 0..count {
                if self.nodes[from as usize].reaches.contains(to) {
                    self.nodes[to as usize].reached_by.insert(from);
                }
            }
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
