//! `ambidex sessions`: named containers of threads and of state.

use ambidex_core::event::Timestamp;
use ambidex_core::session::Session;
use ambidex_core::thread::ThreadQuery;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::Engine;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::Common;
use crate::console::{Console, one_line};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::store;
use crate::table::table;
use crate::thread_args::{SessionsArgs, SessionsVerb};

use super::threads::open;

pub async fn sessions(
    args: &SessionsArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let common = store::with_db(common, args.db.as_deref());
    let (project, opened) = open(&common, "sessions").await?;
    let ended = tokio::select! {
        ended = carry_out(&args.verb, project.engine(), console) => ended,
        () = stop.cancelled() => Err(Failure::Closed(Exit::Cancelled)),
    };
    store::close(Some(opened)).await;
    ended
}

async fn carry_out(verb: &SessionsVerb, engine: &Engine, console: &mut Console) -> Result<Exit, Failure> {
    let sessions = engine.sessions();
    let failed = |error: Error| match error.kind() {
        ErrorKind::NotFound => {
            Failure::usage(error.message().to_owned()).help("`ambidex sessions list` shows the ids")
        }
        _ => Failure::building(&error),
    };
    match verb {
        SessionsVerb::List { limit, json } => {
            let page = sessions.list(*limit as usize, None).await.map_err(failed)?;
            if *json {
                for session in &page.sessions {
                    super::print(console, &line(session).to_string())?;
                }
            } else if page.sessions.is_empty() {
                console.say("no sessions");
            } else {
                let row = |session: &Session| {
                    let state = one_line(&session.state.to_string(), 40);
                    vec![session.id.clone(), state, Timestamp(session.updated).to_string()]
                };
                let rows: Vec<_> = page.sessions.iter().map(row).collect();
                let text = table(&["session", "state", "last change"], &rows, console.stdout_paint());
                super::print(console, text.trim_end())?;
            }
            if page.next.is_some() {
                console.say("there are more; --limit N shows them");
            }
            Ok(Exit::Done)
        }
        SessionsVerb::Create { id, state, ttl } => {
            let state: Value = serde_json::from_str(state).map_err(|error| {
                Failure::usage(format!("--state is no JSON: {error}"))
                    .help("write it as '{\"key\": \"value\"}'")
            })?;
            let ttl = ttl.map(ambidex_config::Duration::get);
            let made = sessions.create(id.clone(), state, ttl).await.map_err(failed)?;
            super::print(console, &made.id)
        }
        SessionsVerb::Show { session, json } => {
            let session = sessions.load(session).await.map_err(failed)?;
            let query =
                ThreadQuery { session: Some(session.id.clone()), limit: 1000, ..ThreadQuery::default() };
            let threads = engine.threads().list(query).await.map_err(failed)?.threads;
            if *json {
                let mut object = line(&session);
                object["threads"] = threads.iter().map(|thread| thread.id.as_str()).collect();
                return super::print(console, &object.to_string());
            }
            let state = serde_json::to_string_pretty(&session.state).map_err(Failure::internal)?;
            let mut text = format!("{}, version {} of its state:\n{state}\n", session.id, session.version);
            for thread in &threads {
                text.push_str(&format!("{}  {}\n", thread.id, one_line(&thread.title, 60)));
            }
            super::print(console, text.trim_end())
        }
        SessionsVerb::Delete { session } => {
            sessions.delete(session).await.map_err(failed)?;
            console.say(&format!("forgotten: {session}"));
            Ok(Exit::Done)
        }
    }
}

fn line(session: &Session) -> Value {
    json!({
        "session": session.id,
        "state": session.state,
        "version": session.version,
        "metadata": session.metadata,
        "created_at": Timestamp(session.created),
        "updated_at": Timestamp(session.updated),
        "expires_at": session.expires().map(Timestamp),
    })
}
