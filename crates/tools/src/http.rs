//! A tool that is an HTTP endpoint, described by data.
//!
//! Whoever wrote the description chose the scheme and the host; a model only fills places in the path, the
//! query, the headers and the body, and no value leaves its place. Only public addresses are reached unless
//! the description says otherwise, the address that was checked is the one connected to, and redirects are
//! not followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Tool, ToolOutput, ToolSpec};
use ambidex_http::{Client, HeaderMap, HttpError, HttpErrorKind, Method, Response, StatusCode, header};
use futures_util::FutureExt;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::duration;
use crate::input::schema_from;
use request::RequestTemplate;

mod request;

/// Most bytes of a response's body that are read where the description does not say.
const MAX_OUTPUT: usize = 256 * 1024;
/// Bytes of an error's body that the model is shown.
const ERROR_BODY: usize = 2 * 1024;

/// An HTTP tool as it stands in a configuration.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    #[serde(default)]
    pub description: String,
    /// GET where it is not given.
    #[serde(default = "get")]
    pub method: String,
    /// With `{placeholders}` in path and query; never in scheme and host.
    pub url: String,
    /// Values with `{placeholders}`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: IndexMap<String, String>,
    /// Appended to the URL's query. A parameter whose placeholder has no value is left out.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: IndexMap<String, String>,
    /// A JSON document: text that is one `{placeholder}` becomes the value with its type, a member whose
    /// value is absent is left out. Text alone is sent as it is.
    #[serde(default)]
    pub body: Option<Value>,
    /// Names with types, or a JSON Schema; see [`schema_from`].
    #[serde(default = "no_input")]
    pub input: Value,
    /// `read` for GET and HEAD, undeclared for the others.
    #[serde(default)]
    pub effect: Option<EffectClass>,
    /// Whether addresses may be reached that are not public.
    #[serde(default)]
    pub allow_private: bool,
    /// Such as `10s`; 30 s where it is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// Most bytes of the response's body that are read; 256 KiB where it is not given.
    #[serde(default)]
    pub max_output: Option<usize>,
    #[serde(default)]
    pub exclusive: bool,
    #[serde(default)]
    pub attempts: Option<u32>,
    /// What the wait before the second attempt is drawn below, doubled for each further one; 500 ms where it
    /// is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub retry_base: Option<Duration>,
    /// No wait is drawn above it; 20 s where it is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub retry_cap: Option<Duration>,
    #[serde(default)]
    pub concurrency: Option<u32>,
}

fn get() -> String {
    "GET".to_owned()
}

fn no_input() -> Value {
    Value::Object(serde_json::Map::new())
}

impl HttpSpec {
    /// A request of this method to this URL; set the rest as fields.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            description: String::new(),
            method: method.into(),
            url: url.into(),
            headers: IndexMap::new(),
            query: IndexMap::new(),
            body: None,
            input: no_input(),
            effect: None,
            allow_private: false,
            timeout: None,
            max_output: None,
            exclusive: false,
            attempts: None,
            retry_base: None,
            retry_cap: None,
            concurrency: None,
        }
    }
}

/// Header values may be keys.
impl std::fmt::Debug for HttpSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSpec")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// An HTTP endpoint a model may call.
#[derive(Clone)]
pub struct HttpTool {
    spec: ToolSpec,
    exchange: Arc<Exchange>,
}

struct Exchange {
    client: Client,
    template: RequestTemplate,
    input: Value,
    /// Whether calls are told apart by a key.
    keyed: bool,
    max_output: usize,
}

impl HttpTool {
    /// Checks the description and builds a client of its own for it.
    ///
    /// # Errors
    /// `config_invalid`, naming the field.
    pub fn new(name: impl Into<String>, http: HttpSpec) -> Result<Self, Error> {
        let client = Client::builder().allow_private(http.allow_private).build();
        let client = client.map_err(|error| Error::new(ErrorKind::ConfigInvalid, error.to_string()))?;
        Self::with_client(name, http, client)
    }

    /// The same over a client that is shared. Which addresses may be reached is the client's rule then, not
    /// `allow_private`.
    ///
    /// # Errors
    /// `config_invalid`, naming the field.
    pub fn with_client(name: impl Into<String>, http: HttpSpec, client: Client) -> Result<Self, Error> {
        let name = name.into();
        let at = |error: Error| error.context(format!("tool `{name}`"));
        let input = schema_from(&http.input).map_err(at)?;
        let template = RequestTemplate::new(&http, &input)
            .map_err(|problem| at(Error::new(ErrorKind::ConfigInvalid, problem)))?;
        let safe = matches!(*template.method(), Method::GET | Method::HEAD);
        let mut spec = ToolSpec::new(name, http.description);
        spec.input = input.clone();
        spec.effect = http.effect.unwrap_or(if safe { EffectClass::Read } else { EffectClass::Undeclared });
        spec.exclusive = http.exclusive;
        spec.timeout_ms = http.timeout.map(duration::millis);
        spec.attempts = http.attempts;
        spec.retry_base_ms = http.retry_base.map(duration::millis);
        spec.retry_cap_ms = http.retry_cap.map(duration::millis);
        spec.concurrency = http.concurrency;
        let max_output = http.max_output.unwrap_or(MAX_OUTPUT);
        Ok(Self { spec, exchange: Arc::new(Exchange { client, template, input, keyed: !safe, max_output }) })
    }
}

