//! `ambidex runs`: stored runs, listed, shown, resumed, retried, ended.

use std::path::Path;

use ambidex_config::Environment;
use ambidex_core::definition::Definition;
use ambidex_core::event::{Status, Timestamp};
use ambidex_core::message::Message;
use ambidex_core::record::{Input, Outcome, Record, RecordKind, RunInput};
use ambidex_core::run::{Patch, Run};
use ambidex_core::store::{AnyStore, RunQuery, RunSummary, Stored};
use ambidex_engine::project::Project;
use ambidex_engine::{Earlier, OnWaiting, Owner, Recording, Replay, RunOptions, RunResult};
use ambidex_store::OpenStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::approvals::{Asked, describe};
use crate::args::{Common, ForkArgs, ResumeArgs, RunArgs, RunsArgs, RunsVerb};
use crate::console::{Console, one_line};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::{Format, Show, number};
use crate::store;
use crate::table::table;

use super::keep::{self, Kept, settle};
use super::replay;
use super::resume::{self, Resting};
use super::run;
use super::watch::{Watcher, watch};

/// Runs read at a time where all are looked through.
const PAGE: usize = 1000;
/// The newest run.
const LAST: &str = "@last";

/// The store, and what goes with it.
struct Place {
    common: Common,
    project: Project,
    opened: OpenStore,
    store: std::sync::Arc<dyn AnyStore>,
}

pub async fn runs(
    args: &RunsArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let mut common = store::with_db(common, args.db.as_deref());
    common.flow.clone_from(&args.workflow);
    let loaded = project::load(&common, false)?;
    let environment = Environment::of_process();
    let Some(opened) = store::open(&loaded, &environment).await? else {
        let text = "there is no store on disk; runs live and die with their process";
        return Err(Failure::usage(text).help(
            "set url = \"sqlite:.ambidex/state.db\" under [store] in ambidex.toml, or name one with --db",
        ));
    };
    let store = opened.as_any();
    let project = Project::stored(loaded, environment, store.clone());
    let mut place = Place { common, project, opened: opened.clone(), store };
    let ended = tokio::select! {
        ended = place.carry_out(&args.verb, console, &interrupts) => ended,
        () = stop.cancelled(), if reads_only(&args.verb) => Err(Failure::Closed(Exit::Cancelled)),
    };
    store::close(Some(place.opened)).await;
    ended
}

/// Those that drive a run heed signals themselves.
fn reads_only(verb: &RunsVerb) -> bool {
    matches!(
        verb,
        RunsVerb::List { .. } | RunsVerb::Show { .. } | RunsVerb::Trace { .. } | RunsVerb::Export { .. }
    )
}

impl Place {
    async fn carry_out(
        &mut self,
        verb: &RunsVerb,
        console: &mut Console,
        interrupts: &Interrupts,
    ) -> Result<Exit, Failure> {
        match verb {
            RunsVerb::List { status, agent, limit, json } => {
                let query = RunQuery {
                    status: status.clone(),
                    agent: agent.clone(),
                    limit: *limit as usize,
                    ..RunQuery::default()
                };
                self.list(query, *json, console).await
            }
            RunsVerb::Show { run, json } => self.show(run, *json, console).await,
            RunsVerb::Trace { run, json } => self.trace(run, *json, console).await,
            RunsVerb::Resume(args) => self.resume(args, console, interrupts).await,
            RunsVerb::Retry { run, agent, json, result_json } => {
                let args = RunArgs {
                    agent: agent.clone(),
                    json: *json,
                    result_json: *result_json,
                    ..RunArgs::default()
                };
                self.retry(run, &args, console, interrupts).await
            }
            RunsVerb::Cancel { run } => self.cancel(run, console).await,
            RunsVerb::Export { run, file } => self.export(run, file.as_deref(), console).await,
            RunsVerb::Fork(args) => self.fork(args, console, interrupts).await,
        }
    }

