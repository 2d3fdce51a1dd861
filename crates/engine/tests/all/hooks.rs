//! User code at the five seams: what it sees, replaces and breaks.

use std::sync::{Arc, Mutex};

use ambidex_core::event::Status;
use ambidex_core::message::{Message, Part, Role};
use ambidex_core::record::Outcome;
use ambidex_core::reply::Reply;
use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Request, ToolOutput};
use ambidex_engine::{Agent, Hook, ToolDecision, ToolInvocation};
use serde_json::json;

use crate::support::{Planned, World, assert_answered, call, heard};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Nothing,
    Replaces,
    Fails,
    Panics,
    /// Before it gives a future at all.
    PanicsAtOnce,
}

/// Does something at one seam and writes down all of them.
#[derive(Clone)]
struct Seam {
    at: &'static str,
    does: Does,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Seam {
    fn new(at: &'static str, does: Does) -> Self {
        Self { at, does, seen: Arc::default() }
    }

    fn pass<'a, T: Send + 'a>(
        &self,
        seam: &'static str,
        value: T,
        replace: impl FnOnce(T) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        self.seen.lock().unwrap().push(seam.to_owned());
        let does = if self.at == seam { self.does } else { Does::Nothing };
        assert!(does != Does::PanicsAtOnce, "at once");
        Box::pin(async move {
            tokio::task::yield_now().await;
            match does {
                Does::Nothing => Ok(value),
                Does::Replaces => Ok(replace(value)),
                Does::Fails => Err(Error::new(ErrorKind::HookFailed, "the hook says no")),
                Does::Panics | Does::PanicsAtOnce => panic!("a hook broke"),
            }
        })
    }
}

impl Hook for Seam {
    fn before_model<'a>(&'a self, _: &'a Context, request: Request) -> BoxFuture<'a, Result<Request, Error>> {
        self.pass("before_model", request, |mut request| {
            Arc::make_mut(&mut request.history).push(Message::user("from the hook"));
            request
        })
    }

    fn after_model<'a>(&'a self, _: &'a Context, reply: Reply) -> BoxFuture<'a, Result<Reply, Error>> {
        self.pass("after_model", reply, |mut reply| {
            if reply.message.tool_calls().count() == 0 {
                reply.message = Message::assistant("other words");
            }
            reply
        })
    }

    fn before_tool<'a>(
        &'a self,
        _: &'a Context,
        call: ToolInvocation,
    ) -> BoxFuture<'a, Result<ToolDecision, Error>> {
        self.pass("before_tool", ToolDecision::Run(call), |decision| match decision {
            ToolDecision::Run(call) if call.id == "t0.0" => ToolDecision::Answer("answered".into()),
            ToolDecision::Run(call) => {
                ToolDecision::Run(ToolInvocation { arguments: json!({"replaced": true}), ..call })
            }
            answer => answer,
        })
    }

    fn after_tool<'a>(
        &'a self,
        _: &'a Context,
        _: &'a ToolInvocation,
        result: Result<ToolOutput, Error>,
    ) -> BoxFuture<'a, Result<ToolOutput, Error>> {
        let passed = self.pass("after_tool", result, |_| Ok("replaced".into()));
        Box::pin(async { passed.await? })
    }

    fn on_finish<'a>(&'a self, _: &'a Context, outcome: Outcome) -> BoxFuture<'a, Result<Outcome, Error>> {
        self.pass("on_finish", outcome, |_| Outcome::Succeeded {
            text: "a better end".into(),
            output: None,
            completed: true,
        })
    }
}

