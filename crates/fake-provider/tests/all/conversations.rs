//! Whole conversations: what the provider sends may come back.

use ambidex_fake_provider::{FakeProvider, Part, Script, Turn, Wire};
use serde_json::{Value, json};

use crate::client::{post, request};
use crate::{history, reader};

fn thinking_request() -> Value {
    let mut body = request(Wire::Anthropic, false);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    body["max_tokens"] = json!(4000);
    body
}

/// The second request of a conversation whose first reply had this content.
fn answered(content: Value) -> Value {
    let id = content.as_array().unwrap().iter().find(|b| b["type"] == "tool_use").unwrap()["id"].clone();
    let mut body = thinking_request();
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": content}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "ok"}]}),
    ]);
    body
}

async fn begun() -> (FakeProvider, Value) {
    let first = Turn::new([
        Part::reasoning("I should read it."),
        Part::RedactedReasoning("something hidden".into()),
        Part::call("read", json!({"path": "x"})),
    ]);
    let provider = FakeProvider::start(Script::new([first, Turn::text("done")])).await.unwrap();
    let reply = post(provider.addr(), Wire::Anthropic, &thinking_request()).await.json();
    (provider, reply["content"].clone())
}

async fn refusal(change: impl Fn(&mut Vec<Value>)) -> String {
    let (provider, content) = begun().await;
    let mut blocks = content.as_array().unwrap().clone();
    change(&mut blocks);
    let response = post(provider.addr(), Wire::Anthropic, &answered(Value::Array(blocks))).await;
    assert_eq!(response.status, Some(400), "{}", response.text());
    response.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn thinking_that_comes_back_verbatim_is_accepted() {
    let (provider, content) = begun().await;
    let response = post(provider.addr(), Wire::Anthropic, &answered(content)).await;
    assert_eq!(response.status, Some(200), "{}", response.text());
}

#[tokio::test]
async fn thinking_that_was_changed_is_refused() {
    let message = refusal(|blocks| blocks[0]["thinking"] = json!("I should not read it.")).await;
    assert_eq!(message, "messages.1.content.0: Invalid `signature` in `thinking` block");
    let message = refusal(|blocks| blocks[0]["signature"] = json!("forged")).await;
    assert_eq!(message, "messages.1.content.0: Invalid `signature` in `thinking` block");
    let message = refusal(|blocks| blocks[1]["data"] = json!("fakered-00-00")).await;
    assert_eq!(message, "messages.1.content.1: Invalid `data` in `redacted_thinking` block");
}

#[tokio::test]
async fn thinking_that_was_dropped_is_refused() {
    let message = refusal(|blocks| drop(blocks.drain(..2))).await;
    assert!(
        message.contains("Expected `thinking` or `redacted_thinking`, but found `tool_use`"),
        "{message}"
    );
    let message = refusal(|blocks| drop(blocks.remove(1))).await;
    assert!(message.contains("cannot be modified"), "{message}");
    let message = refusal(|blocks| blocks.swap(0, 1)).await;
    assert!(message.contains("cannot be modified"), "{message}");
}

#[tokio::test]
async fn thinking_may_be_dropped_when_it_is_switched_off() {
    let (provider, content) = begun().await;
    let calls = content.as_array().unwrap()[2..].to_vec();
    let mut body = answered(Value::Array(calls));
    body.as_object_mut().unwrap().remove("thinking");
    assert_eq!(post(provider.addr(), Wire::Anthropic, &body).await.status, Some(200));
}

#[tokio::test]
async fn a_signature_of_a_stream_is_the_same_as_of_a_body() {
    let (provider, content) = begun().await;
    let mut body = thinking_request();
    body["stream"] = json!(true);
    let response = post(provider.addr(), Wire::Anthropic, &body).await;
    let answer = reader::read(Wire::Anthropic, true, &response).unwrap();
    assert_eq!(answer.signatures, [content[0]["signature"].as_str().unwrap()]);
}

#[tokio::test]
async fn three_rounds_of_two_tools_pass_the_rules() {
    let round =
        || Turn::new([Part::text("on it"), Part::call("read", json!({})), Part::call("read", json!({}))]);
    let script = Script::new([round(), round(), round(), Turn::text("done")]);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in Wire::ALL {
        let mut body = request(wire, true);
        for turn in 0..4 {
            let response = post(provider.addr(), wire, &body).await;
            let answer =
                reader::read(wire, true, &response).unwrap_or_else(|e| panic!("{e} {}", response.text()));
            assert_eq!(answer.calls.len(), if turn == 3 { 0 } else { 2 });
            let signature = answer.signatures.first().map(String::as_str).unwrap_or_default();
            let calls = &answer.calls;
            if turn < 3 {
                history::answer(wire, &mut body, &answer.text, calls, signature, "ok");
            }
        }
    }
    assert!(provider.requests().iter().all(|record| record.refusal.is_none()));
}
