// A call that must not be repeated waits for a person. The run comes to rest, is kept in a file, and goes on
// from there: it could be another process, on another day.

use std::sync::Arc;

use ambidex::models::{ScriptedModel, Turn};
use ambidex::stores::MemoryStore;
use ambidex::{
    Agent, Answer, Approval, ApprovalPolicy, Engine, OnWaiting, RunFile, RunOptions, Status, tool,
};
use serde_json::json;

/// Pays a bill.
#[tool(effect = "once")]
async fn pay(to: String, amount: u32) -> String {
    format!("paid {amount} to {to}")
}

fn agent(engine: &Engine) -> Result<Agent, ambidex::Error> {
    let model = ScriptedModel::new([
        Turn::call("pay", json!({"to": "Ann", "amount": 4000})),
        Turn::text("Ann has her money."),
    ]);
    let approvals = ApprovalPolicy { once: Approval::Ask, ..ApprovalPolicy::default() };
    Agent::builder().engine(engine).model(model).tool(pay).approvals(approvals).build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = || RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
    let path = std::env::temp_dir().join(format!("ambidex-approvals-{}.run", std::process::id()));

    let engine = Engine::default();
    let waiting = agent(&engine)?.run_with("Pay Ann.", options()).await?;
    assert_eq!(waiting.status, Status::Waiting);
    RunFile::new(waiting.run.clone(), engine.store().load(&waiting.run).await?).write(&path)?;

    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let file = RunFile::read(&path)?;
    file.restore(&store)?;
    for question in engine.questions().open(Some(&file.run)).await? {
        println!("{} wants to be called with {}", question.tool, question.args);
        let less = Answer::Edit { args: json!({"to": "Ann", "amount": 40}) };
        engine.questions().answer(&question.id, less).await?;
    }
    let result = agent(&engine)?.resume(&file.run, vec![], options()).await?.outcome().await?;
    std::fs::remove_file(&path)?;
    println!("{}", result.text);
    assert!(format!("{:?}", result.messages).contains("paid 40 to Ann"));
    Ok(())
}
