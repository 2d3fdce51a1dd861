//! Limits of time for models that keep none themselves, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::{Context, Error, ErrorKind, Model, Request};
use ambidex_models::scripted::{Fault, ScriptedModel, Turn};
use ambidex_models::{Timed, Timeouts, collect};
use tokio::time::Instant;

const LIMITS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    first_token: Some(Duration::from_secs(2)),
    idle: Duration::from_secs(3),
    total: Duration::from_secs(10),
};

/// How it ended, and after how many seconds.
async fn ask(turn: Turn) -> (Result<String, Error>, u64) {
    let began = Instant::now();
    let model = Timed::new(Arc::new(ScriptedModel::new([turn])), LIMITS);
    let reply = collect(model.stream(Request::user("go"), Context::detached())).await;
    (reply.map(|reply| reply.text()), began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_slower_than_its_limits_is_given_up() {
    let (late, seconds) = ask(Turn::text("a").delay(Duration::from_secs(60))).await;
    assert_eq!((late.unwrap_err().kind(), seconds), (ErrorKind::Timeout, 2));

    let silent = Turn::text("one two three").chunk(4).fault(Fault::idle().after(2).always());
    let (silent, seconds) = ask(silent).await;
    assert_eq!((silent.unwrap_err().kind(), seconds), (ErrorKind::IdleTimeout, 3));

    let long = Turn::text("x".repeat(20)).chunk(1).pace(Duration::from_millis(1900));
    let (long, seconds) = ask(long).await;
    assert_eq!((long.unwrap_err().kind(), seconds), (ErrorKind::Timeout, 10));

    let (well, _) = ask(Turn::text("abcde").chunk(1).pace(Duration::from_millis(1900))).await;
    assert_eq!(well.unwrap(), "abcde");
}
