// Functions as tools. The model is scripted, the tools are real.

use ambidex::models::{ScriptedModel, Turn};
use ambidex::{Agent, Context, tool};
use serde_json::json;

/// Counts the words of a text.
#[tool(effect = "read")]
fn word_count(
    /// The text.
    text: String,
) -> usize {
    text.split_whitespace().count()
}

/// Sends a message. The key is the same when the call is repeated, so the other side can tell.
#[tool(effect = "once", timeout = "10s")]
async fn send(to: String, body: String, context: Context) -> Result<String, std::io::Error> {
    Ok(format!("sent {} bytes to {to} under the key {}", body.len(), context.idempotency_key()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ScriptedModel::new([
        Turn::call("word_count", json!({"text": "to be or not to be"}))
            .and_call("send", json!({"to": "Ann", "body": "It is done."})),
        Turn::text("Six words, and Ann knows."),
    ]);
    let agent = Agent::builder().model(model).tool(word_count).tool(send).build()?;
    let result = agent.run("Count the words of Hamlet's question and tell Ann.").await?;
    for message in result.messages.iter() {
        println!("{:?}: {:?}", message.role, message.parts);
    }
    assert!(result.task_completed);
    assert_eq!(result.text, "Six words, and Ann knows.");
    Ok(())
}