impl Tool for HttpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn computes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let exchange = self.exchange.clone();
        async move { exchange.call(&arguments, &context).await }.boxed()
    }
}

impl std::fmt::Debug for HttpTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl Exchange {
    async fn call(&self, arguments: &Value, context: &Context) -> Result<ToolOutput, Error> {
        let key = self.keyed.then(|| context.idempotency_key());
        let request = self
            .template
            .fill(arguments, &self.input, key.as_deref())
            .map_err(|problem| Error::new(ErrorKind::InvalidArguments, problem))?;
        let response = self.client.send(request).await.map_err(failed)?;
        if response.status().is_success() { self.read(response).await } else { Err(refused(response).await) }
    }

    async fn read(&self, response: Response) -> Result<ToolOutput, Error> {
        let kind = ContentKind::of(response.headers());
        if let ContentKind::Binary(name) = &kind {
            return Err(Error::new(
                ErrorKind::ToolFailed,
                format!("the answer is {name}, which is neither text nor JSON; ask for another form"),
            ));
        }
        let status = response.status();
        let bytes = response.collect(self.max_output).await.map_err(|error| match error.kind() {
            HttpErrorKind::TooLarge => Error::new(
                ErrorKind::ToolFailed,
                format!(
                    "the answer is larger than {} bytes; ask for less, or raise max_output of this tool",
                    self.max_output
                ),
            ),
            _ => failed(error),
        })?;
        if bytes.is_empty() {
            return Ok(ToolOutput::Text(format!("done (HTTP {}, no content)", status.as_u16())));
        }
        let failed = |problem: String| Error::new(ErrorKind::ToolFailed, problem);
        if kind == ContentKind::Json {
            return serde_json::from_slice(&bytes)
                .map(ToolOutput::Json)
                .map_err(|error| failed(format!("the answer calls itself JSON and is none: {error}")));
        }
        match String::from_utf8(bytes.into()) {
            Ok(text) if !text.contains('\0') => Ok(ToolOutput::Text(text)),
            _ => Err(failed("the answer is not text in UTF-8; ask for another form".to_owned())),
        }
    }
}

#[derive(PartialEq)]
enum ContentKind {
    Json,
    Text,
    Binary(String),
}

impl ContentKind {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Self::Text };
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let kind = value.split(';').next().unwrap_or_default().trim();
        let text =
            ["xml", "javascript", "yaml", "x-yaml", "toml", "x-www-form-urlencoded", "x-ndjson", "graphql"];
        match kind.split_once('/') {
            Some((_, "json")) => Self::Json,
            Some((_, sub)) if sub.ends_with("+json") => Self::Json,
            Some(("text", _)) => Self::Text,
            Some((_, sub)) if sub.ends_with("+xml") && !kind.starts_with("image/") => Self::Text,
            Some(("application", sub)) if text.contains(&sub) => Self::Text,
            _ => Self::Binary(kind.chars().take(100).collect()),
        }
    }
}

/// An exchange without an answer.
fn failed(error: HttpError) -> Error {
    let message = match error.kind() {
        HttpErrorKind::AddressRefused => {
            format!("{error}; set allow_private = true on this tool if it is meant to be reached")
        }
        _ => error.to_string(),
    };
    Error::new(ErrorKind::ToolFailed, message).retryable(error.retry_may_help())
}

/// An answer that is no success.
async fn refused(mut response: Response) -> Error {
    let status = response.status();
    let retryable = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 529);
    let wait =
        if retryable { ambidex_http::retry_after(response.headers(), SystemTime::now()) } else { None };
    let mut message = format!("HTTP {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        message.push_str(&format!(" {reason}"));
    }
    if status.is_redirection() {
        message.push_str("; redirects are not followed: give the tool the final URL");
    }
    let mut body = Vec::new();
    if !matches!(ContentKind::of(response.headers()), ContentKind::Binary(_)) {
        // The status is what counts: a body that breaks off is shown as far as it came.
        while body.len() < ERROR_BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - body.len())]);
        }
    }
    let body = String::from_utf8_lossy(&body);
    if !body.trim().is_empty() {
        message.push_str(&format!(": {}", body.trim()));
    }
    let request_id =
        response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let kind = if status == StatusCode::REQUEST_TIMEOUT { "timed out" } else { "refused" };
    Error::new(ErrorKind::ToolFailed, message)
        .context(format!("the endpoint {kind}"))
        .retryable(retryable)
        .with_status(status.as_u16())
        .with_retry_after(wait)
        .with_request_id(request_id)
}
