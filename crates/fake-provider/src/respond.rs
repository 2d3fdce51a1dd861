//! From a request to the plan of its response.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::conversation::{Conversation, RUN_HEADER};
use crate::http::Request;
use crate::observation::{Observation, RecordedRequest};
use crate::plan::{self, Exchange, Plan};
use crate::refusal::Refusal;
use crate::reply::{Reply, ReplyPart};
use crate::script::Script;
use crate::wire::Wire;
use crate::{anthropic, openai, signature, status};

/// Between two pings of a stall, in milliseconds.
const PING_MS: u64 = 100;

/// A response ready to be sent.
pub(crate) struct Prepared {
    pub number: u64,
    pub run: String,
    pub plan: Plan,
}

/// Judges a request, records it and plans the response.
pub(crate) fn prepare(
    observation: &Observation,
    script: &Script,
    keep_bodies: bool,
    connection: u64,
    origin: &str,
    request: &Request,
) -> Prepared {
    let at = Instant::now();
    let number = observation.write(|book| {
        book.asked += 1;
        book.asked
    });
    let (path, redirected) = match request.path.strip_prefix("/redirected") {
        Some(rest) => (rest, true),
        None => (request.path.as_str(), false),
    };
    let path = path.split('?').next().unwrap_or_default();
    let wire = Wire::ALL.into_iter().find(|wire| wire.path() == path);
    // Paths that both vendors have are told apart by the headers only one of them wants.
    let speaks_anthropic =
        ["anthropic-version", "x-api-key"].iter().any(|name| request.header(name).is_some());
    let spoken = wire.unwrap_or(if speaks_anthropic { Wire::Anthropic } else { Wire::OpenAi });
    let request_id = match spoken {
        Wire::OpenAi => format!("req_{number:032x}"),
        Wire::Anthropic => format!("req_011fake{number:012x}"),
    };
    let parsed: Result<Value, _> = serde_json::from_slice(&request.body);
    let mut record = RecordedRequest {
        number,
        connection,
        at,
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body: if keep_bodies { parsed.as_ref().cloned().unwrap_or_default() } else { Value::Null },
        bytes: request.body.len(),
        wire,
        run: String::new(),
        attempt: 0,
        fault: None,
        status: 0,
        refusal: None,
    };
    let judged = authorize(spoken, script, request).and_then(|()| match wire {
        None => other_path(spoken, script, request, path).map(Judged::Json),
        Some(wire) => {
            if request.method != "POST" {
                return Err(Refusal::new(
                    405,
                    "invalid_request_error",
                    format!("{path} takes POST, not {}", request.method),
                ));
            }
            let body = parsed.map_err(|error| {
                Refusal::invalid(format!("We could not parse the JSON body of your request. ({error})"))
            })?;
            judge(wire, script, observation, &body)?;
            let asked = Conversation::read(wire, &body, request.header(RUN_HEADER), request.body.len());
            Ok(Judged::Chat(wire, asked))
        }
    });
    let plan = match judged {
        Err(refusal) => refuse(spoken, &request_id, &refusal, &mut record),
        Ok(Judged::Json(body)) => Plan::json(spoken, 200, &request_id, &body.to_string()),
        Ok(Judged::Chat(wire, asked)) => {
            record.run.clone_from(&asked.run);
            answer(observation, script, wire, &asked, &request_id, origin, redirected, &mut record)
        }
    };
    record.status = plan.status;
    let run = record.run.clone();
    observation.write(|book| book.requests.push(record));
    Prepared { number, run, plan }
}

enum Judged {
    Json(Value),
    Chat(Wire, Conversation),
}

fn refuse(wire: Wire, request_id: &str, refusal: &Refusal, record: &mut RecordedRequest) -> Plan {
    record.refusal = Some(refusal.message.clone());
    Plan::json(wire, refusal.status, request_id, &refusal.body(wire, request_id).to_string())
}

#[allow(clippy::too_many_arguments)]
fn answer(
    observation: &Observation,
    script: &Script,
    wire: Wire,
    asked: &Conversation,
    request_id: &str,
    origin: &str,
    redirected: bool,
    record: &mut RecordedRequest,
) -> Plan {
    let Some(turn) = asked.turn(script) else {
        let refusal = Refusal::new(
            400,
            "invalid_request_error",
            format!(
                "The script has no turn for this conversation: {} assistant messages so far, the last message is of role {:?}. Add a turn, or one with `when`.",
                asked.assistants, asked.last_role
            ),
        )
        .code("script_exhausted");
        return refuse(wire, request_id, &refusal, record);
    };
    let (attempt, request) = observation.write(|book| {
        let request = book.runs.entry(asked.run.clone()).or_default();
        *request += 1;
        let attempt = book.attempts.entry((asked.run.clone(), asked.messages)).or_default();
        *attempt += 1;
        (*attempt, *request)
    });
    let fault = turn
        .fault
        .or(script.fault)
        .filter(|rule| {
            !redirected && rule.when.strikes(attempt, request) && rule.fault.applies_to(wire, asked.stream)
        })
        .map(|rule| rule.fault);
    record.attempt = attempt;
    record.fault = fault;
    let reply = Reply::new(wire, record.number, turn, asked, fault);
    if wire == Wire::Anthropic {
        remember_thinking(observation, &reply);
    }
    plan::plan(&Exchange {
        wire,
        stream: asked.stream,
        fault,
        reply: &reply,
        request_id,
        origin,
        pace: Duration::from_millis(turn.pace_ms),
        delay: Duration::from_millis(turn.delay_ms),
        ping: Duration::from_millis(script.ping_ms.unwrap_or(PING_MS)),
    })
}

