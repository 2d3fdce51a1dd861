//! A run that is not over, and how to go on with it: from the store, or from a file where there is none on disk.

use std::path::{Path, PathBuf};

use ambidex_core::budget::BudgetKind;
use ambidex_core::event::Status;
use ambidex_core::question::Why;
use ambidex_core::record::Pause;
use ambidex_engine::project::Project;
use ambidex_engine::{RunFile, RunResult};

use crate::approvals::{Asked, describe, is_form};
use crate::args::Common;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::project;

use super::resume::HOW_TO_REPLY;
use super::watch::Ended;

/// Where a run outlives its process.
#[derive(Clone, Copy)]
pub enum Kept<'a> {
    Stored,
    /// In this file, or in a new one.
    File(Option<&'a Path>),
}

/// Writes the run's file, or removes it, as the run's state demands, and says what to do next.
pub async fn settle(
    ended: &Ended,
    project: &Project,
    common: &Common,
    kept: Kept<'_>,
    console: &mut Console,
) -> Exit {
    let exit = Exit::of_run(ended);
    let file = match kept {
        Kept::Stored => {
            if let Ok(result) = ended
                && matches!(result.status, Status::Waiting | Status::Paused)
            {
                let command = command(&format!("runs resume {}", result.run), common);
                console.complain(&what_next(result, "in the store", &command, console));
            }
            return exit;
        }
        Kept::File(file) => file,
    };
    match ended {
        Ok(result) if matches!(result.status, Status::Waiting | Status::Paused) => {
            match keep(result, project, common, file).await {
                Ok(path) => {
                    let path = path.display().to_string();
                    let command = command(&format!("run --resume {}", quoted(&path)), common);
                    console.complain(&what_next(result, &format!("in {path}"), &command, console));
                }
                // Nobody can answer a run that is lost.
                Err(failure) => return failure.report(console),
            }
        }
        // A run that could not be driven on can be tried again from its file.
        Err(error) if error.result.is_none() => {}
        _ => {
            if let Some(path) = file
                && let Err(error) = std::fs::remove_file(path)
            {
                console.complain(&format!("the run has ended; remove {} yourself: {error}", path.display()));
            }
        }
    }
    exit
}

async fn keep(
    result: &RunResult,
    project: &Project,
    common: &Common,
    file: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let stored = project.engine().store().load(&result.run).await;
    let stored = stored.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let run = RunFile::new(&result.run, stored);
    if let Some(path) = file {
        return match run.write(path) {
            Ok(()) => Ok(path.to_owned()),
            Err(error) => Err(Failure::building(&error)),
        };
    }
    let name = format!("ambidex-run-{}.jsonl", result.run.trim_start_matches("run_"));
    let here = Path::new(".").join(&name);
    let Err(error) = run.write(&here) else { return Ok(here) };
    // The folder may not be ours to write.
    let folder = project::options(common)?.data_folder.map(|folder| folder.join("runs"));
    let elsewhere =
        folder.filter(|folder| std::fs::create_dir_all(folder).is_ok()).map(|folder| folder.join(&name));
    match elsewhere {
        Some(path) if run.write(&path).is_ok() => Ok(path),
        _ => Err(Failure::new(Exit::Failed, format!("{}; the run is lost", error.message()))
            .help("start it again in a folder you may write to")),
    }
}

/// What stands between the run and its end, and the command to go on.
pub fn what_next(result: &RunResult, place: &str, command: &str, console: &Console) -> String {
    let paint = console.stderr_paint();
    if result.questions.is_empty() {
        let reached = match result.pause {
            Some(Pause::MaxIterations) => "max_iterations".to_owned(),
            Some(Pause::Budget(kind)) => format!("the budget of {}", budget(kind)),
            Some(Pause::Node) => "a node that the run pauses at".to_owned(),
            Some(Pause::Operator) | None => "a request".to_owned(),
        };
        let more = match result.pause {
            Some(Pause::Budget(BudgetKind::Usd)) => "--max-usd USD",
            _ => "--max-iterations N",
        };
        return format!(
            "paused by {reached}; it is kept {place}\nGo on with as much again, or say how much with {more}:\n  {}",
            paint.bold(command),
        );
    }
    let mut text = String::new();
    for question in &result.questions {
        text.push_str(&describe(&Asked::from(question.clone()), paint, console.width()));
        if result.questions.len() > 1 {
            text.push_str(&format!(" --question {}", question.id));
        }
        text.push('\n');
    }
    if result.questions.iter().all(|question| question.why == Why::Reply) {
        text.push_str(&format!(
            "the run waits for a person's reply; it is kept {place}\n{HOW_TO_REPLY}:\n  {}",
            paint.bold(&format!("{command} --answer TEXT")),
        ));
        return text;
    }
    if result.questions.iter().all(|question| is_form(&question.id)) {
        text.push_str(&format!(
            "the run waits for a person; it is kept {place}\nAnswer with --answer JSON, or --yes and --no where that is all:\n  {}",
            paint.bold(&format!("{command} --answer JSON")),
        ));
        return text;
    }
    if result.questions.iter().all(|question| question.why == Why::InDoubt) {
        text.push_str(&format!(
            "the run waits for a person; it is kept {place}\nIf it happened, say what it gave with --answer JSON; --yes lets it run again, --no REASON leaves it at that:\n  {}",
            paint.bold(&format!("{command} --answer JSON")),
        ));
        return text;
    }
    text.push_str(&format!(
        "the run waits for a person; it is kept {place}\nAnswer with one of --yes, --no REASON, --edit JSON, --answer JSON:\n  {}",
        paint.bold(&format!("{command} --yes")),
    ));
    text
}

fn budget(kind: BudgetKind) -> &'static str {
    match kind {
        BudgetKind::Usd => "US dollars",
        BudgetKind::Tokens => "tokens",
        BudgetKind::ToolCalls => "tool calls",
        BudgetKind::Wall => "time",
    }
}

/// The command line of a verb under the same settings.
pub fn command(verb: &str, common: &Common) -> String {
    let mut command = format!("ambidex {verb}");
    if let Some(config) = &common.config {
        command.push_str(&format!(" --config {}", quoted(&config.display().to_string())));
    }
    if let Some(profile) = &common.profile {
        command.push_str(&format!(" --profile {}", quoted(profile)));
    }
    if let Some(flow) = &common.flow {
        command.push_str(&format!(" -w {}", quoted(&flow.display().to_string())));
    }
    for setting in &common.overrides {
        command.push_str(&format!(" -c {}", quoted(setting)));
    }
    command
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '=' | '@' | '+');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
