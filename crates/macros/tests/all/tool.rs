use std::sync::Arc;
use std::time::Duration;

use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, ErrorKind, Tool, ToolOutput};
use ambidex_macros::tool;
use ambidex_tools::{BlockingPool, Toolbox};
use serde_json::{Value, json};

/// Counts the words
/// of a text.
#[tool(effect = "read")]
fn word_count(
    /// The text.
    text: String,
) -> usize {
    text.split_whitespace().count()
}

#[tool(
    name = "send-mail",
    description = "Sends.",
    effect = "once",
    timeout = "1500ms",
    attempts = 2,
    concurrency = 3,
    exclusive
)]
async fn send(
    to: String,
    context: Context,
    #[arg(default = 3, description = "How often.")] mut tries: u32,
    #[arg(name = "from")] sender: Option<String>,
) -> Result<String, std::io::Error> {
    tries += 1;
    Ok(format!("{to} {tries} {sender:?} {}", context.idempotency_key()))
}

#[tool]
async fn fails() -> Result<(), String> {
    Err("no luck".to_owned())
}

/// A function may call itself by its name.
#[tool]
fn factorial(n: u64) -> u64 {
    if n < 2 { 1 } else { n * factorial(n - 1) }
}

async fn call(tool: impl Tool, arguments: Value) -> Result<ToolOutput, ambidex_core::Error> {
    let pool = BlockingPool::new(1);
    tool.call(arguments, Context::detached().with_threads(Arc::new(pool))).await
}

#[test]
fn the_spec_is_made_from_the_function() {
    let spec = word_count.spec();
    assert_eq!(
        (spec.name.as_str(), spec.description.as_str()),
        ("word_count", "Counts the words\nof a text.")
    );
    assert_eq!((spec.effect, spec.exclusive, spec.timeout_ms), (EffectClass::Read, false, None));
    assert_eq!(
        spec.input,
        json!({
            "type": "object",
            "properties": {"text": {"type": "string", "description": "The text."}},
            "required": ["text"],
            "additionalProperties": false,
        })
    );
    assert!(word_count.blocks() && !send.blocks());
}

#[test]
fn options_are_set() {
    let spec = send.spec();
    assert_eq!((spec.name.as_str(), spec.description.as_str()), ("send-mail", "Sends."));
    assert_eq!(
        (spec.effect, spec.exclusive, spec.timeout()),
        (EffectClass::Once, true, Duration::from_millis(1_500))
    );
    assert_eq!((spec.attempts, spec.concurrency), (Some(2), Some(3)));
    let properties = &spec.input["properties"];
    assert_eq!(properties.as_object().unwrap().keys().collect::<Vec<_>>(), ["to", "tries", "from"]);
    assert_eq!(
        (&properties["tries"]["default"], &properties["tries"]["description"]),
        (&json!(3), &json!("How often."))
    );
    assert_eq!(spec.input["required"], json!(["to"]));
}

#[tokio::test]
async fn a_call_reaches_the_function() {
    assert_eq!(call(word_count, json!({"text": "one two"})).await, Ok(ToolOutput::Json(json!(2))));
    let sent = call(send, json!({"to": "x", "from": "y"})).await.unwrap();
    assert_eq!(sent.to_text(), "x 4 Some(\"y\") none/call");
    assert_eq!(call(factorial, json!({"n": 5})).await, Ok(ToolOutput::Json(json!(120))));
    let error = call(fails, json!({})).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::ToolFailed, "no luck"));
    assert_eq!(call(fails, json!({"x": 1})).await.unwrap_err().kind(), ErrorKind::InvalidArguments);
}

#[tokio::test]
async fn the_function_can_still_be_called() {
    assert_eq!(word_count::function("one two three".to_owned()), 3);
    let sent = send::function("x".to_owned(), Context::detached(), 1, None).await.unwrap();
    assert!(sent.starts_with("x 2 None"), "{sent}");
}

#[test]
fn the_name_is_a_tool() {
    let mut tools = Toolbox::new();
    tools
        .add(word_count)
        .unwrap()
        .add(send)
        .unwrap()
        .add(word_count::tool().named("other").attempts(5))
        .unwrap();
    assert_eq!(tools.names().collect::<Vec<_>>(), ["word_count", "send-mail", "other"]);
    assert_eq!(tools.get("other").unwrap().spec().attempts, Some(5));
}
