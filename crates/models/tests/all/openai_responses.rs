//! What is Responses' own: items that go back as they came, what is sent beside the history.

use std::sync::Arc;

use ambidex_core::message::{Arguments, Message, Part, ProviderState, ToolCall};
use ambidex_core::model::{OutputSchema, Reasoning, Settings};
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::{Context, Error, Finish, Model, Request, Role};
use ambidex_fake_provider::{FakeProvider, Fault, Part as FakePart, Script, Turn, When, Wire};
use ambidex_models::adapter::Endpoint;
use ambidex_models::failure::{Place, WireError, of_response};
use ambidex_models::{Format, ModelConfig, ProviderModel, collect, vendors};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::faults::config;
use crate::requests::{body, client, request, tools};
use crate::wire::{cases, decode, folder};

const FORMAT: &str = "openai-responses";

fn model(name: &str) -> ProviderModel {
    let config = ModelConfig::new(Format::OpenAiResponses, "openai", name, "https://api.example.com/v1");
    ProviderModel::new(config, client()).unwrap()
}

fn sent(request: &Request) -> Value {
    body(&model("model-1"), request, &Context::detached())
}

fn reply(case: &str) -> Option<Reply> {
    let bytes = std::fs::read(folder(FORMAT).join(format!("{case}.sse"))).unwrap();
    let (chunks, error) = decode(Format::OpenAiResponses.adapter(), std::iter::once(bytes.as_slice()));
    let mut builder = ReplyBuilder::new();
    for chunk in chunks {
        builder.push(chunk).unwrap();
    }
    error.map_or_else(|| builder.finish(), Err).ok()
}

fn with_extra(extra: Value) -> Request {
    let extra = extra.as_object().unwrap().clone();
    let settings = Settings { extra, ..Settings::default() };
    Request { settings: Arc::new(settings), ..Request::user("Hi") }
}

fn state(json: &str) -> ProviderState {
    ProviderState { format: FORMAT.into(), json: json.into() }
}

fn reasoning(text: &str, json: &str) -> Part {
    Part::Reasoning { text: text.into(), state: Some(state(json)) }
}

fn input_after(reply: Arc<Message>) -> Value {
    sent(&request(vec![Message::user("Hi"), reply]))["input"].take()
}

/// The items of a whole reply as the server wrote them, byte for byte.
fn items(case: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        item: Option<&'a RawValue>,
        output_index: Option<u32>,
    }
    let text = std::fs::read_to_string(folder(FORMAT).join(format!("{case}.sse"))).unwrap();
    let mut done: Vec<(Option<u32>, String)> = text
        .lines()
        .filter(|line| line.contains("\"response.output_item.done\""))
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|json| {
            let event: Event<'_> = serde_json::from_str(json).unwrap();
            Some((event.output_index, event.item?.get().to_owned()))
        })
        .collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, item)| item).collect()
}

/// Reasoning and items that this version does not know go back byte for byte and in their place, whatever
/// stands around them; a call keeps its id, name and arguments.
#[test]
fn every_item_goes_back_in_its_place() {
    let mut seen = 0;
    for case in cases(&folder(FORMAT), "sse") {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(reply) = reply(&name) else { continue };
        if matches!(reply.finish, Finish::Length | Finish::ContentFilter) {
            continue;
        }
        let history = request(vec![Message::user("Hi"), reply.message.clone()]);
        let body = model("model-1").encode(&history, &Context::detached()).unwrap().concat();
        let body = String::from_utf8(body).unwrap();
        let mut from = 0;
        for item in items(&name) {
            let kind = serde_json::from_str::<Value>(&item).unwrap();
            if ["message", "function_call"].contains(&kind["type"].as_str().unwrap()) {
                continue;
            }
            let at = body[from..].find(&item);
            from += at.unwrap_or_else(|| panic!("{name}: {item} is not in {}", &body[from..])) + item.len();
            seen += 1;
        }
        let kinds: Vec<Value> = input_after(reply.message.clone())
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
            .map(|item| item["type"].clone())
            .collect();
        let expected: Vec<Value> = items(&name)
            .iter()
            .map(|item| serde_json::from_str::<Value>(item).unwrap()["type"].clone())
            .collect();
        // Equal calls are one.
        if !expected.is_empty() && name != "call_same_id_twice" {
            assert_eq!(kinds, expected, "{name}");
        }
    }
    assert!(seen >= 8, "only {seen} items were looked at");
}