    async fn list(&self, query: RunQuery, json: bool, console: &mut Console) -> Result<Exit, Failure> {
        let page = self.store.runs(query).await.map_err(store::failed)?;
        let now = self.now();
        if json {
            let lines: Vec<_> = page.runs.iter().map(|run| line(run, now).to_string()).collect();
            return match lines.is_empty() {
                true => Ok(Exit::Done),
                false => super::print(console, &lines.join("\n")),
            };
        }
        if page.runs.is_empty() {
            console.say("no such runs");
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = page
            .runs
            .iter()
            .map(|run| {
                let status = match holder(run, now) {
                    Some(Holder::Gone) if !run.status.is_final() => "interrupted".to_owned(),
                    None if run.status == Status::Running => "interrupted".to_owned(),
                    _ => run.status.as_str().to_owned(),
                };
                let time = |at| Timestamp(at).to_string();
                vec![run.id.clone(), status, run.agent.clone(), time(run.created), time(run.updated)]
            })
            .collect();
        let text = table(&["run", "status", "agent", "begun", "last step"], &rows, console.stdout_paint());
        super::print(console, text.trim_end())?;
        if page.next.is_some() {
            console.say("there are more; --limit N shows them");
        }
        Ok(Exit::Done)
    }

    async fn show(&self, run: &str, json: bool, console: &mut Console) -> Result<Exit, Failure> {
        let found = self.find(run).await?;
        let stored = self.store.load(&found.id).await.map_err(store::failed)?;
        let result = RunResult::of(&fold(&found, &stored)?, found.updated);
        if json {
            let mut object = result.to_json();
            object["questions"] = json!(result.questions);
            return super::print(console, &object.to_string());
        }
        let paint = console.stdout_paint();
        let mut rows = vec![
            ("run", found.id.clone()),
            ("status", found.status.as_str().to_owned()),
            ("agent", found.agent.clone()),
            ("begun", Timestamp(found.created).to_string()),
            ("last step", Timestamp(found.updated).to_string()),
            ("iterations", result.iterations_used.to_string()),
            ("tokens", format!("{} in, {} out", result.usage.input_tokens, result.usage.output_tokens)),
        ];
        match holder(&found, self.now()) {
            Some(Holder::There(who, until)) => {
                rows.push(("driven by", format!("{who}, until {} at least", Timestamp(until))));
            }
            _ if found.status == Status::Running => {
                rows.push(("driven by", "nobody: its process is gone".into()));
            }
            _ => {}
        }
        if let Some(error) = &result.error {
            rows.push(("error", format!("{}: {}", error.code(), error.message())));
        }
        let mut text: String = rows
            .iter()
            .map(|(name, value)| format!("{} {value}\n", paint.dim(&format!("{name:11}"))))
            .collect();
        for question in &result.questions {
            text.push_str(&describe(&Asked::from(question.clone()), paint, console.width()));
            text.push_str(&format!("\nits id is {}\n", question.id));
        }
        if !result.text.is_empty() {
            text.push_str(&format!("\n{}\n", result.text.trim_end()));
        }
        if !found.status.is_final() {
            let command = keep::command(&format!("runs resume {}", found.id), &self.common);
            console.say(&paint.dim(&format!("go on with it: {command}")));
        }
        super::print(console, text.trim_end())
    }

    async fn trace(&self, run: &str, json: bool, console: &mut Console) -> Result<Exit, Failure> {
        let found = self.find(run).await?;
        let mut from = 0;
        loop {
            let records = self.store.records(&found.id, from, PAGE).await.map_err(store::failed)?;
            let Some(last) = records.last() else { return Ok(Exit::Done) };
            from = last.seq + 1;
            for record in &records {
                let line = match json {
                    true => serde_json::to_string(record).map_err(Failure::internal)?,
                    false => step(record, found.created),
                };
                super::print(console, &line)?;
            }
        }
    }

    async fn resume(
        &mut self,
        args: &ResumeArgs,
        console: &mut Console,
        interrupts: &Interrupts,
    ) -> Result<Exit, Failure> {
        let found = self.find(&args.run).await?;
        self.refuse_where_driven(&found)?;
        let stored = self.store.load(&found.id).await.map_err(store::failed)?;
        let args = RunArgs {
            agent: args.agent.clone(),
            answer: args.answer.clone(),
            json: args.json,
            result_json: args.result_json,
            ..RunArgs::default()
        };
        let resting = Resting::new(&found.id, &stored, &args)?;
        let runner = resume::runner(&mut self.project, &resting.definition, &args)?;
        let ended = resume::go_on(resting, &runner, &args, &mut self.project, console, interrupts).await?;
        Ok(settle(&ended, &self.project, &self.common, Kept::Stored, console).await)
    }

    async fn retry(
        &mut self,
        run: &str,
        args: &RunArgs,
        console: &mut Console,
        interrupts: &Interrupts,
    ) -> Result<Exit, Failure> {
        let found = self.find(run).await?;
        if !found.status.is_final() {
            let command = keep::command(&format!("runs resume {}", found.id), &self.common);
            return Err(Failure::usage("the run has not ended").help(format!("go on with it: {command}")));
        }
        let stored = self.store.load(&found.id).await.map_err(store::failed)?;
        let definition = stored.definition.definition.clone();
        // Behind that of its place in line, where it had to wait, and of those who took it over there.
        let first = self.store.records(&found.id, 0, 100).await.map_err(store::failed)?;
        let begun = first.into_iter().find_map(|record| match record.kind {
            RecordKind::Accepted { input, thread, deadline_ms, .. } => Some((input, thread, deadline_ms)),
            _ => None,
        });
        let Some((input, thread, deadline_ms)) = begun else {
            return Err(Failure::new(Exit::Failed, format!("{}: it never began", found.id)));
        };
        let format = run::format(args.json, args.result_json);
        let interactive = console.is_interactive() && format == Format::Text;
        let options = RunOptions {
            // The input holds what was said before.
            thread,
            earlier: Earlier::Given,
            timeout: deadline_ms.map(std::time::Duration::from_millis),
            on_waiting: if interactive { OnWaiting::Stay } else { OnWaiting::Return },
            ..RunOptions::default()
        };
        let (handle, structured) = match (&*definition, input) {
            (Definition::Agent(definition), RunInput::Messages(input)) => {
                let chosen = resume::agent_anew(&mut self.project, definition, &args.agent)?;
                let structured = chosen.agent.definition().output.is_some();
                (chosen.agent.start(input, options), structured)
            }
            (Definition::Graph(definition), RunInput::State(state)) => {
                let graph = resume::graph(&mut self.project, definition, &args.agent)?;
                (graph.start(Value::Object((*state).clone()), options), false)
            }
            _ => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{}: its first record does not fit", found.id),
                ));
            }
        };
        let handle = handle.map_err(|error| Failure::building(&error))?;
        let mut show = Show::new(console, format, structured);
        show.is_graph = matches!(&*definition, Definition::Graph(_));
        console.say(&console.stderr_paint().dim(&format!("as {}", handle.id())));
        let watcher = Watcher {
            console,
            show: &mut show,
            interrupts,
            lines: &mut None,
            open: Vec::new(),
            interactive,
            project: &mut self.project,
        };
        let ended = watch(handle, watcher).await?;
        show.end(console, &ended).map_err(Failure::from_stdout)?;
        Ok(settle(&ended, &self.project, &self.common, Kept::Stored, console).await)
    }

    async fn cancel(&mut self, run: &str, console: &mut Console) -> Result<Exit, Failure> {
        let found = self.find(run).await?;
        if found.status.is_final() {
            console.say(&format!("it has ended before: {}", found.status.as_str()));
            return Ok(Exit::Done);
        }
        self.refuse_where_driven(&found)?;
        let stored = self.store.load(&found.id).await.map_err(store::failed)?;
        let definition = &stored.definition.definition;
        let runner = resume::runner(&mut self.project, definition, &RunArgs::default())?;
        let options = RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
        let handle = runner.resume(&found.id, vec![Input::Cancel], options).await?;
        let ended = handle.outcome().await;
        match ended {
            Err(error) if error.result.as_ref().is_some_and(|result| result.status == Status::Cancelled) => {
                console.say("cancelled");
                Ok(Exit::Done)
            }
            Err(error) => Err(Failure::building(&error.error)),
            Ok(result) => Err(Failure::new(Exit::Failed, format!("it is {}", result.status.as_str()))),
        }
    }

    /// In milliseconds since 1970.
    fn now(&self) -> u64 {
        self.project.engine().clock().now()
    }

    /// A living process has the run; only it can be told.
    fn refuse_where_driven(&self, run: &RunSummary) -> Result<(), Failure> {
        match holder(run, self.now()) {
            Some(Holder::There(who, until)) => {
                let text = format!("{} is driven by {who}", run.id);
                let help = format!(
                    "end it there (Ctrl-C cancels the run); if it is gone, the run can be had at {}",
                    Timestamp(until)
                );
                Err(Failure::new(Exit::Failed, text).help(help))
            }
            _ => Ok(()),
        }
    }

    /// The one run that a text means.
    async fn find(&self, text: &str) -> Result<RunSummary, Failure> {
        find(&*self.store, text).await
    }

    async fn export(&self, run: &str, file: Option<&Path>, console: &mut Console) -> Result<Exit, Failure> {
        let found = self.find(run).await?;
        let recording = Recording::of(&*self.store, &found.id).await;
        let recording = recording.map_err(|error| Failure::building(&error))?;
        let Some(file) = file else {
            let text = recording.to_text().map_err(|error| Failure::building(&error))?;
            return super::print(console, text.trim_end());
        };
        recording.write(file).map_err(|error| Failure::building(&error))?;
        console.say(&format!("{} is in {}", found.id, file.display()));
        Ok(Exit::Done)
    }

    async fn fork(
        &mut self,
        args: &ForkArgs,
        console: &mut Console,
        interrupts: &Interrupts,
    ) -> Result<Exit, Failure> {
        let found = self.find(&args.run).await?;
        let recording = Recording::of(&*self.store, &found.id).await;
        let recording = recording.map_err(|error| Failure::building(&error))?;
        let definition = &recording.run().stored.definition.definition;
        let runner = resume::runner(&mut self.project, definition, &RunArgs::default())?;
        let past = replay::until(Replay::of(&recording), &args.at)?;
        let patch = args.message.as_ref().map(|text| Patch::Message(Message::user(text.as_str())));
        let format = run::format(args.json, args.result_json);
        let driven = replay::Live { past, patch, runner, format, before: None };
        let ended = driven.go_on(console, interrupts, &mut self.project).await?;
        Ok(settle(&ended, &self.project, &self.common, Kept::Stored, console).await)
    }
}

