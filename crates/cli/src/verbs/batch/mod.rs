//! `ambidex batch`: many tasks from a file of JSON lines, a line of JSON for each result.

mod progress;
mod results;
mod task;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ambidex_core::ErrorKind;
use ambidex_core::event::Status;
use ambidex_engine::project::Project;
use ambidex_engine::{Conversation, OnWaiting, RunFile, RunOptions, RunResult, RunSet};
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::args::{AgentArgs, BatchArgs, Common};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project::{self, Chosen};
use crate::show::object;

use super::run::tell_of_the_offline_model;
use super::watch::Ended;
use progress::{Counts, Progress};
use results::{Earlier, Writer};
use task::{Reader, Task};

pub async fn batch(
    args: &BatchArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let runs = RunSet::new();
    let stop = runs.token();
    interrupts.guard(stop.clone());
    let mut agents =
        Agents { project: project::open_stored(common).await?.0, args: &args.agent, built: HashMap::new() };
    let (out, mut earlier) = match &args.out {
        Some(path) => {
            let (file, earlier) = results::open(path, args.sequential, args.retry_failed)?;
            (Some((file, path.as_path())), earlier)
        }
        None => (None, Earlier::default()),
    };
    let from_stdin = args.from == Path::new("-");
    let total = match from_stdin {
        true => None,
        false => Some(look_through(args, &earlier, &mut agents, console, &stop)?),
    };
    tell_how_it_begins(args, &earlier, total, console);
    let tasks = match from_stdin {
        true => task::read_ahead(Reader::new(std::io::BufReader::new(std::io::stdin()), "stdin".into()))?,
        false => task::read_ahead(Reader::of_file(&args.from)?)?,
    };
    let writer = match out {
        Some((file, path)) => Some(Writer::start(file, path)?),
        None => None,
    };
    let conversation = args
        .sequential
        .then(|| Conversation::new(earlier.thread.clone()).with(std::mem::take(&mut earlier.conversation)));
    let mut batch = Batch {
        args,
        agents,
        progress: Progress::new(total, earlier.counts),
        earlier,
        runs,
        conversation,
        writer,
        console,
        taken: 0,
        lost: 0,
    };
    let driven = batch.drive(tasks, &stop).await;
    let stored = batch.agents.project.memory().is_none();
    let Batch { writer, progress, console, lost, .. } = batch;
    console.wipe();
    // What was not taken has its reason there.
    if let Some(writer) = writer {
        writer.close().await?;
    }
    driven?;
    Ok(sum_up(args, &progress, lost, stop.is_cancelled(), stored, console))
}

/// Reads a file of tasks once before anything is spent: what is wrong in it is told now.
fn look_through(
    args: &BatchArgs,
    earlier: &Earlier,
    agents: &mut Agents<'_>,
    console: &mut Console,
    stop: &CancellationToken,
) -> Result<u64, Failure> {
    let mut total = 0;
    for task in Reader::of_file(&args.from)? {
        let task = task?;
        if stop.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, "cancelled before the first task"));
        }
        if !is_done(args, earlier, &task)? {
            agents.of(&task, console)?;
        }
        total += 1;
    }
    if let Some(out) = &args.out {
        earlier.fits(total, &args.from, out)?;
    }
    Ok(total)
}

fn is_done(args: &BatchArgs, earlier: &Earlier, task: &Task) -> Result<bool, Failure> {
    args.out.as_ref().map_or(Ok(false), |out| earlier.has(task, out))
}

fn tell_how_it_begins(args: &BatchArgs, earlier: &Earlier, total: Option<u64>, console: &mut Console) {
    let Some(out) = &args.out else {
        let paint = console.stderr_paint();
        console.say(
            &paint.dim("without --out the results go to stdout, and the batch cannot go on where it stopped"),
        );
        return;
    };
    if earlier.repaired {
        console.say(&format!("{}: the last line was cut in the middle and was taken out", out.display()));
    }
    let done = earlier.counts.done;
    if done > 0 {
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        console.say(&format!("goes on: {done}{of} tasks have their results in {}", out.display()));
    }
}

/// The agents that tasks name, each built once.
struct Agents<'a> {
    project: Project,
    args: &'a AgentArgs,
    built: HashMap<(Option<String>, Option<String>), Chosen>,
}

