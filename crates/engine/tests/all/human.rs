//! A person in a model's place.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::event::{Event, EventKind, Status};
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Why};
use ambidex_core::record::RecordKind;
use ambidex_core::relay::{RelayCall, RelayReply};
use ambidex_core::store::Store;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Chunk, Context, ErrorKind, Model, Request, ToolOutput};
use ambidex_engine::{Agent, Engine, OnWaiting, RunFile, RunHandle, RunOptions};
use ambidex_models::route::{Fallback, Hedge, Race, Stagger, Winner};
use ambidex_models::scripted::ScriptedModel;
use ambidex_models::{Retry, RetryPolicy};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt;
use serde_json::json;

use crate::process::{FileStore, again, child_folder, lives};
use crate::support::ms;

const HOUR: Duration = Duration::from_secs(3600);

struct Desk {
    store: Arc<MemoryStore>,
    engine: Engine,
}

impl Desk {
    fn new() -> Self {
        Self::on(MemoryStore::new())
    }

    fn on(store: MemoryStore) -> Self {
        let store = Arc::new(store);
        Self { engine: Engine::builder().store(store.clone()).build(), store }
    }

    fn person(&self) -> Arc<dyn Model> {
        Arc::new(self.engine.human("desk").queue("editors"))
    }

    fn agent(&self, model: Arc<dyn Model>) -> Agent {
        Agent::builder().engine(&self.engine).shared_model(model).tool(add()).build().unwrap()
    }

    /// Waits until a person is asked.
    async fn asked(&self) -> Question {
        loop {
            if let Some(question) = self.store.open(None).await.unwrap().into_iter().next() {
                return question;
            }
            ms(1).await;
        }
    }
}

fn add() -> FunctionTool {
    let input = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": false
    });
    let spec = ToolSpec { input, ..ToolSpec::new("add", "Adds two numbers.") };
    FunctionTool::dynamic(spec, |arguments, _: Context| async move {
        let sum = arguments["a"].as_i64().unwrap() + arguments["b"].as_i64().unwrap();
        Ok(ToolOutput::Text(sum.to_string()))
    })
    .effect(EffectClass::Read)
}

fn says(text: &str) -> Answer {
    Answer::Reply(RelayReply { text: text.into(), ..RelayReply::default() })
}

fn calls(name: &str, arguments: serde_json::Value) -> Answer {
    let call = RelayCall { name: name.into(), arguments };
    Answer::Reply(RelayReply { tool_calls: vec![call], ..RelayReply::default() })
}

fn options(on_waiting: OnWaiting) -> RunOptions {
    RunOptions { id: Some("run".into()), on_waiting, ..RunOptions::default() }
}

