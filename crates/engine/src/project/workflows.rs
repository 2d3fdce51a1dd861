//! Workflows of a configuration.

use std::collections::HashMap;

use ambidex_config::{AgentMode, ConfigErrors, Workflow as Configured};
use ambidex_core::{Error, ErrorKind};

use super::{AgentChanges, Project};
use crate::merge::Actor;
use crate::workflow::{Facts, Parts, Workflow, faults, task_input};

impl Project {
    /// A workflow of the configuration, with the agents, tools and workflows that it names.
    ///
    /// # Errors
    /// `config_invalid`: there is no such workflow, something in one is wrong, or something it names cannot be built.
    pub fn workflow(&mut self, name: &str) -> Result<Workflow, Error> {
        self.workflow_with(name, &AgentChanges::default())
    }

    /// Like [`Project::workflow`], with agents that were changed.
    ///
    /// # Errors
    /// As there.
    pub fn workflow_with(&mut self, name: &str, changes: &AgentChanges) -> Result<Workflow, Error> {
        if !self.config().workflows.contains_key(name) {
            let known: Vec<_> = self.config().workflows.keys().map(String::as_str).collect();
            let near = ambidex_core::suggest::nearest(name, known.clone());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            let text = format!("there is no workflow `{name}`{near}; workflows: {known}");
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
        let found = faults(self.config(), &Facts::default());
        if let Some(errors) = self.loaded().faults(found) {
            return Err(wrong(&errors));
        }
        self.assemble(name, changes, &mut HashMap::new())
    }

    fn assemble(
        &mut self,
        name: &str,
        changes: &AgentChanges,
        made: &mut HashMap<String, Workflow>,
    ) -> Result<Workflow, Error> {
        if let Some(workflow) = made.get(name) {
            return Ok(workflow.clone());
        }
        let Some(steps) = self.config().workflows.get(name).cloned() else {
            return Err(Error::new(ErrorKind::ConfigInvalid, format!("there is no workflow `{name}`")));
        };
        let mut parts = Parts {
            engine: self.engine().clone(),
            approvals: self.approvals(),
            budget: self.budget(changes),
            ..Parts::default()
        };
        for step in &steps.steps {
            let members = step.parallel.iter().map(|member| &member.agent);
            for agent in step.agent.iter().chain(members) {
                self.agent_of(agent, changes, &mut parts, made)?;
            }
            if let Some(tool) = &step.tool {
                parts.tools.insert(tool.clone(), self.tool(tool)?);
            }
            if let Some(flow) = &step.flow {
                parts.flows.insert(flow.clone(), self.assemble(flow, changes, made)?);
            }
            if let Some(merge) = &step.merge {
                for actor in merge.judge.iter().chain(&merge.model) {
                    let actor = actor.clone();
                    let found = match self.config().agents.contains_key(&actor) {
                        true => Actor::Agent(self.agent(&actor, changes)?),
                        false => Actor::Model(self.model(&actor)?.model),
                    };
                    parts.actors.insert(actor, found);
                }
            }
        }
        let place = self.place(name);
        let workflow = Workflow::assemble(name, &place, steps, parts)?;
        made.insert(name.to_owned(), workflow.clone());
        Ok(workflow)
    }

    fn agent_of(
        &mut self,
        name: &str,
        changes: &AgentChanges,
        parts: &mut Parts,
        made: &mut HashMap<String, Workflow>,
    ) -> Result<(), Error> {
        if parts.agents.contains_key(name) || parts.followers.contains_key(name) {
            return Ok(());
        }
        if let Some((followed, input)) = self.followed(name)? {
            let workflow = self.assemble(&followed, changes, made)?;
            parts.flows.insert(followed.clone(), workflow);
            parts.followers.insert(name.to_owned(), (followed, input));
            return Ok(());
        }
        parts.agents.insert(name.to_owned(), self.agent(name, changes)?);
        Ok(())
    }

    /// The workflow that an agent follows, and the input that takes its task.
    ///
    /// # Errors
    /// `config_invalid`: no input takes one.
    pub fn followed(&self, agent: &str) -> Result<Option<(String, String)>, Error> {
        let configured = self.config().agents.get(agent);
        let Some(agent) = configured.filter(|agent| agent.mode == AgentMode::Workflow) else {
            return Ok(None);
        };
        let Some(name) = agent.workflow.clone() else { return Ok(None) };
        let input = self.config().workflows.get(&name).and_then(|it: &Configured| task_input(&it.input));
        match input {
            Some(input) => Ok(Some((name, input))),
            None => {
                let text =
                    format!("no input of the workflow `{name}` takes the task of an agent; call one `task`");
                Err(Error::new(ErrorKind::ConfigInvalid, text))
            }
        }
    }

    /// The file that a workflow stands in, for messages.
    fn place(&self, name: &str) -> String {
        let origin = self.loaded().origin(&["workflows", name]);
        origin.map_or_else(|| format!("workflow {name}"), |origin| origin.source().name.clone())
    }
}

fn wrong(errors: &ConfigErrors) -> Error {
    Error::new(ErrorKind::ConfigInvalid, errors.to_string())
}
