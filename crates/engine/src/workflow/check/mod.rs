//! What is wrong with workflows, before anything runs.

mod arguments;
mod conditions;
mod names;
mod structure;
mod types;

use std::collections::HashMap;

use ambidex_config::{Config, ConfigErrorKind, Fault, Step, Wait, Workflow, WorkflowOutput};
use serde_json::Value;

use super::expression::Expression;
use super::order::Order;
use super::parts::Parts;
use super::template::Template;
use names::{At, Names, Unknown};
use types::Type;

/// What a program holds, and no file: schemas of what agents give, and of what tools take.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub agents: HashMap<String, Option<Value>>,
    pub tools: HashMap<String, Value>,
}

impl Facts {
    pub(super) fn of(parts: &Parts) -> Self {
        let mut facts = Self::default();
        facts.add(parts);
        facts
    }

    fn add(&mut self, parts: &Parts) {
        for (name, agent) in &parts.agents {
            let output = agent.definition().output.as_ref().map(|output| output.schema.clone());
            self.agents.insert(name.clone(), output);
        }
        for (name, tool) in &parts.tools {
            self.tools.insert(name.clone(), tool.spec().input.clone());
        }
        for flow in parts.flows.values() {
            self.add(&flow.shared.parts);
        }
    }
}

/// All faults of all workflows.
pub fn faults(config: &Config, facts: &Facts) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, workflow) in &config.workflows {
        let order = Order::new(workflow);
        let mut check = Check { config, facts, workflow, order: &order, faults: Vec::new() };
        check.structure();
        for at in 0..workflow.steps.len() {
            check.step(at);
        }
        check.output();
        faults.extend(check.faults.into_iter().map(|fault| fault.below(&["workflows", name])));
    }
    faults.extend(structure::circles_of_workflows(config));
    faults
}

struct Check<'a> {
    config: &'a Config,
    facts: &'a Facts,
    workflow: &'a Workflow,
    order: &'a Order,
    faults: Vec<Fault>,
}

/// The path of a key within a step.
#[derive(Clone, Copy)]
enum Key<'a> {
    One(&'a str),
    Two(&'a str, &'a str),
    Listed(&'a str, usize, &'a str),
}

impl Key<'_> {
    fn of(self, at: usize, fault: Fault) -> Fault {
        let fault = fault.key("steps").index(at);
        match self {
            Self::One(key) => fault.key(key),
            Self::Two(key, inner) => fault.key(key).key(inner),
            Self::Listed(key, index, "") => fault.key(key).index(index),
            Self::Listed(key, index, inner) => fault.key(key).index(index).key(inner),
        }
    }
}

