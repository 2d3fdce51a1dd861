// The events of a run, as they happen. Dropping the stream cancels the run.

use std::io::Write;
use std::time::Duration;

use ambidex::models::ScriptedModel;
use ambidex::{Agent, EventKind, Status};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ScriptedModel::new(["A stream says what it knows, word by word."]);
    let agent = Agent::builder().model(model.pace(Duration::from_millis(5))).build()?;
    let mut events = agent.stream("Say something about streams.")?;
    let mut last = None;
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::ModelDelta { text } => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            EventKind::RunFinished { status, usage, .. } => {
                println!("\n{} after {} tokens", status.as_str(), usage.output_tokens);
                last = Some(status);
            }
            _ => {}
        }
    }
    assert_eq!(last, Some(Status::Succeeded));
    Ok(())
}