/// The one run that a text means.
pub async fn find(store: &dyn AnyStore, text: &str) -> Result<RunSummary, Failure> {
    if text == LAST {
        let mut query = RunQuery { limit: PAGE, ..RunQuery::default() };
        loop {
            let page = store.runs(query.clone()).await.map_err(store::failed)?;
            // The runs of a workflow's steps are part of its own.
            if let Some(newest) = page.runs.into_iter().find(|run| !run.id.contains('/')) {
                return Ok(newest);
            }
            if page.next.is_none() {
                return Err(Failure::usage("the store has no runs yet"));
            }
            query.cursor = page.next;
        }
    }
    let exact = RunQuery { run: Some(text.to_owned()), ..RunQuery::default() };
    if let Some(run) = store.runs(exact).await.map_err(store::failed)?.runs.into_iter().next() {
        return Ok(run);
    }
    let mut query = RunQuery { limit: PAGE, ..RunQuery::default() };
    let mut found: Vec<RunSummary> = Vec::new();
    loop {
        let page = store.runs(query.clone()).await.map_err(store::failed)?;
        found.extend(page.runs.into_iter().filter(|run| means(text, &run.id)));
        if found.len() > 1 || page.next.is_none() {
            break;
        }
        query.cursor = page.next;
    }
    let list = "`ambidex runs list` shows the ids";
    match found.len() {
        0 => Err(Failure::usage(format!("there is no run `{text}`")).help(list)),
        1 => Ok(found.remove(0)),
        _ => Err(Failure::usage(format!("`{text}` may be several runs: {}, {}", found[0].id, found[1].id))
            .help("write more of it, or its end")),
    }
}

