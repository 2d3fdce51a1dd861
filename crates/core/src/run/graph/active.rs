//! A node that runs: its items, what they gave, and what that makes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::path::{Path, Segment, SentItem};
use crate::error::{Error, ErrorKind};
use crate::graph::{NodeDefinition, NodeOutput, Place, Plan, PlannedNext, Update, lookup};

/// In an item's place: the branch behind the node.
pub(super) const BRANCH: u32 = u32::MAX;
/// In an item's place: what was gathered of all.
const GATHERED: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Active {
    pub visit: u32,
    pub path: Path,
    pub items: Items,
    pub slots: Vec<Slot>,
    /// Items that have not ended.
    pub missing: u32,
    /// The first item that was not looked at yet.
    pub next: u32,
    pub failed: bool,
    pub after: Option<After>,
    /// Attempts of the branch.
    pub branch: Slot,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Items {
    /// It runs once.
    One,
    /// Once for each element of a list in the state.
    Listed,
    /// Once for each item that was sent.
    Sent(Vec<Arc<Value>>),
}

/// One item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Of the effect that was open last.
    #[serde(default)]
    pub attempt: u32,
    #[serde(default)]
    pub failures: u32,
    /// Until when it waits, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    #[serde(default)]
    pub approved: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// A result, and whether it goes into one field whole.
    Done(NodeOutput, bool),
    Failed(Error),
}

/// What the items of a node made, once all have ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct After {
    pub updates: Vec<Update>,
    pub sends: Vec<(u32, SentItem)>,
    pub go: Vec<String>,
}

impl Active {
    pub(super) fn new(definition: &NodeDefinition, visit: u32, mut path: Path) -> Result<Self, String> {
        let sent = std::mem::take(&mut path.sent);
        let (items, count) = match &definition.each {
            Some(field) => match lookup(&path.seen, field) {
                Some(Value::Array(list)) => (Items::Listed, list.len()),
                Some(_) => return Err(format!("it runs over `{field}`, which is no list")),
                None => return Err(format!("it runs over `{field}`, which is not in the state")),
            },
            None if sent.is_empty() => (Items::One, 1),
            None => {
                let items: Vec<_> = sent.into_iter().map(|sent| sent.value).collect();
                let count = items.len();
                (Items::Sent(items), count)
            }
        };
        Ok(Self {
            visit,
            path,
            items,
            slots: vec![Slot::default(); count],
            missing: u32::try_from(count).unwrap_or(u32::MAX),
            next: 0,
            failed: false,
            after: None,
            branch: Slot::default(),
        })
    }

    pub(super) fn slot(&self, item: u32) -> Option<&Slot> {
        if item == BRANCH { Some(&self.branch) } else { self.slots.get(item as usize) }
    }

    pub(super) fn slot_mut(&mut self, item: u32) -> Option<&mut Slot> {
        if item == BRANCH { Some(&mut self.branch) } else { self.slots.get_mut(item as usize) }
    }

    /// Makes updates of what the items gave, in their order, and applies them to what the path has seen.
    ///
    /// # Errors
    /// What does not fit, and of which kind that is.
    pub(super) fn complete(
        &mut self,
        node: u32,
        definition: &NodeDefinition,
        plan: &Plan,
    ) -> Result<(), (ErrorKind, String)> {
        let planned = plan.node(node);
        let place = |item| Place { depth: self.path.depth, node, visit: self.visit, item };
        // A list of results, unless its field says how it takes them one by one.
        let gathers = self.items != Items::One && !plan.reducers.contains_key(definition.field());
        let mut gathered = Vec::new();
        let mut any_whole = gathers && definition.gives_a_value();
        let mut after = After::default();
        for (item, slot) in (0..).zip(std::mem::take(&mut self.slots)) {
            let place = place(item);
            match slot.end {
                Some(End::Done(output, whole)) => {
                    for (number, sent) in (0..).zip(output.send) {
                        let target = plan.index(&sent.to).filter(|target| planned.sends.contains(target));
                        let Some(target) = target else {
                            let known = definition.sends.join("`, `");
                            let why = format!("it sent to `{}`, and may send to: `{known}`", sent.to);
                            return Err((ErrorKind::UnknownEdge, why));
                        };
                        after.sends.push((target, SentItem { place, number, value: sent.item }));
                    }
                    after.go.extend(output.go);
                    if whole && gathers {
                        any_whole = true;
                        gathered.push(Arc::unwrap_or_clone(output.value));
                    } else if whole {
                        let field = Some(planned.field.clone());
                        after.updates.push(Update { place, field, value: output.value });
                    } else if output.value.as_object().is_some_and(|fields| !fields.is_empty()) {
                        after.updates.push(Update { place, field: None, value: output.value });
                    }
                }
                Some(End::Failed(error)) => {
                    gathered.push(Value::Null);
                    if let Some(field) = &planned.error_field {
                        let value = json!({
                            "node": definition.name, "item": item, "code": error.code(), "message": error.message(),
                        });
                        let field = Some(field.clone());
                        after.updates.push(Update { place, field, value: Arc::new(value) });
                    }
                }
                None => {}
            }
        }
        if any_whole {
            let (field, value) = (Some(planned.field.clone()), Arc::new(Value::Array(gathered)));
            after.updates.push(Update { place: place(GATHERED), field, value });
        }
        if !after.updates.is_empty() {
            let state = Arc::make_mut(&mut self.path.seen);
            for update in &after.updates {
                update.apply(state, &plan.reducers).map_err(|why| (ErrorKind::OutputInvalid, why))?;
            }
        }
        if !after.go.is_empty() && !matches!(planned.next, PlannedNext::Branch { has_function: false, .. }) {
            let why = format!("it chose `{}`, but no branch of its own follows it", after.go.join("`, `"));
            return Err((ErrorKind::UnknownEdge, why));
        }
        self.after = Some(after);
        Ok(())
    }

    /// Its path with the updates that have not joined it yet.
    pub(super) fn with_updates(&self) -> Path {
        let mut path = self.path.clone();
        if let (Some(after), Some(tip)) = (&self.after, &self.path.tip) {
            let updates = after.updates.clone();
            let segment = Segment { level: tip.level + 1, parent: Some(tip.clone()), updates, state: None };
            path.tip = Some(Arc::new(segment));
        }
        path
    }
}
