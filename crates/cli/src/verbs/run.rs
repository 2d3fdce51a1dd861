//! `ambidex run`: one task to its end.

use ambidex_core::Error;
use ambidex_engine::{OnWaiting, RunError, RunOptions};
use tokio_util::sync::CancellationToken;

use crate::args::{Common, RunArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input;
use crate::interrupts::Interrupts;
use crate::project::{self, Chosen};
use crate::show::{Format, Show};
use crate::store;

use super::keep::{Kept, settle};
use super::resume;
use super::threads;
use super::watch::{Watcher, watch};

pub async fn run(
    args: &RunArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    refuse_what_comes_later(args)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    if let Some(file) = &args.resume {
        let common = &match &args.workflow {
            Some(workflow) => super::workflow::with_file(common, workflow)?,
            None => common.clone(),
        };
        return resume::resume(file, args, common, console, &interrupts).await;
    }
    if let Some(workflow) = &args.workflow {
        return super::workflow::run(workflow, args, common, console, &interrupts, &stop).await;
    }
    let common = &store::with_db(common, args.db.as_deref());
    let (mut project, store) = project::open_stored(common).await?;
    if let Some(workflow) = super::workflow::followed(&project, &args.agent)? {
        return super::workflow::go(&workflow, args, common, (project, store), console, &interrupts, &stop)
            .await;
    }
    let chosen = project::choose(&mut project, &args.agent, None)?;
    let format = format(args.json, args.result_json);
    let task = match input::task(args, console, &stop).await {
        Ok(task) => task,
        Err(failure) => {
            if failure.is_cancelled() && format != Format::Text {
                // Who reads the result gets one, though there was no run.
                let structured = chosen.agent.definition().output.is_some();
                let ended = Err(RunError::from(Error::cancelled()));
                Show::new(console, format, structured).end(console, &ended).map_err(Failure::from_stdout)?;
            }
            return Err(failure);
        }
    };
    tell_of_the_offline_model(&chosen, console);
    let interactive = console.is_interactive() && format == Format::Text;
    let thread = threads::chosen(&args.on, project.engine(), store.is_some(), console).await?;
    let options = RunOptions {
        timeout: Some(args.timeout.map_or(chosen.timeout, ambidex_config::Duration::get)),
        on_waiting: if interactive { OnWaiting::Stay } else { OnWaiting::Return },
        ..RunOptions::default()
    };
    let options = threads::on(&args.on, thread, options);
    let mut show = Show::new(console, format, chosen.agent.definition().output.is_some());
    let handle = chosen.agent.start(task, options).map_err(|error| Failure::building(&error))?;
    let watcher = Watcher {
        console,
        show: &mut show,
        interrupts: &interrupts,
        lines: &mut None,
        open: Vec::new(),
        interactive,
        project: &mut project,
    };
    let ended = watch(handle, watcher).await?;
    show.end(console, &ended).map_err(Failure::from_stdout)?;
    let kept = if store.is_some() { Kept::Stored } else { Kept::File(None) };
    let exit = settle(&ended, &project, common, kept, console).await;
    store::tidy(&project).await;
    store::close(store).await;
    Ok(exit)
}

pub fn format(json: bool, result_json: bool) -> Format {
    match (json, result_json) {
        (true, _) => Format::Events,
        (_, true) => Format::Result,
        _ => Format::Text,
    }
}

/// A note for those who have not configured anything yet.
pub fn tell_of_the_offline_model(chosen: &Chosen, console: &mut Console) {
    if chosen.is_assistant && chosen.agent.definition().model == project::OFFLINE_MODEL {
        let paint = console.stderr_paint();
        console.say(&paint.dim(
            "no agent is configured, so the offline model answers; `ambidex config init` writes an ambidex.toml, \
             or name a model: -m openai:MODEL, -m anthropic:MODEL",
        ));
    }
}

pub fn refuse_what_comes_later(args: &RunArgs) -> Result<(), Failure> {
    if args.on.thread.is_some() && (args.workflow.is_some() || args.resume.is_some()) {
        let text = "--thread: it is the conversation of an agent; a workflow has none, and a run that waits has its own";
        return Err(Failure::usage(text).help("leave it out"));
    }
    if args.workflow.is_none() && (!args.input.is_empty() || args.stage.is_some()) {
        let flag = if args.stage.is_some() { "--stage" } else { "-i" };
        return Err(Failure::usage(format!("{flag}: it belongs to a workflow, and none is named"))
            .help("name it with -w WORKFLOW, or use `ambidex flow run FILE`"));
    }
    // clap forgets `requires` where the required flag conflicts with something that is there.
    if args.resume.is_none() && args.answer.is_given() {
        let text = "--yes, --no, --edit, --answer: they answer a run that waits, and none is named";
        return Err(Failure::usage(text).help("name its file with --resume FILE"));
    }
    if args.detach {
        let text = "--detach: no server is running, and this version has none to start";
        return Err(
            Failure::new(Exit::NoServer, text).help("leave --detach out: the run then lives in this process")
        );
    }
    Ok(())
}
