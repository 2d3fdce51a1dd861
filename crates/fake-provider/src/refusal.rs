//! An answer that is an error, in the vendor's own status and JSON shape.

use serde_json::{Value, json};

use crate::wire::Wire;

/// What the provider refuses and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The vendor's error type, as `invalid_request_error`. Gemini's follows from the status, Ollama has none.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// OpenAI's `param`: the place of the fault in the request.
    pub param: Option<String>,
    /// Gemini's `details`.
    pub details: Vec<Value>,
    /// What was wrong and where.
    pub message: String,
}

impl Refusal {
    /// A 400 `invalid_request_error`.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(400, "invalid_request_error", message)
    }

    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, kind, code: None, param: None, details: Vec::new(), message: message.into() }
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// The body a client of `wire` gets.
    pub(crate) fn body(&self, wire: Wire, request_id: &str) -> Value {
        match wire {
            Wire::OpenAi | Wire::Responses => json!({"error": {
                "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
            }}),
            Wire::Anthropic => json!({
                "type": "error",
                "error": {"type": self.kind, "message": self.message},
                "request_id": request_id,
            }),
            Wire::Gemini => {
                let mut error = json!({
                    "code": self.status, "message": self.message, "status": google_status(self.status),
                });
                if !self.details.is_empty() {
                    error["details"] = Value::Array(self.details.clone());
                }
                json!({"error": error})
            }
            Wire::Ollama => json!({"error": self.message}),
        }
    }
}

/// The name that Google's APIs give an HTTP status.
fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        408 | 504 => "DEADLINE_EXCEEDED",
        503 => "UNAVAILABLE",
        400..500 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// The JSON type of a value, in the words of the vendors' messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Whether `name` has 1 to `max` characters of `[a-zA-Z0-9_-]`.
pub(crate) fn is_name(name: &str, max: usize) -> bool {
    !name.is_empty()
        && name.len() <= max
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
