//! `ambidex tools`: what models may call, called by hand.

use std::sync::Arc;

use ambidex_core::tool::EffectClass;
use ambidex_core::{ErrorKind, ToolOutput, ToolSpec};
use ambidex_engine::project::Project;
use ambidex_tools::Registered;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::args::{Common, ToolsVerb};
use crate::console::{Console, one_line};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hint::hint;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::pretty;
use crate::table::table;

pub async fn tools(
    verb: &ToolsVerb,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let mut project = project::open(common)?;
    match verb {
        ToolsVerb::List { json } => list(&mut project, *json, console),
        ToolsVerb::Schema { name } => {
            let tool = find(&mut project, name)?;
            let spec = serde_json::to_value(tool.spec()).map_err(Failure::internal)?;
            super::print(console, &pretty(&spec, console.stdout_paint()))
        }
        ToolsVerb::Call { name, arguments, input } => {
            let tool = find(&mut project, name)?;
            let arguments = given(tool.spec(), arguments.as_deref(), input)?;
            call(&project, &tool, arguments, console, at_once).await
        }
    }
}

/// The tools of the configuration, then those that are built in and not hidden by one of the same name; and
/// why others cannot be used, such as for a missing key.
fn all(project: &mut Project) -> (Vec<(Arc<Registered>, bool)>, Vec<Failure>) {
    let names: Vec<String> = project.tool_names().map(str::to_owned).collect();
    let mut tools = Vec::new();
    let mut broken = Vec::new();
    for name in &names {
        match project.tool(name) {
            Ok(tool) => tools.push((tool, !project.config().tools.contains_key(name))),
            Err(error) => broken.push(Failure::building(&error)),
        }
    }
    (tools, broken)
}

fn find(project: &mut Project, name: &str) -> Result<Arc<Registered>, Failure> {
    project.tool(name).map_err(|error| match error.kind() {
        ErrorKind::UnknownTool => Failure::usage(error.message().to_owned()),
        _ => Failure::building(&error),
    })
}

fn list(project: &mut Project, as_json: bool, console: &mut Console) -> Result<Exit, Failure> {
    let (tools, broken) = all(project);
    show_list(&tools, as_json, console)?;
    Ok(broken.into_iter().fold(Exit::Done, |_, failure| failure.report(console)))
}

fn show_list(
    tools: &[(Arc<Registered>, bool)],
    as_json: bool,
    console: &mut Console,
) -> Result<Exit, Failure> {
    if as_json {
        let specs: Result<Vec<Value>, _> =
            tools.iter().map(|(tool, _)| serde_json::to_value(tool.spec())).collect();
        let specs = Value::Array(specs.map_err(Failure::internal)?);
        return super::print(console, &pretty(&specs, console.stdout_paint()));
    }
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|(tool, built_in)| {
            let spec = tool.spec();
            let from = if *built_in { "built-in" } else { "ambidex.toml" };
            vec![
                spec.name.clone(),
                effect(spec.effect).to_owned(),
                arguments(&spec.input),
                from.to_owned(),
                one_line(&spec.description, 60),
            ]
        })
        .collect();
    let head = ["TOOL", "EFFECT", "ARGUMENTS", "FROM", "DESCRIPTION"];
    super::print(console, &table(&head, &rows, console.stdout_paint()))
}

fn effect(class: EffectClass) -> &'static str {
    match class {
        EffectClass::Read => "read",
        EffectClass::Idempotent => "idempotent",
        EffectClass::Once => "once",
        EffectClass::Undeclared => "undeclared",
    }
}

/// Names of the arguments, `?` behind those that may be left out.
fn arguments(schema: &Value) -> String {
    let required = schema["required"].as_array();
    let needs = |name: &str| required.is_some_and(|names| names.iter().any(|other| other == name));
    let names = schema["properties"].as_object().into_iter().flatten();
    let names: Vec<_> =
        names.map(|(name, _)| format!("{name}{}", if needs(name) { "" } else { "?" })).collect();
    names.join(" ")
}

fn given(spec: &ToolSpec, json: Option<&str>, pairs: &[String]) -> Result<Value, Failure> {
    if let Some(json) = json {
        return crate::approvals::arguments(json)
            .map_err(|why| Failure::usage(format!("the arguments of `{}`: {why}", spec.name)));
    }
    let mut arguments = Map::new();
    for pair in pairs {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("-i {pair}: write KEY=VALUE, such as -i path=README.md")));
        };
        let value = value(&spec.input["properties"][key], text)
            .map_err(|why| Failure::usage(format!("-i {pair}: {why}")))?;
        arguments.insert(key.to_owned(), value);
    }
    Ok(Value::Object(arguments))
}

/// A typed value by its schema: text stays text where text is wanted.
fn value(schema: &Value, text: &str) -> Result<Value, String> {
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(crate::approvals::json_or_text(text)),
    };
    if kinds.contains(&"string") {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text).map_err(|_| format!("`{text}` is no {}", kinds.join(" or ")))
}

async fn call(
    project: &Project,
    tool: &Registered,
    arguments: Value,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let error = match project.engine().call_tool(tool, arguments, stop).await {
        Ok(ToolOutput::Text(text)) => return super::print(console, &text),
        Ok(ToolOutput::Json(value)) => return super::print(console, &pretty(&value, console.stdout_paint())),
        Err(error) => error,
    };
    let exit = match error.kind() {
        ErrorKind::InvalidArguments => Exit::Usage,
        ErrorKind::ToolTimeout | ErrorKind::Timeout => Exit::Timeout,
        ErrorKind::Cancelled => Exit::Cancelled,
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, format!("{} [{}]", error.message(), error.code()));
    Err(match (error.kind(), hint(&error)) {
        (ErrorKind::InvalidArguments, _) => {
            failure.help(format!("`ambidex tools schema {}` shows what it takes", tool.spec().name))
        }
        (_, Some(hint)) => failure.help(hint),
        _ => failure,
    })
}
