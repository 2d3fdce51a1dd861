//! Every fault, in every format it exists in, as bytes.

use std::collections::HashSet;

use ambidex_fake_provider::{Demand, FakeProvider, Fault, Part, Script, Turn, When, Wire};
use serde_json::{Value, json};

use crate::client::{End, Response, post, post_until_silence, request};
use crate::reader::{self, Answer};

fn script() -> Script {
    Script::new([Turn::new([
        Part::text("Héllo wörld, let me see ✓🦀."),
        Part::call_with_id("id_a", "read", json!({"path": "README.md"})),
        Part::call_with_id("id_b", "read", json!({"path": "Cargo.toml"})),
    ])
    .chunks(5)])
}

fn stalls(fault: Fault) -> bool {
    fault.name().starts_with("stall-")
}

/// One struck response.
async fn struck(fault: Fault, wire: Wire, stream: bool) -> Response {
    let provider = FakeProvider::start(script().with_fault(fault, When::Always)).await.unwrap();
    let body = request(wire, stream);
    let response = if stalls(fault) {
        post_until_silence(provider.addr(), wire, &body).await
    } else {
        post(provider.addr(), wire, &body).await
    };
    let record = provider.requests().remove(0);
    assert_eq!(record.fault, Some(fault));
    assert_eq!(record.status, response.status.unwrap_or(record.status), "{fault:?}");
    response
}

async fn clean(wire: Wire, stream: bool) -> Answer {
    let provider = FakeProvider::start(script()).await.unwrap();
    reader::read(wire, stream, &post(provider.addr(), wire, &request(wire, stream)).await).unwrap()
}

fn everywhere() -> impl Iterator<Item = (Fault, Wire, bool)> {
    Fault::all().iter().flat_map(|fault| {
        Wire::ALL
            .into_iter()
            .flat_map(move |wire| [true, false].map(|stream| (*fault, wire, stream)))
            .filter(|(fault, wire, stream)| fault.applies_to(*wire, *stream))
    })
}

#[test]
fn names_are_unique_and_stable() {
    let names: HashSet<&str> = Fault::all().iter().map(|fault| fault.name()).collect();
    assert_eq!(names.len(), Fault::all().len());
    for fault in Fault::all() {
        assert_eq!(Fault::by_name(fault.name()), Some(*fault));
        assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        assert!(!fault.summary().is_empty() && !fault.wires().is_empty());
    }
    assert_eq!(Fault::by_name("no-such-fault"), None);
}

/// Judged by a reader that knows only the rules of the formats.
#[tokio::test]
async fn every_fault_is_what_its_demand_says() {
    for (fault, wire, stream) in everywhere() {
        let place = format!("{} {} stream={stream}", fault.name(), wire.as_str());
        let response = struck(fault, wire, stream).await;
        let read = reader::read(wire, stream, &response);
        let whole = clean(wire, stream).await;
        match fault.demand() {
            Demand::Whole => {
                let answer = read.unwrap_or_else(|why| panic!("{place}: {why}"));
                assert_eq!((&answer.text, &answer.finish), (&whole.text, &whole.finish), "{place}");
                if fault == Fault::ArgumentsEmpty {
                    assert!(["", "{}"].contains(&answer.calls[0].2.as_str()), "{place}");
                } else {
                    assert_eq!(answer.calls, whole.calls, "{place}");
                }
                assert!(answer.calls.iter().all(|call| reader::runnable(&answer, call)), "{place}");
            }
            Demand::Unusable => {
                assert!(read.is_err(), "{place}: {read:?}");
            }
            Demand::Final => match read {
                Err(_) => {}
                Ok(answer) => {
                    let finish = answer.finish.as_str();
                    let filtered = ["content_filter", "refusal", "SAFETY"].contains(&finish);
                    let said = filtered || reader::CUT.contains(&finish);
                    // OpenAI says a refusal in a field, not in the finish reason.
                    let refused = response.text().contains("\"refusal\":\"I can");
                    assert!(said || refused, "{place}: {answer:?}");
                    assert!(answer.calls.is_empty() && answer.text.len() < whole.text.len(), "{place}");
                }
            },
            Demand::Withhold => match read {
                // Too deep for the parser of this test when the arguments are not a string.
                Err(why) => assert!(fault == Fault::DeepArguments, "{place}: {why}"),
                Ok(answer) => {
                    let withheld = answer.calls.iter().any(|call| !reader::runnable(&answer, call));
                    assert!(withheld, "{place}: {answer:?}");
                }
            },
        }
    }
}

