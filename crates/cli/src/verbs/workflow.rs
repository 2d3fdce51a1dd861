//! `ambidex run -w WORKFLOW` and `ambidex flow run FILE`: one workflow, or one of its steps, to its end.

use std::path::Path;

use ambidex_core::{Error, ErrorKind};
use ambidex_engine::project::Project;
use ambidex_engine::workflow::task_input;
use ambidex_engine::{OnWaiting, RunError, RunOptions, Workflow};
use ambidex_store::OpenStore;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::args::{AgentArgs, Common, RunArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::{Format, Show};
use crate::store;

use super::keep::{Kept, settle};
use super::run;
use super::watch::{Watcher, watch};

/// The settings with a file laid over them, where a text means one.
pub fn with_file(common: &Common, text: &str) -> Result<Common, Failure> {
    let mut common = common.clone();
    let path = Path::new(text);
    if path.is_file() {
        common.flow = Some(path.to_owned());
        return Ok(common);
    }
    let is_path = text.contains('/') || path.extension().is_some();
    if is_path {
        let text = format!("there is no file {text}");
        return Err(Failure::usage(text).help("name a workflow's file, or a workflow of ambidex.toml"));
    }
    Ok(common)
}

/// The workflow that a text means: that of the file, or of this name.
pub fn name(project: &ambidex_config::Loaded, common: &Common, text: &str) -> Result<String, Failure> {
    if let Some(file) = &common.flow {
        return ambidex_engine::workflow::named(project, Some(file)).map_err(|error| {
            Failure::usage(error.message().to_owned()).help("name one: ambidex run -w NAME --config FILE")
        });
    }
    let workflows = &project.config.workflows;
    if workflows.contains_key(text) {
        return Ok(text.to_owned());
    }
    Err(project::unknown("workflow", text, workflows.keys().map(String::as_str)))
}

pub async fn run(
    text: &str,
    args: &RunArgs,
    common: &Common,
    console: &mut Console,
    interrupts: &Interrupts,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    if args.agent.agent.is_some() {
        return Err(Failure::usage("--agent: a workflow says itself which agents run")
            .help("leave --agent out, or leave the workflow out"));
    }
    let common = store::with_db(&with_file(common, text)?, args.db.as_deref());
    let (project, opened) = project::open_stored(&common).await?;
    let name = name(project.loaded(), &common, text)?;
    go(&name, args, &common, (project, opened), console, interrupts, stop).await
}

/// The workflow that the agent of a command line follows.
pub fn followed(project: &Project, args: &AgentArgs) -> Result<Option<String>, Failure> {
    let config = project.config();
    let agent = match &args.agent {
        Some(name) => Some(name.as_str()),
        None => config.default_agent().map(|(name, _)| name),
    };
    let Some(agent) = agent else { return Ok(None) };
    let followed = project.followed(agent).map_err(|error| Failure::building(&error))?;
    Ok(followed.map(|(workflow, _)| workflow))
}

pub async fn go(
    name: &str,
    args: &RunArgs,
    common: &Common,
    (mut project, opened): (Project, Option<OpenStore>),
    console: &mut Console,
    interrupts: &Interrupts,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    project::check_model(&project, args.agent.model.as_deref())?;
    let workflow = project.workflow_with(name, &project::changes(&args.agent));
    let workflow = workflow.map_err(|error| Failure::building(&error))?;
    let format = run::format(args.json, args.result_json);
    let interactive = console.is_interactive() && format == Format::Text;
    let options = RunOptions {
        timeout: args.timeout.map(ambidex_config::Duration::get),
        on_waiting: if interactive { OnWaiting::Stay } else { OnWaiting::Return },
        ..RunOptions::default()
    };
    let mut show = Show::new(console, format, false);
    show.is_graph = true;
    let given = match given(&workflow, args, console, stop).await {
        Ok(given) => given,
        Err(failure) => {
            if failure.is_cancelled() && format != Format::Text {
                let ended = Err(RunError::from(Error::cancelled()));
                show.end(console, &ended).map_err(Failure::from_stdout)?;
            }
            return Err(failure);
        }
    };
    let handle = match &args.stage {
        Some(stage) => {
            let state = workflow.stage_state(Value::Object(given)).map_err(refused)?;
            workflow.stage(stage).map_err(refused)?.start(state, options)
        }
        None => workflow.start(Value::Object(given), options),
    };
    let handle = handle.map_err(refused)?;
    let watcher = Watcher {
        console,
        show: &mut show,
        interrupts,
        lines: &mut None,
        open: Vec::new(),
        interactive,
        project: &mut project,
    };
    let ended = watch(handle, watcher).await?;
    show.end(console, &ended).map_err(Failure::from_stdout)?;
    let kept = if opened.is_some() { Kept::Stored } else { Kept::File(None) };
    let exit = settle(&ended, &project, common, kept, console).await;
    store::close(opened).await;
    Ok(exit)
}

/// What the workflow is given: inputs of the command line by their declared types, and the task.
async fn given(
    workflow: &Workflow,
    args: &RunArgs,
    console: &mut Console,
    stop: &CancellationToken,
) -> Result<Map<String, Value>, Failure> {
    let mut given = Map::new();
    let mut steps = Map::new();
    for text in &args.input {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("-i {text}: it is no KEY=VALUE"))
                .help("write the input's name and its value: -i topic=rivers"));
        };
        let key = key.trim();
        if let Some(path) = key.strip_prefix("steps.").filter(|_| args.stage.is_some()) {
            result(&mut steps, path, value);
            continue;
        }
        let schema = &workflow.input_schema()["properties"][key];
        if schema["type"] == "array" && given.contains_key(key) {
            // Once more: one more element.
            let more = typed(key, value, &schema["items"])?;
            if let Some(Value::Array(list)) = given.get_mut(key) {
                list.push(more);
                continue;
            }
        }
        given.insert(key.to_owned(), typed(key, value, schema)?);
    }
    if let Some(task) = task_input(workflow.input_schema()).filter(|task| !given.contains_key(task)) {
        let takes_stdin = args.stage.is_none() && !console.stdin_is_terminal();
        if args.task.is_some() || !args.file.is_empty() || takes_stdin {
            match input::task(args, console, stop).await {
                Ok(message) => {
                    given.insert(task, message.text().into());
                }
                // Nothing was piped in: the input says what is missing.
                Err(failure) if failure.is_cancelled() || args.task.is_some() || !args.file.is_empty() => {
                    return Err(failure);
                }
                Err(_) => {}
            }
        }
    } else if let Some(task) = &args.task {
        let declared = workflow.inputs().join(", ");
        return Err(Failure::usage(format!("`{task}`: no input of `{}` takes a task", workflow.name()))
            .help(format!("give inputs with -i KEY=VALUE; declared are {declared}")));
    }
    if !steps.is_empty() {
        given.insert("steps".into(), Value::Object(steps));
    }
    Ok(given)
}

