//! Agents that work on one task together.
//!
//! A team is a graph: a planner takes the task apart, the parts are runs of their agents, the outputs are merged, and
//! what is not good enough goes back. The parts are a graph of their own, made of the analysis when it is there and
//! pinned with its run: so each part begins when what it needs is there, and after a kill none is done again that was
//! done.

mod analysis;
mod builder;
mod functions;
mod patterns;
mod plan;
mod prompts;
mod settings;

use std::sync::Arc;

use ambidex_core::definition::Definition;
use ambidex_core::graph::GraphDefinition;
use ambidex_core::record::Input;
use ambidex_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::agent::{Agent, RunEvents, RunOptions};
use crate::carrier::Runnable;
use crate::engine::Engine;
use crate::graph::{Graph, GraphBuilder};
use crate::handle::RunHandle;
use crate::merge::{self, Integrated, MemberOutput};
use crate::result::{RunError, RunResult};

pub use analysis::{Analysis, Complexity, Part};
pub use builder::{OnFailure, TeamBuilder};

use functions::Work;
use settings::Settings;

/// A team: cheap to clone, holds no state of any run.
///
/// Dropping a future of a run cancels it, and with it the runs of all members.
#[derive(Clone)]
pub struct Team {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    /// Plans, where there is a planner, and does.
    whole: Graph,
    /// Does what is planned already.
    planned: Graph,
    analysing: Option<Graph>,
    integrating: Graph,
    /// Resumes the parts' runs.
    parts: Graph,
    agents: Vec<(String, Agent)>,
    planner: Option<Agent>,
    helpers: Vec<(String, Agent)>,
}

/// What a builder has checked.
struct TeamParts {
    settings: Settings,
    engine: Engine,
    agents: Vec<(String, Agent)>,
    planner: Option<Agent>,
    helpers: Vec<(String, Agent)>,
}

/// How a team's run came to rest.
#[derive(Clone, Debug)]
pub struct TeamResult {
    pub run: RunResult,
    /// How the task was divided; nothing where the run did not come to that, or where results were given.
    pub analysis: Option<Analysis>,
    /// What each part gave, in the order of the analysis.
    pub parts: Vec<MemberOutput>,
    /// How often work was sent back.
    pub rounds: u32,
}

impl TeamResult {
    /// A run as it stands.
    pub fn of(run: RunResult) -> Self {
        let field = |name: &str| run.state.as_ref().and_then(|state| state.get(name)).cloned();
        let work: Option<Work> = field(plan::WORK).and_then(|work| serde_json::from_value(work).ok());
        let analysis = field(plan::ANALYSIS).and_then(|analysis| serde_json::from_value(analysis).ok());
        let parts = field(plan::MEMBERS).and_then(|members| serde_json::from_value(members).ok());
        let rounds = field(plan::ROUNDS).and_then(|rounds| rounds.as_u64()).unwrap_or(0);
        Self {
            analysis: analysis.or(work.map(|work| work.analysis)),
            parts: parts.unwrap_or_default(),
            rounds: rounds.try_into().unwrap_or(u32::MAX),
            run,
        }
    }

    /// What the merge gave; `null` where the run did not come to that.
    pub fn merged(&self) -> &Value {
        self.run.output.as_ref().unwrap_or(&Value::Null)
    }

    /// The merged text, where the merge gives one.
    pub fn text(&self) -> &str {
        self.merged().get("text").and_then(Value::as_str).unwrap_or_default()
    }

    /// Assets, quality, deployment and actions, where the merge was `integrate`.
    pub fn integrated(&self) -> Option<Integrated> {
        serde_json::from_value(self.merged().clone()).ok()
    }
}

impl From<RunResult> for TeamResult {
    fn from(run: RunResult) -> Self {
        Self::of(run)
    }
}

impl Team {
    pub fn builder() -> TeamBuilder {
        TeamBuilder::default()
    }

