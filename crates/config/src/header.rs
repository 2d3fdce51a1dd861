//! Values of headers and environment variables: a text, or a secret.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::error::ConfigErrorKind;
use crate::reader::{At, Fields, FromNode};
use crate::redact::sensitive;
use crate::secret::{self, Secret};
use crate::tree::Value;

/// A text, or a secret with an optional text before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrSecret {
    /// Under a tool it may hold `{placeholders}`: see [`Template`](crate::Template).
    Text(String),
    Secret(PrefixedSecret),
}

/// A secret as it is sent: `{ env = "TOKEN", prefix = "Bearer " }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrefixedSecret {
    /// Stands before the secret, with its blank.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(flatten)]
    pub secret: Secret,
}

impl JsonSchema for PrefixedSecret {
    fn schema_name() -> Cow<'static, str> {
        "PrefixedSecret".into()
    }

    // By hand: a closed table cannot be flattened into another.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "prefix": { "type": "string", "description": "Stands before the secret, with its blank." },
                "env": { "type": "string" },
                "file": { "type": "string" },
                "command": { "type": "array", "items": { "type": "string" } }
            },
            "additionalProperties": false,
            "oneOf": [{ "required": ["env"] }, { "required": ["file"] }, { "required": ["command"] }]
        })
    }
}

/// Headers by name.
pub type Headers = IndexMap<String, TextOrSecret>;

impl FromNode for TextOrSecret {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_some() {
            let mut fields = Fields::of(at)?;
            let prefix: Option<String> = fields.optional("prefix");
            let secret = secret::from_fields(&mut fields);
            fields.finish();
            return Some(Self::Secret(PrefixedSecret {
                prefix: prefix.unwrap_or_default(),
                secret: secret?,
            }));
        }
        if at.path.last_key().is_some_and(sensitive) && matches!(at.node.value, Value::String(_)) {
            secret::report_plain(at);
            return None;
        }
        match at.node.as_text() {
            Some(text) => Some(Self::Text(text.to_owned())),
            None => {
                at.report(at.wrong_type("a text or a secret"));
                None
            }
        }
    }
}

/// Headers that belong to the connection.
const RESERVED: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"];

/// Reads headers and checks that HTTP can carry them.
pub(crate) fn headers(fields: &mut Fields<'_>) -> Headers {
    let Some(at) = fields.at("headers") else { return Headers::new() };
    let headers = Headers::from_node(&at).unwrap_or_default();
    for (name, entry) in at.node.as_table().into_iter().flatten() {
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            let path = at.path.key(name);
            let message = format!("`{path}` is set by the connection");
            let error = crate::ConfigError::new(ConfigErrorKind::Conflict, path, message, &entry.key);
            at.report(error.help("remove it"));
        }
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let message = format!("{} is no name of a header", crate::toml_text::string(name));
            let path = at.path.key(name);
            at.report(crate::ConfigError::new(ConfigErrorKind::InvalidValue, path, message, &entry.key));
        }
        if let Some(text) = entry.node.as_text()
            && http::HeaderValue::from_str(text).is_err()
        {
            let at = At { node: &entry.node, key: &entry.key, path: at.path.key(name), reading: at.reading };
            at.report(at.invalid("a header cannot hold line breaks or control characters"));
        }
    }
    headers
}
