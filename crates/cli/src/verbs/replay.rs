//! `ambidex replay`: a run done again from its records.

use std::path::Path;

use ambidex_core::definition::Definition;
use ambidex_core::run::Patch;
use ambidex_engine::project::Project;
use ambidex_engine::{OnWaiting, Point, Recording, Replay, Replayed, RunOptions};
use ambidex_store::OpenStore;
use tokio_util::sync::CancellationToken;

use crate::args::{Common, ReplayArgs, RunArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::{Format, Show};
use crate::store;

use super::keep::{Kept, settle};
use super::resume::{self, Runner};
use super::watch::{Ended, Watcher, watch};
use super::{run, runs};

pub async fn replay(
    args: &ReplayArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let common = store::with_db(common, args.db.as_deref());
    let (mut project, opened) = project::open_stored(&common).await?;
    let ended = tokio::select! {
        ended = carry_out(args, &common, &mut project, opened.as_ref(), console, &interrupts) => ended,
        () = stop.cancelled(), if args.live_from.is_none() => Err(Failure::Closed(Exit::Cancelled)),
    };
    store::close(opened).await;
    ended
}

async fn carry_out(
    args: &ReplayArgs,
    common: &Common,
    project: &mut Project,
    opened: Option<&OpenStore>,
    console: &mut Console,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let recording = recording(&args.run, opened).await?;
    let runner = runner(args, &recording, project, console)?;
    let mut replay = Replay::of(&recording);
    if let Some(runner) = runner.as_ref().filter(|_| !args.as_recorded) {
        replay = replay.by(&runner.runnable());
    }
    for place in &args.ignore {
        replay = replay.ignore(place);
    }
    if args.strict {
        replay = replay.strict();
    }
    let format = run::format(args.json, args.result_json);
    let structured = match &*recording.run().stored.definition.definition {
        Definition::Agent(agent) => agent.output.is_some(),
        Definition::Graph(_) => true,
    };
    let mut show = Show::new(console, format, structured);
    if let (Some(point), Some(runner)) = (&args.live_from, runner) {
        let past = shown(replay.until(at(point)), console, &mut show)?;
        tell(&past, args, console)?;
        let live = Live { past, patch: None, runner, format, before: Some(show) };
        let ended = live.go_on(console, interrupts, project).await?;
        let kept = if opened.is_some() { Kept::Stored } else { Kept::File(None) };
        return Ok(settle(&ended, project, common, kept, console).await);
    }
    let replayed = shown(replay, console, &mut show)?;
    tell(&replayed, args, console)?;
    let ended = replayed.ended();
    show.end(console, &ended).map_err(Failure::from_stdout)?;
    if let Some(first) = replayed.unanswered.first() {
        let text = format!("the run goes on with {first}, and nothing is recorded of that");
        return Err(Failure::new(Exit::Failed, text)
            .help(format!("--live-from {first} does it for real, as a new run")));
    }
    Ok(Exit::of_run(&ended))
}

/// The run that is meant: one of the store, or one in a file.
async fn recording(run: &str, opened: Option<&OpenStore>) -> Result<Recording, Failure> {
    let path = Path::new(run);
    let is_file = path.components().count() > 1 || path.extension().is_some();
    if is_file && (path.exists() || opened.is_none()) {
        return Recording::read(path).map_err(|error| {
            Failure::usage(error.message().to_owned())
                .help("give a file that `ambidex runs export` wrote, or a run of the store")
        });
    }
    let Some(opened) = opened else {
        let text = format!("there is no store on disk in which the run `{run}` could be");
        return Err(Failure::usage(text).help(
            "give a file that `ambidex runs export` wrote, set url = \"sqlite:.ambidex/state.db\" under [store] in \
             ambidex.toml, or name a store with --db",
        ));
    };
    let store = opened.as_any();
    let found = runs::find(&*store, run).await?;
    Recording::of(&*store, &found.id).await.map_err(|error| Failure::building(&error))
}

/// The run's agent or workflow as it is configured now, where there is one and it is wanted. To go on for real it must be
/// there.
fn runner(
    args: &ReplayArgs,
    recording: &Recording,
    project: &mut Project,
    console: &mut Console,
) -> Result<Option<Runner>, Failure> {
    if args.as_recorded && args.live_from.is_none() {
        return Ok(None);
    }
    let definition = &recording.run().stored.definition.definition;
    match resume::runner(project, definition, &RunArgs::default()) {
        Ok(runner) => Ok(Some(runner)),
        Err(failure) if args.live_from.is_some() => Err(failure),
        Err(_) => {
            let paint = console.stderr_paint();
            let text = format!("`{}` is not configured here; it is replayed as it was", definition.name());
            console.say(&paint.dim(&text));
            Ok(None)
        }
    }
}

fn at(point: &str) -> Point {
    let Ok(point) = point.parse();
    point
}

/// What a run was up to a point.
pub fn until(replay: Replay<'_>, point: &str) -> Result<Replayed, Failure> {
    replay.until(at(point)).run(|_| {}).map_err(|error| Failure::usage(error.message().to_owned()))
}

/// Replays with its events shown.
fn shown(replay: Replay<'_>, console: &mut Console, show: &mut Show) -> Result<Replayed, Failure> {
    let mut unwritable = None;
    let replayed = replay.run(|event| {
        if unwritable.is_none() {
            unwritable = show.event(console, &event).err();
        }
    });
    match unwritable {
        Some(error) => Err(Failure::from_stdout(error)),
        None => replayed.map_err(|error| Failure::usage(error.message().to_owned())),
    }
}

/// Says what differs.
fn tell(replayed: &Replayed, args: &ReplayArgs, console: &mut Console) -> Result<(), Failure> {
    if args.strict
        && let Some(difference) = replayed.differences.first()
    {
        console.wipe();
        return Err(Failure::new(Exit::Failed, format!("the run is not what was recorded\n{difference}"))
            .help("without --strict all differences are shown; --ignore PLACE leaves out what may differ"));
    }
    for difference in &replayed.differences {
        console.complain(&difference.to_string());
    }
    Ok(())
}

/// A run that goes on for real from a point of another's.
pub struct Live {
    pub past: Replayed,
    pub patch: Option<Patch>,
    pub runner: Runner,
    pub format: Format,
    /// What its past was shown with.
    pub before: Option<Show>,
}

impl Live {
    pub async fn go_on(
        self,
        console: &mut Console,
        interrupts: &Interrupts,
        project: &mut Project,
    ) -> Result<Ended, Failure> {
        let Self { past, patch, runner, format, before } = self;
        let structured = runner.gives_data();
        let mut show = match before {
            Some(mut show) => {
                show.goes_on();
                show
            }
            None => Show::new(console, format, structured),
        };
        let interactive = console.is_interactive() && format == Format::Text;
        let options = RunOptions {
            on_waiting: if interactive { OnWaiting::Stay } else { OnWaiting::Return },
            ..RunOptions::default()
        };
        let handle = past.go_on_with(patch, &runner.runnable(), options).await;
        let handle = handle.map_err(|error| Failure::building(&error))?;
        console.say(&console.stderr_paint().dim(&format!("as {}", handle.id())));
        let watcher = Watcher {
            console,
            show: &mut show,
            interrupts,
            lines: &mut None,
            open: Vec::new(),
            interactive,
            project,
        };
        let ended = watch(handle, watcher).await?;
        show.end(console, &ended).map_err(Failure::from_stdout)?;
        Ok(ended)
    }
}
