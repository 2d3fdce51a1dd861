//! A run that is not over is kept in a file, since this version has no store that outlives a process.

use std::path::{Path, PathBuf};

use ambidex_core::budget::BudgetKind;
use ambidex_core::event::Status;
use ambidex_core::question::Why;
use ambidex_core::record::Pause;
use ambidex_engine::project::Project;
use ambidex_engine::{RunFile, RunResult};

use crate::approvals::{Asked, describe};
use crate::args::Common;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::project;

use super::resume::HOW_TO_REPLY;
use super::watch::Ended;

/// Writes the run's file, or removes it, as the run's state demands, and says what to do next.
pub async fn settle(
    ended: &Ended,
    project: &Project,
    common: &Common,
    file: Option<&Path>,
    console: &mut Console,
) -> Exit {
    let exit = Exit::of_run(ended);
    match ended {
        Ok(result) if matches!(result.status, Status::Waiting | Status::Paused) => {
            match keep(result, project, common, file).await {
                Ok(path) => console.complain(&what_next(result, &path, common, console)),
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
fn what_next(result: &RunResult, file: &Path, common: &Common, console: &Console) -> String {
    let paint = console.stderr_paint();
    let command = resume_command(file, common);
    if result.questions.is_empty() {
        let reached = match result.pause {
            Some(Pause::MaxIterations) => "max_iterations".to_owned(),
            Some(Pause::Budget(kind)) => format!("the budget of {}", budget(kind)),
            Some(Pause::Operator) | None => "a request".to_owned(),
        };
        let more = match result.pause {
            Some(Pause::Budget(BudgetKind::Usd)) => "--max-usd USD",
            _ => "--max-iterations N",
        };
        return format!(
            "paused by {reached}; it is kept in {}\nGo on with as much again, or say how much with {more}:\n  {}",
            file.display(),
            paint.bold(&command),
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
            "the run waits for a person's reply; it is kept in {}\n{HOW_TO_REPLY}:\n  {}",
            file.display(),
            paint.bold(&format!("{command} --answer TEXT")),
        ));
        return text;
    }
    text.push_str(&format!(
        "the run waits for a person; it is kept in {}\nAnswer with one of --yes, --no REASON, --edit JSON, --answer JSON:\n  {}",
        file.display(),
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

fn resume_command(file: &Path, common: &Common) -> String {
    let mut command = format!("ambidex run --resume {}", quoted(&file.display().to_string()));
    if let Some(config) = &common.config {
        command.push_str(&format!(" --config {}", quoted(&config.display().to_string())));
    }
    if let Some(profile) = &common.profile {
        command.push_str(&format!(" --profile {}", quoted(profile)));
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