impl Agents<'_> {
    fn of(&mut self, task: &Task, console: &mut Console) -> Result<&Chosen, Failure> {
        let key = (task.agent.clone(), task.model.clone());
        if !self.built.contains_key(&key) {
            let args = AgentArgs {
                agent: task.agent.clone().or_else(|| self.args.agent.clone()),
                model: task.model.clone().or_else(|| self.args.model.clone()),
                ..self.args.clone()
            };
            let chosen = project::choose(&mut self.project, &args, None);
            // The line is to blame for what the line says.
            let of_the_line = task.agent.is_some() || task.model.is_some();
            let chosen =
                chosen.map_err(|failure| if of_the_line { failure.at(&task.place) } else { failure })?;
            tell_of_the_offline_model(&chosen, console);
            self.built.insert(key.clone(), chosen);
        }
        self.built.get(&key).ok_or_else(|| Failure::internal("an agent was built and is gone"))
    }
}

struct Batch<'a> {
    args: &'a BatchArgs,
    agents: Agents<'a>,
    earlier: Earlier,
    runs: RunSet<Task>,
    conversation: Option<Conversation>,
    writer: Option<Writer>,
    progress: Progress,
    console: &'a mut Console,
    /// Tasks that were read, done ones too.
    taken: u64,
    /// Runs that wait or are paused and could not be kept.
    lost: u64,
}

impl Batch<'_> {
    async fn drive(
        &mut self,
        mut tasks: tokio::sync::mpsc::Receiver<Result<Task, Failure>>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let at_once = if self.args.sequential { 1 } else { self.args.concurrency as usize };
        let mut ticker = tokio::time::interval(progress::FRAME);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut ended, mut told, mut failure) = (false, false, None);
        loop {
            let open = !ended && !stop.is_cancelled();
            if !open && self.runs.is_empty() {
                return failure.map_or(Ok(()), Err);
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if !told => {
                    told = true;
                    if failure.is_none() {
                        self.console.wipe();
                        self.console.say("cancelling; Ctrl-C again ends at once");
                    }
                }
                _ = ticker.tick() => self.progress.tick(self.console, self.runs.len()),
                task = tasks.recv(), if open && self.runs.len() < at_once => match task {
                    None => {
                        ended = true;
                        failure = self.all_taken().err();
                    }
                    Some(task) => if let Err(wrong) = task.and_then(|task| self.begin(task)) {
                        // What runs may end; its results are worth their money.
                        ended = true;
                        failure = Some(wrong);
                    }
                },
                Some((task, result)) = self.runs.next(), if !self.runs.is_empty() => {
                    if let Err(unwritable) = self.ended(task, &result, stop).await
                        && !stop.is_cancelled()
                    {
                        failure = unwritable;
                        stop.cancel();
                        told = true;
                    }
                }
            }
        }
    }

    /// Of a pipe it is known only now how many tasks there are.
    fn all_taken(&mut self) -> Result<(), Failure> {
        self.progress.total = Some(self.taken);
        match &self.args.out {
            Some(out) => self.earlier.fits(self.taken, &self.args.from, out),
            None => Ok(()),
        }
    }

    fn begin(&mut self, task: Task) -> Result<(), Failure> {
        self.taken += 1;
        if is_done(self.args, &self.earlier, &task)? {
            return Ok(());
        }
        let chosen = self.agents.of(&task, self.console)?;
        let options = RunOptions {
            timeout: Some(self.args.timeout.map_or(chosen.timeout, ambidex_config::Duration::get)),
            on_waiting: OnWaiting::Return,
            ..RunOptions::default()
        };
        let text = task.text.clone();
        match &self.conversation {
            Some(conversation) => {
                let (input, options) = conversation.next(text, &options);
                self.runs.start(task, &chosen.agent, input, options);
            }
            None => self.runs.start(task, &chosen.agent, text, options),
        }
        Ok(())
    }

    /// Writes a result.
    ///
    /// # Errors
    /// It cannot be written; the failure is there where the writer has none.
    async fn ended(
        &mut self,
        task: Task,
        ended: &Ended,
        stop: &CancellationToken,
    ) -> Result<(), Option<Failure>> {
        let cancelled = matches!(ended, Err(error) if error.kind() == ErrorKind::Cancelled);
        if cancelled && stop.is_cancelled() {
            // It has no result, and is run again by a later start.
            return Ok(());
        }
        let mut line = Map::new();
        line.insert("index".into(), task.index.into());
        line.insert("id".into(), task.id.clone());
        line.insert("fingerprint".into(), task.fingerprint().into());
        if let Value::Object(fields) = object(ended) {
            line.extend(fields);
        }
        let (mut status, mut usd) = (Status::Failed, None);
        if let Some(result) = ended.as_ref().map_or_else(|error| error.result.as_deref(), Some) {
            (status, usd) = (result.status, result.usage.usd);
            if matches!(status, Status::Waiting | Status::Paused) {
                match self.keep(result).await {
                    Ok(Some(path)) => drop(line.insert("file".into(), path.display().to_string().into())),
                    Ok(None) => {}
                    Err(failure) => {
                        // Nobody could go on with it, so it is as if it had not run.
                        failure.at(&task.place).report(self.console);
                        self.lost += 1;
                        return Ok(());
                    }
                }
            }
        }
        if let Some(conversation) = &mut self.conversation {
            let added = ended.as_ref().map_or_else(|_| Vec::new(), |result| conversation.heard(result));
            if self.writer.is_some() {
                let added = serde_json::to_value(&added).map_err(|error| Some(Failure::internal(error)))?;
                line.insert("messages".into(), added);
            }
        }
        if let Some(metadata) = task.metadata {
            line.insert("metadata".into(), metadata);
        }
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        match &self.writer {
            Some(writer) => writer.write(line).await.then_some(()).ok_or(None)?,
            None => {
                let written = self.console.print(&line).and_then(|()| self.console.flush());
                written.map_err(|error| match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Some(Failure::Closed(Exit::Cancelled)),
                    _ => Some(Failure::from_stdout(error)),
                })?;
            }
        }
        self.progress.counts.add(status, usd);
        Ok(())
    }

    /// Writes the file of a run that waits or is paused; it is on the disk before its result is.
    /// A run in a store on disk needs none.
    async fn keep(&self, result: &RunResult) -> Result<Option<PathBuf>, Failure> {
        let Some(store) = self.agents.project.memory() else { return Ok(None) };
        let folder = match &self.args.out {
            Some(out) => {
                let mut folder = out.clone().into_os_string();
                folder.push(".runs");
                let folder = PathBuf::from(folder);
                std::fs::create_dir_all(&folder).map_err(|error| {
                    Failure::new(Exit::Failed, format!("cannot make {}: {error}", folder.display()))
                        .help("start the batch again with --out in a folder that you may write to")
                })?;
                folder
            }
            None => PathBuf::from("."),
        };
        let path = folder.join(format!("ambidex-run-{}.jsonl", result.run.trim_start_matches("run_")));
        let stored = self.agents.project.engine().store().load(&result.run).await;
        let stored = stored.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        RunFile::new(&result.run, stored).write(&path).map_err(|error| Failure::building(&error))?;
        store.forget(&result.run);
        Ok(Some(path))
    }
}