async fn all(handle: &mut RunHandle) -> Vec<Event> {
    let mut events = handle.take_events();
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

fn has(events: &[Event], found: impl Fn(&EventKind) -> bool) -> bool {
    events.iter().any(|event| found(&event.kind))
}

#[tokio::test(start_paused = true)]
async fn a_person_answers_and_his_time_is_not_the_runs() {
    let desk = Desk::new();
    let agent = desk.agent(desk.person());
    let mut handle = agent.start("What now?", options(OnWaiting::Stay)).unwrap();
    let question = desk.asked().await;
    let relay = question.relay.as_deref().unwrap();
    assert_eq!((question.why, relay.queue.as_str(), relay.model.as_str()), (Why::Reply, "editors", "desk"));
    assert_eq!(relay.messages.last().unwrap().text(), "What now?");
    assert_eq!(
        (relay.tools[0].name.as_str(), &relay.tools[0].input["required"]),
        ("add", &json!(["a", "b"]))
    );
    // Far beyond the run's own limit of an hour.
    ms(20 * 3_600_000).await;
    handle.answer(&question.id, says("Go home.")).await.unwrap();
    let events = all(&mut handle).await;
    let result = handle.outcome().await.unwrap();
    assert_eq!((result.text.as_str(), result.task_completed), ("Go home.", true));
    assert!(result.execution_time < 60.0, "{} s", result.execution_time);
    let usage = result.usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.usd, usage.estimated),
        (0, 0, Some(0.0), false)
    );
    let asked = EventKind::RelayAsked { id: question.id.clone(), queue: "editors".into() };
    let answered = EventKind::RelayAnswered { id: question.id.clone(), decision: "reply".into() };
    assert!(has(&events, |kind| *kind == asked) && has(&events, |kind| *kind == answered));
    assert!(has(&events, |kind| *kind == EventKind::RunStatus { status: Status::Waiting }));
    assert!(desk.store.open(None).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_question_outlives_its_process_and_the_answer_is_found() {
    let desk = Desk::new();
    let handle = desk.agent(desk.person()).start("go", options(OnWaiting::Return)).unwrap();
    let waiting = handle.outcome().await.unwrap();
    assert_eq!((waiting.status, waiting.questions.len()), (Status::Waiting, 1));
    let text = RunFile::new("run", desk.store.load("run").await.unwrap()).to_text().unwrap();

    // Elsewhere, from the file alone: answered while no process runs.
    for answered in [true, false] {
        let other = Desk::new();
        RunFile::parse(&text).unwrap().restore(&other.store).unwrap();
        assert_eq!(other.store.open(Some("run")).await.unwrap(), waiting.questions);
        if answered {
            other.engine.answer(&waiting.questions[0].id, says("done")).await.unwrap();
        }
        let agent = other.agent(other.person());
        let handle = agent.resume("run", vec![], options(OnWaiting::Return)).await.unwrap();
        let result = handle.outcome().await.unwrap();
        match answered {
            true => assert_eq!((result.status, result.text.as_str()), (Status::Succeeded, "done")),
            // Asked again is asked once, and the time it has is what it was.
            false => assert_eq!((result.status, &result.questions), (Status::Waiting, &waiting.questions)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_checked_when_it_is_given() {
    let desk = Desk::new();
    let agent = desk.agent(desk.person());
    let handle = agent.start("add 2 and 3", options(OnWaiting::Stay)).unwrap();
    let first = desk.asked().await;
    let fits = json!({"a": 2, "b": 3});
    for (answer, why) in [
        (calls("sub", fits.clone()), "there is no tool `sub`; tools: add"),
        (calls("add", json!({"a": 2})), "\"b\" is a required property"),
        (calls("add", json!({"a": "two", "b": 3})), "\"two\" is not of type \"integer\""),
        (calls("add", json!([2, 3])), "not a JSON object"),
        (says("  "), "the reply is empty"),
        (Answer::Approve, "wants a model's reply"),
        (Answer::Edit { args: json!({}) }, "wants a model's reply"),
        (Answer::Reply(RelayReply { output: Some(json!(1)), ..RelayReply::default() }), "no output"),
    ] {
        let refused = handle.answer(&first.id, answer.clone()).await;
        assert!(
            matches!(&refused, Err(AnswerError::Invalid(said)) if said.contains(why)),
            "{answer:?}: {refused:?}"
        );
        assert_eq!(desk.store.open(None).await.unwrap(), std::slice::from_ref(&first), "it stays open");
    }
    handle.answer(&first.id, calls("add", fits)).await.unwrap();
    let second = loop {
        match desk.asked().await {
            question if question.id != first.id => break question,
            _ => ms(1).await,
        }
    };
    assert_eq!(handle.answer(&first.id, says("twice")).await, Err(AnswerError::AlreadyAnswered));
    handle.answer(&second.id, says("It is 5.")).await.unwrap();
    let result = handle.outcome().await.unwrap();
    assert_eq!((result.text.as_str(), result.iterations_used), ("It is 5.", 2));
    let heard = crate::support::heard(&result.messages).join("\n");
    assert!(heard.contains("relay_m0_1: 5"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn an_output_is_checked_against_its_schema() {
    let desk = Desk::new();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let agent =
        Agent::builder().engine(&desk.engine).shared_model(desk.person()).output_schema("out", schema);
    let agent = agent.build().unwrap();
    let handle = agent.start("a number", options(OnWaiting::Stay)).unwrap();
    let question = desk.asked().await;
    let gives = |output| Answer::Reply(RelayReply { output: Some(output), ..RelayReply::default() });
    for answer in [gives(json!({"n": "one"})), gives(json!(1)), says("one"), says("{}")] {
        let refused = handle.answer(&question.id, answer.clone()).await;
        let fits =
            matches!(&refused, Err(AnswerError::Invalid(why)) if why.contains("the output does not fit"));
        assert!(fits, "{answer:?}: {refused:?}");
    }
    handle.answer(&question.id, gives(json!({"n": 1}))).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().output, Some(json!({"n": 1})));
}

#[tokio::test(start_paused = true)]
async fn a_route_goes_on_when_nobody_answers_in_time() {
    let desk = Desk::new();
    let next = Arc::new(ScriptedModel::new(["I took over."]).named("next"));
    let route = Fallback::new("smart", [desk.person(), next as _]);
    // The limits of the route and of the run are shorter than a person's time, and do not count it.
    let policy = RetryPolicy { total: Duration::from_secs(600), ..RetryPolicy::default() };
    let agent = desk.agent(Arc::new(Retry::new(Arc::new(route), policy, Arc::default())));
    let mut handle = agent.start("go", options(OnWaiting::Stay)).unwrap();
    let question = desk.asked().await;
    let begun = tokio::time::Instant::now();
    let events = all(&mut handle).await;
    assert!(begun.elapsed() > 23 * HOUR && begun.elapsed() < 25 * HOUR, "{:?}", begun.elapsed());
    let result = handle.outcome().await.unwrap();
    assert_eq!(result.text, "I took over.");
    assert!(result.execution_time < 60.0, "{} s", result.execution_time);
    // Only the model's own tokens, as it counts them itself.
    let free = |kind: &EventKind| {
        matches!(kind, EventKind::RouteAttempt { target, usage, .. }
            if &**target == "desk" && (usage.input_tokens, usage.output_tokens, usage.estimated) == (0, 0, false))
    };
    assert!(has(&events, free));
    let expired = EventKind::RelayAnswered { id: question.id.clone(), decision: "expired".into() };
    assert!(has(&events, |kind| *kind == expired));
    let late = desk.engine.answer(&question.id, says("late")).await;
    assert_eq!(late, Err(AnswerError::Withdrawn));
}

#[tokio::test(start_paused = true)]
async fn alone_it_fails_with_timeout_also_where_the_time_ran_out_between_processes() {
    let desk = Desk::new();
    let short = || Arc::new(desk.engine.human("desk").timeout(HOUR)) as Arc<dyn Model>;
    let handle = desk.agent(short()).start("go", options(OnWaiting::Return)).unwrap();
    assert_eq!(handle.outcome().await.unwrap().status, Status::Waiting);
    tokio::time::sleep(2 * HOUR).await;
    let handle = desk.agent(short()).resume("run", vec![], options(OnWaiting::Stay)).await.unwrap();
    let failed = handle.outcome().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    assert!(failed.to_string().contains("nobody of `desk` answered in time"), "{failed}");
    let usage = failed.result.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.estimated), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_person_may_decline_and_that_is_an_answer() {
    let desk = Desk::new();
    let next = Arc::new(ScriptedModel::new(["not asked"]).named("next"));
    let agent = desk.agent(Arc::new(Fallback::new("smart", [desk.person(), next as _])));
    let handle = agent.start("go", options(OnWaiting::Stay)).unwrap();
    let question = desk.asked().await;
    handle.answer(&question.id, Answer::Reject { reason: "not my field".into() }).await.unwrap();
    let failed = handle.outcome().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Refused);
    assert!(failed.to_string().contains("not my field"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn several_people_of_a_route_are_asked_each_for_himself() {
    let desk = Desk::new();
    let people = ["ann", "bob"].map(|name| Arc::new(desk.engine.human(name)) as Arc<dyn Model>);
    let agent = desk.agent(Arc::new(Race::new("both", Winner::FirstComplete, people)));
    let mut handle = agent.start("go", options(OnWaiting::Stay)).unwrap();
    desk.asked().await;
    ms(5).await;
    let open = desk.store.open(Some("run")).await.unwrap();
    let ids: Vec<_> = open.iter().map(|question| question.id.as_str()).collect();
    assert_eq!(ids, ["run/relay:m0:ann", "run/relay:m0:bob"]);
    handle.answer(ids[1], says("bob here")).await.unwrap();
    let events = all(&mut handle).await;
    assert_eq!(handle.outcome().await.unwrap().text, "bob here");
    let withdrawn = EventKind::RelayAnswered { id: ids[0].into(), decision: "withdrawn".into() };
    assert!(has(&events, |kind| *kind == withdrawn));
    assert_eq!(desk.engine.answer(ids[0], says("me too")).await, Err(AnswerError::Withdrawn));
}

#[tokio::test(start_paused = true)]
async fn beside_a_model_that_works_the_run_does_not_wait() {
    let desk = Desk::new();
    // Nobody answers: the machine steps in after a while, and its run does not come to rest before.
    let machine = Arc::new(ScriptedModel::new(["the machine"]).named("machine"));
    let hedge = Hedge::new("hedged", Stagger::Fixed(Duration::from_secs(30)), [desk.person(), machine as _]);
    let handle = desk.agent(Arc::new(hedge)).start("go", options(OnWaiting::Return)).unwrap();
    let result = handle.outcome().await.unwrap();
    assert_eq!((result.status, result.text.as_str()), (Status::Succeeded, "the machine"));
    assert!(result.execution_time >= 30.0, "{} s of work", result.execution_time);
    assert!(desk.store.open(None).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_withdraws_its_question() {
    let desk = Desk::new();
    let handle = desk.agent(desk.person()).start("go", options(OnWaiting::Stay)).unwrap();
    let question = desk.asked().await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(desk.engine.answer(&question.id, says("late")).await, Err(AnswerError::Withdrawn));
    let records = desk.store.load("run").await.unwrap().records;
    let closed = records.iter().filter(|record| matches!(record.kind, RecordKind::Closed { .. }));
    assert_eq!(closed.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn text_is_shown_as_it_is_written() {
    for (whole, anew) in [("One. Two. Three.", false), ("Anew.", true)] {
        let desk = Desk::new();
        let mut handle = desk.agent(desk.person()).start("go", options(OnWaiting::Stay)).unwrap();
        let mut events = handle.take_events();
        let question = desk.asked().await;
        let mut shown = Vec::new();
        for piece in ["One. ", "Two. "] {
            desk.store.write(&question.id, piece).unwrap();
            while let Some(event) = events.next().await {
                if let EventKind::ModelDelta { text } = event.kind {
                    shown.push(text);
                    break;
                }
            }
        }
        assert_eq!(shown, ["One. ", "Two. "]);
        handle.answer(&question.id, says(whole)).await.unwrap();
        let mut restarted = false;
        while let Some(event) = events.next().await {
            restarted |= matches!(event.kind, EventKind::ModelRestarted { .. });
        }
        assert_eq!((restarted, handle.outcome().await.unwrap().text.as_str()), (anew, whole));
        assert_eq!(desk.store.write(&question.id, "more"), Err(AnswerError::AlreadyAnswered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_outside_any_run_asks_too_and_each_call_is_its_own() {
    let desk = Desk::new();
    let person = desk.person();
    for text in ["first", "second"] {
        let mut stream = person.stream(Request::user("hi"), Context::detached());
        assert!(matches!(stream.next().await, Some(Ok(Chunk::Start { .. }))));
        let question = desk.asked().await;
        desk.engine.answer(&question.id, says(text)).await.unwrap();
        let chunks: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert!(chunks.contains(&Chunk::Text { part: 0, text: text.into() }), "{chunks:?}");
    }
}

/// One process: asks and waits, or answers first where it is told so and goes on.
async fn process(folder: &Path) {
    let (store, goes_on) = FileStore::open(folder);
    let store = Arc::new(store);
    let engine = Engine::builder().store(store.clone()).build();
    let person = engine.human("desk").queue("editors");
    let agent = Agent::builder().engine(&engine).model(person).tool(add()).build().unwrap();
    let handle = match goes_on {
        false => agent.start_unwatched("go", options(OnWaiting::Stay)).unwrap(),
        true => {
            for question in store.open(Some("run")).await.unwrap() {
                let answer = match question.id.as_str() {
                    "run/relay:m0:desk" => calls("add", json!({"a": 2, "b": 3})),
                    "run/relay:m1:desk" => says("It is 5."),
                    other => panic!("{other}"),
                };
                engine.answer(&question.id, answer).await.unwrap();
            }
            agent.resume("run", vec![], options(OnWaiting::Stay)).await.unwrap()
        }
    };
    let result = handle.outcome().await.unwrap();
    println!("\nheard {}", json!([result.status, crate::support::heard(&result.messages)]));
}

#[test]
fn a_question_outlives_processes_killed_while_they_wait() {
    const TEST: &str = "human::a_question_outlives_processes_killed_while_they_wait";
    if let Some(folder) = child_folder() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        return runtime.block_on(process(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let live = |killed_after: &str| lives(again(TEST, folder.path()), killed_after);
    // Killed while it waits for the first answer, then while it waits for the second; the third ends the run.
    assert_eq!(live("asked"), None);
    assert_eq!(live("asked"), None);
    let heard = live("never").unwrap();
    assert!(
        heard.starts_with("[\"succeeded\"") && heard.contains("It is 5.") && heard.contains(": 5"),
        "{heard}"
    );
}
