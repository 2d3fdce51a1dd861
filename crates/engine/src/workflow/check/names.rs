//! What a name with dots stands for, at a step of a workflow.

use ambidex_config::{Config, MergeHow, MergeReduce, Step, Workflow};
use serde_json::Value;

use super::Facts;
use super::types::{Table, Type};
use crate::workflow::order::Order;

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It is evaluated before the step, or for it.
    Before(usize),
    /// Behind it.
    Behind(usize),
    /// When all is done.
    End,
}

pub(super) struct Names<'a> {
    pub config: &'a Config,
    pub facts: &'a Facts,
    pub workflow: &'a Workflow,
    pub order: &'a Order,
    pub at: At,
    /// The element of a list, by its name.
    pub item: Option<(String, Type)>,
}

/// Why a name stands for nothing.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    pub message: String,
    /// The part of the text.
    pub part: String,
    /// The name that is not known, and those that are.
    pub name: String,
    pub known: Vec<String>,
    pub help: Option<String>,
}

impl Names<'_> {
    pub(super) fn look_up(&self, path: &[String]) -> Result<Type, Unknown> {
        let Some(first) = path.first() else { return Ok(Type::Any) };
        let (mut found, used) = match first.as_str() {
            "input" => (Type::of_schema(&self.workflow.input), 1),
            "errors" => (Type::List(Box::new(Type::Any)), 1),
            "steps" => match path.get(1) {
                None => (Type::Any, 1),
                Some(step) => (self.step(step, path)?, 2),
            },
            "visits" => match path.get(1) {
                None => (Type::Any, 1),
                Some(step) => {
                    self.known_step(step, path)?;
                    (Type::Integer, 2)
                }
            },
            name => match self.item.as_ref().filter(|(item, _)| item == name) {
                Some((_, of)) => (of.clone(), 1),
                None => return Err(self.unknown_root(name)),
            },
        };
        for (at, name) in path.iter().enumerate().skip(used) {
            found = field(&found, &path[..at], name)?;
        }
        Ok(found)
    }

    fn unknown_root(&self, name: &str) -> Unknown {
        let mut known: Vec<String> = ["input", "steps", "visits", "errors"].map(str::to_owned).to_vec();
        known.extend(self.item.iter().map(|(item, _)| item.clone()));
        let inputs = self.workflow.input["properties"].as_object();
        let is_input = inputs.is_some_and(|inputs| inputs.contains_key(name));
        let is_step = self.order.index.contains_key(name);
        let help = match (is_input, is_step) {
            (true, _) => Some(format!("write input.{name}")),
            (_, true) => Some(format!("write steps.{name}")),
            _ => None,
        };
        Unknown {
            message: format!("there is no `{name}`"),
            part: name.to_owned(),
            name: name.to_owned(),
            known,
            help,
        }
    }

    fn known_step(&self, name: &str, path: &[String]) -> Result<usize, Unknown> {
        self.order.index.get(name).copied().ok_or_else(|| Unknown {
            message: format!("there is no step `{name}`"),
            part: path[..2].join("."),
            name: name.to_owned(),
            known: self.workflow.steps.iter().map(|step| step.id.clone()).collect(),
            help: None,
        })
    }

    fn step(&self, name: &str, path: &[String]) -> Result<Type, Unknown> {
        let place = self.known_step(name, path)?;
        let step = &self.workflow.steps[place];
        let unknown = |message: String, help: Option<String>| Unknown {
            message,
            part: path[..2].join("."),
            help,
            ..Unknown::default()
        };
        if matches!(step.kind(), None | Some("wait")) {
            let does = if step.kind().is_none() { "only chooses" } else { "only waits" };
            return Err(unknown(format!("the step `{name}` has no result: it {does}"), None));
        }
        let own = |at: usize| &self.workflow.steps[at].id;
        match self.at {
            At::Before(at) if at == place && !self.order.reaches[at].contains(&at) => {
                return Err(unknown(format!("the step `{name}` has no result before it ran"), None));
            }
            At::Before(at) | At::Behind(at) if at != place && !self.order.reaches[place].contains(&at) => {
                let message = format!("`{name}` never runs before `{}`", own(at));
                return Err(unknown(message, Some(format!("add needs = [\"{name}\"] to `{}`", own(at)))));
            }
            _ => {}
        }
        let of = self.result(step);
        Ok(if step.each.is_some() { Type::List(Box::new(of)) } else { of })
    }

    /// What a step gives.
    fn result(&self, step: &Step) -> Type {
        let mut table = match step.kind() {
            Some("agent") => step.agent.as_deref().map_or_else(open, |agent| self.agent(agent)),
            Some("human") => match step.human.as_ref().and_then(|human| human.form.as_ref()) {
                Some(form) => fields_of(form),
                None => open(),
            },
            Some("parallel") => self.merged(step),
            _ => open(),
        };
        table.add("text", Type::Text);
        table.add("output", Type::Any);
        if step.on_error != ambidex_config::StepOnError::Fail {
            table.add("error", Type::Any);
        }
        Type::Table(table)
    }

    /// What an agent gives, besides its text.
    fn agent(&self, name: &str) -> Table {
        if let Some(schema) = self.facts.agents.get(name) {
            return schema.as_ref().map_or_else(Table::default, fields_of);
        }
        match self.config.agents.get(name) {
            Some(agent) if agent.workflow.is_some() => open(),
            Some(agent) => {
                agent.output.as_ref().map_or_else(Table::default, |output| fields_of(&output.schema))
            }
            None => open(),
        }
    }

    fn merged(&self, step: &Step) -> Table {
        let list = || Type::List(Box::new(Type::Any));
        let Some(merge) = &step.merge else {
            return Table::closed([("text", Type::Text), ("parts", list()), ("failed", list())]);
        };
        match merge.how {
            MergeHow::Concat => Table::closed([("text", Type::Text), ("parts", list()), ("failed", list())]),
            MergeHow::Vote => {
                let mut table = Table::closed([
                    ("text", Type::Text),
                    ("voted", Type::Any),
                    ("votes", Type::Any),
                    ("failed", list()),
                ]);
                match &merge.field {
                    Some(field) if field.contains('.') => table.open = true,
                    Some(field) => table.add(field, self.vote(step, field, merge.reduce)),
                    None => table.add("value", Type::Any),
                }
                table
            }
            MergeHow::BestOf => Table::closed([
                ("text", Type::Text),
                ("output", Type::Any),
                ("author", Type::Text),
                ("score", Type::Number),
                ("scores", Type::Any),
                ("judges", Type::Any),
                ("failed", list()),
            ]),
            MergeHow::Fuse => Table::closed([
                ("text", Type::Text),
                ("output", Type::Any),
                ("authors", list()),
                ("failed", list()),
            ]),
            MergeHow::Integrate => Table::closed([
                ("assets", list()),
                ("quality", Type::Any),
                ("deployment", Type::Any),
                ("actions", list()),
            ]),
        }
    }

    fn vote(&self, step: &Step, field: &str, reduce: Option<MergeReduce>) -> Type {
        use MergeReduce::{All, Any, Majority, Max, Mean, Median, Min, Sum};
        match reduce {
            Some(Median | Mean | Min | Max | Sum) => Type::Number,
            Some(All | Any) => Type::Bool,
            Some(Majority) | None => {
                let first = step.parallel.first().map(|member| self.agent(&member.agent));
                let of = first.and_then(|table| table.field(field).cloned()).unwrap_or(Type::Any);
                if of.is_number() { Type::Number } else { of }
            }
        }
    }

    /// Whether an agent's output surely has no such field.
    pub(super) fn agent_lacks(&self, agent: &str, field: &str) -> Option<Vec<String>> {
        let table = self.agent(agent);
        let lacks = !table.open && !table.fields.is_empty() && table.field(field).is_none();
        lacks.then(|| table.names().into_iter().map(str::to_owned).collect())
    }
}