    fn new(parts: TeamParts) -> Result<Self, Error> {
        let TeamParts { settings, engine, agents, planner, helpers } = parts;
        let table = |definition: GraphDefinition| {
            let mut builder = Graph::from_definition(definition).engine(&engine);
            for (name, function) in merge::functions() {
                builder = builder.shared_function(name, function);
            }
            for (name, code) in functions::functions() {
                builder = builder.shared_function(name, merge::function(code));
            }
            let planner = planner.iter().map(|planner| (settings.planner_name(), planner.clone()));
            for (name, agent) in agents.iter().chain(&helpers).cloned().chain(planner) {
                builder = builder.agent(name, agent);
            }
            builder
        };
        // One analysis after the other is made into a graph that has what this one has.
        let parts = table(plan::parts(&settings, &Work::default())).build()?;
        let makes = |builder: GraphBuilder| {
            let (settings, template) = (settings.clone(), parts.clone());
            builder.made_graph(plan::PARTS, move |input| {
                let work: Work = serde_json::from_value(input.clone()).map_err(|error| {
                    let text = format!("the team `{}`: this is no work of its parts: {error}", settings.name);
                    Error::new(ErrorKind::InvalidArguments, text)
                })?;
                template.defined_as(plan::parts(&settings, &work))
            })
        };
        let planned = makes(table(plan::whole(&settings, false)?)).build()?;
        let whole = match planner {
            Some(_) => makes(table(plan::whole(&settings, true)?)).build()?,
            None => planned.clone(),
        };
        let analysing = planner.as_ref().map(|_| table(plan::analysing(&settings)).build()).transpose()?;
        let integrating = table(plan::integrating(&settings)?).build()?;
        let shared =
            Shared { whole, planned, analysing, integrating, parts, agents, planner, helpers, settings };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }

    pub fn engine(&self) -> &Engine {
        self.shared.whole.engine()
    }

