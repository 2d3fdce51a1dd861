//! A change of the state from outside, as a fork makes it.

use std::sync::Arc;

use serde_json::Value;

use super::Graph;
use super::path::{Path, Segment};
use crate::graph::{PATCH, Place, State, Update};

impl Graph {
    /// Every path sees the change from now on, after all that it has seen so far. What is in flight was given
    /// what it was given.
    pub(in crate::run) fn patch(&mut self, change: &State) {
        self.patches += 1;
        let paths = || self.waiting.values().flatten().chain(&self.ended);
        let running = self.running.values().map(|active| &active.path);
        let depth = paths().chain(running).map(|path| path.depth).max().unwrap_or_default();
        let place = Place { depth, node: PATCH, visit: self.patches, item: 0 };
        let update = Update { place, field: None, value: Arc::new(Value::Object(change.clone())) };
        for active in self.running.values_mut() {
            // What the node made comes before the change.
            let path = active.with_updates();
            active.path = path;
            if let Some(after) = &mut active.after {
                after.updates.clear();
            }
            apply(&mut active.path, &update);
        }
        for path in self.waiting.values_mut().flatten().chain(&mut self.ended) {
            apply(path, &update);
        }
        if let Some(crate::record::Outcome::Succeeded { .. }) = self.done {
            self.done = None;
            self.finish();
        }
    }
}

fn apply(path: &mut Path, update: &Update) {
    path.depth = update.place.depth + 1;
    if let Some(tip) = path.tip.take() {
        let level = tip.level + 1;
        let updates = vec![update.clone()];
        path.tip = Some(Arc::new(Segment { level, parent: Some(tip), updates, state: None }));
    }
    let state = Arc::make_mut(&mut path.seen);
    for (field, value) in update.fields() {
        state.insert(field.to_owned(), value.clone());
    }
}