#[tokio::test]
async fn the_second_attempt_is_clean() {
    for (fault, wire, stream) in everywhere() {
        let provider = FakeProvider::start(script().with_fault(fault, When::First)).await.unwrap();
        let body = request(wire, stream);
        if stalls(fault) {
            post_until_silence(provider.addr(), wire, &body).await;
        } else {
            post(provider.addr(), wire, &body).await;
        }
        let second = post(provider.addr(), wire, &body).await;
        let answer = reader::read(wire, stream, &second).unwrap();
        assert_eq!(answer, clean(wire, stream).await, "{} {wire:?}", fault.name());
        let struck: Vec<_> =
            provider.requests().iter().map(|record| (record.attempt, record.fault)).collect();
        assert_eq!(struck, [(1, Some(fault)), (2, None)]);
    }
}

#[tokio::test]
async fn a_fault_of_streams_leaves_a_whole_reply_alone() {
    let provider = FakeProvider::start(script().with_fault(Fault::Crlf, When::Always)).await.unwrap();
    let response = post(provider.addr(), Wire::OpenAi, &request(Wire::OpenAi, false)).await;
    assert!(reader::read(Wire::OpenAi, false, &response).is_ok());
    assert_eq!(provider.requests()[0].fault, None);
}

#[tokio::test]
async fn truncated_streams_end_as_their_names_say() {
    for wire in Wire::ALL {
        for (fault, end) in [
            (Fault::TruncateClean, End::Complete),
            (Fault::TruncateFin, End::Fin),
            (Fault::TruncateReset, End::Reset),
            (Fault::TruncateMidEvent, End::Complete),
            (Fault::TruncateMidEventFin, End::Fin),
            (Fault::TruncateUntilClose, End::Complete),
            (Fault::ShortBody, End::Fin),
            (Fault::MissingFinish, End::Complete),
            (Fault::StallSilent, End::Silent),
            (Fault::StallAtEnd, End::Silent),
        ] {
            let response = struck(fault, wire, true).await;
            assert_eq!((response.status, response.end), (Some(200), end), "{} {wire:?}", fault.name());
            let text = response.text();
            assert!(text.contains("Héll"), "{} {wire:?}: {text}", fault.name());
            for end in ["[DONE]", "message_stop", "response.completed", "finishReason", "\"done\":true"] {
                assert!(!text.contains(end), "{}", fault.name());
            }
            let mid = [Fault::TruncateMidEvent, Fault::TruncateMidEventFin].contains(&fault);
            let whole = if wire == Wire::Ollama { "\n" } else { "\n\n" };
            assert_eq!(!text.ends_with(whole), mid, "{} {wire:?}", fault.name());
        }
    }
}

#[tokio::test]
async fn truncated_bodies_end_as_their_names_say() {
    for wire in Wire::ALL {
        let full = {
            let provider = FakeProvider::start(script()).await.unwrap();
            post(provider.addr(), wire, &request(wire, false)).await.body.len()
        };
        for (fault, end) in [
            (Fault::TruncateClean, End::Complete),
            (Fault::TruncateFin, End::Fin),
            (Fault::TruncateReset, End::Reset),
            (Fault::TruncateUntilClose, End::Complete),
            (Fault::ShortBody, End::Fin),
        ] {
            let response = struck(fault, wire, false).await;
            assert_eq!((response.status, response.end), (Some(200), end), "{} {wire:?}", fault.name());
            assert_eq!(response.body.len(), full / 2, "{}", fault.name());
        }
    }
}

#[tokio::test]
async fn broken_connections_break_where_they_say() {
    for wire in Wire::ALL {
        for stream in [true, false] {
            for (fault, status, end) in [
                (Fault::CloseBeforeResponse, None, End::Fin),
                (Fault::ResetBeforeResponse, None, End::Reset),
                (Fault::TruncateHead, None, End::Fin),
                (Fault::ResetAfterHead, Some(200), End::Reset),
                (Fault::GarbageChunkSize, Some(200), End::Broken),
                (Fault::StallBeforeHead, None, End::Silent),
                (Fault::StallAfterHead, Some(200), End::Silent),
            ] {
                let response = struck(fault, wire, stream).await;
                assert_eq!((response.status, response.end), (status, end), "{} {wire:?}", fault.name());
                assert!(response.body.is_empty());
                assert_eq!(response.raw.is_empty(), status.is_none() && fault != Fault::TruncateHead);
            }
        }
    }
}

