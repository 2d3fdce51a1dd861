//! `ambidex flow`: workflows checked, drawn and run.

use std::path::Path;

use ambidex_engine::workflow::{Format, draw_steps};

use super::{asynchronously, print, run, workflow};
use crate::args::{Common, Drawing, FlowVerb, RunArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::project;
use crate::show::number;

pub fn flow(verb: FlowVerb, common: &Common, console: &mut Console) -> Result<Exit, Failure> {
    match verb {
        FlowVerb::Check { files, json } => check(&files, json, common, console),
        FlowVerb::Draw { file, workflow, format, output } => {
            draw(&file, workflow.as_deref(), format, output.as_deref(), common, console)
        }
        FlowVerb::Run { flow, args } => {
            let args = RunArgs { workflow: Some(flow), ..*args };
            asynchronously(|at_once| run::run(&args, common, console, at_once))
        }
    }
}

fn check(files: &[String], json: bool, common: &Common, console: &mut Console) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut faults = Vec::new();
    if files.is_empty() {
        one(None, json, common, &mut faults, console, &mut exit)?;
    }
    for file in files {
        one(Some(file), json, common, &mut faults, console, &mut exit)?;
    }
    if json {
        print(console, &serde_json::Value::Array(faults).to_string())?;
    }
    Ok(exit)
}

fn one(
    file: Option<&str>,
    json: bool,
    common: &Common,
    faults: &mut Vec<serde_json::Value>,
    console: &mut Console,
    exit: &mut Exit,
) -> Result<(), Failure> {
    let common = match file {
        Some(file) => workflow::with_file(common, file)?,
        None => common.clone(),
    };
    let loaded = match project::load(&common, true) {
        Ok(loaded) => loaded,
        Err(Failure::Config(errors)) => {
            *exit = Exit::ConfigInvalid;
            if json {
                let found = serde_json::to_value(&errors).map_err(Failure::internal)?;
                faults.extend(found.as_array().cloned().unwrap_or_default());
            } else {
                Failure::Config(errors).report(console);
            }
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let names: Vec<String> = match file {
        Some(text) if common.flow.is_none() || loaded.flow.is_some() => {
            vec![workflow::name(&loaded, &common, text)?]
        }
        _ => loaded.config.workflows.keys().cloned().collect(),
    };
    if names.is_empty() {
        return Err(Failure::usage("the configuration has no workflows")
            .help("add [workflows.NAME] to ambidex.toml, or name a file: ambidex flow check FILE"));
    }
    for name in names.iter().filter(|_| !json) {
        let steps = loaded.config.workflows.get(name).map_or(0, |workflow| workflow.steps.len());
        print(console, &format!("{name}: {}, nothing wrong", number::counted(steps as u64, "step")))?;
    }
    Ok(())
}

fn draw(
    file: &str,
    named: Option<&str>,
    format: Drawing,
    output: Option<&Path>,
    common: &Common,
    console: &mut Console,
) -> Result<Exit, Failure> {
    let common = workflow::with_file(common, file)?;
    let loaded = project::load(&common, false)?;
    let name = match named {
        Some(name) => {
            let common = Common { flow: None, ..common };
            workflow::name(&loaded, &common, name)?
        }
        None => workflow::name(&loaded, &common, file)?,
    };
    let by_ending = output.and_then(Path::extension).and_then(|ending| match ending.to_str() {
        Some("svg") => Some(Format::Svg),
        Some("mmd" | "mermaid") => Some(Format::Mermaid),
        _ => None,
    });
    let format = match format {
        Drawing::Text => by_ending.unwrap_or(Format::Text),
        Drawing::Mermaid => Format::Mermaid,
        Drawing::Svg => Format::Svg,
    };
    let Some(steps) = loaded.config.workflows.get(&name) else {
        return Err(Failure::usage(format!("there is no workflow `{name}`")));
    };
    let drawing = draw_steps(&name, steps, format);
    match output {
        None => print(console, drawing.trim_end()),
        Some(path) => {
            std::fs::write(path, drawing).map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
            })?;
            console.say(&format!("wrote {}", path.display()));
            Ok(Exit::Done)
        }
    }
}
