//! Every fault of the strict fake provider, on a socket, in both formats: what comes of one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_core::message::Arguments;
use ambidex_core::reply::Reply;
use ambidex_core::{Context, Error, Finish, Model, Request, ToolSpec};
use ambidex_fake_provider::{Demand, FakeProvider, Fault, Part, Script, Turn, When, Wire};
use ambidex_http::Client;
use ambidex_models::{
    Format, ModelConfig, ProviderModel, Retry, RetryBudget, RetryPolicy, Timeouts, collect,
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::requests::client;

/// For rows whose fault is silence; the others must not depend on the speed of the machine.
const IDLE: Duration = Duration::from_millis(500);
const PATIENT: Duration = Duration::from_secs(60);

/// The formats that have an adapter: all there are.
pub const WIRES: &[Wire] = &Wire::ALL;

pub fn config(provider: &FakeProvider, wire: Wire) -> ModelConfig {
    let (format, base) = match wire {
        Wire::OpenAi => (Format::OpenAiChat, provider.base_url_openai()),
        Wire::Responses => (Format::OpenAiResponses, provider.base_url_openai()),
        Wire::Anthropic => (Format::Anthropic, provider.base_url_anthropic()),
        Wire::Gemini => (Format::Gemini, provider.base_url_gemini()),
        Wire::Ollama => (Format::Ollama, provider.base_url_ollama()),
    };
    let mut config = ModelConfig::new(format, "fake", "fake-1", base);
    config.key = Some("sk-very-secret".into());
    config.key_source = Some("FAKE_API_KEY".into());
    config.timeouts = Timeouts {
        connect: Duration::from_secs(5),
        first_token: Some(PATIENT),
        idle: PATIENT,
        total: PATIENT * 5,
    };
    config
}

pub fn model(config: ModelConfig, client: Client) -> Retry {
    let model = ProviderModel::new(config, client).unwrap();
    let policy = RetryPolicy { base: Duration::from_millis(2), ..RetryPolicy::default() };
    // No jitter: the waits that the provider asks for, and no more.
    Retry::new(Arc::new(model), policy, Arc::new(RetryBudget::default())).with_random(Arc::new(|| 0.0))
}

pub fn request() -> Request {
    let mut read = ToolSpec::new("read", "Reads a file.");
    read.input = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    Request { tools: Arc::from([Arc::new(read)]), ..Request::user("Read README.md, ä🌍.") }
}

struct Row {
    fault: Fault,
    wire: Wire,
    when: When,
    result: Result<Reply, Error>,
    requests: usize,
    followed: bool,
    took: Duration,
}

async fn strike(fault: Fault, wire: Wire, when: When, client: Client) -> Row {
    let parts = [
        Part::text("I read the file, ä🌍, and then I tell you what it says."),
        Part::call_with_id("call_1", "read", json!({"path": "README.md"})),
    ];
    let turn = Turn::new(parts).chunks(5);
    let provider = FakeProvider::start(Script::new([turn]).with_fault(fault, when)).await.unwrap();
    let mut config = config(&provider, wire);
    if fault.name().starts_with("stall") {
        (config.timeouts.first_token, config.timeouts.idle) = (Some(IDLE), IDLE);
    }
    let model = model(config, client);
    let started = Instant::now();
    let result = collect(model.stream(request(), Context::detached())).await;
    let took = started.elapsed();
    let requests = provider.requests();
    let followed = requests.iter().any(|request| request.path.contains("redirected"));
    let refused = requests.iter().find_map(|request| request.refusal.clone());
    assert_eq!(refused, None, "{wire:?} {}", fault.name());
    provider.shutdown().await;
    Row { fault, wire, when, result, requests: requests.len(), followed, took }
}

/// Whether the reply is the one that was sent, unharmed.
fn is_whole(row: &Row) -> bool {
    let Ok(reply) = &row.result else { return false };
    let arguments: Vec<_> = reply.message.tool_calls().map(|call| call.arguments.clone()).collect();
    let expected = match row.fault {
        Fault::ArgumentsEmpty => json!({}),
        _ => json!({"path": "README.md"}),
    };
    reply.message.text() == "I read the file, ä🌍, and then I tell you what it says."
        && arguments == [Arguments::Json(expected)]
        && reply.finish == Finish::ToolCalls
}

/// The codes that are right for a fault without an answer.
fn codes(fault: Fault) -> &'static [&'static str] {
    use Fault::*;
    match fault {
        TruncateClean | TruncateFin | TruncateReset | TruncateMidEvent | TruncateMidEventFin
        | TruncateUntilClose | ShortBody | MissingFinish | MissingMessageStop | DoneWithoutFinish
        | ResetAfterHead => &["stream_truncated"],
        CloseBeforeResponse | ResetBeforeResponse | TruncateHead => &["connect_failed"],
        StallBeforeHead | StallAfterHead | StallPingsFirst => &["timeout"],
        StallSilent | StallPings | StallAtEnd => &["idle_timeout"],
        MalformedCall | GarbageChunkSize | GarbageData | Html200 | HtmlEventStream | Empty200
        | JsonNotReply | HugeEvent | HugeAnswer | DeepJson | DuplicateIdUnequal | Redirect301
        | Redirect302 | Redirect307 => &["bad_upstream"],
        RateLimitSeconds | RateLimitFraction | RateLimitDate | RateLimitPastDate | RateLimitMillis
        | RateLimitInBody | RateLimitInBodyHuge | RateLimitInStream | RateLimitHuge | RateLimitMissing
        | RateLimitInvalid | RateLimitNegative => &["rate_limited"],
        QuotaExhausted => &["quota_exhausted"],
        PromptBlocked => &["content_filter"],
        Status400 | Status413 | Status422 => &["invalid_request"],
        Status401 => &["unauthorized"],
        Status403 => &["forbidden"],
        Status404 => &["not_found"],
        Status408 => &["timeout"],
        Status500 | Status502 | Status504 => &["provider_error"],
        Status503 | Status529 => &["overloaded"],
        ErrorEventFirst | ErrorEventMid | ErrorBody200 | ResponseFailed => {
            &["provider_error", "overloaded", "rate_limited"]
        }
        ErrorEventTyped => &["invalid_request", "context_too_long", "unauthorized", "quota_exhausted"],
        _ => &[],
    }
}