/// Says what it came to and what can be done about it.
fn sum_up(
    args: &BatchArgs,
    progress: &Progress,
    lost: u64,
    stopped: bool,
    stored: bool,
    console: &mut Console,
) -> Exit {
    let Counts { done, failed, waiting, paused, .. } = progress.counts;
    let paint = console.stderr_paint();
    console.say(&progress.summary(paint));
    let mut hints = Vec::new();
    if stopped && args.out.is_some() {
        hints.push("cancelled; the same command goes on where it stopped");
    }
    if failed > 0 && args.out.is_some() && !args.sequential {
        hints.push("the same command with --retry-failed runs again what failed");
    }
    if waiting > 0 {
        hints.push(if stored {
            "what waits for a person is in the store: ambidex runs resume RUN"
        } else {
            "what waits for a person names its `file`: ambidex run --resume FILE"
        });
    }
    if paused > 0 {
        hints.push(if stored {
            "what is paused is in the store: ambidex runs resume RUN --max-iterations N"
        } else {
            "what is paused names its `file`: ambidex run --resume FILE --max-iterations N"
        });
    }
    for hint in hints {
        console.say(&paint.dim(&format!("  {hint}")));
    }
    match () {
        () if stopped && progress.total != Some(done) => Exit::Cancelled,
        () if failed + lost > 0 => Exit::Failed,
        () if waiting > 0 => Exit::Waiting,
        () if paused > 0 => Exit::Paused,
        () => Exit::Done,
    }
}
