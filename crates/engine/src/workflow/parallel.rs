//! The graph of a step with `parallel`: its agents side by side, and the merge behind them.

use ambidex_config::Step;
use ambidex_core::graph::{GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Source};
use ambidex_core::{Error, ErrorKind};

use super::parts::Parts;
use super::scope::ERRORS;
use crate::graph::Graph;
use crate::merge::{self, MemberAt, Members, Merge};

/// The node, and the field, of what the merge gives.
const MERGED: &str = "merged";

pub(super) fn merge_of(step: &Step) -> Result<Merge, Error> {
    match &step.merge {
        None => Ok(Merge::concat()),
        Some(configured) => {
            let value = serde_json::to_value(configured);
            let merge = value.and_then(serde_json::from_value);
            merge.map_err(|error| {
                let text = format!("the merge of the step `{}` cannot be read: {error}", step.id);
                Error::new(ErrorKind::ConfigInvalid, text)
            })
        }
    }
}

pub(super) fn graph(name: &str, step: &Step, parts: &Parts) -> Result<Graph, Error> {
    let merge = merge_of(step)?;
    let mut nodes = Vec::new();
    let mut members = Vec::new();
    for (at, member) in step.parallel.iter().enumerate() {
        let node = format!("member {}", at + 1);
        let twins = step.parallel.iter().filter(|other| other.agent == member.agent).count();
        let number = step.parallel[..=at].iter().filter(|other| other.agent == member.agent).count();
        let author = if twins > 1 { format!("{} {number}", member.agent) } else { member.agent.clone() };
        members.push(MemberAt { author, at: node.clone(), node: Some(node.clone()), item: None });
        let work = NodeWork::Agent { agent: member.agent.clone(), pinned: None };
        nodes.push(NodeDefinition {
            input: Source::Field(format!("prompts.{at}")),
            // The merge says who failed, and whether enough is left.
            on_error: OnError::Continue,
            error_field: Some(ERRORS.to_owned()),
            ..NodeDefinition::new(node, work)
        });
    }
    let starts: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let members = Members::At { members, errors: Some(ERRORS.to_owned()) };
    let merged = merge.nodes(MERGED, &members, Some("prompts.0"))?;
    for node in &mut nodes {
        node.next = Next::To(vec![merged.first.clone()]);
    }
    nodes.extend(merged.nodes);
    let definition = GraphDefinition {
        start: starts,
        output: Some(MERGED.to_owned()),
        concurrency: u32::try_from(step.parallel.len()).unwrap_or(u32::MAX).max(16),
        ..GraphDefinition::new(name, nodes)
    };
    let mut builder = Graph::from_definition(definition).engine(&parts.engine);
    for (name, function) in merge::functions() {
        builder = builder.shared_function(name, function);
    }
    for member in &step.parallel {
        builder = builder.agent(member.agent.clone(), parts.agent(&member.agent)?);
    }
    for (name, agent) in merge.agents(MERGED, &parts.engine, |named| parts.actors.get(named).cloned())? {
        builder = builder.agent(name, agent);
    }
    builder.build()
}
