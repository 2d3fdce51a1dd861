//! `ambidex run --resume FILE`: goes on with a run that waits or is paused.

use std::path::Path;
use std::sync::Arc;

use ambidex_core::budget::{Budget, BudgetKind, Grant};
use ambidex_core::definition::{AgentDefinition, Definition};
use ambidex_core::graph::GraphDefinition;
use ambidex_core::question::{Answer, AnswerError, Question, Why};
use ambidex_core::record::{Input, Pause};
use ambidex_core::run::{Phase, Run};
use ambidex_core::store::Stored;
use ambidex_engine::project::{AgentChanges, Project};
use ambidex_engine::{Graph, OnWaiting, RunFile, RunHandle, RunOptions, Runnable};

use crate::approvals::{self, Asked};
use crate::args::{AgentArgs, AnswerArgs, Common, RunArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project::{self, Chosen};
use crate::relay;
use crate::show::{Format, Show};

use super::keep::{Kept, settle};
use super::watch::{Ended, Watcher, fits, watch};
use super::{demo, run};

/// What a person may say in a model's place.
pub const HOW_TO_REPLY: &str = "reply with --answer TEXT, with --answer '{\"tool_calls\": [{\"name\": \"TOOL\", \"arguments\": {}}]}', or decline with --no REASON";

pub async fn resume(
    path: &Path,
    args: &RunArgs,
    common: &Common,
    console: &mut Console,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let file = RunFile::read(path).map_err(|error| {
        Failure::usage(format!("--resume: {}", error.message()))
            .help("give the file that `ambidex run` named when the run came to rest")
    })?;
    let resting = Resting::new(&file.run, &file.stored, args).map_err(|failure| match failure {
        Failure::Said { exit: Exit::Failed, .. } => failure.at(&path.display().to_string()),
        failure => failure,
    })?;
    let mut project = project::open(common)?;
    let runner = runner(&mut project, &resting.definition, args)?;
    if let Some(memory) = project.memory() {
        file.restore(memory).map_err(|error| Failure::building(&error))?;
    }
    let ended = go_on(resting, &runner, args, &mut project, console, interrupts).await?;
    Ok(settle(&ended, &project, common, Kept::File(Some(path)), console).await)
}

/// A stored run that is to go on, and what it is granted.
pub struct Resting {
    run: String,
    pub definition: Arc<Definition>,
    inputs: Vec<Input>,
    paused: bool,
    /// A call that may happen once was under way when its process died; whether it did happen is asked when
    /// the run is next claimed.
    unasked: bool,
}

impl Resting {
    pub fn new(run: &str, stored: &Stored, args: &RunArgs) -> Result<Self, Failure> {
        let definition = &stored.definition.definition;
        if args.agent.agent.is_some() {
            let (of, name) = match &**definition {
                Definition::Agent(agent) => ("agent", &agent.name),
                Definition::Graph(graph) => ("workflow", &graph.name),
            };
            let text = format!("--agent: the run keeps the {of} it began with, `{name}`");
            return Err(Failure::usage(text).help(
                "leave --agent out; `ambidex runs retry` does what a stored run was given with another agent",
            ));
        }
        let state = Run::load(run, stored);
        let state = state.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let inputs = inputs(&state, definition, args)?;
        let paused = matches!(state.phase(), Phase::Paused(_));
        let unasked = state.effects().any(|open| !open.doubt && !open.intent.class.repeatable());
        Ok(Self { run: run.to_owned(), definition: definition.clone(), inputs, paused, unasked })
    }
}

/// What goes on with a run.
pub enum Runner {
    Agent(Chosen),
    Graph(Graph),
}

impl Runner {
    pub fn runnable(&self) -> Runnable {
        match self {
            Self::Agent(chosen) => chosen.agent.clone().into(),
            Self::Graph(graph) => graph.clone().into(),
        }
    }

    /// Whether its answer is data.
    pub fn gives_data(&self) -> bool {
        match self {
            Self::Agent(chosen) => chosen.agent.definition().output.is_some(),
            Self::Graph(_) => true,
        }
    }

    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Failure> {
        let handle = match self {
            Self::Agent(chosen) => chosen.agent.resume(run, inputs, options).await,
            Self::Graph(graph) => graph.resume(run, inputs, options).await,
        };
        handle.map_err(|error| Failure::building(&error))
    }
}

/// The agent or the workflow of a run, as it is configured now.
pub fn runner(project: &mut Project, definition: &Definition, args: &RunArgs) -> Result<Runner, Failure> {
    match definition {
        Definition::Agent(definition) => agent(project, definition, args).map(Runner::Agent),
        Definition::Graph(definition) => graph(project, definition, &args.agent).map(Runner::Graph),
    }
}

/// The workflow of a run; its conditions and prompts are those that the run began with.
pub fn graph(
    project: &mut Project,
    definition: &GraphDefinition,
    args: &AgentArgs,
) -> Result<Graph, Failure> {
    let name = definition.name.as_str();
    if !project.config().workflows.contains_key(name) {
        let text = format!("the run belongs to the workflow `{name}`, which is not configured here");
        return Err(Failure::new(Exit::ConfigInvalid, text)
            .help("name its file with -w FILE, or go to the folder of its ambidex.toml"));
    }
    let workflow = project.workflow_with(name, &project::changes(args));
    let graph = workflow.and_then(|workflow| workflow.pinned(definition));
    graph.map_err(|error| Failure::building(&error))
}

/// Answers what the command line answers, and drives the run to its rest.
pub async fn go_on(
    resting: Resting,
    runner: &Runner,
    args: &RunArgs,
    project: &mut Project,
    console: &mut Console,
    interrupts: &Interrupts,
) -> Result<Ended, Failure> {
    let Resting { run, definition, mut inputs, paused, unasked } = resting;
    let format = run::format(args.json, args.result_json);
    let interactive = console.is_interactive() && format == Format::Text;
    let structured = matches!(&*definition, Definition::Agent(agent) if agent.output.is_some());
    let mut show = Show::new(console, format, structured);
    show.is_graph = matches!(&*definition, Definition::Graph(_));
    let open = project.engine().questions().open(Some(&run)).await;
    let mut open = open.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let mut meant = open.clone();
    if unasked && open.is_empty() && args.answer.is_given() {
        let options = RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
        let handle = runner.resume(&run, std::mem::take(&mut inputs), options).await?;
        let watcher = Watcher {
            console,
            show: &mut show,
            interrupts,
            lines: &mut None,
            open: Vec::new(),
            interactive: false,
            project,
        };
        let ended = watch(handle, watcher).await?;
        open = ended.as_ref().map_or_else(|_| Vec::new(), |result| result.questions.clone());
        // The answer was given for these alone; what else has come up nobody has seen yet.
        meant = open.iter().filter(|question| question.why == Why::InDoubt).cloned().collect();
        if meant.is_empty() {
            show.end(console, &ended).map_err(Failure::from_stdout)?;
            return Ok(ended);
        }
        show.goes_on();
    }
    for (id, answer) in answers(&meant, &args.answer, paused, project)? {
        let answered = project.engine().answer(&id, answer).await;
        answered.map_err(|error| match error {
            AnswerError::Invalid(why) => Failure::usage(format!("the answer was not taken: {why}"))
                .help("the question stays open; answer again"),
            error => Failure::new(Exit::Failed, format!("{id}: {error}")),
        })?;
        open.retain(|question| question.id != id);
    }
    let options = RunOptions {
        on_waiting: if interactive { OnWaiting::Stay } else { OnWaiting::Return },
        ..RunOptions::default()
    };
    let handle = runner.resume(&run, inputs, options).await?;
    let watcher = Watcher {
        console,
        show: &mut show,
        interrupts,
        lines: &mut None,
        open: open.into_iter().map(Asked::from).collect(),
        interactive,
        project,
    };
    let ended = watch(handle, watcher).await?;
    show.end(console, &ended).map_err(Failure::from_stdout)?;
    Ok(ended)
}

/// The agent of the run, as it is configured now.
pub fn agent(project: &mut Project, definition: &AgentDefinition, args: &RunArgs) -> Result<Chosen, Failure> {
    project::check_model(project, args.agent.model.as_deref())?;
    let known = project.config().model(&definition.model).is_some();
    let model = args.agent.model.clone().or_else(|| known.then(|| definition.model.clone()));
    if definition.name == demo::NAME && !project.config().agents.contains_key(demo::NAME) {
        let built = demo::agent(project, model.as_deref(), Path::new("."));
        return built.map_err(|error| Failure::building(&error));
    }
    check_configured(project, definition)?;
    project::agent(project, &definition.name, &AgentChanges { model, ..AgentChanges::default() })
}

/// The agent of a new run of what a run was given: the one that the command line names, or the run's, as it is
/// configured now.
pub fn agent_anew(
    project: &mut Project,
    definition: &AgentDefinition,
    args: &AgentArgs,
) -> Result<Chosen, Failure> {
    if args.agent.is_some() {
        return project::choose(project, args, None);
    }
    project::check_model(project, args.model.as_deref())?;
    check_configured(project, definition)?;
    let mut changes = project::changes(args);
    // The assistant has no model of its own: the run's was named on its command line.
    let is_assistant = !project.config().agents.contains_key(&definition.name);
    if is_assistant && changes.model.is_none() && project.config().model(&definition.model).is_some() {
        changes.model = Some(definition.model.clone());
    }
    project::agent(project, &definition.name, &changes)
}

fn check_configured(project: &Project, definition: &AgentDefinition) -> Result<(), Failure> {
    if definition.name == project::ASSISTANT || project.config().agents.contains_key(&definition.name) {
        return Ok(());
    }
    let text = format!("the run belongs to the agent `{}`, which is not configured here", definition.name);
    Err(Failure::new(Exit::ConfigInvalid, text)
        .help("go to the folder of its ambidex.toml, or name that file with --config"))
}

/// What a paused run is granted.
fn inputs(run: &Run, definition: &Definition, args: &RunArgs) -> Result<Vec<Input>, Failure> {
    let (iterations, usd) = (args.agent.max_iterations, args.agent.max_usd);
    match run.phase() {
        Phase::Paused(pause) => {
            let mut grant =
                Grant { iterations: iterations.unwrap_or(0), budget: Budget { usd, ..Budget::default() } };
            let (limit, more) = match definition {
                Definition::Agent(agent) => (&agent.budget, agent.max_iterations),
                Definition::Graph(graph) => (&graph.budget, graph.max_steps),
            };
            match pause {
                Pause::MaxIterations => grant.iterations = iterations.unwrap_or(more),
                Pause::Budget(BudgetKind::Usd) => grant.budget.usd = usd.or(limit.usd),
                Pause::Budget(BudgetKind::Tokens) => grant.budget.tokens = limit.tokens,
                Pause::Budget(BudgetKind::ToolCalls) => grant.budget.tool_calls = limit.tool_calls,
                Pause::Budget(BudgetKind::Wall) => grant.budget.wall_ms = limit.wall_ms,
                Pause::Operator | Pause::Node => {}
            }
            Ok(vec![Input::Resume(grant)])
        }
        Phase::Finished(_) => Err(Failure::usage("the run has ended and cannot be resumed")
            .help("start a new one with `ambidex run TASK`")),
        _ if iterations.is_some() || usd.is_some() => {
            let (state, help) = if run.questions().next().is_some() {
                ("it waits for an answer", "answer with --yes, --no REASON, --edit JSON or --answer JSON")
            } else {
                (
                    "it was interrupted",
                    "leave them out; it has what is left of its limits, and pauses at them",
                )
            };
            let text = format!("--max-iterations, --max-usd: the run is not paused, {state}");
            Err(Failure::usage(text).help(help))
        }
        _ => Ok(Vec::new()),
    }
}

/// The answers that the command line gives.
fn answers(
    open: &[Question],
    args: &AnswerArgs,
    paused: bool,
    project: &mut Project,
) -> Result<Vec<(String, Answer)>, Failure> {
    let chosen: Vec<&Question> = match &args.question {
        Some(id) => {
            let found: Vec<_> = open.iter().filter(|question| question.id == *id).collect();
            if found.is_empty() {
                let ids: Vec<_> = open.iter().map(|question| question.id.as_str()).collect();
                let text = format!("--question {id}: the run does not ask this");
                return Err(Failure::usage(text).help(format!("it asks: {}", ids.join(", "))));
            }
            found
        }
        None => open.iter().collect(),
    };
    let only_one = |flag: &str| match chosen.as_slice() {
        [] | [_] => Ok(()),
        several => {
            let ids: Vec<_> = several.iter().map(|question| question.id.as_str()).collect();
            Err(Failure::usage(format!("{flag}: the run asks {} questions", several.len()))
                .help(format!("say which with --question: {}", ids.join(", "))))
        }
    };
    let replies = |question: &&Question| question.why == Why::Reply;
    if (args.yes || args.edit.is_some())
        && let Some(question) = chosen.iter().copied().find(replies)
    {
        let flag = if args.yes { "--yes" } else { "--edit" };
        let text = format!("{flag}: the run wants a model's reply, and this is a decision about a call");
        return Err(Failure::usage(text).help(format!("{HOW_TO_REPLY}; its question is {}", question.id)));
    }
    if args.edit.is_some() && chosen.iter().any(|question| question.why == Why::InDoubt) {
        let text = "--edit: the run asks whether a call happened that was under way, with its arguments as they were";
        return Err(Failure::usage(text).help(
            "--yes runs it again as it was, --answer JSON says what its result was, --no REASON leaves it open",
        ));
    }
    let answer = if args.yes {
        None
    } else if let Some(reason) = &args.no {
        Some(Answer::Reject { reason: approvals::reason(reason) })
    } else if let Some(json) = &args.edit {
        only_one("--edit")?;
        let refused = |why| {
            Failure::usage(format!("--edit: {why}")).help(
                "give the call's arguments as one JSON object, in quotes: --edit '{\"key\": \"value\"}'",
            )
        };
        let args = approvals::arguments(json).map_err(refused)?;
        for question in &chosen {
            fits(project, &question.tool, &args).map_err(|why| {
                let help = format!("`ambidex tools schema {}` shows what it takes", question.tool);
                Failure::usage(format!("--edit: {why}")).help(help)
            })?;
        }
        Some(Answer::Edit { args })
    } else if let Some(json) = &args.answer {
        only_one("--answer")?;
        Some(match chosen.first().and_then(|question| question.relay.as_deref()) {
            Some(relay) => relay::reply(json, relay),
            None => Answer::Answer { answer: approvals::json_or_text(json) },
        })
    } else {
        return Ok(Vec::new());
    };
    if open.is_empty() {
        return Err(Failure::usage("the run asks nothing").help(match paused {
            true => "leave the answer out, or grant more with --max-iterations N",
            false => "leave the answer out; the run goes on without",
        }));
    }
    let of = |question: &Question| match (&answer, question.why) {
        (Some(answer), _) => answer.clone(),
        (None, Why::Approval) => Answer::Approve,
        (None, Why::InDoubt | Why::Reply) => Answer::Repeat,
    };
    Ok(chosen.into_iter().map(|question| (question.id.clone(), of(question))).collect())
}