    /// The members' names.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.shared.settings.names()
    }

    /// The graph that a run of this team follows: for a node of another graph (whose state it begins with is
    /// [`Self::state`]), or to be drawn.
    pub fn graph(&self) -> &Graph {
        &self.shared.whole
    }

    /// The state that [`Self::graph`] begins with.
    pub fn state(&self, task: &str) -> Value {
        let settings = &self.shared.settings;
        if self.shared.planner.is_none() {
            let analysis = self.everyone(task);
            return json!({ plan::TASK: task, plan::ANALYSIS: analysis, plan::WORK: Work::all(task, &analysis) });
        }
        let known =
            settings.agents.iter().map(|agent| prompts::Known { name: &agent.name, about: &agent.about });
        json!({ plan::TASK: task, plan::PLAN: prompts::to_plan(task, known, settings.most_parts) })
    }

    /// The whole task for each.
    fn everyone(&self, task: &str) -> Analysis {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' };
        let mut parts: Vec<Part> = vec![];
        for (number, name) in (1..).zip(self.agents()) {
            let mut id: String = name.chars().map(plain).take(60).collect();
            if id.is_empty() || parts.iter().any(|part| part.id == id) {
                id = format!("{id}-{number}");
            }
            parts.push(Part::new(id, name, task));
        }
        Analysis { complexity: Complexity::Low, ..Analysis::new(parts) }
    }

    /// Takes the task apart and does nothing else.
    ///
    /// # Errors
    /// `config_invalid`: there is no planner. `output_invalid`: its plan cannot be followed, also after it was told why.
    pub async fn analyse(&self, task: &str) -> Result<Analysis, RunError> {
        self.analyse_with(task, RunOptions::default()).await
    }

    /// # Errors
    /// As [`Self::analyse`].
    pub async fn analyse_with(&self, task: &str, options: RunOptions) -> Result<Analysis, RunError> {
        let Some(graph) = &self.shared.analysing else {
            let text = format!("the team `{}` has no planner; give it one with `.planner(...)`", self.name());
            return Err(Error::new(ErrorKind::ConfigInvalid, text).into());
        };
        let result = graph.run_with(self.state(task), options).await?;
        let analysis = result.output.clone().unwrap_or_default();
        serde_json::from_value(analysis).map_err(|error| {
            // It is paused, or waits for a person.
            let text = format!("the analysis did not come to its end ({}): {error}", result.status.as_str());
            RunError { error: Error::new(ErrorKind::OutputInvalid, text), result: Some(Box::new(result)) }
        })
    }

    /// Does a task until the run comes to rest: takes it apart where there is a planner, else every member does all of
    /// it.
    ///
    /// # Errors
    /// The run failed or was cancelled. One that is paused or waits for a person is no error.
    pub async fn run(&self, task: &str) -> Result<TeamResult, RunError> {
        self.run_with(task, RunOptions::default()).await
    }

    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with(&self, task: &str, options: RunOptions) -> Result<TeamResult, RunError> {
        self.shared.whole.run_with(self.state(task), options).await.map(TeamResult::of)
    }

    /// Does a task as it was taken apart before, by a planner or a person.
    ///
    /// # Errors
    /// `invalid_request`: nobody can follow the analysis; it says why. Else as [`Self::run`].
    pub async fn run_with_analysis(
        &self,
        task: &str,
        analysis: &Analysis,
        options: RunOptions,
    ) -> Result<TeamResult, RunError> {
        let state = self.planned_state(task, analysis)?;
        self.shared.planned.run_with(state, options).await.map(TeamResult::of)
    }

    fn planned_state(&self, task: &str, analysis: &Analysis) -> Result<Value, Error> {
        let problems = analysis.problems(self.agents(), self.shared.settings.most_parts);
        if !problems.is_empty() {
            let text = format!("the analysis cannot be followed: {}", problems.join("; "));
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        }
        Ok(json!({ plan::TASK: task, plan::ANALYSIS: analysis, plan::WORK: Work::all(task, analysis) }))
    }

    /// Merges outputs that are there already.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn integrate(&self, task: &str, results: Vec<MemberOutput>) -> Result<TeamResult, RunError> {
        self.integrate_with(task, results, RunOptions::default()).await
    }

    /// # Errors
    /// As [`Self::run`].
    pub async fn integrate_with(
        &self,
        task: &str,
        results: Vec<MemberOutput>,
        options: RunOptions,
    ) -> Result<TeamResult, RunError> {
        let state = json!({ plan::TASK: task, plan::MEMBERS: results });
        self.shared.integrating.run_with(state, options).await.map(TeamResult::of)
    }

    /// Starts a run and returns at once, with its events to watch; its outcome is a [`TeamResult`] by
    /// [`TeamResult::of`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// There is no runtime.
    pub fn start(&self, task: &str, options: RunOptions) -> Result<RunHandle, Error> {
        self.shared.whole.start(self.state(task), options)
    }

    /// As [`Self::start`], of a task that was taken apart before.
    ///
    /// # Errors
    /// As [`Self::run_with_analysis`].
    pub fn start_with_analysis(
        &self,
        task: &str,
        analysis: &Analysis,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.shared.planned.start(self.planned_state(task, analysis)?, options)
    }

    /// The events of a run of the team; the last of one that ended is `run.finished`.
    ///
    /// # Errors
    /// The run cannot even start.
    pub fn stream(&self, task: &str) -> Result<RunEvents, Error> {
        self.shared.whole.stream(self.state(task))
    }

    /// Goes on with a stored run of this team. Parts that are done stay done.
    ///
    /// # Errors
    /// There is no such run, the store failed, or (`config_invalid`) something the run needs is gone.
    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.shared.whole.resume(run, inputs, options).await
    }

    /// What drives a stored run, where it is one of this team's or one of a run of it: for [`Engine::recover`].
    pub fn runnable(&self, definition: &Definition) -> Option<Runnable> {
        let shared = &*self.shared;
        let name = definition.name();
        match definition {
            Definition::Graph(_) => {
                let graphs = [
                    Some(&shared.whole),
                    Some(&shared.integrating),
                    Some(&shared.parts),
                    shared.analysing.as_ref(),
                ];
                graphs.into_iter().flatten().find(|graph| graph.name() == name).cloned().map(Runnable::from)
            }
            Definition::Agent(_) => {
                let agents = shared.agents.iter().chain(&shared.helpers).map(|(_, agent)| agent);
                agents.chain(&shared.planner).find(|agent| agent.name() == name).cloned().map(Runnable::from)
            }
        }
    }
}
