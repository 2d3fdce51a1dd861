//! The public door: what a run gives, where it pauses, how it goes on.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::ErrorKind;
use ambidex_core::budget::{Budget, Grant};
use ambidex_core::definition::Mode;
use ambidex_core::definition::StopConditions;
use ambidex_core::event::Status;
use ambidex_core::message::Message;
use ambidex_core::model::StructuredOutput;
use ambidex_core::record::{Input, Pause};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_engine::{Agent, AgentBuilder, Engine, RunOptions};
use ambidex_models::scripted::{ScriptedModel, Turn};
use ambidex_tools::FunctionTool;
use serde_json::{Value, json};

use crate::support::{Planned, World, assert_answered, call, heard, ms};

pub fn looks(times: usize) -> Planned {
    Planned::new((0..times).map(|n| vec![call("look", json!({"n": n}))]).collect())
}

pub fn looking(times: usize, world: &World) -> AgentBuilder {
    Agent::builder().model(looks(times)).tool(world.tool("look", EffectClass::Read))
}

#[tokio::test]
async fn a_run_says_what_came_of_it() {
    let world = World::default();
    let result = looking(2, &world).build().unwrap().run("go").await.unwrap();
    assert_eq!((result.status, result.task_completed, result.iterations_used), (Status::Succeeded, true, 3));
    assert_eq!((result.usage.input_tokens, result.usage.output_tokens), (20, 2));
    assert_eq!(result.messages.len(), 6);
    assert_answered(&result.messages);
    assert!(result.run.starts_with("run_") && result.error.is_none() && result.pause.is_none());
    let json = result.to_json();
    assert_eq!((&json["status"], &json["error"]), (&json!("succeeded"), &Value::Null));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let agent = Agent::builder().model(ScriptedModel::new(["x"])).build().unwrap();
    let empty = agent.run(Vec::<Arc<Message>>::new()).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidRequest);
    let options = RunOptions { id: Some("same".into()), ..RunOptions::default() };
    agent.run_with("go", options.clone()).await.unwrap();
    assert_eq!(agent.run_with("go", options).await.unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(
        agent.resume("none", vec![], RunOptions::default()).await.err().unwrap().kind(),
        ErrorKind::StoreFailed
    );
    let outside = std::thread::spawn(move || agent.start("go", RunOptions::default()).err().unwrap());
    assert!(outside.join().unwrap().message().contains(".blocking()"));
}

#[test]
fn a_builder_refuses_what_cannot_work() {
    let refused = |builder: AgentBuilder| {
        let error = builder.name("it").build().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
        assert!(error.message().starts_with("agent `it`: "), "{error}");
        error.message().to_owned()
    };
    let world = World::default();
    let model = || Agent::builder().model(ScriptedModel::new(["x"]));
    let look = || world.tool("look", EffectClass::Read);
    assert!(refused(Agent::builder()).contains("no model"));
    assert!(refused(model().max_iterations(0)).contains("max_iterations"));
    assert!(refused(model().tool_concurrency(0)).contains("tool_concurrency"));
    assert!(refused(model().tool(look()).tool(look())).contains("`look`"));
    assert!(refused(model().tool(look().named("two words"))).contains("two words"));
    assert!(refused(model().output_schema("it", json!({"type": "nonsense"}))).contains("nonsense"));
    let error =
        model().tool_choice(ambidex_core::model::ToolChoice::Tool("lock".into())).tool(look()).build();
    assert!(error.err().unwrap().message().contains("Did you mean `look`?"));
    let stop = StopConditions { after_tools: vec!["lock".into()], text: None };
    assert_eq!(model().tool(look()).stop(stop).build().err().unwrap().kind(), ErrorKind::UnknownTool);
}

