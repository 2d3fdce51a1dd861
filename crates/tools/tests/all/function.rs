use std::io;
use std::time::Duration;

use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error, ErrorKind, Tool, ToolOutput};
use ambidex_tools::{BlockingPool, BlockingTool, FunctionTool, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{call, fault, text};

#[derive(Deserialize, JsonSchema)]
struct Arguments {
    /// The city's name.
    city: String,
    days: Option<u32>,
    place: Option<Place>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Place {
    x: f64,
    y: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

fn weather() -> FunctionTool {
    FunctionTool::new("weather", "The weather.", async |arguments: Arguments, _: Context| {
        let Place { x, y } = arguments.place.unwrap_or(Place { x: 0.0, y: 0.0 });
        Ok::<_, Error>(format!("{} {:?} {x} {y}", arguments.city, arguments.days))
    })
}

fn failing<Failure: std::fmt::Display + Send + 'static>(make: fn() -> Failure) -> FunctionTool {
    FunctionTool::new("failing", "", move |_: Nothing, _| async move { Err::<(), _>(make()) })
}

#[test]
fn the_schema_is_made_from_the_type_inline_and_closed() {
    let tool = weather();
    let schema = &tool.spec().input;
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["required"], json!(["city"]));
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["city"]["description"], "The city's name.");
    assert!(schema.get("$schema").is_none() && schema.get("$defs").is_none(), "{schema}");
    let validator = Validator::new(schema).unwrap();
    assert_eq!(validator.check(&json!({"city": "Rome", "days": null, "place": {"x": 1, "y": 2.5}})), Ok(()));
    for wrong in [
        json!({}),
        json!({"city": "Rome", "town": 1}),
        json!({"city": "Rome", "place": {"x": 1, "y": 2, "z": 3}}),
    ] {
        assert!(validator.check(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_builder_sets_what_the_spec_says() {
    let tool = weather()
        .effect(EffectClass::Read)
        .exclusive()
        .timeout(Duration::from_millis(1_500))
        .attempts(3)
        .concurrency(4)
        .named("other");
    let spec = tool.spec();
    assert_eq!(spec.name, "other");
    assert_eq!((spec.effect, spec.exclusive), (EffectClass::Read, true));
    assert_eq!(
        (spec.timeout(), spec.attempts, spec.concurrency),
        (Duration::from_millis(1_500), Some(3), Some(4))
    );
}

#[tokio::test]
async fn arguments_reach_the_function_and_its_text_the_caller() {
    assert_eq!(text(&weather(), json!({"city": "Rome", "days": 2})).await, "Rome Some(2) 0 0");
}

#[tokio::test]
async fn results_keep_their_kind() {
    let value =
        FunctionTool::new("a", "", async |_: (), _: Context| Ok::<_, Error>(Place { x: 1.0, y: 2.0 }));
    assert_eq!(call(&value, json!({})).await, Ok(ToolOutput::Json(json!({"x": 1.0, "y": 2.0}))));
    let nothing = FunctionTool::new("a", "", async |_: Nothing, _: Context| Ok::<_, Error>(()));
    assert_eq!(call(&nothing, json!({})).await, Ok(ToolOutput::Text("done".into())));
    let ready = FunctionTool::new("a", "", async |_: Nothing, _: Context| {
        Ok::<_, Error>(ToolOutput::Json(json!("x")))
    });
    assert_eq!(call(&ready, json!({})).await, Ok(ToolOutput::Json(json!("x"))));
}

#[tokio::test]
async fn wrong_arguments_are_told() {
    let error = fault(&weather(), json!({"city": 7})).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert!(error.message().contains("expected a string"), "{error}");
}

#[tokio::test]
async fn errors_keep_what_they_know() {
    let error = fault(&failing(|| "no such city".to_owned()), json!({})).await;
    assert_eq!(
        (error.kind(), error.message(), error.is_retryable()),
        (ErrorKind::ToolFailed, "no such city", false)
    );

    let ours = fault(&failing(|| Error::new(ErrorKind::Denied, "no").retryable(true)), json!({})).await;
    assert_eq!((ours.kind(), ours.is_retryable()), (ErrorKind::Denied, true));

    assert!(fault(&failing(|| io::Error::from(io::ErrorKind::WouldBlock)), json!({})).await.is_retryable());
    assert!(!fault(&failing(|| io::Error::from(io::ErrorKind::NotFound)), json!({})).await.is_retryable());
    // Too many open files has no kind of its own.
    let exhausted = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    assert!(fault(&failing(exhausted), json!({})).await.is_retryable());
}

#[tokio::test]
async fn a_panic_is_the_calls_error_before_and_after_the_first_await() {
    let early = FunctionTool::new("early", "", |arguments: Arguments, _: Context| {
        assert!(arguments.city.is_empty(), "no city {}", arguments.city);
        async { Ok::<_, Error>(()) }
    });
    let late = FunctionTool::new("late", "", async |arguments: Arguments, _: Context| {
        tokio::task::yield_now().await;
        if arguments.days.is_none() {
            panic!("no days");
        }
        Ok::<_, Error>(())
    });
    let pool = BlockingPool::new(1);
    let blocking = BlockingTool::new("blocking", "", |_: Arguments, _: Context| -> Result<(), Error> {
        panic!("on a thread")
    })
    .on(&pool);
    let told = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::ToolFailed);
        error.message().to_owned()
    };
    let rome = json!({"city": "Rome"});
    assert_eq!(told(fault(&early, rome.clone()).await), "tool `early` panicked: no city Rome");
    assert_eq!(told(fault(&late, rome.clone()).await), "tool `late` panicked: no days");
    assert_eq!(told(fault(&blocking, rome.clone()).await), "tool `blocking` panicked: on a thread");
    // The thread is as good as before.
    assert_eq!(told(fault(&blocking, rome).await), "tool `blocking` panicked: on a thread");
    assert_eq!(pool.census().busy, 0);
}

#[tokio::test]
async fn a_tool_of_a_schema_known_only_now() {
    let mut spec = ambidex_core::ToolSpec::new("echo", "");
    spec.input = json!({"type": "object"});
    let echo = FunctionTool::dynamic(spec, async |value: Value, _| Ok(ToolOutput::Json(value)));
    assert_eq!(call(&echo, json!({"a": 1})).await, Ok(ToolOutput::Json(json!({"a": 1}))));
}
