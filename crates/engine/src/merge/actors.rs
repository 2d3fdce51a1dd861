//! Who judges and who writes: agents, made of models where only those are given.

use std::sync::Arc;

use ambidex_core::{Error, Model};
use serde_json::Value;

use super::{How, Merge, functions, invalid, judging};
use crate::agent::Agent;
use crate::engine::Engine;

/// What a name of `model` or `judge` stands for.
#[derive(Clone)]
pub enum Actor {
    Model(Arc<dyn Model>),
    /// Keeps its instructions and tools; is given the output schema of what it does here.
    Agent(Agent),
}

impl From<Agent> for Actor {
    fn from(agent: Agent) -> Self {
        Self::Agent(agent)
    }
}

impl<M: Model + 'static> From<Arc<M>> for Actor {
    fn from(model: Arc<M>) -> Self {
        Self::Model(model)
    }
}

impl Actor {
    pub(crate) fn make(
        self,
        engine: &Engine,
        name: &str,
        say: &str,
        output: Option<(&str, Value)>,
    ) -> Result<Agent, Error> {
        match self {
            Self::Agent(agent) => match output {
                Some((title, schema)) => agent.with_output_schema(title, schema),
                None => Ok(agent),
            },
            Self::Model(model) => {
                let builder = Agent::builder()
                    .engine(engine)
                    .name(name)
                    .shared_model(model)
                    .instructions(say)
                    .max_iterations(3);
                match output {
                    Some((title, schema)) => builder.output_schema(title, schema),
                    None => builder,
                }
                .build()
            }
        }
    }
}

impl Merge {
    /// The agents that the nodes of [`Merge::nodes`] name, by those names. `find` says what a name of `model` or
    /// `judge` stands for.
    ///
    /// # Errors
    /// `config_invalid`: there is no such model or agent.
    pub fn agents(
        &self,
        name: &str,
        engine: &Engine,
        find: impl Fn(&str) -> Option<Actor>,
    ) -> Result<Vec<(String, Agent)>, Error> {
        let found = |key: &str, named: &str| {
            find(named)
                .ok_or_else(|| invalid(format!("`{key}` names `{named}`, which is no model or agent here")))
        };
        let mut agents: Vec<(String, Agent)> = vec![];
        for judge in self.judges() {
            let agent = judge_name(name, judge);
            if !agents.iter().any(|(known, _)| *known == agent) {
                let output = Some(("verdict", judging::schema(self.how)));
                let made = found("judge", judge)?.make(engine, &agent, judging::JUDGE, output)?;
                agents.push((agent, made));
            }
        }
        if let Some(writer) = self.writer() {
            let agent = writer_name(name);
            let (say, output) = match self.how {
                How::Integrate => (functions::INTEGRATOR, Some(("plan", functions::plan_schema()))),
                _ => (functions::WRITER, None),
            };
            let made = found("model", writer)?.make(engine, &agent, say, output)?;
            agents.push((agent, made));
        }
        Ok(agents)
    }
}

pub(super) fn judge_name(merge: &str, judge: &str) -> String {
    format!("{merge}/judge/{judge}")
}

pub(super) fn writer_name(merge: &str) -> String {
    format!("{merge}/writer")
}
