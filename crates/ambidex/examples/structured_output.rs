// A run whose output must match a schema. A reply that does not gets one chance to be mended.

use ambidex::Agent;
use ambidex::models::{ScriptedModel, Turn};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Verdict {
    /// Whether the text is worth reading.
    good: bool,
    reasons: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ScriptedModel::new([
        Turn::json(json!({"good": "rather"})),
        Turn::json(json!({"good": true, "reasons": ["short", "clear"]})),
    ]);
    let schema = schemars::schema_for!(Verdict).to_value();
    let agent = Agent::builder().model(model).output_schema("verdict", schema).build()?;
    let result = agent.run("Is this text any good?").await?;
    let verdict: Verdict = serde_json::from_value(result.output.ok_or("there is no output")?)?;
    println!("{verdict:?} after {} replies", result.iterations_used);
    assert_eq!(verdict, Verdict { good: true, reasons: vec!["short".into(), "clear".into()] });
    Ok(())
}
