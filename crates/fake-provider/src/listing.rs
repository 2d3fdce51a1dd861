//! The models a vendor says it has.

use serde_json::{Value, json};

use crate::http::Request;
use crate::refusal::Refusal;
use crate::script::Script;
use crate::status;
use crate::wire::Wire;

/// Tokens of context every model is said to have.
const CONTEXT: u64 = 128_000;

/// The answer at a path where no model is asked.
pub(crate) fn answer(wire: Wire, script: &Script, request: &Request, path: &str) -> Result<Value, Refusal> {
    let default = ["fake-1".to_owned()];
    let models = if script.models.is_empty() { &default[..] } else { &script.models[..] };
    let described = || models.iter().map(|id| describe(wire, id)).collect::<Vec<Value>>();
    let unknown = |model: &str| status::unknown_model(wire, model);
    let known = |model: &str| models.iter().any(|id| id == model);
    match (wire, request.method.as_str(), path) {
        (Wire::OpenAi | Wire::Responses, "GET", "/v1/models") => {
            Ok(json!({"object": "list", "data": described()}))
        }
        (Wire::Anthropic, "GET", "/v1/models") => Ok(json!({
            "data": described(), "has_more": false, "first_id": models.first(), "last_id": models.last(),
        })),
        (Wire::Gemini, "GET", "/v1/models" | "/v1beta/models") => Ok(json!({"models": described()})),
        (Wire::Ollama, "GET", "/api/tags") => Ok(json!({"models": described()})),
        (Wire::Ollama, "GET", "/api/version") => Ok(json!({"version": "0.99.0"})),
        (Wire::Ollama, "POST", "/api/show") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            match body["model"].as_str() {
                Some(model) if known(model) => Ok(show()),
                Some("") | None => Err(Refusal::invalid("model is required")),
                Some(model) => Err(unknown(model)),
            }
        }
        (Wire::Ollama, ..) => Err(Refusal::new(404, "not_found", "404 page not found")),
        (_, "GET", _) => {
            let model = path.strip_prefix("/v1/models/").or_else(|| path.strip_prefix("/v1beta/models/"));
            match model {
                Some(model) if known(model) => Ok(describe(wire, model)),
                Some(model) => Err(unknown(model)),
                None => Err(nothing(wire, request, path)),
            }
        }
        _ => Err(nothing(wire, request, path)),
    }
}

fn nothing(wire: Wire, request: &Request, path: &str) -> Refusal {
    let method = &request.method;
    match wire {
        Wire::OpenAi | Wire::Responses => {
            Refusal::new(404, "invalid_request_error", format!("Invalid URL ({method} {path})"))
        }
        Wire::Anthropic => Refusal::new(404, "not_found_error", format!("Not found: {method} {path}")),
        Wire::Gemini | Wire::Ollama => Refusal::new(404, "NOT_FOUND", format!("Not found: {method} {path}")),
    }
}

fn describe(wire: Wire, id: &str) -> Value {
    match wire {
        Wire::OpenAi | Wire::Responses => {
            json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "fake"})
        }
        Wire::Anthropic => {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"})
        }
        Wire::Gemini => json!({
            "name": format!("models/{id}"), "version": "1", "displayName": id, "description": "A fake.",
            "inputTokenLimit": CONTEXT, "outputTokenLimit": 65_536, "thinking": true,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
        Wire::Ollama => json!({
            "name": id, "model": id, "modified_at": "2025-01-01T00:00:00Z", "size": 4_000_000_000_u64,
            "digest": "fa4e".repeat(16), "details": details(),
            "capabilities": ["completion", "tools", "thinking", "vision"],
        }),
    }
}

fn details() -> Value {
    json!({
        "parent_model": "", "format": "gguf", "family": "fake", "families": ["fake"],
        "parameter_size": "8.0B", "quantization_level": "Q4_K_M",
    })
}

fn show() -> Value {
    json!({
        "license": "none", "modelfile": "FROM fake", "parameters": "num_ctx 8192", "template": "{{ .Prompt }}",
        "details": details(), "modified_at": "2025-01-01T00:00:00Z",
        "model_info": {"general.architecture": "fake", "fake.context_length": CONTEXT},
        "capabilities": ["completion", "tools", "thinking", "vision"],
    })
}