#[tokio::test(start_paused = true)]
async fn a_budget_pauses_and_a_grant_goes_on() {
    let world = World::default();
    let budget = |budget: Budget| looking(3, &world).budget(budget).build().unwrap();
    let iterations = looking(3, &world).max_iterations(2).build().unwrap();
    let cases = [
        (iterations, Grant { iterations: 5, ..Grant::default() }),
        (
            budget(Budget { tokens: Some(20), ..Budget::default() }),
            Grant { budget: Budget { tokens: Some(90), ..Budget::default() }, ..Grant::default() },
        ),
        (
            budget(Budget { tool_calls: Some(2), ..Budget::default() }),
            Grant { budget: Budget { tool_calls: Some(2), ..Budget::default() }, ..Grant::default() },
        ),
        (
            budget(Budget { wall_ms: Some(12), ..Budget::default() }),
            Grant { budget: Budget { wall_ms: Some(900), ..Budget::default() }, ..Grant::default() },
        ),
    ];
    for (agent, grant) in cases {
        let paused = agent.run("go").await.unwrap();
        assert_eq!((paused.status, paused.task_completed), (Status::Paused, false), "{grant:?}");
        let why = paused.pause.unwrap();
        assert!(matches!(why, Pause::MaxIterations | Pause::Budget(_)));
        let resumed = agent.resume(&paused.run, vec![Input::Resume(grant.clone())], RunOptions::default());
        let result = resumed.await.unwrap().outcome().await.unwrap();
        assert_eq!((result.status, result.iterations_used), (Status::Succeeded, 4), "{grant:?}");
        // Without more to use, it stands where it stood.
        let again = agent.resume(&paused.run, vec![], RunOptions::default()).await.unwrap();
        assert_eq!(again.outcome().await.unwrap().text, result.text, "an ended run is told again");
    }
}

/// Writes down what the model is told beside the history.
struct Instructions(Arc<std::sync::Mutex<Vec<String>>>);