#[test]
fn further_fields_of_messages_and_calls_go_back() {
    let input = input_after(reply("message_with_phase").unwrap().message);
    assert_eq!(
        input[1],
        json!({"type": "message", "role": "assistant", "content": "I look.", "phase": "commentary"})
    );
    assert_eq!(input[2]["phase"], "final_answer");
    let input = input_after(reply("call_with_further_fields").unwrap().message);
    assert_eq!(
        input[1],
        json!({"type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{\"path\":\"a\"}", "namespace": "files"})
    );
}

/// The vendor refuses reasoning that nothing follows, for as long as it stands in the history.
#[test]
fn reasoning_of_a_reply_that_was_cut_stays_away() {
    let said = || Part::text("Hi");
    let think = || reasoning("a", r#"{"type":"reasoning","id":"rs_1","summary":[]}"#);
    let hidden = || Part::Opaque { state: state(r#"{"id":"rs_2","type":"reasoning","summary":[]}"#) };
    let mark = || Part::Opaque { state: state(r#"["message",{"phase":"commentary"}]"#) };
    let kinds = |parts: Vec<Part>| -> Vec<String> {
        let input = input_after(Message::new(Role::Assistant, parts));
        let items = input.as_array().unwrap().iter().skip(1);
        items
            .map(|item| {
                format!("{}{}", item["id"].as_str().unwrap_or(""), item["phase"].as_str().unwrap_or("-"))
            })
            .collect()
    };
    assert_eq!(
        kinds(vec![think(), hidden(), said(), mark(), think(), hidden()]),
        ["rs_1-", "rs_2-", "commentary"]
    );
    let empty = input_after(Message::new(Role::Assistant, vec![think(), hidden()]));
    assert_eq!(empty[1], json!({"type": "message", "role": "assistant", "content": ""}));
}

#[test]
fn a_refusal_and_several_texts_are_a_message_of_contents() {
    let parts = vec![Part::text("No: "), Part::Refusal { text: "I cannot.".into() }];
    let input = input_after(Message::new(Role::Assistant, parts));
    assert_eq!(
        input[1]["content"],
        json!([
            {"type": "output_text", "text": "No: ", "annotations": []},
            {"type": "refusal", "refusal": "I cannot."},
        ])
    );
}

#[test]
fn call_ids_that_are_too_long_are_shortened_alike_in_call_and_result() {
    let call = ToolCall {
        id: "x".repeat(65),
        name: "read".into(),
        arguments: Arguments::Json(json!({})),
        state: None,
    };
    let input = sent(&request(vec![
        Message::user("Hi"),
        Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())]),
        Message::tool_result(&call, "ok", false),
    ]))["input"]
        .take();
    let id = input[1]["call_id"].as_str().unwrap();
    assert!(id.len() <= 64 && input[2]["call_id"] == id, "{input}");
}

#[test]
fn nothing_is_stored_and_reasoning_comes_encrypted_unless_the_user_says_otherwise() {
    let plain = sent(&Request::user("Hi"));
    assert_eq!(
        (&plain["store"], &plain["include"]),
        (&json!(false), &json!(["reasoning.encrypted_content"]))
    );
    let stored = sent(&with_extra(json!({"store": true, "previous_response_id": "resp_1"})));
    assert_eq!((&stored["store"], stored.get("include")), (&json!(true), None));
    assert_eq!(stored["previous_response_id"], "resp_1");
    assert_eq!(stored["input"][0]["content"], "Hi");
    let own = sent(&with_extra(json!({"include": ["message.output_text.logprobs"]})));
    assert_eq!(own["include"], json!(["message.output_text.logprobs"]));
    for name in ["gpt-4o-mini", "openai/gpt-4.1", "gpt-3.5-turbo"] {
        let body = body(&model(name), &Request::user("Hi"), &Context::detached());
        assert_eq!((&body["store"], body.get("include")), (&json!(false), None), "{name}");
    }
}

/// Settings of the user stand beside ours in the fields that hold several.
#[test]
fn fields_of_the_user_are_merged_with_ours() {
    let mut request = with_extra(json!({
        "text": {"verbosity": "low"},
        "reasoning": {"summary": "auto"},
        "tools": [{"type": "web_search"}],
        "input": "not this", "stream": false,
    }));
    request.tools = tools();
    request.output = Some(Arc::new(OutputSchema {
        name: "answer".into(),
        schema: json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
    }));
    let mut settings = (*request.settings).clone();
    settings.reasoning = Some(Reasoning::Effort("high".into()));
    request.settings = Arc::new(settings);
    let body = sent(&request);
    assert_eq!(body["text"]["verbosity"], "low");
    assert_eq!(
        (&body["text"]["format"]["type"], &body["text"]["format"]["strict"]),
        (&json!("json_schema"), &json!(true))
    );
    assert_eq!(body["reasoning"], json!({"summary": "auto", "effort": "high"}));
    let kinds: Vec<&str> =
        body["tools"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["function", "function", "web_search"]);
    assert_eq!((&body["stream"], body["input"].is_array()), (&json!(true), true));
}

#[test]
fn an_input_of_the_vendors_own_needs_no_history() {
    let request =
        Request { history: Arc::default(), ..with_extra(json!({"previous_response_id": "resp_1"})) };
    assert_eq!(sent(&request)["input"], json!([]));
}

#[test]
fn stop_sequences_that_the_format_lacks_are_refused_unless_the_server_knows_them() {
    let stop = |extra: Value| {
        let mut request = with_extra(extra);
        let settings = Settings { stop_sequences: vec!["END".into()], ..(*request.settings).clone() };
        request.settings = Arc::new(settings);
        request
    };
    let error = model("m").encode(&stop(json!({})), &Context::detached()).unwrap_err();
    assert_eq!(error.code(), "invalid_request");
    assert_eq!(sent(&stop(json!({"stop": ["END"]})))["stop"], json!(["END"]));
}

/// Reasoning without text, an item nobody knows and parallel calls, twice over: the strict provider refuses
/// what was changed, is missing or stands elsewhere.
#[tokio::test]
async fn a_conversation_keeps_what_it_does_not_know() {
    let parts = || {
        [
            FakePart::RedactedReasoning("hidden".into()),
            FakePart::reasoning("I need both."),
            FakePart::call("read", json!({"path": "a"})),
            FakePart::call("read", json!({"path": "b"})),
        ]
    };
    let script = Script::new([
        Turn::new(parts()).chunks(3).interleaved(),
        Turn::new(parts()).chunks(1),
        Turn::text("Both are empty."),
    ])
    .with_fault(Fault::UnknownItem, When::Always);
    let provider = FakeProvider::start(script).await.unwrap();
    let model = ProviderModel::new(config(&provider, Wire::Responses), client()).unwrap();
    let mut history = vec![Message::user("Read a and b.")];
    for turn in 0..3 {
        let request = Request { tools: tools(), ..request(history.clone()) };
        let reply = collect(model.stream(request, Context::detached())).await.unwrap();
        history.push(reply.message.clone());
        if turn == 2 {
            assert_eq!(reply.text(), "Both are empty.");
        }
        history.extend(reply.message.tool_calls().map(|call| Message::tool_result(call, "", false)));
    }
    let refused: Vec<_> = provider.requests().into_iter().filter_map(|it| it.refusal).collect();
    assert_eq!(refused, Vec::<String>::new());
    provider.shutdown().await;
}

/// A response that the vendor stored is continued by its id, and all of the history is sent after it.
#[tokio::test]
async fn a_stored_response_can_be_continued() {
    let provider = FakeProvider::start(Script::new([Turn::text("One."), Turn::text("Two.")])).await.unwrap();
    let model = ProviderModel::new(config(&provider, Wire::Responses), client()).unwrap();
    let ask = async |extra: Value| {
        collect(model.stream(with_extra(extra), Context::detached())).await.unwrap().text()
    };
    assert_eq!(ask(json!({"store": true})).await, "One.");
    assert_eq!(ask(json!({"previous_response_id": "resp_fake1"})).await, "Two.");
    assert_eq!(provider.requests()[1].refusal, None);
    provider.shutdown().await;
}

/// Inside a stream there is no header for how long to wait.
#[test]
fn a_rate_limit_in_a_stream_is_waited_for_as_its_words_say() {
    let wait = |words: &str| {
        let json = json!({"error": {"code": "rate_limit_exceeded", "message": words}}).to_string();
        WireError::of_json(json.as_bytes()).into_error().retry_after().map(|wait| wait.as_millis())
    };
    assert_eq!(wait("Limit 30000. Please try again in 11.054s. Visit the page."), Some(11_054));
    assert_eq!(wait("Please try again in 28ms."), Some(28));
    assert_eq!(wait("Please try again in 1m2.5s"), Some(62_500));
    assert_eq!(wait("Please try again in 35 seconds."), Some(35_000));
    assert_eq!(wait("Please try again in a while."), None);
    assert_eq!(wait("Please try again in 1e999 s"), None);
    assert_eq!(wait("Try again in 99999999999999999999999999 hours"), None);
    assert_eq!(wait("Slower."), None);
}

#[test]
fn an_item_that_the_vendor_did_not_keep_is_a_fault_of_the_request() {
    let place = Place {
        provider: "openai".into(),
        model: "m".into(),
        base_url: "https://api.example.com/v1".into(),
        key_source: "KEY".into(),
        key: None,
    };
    let message = "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.";
    let body = json!({"error": {"type": "invalid_request_error", "message": message}}).to_string();
    assert_eq!(of_response(&place, 404, body.as_bytes(), None, None).code(), "invalid_request");
}

/// The same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// The events of one item each, in their order: reasoning, a text, two calls and something unknown.
fn streams() -> Vec<Vec<Value>> {
    let arguments = r#"{"path":"ä","deep":{"a":[1,2,{"b":"]}"}]}}"#;
    let pieces = |text: &str, field: &str, index: usize, id: &str| -> Vec<Value> {
        let chars: Vec<char> = text.chars().collect();
        let piece = |piece: &[char]| json!({"type": field, "output_index": index, "item_id": id, "delta": piece.iter().collect::<String>()});
        chars.chunks(3).map(piece).collect()
    };
    let item = |index: usize, begun: Value, pieces: Vec<Value>, done: Value| {
        let mut events =
            vec![json!({"type": "response.output_item.added", "output_index": index, "item": begun})];
        events.extend(pieces);
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": done}));
        events
    };
    let call = |index: usize, name: &str| {
        let id = format!("fc_{index}");
        let whole = |arguments: &str| json!({"type": "function_call", "id": id, "call_id": format!("call_{index}"), "name": name, "arguments": arguments});
        let pieces = pieces(arguments, "response.function_call_arguments.delta", index, &id);
        item(index, whole(""), pieces, whole(arguments))
    };
    let reasoning = |text: &str| json!({"type": "reasoning", "id": "rs_0", "summary": [{"type": "summary_text", "text": text}]});
    let message = |content: Value| json!({"type": "message", "id": "msg_1", "content": content});
    let text = "Hällo 🌍, I look.";
    vec![
        item(
            0,
            json!({"type": "reasoning", "id": "rs_0", "summary": []}),
            pieces("Some thoughts, ä.", "response.reasoning_summary_text.delta", 0, "rs_0"),
            reasoning("Some thoughts, ä."),
        ),
        item(
            1,
            message(json!([])),
            pieces(text, "response.output_text.delta", 1, "msg_1"),
            message(json!([{"type": "output_text", "text": text}])),
        ),
        call(2, "read"),
        call(3, "list"),
        item(
            4,
            json!({"type": "odd", "id": "odd_4"}),
            vec![],
            json!({"type": "odd", "id": "odd_4", "more": 1}),
        ),
    ]
}

fn read(events: &[Value]) -> Result<Reply, Error> {
    let mut decoder = Format::OpenAiResponses.adapter().decoder();
    let mut builder = ReplyBuilder::new();
    let end = json!({"type": "response.completed", "response": {"status": "completed", "output": []}});
    for event in events.iter().chain([&end]) {
        let mut chunks = Vec::new();
        decoder.event(None, event.to_string().as_bytes(), &mut chunks)?;
        for chunk in chunks {
            builder.push(chunk).unwrap();
        }
    }
    builder.finish()
}

/// One event at a time of an item chosen by chance.
fn mixed(random: &mut Random, mut streams: Vec<Vec<Value>>) -> Vec<Value> {
    let mut events = Vec::new();
    streams.iter_mut().for_each(|stream| stream.reverse());
    while !streams.is_empty() {
        let at = random.below(streams.len());
        events.extend(streams[at].pop());
        streams.retain(|stream| !stream.is_empty());
    }
    events
}

/// Whatever order the events of different items come in, each piece finds its item: by index and id, by
/// the index alone, by the id alone, by the id where all say index 0.
#[test]
fn pieces_find_their_item_however_they_are_mixed() {
    let expected: Vec<Part> = read(&streams().concat()).unwrap().message.parts.clone();
    assert_eq!(expected.len(), 5);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..400 {
        let mut events = mixed(&mut random, streams());
        for event in &mut events {
            let event = event.as_object_mut().unwrap();
            match round % 4 {
                1 => drop(event.shift_remove("item_id")),
                2 => drop(event.shift_remove("output_index")),
                3 => drop(event.insert("output_index".into(), json!(0))),
                _ => {}
            }
        }
        let found = read(&events).unwrap_or_else(|error| panic!("round {round}: {error}: {events:#?}"));
        assert_eq!(found.message.parts.len(), 5, "round {round}");
        for part in &expected {
            assert!(found.message.parts.contains(part), "round {round}: {part:?} in {:?}", found.message);
        }
        // Reasoning stands before what it led to wherever it began before it.
        let at = |kind: fn(&Part) -> bool| found.message.parts.iter().position(kind);
        let began = |index: u32| {
            events.iter().position(|event| {
                event["type"] == "response.output_item.added"
                    && event["item"]["id"].as_str().is_some_and(|id| id.ends_with(&format!("_{index}")))
            })
        };
        if began(0) < began(1) {
            assert!(
                at(|part| matches!(part, Part::Reasoning { .. }))
                    < at(|part| matches!(part, Part::Text { .. }))
            );
        }
    }
}

/// Arguments whose pieces got lost on the way are whole all the same, or the reply is an error: nothing
/// else may run.
#[test]
fn arguments_that_lost_pieces_are_whole_or_an_error() {
    let calls = |reply: &Reply| -> Vec<ToolCall> { reply.message.tool_calls().cloned().collect() };
    let expected = calls(&read(&streams().concat()).unwrap());
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut whole, mut errors) = (0, 0);
    for _ in 0..600 {
        let mut events = streams().concat();
        for _ in 0..=random.below(6) {
            let at = random.below(events.len());
            if events[at]["type"] == "response.function_call_arguments.delta" {
                events.remove(at);
            }
        }
        match read(&events) {
            Ok(reply) => {
                whole += 1;
                assert_eq!(calls(&reply), expected);
            }
            Err(error) => {
                errors += 1;
                assert_eq!(error.code(), "bad_upstream");
                assert!(error.is_retryable());
            }
        }
    }
    assert!(whole > 50 && errors > 50, "{whole} whole, {errors} errors");
}

/// Azure's own address: its version of the path, and its header for the key.
#[test]
fn azure_is_asked_as_azure_wants_it() {
    let model = |base: &str| {
        let mut config = ModelConfig::new(Format::OpenAiResponses, "azure", "gpt-5", base);
        config.key = Some("secret".into());
        format!("{:?}", ProviderModel::new(config, client()).unwrap())
    };
    assert!(model("https://x.openai.azure.com").contains("/openai/v1/responses"));
    assert!(model("https://x.example.com").contains("example.com/v1/responses"));
    let azure = vendors::of("", "x.openai.azure.com").unwrap();
    let endpoint = Endpoint {
        model: "gpt-5".into(),
        base_path: "/openai/v1".into(),
        max_tokens: 100,
        context: None,
        quirks: azure.quirks,
    };
    let headers = Format::OpenAiResponses.adapter().headers(&endpoint, Some(&"secret".into())).unwrap();
    assert_eq!(headers[0].0.as_str(), "api-key");
}
