//! A task taken apart: what there is to do, by whom, after what.

use std::collections::HashSet;

use ambidex_core::graph::END;
use ambidex_core::suggest::nearest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a task is divided among the agents of a team.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Analysis {
    #[serde(default)]
    pub complexity: Complexity,
    /// What the planner thought, in a few sentences.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Complexity {
    Low,
    #[default]
    Medium,
    High,
}

/// A part of a task, done by one agent in a run of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Letters, digits, `_` and `-`.
    pub id: String,
    pub description: String,
    pub agent: String,
    /// Parts whose outputs it is given, and which are done before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What it is to give.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
}

/// Of an id, in bytes.
const LONGEST_ID: usize = 64;

impl Part {
    pub fn new(id: impl Into<String>, agent: impl Into<String>, description: impl Into<String>) -> Self {
        Self { id: id.into(), agent: agent.into(), description: description.into(), ..Self::default() }
    }

    /// The same part, done after others and given their outputs.
    #[must_use]
    pub fn needs(mut self, parts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.needs.extend(parts.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn expects(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl Analysis {
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::default() }
    }

    pub fn part(&self, id: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.id == id)
    }

    /// The parts in stages: those of one need only those of earlier ones. A part does not wait for its stage, only for
    /// what it needs. Parts of a cycle are in none.
    pub fn stages(&self) -> Vec<Vec<&str>> {
        let mut done: HashSet<&str> = HashSet::new();
        let mut stages = vec![];
        loop {
            let ready = |part: &&Part| {
                !done.contains(part.id.as_str()) && part.needs.iter().all(|need| done.contains(need.as_str()))
            };
            let stage: Vec<&str> = self.parts.iter().filter(ready).map(|part| part.id.as_str()).collect();
            if stage.is_empty() {
                return stages;
            }
            done.extend(&stage);
            stages.push(stage);
        }
    }

    /// Everything that keeps these agents from following it. Nothing where they can.
    pub fn problems<'a>(&self, agents: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<String> {
        let agents: Vec<&str> = agents.into_iter().collect();
        let known = || format!("there are: `{}`", agents.join("`, `"));
        let mut problems = vec![];
        if self.parts.is_empty() {
            problems.push("it has no parts; give at least one".to_owned());
        }
        if self.parts.len() > most {
            problems.push(format!(
                "it has {} parts, and {most} are the most; put some together",
                self.parts.len()
            ));
        }
        let mut ids = HashSet::new();
        for (number, part) in (1..).zip(&self.parts) {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let id = &part.id;
            if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(plain) || id == END {
                problems.push(format!(
                    "part {number} has the id `{id}`; an id is made of letters, digits, `_` and `-`, and is not `{END}`"
                ));
                continue;
            }
            if !ids.insert(id.as_str()) {
                problems.push(format!("two parts have the id `{id}`; give one another"));
            }
            if part.description.trim().is_empty() {
                problems.push(format!("the part `{id}` says nothing of what is to be done; describe it"));
            }
            if !agents.contains(&part.agent.as_str()) {
                let hint = nearest(&part.agent, agents.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let agent = &part.agent;
                problems.push(format!(
                    "the part `{id}` is for `{agent}`, which is no agent here, {}{hint}",
                    known()
                ));
            }
            for need in &part.needs {
                if need == id {
                    problems.push(format!("the part `{id}` needs itself"));
                } else if self.part(need).is_none() {
                    problems.push(format!("the part `{id}` needs `{need}`, which is no part"));
                }
            }
        }
        if problems.is_empty() {
            let staged: HashSet<&str> = self.stages().into_iter().flatten().collect();
            let stuck: Vec<_> =
                self.parts.iter().map(|part| part.id.as_str()).filter(|id| !staged.contains(id)).collect();
            if !stuck.is_empty() {
                let stuck = stuck.join("`, `");
                problems
                    .push(format!("`{stuck}` wait for each other in a circle; take out one of their needs"));
            }
        }
        problems
    }
}

/// JSON Schema of what a planner gives.
pub(super) fn schema<'a>(agents: impl IntoIterator<Item = &'a str>) -> Value {
    let agents: Vec<&str> = agents.into_iter().collect();
    json!({
        "type": "object",
        "properties": {
            "complexity": {"type": "string", "enum": ["low", "medium", "high"]},
            "summary": {"type": "string", "description": "How the task is divided and why, in a few sentences."},
            "parts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "description": "Short: letters, digits, _ and -."},
                        "description": {
                            "type": "string",
                            "description": "What is to be done, for somebody who sees the whole task but no other part.",
                        },
                        "agent": {"type": "string", "description": format!("One of: {}.", agents.join(", "))},
                        "needs": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Ids of parts whose outputs this one has to see.",
                        },
                        "expected": {"type": "string", "description": "What it is to give."},
                    },
                    "required": ["id", "description", "agent", "needs", "expected"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["complexity", "summary", "parts"],
        "additionalProperties": false,
    })
}
