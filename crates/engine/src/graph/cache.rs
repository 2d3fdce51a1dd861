//! Results of nodes that may be given again within the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ambidex_core::graph::NodeCall;
use ambidex_core::record::Output;
use serde_json::{Value, json};

use super::runtime::GraphRuntime;
use crate::perform::Ended;

/// Results in each of two generations.
const GENERATION: usize = 512;
/// Bytes of an input above which nothing is kept.
const LARGEST: usize = 64 * 1024;

/// What was used lately. Two generations: what is asked for again moves into the younger, and the older goes as a whole.
#[derive(Default)]
pub(crate) struct Results(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<String, Output>,
    old: HashMap<String, Output>,
}

impl Results {
    fn get(&self, key: &str) -> Option<Output> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(output) = kept.young.get(key) {
            return Some(output.clone());
        }
        let (key, output) = kept.old.remove_entry(key)?;
        kept.put(key, output.clone());
        Some(output)
    }

    fn put(&self, key: String, output: Output) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, output);
    }
}

impl Generations {
    fn put(&mut self, key: String, output: Output) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, output);
    }
}

/// The result of an earlier call of the node with the same input, where its definition allows that; else that of this
/// work, which is kept then.
pub(super) async fn cached(
    graph: &GraphRuntime,
    call: &NodeCall,
    input: &Value,
    work: impl Future<Output = Ended>,
) -> Ended {
    let node = call.definition();
    let key = json!([graph.pinned.hash, node.name, input]).to_string();
    if key.len() > LARGEST {
        return work.await;
    }
    if let Some(output) = graph.results.get(&key) {
        return Ok(output).into();
    }
    let ended = work.await;
    if let Ended::Result(result) = &ended
        && let Ok(output) = &**result
    {
        graph.results.put(key, free(output));
    }
    ended
}

/// What is given again costs nothing.
fn free(output: &Output) -> Output {
    match output {
        Output::Child { outcome, .. } => Output::Child { outcome: outcome.clone(), usage: Box::default() },
        other => other.clone(),
    }
}
