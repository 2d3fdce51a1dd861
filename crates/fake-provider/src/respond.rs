//! From a request to the plan of its response.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::conversation::{Conversation, RUN_HEADER};
use crate::http::Request;
use crate::observation::{Observation, RecordedRequest};
use crate::plan::{self, Exchange, Plan};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::script::Script;
use crate::wire::{Target, Wire};
use crate::{access, anthropic, gemini, listing, ollama, openai, responses, status};

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
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let target = Target::of(path);
    let wire = target.map(|target| target.wire);
    let spoken = wire.unwrap_or_else(|| access::spoken(request, path));
    let request_id = match spoken {
        Wire::Anthropic => format!("req_011fake{number:012x}"),
        Wire::OpenAi | Wire::Responses | Wire::Gemini | Wire::Ollama => format!("req_{number:032x}"),
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
    let judged = access::authorize(spoken, script, request).and_then(|()| match target {
        None => listing::answer(spoken, script, request, path).map(Judged::Json),
        Some(target) => {
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
            let body = if target.wire == Wire::Gemini { gemini::rules::camel(body) } else { body };
            let earlier = judge(&target, query, script, observation, request, &body)?;
            let run = request.header(RUN_HEADER);
            let asked = Conversation::read(&target, &body, &earlier, run, request.body.len());
            Ok(Judged::Chat(target.wire, asked, body))
        }
    });
    let plan = match judged {
        Err(refusal) => refuse(spoken, &request_id, &refusal, &mut record),
        Ok(Judged::Json(body)) => Plan::json(spoken, 200, &request_id, &body.to_string()),
        Ok(Judged::Chat(wire, asked, body)) => {
            record.run.clone_from(&asked.run);
            let redirect_to = (!redirected).then(|| format!("{origin}/redirected{}", request.path));
            let question =
                Question { wire, asked: &asked, body: &body, request_id: &request_id, redirect_to };
            answer(observation, script, question, &mut record)
        }
    };
    record.status = plan.status;
    let run = record.run.clone();
    observation.write(|book| book.requests.push(record));
    Prepared { number, run, plan }
}

enum Judged {
    Json(Value),
    Chat(Wire, Conversation, Value),
}

/// A request that asks a model and passed the rules.
struct Question<'a> {
    wire: Wire,
    asked: &'a Conversation,
    body: &'a Value,
    request_id: &'a str,
    /// Where a redirect would lead; none for a request that already followed one.
    redirect_to: Option<String>,
}

fn refuse(wire: Wire, request_id: &str, refusal: &Refusal, record: &mut RecordedRequest) -> Plan {
    record.refusal = Some(refusal.message.clone());
    Plan::json(wire, refusal.status, request_id, &refusal.body(wire, request_id).to_string())
}

fn answer(
    observation: &Observation,
    script: &Script,
    question: Question<'_>,
    record: &mut RecordedRequest,
) -> Plan {
    let Question { wire, asked, body, request_id, redirect_to } = question;
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
            redirect_to.is_some()
                && rule.when.strikes(attempt, request)
                && rule.fault.applies_to(wire, asked.stream)
        })
        .map(|rule| rule.fault);
    record.attempt = attempt;
    record.fault = fault;
    let reply = Reply::new(wire, record.number, turn, asked, fault);
    observation.write(|book| book.memory.note(wire, body, asked, &reply));
    plan::plan(&Exchange {
        wire,
        stream: asked.stream,
        fault,
        reply: &reply,
        request_id,
        redirect_to: redirect_to.as_deref().unwrap_or_default(),
        pace: Duration::from_millis(turn.pace_ms),
        delay: Duration::from_millis(turn.delay_ms),
        ping: Duration::from_millis(script.ping_ms.unwrap_or(PING_MS)),
    })
}

/// Applies the rules of the format. Returns the items that a Responses request continues.
fn judge(
    target: &Target<'_>,
    query: &str,
    script: &Script,
    observation: &Observation,
    request: &Request,
    body: &Value,
) -> Result<Vec<Value>, Refusal> {
    let wire = target.wire;
    let mut earlier = Vec::new();
    match wire {
        Wire::OpenAi => openai::rules::check(body)?,
        Wire::Responses => earlier = observation.read(|book| responses::rules::check(body, &book.memory))?,
        Wire::Anthropic => {
            if request.header("anthropic-version") == Some("2026-10-21") {
                anthropic::rules::check_2026(body)?;
            }
            observation.read(|book| anthropic::rules::check(body, script.prefill, &book.memory))?;
        }
        Wire::Gemini => {
            if target.stream == Some(true) && !query.split('&').any(|pair| pair == "alt=sse") {
                return Err(Refusal::invalid(
                    "streamGenerateContent answers with one JSON array, which this provider does not send: add ?alt=sse.",
                ));
            }
            observation.read(|book| gemini::rules::check(body, &book.memory))?;
        }
        Wire::Ollama => ollama::rules::check(body)?,
    }
    let model = target.model.or(body["model"].as_str()).unwrap_or_default();
    if !script.models.is_empty() && !script.models.iter().any(|known| known == model) {
        return Err(status::unknown_model(wire, model));
    }
    Ok(earlier)
}
