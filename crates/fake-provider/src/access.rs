//! Who may ask, in each vendor's own way.

use serde_json::json;

use crate::http::Request;
use crate::refusal::Refusal;
use crate::script::Script;
use crate::wire::Wire;

/// The format that this request speaks, told by what only one of them has.
pub(crate) fn spoken(request: &Request, path: &str) -> Wire {
    let has = |name: &str| request.header(name).is_some();
    if path.starts_with("/api/") {
        Wire::Ollama
    } else if path.starts_with("/v1beta/") || has("x-goog-api-key") {
        Wire::Gemini
    } else if has("anthropic-version") || has("x-api-key") {
        Wire::Anthropic
    } else {
        Wire::OpenAi
    }
}

/// Checks the key, and that a body is said to be JSON.
pub(crate) fn authorize(wire: Wire, script: &Script, request: &Request) -> Result<(), Refusal> {
    let accepts = |key: &str| !key.is_empty() && script.api_key.as_deref().is_none_or(|wanted| wanted == key);
    let bearer =
        request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    match wire {
        Wire::OpenAi | Wire::Responses => match bearer {
            Some(key) if accepts(key) => Ok(()),
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
        },
        Wire::Anthropic => {
            match request.header("x-api-key").or(bearer) {
                Some(key) if accepts(key) => {}
                Some(_) => return Err(Refusal::new(401, "authentication_error", "invalid x-api-key")),
                None => {
                    return Err(Refusal::new(401, "authentication_error", "x-api-key header is required"));
                }
            }
            match request.header("anthropic-version") {
                Some("2026-10-21" | "2023-06-01" | "2023-01-01") => Ok(()),
                Some(other) => Err(Refusal::invalid(format!(
                    "anthropic-version: \"{other}\" is not a valid version. Please use \"2023-06-01\"."
                ))),
                None => Err(Refusal::invalid("anthropic-version: header is required")),
            }
        }
        // The vendor takes a key in the query too; a key does not belong into an address.
        Wire::Gemini => match request.header("x-goog-api-key").or(bearer) {
            Some(key) if accepts(key) => Ok(()),
            Some(_) => Err(Refusal::new(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            )
            .detail(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"},
            }))),
            None => Err(Refusal::new(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
            )),
        },
        // A server of one's own wants no key; one behind a proxy may.
        Wire::Ollama if script.api_key.is_none() || bearer.is_some_and(accepts) => Ok(()),
        Wire::Ollama => Err(Refusal::new(401, "unauthorized", "unauthorized")),
    }?;
    let json = request.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if request.method == "POST" && !json {
        return Err(Refusal::invalid("content-type: a JSON body must be sent as application/json"));
    }
    Ok(())
}
