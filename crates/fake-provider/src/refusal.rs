//! An answer that is an error, in the vendor's own status and JSON shape.

use serde_json::{Value, json};

use crate::wire::Wire;

/// What the provider refuses and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The vendor's error type, as `invalid_request_error`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// OpenAI's `param`: the place of the fault in the request.
    pub param: Option<String>,
    /// What was wrong and where.
    pub message: String,
}

impl Refusal {
    /// A 400 `invalid_request_error`.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(400, "invalid_request_error", message)
    }

    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, kind, code: None, param: None, message: message.into() }
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The body a client of `wire` gets.
    pub(crate) fn body(&self, wire: Wire, request_id: &str) -> Value {
        match wire {
            Wire::OpenAi => json!({"error": {
                "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
            }}),
            Wire::Anthropic => json!({
                "type": "error",
                "error": {"type": self.kind, "message": self.message},
                "request_id": request_id,
            }),
        }
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
