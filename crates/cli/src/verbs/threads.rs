//! `ambidex threads`: stored conversations, listed, shown, found, forked, kept elsewhere, forgotten.

use std::io::Read as _;
use std::path::Path;

use ambidex_config::Environment;
use ambidex_core::event::Timestamp;
use ambidex_core::thread::{Thread, ThreadMessage, ThreadQuery, searched};
use ambidex_engine::project::Project;
use ambidex_engine::{Engine, RunOptions, ThreadFile, ThreadOptions};
use ambidex_store::OpenStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::{AgentArgs, Common};
use crate::console::{Console, one_line};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::number;
use crate::store;
use crate::table::table;
use crate::thread_args::{OnThreadArgs, ThreadsArgs, ThreadsVerb};

use super::chat::markdown;

/// Threads read at a time where all are looked through.
const PAGE: usize = 1000;
/// The thread that changed last.
const LAST: &str = "@last";

/// The configured store with an engine over it, or why there is none.
pub async fn open(common: &Common, what: &str) -> Result<(Project, OpenStore), Failure> {
    let (loaded, environment) = (project::load(common, false)?, Environment::of_process());
    let Some(opened) = store::open(&loaded, &environment).await? else {
        return Err(without_store(what));
    };
    Ok((Project::stored(loaded, environment, opened.as_any()), opened))
}

fn without_store(what: &str) -> Failure {
    let text = format!("there is no store on disk; {what} would end with this process");
    Failure::usage(text)
        .help("set url = \"sqlite:.ambidex/state.db\" under [store] in ambidex.toml, or name one with --db")
}

pub async fn threads(
    args: &ThreadsArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let common = store::with_db(common, args.db.as_deref());
    let (mut project, opened) = open(&common, "threads").await?;
    let ended = tokio::select! {
        ended = carry_out(&args.verb, &mut project, console, &stop) => ended,
        () = stop.cancelled() => Err(Failure::Closed(Exit::Cancelled)),
    };
    store::close(Some(opened)).await;
    ended
}

async fn carry_out(
    verb: &ThreadsVerb,
    project: &mut Project,
    console: &mut Console,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let engine = project.engine().clone();
    let failed = |error| Failure::building(&error);
    match verb {
        ThreadsVerb::List { session, agent, limit, json } => {
            let query = ThreadQuery {
                session: session.clone(),
                agent: agent.clone(),
                limit: *limit as usize,
                cursor: None,
            };
            let page = engine.threads().list(query).await.map_err(failed)?;
            list(&page.threads, *json, console)?;
            if page.next.is_some() {
                console.say("there are more; --limit N shows them");
            }
            Ok(Exit::Done)
        }
        ThreadsVerb::Search { words, limit, json } => {
            let found = engine.threads().search(&words.join(" "), *limit as usize).await.map_err(failed)?;
            if found.is_empty() {
                console.say("no thread has all these words");
            }
            for found in found {
                let line = match (&found.message, json) {
                    (message, true) => {
                        let number = message.as_ref().map(|message| message.number);
                        json!({"thread": line(&found.thread), "message": number}).to_string()
                    }
                    (None, false) => format!("{}  {}", found.thread.id, found.thread.title),
                    (Some(message), false) => {
                        let text = one_line(searched(&message.message).trim(), 100);
                        format!("{}  {}: {text}", found.thread.id, message.number)
                    }
                };
                super::print(console, &line)?;
            }
            Ok(Exit::Done)
        }
        ThreadsVerb::Show { thread, json } => show(&engine, thread, *json, console).await,
        ThreadsVerb::Rename { thread, title } => {
            let id = find(&engine, thread).await?;
            engine.threads().rename(&id, title.as_str()).await.map_err(failed)?;
            Ok(Exit::Done)
        }
        ThreadsVerb::Fork { thread, messages, id } => {
            let parent = find(&engine, thread).await?;
            let options = ThreadOptions { id: id.clone(), ..ThreadOptions::default() };
            let forked = engine.threads().fork(&parent, *messages, options).await.map_err(failed)?;
            super::print(console, &forked.id)
        }
        ThreadsVerb::Export { thread, out } => {
            let id = find(&engine, thread).await?;
            let text = engine.threads().export(&id).await.and_then(|file| file.to_json()).map_err(failed)?;
            match out {
                None => super::print(console, &text),
                Some(path) => write(path, &text).map(|()| Exit::Done),
            }
        }
        ThreadsVerb::Import { file, id } => {
            let place = file.display().to_string();
            let file = ThreadFile::parse(&read(file)?);
            let file = file.map_err(|error| Failure::usage(error.message().to_owned()).at(&place))?;
            let made = engine.threads().import(file, id.clone()).await.map_err(failed)?;
            super::print(console, &made.id)
        }
        ThreadsVerb::Delete { thread } => {
            let id = find(&engine, thread).await?;
            engine.threads().delete(&id).await.map_err(failed)?;
            console.say(&format!("forgotten: {id}"));
            Ok(Exit::Done)
        }
        ThreadsVerb::Compact { thread, keep, agent } => {
            compact(project, thread, *keep, agent, console, stop).await
        }
    }
}