/// Ids begin with the time, so runs of one minute differ at their end.
fn means(text: &str, id: &str) -> bool {
    let bare = id.trim_start_matches("run_");
    text.len() >= 4 && (id.starts_with(text) || bare.starts_with(text) || id.ends_with(text))
}

enum Holder {
    There(String, u64),
    /// It has ended, or was not heard of for the time of its lease.
    Gone,
}

/// Who has the run, as its lease says.
fn holder(run: &RunSummary, now: u64) -> Option<Holder> {
    let lease = run.lease.as_ref()?;
    Some(match Owner::parse(&lease.owner) {
        _ if lease.until <= now => Holder::Gone,
        Some(owner) if owner.is_gone() => Holder::Gone,
        Some(owner) => Holder::There(format!("process {} on {}", owner.pid, owner.host), lease.until),
        None => Holder::There(format!("`{}`", lease.owner), lease.until),
    })
}

fn fold(found: &RunSummary, stored: &Stored) -> Result<Run, Failure> {
    let run = Run::load(found.id.as_str(), stored);
    run.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", found.id)))
}

fn line(run: &RunSummary, now: u64) -> Value {
    json!({
        "run": run.id,
        "status": run.status.as_str(),
        "agent": run.agent,
        "thread": run.thread,
        "created_at": Timestamp(run.created),
        "updated_at": Timestamp(run.updated),
        "records": run.records,
        "driven": matches!(holder(run, now), Some(Holder::There(..))),
    })
}