impl<'a> Check<'a> {
    fn names(&self, at: At, item: Option<(String, Type)>) -> Names<'a> {
        let (config, facts, workflow, order) = (self.config, self.facts, self.workflow, self.order);
        Names { config, facts, workflow, order, at, item }
    }

    fn step(&mut self, at: usize) {
        let workflow = self.workflow;
        let step = &workflow.steps[at];
        if let Some(when) = &step.when {
            self.condition(at, Key::One("when"), when, At::Before(at));
        }
        for (index, choice) in step.choose.iter().enumerate() {
            if let Some(when) = &choice.when {
                self.condition(at, Key::Listed("choose", index, "when"), when, At::Behind(at));
            }
        }
        let item = self.each(at, step);
        if let Some(prompt) = &step.prompt {
            self.template(at, Key::One("prompt"), prompt, item.as_ref());
        }
        for (index, member) in step.parallel.iter().enumerate() {
            if let Some(prompt) = &member.prompt {
                self.template(at, Key::Listed("parallel", index, "prompt"), prompt, item.as_ref());
            }
            self.member(at, index, step);
        }
        if let Some(human) = &step.human {
            self.template(at, Key::Two("human", "question"), &human.question, item.as_ref());
        }
        if let Some(Wait::Until { until }) = &step.wait {
            self.template(at, Key::Two("wait", "until"), until, item.as_ref());
        }
        self.arguments(at, step, item.as_ref());
    }

    fn member(&mut self, at: usize, index: usize, step: &Step) {
        let agent = &step.parallel[index].agent;
        let follows = self.config.agents.get(agent).is_some_and(|agent| agent.workflow.is_some());
        if follows {
            let message = format!("the agent `{agent}` follows a workflow, which `parallel` cannot run");
            let fault = Fault::new(ConfigErrorKind::Conflict, message);
            self.faults.push(Key::Listed("parallel", index, "").of(at, fault).part(agent.as_str()));
        }
        let field = step.merge.as_ref().and_then(|merge| merge.field.as_ref());
        if let Some(field) = field.filter(|field| !field.contains('.'))
            && let Some(known) = self.names(At::Before(at), None).agent_lacks(agent, field)
        {
            let message = format!("the output of the agent `{agent}` has no `{field}`");
            let fault = Fault::new(ConfigErrorKind::UnknownReference, message);
            let fault = Key::Two("merge", "field").of(at, fault);
            self.faults.push(fault.known(field, known.iter().map(String::as_str)));
        }
    }

    /// The element's name and type.
    fn each(&mut self, at: usize, step: &Step) -> Option<(String, Type)> {
        let each = step.each.as_ref()?;
        let key = Key::Two("each", "over");
        let of = self.expression(at, key, &each.over, At::Before(at));
        let element = match of {
            Some(Type::List(of)) => *of,
            None | Some(Type::Any) => Type::Any,
            Some(other) => {
                let message = format!("it is to be a list, and is {}", other.words());
                let fault = Fault::new(ConfigErrorKind::WrongType, message);
                self.faults.push(key.of(at, fault));
                Type::Any
            }
        };
        Some((each.name.clone(), element))
    }

    fn output(&mut self) {
        let workflow = self.workflow;
        let place = |fault: Fault| fault.key("output");
        match &workflow.output {
            Some(WorkflowOutput::One(text)) => {
                self.checked(text, At::End, &place);
            }
            Some(WorkflowOutput::Fields(fields)) => {
                for (name, text) in fields {
                    self.checked(text, At::End, &|fault: Fault| fault.key("output").key(name));
                }
            }
            None => {}
        }
    }

    fn condition(&mut self, at: usize, key: Key<'_>, text: &str, place: At) {
        match self.expression(at, key, text, place) {
            None | Some(Type::Any | Type::Bool) => {}
            Some(other) => {
                let message = format!("it is to be true or false, and is {}", other.words());
                self.faults.push(key.of(at, Fault::new(ConfigErrorKind::WrongType, message)));
            }
        }
    }

    /// The type of an expression, where it can be read.
    fn expression(&mut self, at: usize, key: Key<'_>, text: &str, place: At) -> Option<Type> {
        self.checked(text, place, &|fault| key.of(at, fault))
    }

    fn checked(&mut self, text: &str, at: At, place: &dyn Fn(Fault) -> Fault) -> Option<Type> {
        let expression = match Expression::parse(text) {
            Ok(expression) => expression,
            Err(why) => {
                let fault = Fault::new(ConfigErrorKind::Syntax, format!("it is no expression: {why}"));
                self.faults.push(place(fault.help("conditions are CEL, such as steps.judge.score >= 8")));
                return None;
            }
        };
        let names = self.names(at, None);
        let mut found = Vec::new();
        let of = conditions::infer(&names, expression.syntax(), &mut found);
        self.faults.extend(found.into_iter().map(|unknown| place(fault(unknown))));
        Some(of)
    }

    /// The text, where it can be read.
    fn template(
        &mut self,
        at: usize,
        key: Key<'_>,
        text: &str,
        item: Option<&(String, Type)>,
    ) -> Option<Template> {
        self.text(at, text, item, &|fault| key.of(at, fault))
    }

    fn text(
        &mut self,
        at: usize,
        text: &str,
        item: Option<&(String, Type)>,
        place: &dyn Fn(Fault) -> Fault,
    ) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(why) => {
                let fault = Fault::new(ConfigErrorKind::Syntax, format!("it is no template: {why}"));
                self.faults.push(place(fault.help("templates are MiniJinja, such as {{ steps.plan.text }}")));
                return None;
            }
        };
        let names = self.names(At::Before(at), item.cloned());
        for path in &template.references().0 {
            if let Err(unknown) = names.look_up(path) {
                self.faults.push(place(fault(unknown)));
            }
        }
        Some(template)
    }
}

fn fault(unknown: Unknown) -> Fault {
    let Unknown { message, part, name, known, help } = unknown;
    let kind = if name.is_empty() { ConfigErrorKind::WrongType } else { ConfigErrorKind::UnknownReference };
    let mut fault = Fault::new(kind, message).part(part);
    if !known.is_empty() {
        fault = fault.known(&name, known.iter().map(String::as_str));
    }
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}