fn list(threads: &[Thread], json: bool, console: &mut Console) -> Result<(), Failure> {
    if json {
        for thread in threads {
            super::print(console, &line(thread).to_string())?;
        }
        return Ok(());
    }
    if threads.is_empty() {
        console.say("no such threads");
        return Ok(());
    }
    let row = |thread: &Thread| {
        vec![
            thread.id.clone(),
            one_line(&thread.title, 40),
            thread.messages.to_string(),
            thread.agent.clone().unwrap_or_default(),
            Timestamp(thread.updated).to_string(),
        ]
    };
    let rows: Vec<_> = threads.iter().map(row).collect();
    let head = ["thread", "title", "messages", "agent", "last change"];
    super::print(console, table(&head, &rows, console.stdout_paint()).trim_end()).map(drop)
}

fn line(thread: &Thread) -> Value {
    json!({
        "thread": thread.id,
        "title": thread.title,
        "session": thread.session,
        "agent": thread.agent,
        "created_at": Timestamp(thread.created),
        "updated_at": Timestamp(thread.updated),
        "expires_at": thread.expires().map(Timestamp),
        "messages": thread.messages,
        "version": thread.version,
        "parent": thread.parent,
        "summary": thread.summary,
        "metadata": thread.metadata,
        "run": thread.holder,
    })
}

async fn show(engine: &Engine, text: &str, json: bool, console: &mut Console) -> Result<Exit, Failure> {
    let failed = |error| Failure::building(&error);
    let id = find(engine, text).await?;
    let thread = engine.threads().load(&id).await.map_err(failed)?;
    if json {
        super::print(console, &line(&thread).to_string())?;
    }
    let mut next = 0;
    loop {
        let page: Vec<ThreadMessage> = engine.threads().messages(&id, next, PAGE).await.map_err(failed)?;
        let Some(last) = page.last() else { break };
        next = last.number + 1;
        if json {
            for message in &page {
                super::print(console, &serde_json::to_string(message).map_err(Failure::internal)?)?;
            }
        } else {
            let messages: Vec<_> = page.iter().map(|message| message.message.clone()).collect();
            super::print(console, markdown(&messages).trim_end())?;
        }
    }
    if !json {
        let paint = console.stderr_paint();
        let mut told = format!("{id}: {}", number::counted(thread.messages, "message"));
        if let Some(summary) = &thread.summary {
            told.push_str(&format!(", the first {} of them summarised for models", summary.until));
        }
        if let Some(run) = &thread.holder {
            told.push_str(&format!("; run {run} has it"));
        }
        console.say(&paint.dim(&told));
    }
    Ok(Exit::Done)
}