/// A record in a line.
fn step(record: &Record, begun: u64) -> String {
    let what = match &record.kind {
        RecordKind::Accepted { input: RunInput::Messages(input), .. } => {
            format!("accepted, {}", number::counted(input.len() as u64, "message"))
        }
        RecordKind::Accepted { input: RunInput::State(_), .. } => "accepted".into(),
        RecordKind::Queued { .. } => "in line for its thread".into(),
        RecordKind::Claimed => "claimed by another process".into(),
        RecordKind::Intent(intent) => format!("{} begins", intent.id),
        RecordKind::Result { effect, result: Ok(_), .. } => format!("{effect} ended"),
        RecordKind::Result { effect, result: Err(error), .. } => {
            format!("{effect} failed: {}: {}", error.code(), error.message())
        }
        RecordKind::Lost { effect } => format!("{effect} is in doubt"),
        RecordKind::Asked { effect, question, .. } => format!("{effect} asks {}", question.id),
        RecordKind::Closed { question, .. } => format!("{question} is closed"),
        RecordKind::Message(_) => "a message".into(),
        RecordKind::Paused(pause) => format!("paused: {}", word(pause)),
        RecordKind::Resumed(_) => "resumed".into(),
        RecordKind::Patched(_) => "its state was changed".into(),
        RecordKind::Stopping(_) => "stopping".into(),
        RecordKind::Finished(Outcome::Succeeded { .. }) => "succeeded".into(),
        RecordKind::Finished(Outcome::Failed(error)) => {
            format!("failed: {}: {}", error.code(), error.message())
        }
        RecordKind::Finished(Outcome::Cancelled) => "cancelled".into(),
    };
    let after = std::time::Duration::from_millis(record.at.saturating_sub(begun)).as_secs_f64();
    format!("{:5} {after:>10.3} s  {}", record.seq, one_line(&what, 160))
}

fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
