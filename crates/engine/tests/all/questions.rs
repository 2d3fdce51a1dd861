//! What a person is asked: approvals, calls in doubt, runs that come to rest and go on from a file.

use std::time::Duration;

use ambidex_core::ErrorKind;
use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Why};
use ambidex_core::tool::EffectClass;
use ambidex_engine::{Agent, ApprovalPolicy, Engine, OnWaiting, RunFile, RunOptions};
use serde_json::json;

use crate::support::{Planned, World, assert_answered, call, heard, ms};

fn paying(world: &World, engine: &Engine) -> Agent {
    let turn = vec![call("pay", json!({"ms": 5})), call("look", json!({"ms": 5}))];
    let approvals = ApprovalPolicy { once: Approval::Ask, ..ApprovalPolicy::default() };
    Agent::builder()
        .engine(engine)
        .model(Planned::new(vec![turn]))
        .approvals(approvals)
        .tool(world.tool("pay", EffectClass::Once))
        .tool(world.tool("look", EffectClass::Read))
        .build()
        .unwrap()
}

fn resting() -> RunOptions {
    RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_person_while_its_siblings_run() {
    let (world, engine) = (World::default(), Engine::default());
    let agent = paying(&world, &engine);
    let options = RunOptions { timeout: Some(Duration::from_secs(2)), ..RunOptions::default() };
    let handle = agent.start("go", options).unwrap();
    // A day: a person's time is not the run's, which has two seconds.
    ms(86_400_000).await;
    assert_eq!(world.keys().len(), 1, "`look` ran, `pay` waits");
    let open = engine.questions().open(Some(handle.id())).await.unwrap();
    assert_eq!((open.len(), open[0].tool.as_str(), open[0].why), (1, "pay", Why::Approval));
    handle.answer(&open[0].id, Answer::Edit { args: json!({"ms": 7}) }).await.unwrap();
    let twice = handle.answer(&open[0].id, Answer::Approve).await;
    assert_eq!(twice, Err(AnswerError::AlreadyAnswered));
    assert_eq!(handle.answer("none", Answer::Approve).await, Err(AnswerError::Unknown));
    let result = handle.outcome().await.unwrap();
    assert!(heard(&result.messages)[2].contains("pay did {\"ms\":7}"), "{:?}", heard(&result.messages));
    assert!(result.execution_time < 1.0, "{}", result.execution_time);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_waits_comes_to_rest_and_goes_on_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("waiting.run");
    let world = World::default();
    let question = {
        let engine = Engine::default();
        let waiting = paying(&world, &engine).run_with("go", resting()).await.unwrap();
        assert_eq!((waiting.status, waiting.questions.len()), (Status::Waiting, 1));
        assert_eq!(world.keys().len(), 1, "siblings end first");
        let stored = engine.store().load(&waiting.run).await.unwrap();
        RunFile::new(waiting.run.clone(), stored).write(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "it holds the conversation");
        waiting.questions[0].clone()
    };
    for answer in [Answer::Approve, Answer::Reject { reason: "too dear".into() }] {
        let store = std::sync::Arc::new(MemoryStore::new());
        let engine = Engine::builder().store(store.clone()).build();
        let file = RunFile::read(&path).unwrap();
        file.restore(&store).unwrap();
        assert_eq!(engine.questions().open(None).await.unwrap(), std::slice::from_ref(&question));
        let agent = paying(&world, &engine);
        // Without an answer it comes to rest again, with one given before it goes on.
        let still = agent.resume(&file.run, vec![], resting()).await.unwrap().outcome().await.unwrap();
        assert_eq!((still.status, still.questions.len()), (Status::Waiting, 1));
        engine.questions().answer(&question.id, answer.clone()).await.unwrap();
        let result = agent.resume(&file.run, vec![], resting()).await.unwrap().outcome().await.unwrap();
        assert!(result.task_completed);
        assert_answered(&result.messages);
        let paid = heard(&result.messages)[2].contains("pay did");
        assert_eq!(paid, answer == Answer::Approve, "{:?}", heard(&result.messages));
    }
    assert_eq!(world.begun(&format!("{}/t0.0", question.run)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_run_that_waits_and_withdraws_its_question() {
    for options in [RunOptions::default(), resting()] {
        let (world, engine) = (World::default(), Engine::default());
        let handle = paying(&world, &engine).start("go", options).unwrap();
        let question = loop {
            if let Some(question) = engine.questions().open(None).await.unwrap().pop() {
                break question;
            }
            ms(1).await;
        };
        handle.cancel();
        let result = handle.outcome().await.unwrap_err().result.unwrap();
        assert_eq!(result.status, Status::Cancelled);
        assert_answered(&result.messages);
        assert!(engine.questions().open(None).await.unwrap().is_empty());
        let late = engine.questions().answer(&question.id, Answer::Approve).await;
        assert_eq!(late, Err(AnswerError::Withdrawn));
    }
}

#[tokio::test(start_paused = true)]
async fn a_once_call_that_timed_out_is_put_before_a_person() {
    let (world, engine) = (World::default(), Engine::default());
    let tool = world.tool("pay", EffectClass::Once).timeout(Duration::from_millis(20));
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(vec![vec![call("pay", json!({"ms": 90}))]]))
        .tool(tool)
        .build()
        .unwrap();
    let waiting = agent.run_with("go", resting()).await.unwrap();
    let [question] = &waiting.questions[..] else { panic!("{:?}", waiting.questions) };
    assert_eq!((waiting.status, question.why), (Status::Waiting, Why::InDoubt));
    // Repeated by a person's word only, under the same key; it times out again: a new question.
    engine.questions().answer(&question.id, Answer::Repeat).await.unwrap();
    let again = agent.resume(&waiting.run, vec![], resting()).await.unwrap().outcome().await.unwrap();
    assert_eq!(world.begun(&format!("{}/t0.0", waiting.run)), 2);
    assert_ne!(again.questions[0].id, question.id);
    let done = Answer::Answer { answer: json!("it was paid") };
    engine.questions().answer(&again.questions[0].id, done).await.unwrap();
    let result = agent.resume(&waiting.run, vec![], resting()).await.unwrap().outcome().await.unwrap();
    assert!(heard(&result.messages)[2].ends_with("it was paid"), "{:?}", heard(&result.messages));
    assert_eq!(world.begun(&format!("{}/t0.0", waiting.run)), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_denies_without_asking() {
    let (world, engine) = (World::default(), Engine::default());
    let approvals = ApprovalPolicy { once: Approval::Deny, ..ApprovalPolicy::default() };
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(vec![vec![call("pay", json!({}))]]))
        .approvals(approvals)
        .tool(world.tool("pay", EffectClass::Once))
        .build()
        .unwrap();
    let result = agent.run("go").await.unwrap();
    assert!(heard(&result.messages)[2].contains("denied") && world.keys().is_empty());
}

#[test]
fn a_file_that_is_not_a_run_says_which_line_is_wrong() {
    let refused = |text: &str| {
        let error = RunFile::parse(text).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::StoreFailed, false));
        error.message().to_owned()
    };
    assert!(refused("").starts_with("line 1: "));
    assert!(refused("{}").starts_with("line 1: this is not the file of a run"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let (world, engine) = (World::default(), Engine::default());
        let run = paying(&world, &engine).run_with("go", resting()).await.unwrap().run;
        let stored = engine.store().load(&run).await.unwrap();
        RunFile::new(run, stored).to_text().unwrap()
    });
    // What another version wrote differently is still this definition, and is written as it was read.
    let spaced = respelled(&text);
    assert_eq!(RunFile::parse(&spaced).unwrap().to_text().unwrap(), spaced);
    let lines: Vec<&str> = text.lines().collect();
    assert!(refused(&text.replacen("\"planned\"", "\"another\"", 1)).contains("the definition was changed"));
    assert!(refused(&text.replacen("\"ambidex_run\":1", "\"ambidex_run\":9", 1)).contains("version 9"));
    assert!(refused(&format!("{}\n{}\n{{", lines[0], lines[1])).starts_with("line 3: "));
    let gap = [&lines[..2], &lines[3..]].concat().join("\n");
    assert!(refused(&gap).contains("record 2 where 1 should be"), "{}", refused(&gap));
    let missing = RunFile::read(std::path::Path::new("/nowhere/at.all")).unwrap_err();
    assert!(missing.message().contains("/nowhere/at.all"), "{missing}");
}

/// The file with its definition in another spelling, and the hash of that. Records name no spelling.
fn respelled(text: &str) -> String {
    let definition = RunFile::parse(text).unwrap().stored.definition;
    let other = definition.text.replacen("{\"name\"", "{ \"later\": 1, \"name\"", 1);
    assert_ne!(other, *definition.text);
    let hash = {
        use sha2::{Digest, Sha256};
        Sha256::digest(other.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    text.replacen(&*definition.text, &other, 1).replace(&*definition.hash, &hash)
}