fn remember_thinking(observation: &Observation, reply: &Reply) {
    let thinking: Vec<String> = reply
        .parts
        .iter()
        .filter_map(|part| match part {
            ReplyPart::Reasoning(text) => Some(signature::sign(text)),
            ReplyPart::Redacted(text) => Some(signature::redact(text)),
            _ => None,
        })
        .collect();
    if !thinking.is_empty() {
        observation.write(|book| {
            for call in reply.calls() {
                book.thinking.insert(call.id.clone(), thinking.clone());
            }
        });
    }
}

fn judge(wire: Wire, script: &Script, observation: &Observation, body: &Value) -> Result<(), Refusal> {
    match wire {
        Wire::OpenAi => openai::rules::check(body)?,
        Wire::Anthropic => {
            observation.read(|book| anthropic::rules::check(body, script.prefill, &book.thinking))?;
        }
    }
    let model = body["model"].as_str().unwrap_or_default();
    if !script.models.is_empty() && !script.models.iter().any(|known| known == model) {
        return Err(status::unknown_model(wire, model));
    }
    Ok(())
}

fn authorize(wire: Wire, script: &Script, request: &Request) -> Result<(), Refusal> {
    let accepts = |key: &str| !key.is_empty() && script.api_key.as_deref().is_none_or(|wanted| wanted == key);
    match wire {
        Wire::OpenAi => {
            let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            match key {
                Some(key) if accepts(key.trim()) => Ok(()),
                Some(key) => {
                    let shown: String = key.chars().take(3).collect();
                    Err(Refusal::new(
                        401,
                        "invalid_request_error",
                        format!("Incorrect API key provided: {shown}***."),
                    )
                    .code("invalid_api_key"))
                }
                None => Err(Refusal::new(
                    401,
                    "invalid_request_error",
                    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                )),
            }
        }
        Wire::Anthropic => {
            match request.header("x-api-key") {
                Some(key) if accepts(key) => {}
                Some(_) => return Err(Refusal::new(401, "authentication_error", "invalid x-api-key")),
                None => {
                    return Err(Refusal::new(401, "authentication_error", "x-api-key header is required"));
                }
            }
            match request.header("anthropic-version") {
                Some("2023-06-01" | "2023-01-01") => Ok(()),
                Some(other) => Err(Refusal::invalid(format!(
                    "anthropic-version: \"{other}\" is not a valid version. Please use \"2023-06-01\"."
                ))),
                None => Err(Refusal::invalid("anthropic-version: header is required")),
            }
        }
    }?;
    let json = request.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if request.method == "POST" && !json {
        return Err(Refusal::invalid("content-type: a JSON body must be sent as application/json"));
    }
    Ok(())
}

fn other_path(wire: Wire, script: &Script, request: &Request, path: &str) -> Result<Value, Refusal> {
    let default = ["fake-1".to_owned()];
    let models = if script.models.is_empty() { &default[..] } else { &script.models[..] };
    let describe = |id: &String| match wire {
        Wire::OpenAi => json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "fake"}),
        Wire::Anthropic => {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"})
        }
    };
    if request.method == "GET" && path == "/v1/models" {
        let data: Vec<Value> = models.iter().map(describe).collect();
        return Ok(match wire {
            Wire::OpenAi => json!({"object": "list", "data": data}),
            Wire::Anthropic => json!({"data": data, "has_more": false,
                "first_id": models.first(), "last_id": models.last()}),
        });
    }
    if let Some(model) = path.strip_prefix("/v1/models/").filter(|_| request.method == "GET") {
        let found = models.iter().find(|id| *id == model).map(describe);
        return found.ok_or_else(|| status::unknown_model(wire, model));
    }
    Err(match wire {
        Wire::OpenAi => {
            Refusal::new(404, "invalid_request_error", format!("Invalid URL ({} {path})", request.method))
        }
        Wire::Anthropic => {
            Refusal::new(404, "not_found_error", format!("Not found: {} {path}", request.method))
        }
    })
}