/// A step's result, or a field of one: `plan`, `plan.text`.
fn result(steps: &mut Map<String, Value>, path: &str, value: &str) {
    let value = crate::approvals::json_or_text(value);
    match path.split_once('.') {
        None => {
            steps.insert(path.to_owned(), value);
        }
        Some((step, field)) => {
            let fields = steps.entry(step.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(fields) = fields {
                fields.insert(field.to_owned(), value);
            }
        }
    }
}

fn typed(key: &str, text: &str, schema: &Value) -> Result<Value, Failure> {
    let wrong = |of: &str, help: &str| {
        Failure::usage(format!("-i {key}={text}: the input is {of}")).help(help.to_owned())
    };
    match schema["type"].as_str() {
        Some("string") => Ok(Value::String(text.to_owned())),
        Some("boolean") => match text.trim() {
            "true" | "yes" => Ok(true.into()),
            "false" | "no" => Ok(false.into()),
            _ => Err(wrong("true or false", "write one of them")),
        },
        Some("integer") => {
            let number: Result<i64, _> = text.trim().parse();
            number.map(Value::from).map_err(|_| wrong("a whole number", "write digits alone"))
        }
        Some("number") => {
            let number = text.trim().parse().ok().and_then(serde_json::Number::from_f64);
            number.map(Value::Number).ok_or_else(|| wrong("a number", "write digits and a point"))
        }
        Some("array") => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => Ok(list),
            // One element.
            _ if schema["items"]["type"] == "string" && !text.trim_start().starts_with('[') => {
                Ok(Value::Array(vec![text.into()]))
            }
            _ => Err(wrong("a list", "write it as JSON: '[\"one\", \"two\"]'")),
        },
        Some("object") => match serde_json::from_str(text) {
            Ok(table @ Value::Object(_)) => Ok(table),
            _ => Err(wrong("a table", "write it as JSON: '{\"key\": \"value\"}'")),
        },
        _ => Ok(crate::approvals::json_or_text(text)),
    }
}

/// The input is the command line's.
fn refused(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidRequest => Failure::usage(error.message().to_owned())
            .help("give inputs with -i KEY=VALUE; lists and tables are JSON"),
        _ => Failure::building(&error),
    }
}
