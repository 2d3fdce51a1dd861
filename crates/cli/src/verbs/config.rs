//! `ambidex config`: show, check, begin.

use std::io::Write;
use std::path::Path;

use ambidex_config::{Config, Environment, FILE_NAME, Loaded, Model, ModelSource, STARTER};
use ambidex_engine::project::Project;

use crate::args::{Common, ConfigVerb};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::project;
use crate::show::pretty;

pub fn config(verb: &ConfigVerb, common: &Common, console: &mut Console) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Show { origin, json } => {
            let loaded = project::load(common, false)?;
            if *json {
                let settings = serde_json::to_value(loaded.settings()).map_err(Failure::internal)?;
                return super::print(console, &pretty(&settings, console.stdout_paint()));
            }
            super::print(console, &painted(&loaded.show(*origin), console))
        }
        ConfigVerb::Check => check(common, console),
        ConfigVerb::Schema => super::print(console, &pretty(&Config::json_schema(), console.stdout_paint())),
        ConfigVerb::Init { folder } => init(folder, console),
    }
}

fn check(common: &Common, console: &mut Console) -> Result<Exit, Failure> {
    let loaded = project::load(common, true)?;
    check_scripts(&loaded)?;
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let mark = console.stdout_paint().green("✓");
    let what = if files.is_empty() {
        format!("no {FILE_NAME} was found; the built-in settings are sound")
    } else {
        files.join(", ")
    };
    let mut text = format!("{mark} {what}\n");
    let config = &loaded.config;
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    text.push_str(&format!("  agents: {}\n", list(config.agents.keys().map(String::as_str).collect())));
    text.push_str(&format!("  models: {}\n", list(config.models.keys().map(String::as_str).collect())));
    if !config.routes.is_empty() {
        text.push_str(&format!("  routes: {}\n", list(config.routes.keys().map(String::as_str).collect())));
    }
    text.push_str(&format!("  tools: {}\n", list(config.tools.keys().map(String::as_str).collect())));
    if !loaded.profiles.is_empty() {
        text.push_str(&format!("  profiles, checked too: {}\n", loaded.profiles.join(", ")));
    }
    super::print(console, &text)
}

/// A script is read when its model is built, which needs no key and starts nothing.
fn check_scripts(loaded: &Loaded) -> Result<(), Failure> {
    let is_scripted = |model: &Model| matches!(model.source, ModelSource::Scripted { .. });
    let models = loaded.config.models.iter().filter(|(_, model)| is_scripted(model));
    let mut project = Project::new(loaded.clone(), Environment::of_process());
    for (name, _) in models {
        project.model(name).map_err(|error| Failure::building(&error))?;
    }
    Ok(())
}

fn init(folder: &Path, console: &mut Console) -> Result<Exit, Failure> {
    let path = folder.join(FILE_NAME);
    let shown = path.display();
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let written = opened.and_then(|mut file| file.write_all(STARTER.as_bytes()));
    if let Err(error) = written {
        return Err(match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Exit::Failed, format!("{shown} is there already and was left as it is"))
                    .help("edit it, move it away, or give another folder: ambidex config init FOLDER")
            }
            _ => Failure::new(Exit::Failed, format!("cannot write {shown}: {error}"))
                .help("give a folder that exists and that you may write to: ambidex config init FOLDER"),
        });
    }
    console.say(&format!(
        "{} wrote {shown}\n  It runs as it is, on the offline model: ambidex run \"list files in .\"\n  \
         Check it after editing: ambidex config check",
        console.stderr_paint().green("✓"),
    ));
    Ok(Exit::Done)
}

/// Headers bold, comments dim.
fn painted(toml: &str, console: &Console) -> String {
    let paint = console.stdout_paint();
    let lines = toml.lines().map(|line| match line.rsplit_once("  # ") {
        Some((setting, note)) => format!("{setting}  {}\n", paint.dim(&format!("# {note}"))),
        None if line.starts_with('[') => format!("{}\n", paint.with("1;34", line)),
        None => format!("{line}\n"),
    });
    lines.collect()
}