impl ambidex_engine::Hook for Instructions {
    fn before_model<'a>(
        &'a self,
        _: &'a ambidex_core::Context,
        request: ambidex_core::Request,
    ) -> ambidex_core::BoxFuture<'a, Result<ambidex_core::Request, ambidex_core::Error>> {
        let told = request.instructions.as_deref().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{told} {:?}", request.settings.max_tokens));
        Box::pin(std::future::ready(Ok(request)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_the_definition_it_began_with() {
    let (world, engine, told) = (World::default(), Engine::default(), Arc::default());
    let agent = |instructions: &str, max_tokens, tool: Option<FunctionTool>| {
        let settings = ambidex_core::model::Settings { max_tokens: Some(max_tokens), ..Default::default() };
        let agent = Agent::builder().engine(&engine).model(looks(3)).max_iterations(1);
        let agent = agent.instructions(instructions).settings(settings).hook(Instructions(Arc::clone(&told)));
        let agent = match tool {
            Some(tool) => agent.tool(tool),
            None => agent,
        };
        agent.build().unwrap()
    };
    let look = || world.tool("look", EffectClass::Read);
    let paused = agent("Look first.", 7, Some(look())).run("go").await.unwrap();
    assert_eq!(paused.status, Status::Paused);
    let other =
        FunctionTool::dynamic(ToolSpec::new("look", "takes nothing"), |_, _| async { Ok("x".into()) });
    for (tool, why) in
        [(None, "`look` is no longer a tool"), (Some(other), "`look` now takes other arguments")]
    {
        let refused = agent("Look first.", 7, tool).resume(&paused.run, vec![], RunOptions::default()).await;
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.message().contains(why), "{error}");
    }
    let grant = || vec![Input::Resume(Grant { iterations: 9, ..Grant::default() })];
    let later = agent("Never look.", 9, Some(look()));
    let resumed = later.resume(&paused.run, grant(), RunOptions::default()).await.unwrap();
    assert!(resumed.outcome().await.unwrap().task_completed);
    let told: Vec<String> = told.lock().unwrap().clone();
    assert_eq!(told, ["Look first. Some(7)"; 4]);
    // A refusal has claimed nothing: whoever held the run holds it still.
    let stored = engine.store().load(&paused.run).await.unwrap();
    assert_eq!(stored.records.last().unwrap().epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn steering_reaches_the_next_model_call_also_beside_a_last_reply() {
    let world = World::default();
    let agent = looking(1, &world).build().unwrap();
    let handle = agent.start("go", RunOptions::default()).unwrap();
    handle.steer("mind the step").unwrap();
    let result = handle.outcome().await.unwrap();
    assert_eq!(heard(&result.messages)[3], "User mind the step");

    // Beside the model's last words: stop_when is asked while the reply is not recorded yet.
    let handles: Arc<std::sync::Mutex<Option<ambidex_engine::RunHandle>>> = Arc::default();
    let steered = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (inside, once) = (handles.clone(), steered.clone());
    let agent = Agent::builder()
        .model(ScriptedModel::new(["first", "second"]).delay(Duration::from_millis(5)))
        .stop_when(move |_| {
            if !once.swap(true, std::sync::atomic::Ordering::SeqCst) {
                inside.lock().unwrap().as_ref().unwrap().steer("one more thing").unwrap();
            }
            false
        })
        .build()
        .unwrap();
    *handles.lock().unwrap() = Some(agent.start("go", RunOptions::default()).unwrap());
    ms(50).await;
    let handle = handles.lock().unwrap().take().unwrap();
    let result = handle.outcome().await.unwrap();
    assert_eq!(heard(&result.messages)[2], "User one more thing", "{:?}", heard(&result.messages));
    assert_eq!(result.text, "second");
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_and_a_run_at_rest_refuse_messages() {
    let world = World::default();
    let handle = looking(1, &world).build().unwrap().start("go", RunOptions::default()).unwrap();
    let refused = (0..1_000).find_map(|n| handle.steer(format!("{n}")).err().map(|error| (n, error)));
    let (taken, error) = refused.unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Busy, true));
    ms(100).await;
    assert_eq!(handle.steer("late").unwrap_err().kind(), ErrorKind::InvalidRequest);
    let result = handle.outcome().await.unwrap();
    let messages = result.messages.iter().filter(|message| message.role == ambidex_core::Role::User).count();
    assert_eq!(messages, taken + 1, "what was taken is in the history");
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_end_what_runs_and_keeps_what_is_said() {
    let world = World::default();
    let slow = Planned::new(vec![vec![call("look", json!({"ms": 100}))]]);
    let agent = Agent::builder().model(slow).tool(world.tool("look", EffectClass::Read)).build().unwrap();
    let handle = agent.start("go", RunOptions::default()).unwrap();
    ms(50).await;
    handle.pause().unwrap();
    ms(1).await;
    handle.steer("said in the pause").unwrap();
    let paused = handle.outcome().await.unwrap();
    assert_eq!((paused.status, paused.pause), (Status::Paused, Some(Pause::Operator)));
    assert_eq!(world.shared.done.lock().unwrap().len(), 1);
    ms(3_600_000).await;
    let go_on = vec![Input::Resume(Grant::default())];
    let result =
        agent.resume(&paused.run, go_on, RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(heard(&result.messages)[3], "User said in the pause");
    assert!(result.execution_time < 1.0, "a pause is not the run's time: {}", result.execution_time);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_fails_the_run_and_stops_what_is_in_flight() {
    let world = World::default();
    let slow = Planned::new(vec![vec![call("look", json!({"ms": 5_000})), call("look", json!({"ms": 1}))]]);
    let agent = Agent::builder().model(slow).tool(world.tool("look", EffectClass::Read)).build().unwrap();
    let options = RunOptions { timeout: Some(Duration::from_millis(300)), ..RunOptions::default() };
    let error = agent.run_with("go", options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let result = error.result.unwrap();
    assert_eq!(result.status, Status::Failed);
    assert!((0.3..0.4).contains(&result.execution_time), "{}", result.execution_time);
    assert_answered(&result.messages);
    assert_eq!(world.shared.gauge.now(), 0, "the call was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_tool_has_a_time_limit_and_attempts_by_its_effect() {
    for (effect, begun, text) in [
        (EffectClass::Read, 3, "did"),
        (EffectClass::Idempotent, 3, "did"),
        (EffectClass::Once, 1, "hiccup"),
        (EffectClass::Undeclared, 1, "hiccup"),
    ] {
        let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = times.clone();
        let tool = FunctionTool::dynamic(ToolSpec::new("work", "for tests"), move |_, _| {
            let time = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move {
                match time {
                    0 | 1 => Err(ambidex_core::Error::new(ErrorKind::ToolFailed, "hiccup").retryable(true)),
                    _ => Ok("did".into()),
                }
            }
        });
        let agent = Agent::builder()
            .model(Planned::new(vec![vec![call("work", json!({}))]]))
            .tool(tool.effect(effect))
            .build()
            .unwrap();
        let result = agent.run("go").await.unwrap();
        assert_eq!(times.load(std::sync::atomic::Ordering::SeqCst), begun, "{effect:?}");
        assert!(heard(&result.messages)[2].contains(text), "{:?}", heard(&result.messages));
    }
    let world = World::default();
    let tool = world.tool("look", EffectClass::Undeclared).timeout(Duration::from_millis(20));
    let model = Planned::new(vec![vec![call("look", json!({"ms": 90}))]]);
    let result = Agent::builder().model(model).tool(tool).build().unwrap().run("go").await.unwrap();
    let answer = &heard(&result.messages)[2];
    assert!(answer.contains("tool_timeout") && answer.contains("may have happened"), "{answer}");
}

#[tokio::test]
async fn a_panic_or_a_wrong_call_fails_its_call_only() {
    let world = World::default();
    let late = FunctionTool::dynamic(ToolSpec::new("late", "for tests"), |_, _| async {
        tokio::task::yield_now().await;
        panic!("a late one")
    });
    struct Early(ToolSpec);
    impl ambidex_core::Tool for Early {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }
        fn call(
            &self,
            _: Value,
            _: ambidex_core::Context,
        ) -> ambidex_core::BoxFuture<'static, Result<ambidex_core::ToolOutput, ambidex_core::Error>> {
            panic!("an early one")
        }
    }
    let model = Planned::new(vec![vec![
        call("late", json!({})),
        call("early", json!({})),
        call("look", json!({})),
        call("early", json!({"what": "is this"})),
        call("lock", json!({})),
    ]]);
    let agent = Agent::builder()
        .model(model)
        .tool(late)
        .tool(Early(ToolSpec::new("early", "for tests")))
        .tool(world.tool("look", EffectClass::Read))
        .build()
        .unwrap();
    let run = tokio::time::timeout(Duration::from_secs(20), agent.run("go"));
    let result = run.await.expect("a panic must not hold the run up").unwrap();
    assert!(result.task_completed);
    assert_answered(&result.messages);
    let lines = heard(&result.messages);
    assert!(lines[2].contains("c0.0 failed") && lines[2].contains("a late one"), "{lines:#?}");
    assert!(lines[3].contains("c0.1 failed") && lines[3].contains("an early one"), "{lines:#?}");
    assert!(lines[4].starts_with("Tool c0.2: look did"), "{lines:#?}");
    assert!(lines[5].contains("invalid_arguments"), "{lines:#?}");
    assert!(lines[6].contains("unknown_tool") && lines[6].contains("Did you mean `look`?"), "{lines:#?}");
}

fn verdict() -> Value {
    json!({"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"],
           "additionalProperties": false})
}

#[tokio::test]
async fn an_output_matches_its_schema_or_fails_after_one_repair() {
    let run = async |model: ScriptedModel| {
        Agent::builder().model(model).output_schema("verdict", verdict()).build().unwrap().run("go").await
    };
    let native = |turns: Vec<Turn>| ScriptedModel::new(turns);
    let by_tool = |turns: Vec<Turn>| {
        ScriptedModel::new(turns).with_info(|info| info.structured_output = StructuredOutput::Tool)
    };
    let (good, bad) = (json!({"good": true}), json!({"good": "yes"}));
    let says = |value: &Value| Turn::text(value.to_string());
    let calls = |value: &Value| Turn::call("final_output", value.clone());
    for (model, iterations) in [
        (native(vec![says(&good)]), 1),
        (native(vec![Turn::text(format!("```json\n{good}\n```"))]), 1),
        (native(vec![says(&bad), says(&good)]), 2),
        (by_tool(vec![calls(&good)]), 1),
        (by_tool(vec![calls(&bad), calls(&good)]), 2),
        (by_tool(vec![Turn::text("it is good"), calls(&good)]), 2),
    ] {
        let result = run(model).await.unwrap();
        assert_eq!((result.output, result.iterations_used), (Some(good.clone()), iterations));
        assert!(result.task_completed);
        assert_answered(&result.messages);
    }
    for model in [
        native(vec![says(&bad), says(&bad), says(&good)]),
        native(vec![Turn::text("no JSON"), Turn::text("no JSON")]),
        by_tool(vec![calls(&bad), calls(&bad), calls(&good)]),
    ] {
        let error = run(model).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputInvalid);
        assert_answered(&error.result.unwrap().messages);
    }
}

#[tokio::test]
async fn a_native_schema_beside_tools_becomes_a_tool_where_the_provider_cannot_mix_them() {
    let world = World::default();
    let model = ScriptedModel::new([
        Turn::call("look", json!({})),
        Turn::call("final_output", json!({"good": true})).and_call("look", json!({"late": true})),
    ])
    .with_info(|info| info.structured_output = StructuredOutput::NativeWithoutTools);
    let agent = Agent::builder().model(model).tool(world.tool("look", EffectClass::Read));
    let result = agent.output_schema("verdict", verdict()).build().unwrap().run("go").await.unwrap();
    assert_eq!(result.output, Some(json!({"good": true})));
    assert_eq!(world.keys().len(), 1, "a call beside the output is not run");
    assert_answered(&result.messages);
}

#[tokio::test]
async fn stop_conditions_end_a_run() {
    let world = World::default();
    let agent = looking(3, &world).stop_when(|reply| reply.message.tool_calls().count() > 0).build().unwrap();
    let result = agent.run("go").await.unwrap();
    assert_eq!((result.iterations_used, result.task_completed, world.keys().len()), (1, false, 0));
    assert_answered(&result.messages);
    let stop = StopConditions { after_tools: vec!["look".into()], text: None };
    let result = looking(3, &world).stop(stop).build().unwrap().run("go").await.unwrap();
    assert_eq!((result.iterations_used, result.task_completed, world.keys().len()), (1, false, 1));
}

#[tokio::test]
async fn a_conversation_goes_on_from_its_history() {
    let agent = Agent::builder().mode(Mode::Chat).model(ScriptedModel::new(["one", "two"])).build().unwrap();
    let first = agent.run("hello").await.unwrap();
    let mut history = first.messages.to_vec();
    history.push(Message::user("and?"));
    let options = RunOptions { thread: Some("talk".into()), ..RunOptions::default() };
    let second = agent.run_with(history, options).await.unwrap();
    assert_eq!((second.text.as_str(), second.thread.as_deref()), ("two", Some("talk")));
    assert_eq!(heard(&second.messages), ["User hello", "Assistant one", "User and?", "Assistant two"]);
}

#[tokio::test]
async fn agents_on_one_engine_share_a_store_that_forgets() {
    let engine = Engine::default();
    let agent = Agent::builder().engine(&engine).model(ScriptedModel::new(["x"])).build().unwrap();
    let mut runs = vec![];
    for _ in 0..Engine::FINISHED_RUNS + 3 {
        runs.push(agent.run("go").await.unwrap().run);
    }
    let kept = async |run: &String| engine.store().load(run).await.is_ok();
    assert!(!kept(&runs[2]).await && kept(&runs[3]).await && kept(runs.last().unwrap()).await);
}
