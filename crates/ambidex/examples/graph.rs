//! A graph that reviews what an agent wrote, and has it written again until it is short enough.

use ambidex::graph::{END, NodeCall, NodeOutput, Source};
use ambidex::models::ScriptedModel;
use ambidex::{Agent, Context, Error, Graph};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let drafts = ScriptedModel::new([
        "Bees dance in figures of eight to tell each other where to fly.",
        "Bees dance.",
    ]);
    let writer = Agent::builder().model(drafts).build()?;
    let review = |call: NodeCall, _: Context| async move {
        let words = call.get("write").and_then(Value::as_str).unwrap_or_default().split_whitespace().count();
        let task = format!("{words} words are too many. Again, in three.");
        let next = if words > 3 { "write" } else { END };
        Ok::<_, Error>(NodeOutput { value: json!({ "task": task }).into(), ..NodeOutput::go([next]) })
    };
    let graph = Graph::builder("short")
        .agent_node("write", writer, Source::Field("task".into()))
        .node("review", review)
        .edge("write", "review")
        .chooses("review", ["write", END])
        .with("write", |node| node.max_visits = Some(5))
        .output("write")
        .build()?;
    let mut events = graph.stream(json!({"task": "Write about bees."}))?;
    while let Some(event) = events.next().await {
        println!("{}", serde_json::to_string(&event)?);
    }
    Ok(())
}