/// What is wrong with a row, if anything.
fn fault_of(row: &Row) -> Option<String> {
    let error = row.result.as_ref().err();
    let always = row.when == When::Always;
    if row.followed {
        return Some("the redirect was followed".into());
    }
    if let Some(error) = error {
        let text = error.to_string();
        if text.contains("very-secret") || error.message().len() > 800 || error.provider() != Some("fake") {
            return Some(format!("a message that is not fit to show: {text}"));
        }
    }
    let right_code = error.is_some_and(|error| codes(row.fault).contains(&error.code()));
    match row.fault.demand() {
        Demand::Whole => (!is_whole(row) || row.requests != 1).then(|| "not delivered whole".into()),
        Demand::Unusable if always => (!right_code || row.requests != 3)
            .then(|| "not tried three times, then failed with its code".into()),
        // On a busy machine a stall's short limits may strike the second attempt too.
        Demand::Unusable => {
            let most = if row.fault.name().starts_with("stall") { 3 } else { 2 };
            (!is_whole(row) || !(2..=most).contains(&row.requests))
                .then(|| "the next attempt is not whole".into())
        }
        Demand::Final => {
            let finish = row.result.as_ref().ok().map(|reply| reply.finish);
            let ended = match row.fault {
                Fault::FinishLength => finish == Some(Finish::Length),
                Fault::ContentFilter => matches!(finish, Some(Finish::ContentFilter | Finish::Refusal)),
                Fault::Refusal => finish == Some(Finish::Refusal),
                _ => right_code,
            };
            (!ended || row.requests != 1).then(|| "not ended at once as it should".into())
        }
        Demand::Withhold => {
            let Ok(reply) = &row.result else { return Some("no reply".into()) };
            let runs = reply.message.tool_calls().any(|call| matches!(call.arguments, Arguments::Json(_)));
            // A cut reply says so; a tool nobody offered is for the agent to refuse.
            let withheld = !runs || reply.finish == Finish::Length || row.fault == Fault::UnknownTool;
            (!withheld).then(|| "a broken call looks fit to run".into())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_gives_what_is_demanded() {
    let mut tasks = JoinSet::new();
    let client = client();
    let permits = Arc::new(Semaphore::new(12));
    for &fault in Fault::all() {
        for wire in WIRES.iter().copied().filter(|wire| fault.applies_to(*wire, true)) {
            for when in [When::Always, When::First] {
                let (client, permits) = (client.clone(), permits.clone());
                tasks.spawn(async move {
                    let _permit = permits.acquire_owned().await.unwrap();
                    strike(fault, wire, when, client).await
                });
            }
        }
    }
    let rows = tasks.join_all().await;
    let mut wrong = Vec::new();
    for row in &rows {
        if let Some(what) = fault_of(row) {
            wrong.push(format!(
                "{} {:?} {:?}: {what}: {} requests in {:?}: {:?}",
                row.fault.name(),
                row.wire,
                row.when,
                row.requests,
                row.took,
                row.result,
            ));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