fn agent(world: &World, seam: &Seam) -> Agent {
    Agent::builder()
        .model(Planned::new(vec![vec![call("look", json!({})), call("look", json!({"n": 1}))]]))
        .tool(world.tool("look", EffectClass::Read))
        .hook(seam.clone())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn hooks_see_every_seam_in_order() {
    let (world, seam) = (World::default(), Seam::new("none", Does::Nothing));
    agent(&world, &seam).run("go").await.unwrap();
    let seen = seam.seen.lock().unwrap().join(" ");
    let round = "before_model after_model";
    let tools = "before_tool before_tool after_tool after_tool";
    assert_eq!(seen, format!("{round} {tools} {round} on_finish"));
}

#[tokio::test(start_paused = true)]
async fn hooks_replace_what_passes() {
    let run = async |at| {
        let world = World::default();
        let result = agent(&world, &Seam::new(at, Does::Replaces)).run("go").await.unwrap();
        assert_answered(&result.messages);
        (heard(&result.messages), result.text, world)
    };
    let (lines, text, _) = run("before_model").await;
    assert!(text.ends_with("User from the hook"), "the model heard it: {text}");
    assert!(
        !lines[..4].iter().any(|line| line.contains("from the hook")),
        "and the history did not: {lines:?}"
    );
    let (lines, text, _) = run("after_model").await;
    assert_eq!((text.as_str(), lines[4].as_str()), ("other words", "Assistant other words"));
    let (lines, _, world) = run("before_tool").await;
    assert!(lines[2].ends_with("answered") && lines[3].contains("replaced"), "{lines:?}");
    assert_eq!(world.keys().len(), 1, "the answered call was not made");
    let (lines, _, world) = run("after_tool").await;
    assert!(lines[2].ends_with("replaced") && world.keys().len() == 2, "{lines:?}");
    let (_, text, _) = run("on_finish").await;
    assert_eq!(text, "a better end");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_or_panics_fails_its_effect() {
    for does in [Does::Fails, Does::Panics, Does::PanicsAtOnce] {
        for at in ["before_model", "after_model", "on_finish"] {
            let world = World::default();
            let run = agent(&world, &Seam::new(at, does));
            let ended = tokio::time::timeout(std::time::Duration::from_secs(60), run.run("go")).await;
            let error = ended.unwrap_or_else(|_| panic!("{at} {does:?} held the run up")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HookFailed, "{at} {does:?}: {error}");
            let result = error.result.expect("the run itself has failed, not its driver");
            assert_eq!(result.status, Status::Failed);
            assert_answered(&result.messages);
        }
        for at in ["before_tool", "after_tool"] {
            let world = World::default();
            let result = agent(&world, &Seam::new(at, does)).run("go").await.unwrap();
            assert!(result.task_completed, "{at} {does:?}");
            let lines = heard(&result.messages);
            assert!(lines[2].contains("c0.0 failed: hook_failed"), "{at} {does:?}: {lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_model_or_a_stop_condition_fails_the_run() {
    struct Broken(ambidex_core::model::ModelInfo);
    impl ambidex_core::Model for Broken {
        fn info(&self) -> &ambidex_core::model::ModelInfo {
            &self.0
        }
        fn stream(
            &self,
            _: Request,
            _: Context,
        ) -> ambidex_core::BoxStream<'static, Result<ambidex_core::Chunk, Error>> {
            panic!("a model broke")
        }
    }
    let broken = Agent::builder()
        .model(Broken(ambidex_core::model::ModelInfo::new("broken", "test")))
        .build()
        .unwrap();
    let stop =
        Agent::builder().model(Planned::new(vec![])).stop_when(|_| panic!("it broke")).build().unwrap();
    for agent in [broken, stop] {
        let mut handle = agent.start("go", Default::default()).unwrap();
        let mut events = handle.take_events();
        let error = handle.outcome().await.unwrap_err();
        assert!(error.result.is_some() && error.error.message().contains("broke"), "{error}");
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event.kind);
        }
        assert!(matches!(last, Some(ambidex_core::event::EventKind::RunFinished { .. })), "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_a_hook_replaced_are_checked_again() {
    struct Spoils;
    impl Hook for Spoils {
        fn before_tool<'a>(
            &'a self,
            _: &'a Context,
            call: ToolInvocation,
        ) -> BoxFuture<'a, Result<ToolDecision, Error>> {
            let call = ToolInvocation { arguments: json!({"unknown": 1}), ..call };
            Box::pin(std::future::ready(Ok(ToolDecision::Run(call))))
        }
    }
    let strict =
        ambidex_tools::FunctionTool::dynamic(ambidex_core::ToolSpec::new("strict", "x"), |_, _| async {
            Ok("ran".into())
        });
    let agent = Agent::builder()
        .model(Planned::new(vec![vec![call("strict", json!({}))]]))
        .tool(strict)
        .hook(Spoils)
        .build()
        .unwrap();
    let result = agent.run("go").await.unwrap();
    let answer = result.messages.iter().find(|message| message.role == Role::Tool).unwrap();
    assert!(
        matches!(&answer.parts[0], Part::ToolResult(result) if result.text.contains("invalid_arguments"))
    );
}