#[tokio::test]
async fn pings_go_on_in_the_formats_own_way() {
    for wire in Wire::ALL {
        let ping = match wire {
            Wire::OpenAi | Wire::Responses | Wire::Gemini => ": keep-alive\n\n",
            Wire::Anthropic => "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            Wire::Ollama => "\n",
        };
        let after = struck(Fault::StallPings, wire, true).await.text();
        assert!(after.contains("Héll") && after.matches(ping).count() >= 2, "{after}");
        let first = struck(Fault::StallPingsFirst, wire, true).await.text();
        assert!(!first.contains("Héll") && first.matches(ping).count() >= 2, "{first}");
    }
}

#[tokio::test]
async fn chunks_end_where_the_fault_wants_them() {
    for wire in Wire::ALL {
        let split = struck(Fault::SplitUtf8, wire, true).await;
        let inside = split.chunks.iter().filter(|chunk| std::str::from_utf8(chunk).is_err()).count();
        assert!(inside >= 10 && std::str::from_utf8(&split.body).is_ok());

        let bytes = struck(Fault::ByteByByte, wire, true).await;
        assert!(bytes.chunks.len() > 500 && bytes.chunks.iter().all(|chunk| chunk.len() == 1));

        assert_eq!(struck(Fault::OneChunk, wire, true).await.chunks.len(), 1);

        let crlf = struck(Fault::Crlf, wire, true).await.text();
        assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());

        let apart = struck(Fault::CrlfSplit, wire, true).await;
        assert!(apart.chunks.iter().all(|chunk| !chunk.windows(2).any(|two| two == b"\r\n")));
        assert_eq!(apart.text().contains("\r\n\r\n"), wire != Wire::Ollama);
    }
}

#[tokio::test]
async fn odd_streams_look_as_described() {
    let text = struck(Fault::MissingLastBlankLine, Wire::Ollama, true).await.text();
    assert!(text.ends_with('}'), "{text}");
    for &wire in Fault::Comments.wires() {
        let text = struck(Fault::MissingLastBlankLine, wire, true).await.text();
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
        assert!(struck(Fault::ByteOrderMark, wire, true).await.body.starts_with(b"\xef\xbb\xbf"));
        assert!(!struck(Fault::NoSpaceAfterColon, wire, true).await.text().contains("data: "));
        assert!(struck(Fault::Comments, wire, true).await.text().contains("\n\n\n:\nid: 7\nretry: 10\n"));
        assert!(struck(Fault::UnknownEvent, wire, true).await.text().contains("event: heartbeat.v9"));
        for fault in [Fault::GarbageLine, Fault::GarbageData] {
            assert!(std::str::from_utf8(&struck(fault, wire, true).await.body).is_err());
        }
    }
    let text = struck(Fault::MissingDone, Wire::OpenAi, true).await.text();
    assert!(text.contains("\"finish_reason\":\"tool_calls\"") && !text.contains("[DONE]"));
    let text = struck(Fault::DoneWithoutFinish, Wire::OpenAi, true).await.text();
    assert!(!text.contains("\"finish_reason\":\"") && text.ends_with("data: [DONE]\n\n"));
    let text = struck(Fault::MissingMessageStop, Wire::Anthropic, true).await.text();
    assert!(text.contains("\"stop_reason\":\"tool_use\"") && !text.contains("message_stop"));
}