async fn compact(
    project: &mut Project,
    text: &str,
    keep: u64,
    agent: &AgentArgs,
    console: &mut Console,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let engine = project.engine().clone();
    let id = find(&engine, text).await?;
    let chosen = project::choose(project, agent, None)?;
    let before = engine.threads().load(&id).await.map_err(|error| Failure::building(&error))?;
    let after = engine.threads().compact(&id, &chosen.agent, keep, stop.clone()).await;
    let after = after.map_err(|error| Failure::building(&error))?;
    match after.summary.filter(|summary| Some(summary) != before.summary.as_ref()) {
        None => {
            console.say("there is nothing to summarise");
            Ok(Exit::Done)
        }
        Some(summary) => {
            let count = number::counted(summary.until, "message");
            console.say(&format!("models now see a summary in place of the first {count}"));
            super::print(console, summary.text.trim_end())
        }
    }
}

/// The one thread that a text means.
pub async fn find(engine: &Engine, text: &str) -> Result<String, Failure> {
    let list = "`ambidex threads list` shows the ids";
    match look(engine, text, false).await? {
        Some(id) => Ok(id),
        None if text == LAST => Err(Failure::usage("the store has no threads yet")),
        None => Err(Failure::usage(format!("there is no thread `{text}`")).help(list)),
    }
}

/// Looks for it by its id, or a part of that. Of ids that people gave, where `made` is set, no part will do.
async fn look(engine: &Engine, text: &str, made: bool) -> Result<Option<String>, Failure> {
    let threads = engine.threads();
    let failed = |error| Failure::building(&error);
    if text == LAST {
        let page = threads.list(ThreadQuery { limit: 1, ..ThreadQuery::default() }).await.map_err(failed)?;
        return Ok(page.threads.into_iter().next().map(|thread| thread.id));
    }
    match threads.load(text).await {
        Ok(thread) => return Ok(Some(thread.id)),
        Err(error) if error.kind() == ambidex_core::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut query = ThreadQuery { limit: PAGE, ..ThreadQuery::default() };
    let mut found: Vec<String> = Vec::new();
    loop {
        let page = threads.list(query.clone()).await.map_err(failed)?;
        let ids = page.threads.into_iter().map(|thread| thread.id);
        found.extend(ids.filter(|id| means(text, id) && (!made || id.starts_with("thread_"))));
        if found.len() > 1 || page.next.is_none() {
            break;
        }
        query.cursor = page.next;
    }
    match found.len() {
        0 => Ok(None),
        1 => Ok(Some(found.remove(0))),
        _ => Err(Failure::usage(format!("`{text}` may be several threads: {}, {}", found[0], found[1]))
            .help("write more of it, or its end")),
    }
}

/// Ids begin with the time, so threads of one minute differ at their end.
fn means(text: &str, id: &str) -> bool {
    let bare = id.trim_start_matches("thread_");
    text.len() >= 4 && (id.starts_with(text) || bare.starts_with(text) || id.ends_with(text))
}

/// The stored thread that a command goes on with; one that is not there is begun.
pub async fn chosen(
    args: &OnThreadArgs,
    engine: &Engine,
    has_store: bool,
    console: &mut Console,
) -> Result<Option<String>, Failure> {
    let Some(text) = &args.thread else { return Ok(None) };
    if !has_store {
        return Err(without_store("the thread"));
    }
    if text.trim().is_empty() {
        return Err(Failure::usage("--thread: give an id, or @last"));
    }
    if let Some(id) = look(engine, text, true).await? {
        return Ok(Some(id));
    }
    if text == LAST {
        return Err(Failure::usage("the store has no threads yet").help("give the new one an id"));
    }
    let paint = console.stderr_paint();
    console.say(&paint.dim(&format!("a new thread: {text}")));
    Ok(Some(text.clone()))
}

/// A run's options with its thread.
pub fn on(args: &OnThreadArgs, thread: Option<String>, options: RunOptions) -> RunOptions {
    RunOptions { thread, on_busy: args.on_busy, ..options }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, format!("{text}\n")).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
            .help("give another path")
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}
