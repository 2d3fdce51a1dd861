//! The faults that are a whole response of their own: error statuses, redirects, pages.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::refusal::Refusal;
use crate::wire::Wire;

/// A response with a body of known length.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head>\n\
    <body><h1>Please sign in to the network</h1></body></html>\n";

/// The response of such a fault; none for the others. `redirect_to` is where redirects lead.
pub(crate) fn whole(fault: Fault, wire: Wire, request_id: &str, redirect_to: &str) -> Option<Whole> {
    let refused = |status, refusal: Refusal| {
        Some(Whole {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body: refusal.body(wire, request_id).to_string(),
        })
    };
    let page = |status, content_type, body: &str| {
        Some(Whole { status, content_type, headers: Vec::new(), body: body.to_owned() })
    };
    let limited = |header: Option<(&'static str, String)>| {
        let body = too_many(wire).body(wire, request_id).to_string();
        let headers = header.into_iter().collect();
        Some(Whole { status: 429, content_type: "application/json", headers, body })
    };
    let redirect = |status| {
        Some(Whole {
            status,
            content_type: "text/html",
            headers: vec![("location", redirect_to.to_owned())],
            body: "<html>Moved</html>".to_owned(),
        })
    };
    let pick = |openai: &'static str, anthropic: &'static str| match wire {
        Wire::Anthropic => anthropic,
        Wire::OpenAi | Wire::Responses | Wire::Gemini | Wire::Ollama => openai,
    };
    match fault {
        Fault::Html200 => page(200, "text/html; charset=utf-8", PAGE),
        Fault::HtmlEventStream if wire.is_lines() => page(200, wire.stream_type(), PAGE),
        Fault::HtmlEventStream => page(200, "text/event-stream", PAGE),
        Fault::Empty200 => page(200, "application/json", ""),
        Fault::JsonNotReply => page(200, "application/json", r#"{"status":"ok"}"#),
        Fault::ErrorBody200 => {
            refused(200, Refusal::new(500, pick("server_error", "api_error"), "Internal server error"))
        }
        Fault::Redirect301 => redirect(301),
        Fault::Redirect302 => redirect(302),
        Fault::Redirect307 => redirect(307),
        Fault::RateLimitSeconds => limited(Some(("retry-after", "1".to_owned()))),
        Fault::RateLimitFraction => limited(Some(("retry-after", "0.2".to_owned()))),
        Fault::RateLimitDate => limited(Some(("retry-after", http_date(Timestamp::now(), 2)))),
        Fault::RateLimitPastDate => {
            limited(Some(("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())))
        }
        Fault::RateLimitMillis => limited(Some(("retry-after-ms", "200".to_owned()))),
        Fault::RateLimitHuge => limited(Some(("retry-after", "86400".to_owned()))),
        Fault::RateLimitMissing => limited(None),
        Fault::RateLimitInBody => refused(429, too_many(wire).detail(retry_info("1.2s"))),
        Fault::RateLimitInBodyHuge => refused(429, too_many(wire).detail(retry_info("86400s"))),
        Fault::RateLimitInvalid => limited(Some(("retry-after", "soon".to_owned()))),
        Fault::RateLimitNegative => limited(Some(("retry-after", "-5".to_owned()))),
        Fault::QuotaExhausted => match wire {
            Wire::OpenAi | Wire::Responses => {
                refused(429, Refusal::new(429, "insufficient_quota", OVER_QUOTA).code("insufficient_quota"))
            }
            Wire::Anthropic => {
                refused(400, Refusal::invalid("Your credit balance is too low to access the Anthropic API."))
            }
            // The same words as for a limit per minute: only the id of the quota tells them apart.
            Wire::Gemini => {
                refused(429, over_google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"))
            }
            Wire::Ollama => None,
        },
        Fault::Status400 => refused(400, Refusal::invalid("This request is refused by the script.")),
        Fault::Status401 => refused(
            401,
            Refusal {
                code: Some("invalid_api_key"),
                ..Refusal::new(
                    401,
                    pick("invalid_request_error", "authentication_error"),
                    pick("Incorrect API key provided: sk-***.", "invalid x-api-key"),
                )
            },
        ),
        Fault::Status403 => refused(
            403,
            Refusal::new(
                403,
                pick("invalid_request_error", "permission_error"),
                "Your API key does not have permission to use the specified resource.",
            ),
        ),
        Fault::Status404 => refused(404, unknown_model(wire, "scripted-away")),
        Fault::Status408 => {
            refused(408, Refusal::new(408, pick("timeout", "timeout_error"), "Request timed out."))
        }
        Fault::Status413 => refused(
            413,
            Refusal::new(
                413,
                pick("invalid_request_error", "request_too_large"),
                "Request exceeds the maximum allowed number of bytes.",
            ),
        ),
        Fault::Status422 => {
            refused(422, Refusal::new(422, "invalid_request_error", "The request cannot be processed."))
        }
        Fault::Status500 => refused(
            500,
            Refusal::new(
                500,
                pick("server_error", "api_error"),
                pick("The server had an error while processing your request.", "Internal server error"),
            ),
        ),
        Fault::Status502 => page(
            502,
            "text/html",
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>\r\n",
        ),
        Fault::Status503 => {
            let refusal = Refusal::new(
                503,
                pick("server_error", "api_error"),
                pick("The engine is currently overloaded, please try again later.", "Service unavailable"),
            );
            let mut response = refused(503, refusal);
            if let Some(response) = &mut response {
                response.headers.push(("retry-after", "1".to_owned()));
            }
            response
        }
        Fault::Status504 => page(504, "text/plain", ""),
        Fault::Status529 => refused(529, Refusal::new(529, "overloaded_error", "Overloaded")),
        _ => None,
    }
}

const OVER_QUOTA: &str = "You exceeded your current quota, please check your plan and billing details.";

fn retry_info(delay: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
}

/// A limit that passes.
fn too_many(wire: Wire) -> Refusal {
    let refusal = Refusal::new(429, "rate_limit_error", "Rate limit reached for requests.");
    match wire {
        Wire::OpenAi | Wire::Responses => Refusal { kind: "requests", ..refusal }.code("rate_limit_exceeded"),
        Wire::Anthropic | Wire::Ollama => refusal,
        Wire::Gemini => over_google_quota("GenerateRequestsPerMinutePerProjectPerModel"),
    }
}

fn over_google_quota(id: &str) -> Refusal {
    Refusal::new(429, "RESOURCE_EXHAUSTED", OVER_QUOTA).detail(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests", "quotaId": id,
            "quotaDimensions": {"location": "global", "model": "fake-1"}, "quotaValue": "60",
        }],
    }))
}

/// The refusal of a model nobody has.
pub(crate) fn unknown_model(wire: Wire, model: &str) -> Refusal {
    match wire {
        Wire::OpenAi | Wire::Responses => Refusal::new(
            404,
            "invalid_request_error",
            format!("The model `{model}` does not exist or you do not have access to it."),
        )
        .code("model_not_found"),
        Wire::Anthropic => Refusal::new(404, "not_found_error", format!("model: {model}")),
        Wire::Gemini => Refusal::new(
            404,
            "NOT_FOUND",
            format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
            ),
        ),
        Wire::Ollama => Refusal::new(404, "not_found", format!("model '{model}' not found")),
    }
}

/// An HTTP date `seconds` after `now`. The format has whole seconds, so up to one less is seen.
fn http_date(now: Timestamp, seconds: u64) -> String {
    let later = now.checked_add(Duration::from_secs(seconds)).unwrap_or(now);
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&later)
        .unwrap_or_else(|_| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())
}