#[tokio::test]
async fn faults_of_one_format_look_as_described() {
    let failed = struck(Fault::ResponseFailed, Wire::Responses, true).await;
    let (name, data) = reader::events(&failed.body).unwrap().pop().unwrap();
    let data: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!((name.as_str(), &data["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!(data["response"]["error"]["code"], "server_error");
    assert!(failed.text().contains("Héll"));
    for stream in [true, false] {
        let blocked = struck(Fault::PromptBlocked, Wire::Gemini, stream).await.text();
        assert!(blocked.contains("blockReason") && !blocked.contains("candidates\""), "{blocked}");
        let malformed = struck(Fault::MalformedCall, Wire::Gemini, stream).await.text();
        assert!(malformed.contains("MALFORMED_FUNCTION_CALL") && !malformed.contains("parts"), "{malformed}");
        for wire in [Wire::Responses, Wire::Gemini] {
            assert!(struck(Fault::UnknownItem, wire, stream).await.text().contains("teleport"));
        }
    }
}

/// What no rule knows is taken back as it was sent, and only so.
#[tokio::test]
async fn an_unknown_item_may_come_back_unchanged() {
    for wire in [Wire::Responses, Wire::Gemini] {
        let script = Script::text("ok").with_fault(Fault::UnknownItem, When::Once);
        let provider = FakeProvider::start(script).await.unwrap();
        let body = request(wire, false);
        let reply = post(provider.addr(), wire, &body).await.json();
        let (place, text) = match wire {
            Wire::Gemini => ("/candidates/0/content/parts/0", json!([{"text": "on"}])),
            _ => ("/output/0", json!([{"type": "input_text", "text": "on"}])),
        };
        let mut odd = reply.pointer(place).unwrap().clone();
        for status in [200, 400] {
            let more = match wire {
                Wire::Gemini => json!([{"role": "model", "parts": [odd]}, {"role": "user", "parts": text}]),
                _ => json!([odd, {"role": "user", "content": text}]),
            };
            let list = if wire == Wire::Gemini { "contents" } else { "input" };
            let mut next = body.clone();
            next[list].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
            let response = post(provider.addr(), wire, &next).await;
            assert_eq!(response.status, Some(status), "{wire:?} {}", response.text());
            odd["more"] = json!(1);
        }
    }
}

#[tokio::test]
async fn pages_come_with_their_content_types() {
    for wire in Wire::ALL {
        let page = struck(Fault::Html200, wire, true).await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().starts_with("<!DOCTYPE html>"));
        let page = struck(Fault::HtmlEventStream, wire, true).await;
        let wanted = if wire == Wire::Ollama { "application/x-ndjson" } else { "text/event-stream" };
        assert_eq!(page.header("content-type"), Some(wanted));
        assert!(struck(Fault::Empty200, wire, false).await.body.is_empty());
        assert_eq!(struck(Fault::JsonNotReply, wire, false).await.json(), json!({"status": "ok"}));
        shape(wire, &struck(Fault::ErrorBody200, wire, true).await.json());
    }
}

#[tokio::test]
async fn redirects_lead_to_a_path_that_answers() {
    for wire in Wire::ALL {
        for (fault, status) in
            [(Fault::Redirect301, 301), (Fault::Redirect302, 302), (Fault::Redirect307, 307)]
        {
            let provider = FakeProvider::start(script().with_fault(fault, When::Always)).await.unwrap();
            let response = post(provider.addr(), wire, &request(wire, true)).await;
            assert_eq!(response.status, Some(status));
            let target = response.header("location").unwrap();
            let path = format!("/redirected{}", wire.path("fake-1", true));
            assert_eq!(target, format!("http://{}{path}", provider.addr()));
            let again = crate::client::post_bytes(wire, &[], &request(wire, true));
            let again =
                String::from_utf8(again).unwrap().replacen("POST /", "POST /redirected/", 1).into_bytes();
            let followed =
                crate::client::send(provider.addr(), &again, std::time::Duration::from_secs(10)).await;
            assert!(reader::read(wire, true, &followed).is_ok());
            assert_eq!(provider.requests()[1].path, path);
        }
    }
}

#[tokio::test]
async fn rate_limits_say_when_in_every_form() {
    for wire in Wire::ALL {
        for (fault, name, value) in [
            (Fault::RateLimitSeconds, "retry-after", Some("1")),
            (Fault::RateLimitFraction, "retry-after", Some("0.2")),
            (Fault::RateLimitPastDate, "retry-after", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (Fault::RateLimitMillis, "retry-after-ms", Some("200")),
            (Fault::RateLimitHuge, "retry-after", Some("86400")),
            (Fault::RateLimitMissing, "retry-after", None),
            (Fault::RateLimitInvalid, "retry-after", Some("soon")),
            (Fault::RateLimitNegative, "retry-after", Some("-5")),
        ] {
            let response = struck(fault, wire, true).await;
            assert_eq!((response.status, response.header(name)), (Some(429), value), "{}", fault.name());
            shape(wire, &response.json());
        }
        let response = struck(Fault::RateLimitDate, wire, true).await;
        let date = response.header("retry-after").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{date}");
        let ahead = jiff::fmt::rfc2822::parse(date).unwrap().timestamp().as_second()
            - jiff::Timestamp::now().as_second();
        assert!((0..=2).contains(&ahead), "{ahead}");
    }
    let openai = struck(Fault::QuotaExhausted, Wire::OpenAi, true).await;
    assert_eq!((openai.status, &openai.json()["error"]["code"]), (Some(429), &json!("insufficient_quota")));
    let gemini = struck(Fault::QuotaExhausted, Wire::Gemini, true).await;
    assert_eq!(gemini.status, Some(429));
    assert!(gemini.text().contains("PerDay"));
    let gemini = struck(Fault::RateLimitInBody, Wire::Gemini, true).await;
    assert_eq!((gemini.status, gemini.header("retry-after")), (Some(429), None));
    assert_eq!(gemini.json()["error"]["details"][1]["retryDelay"], "1.2s");
    let gemini = struck(Fault::RateLimitInBodyHuge, Wire::Gemini, true).await;
    assert_eq!(gemini.json()["error"]["details"][1]["retryDelay"], "86400s");
    let said = struck(Fault::RateLimitInStream, Wire::Responses, true).await.text();
    assert!(said.contains("rate_limit_exceeded") && said.contains("try again in 1.2s"), "{said}");
    let anthropic = struck(Fault::QuotaExhausted, Wire::Anthropic, true).await;
    assert_eq!(anthropic.status, Some(400));
    assert!(anthropic.text().contains("credit balance"));
}

#[tokio::test]
async fn statuses_have_the_vendors_shapes() {
    for wire in Wire::ALL {
        for (fault, status) in [
            (Fault::Status400, 400),
            (Fault::Status401, 401),
            (Fault::Status403, 403),
            (Fault::Status404, 404),
            (Fault::Status408, 408),
            (Fault::Status413, 413),
            (Fault::Status422, 422),
            (Fault::Status500, 500),
            (Fault::Status503, 503),
        ] {
            let response = struck(fault, wire, true).await;
            assert_eq!(response.status, Some(status));
            shape(wire, &response.json());
        }
        assert!(struck(Fault::Status502, wire, true).await.text().contains("<html>"));
        assert_eq!(struck(Fault::Status503, wire, true).await.header("retry-after"), Some("1"));
        let timeout = struck(Fault::Status504, wire, true).await;
        assert_eq!((timeout.status, timeout.body.len()), (Some(504), 0));
    }
    let overloaded = struck(Fault::Status529, Wire::Anthropic, true).await;
    assert_eq!(overloaded.json()["error"]["type"], "overloaded_error");
    assert!(!Fault::Status529.applies_to(Wire::OpenAi, true));
}

fn shape(wire: Wire, body: &Value) {
    let error = &body["error"];
    match wire {
        Wire::OpenAi | Wire::Responses | Wire::Anthropic => {
            assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
        }
        Wire::Gemini => {
            let said = error["message"].is_string() && error["status"].is_string();
            assert!(said && error["code"].is_u64(), "{body}");
        }
        Wire::Ollama => assert!(error.is_string() && body.as_object().unwrap().len() == 1, "{body}"),
    }
    match wire {
        Wire::Gemini | Wire::Ollama => {}
        Wire::OpenAi | Wire::Responses => {
            assert!(body["error"].as_object().unwrap().contains_key("param"));
            assert!(body["error"].as_object().unwrap().contains_key("code"));
        }
        Wire::Anthropic => assert!(body["type"] == "error" && body["request_id"].is_string(), "{body}"),
    }
}

#[tokio::test]
async fn errors_inside_a_stream_have_the_vendors_shapes() {
    for wire in Wire::ALL {
        for (fault, content) in
            [(Fault::ErrorEventFirst, false), (Fault::ErrorEventTyped, false), (Fault::ErrorEventMid, true)]
        {
            let response = struck(fault, wire, true).await;
            assert_eq!((response.status, response.end), (Some(200), End::Complete));
            assert_eq!(response.text().contains("Héll"), content);
            if wire == Wire::Ollama {
                let text = response.text();
                shape(wire, &serde_json::from_str(text.lines().last().unwrap()).unwrap());
                continue;
            }
            let (name, data) = reader::events(&response.body).unwrap().pop().unwrap();
            let data: Value = serde_json::from_slice(&data).unwrap();
            match (wire, fault) {
                (Wire::Responses, Fault::ErrorEventTyped) => {
                    assert_eq!(name, "response.failed");
                    assert_eq!(data["response"]["error"]["code"], "context_length_exceeded");
                }
                (Wire::Responses, _) => {
                    assert_eq!(name, "error");
                    assert!(data["code"].is_string() && data["message"].is_string(), "{data}");
                }
                (Wire::Anthropic, _) => {
                    assert_eq!(name, "error");
                    shape(wire, &data);
                }
                _ => {
                    assert_eq!(name, "");
                    shape(wire, &data);
                }
            }
        }
    }
}

#[tokio::test]
async fn too_much_is_too_much() {
    for wire in Wire::ALL {
        let huge = struck(Fault::HugeEvent, wire, true).await;
        let longest = huge.body.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap();
        assert!(longest > 5 * 1024 * 1024);
        for stream in [true, false] {
            let answer = struck(Fault::HugeAnswer, wire, stream).await;
            assert_eq!(answer.end, End::Complete);
            assert!(answer.body.len() > 17 * 1024 * 1024);
            let deep = [Fault::DeepJson, Fault::DeepArguments];
            for fault in deep.into_iter().filter(|fault| fault.applies_to(wire, stream)) {
                let deep = struck(fault, wire, stream).await;
                let opening = deep.body.iter().filter(|byte| **byte == b'[').count();
                assert!(opening >= 10_000, "{} {wire:?} {stream}: {opening}", fault.name());
            }
        }
    }
}

#[tokio::test]
async fn calls_are_broken_as_described() {
    for wire in Wire::ALL {
        let read = async |fault| reader::read(wire, true, &struck(fault, wire, true).await).unwrap();
        let cut = read(Fault::ArgumentsCut).await;
        assert_eq!(cut.calls, [("id_a".into(), "read".into(), "{\"path\":\"R".to_owned())]);
        assert!(reader::CUT.contains(&cut.finish.as_str()));
        let unsaid = read(Fault::ArgumentsCutUnsaid).await;
        assert!(reader::asks_for_tools(&unsaid));
        assert!(serde_json::from_str::<Value>(&unsaid.calls[0].2).is_err());
        assert!(serde_json::from_str::<Value>(&read(Fault::ArgumentsNotJson).await.calls[0].2).is_err());
        assert_eq!(read(Fault::ArgumentsNotObject).await.calls[0].2, "[\"README.md\"]");
        let empty = if wire == Wire::Ollama { "{}" } else { "" };
        assert_eq!(read(Fault::ArgumentsEmpty).await.calls[0].2, empty);
        assert_eq!(read(Fault::UnknownTool).await.calls[0].1, "no_such_tool");
        for fault in [Fault::DuplicateIdEqual, Fault::DuplicateIdUnequal] {
            let text = struck(fault, wire, true).await.text();
            // Items of Responses are said when they begin, when they end, and at the end.
            let times = if wire == Wire::Responses { 6 } else { 2 };
            assert_eq!(text.matches("\"id_a\"").count(), times, "{} {wire:?}", fault.name());
        }
    }
}

#[tokio::test]
async fn a_text_turn_gets_a_call_to_break() {
    for wire in Wire::ALL {
        let script = Script::text("no calls here").with_fault(Fault::ArgumentsNotJson, When::Always);
        let provider = FakeProvider::start(script).await.unwrap();
        let response = post(provider.addr(), wire, &request(wire, true)).await;
        let answer = reader::read(wire, true, &response).unwrap();
        assert_eq!((answer.calls.len(), answer.calls[0].1.as_str()), (1, "read"));
        assert!(reader::asks_for_tools(&answer));
    }
}
