//! All at once.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::chunk::RouteNote;
use ambidex_core::model::OutputSchema;
use ambidex_core::{Chunk, Context, ErrorKind, Finish, Model, Request, ToolSpec};
use ambidex_models::collect;
use ambidex_models::route::{Fallback, Race, Winner};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use super::support::*;

#[tokio::test(start_paused = true)]
async fn the_first_token_wins_and_the_others_are_hung_up_on_at_that_moment() {
    let a = Told::new("a", [slow(300, "a")]).arc();
    let b =
        Told::new("b", [vec![Step::Wait(100), say("b"), Step::Wait(900), say("!"), used(2), end()]]).arc();
    let c = Told::new("c", [vec![used(3), Step::Hang]]).arc();
    let race = Race::new("r", Winner::FirstToken, models([&a, &b, &c]));
    let mut stream = race.stream(Request::user("Hello, you three"), Context::detached());
    let mut seen = Vec::new();
    while let Some(item) = stream.next().await {
        seen.push(item);
        if seen.iter().flatten().any(Chunk::is_content) {
            break;
        }
    }
    assert_eq!((a.live(), b.live(), c.live()), (0, 1, 0), "losers are gone with the first token");
    for loser in [&a, &c] {
        assert!(
            loser.contexts.lock().unwrap()[0].is_cancelled(),
            "and what only listens to its token is told"
        );
        assert_eq!(loser.permits.available_permits(), PERMITS);
    }
    assert!(!b.contexts.lock().unwrap()[0].is_cancelled());
    seen.extend(stream.by_ref().collect::<Items>().await);
    drop(stream);
    assert!(!b.contexts.lock().unwrap()[0].is_cancelled(), "a whole reply was not cancelled");
    assert_eq!(attempts(&seen), ["a lost", "c lost", "b answered"]);
    let race = notes(&seen).into_iter().find_map(|note| match note {
        RouteNote::Race(race) => Some(race),
        _ => None,
    });
    let race = race.unwrap();
    assert_eq!((&*race.winner, race.reason), ("b", "first token"));
    assert_eq!(race.losers.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);
    // a: 4 tokens of input are estimated; c said 3; b said 2.
    let usage = last_usage(&seen);
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (4, 5, true));
    let text: String = seen
        .iter()
        .filter_map(|item| match item {
            Ok(Chunk::Text { text, .. }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "b!");
}

#[tokio::test(start_paused = true)]
async fn first_complete_shows_nothing_before_the_first_whole_reply() {
    let quick = vec![say("quick"), Step::Wait(500), used(1), end()];
    let a = Told::new("a", [quick]).arc();
    let b = Told::new("b", [slow(200, "whole")]).arc();
    let race = Race::new("r", Winner::FirstComplete, models([&a, &b]));
    let started = Instant::now();
    let items = items(&race).await;
    assert!(started.elapsed() < Duration::from_millis(250));
    let texts: Vec<_> = items.iter().filter(|item| item.as_ref().is_ok_and(Chunk::is_content)).collect();
    assert_eq!(texts.len(), 1);
    assert_eq!(ask(&race).await.unwrap().text(), "whole");
    // The loser's five bytes were two tokens.
    assert_eq!(last_usage(&items).output_tokens, 4);
    assert_eq!((a.live(), b.live()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_inside_a_buffered_target_voids_what_is_held_and_is_not_shown() {
    let cut = Told::new("cut", [vec![say("half"), fail(ErrorKind::StreamTruncated)]]).arc();
    let whole = Told::new("whole", [slow(10, "whole")]).arc();
    let inner = Fallback::new("inner", models([&cut, &whole]));
    let never = Told::new("never", [vec![Step::Hang]]).arc();
    let race = Race::new("r", Winner::FirstComplete, [Arc::new(inner) as _, never.clone() as _]);
    let items = items(&race).await;
    assert!(!notes(&items).iter().any(|note| matches!(note, RouteNote::Restarted { .. })));
    assert_eq!(ask(&race).await.unwrap().text(), "whole");
    assert_eq!(attempts(&items), ["cut failed", "whole answered", "never lost", "inner answered"]);
}

fn call(name: &str, arguments: &str) -> Vec<Step> {
    vec![
        Step::Say(Chunk::ToolCall { part: 0, id: "1".into(), name: name.into() }),
        Step::Say(Chunk::Arguments { part: 0, text: arguments.into() }),
        Step::Say(Chunk::End(Finish::ToolCalls)),
    ]
}

#[tokio::test(start_paused = true)]
async fn first_valid_takes_only_what_can_be_used() {
    let mut read = ToolSpec::new("read", "Reads.");
    read.input = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let request = Request {
        tools: Arc::from([Arc::new(read)]),
        output: Some(Arc::new(OutputSchema { name: "n".into(), schema })),
        ..Request::user("n?")
    };
    let cut = vec![say("{\"n\": 1}"), Step::Say(Chunk::End(Finish::Length))];
    let refused = vec![
        Step::Say(Chunk::Refusal { part: 0, text: "no".into() }),
        Step::Say(Chunk::End(Finish::Refusal)),
    ];
    let unusable = [
        (good("n is 1"), "output_invalid"),
        (good("{\"n\": \"1\"}"), "output_invalid"),
        (vec![end()], "empty_reply"),
        (cut, "reply_truncated"),
        (refused, "refused"),
        (call("read", "{\"path\": "), "invalid_arguments"),
        (call("read", "{\"path\": 1}"), "invalid_arguments"),
        (call("write", "{}"), "unknown_tool"),
        (vec![say("{\"n\": 1}")], "stream_truncated"),
    ];
    for good_one in [slow(100, "```json\n{\"n\": 1}\n```"), call("read", "{\"path\": \"a\"}")] {
        for (bad, code) in &unusable {
            let bad = Told::new("bad", [bad.clone()]).arc();
            let fine = Told::new("fine", [[vec![Step::Wait(100)], good_one.clone()].concat()]).arc();
            let race = Race::new("r", Winner::FirstValid, models([&bad, &fine]));
            let items: Items = race.stream(request.clone(), Context::detached()).collect().await;
            assert_eq!(attempts(&items), ["bad failed", "fine answered"], "{code}");
            let race = Race::new("r", Winner::FirstValid, models([&bad]));
            let error = collect(race.stream(request.clone(), Context::detached())).await.unwrap_err();
            assert_eq!(error.code(), *code);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_race_goes_on_without_those_that_fail() {
    let a = Told::new("a", [vec![fail(ErrorKind::InvalidRequest)]]).arc();
    let b = Told::new("b", [vec![Step::Wait(50), fail(ErrorKind::Overloaded)]]).arc();
    let c = Told::new("c", [slow(100, "c")]).arc();
    let race = Race::new("r", Winner::FirstToken, models([&a, &b, &c]));
    let seen = items(&race).await;
    assert_eq!(attempts(&seen), ["a failed", "b failed", "c answered"]);
    let error = ask(&Race::new("r", Winner::FirstToken, models([&a, &b]))).await.unwrap_err();
    assert!(error.message().contains("`a`") && error.message().contains("`b`"), "{error}");
    // The winner was the only one left: its failure is the race's.
    let d = Told::new("d", [vec![say("half"), fail(ErrorKind::StreamTruncated)]]).arc();
    let error = ask(&Race::new("r", Winner::FirstToken, models([&d, &c]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamTruncated);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_race_hangs_up_on_all() {
    let told = ["a", "b", "c"].map(|name| Told::new(name, [vec![Step::Hang]]).arc());
    let [a, b, c] = &told;
    let race = Race::new("r", Winner::FirstToken, models([a, b, c]));
    let mut stream = race.stream(Request::user("Hi"), Context::detached());
    assert!(tokio::time::timeout(Duration::from_secs(1), stream.next()).await.is_err());
    assert!(told.iter().all(|told| told.live() == 1));
    drop(stream);
    for told in &told {
        assert_eq!((told.live(), told.permits.available_permits()), (0, PERMITS));
        assert!(told.contexts.lock().unwrap()[0].is_cancelled());
    }
}