fn open() -> Table {
    Table { fields: vec![], open: true }
}

fn fields_of(schema: &Value) -> Table {
    match Type::of_schema(schema) {
        Type::Table(table) => table,
        _ => open(),
    }
}

/// A field of a value.
pub(super) fn field(of: &Type, path: &[String], name: &str) -> Result<Type, Unknown> {
    let whole = path.join(".");
    let unknown = |message: String, known: Vec<String>, help: Option<String>| Unknown {
        message,
        part: format!("{whole}.{name}"),
        name: name.to_owned(),
        known,
        help,
    };
    match of {
        Type::Any => Ok(Type::Any),
        Type::Table(table) => match table.field(name) {
            Some(of) => Ok(of.clone()),
            None if table.open => Ok(Type::Any),
            None => {
                let known = table.names().into_iter().map(str::to_owned).collect();
                Err(unknown(format!("`{whole}` has no `{name}`"), known, None))
            }
        },
        Type::List(_) if name.parse::<usize>().is_ok() => Ok(Type::Any),
        Type::List(_) => {
            let help = format!("name an element, such as {whole}[0].{name}, or go through them");
            Err(unknown(format!("`{whole}` is a list, which has no `{name}`"), vec![], Some(help)))
        }
        other => {
            let message = format!("`{whole}` is {}, which has no `{name}`", other.words());
            Err(unknown(message, vec![], None))
        }
    }
}
