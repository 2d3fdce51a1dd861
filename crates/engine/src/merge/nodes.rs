//! A merge as nodes of a graph.

use ambidex_core::Error;
use ambidex_core::graph::{Next, NodeDefinition, NodeWork, OnError, Source};
use ambidex_core::tool::EffectClass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actors::{judge_name, writer_name};
use super::member::{MemberAt, Members};
use super::{How, Merge, TEAMS, functions};

/// Nodes that stand behind those of the members. The last has the merge's name, and its field takes the result; where
/// its path goes on is for whoever builds the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeNodes {
    /// What the members lead to.
    pub first: String,
    pub last: String,
    pub nodes: Vec<NodeDefinition>,
    /// Fields of the state that hold what is between first and last.
    pub helpers: Vec<String>,
}

/// What the code of the nodes is given: a node's pinned input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub merge: Merge,
    pub name: String,
    pub members: Members,
    /// Where in the state the task stands that the members were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl Setup {
    pub(super) fn asked(&self) -> String {
        format!("{} asked", self.name)
    }

    pub(super) fn weighed(&self) -> String {
        format!("{} weighed", self.name)
    }

    pub(super) fn writes(&self) -> String {
        format!("{} write", self.name)
    }

    pub(super) fn errors(&self) -> String {
        format!("{} errors", self.name)
    }

    fn judge(&self, number: usize) -> String {
        format!("{} judge {}", self.name, number + 1)
    }

    pub(super) fn judges(&self) -> Members {
        let judges = self.merge.judges();
        let judges = judges.iter().enumerate().map(|(number, judge)| {
            let node = self.judge(number);
            let number = number + 1;
            let author = match judge.starts_with(TEAMS) {
                true => format!("judge {number}"),
                false => format!("judge {number} ({judge})"),
            };
            MemberAt { author, at: node.clone(), node: Some(node), item: None }
        });
        Members::At { members: judges.collect(), errors: Some(self.errors()) }
    }

    pub(super) fn writer(&self) -> Members {
        Members::of_nodes([("the integrator", self.writes())], Some(&self.errors()))
    }
}

impl Merge {
    /// The nodes of this merge, which is called `name` (as nodes are: letters, digits, `_`, `-`, spaces). `task` is where
    /// in the state the members' task stands. Their functions are [`functions`](super::functions()), their agents
    /// those of [`Merge::agents`].
    ///
    /// # Errors
    /// `config_invalid`, as of [`Merge::check`].
    pub fn nodes(&self, name: &str, members: &Members, task: Option<&str>) -> Result<MergeNodes, Error> {
        self.check()?;
        let setup = Setup {
            merge: self.clone(),
            name: name.to_owned(),
            members: members.clone(),
            task: task.map(str::to_owned),
        };
        let value = serde_json::to_value(&setup).unwrap_or_default();
        let mut nodes = vec![];
        let mut helpers = vec![];
        if self.how.judges() {
            let ask = format!("{name} ask");
            let after = match self.how {
                How::Integrate => format!("{name} weigh"),
                _ => name.to_owned(),
            };
            let mut judges = vec![];
            for (number, judge) in self.judges().into_iter().enumerate() {
                let agent = NodeWork::Agent { agent: judge_name(name, judge), pinned: None };
                let mut node = NodeDefinition::new(setup.judge(number), agent);
                node.input = Source::Field(format!("{}.prompts.{number}", setup.asked()));
                // A judge less is no reason to throw away what the members did.
                node.on_error = OnError::Continue;
                node.error_field = Some(setup.errors());
                node.next = Next::To(vec![after.clone()]);
                judges.push(node);
            }
            let targets = judges.iter().map(|judge| judge.name.clone()).collect();
            nodes.push(code(ask, functions::ASK, &value, setup.asked(), targets));
            helpers.extend([setup.asked(), setup.errors()]);
            helpers.extend(judges.iter().map(|judge| judge.name.clone()));
            nodes.extend(judges);
        }
        if self.how.writes() {
            let weigh = format!("{name} weigh");
            nodes.push(code(weigh, functions::WEIGH, &value, setup.weighed(), vec![setup.writes()]));
            let agent = NodeWork::Agent { agent: writer_name(name), pinned: None };
            let mut write = NodeDefinition::new(setup.writes(), agent);
            write.input = Source::Field(format!("{}.prompt", setup.weighed()));
            if self.how == How::Integrate {
                write.on_error = OnError::Continue;
                write.error_field = Some(setup.errors());
            }
            write.next = Next::To(vec![name.to_owned()]);
            nodes.push(write);
            helpers.extend([setup.weighed(), setup.writes()]);
        }
        nodes.push(code(name.to_owned(), functions::MERGE, &value, name.to_owned(), vec![]));
        let first = nodes.first().map_or_else(|| name.to_owned(), |node| node.name.clone());
        Ok(MergeNodes { first, last: name.to_owned(), nodes, helpers })
    }
}

/// A node that changes nothing outside, so that it may run again.
fn code(name: String, function: &str, input: &Value, output: String, next: Vec<String>) -> NodeDefinition {
    let mut node = NodeDefinition::new(name, NodeWork::Code { function: function.to_owned() });
    node.input = Source::Value(input.clone());
    node.output = Some(output);
    node.effect = EffectClass::Read;
    node.next = if next.is_empty() { Next::End } else { Next::To(next) };
    node
}
