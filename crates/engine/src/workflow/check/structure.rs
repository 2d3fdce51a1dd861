//! Whether steps lead anywhere, and come to an end.

use std::collections::HashMap;

use ambidex_config::{AgentMode, Config, ConfigErrorKind, Fault};

use super::{Check, Key};
use crate::workflow::order::circle_of_needs;
use crate::workflow::task_input;

impl Check<'_> {
    pub(super) fn structure(&mut self) {
        if let Some(circle) = circle_of_needs(self.workflow) {
            let at = self.order.index.get(&circle[0]).copied().unwrap_or_default();
            let message = format!("the steps wait for each other: {}", circle.join(" → "));
            let fault = Fault::new(ConfigErrorKind::Conflict, message);
            let fault = fault.help("take one of these needs out; `choose` makes loops");
            self.faults.push(Key::One("needs").of(at, fault));
            return;
        }
        for at in 0..self.workflow.steps.len() {
            self.reached(at);
            self.needs_of_chosen(at);
            self.ends(at);
        }
    }

    fn reached(&mut self, at: usize) {
        let step = &self.workflow.steps[at];
        if self.order.is_reached(at) || step.id.is_empty() {
            return;
        }
        let id = &step.id;
        let choosers = &self.order.choosers[at];
        let why = if choosers.is_empty() {
            let lost: Vec<&str> = step
                .needs
                .iter()
                .filter(|need| self.order.index.get(*need).is_some_and(|need| !self.order.is_reached(*need)))
                .map(String::as_str)
                .collect();
            format!("nothing leads to `{id}`: it needs {}, which nothing leads to", lost.join(", "))
        } else {
            let names: Vec<&str> =
                choosers.iter().map(|chooser| self.workflow.steps[*chooser].id.as_str()).collect();
            format!(
                "nothing leads to `{id}`: it runs only when {} chooses it, which never runs before",
                names.join(" or ")
            )
        };
        let fault = Fault::new(ConfigErrorKind::Conflict, why);
        let fault = fault.help("give it `needs`, make it the first step, or take it out");
        self.faults.push(Key::One("id").of(at, fault));
    }

    /// A step that is chosen does not wait: what it needs must have run before.
    fn needs_of_chosen(&mut self, at: usize) {
        if !self.order.chosen[at] {
            return;
        }
        let step = &self.workflow.steps[at];
        for (index, need) in step.needs.iter().enumerate() {
            let Some(place) = self.order.index.get(need) else { continue };
            let early = self.order.choosers[at]
                .iter()
                .find(|chooser| *chooser != place && !self.order.before[**chooser].contains(place));
            if let Some(chooser) = early {
                let chooser = &self.workflow.steps[*chooser].id;
                let message = format!(
                    "`{}` runs when `{chooser}` chooses it, and `{need}` need not be done by then",
                    step.id
                );
                let fault = Fault::new(ConfigErrorKind::Conflict, message);
                let fault = fault.help(format!("let `{chooser}` need `{need}`"));
                self.faults.push(Key::Listed("needs", index, "").of(at, fault));
            }
        }
    }

    /// Whether a path from here can come to an end.
    fn ends(&mut self, at: usize) {
        let is_end = |at: usize| {
            let step = &self.workflow.steps[at];
            let may_fall = step.choose.iter().all(|choice| choice.when.is_some());
            let chooses_end = self.order.chooses[at].contains(&None);
            self.order.follows[at].is_empty() && (may_fall || chooses_end)
        };
        let leads_to_end = is_end(at) || self.order.reaches[at].iter().any(|to| is_end(*to));
        let steps = &self.workflow.steps;
        let unknown = |at: usize| {
            steps[at]
                .choose
                .iter()
                .any(|choice| choice.go != "end" && !self.order.index.contains_key(&choice.go))
        };
        if leads_to_end || unknown(at) || self.order.reaches[at].iter().any(|to| unknown(*to)) {
            return;
        }
        if steps[at].choose.is_empty() {
            return; // said of the step that chooses
        }
        let fault = Fault::new(ConfigErrorKind::Conflict, "no path from here comes to an end");
        let fault = fault.help("give one of the choices a `when`, or add { go = \"end\" }");
        self.faults.push(Key::One("choose").of(at, fault));
    }
}

/// Workflows that run each other without end, and agents that cannot follow theirs.
pub(super) fn circles_of_workflows(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut leads: HashMap<&str, Vec<(usize, &'static str, &str)>> = HashMap::new();
    for (name, workflow) in &config.workflows {
        for (at, step) in workflow.steps.iter().enumerate() {
            let followed =
                step.agent.as_ref().and_then(|agent| config.agents.get(agent)?.workflow.as_deref());
            let targets = [("flow", step.flow.as_deref()), ("agent", followed)];
            for (key, target) in targets {
                if let Some(target) = target.filter(|target| config.workflows.contains_key(*target)) {
                    leads.entry(name).or_default().push((at, key, target));
                }
            }
        }
    }
    let mut done: Vec<&str> = Vec::new();
    for start in config.workflows.keys().map(String::as_str) {
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = way.last_mut() {
            let name = *name;
            let target =
                if done.contains(&name) { None } else { leads.get(name).and_then(|to| to.get(*next)) };
            let Some((at, key, target)) = target else {
                done.push(name);
                way.pop();
                continue;
            };
            *next += 1;
            if let Some(from) = way.iter().position(|(name, _)| name == target) {
                let mut chain: Vec<&str> = way[from..].iter().map(|(name, _)| *name).collect();
                chain.push(target);
                let message = format!("workflows run each other without end: {}", chain.join(" → "));
                let fault = Fault::new(ConfigErrorKind::Conflict, message);
                let fault = fault.key("steps").index(*at).key(key).help("take one of these steps out");
                faults.push(fault.below(&["workflows", name]));
            } else if !done.contains(target) {
                way.push((target, 0));
            }
        }
    }
    for (name, agent) in &config.agents {
        let Some(workflow) = agent.workflow.as_ref().and_then(|workflow| config.workflows.get(workflow))
        else {
            continue;
        };
        if agent.mode == AgentMode::Workflow && task_input(&workflow.input).is_none() {
            let message = "an agent is given a task in words, and no single input of the workflow takes one";
            let fault =
                Fault::new(ConfigErrorKind::Conflict, message).key("agents").key(name).key("workflow");
            faults.push(fault.help("call one of its inputs `task`"));
        }
    }
    faults
}
