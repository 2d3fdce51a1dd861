//! One target after another.

use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, RouteNote, SwitchReason};
use ambidex_core::message::ProviderState;
use ambidex_core::model::StructuredOutput;
use ambidex_core::{Chunk, Context, Error, ErrorKind, Model, Request};
use ambidex_models::route::{Fallback, another_target_may_help};
use ambidex_models::{AfterFirstToken, Retry, RetryBudget, RetryPolicy, collect};
use futures_util::StreamExt;
use std::sync::Arc;
use tokio::time::{Instant, advance};

use super::support::*;

fn limited(seconds: u64) -> Step {
    Step::Fail(
        Error::new(ErrorKind::RateLimited, "told")
            .with_status(429)
            .with_retry_after(Some(Duration::from_secs(seconds))),
    )
}

#[tokio::test(start_paused = true)]
async fn the_next_target_is_asked_exactly_where_it_may_help() {
    for (kind, _, _) in ErrorKind::ALL {
        let a = Told::new("a", [vec![fail(*kind)]]).context(10).arc();
        let b = Told::new("b", [good("fine")]).context(20).arc();
        let route = Fallback::new("r", models([&a, &b]));
        let started = Instant::now();
        let result = ask(&route).await;
        let helps = another_target_may_help(&Error::new(*kind, "told"));
        assert_eq!((a.calls(), b.calls()), (1, u32::from(helps)), "{kind}");
        assert_eq!(result.is_ok(), helps, "{kind}");
        if let Err(error) = result {
            assert_eq!((error.kind(), error.message()), (*kind, "told"));
        }
        assert_eq!(started.elapsed(), Duration::ZERO, "nothing waits between two targets");
    }
    // The caller's mistake is refused everywhere; what one provider finds too large another may take.
    for (status, helps) in [(400, false), (422, false), (413, true)] {
        let error = Error::new(ErrorKind::InvalidRequest, "told").with_status(status);
        assert_eq!(another_target_may_help(&error), helps, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_and_switch_is_named_with_its_time_and_cost() {
    let a = Told::new("a", [vec![Step::Wait(300), used(7), fail(ErrorKind::StreamTruncated)]]).arc();
    let b = Told::new("b", [slow(200, "fine")]).arc();
    let items = items(&Fallback::new("r", models([&a, &b]))).await;
    assert_eq!(attempts(&items), ["a failed", "b answered"]);
    let notes = notes(&items);
    let RouteNote::Attempt(first) = &notes[0] else { panic!("{notes:?}") };
    assert_eq!((&*first.route, &*first.target, first.attempt), ("r", "a", 1));
    assert_eq!((first.usage.output_tokens, first.first_token), (7, None));
    assert!(matches!(&first.end, AttemptEnd::Failed(error) if error.kind() == ErrorKind::StreamTruncated));
    assert!(first.took >= Duration::from_millis(300) && first.took < Duration::from_millis(350));
    let RouteNote::Switched(switch) = &notes[1] else { panic!("{notes:?}") };
    assert_eq!((&*switch.from, &*switch.target), ("a", "b"));
    assert!(matches!(&switch.reason, SwitchReason::Failed(_)));
    let RouteNote::Attempt(second) = &notes[2] else { panic!("{notes:?}") };
    assert_eq!((second.attempt, second.usage.output_tokens), (2, 2));
    assert!(second.first_token.is_some_and(|time| time >= Duration::from_millis(200)));
    assert_eq!(last_usage(&items).output_tokens, 9, "a failed attempt was paid for too");
    assert!(matches!(items.last(), Some(Ok(Chunk::End(_)))), "the end is last");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_did_not_count_is_estimated_and_said_to_be() {
    let text = "x".repeat(400);
    let a = Told::new("a", [vec![say(&text), fail(ErrorKind::StreamTruncated)]]).price(10.0).arc();
    let b = Told::new("b", [good("fine")]).arc();
    let items = items(&Fallback::new("r", models([&a, &b]))).await;
    let RouteNote::Attempt(first) = &notes(&items)[0] else { panic!() };
    assert_eq!((first.usage.output_tokens, first.usage.input_tokens, first.usage.estimated), (100, 1, true));
    assert!((first.usage.usd.unwrap() - 0.001).abs() < 1e-9);
    let total = last_usage(&items);
    assert!(total.estimated && total.output_tokens == 102 && total.usd.is_some(), "{total:?}");
    // A request that was refused was read by no model, and one that was never polled was not sent.
    for error in [fail(ErrorKind::ConnectFailed), limited(1)] {
        let a = Told::new("a", [vec![error]]).price(10.0).arc();
        let items = super::support::items(&Fallback::new("r", models([&a, &b]))).await;
        assert_eq!((last_usage(&items).output_tokens, last_usage(&items).estimated), (2, false));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_first_token_the_next_target_begins_again_or_the_call_says_what_was_shown() {
    let a = || Told::new("a", [vec![say("hälf"), used(5), fail(ErrorKind::StreamTruncated)]]).arc();
    let b = Told::new("b", [good("whole")]).arc();
    let items = items(&Fallback::new("r", models([&a(), &b]))).await;
    let place =
        |wanted: fn(&Chunk) -> bool| items.iter().position(|it| it.as_ref().is_ok_and(wanted)).unwrap();
    let void = place(|chunk| matches!(chunk, Chunk::Note(RouteNote::Restarted { .. })));
    assert!(place(|chunk| matches!(chunk, Chunk::Text { text, .. } if text == "hälf")) < void);
    assert!(place(|chunk| matches!(chunk, Chunk::Text { text, .. } if text == "whole")) > void);
    let reply = ask(&Fallback::new("r", models([&a(), &b]))).await.unwrap();
    assert_eq!((reply.text().as_str(), reply.usage.output_tokens), ("whole", 7));

    let route = Fallback::new("r", models([&a(), &b])).after_first_token(AfterFirstToken::Fail);
    let error = ask(&route).await.unwrap_err();
    assert_eq!((error.kind(), error.shown()), (ErrorKind::StreamTruncated, Some(4)));
    assert!(
        error.message().contains("4 characters") && error.message().contains("after_first_token"),
        "{error}"
    );
    assert_eq!(b.calls(), 2);
    // Nothing was shown: it switches silently, also with `fail`.
    let a = Told::new("a", [vec![used(1), fail(ErrorKind::StreamTruncated)]]).arc();
    let route = Fallback::new("r", models([&a, &b])).after_first_token(AfterFirstToken::Fail);
    assert_eq!(ask(&route).await.unwrap().text(), "whole");
}

#[tokio::test(start_paused = true)]
async fn what_was_voided_further_in_no_longer_counts_as_shown() {
    let half = vec![say("half"), fail(ErrorKind::StreamTruncated)];
    let a = Told::new("a", [half, vec![fail(ErrorKind::Unauthorized)]]).arc();
    let b = Told::new("b", [good("whole")]).arc();
    let retry = Retry::new(a, RetryPolicy::default(), Arc::new(RetryBudget::default()));
    let route = Fallback::new("r", [Arc::new(retry) as _, b as _]).after_first_token(AfterFirstToken::Fail);
    let items = items(&route).await;
    let restarts = notes(&items).iter().filter(|it| matches!(it, RouteNote::Restarted { .. })).count();
    assert_eq!((restarts, items.last()), (1, Some(&Ok(Chunk::End(ambidex_core::Finish::Stop)))));
}

/// What a watcher cannot see may stand in the reply all the same.
#[tokio::test(start_paused = true)]
async fn provider_state_of_a_failed_attempt_does_not_stay_in_the_reply() {
    let state =
        || Step::Say(Chunk::State { part: 0, state: ProviderState { format: "f".into(), json: "1".into() } });
    let a = Told::new("a", [vec![state(), fail(ErrorKind::StreamTruncated)], good("whole")]).arc();
    let b = Told::new("b", [good("whole")]).arc();
    let reply = ask(&Fallback::new("r", models([&a, &b]))).await.unwrap();
    assert_eq!(reply.message.parts.len(), 1);
    let a = Told::new("a", [vec![state(), fail(ErrorKind::StreamTruncated)], good("whole")]).arc();
    let retry = Retry::new(a, RetryPolicy::default(), Arc::new(RetryBudget::default()));
    assert_eq!(ask(&retry).await.unwrap().message.parts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_goes_to_a_target_with_a_larger_known_context() {
    let long = || vec![fail(ErrorKind::ContextTooLong)];
    let a = Told::new("a", [long()]).context(8_000).arc();
    let small = Told::new("small", [good("no")]).context(4_000).arc();
    let same = Told::new("same", [good("no")]).context(8_000).arc();
    let unknown = Told::new("unknown", [good("no")]).arc();
    let large = Told::new("large", [vec![fail(ErrorKind::Overloaded)]]).context(32_000).arc();
    let larger = Told::new("larger", [good("yes")]).context(128_000).arc();
    let route = Fallback::new("r", models([&a, &small, &same, &unknown, &large, &larger]));
    assert_eq!(ask(&route).await.unwrap().text(), "yes");
    let calls = [&a, &small, &same, &unknown, &large, &larger].map(|told| told.calls());
    assert_eq!(calls, [1, 0, 0, 0, 1, 1]);
    assert_eq!(route.info().context, Some(128_000));
    let error = ask(&Fallback::new("r", models([&a, &small]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextTooLong);
}

#[tokio::test(start_paused = true)]
async fn a_target_is_left_alone_until_the_time_it_asked_for_is_over() {
    let a = Told::new("a", [vec![limited(20)], good("a")]).arc();
    let b = Told::new("b", [good("b")]).arc();
    let route = Fallback::new("r", models([&a, &b]));
    for _ in 0..10 {
        assert_eq!(ask(&route).await.unwrap().text(), "b");
        advance(Duration::from_millis(1_990)).await;
    }
    assert_eq!((a.calls(), b.calls()), (1, 10));
    assert_eq!(attempts(&items(&route).await), ["a skipped", "b answered"]);
    advance(Duration::from_millis(110)).await;
    assert_eq!(ask(&route).await.unwrap().text(), "a");
    // Nobody is left alone for a day.
    let a = Told::new("a", [vec![limited(86_400)], good("a")]).arc();
    let route = Fallback::new("r", models([&a, &b]));
    ask(&route).await.unwrap();
    advance(Duration::from_secs(301)).await;
    assert_eq!(ask(&route).await.unwrap().text(), "a");
}

#[tokio::test(start_paused = true)]
async fn when_all_failed_the_error_names_all_and_knows_when_one_is_free() {
    let a = Told::new("a", [vec![limited(30)]]).arc();
    let b = Told::new("b", [vec![limited(10)]]).arc();
    let error = ask(&Fallback::new("r", models([&a, &b]))).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::RateLimited, Some(429)));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
    assert!(
        error.is_retryable() && error.message().contains("`a`") && error.message().contains("`b`"),
        "{error}"
    );
    let c = Told::new("c", [vec![fail(ErrorKind::Unauthorized)]]).arc();
    let d = Told::new("d", [vec![fail(ErrorKind::Overloaded)]]).arc();
    for route in [models([&c, &d]), models([&d, &c])] {
        let error = ask(&Fallback::new("r", route)).await.unwrap_err();
        assert!(error.is_retryable() && error.retry_after().is_none(), "{error}");
    }
    assert!(!ask(&Fallback::new("r", models([&c, &c]))).await.unwrap_err().is_retryable());
    let error = ask(&Fallback::new("r", models([]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
}

/// There is one retry layer: the outermost. Rounds of a route are retries; switching is none.
#[tokio::test(start_paused = true)]
async fn retries_do_not_multiply_and_switching_draws_on_no_budget() {
    let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
    let a = Told::new("a", [vec![fail(ErrorKind::Overloaded)]]).arc();
    let b = Told::new("b", [vec![fail(ErrorKind::Overloaded)]]).arc();
    let own = |told: &Arc<Told>| {
        Arc::new(Retry::new(told.clone(), policy, Arc::new(RetryBudget::default()))) as Arc<dyn Model>
    };
    let inner = Fallback::new("inner", [own(&a), own(&b)]);
    let budget = Arc::new(RetryBudget::new(0.0, 2));
    let twice = Retry::new(Arc::new(inner.clone()), policy, Arc::new(RetryBudget::default()));
    let route = Retry::new(Arc::new(Fallback::new("outer", [Arc::new(twice) as _])), policy, budget.clone());
    let error = ask(&route).await.unwrap_err();
    assert_eq!((a.calls(), b.calls()), (3, 3), "{error}");
    assert!(error.message().contains("gave up, attempt 3"), "{error}");
    assert!(!budget.spend(), "two more rounds were two retries");
    // Without a retry around the route, each target has its own.
    assert!(ask(&inner).await.is_err());
    assert_eq!((a.calls(), b.calls()), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_or_one_without_time_asks_nobody_else() {
    let a = Told::new("a", [vec![Step::Wait(100), fail(ErrorKind::Overloaded)]]).arc();
    let b = Told::new("b", [good("b")]).arc();
    let route = Fallback::new("r", models([&a, &b]));
    let context = Context::detached();
    let call = collect(route.stream(Request::user("Hi"), context.clone()));
    let (result, ()) = tokio::join!(call, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        context.token().cancel();
    });
    assert!(result.is_err() && b.calls() == 0);
    let context = Context::detached().with_time_left(Duration::from_millis(80));
    assert!(collect(route.stream(Request::user("Hi"), context)).await.is_err());
    assert_eq!(b.calls(), 0);
    // The next target gets the time that is left.
    let context = Context::detached().with_time_left(Duration::from_millis(500));
    collect(route.stream(Request::user("Hi"), context)).await.unwrap();
    let left = b.contexts.lock().unwrap()[0].time_left().unwrap();
    assert!(left <= Duration::from_millis(400) && left > Duration::from_millis(350), "{left:?}");
    // Nothing is asked before the first poll, and nobody after a cancel.
    drop(route.stream(Request::user("Hi"), Context::detached()));
    let context = Context::detached();
    context.token().cancel();
    let calls = a.calls();
    let items: Items = route.stream(Request::user("Hi"), context).collect().await;
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].clone().unwrap_err().kind(), a.calls()), (ErrorKind::Cancelled, calls));
}

#[tokio::test(start_paused = true)]
async fn a_route_can_what_one_of_its_targets_can() {
    let mut a = Told::new("a", [vec![fail(ErrorKind::Unsupported)]]).context(10);
    a.info.structured_output = StructuredOutput::NativeWithoutTools;
    (a.info.capabilities.vision, a.info.capabilities.tools) = (Some(false), Some(false));
    let mut b = Told::new("b", [good("b")]).context(30);
    (b.info.capabilities.vision, b.info.capabilities.tools) = (Some(true), Some(false));
    let route = Fallback::new("r", models([&a.arc(), &b.arc()]));
    let info = route.info();
    assert_eq!((info.name.as_str(), info.provider.as_str()), ("r", "route"));
    assert_eq!((info.structured_output, info.context), (StructuredOutput::NativeWithoutTools, Some(30)));
    let can = info.capabilities;
    assert_eq!((can.vision, can.tools, can.parallel_tool_calls), (Some(true), Some(false), None));
    assert_eq!(ask(&route).await.unwrap().text(), "b");
}
