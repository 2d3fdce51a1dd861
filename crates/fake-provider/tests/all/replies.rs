//! Replies without faults.

use ambidex_fake_provider::{FakeProvider, Finish, Part, Script, Turn, Usage, Wire};
use serde_json::json;

use crate::client::{self, post, request};
use crate::reader;

fn script() -> Script {
    let turn = Turn::new([
        Part::reasoning("think héavily"),
        Part::text("Let me see ✓🦀."),
        Part::call_with_id("id_a", "read", json!({"path": "README.md"})),
        Part::call_with_id("id_b", "read", json!({"path": "Cargo.toml"})),
    ]);
    let usage = Usage { input: 100, output: 20, cached: 60, cache_write: 10, reasoning: 5 };
    Script::new([turn.usage(usage).chunks(3)])
}

#[tokio::test]
async fn streamed_and_whole_replies_say_the_same() {
    let provider = FakeProvider::start(script()).await.unwrap();
    for wire in Wire::ALL {
        for stream in [true, false] {
            let mut body = request(wire, stream);
            if wire == Wire::OpenAi && stream {
                body["stream_options"] = json!({"include_usage": true});
            }
            let response = post(provider.addr(), wire, &body).await;
            let answer = reader::read(wire, stream, &response).unwrap();
            assert_eq!(answer.text, "Let me see ✓🦀.", "{wire:?} {stream}");
            assert_eq!(answer.reasoning, "think héavily");
            let signed = matches!(wire, Wire::Anthropic | Wire::Responses | Wire::Gemini);
            assert_eq!(answer.signatures.len(), usize::from(signed), "{wire:?}");
            let calls: Vec<_> = answer.calls.iter().map(|c| (c.0.as_str(), c.2.as_str())).collect();
            let wanted = [("id_a", r#"{"path":"README.md"}"#), ("id_b", r#"{"path":"Cargo.toml"}"#)];
            assert_eq!(calls, wanted);
            match wire {
                Wire::OpenAi => {
                    assert_eq!(answer.finish, "tool_calls");
                    assert_eq!(answer.usage["prompt_tokens"], 100);
                    assert_eq!(answer.usage["total_tokens"], 120);
                    assert_eq!(answer.usage["prompt_tokens_details"]["cached_tokens"], 60);
                    assert_eq!(answer.usage["completion_tokens_details"]["reasoning_tokens"], 5);
                    assert!(response.header("x-request-id").is_some());
                }
                Wire::Anthropic => {
                    assert_eq!(answer.finish, "tool_use");
                    assert_eq!(answer.usage["input_tokens"], 30);
                    assert_eq!(answer.usage["cache_read_input_tokens"], 60);
                    assert_eq!(answer.usage["cache_creation_input_tokens"], 10);
                    assert_eq!(answer.usage["output_tokens"], 20);
                    assert!(response.header("request-id").is_some());
                }
                Wire::Responses => {
                    assert_eq!(answer.finish, "completed");
                    assert_eq!(answer.usage["input_tokens"], 100);
                    assert_eq!(answer.usage["input_tokens_details"]["cached_tokens"], 60);
                    assert_eq!(answer.usage["output_tokens_details"]["reasoning_tokens"], 5);
                    assert_eq!(answer.usage["total_tokens"], 120);
                    assert!(response.header("x-request-id").is_some());
                }
                Wire::Gemini => {
                    assert_eq!(answer.finish, "STOP");
                    assert_eq!(answer.usage["promptTokenCount"], 100);
                    assert_eq!(answer.usage["cachedContentTokenCount"], 60);
                    assert_eq!(answer.usage["candidatesTokenCount"], 15);
                    assert_eq!(answer.usage["thoughtsTokenCount"], 5);
                }
                Wire::Ollama => {
                    assert_eq!(answer.finish, "stop");
                    assert_eq!(answer.usage["prompt_eval_count"], 100);
                    assert_eq!(answer.usage["eval_count"], 20);
                }
            }
        }
    }
}

#[tokio::test]
async fn usage_of_a_stream_comes_only_when_asked_for() {
    let provider = FakeProvider::start(script()).await.unwrap();
    let plain = post(provider.addr(), Wire::OpenAi, &request(Wire::OpenAi, true)).await;
    assert!(!plain.text().contains("usage"));
    let mut body = request(Wire::OpenAi, true);
    body["stream_options"] = json!({"include_usage": true});
    let asked = post(provider.addr(), Wire::OpenAi, &body).await;
    let events = reader::events(&asked.body).unwrap();
    let last: serde_json::Value = serde_json::from_slice(&events[events.len() - 2].1).unwrap();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"].is_object());
    assert_eq!(events.last().unwrap().1, b"[DONE]");
}

#[tokio::test]
async fn chunking_sets_the_size_of_deltas() {
    let provider = FakeProvider::start(Script::new([Turn::text("abcdefg").chunks(3)])).await.unwrap();
    for wire in Wire::ALL {
        let response = post(provider.addr(), wire, &request(wire, true)).await;
        let text = response.text();
        let pieces: Vec<String> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
            .filter_map(|data: serde_json::Value| {
                let piece = match wire {
                    Wire::OpenAi => &data["choices"][0]["delta"]["content"],
                    Wire::Responses => &data["delta"],
                    Wire::Anthropic => &data["delta"]["text"],
                    Wire::Gemini => &data["candidates"][0]["content"]["parts"][0]["text"],
                    Wire::Ollama => &data["message"]["content"],
                };
                piece.as_str().map(str::to_owned)
            })
            .filter(|text| !text.is_empty())
            .collect();
        assert_eq!(pieces, ["abc", "def", "g"], "{wire:?}");
    }
}

#[tokio::test]
async fn interleaved_calls_take_turns() {
    let turn =
        Turn::new([Part::call("read", json!({"path": "one"})), Part::call("read", json!({"path": "two"}))]);
    let provider = FakeProvider::start(Script::new([turn.chunks(4).interleaved()])).await.unwrap();
    let response = post(provider.addr(), Wire::OpenAi, &request(Wire::OpenAi, true)).await;
    let order: Vec<u64> = reader::events(&response.body)
        .unwrap()
        .iter()
        .filter_map(|(_, data)| serde_json::from_slice::<serde_json::Value>(data).ok())
        .filter_map(|data| data["choices"][0]["delta"]["tool_calls"][0]["index"].as_u64())
        .collect();
    assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let answer = reader::read(Wire::OpenAi, true, &response).unwrap();
    assert_eq!(answer.calls[0].2, r#"{"path":"one"}"#);
    assert_eq!(answer.calls[1].2, r#"{"path":"two"}"#);
}

#[tokio::test]
async fn every_finish_has_its_word() {
    for (finish, words) in [
        (Finish::Stop, ["stop", "completed", "end_turn", "STOP", "stop"]),
        (Finish::ToolCalls, ["tool_calls", "completed", "tool_use", "STOP", "stop"]),
        (Finish::Length, ["length", "max_output_tokens", "max_tokens", "MAX_TOKENS", "length"]),
        (Finish::ContentFilter, ["content_filter", "content_filter", "refusal", "SAFETY", "stop"]),
        (Finish::Refusal, ["stop", "completed", "refusal", "PROHIBITED_CONTENT", "stop"]),
        (Finish::StopSequence, ["stop", "completed", "stop_sequence", "STOP", "stop"]),
        (Finish::PauseTurn, ["stop", "completed", "pause_turn", "STOP", "stop"]),
    ] {
        let provider = FakeProvider::start(Script::new([Turn::text("x").finish(finish)])).await.unwrap();
        for (wire, wanted) in Wire::ALL.into_iter().zip(words) {
            for stream in [true, false] {
                let response = post(provider.addr(), wire, &request(wire, stream)).await;
                assert_eq!(reader::read(wire, stream, &response).unwrap().finish, wanted);
            }
        }
    }
}

#[tokio::test]
async fn models_are_listed_in_each_vendors_shape() {
    let script = Script { models: vec!["one".into(), "two".into()], ..Script::text("ok") };
    let provider = FakeProvider::start(script).await.unwrap();
    let patience = std::time::Duration::from_secs(10);
    for (wire, path, list, name) in [
        (Wire::OpenAi, "/v1/models", "data", "id"),
        (Wire::Anthropic, "/v1/models", "data", "id"),
        (Wire::Gemini, "/v1/models", "models", "displayName"),
        (Wire::Gemini, "/v1beta/models", "models", "displayName"),
        (Wire::Ollama, "/api/tags", "models", "name"),
    ] {
        let get = client::encode("GET", path, &client::auth(wire), b"");
        let listed = client::send(provider.addr(), &get, patience).await.json();
        assert_eq!(listed[list][1][name], "two", "{listed}");
        assert_eq!(listed["has_more"].is_boolean(), wire == Wire::Anthropic);
        let get = client::encode("GET", &format!("{path}/none"), &client::auth(wire), b"");
        assert_eq!(client::send(provider.addr(), &get, patience).await.status, Some(404));
    }
    let json = [("content-type", "application/json")];
    let show = client::encode("POST", "/api/show", &json, br#"{"model":"one"}"#);
    let shown = client::send(provider.addr(), &show, patience).await.json();
    assert!(shown["capabilities"].as_array().unwrap().iter().any(|it| it == "tools"), "{shown}");
    let show = client::encode("POST", "/api/show", &json, br#"{"model":"three"}"#);
    let refused = client::send(provider.addr(), &show, patience).await;
    assert_eq!(
        (refused.status, refused.json()["error"].as_str()),
        (Some(404), Some("model 'three' not found"))
    );
    // A model that is not listed is refused in a chat too.
    for wire in Wire::ALL {
        let response = post(provider.addr(), wire, &request(wire, true)).await;
        assert_eq!(response.status, Some(404));
        assert!(response.text().contains("fake-1"));
    }
}

#[tokio::test]
async fn interleaved_calls_of_responses_are_told_by_their_items() {
    let turn =
        Turn::new([Part::call("read", json!({"path": "one"})), Part::call("read", json!({"path": "two"}))]);
    let provider = FakeProvider::start(Script::new([turn.chunks(4).interleaved()])).await.unwrap();
    let response = post(provider.addr(), Wire::Responses, &request(Wire::Responses, true)).await;
    let order: Vec<u64> = reader::events(&response.body)
        .unwrap()
        .iter()
        .filter(|(name, _)| name == "response.function_call_arguments.delta")
        .filter_map(|(_, data)| serde_json::from_slice::<serde_json::Value>(data).ok())
        .filter_map(|data| data["output_index"].as_u64())
        .collect();
    assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1]);
    let answer = reader::read(Wire::Responses, true, &response).unwrap();
    assert_eq!(
        (answer.calls[0].2.as_str(), answer.calls[1].2.as_str()),
        (r#"{"path":"one"}"#, r#"{"path":"two"}"#)
    );
}

#[tokio::test]
async fn an_item_of_responses_is_whole_only_when_it_is_done() {
    let script = Script::new([Turn::new([Part::reasoning("hm"), Part::call("read", json!({"path": "x"}))])]);
    let provider = FakeProvider::start(script).await.unwrap();
    let response = post(provider.addr(), Wire::Responses, &request(Wire::Responses, true)).await;
    let events = reader::events(&response.body).unwrap();
    let items = |wanted: &str| -> Vec<serde_json::Value> {
        let events = events.iter().filter(|(name, _)| name == wanted);
        events
            .map(|(_, data)| serde_json::from_slice::<serde_json::Value>(data).unwrap()["item"].clone())
            .collect()
    };
    let (added, done) = (items("response.output_item.added"), items("response.output_item.done"));
    let encrypted = |item: &serde_json::Value| item["encrypted_content"].as_str().unwrap().to_owned();
    assert!(
        encrypted(&done[0]).starts_with(&encrypted(&added[0])) && encrypted(&done[0]) != encrypted(&added[0])
    );
    assert_eq!((&added[1]["arguments"], &added[1]["status"]), (&json!(""), &json!("in_progress")));
    assert_eq!((&done[1]["arguments"], &done[1]["status"]), (&json!(r#"{"path":"x"}"#), &json!("completed")));
}

#[tokio::test]
async fn calls_come_without_ids_where_the_script_gives_an_empty_one() {
    let script = Script::new([Turn::new([Part::call_with_id("", "read", json!({}))])]);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in [Wire::Gemini, Wire::Ollama] {
        let response = post(provider.addr(), wire, &request(wire, true)).await;
        assert!(!response.text().contains("\"id\""), "{}", response.text());
        assert_eq!(reader::read(wire, true, &response).unwrap().calls.len(), 1);
    }
}

#[tokio::test]
async fn gemini_signs_the_last_part_of_a_reply_without_calls() {
    let script = Script::new([Turn::new([Part::reasoning("hm"), Part::text("no calls")])]);
    let provider = FakeProvider::start(script).await.unwrap();
    for stream in [true, false] {
        let response = post(provider.addr(), Wire::Gemini, &request(Wire::Gemini, stream)).await;
        let answer = reader::read(Wire::Gemini, stream, &response).unwrap();
        assert_eq!((answer.text.as_str(), answer.signatures.len()), ("no calls", 1));
    }
}
