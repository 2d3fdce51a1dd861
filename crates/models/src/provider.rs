//! A model of a provider: an adapter, an address, a key and limits of time over the shared HTTP client.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambidex_core::model::{Capabilities, ModelInfo, Reasoning, StructuredOutput};
use ambidex_core::usage::Price;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Model, Request};
use ambidex_http::{Body, Client, HeaderMap, HeaderValue, Url, header};
use bytes::Bytes;
use secrecy::SecretString;

use crate::adapter::{Adapter, Endpoint, Format, Frame};
use crate::failure::Place;
use crate::openai_chat::Quirks;
use crate::reply_stream::ReplyStream;
use crate::{known_models, vendors};

/// Sent to formats that demand a limit of tokens, where the request sets none. Every current model of
/// Anthropic takes it; older ones take less and say so.
pub const DEFAULT_MAX_TOKENS: u32 = 16_384;

/// Limits of time of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name, TCP, proxy and TLS together.
    pub connect: Duration,
    /// From the request to the head of the answer, and from there to the first content. None is 60 s, and
    /// 300 s where the request asks for reasoning.
    pub first_token: Option<Duration>,
    /// Without content. Pings extend it to five times as long, at most 300 s.
    pub idle: Duration,
    /// The whole call.
    pub total: Duration,
}

impl Timeouts {
    pub const FIRST_TOKEN: Duration = Duration::from_secs(60);
    pub const FIRST_TOKEN_REASONING: Duration = Duration::from_secs(300);
    const PINGS_AT_MOST: Duration = Duration::from_secs(300);

    /// How long pings alone keep a stream alive.
    pub(crate) fn pings(&self) -> Duration {
        self.idle.saturating_mul(5).min(Self::PINGS_AT_MOST).max(self.idle)
    }

    pub(crate) fn first_token(&self, request: &Request) -> Duration {
        let reasons = match &request.settings.reasoning {
            None => false,
            Some(Reasoning::Effort(effort)) => effort != "none",
            Some(Reasoning::BudgetTokens(_)) => true,
        };
        self.first_token.unwrap_or(if reasons { Self::FIRST_TOKEN_REASONING } else { Self::FIRST_TOKEN })
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: None,
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// What a provider's model is made of. Set the rest as fields.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The name it is configured under, or `provider:model`.
    pub name: String,
    pub provider: String,
    pub format: Format,
    /// The provider's id of the model.
    pub model: String,
    /// As in `https://api.openai.com/v1`. An address without a path gets the format's own.
    pub base_url: String,
    pub key: Option<SecretString>,
    /// Where the key comes from, for messages: `OPENAI_API_KEY`.
    pub key_source: Option<String>,
    /// Further headers; they win over the adapter's.
    pub headers: HeaderMap,
    pub price: Option<Price>,
    pub structured_output: StructuredOutput,
    /// Context window in tokens. Ollama is told it; others have the one they have.
    pub context: Option<u64>,
    /// What is unknown here is taken from what is known about the model.
    pub capabilities: Option<Capabilities>,
    pub timeouts: Timeouts,
    /// The limit of output tokens where the request sets none and the format demands one.
    pub max_tokens: u32,
    /// Chat: the limit's name. None: as the vendor calls it ([`vendors`]), else `max_tokens`.
    pub max_completion_tokens: Option<bool>,
}

impl ModelConfig {
    pub fn new(
        format: Format,
        provider: impl Into<String>,
        model: impl Into<String>,
        base_url: impl Into<String>,
    ) -> Self {
        let (provider, model) = (provider.into(), model.into());
        let base_url = base_url.into();
        let structured_output = match format {
            Format::OpenAiChat => vendors::of(&provider, &host_of(&base_url))
                .map_or(StructuredOutput::Native, |vendor| vendor.structured_output),
            Format::Gemini => crate::gemini::structured_output(&model),
            Format::Ollama => StructuredOutput::NativeWithoutTools,
            Format::OpenAiResponses | Format::Anthropic => StructuredOutput::Native,
        };
        Self {
            name: format!("{provider}:{model}"),
            provider,
            format,
            model,
            base_url,
            key: None,
            key_source: None,
            headers: HeaderMap::new(),
            price: None,
            structured_output,
            context: None,
            capabilities: None,
            timeouts: Timeouts::default(),
            max_tokens: DEFAULT_MAX_TOKENS,
            max_completion_tokens: None,
        }
    }
}

/// The host of an address; empty where it is none, which is reported elsewhere.
fn host_of(base_url: &str) -> String {
    Url::parse(base_url.trim()).map(|url| url.host().to_owned()).unwrap_or_default()
}

/// What a server does in its own way. By its host in either format of OpenAI, by the provider's name in Chat
/// Completions alone.
fn quirks(format: Format, provider: &str, host: &str) -> Quirks {
    let vendor = match format {
        Format::OpenAiChat => vendors::of(provider, host),
        Format::OpenAiResponses => vendors::of("", host),
        Format::Anthropic | Format::Gemini | Format::Ollama => None,
    };
    vendor.map(|vendor| vendor.quirks).unwrap_or_default()
}

/// A model behind a provider's HTTP interface. One attempt per call: retry is a model around it.
#[derive(Clone)]
pub struct ProviderModel(Arc<Shared>);

/// What every call of a model uses.
pub(crate) struct Shared {
    pub(crate) adapter: &'static dyn Adapter,
    pub(crate) client: Client,
    pub(crate) info: ModelInfo,
    pub(crate) timeouts: Timeouts,
    pub(crate) place: Place,
    endpoint: Endpoint,
    url: Url,
    list_url: Url,
    headers: HeaderMap,
    frames: Mutex<Vec<(FrameKey, Frame)>>,
}

/// What a frame was made from.
struct FrameKey {
    request: Request,
    empty: bool,
}

/// Agents that share one model keep a frame each, up to this many.
const FRAMES: usize = 16;

impl ProviderModel {
    /// # Errors
    /// `config_invalid` for a base URL or a key that cannot be used.
    pub fn new(config: ModelConfig, client: Client) -> Result<Self, Error> {
        let ModelConfig { name, provider, format, model, base_url, key, .. } = config;
        let adapter = format.adapter();
        let at_provider = |error: Error| error.context(format_args!("provider `{provider}`"));
        let host = host_of(&base_url);
        let mut quirks = quirks(format, &provider, &host);
        if let Some(renamed) = config.max_completion_tokens {
            quirks.max_completion_tokens = renamed;
        }
        let base_path = quirks.base_path.unwrap_or_else(|| adapter.base_path());
        let base = Base::parse(&base_url, base_path).map_err(at_provider)?;
        let endpoint = Endpoint {
            model: model.clone(),
            base_path: base.path.clone(),
            max_tokens: config.max_tokens,
            context: config.context,
            quirks,
        };
        let url = base.with(&adapter.path(&endpoint)).map_err(at_provider)?;
        let list_url = base.with(adapter.list_path(&endpoint)).map_err(at_provider)?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let ours = adapter.headers(&endpoint, key.as_ref()).map_err(at_provider)?;
        headers.extend(ours);
        for (name, value) in &config.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let key_source = config.key_source.unwrap_or_else(|| match &key {
            Some(_) => format!("`providers.{provider}.key`"),
            None => format!("`providers.{provider}.key`, which is not set"),
        });
        let place = Place { provider: provider.clone(), model, base_url: url.to_string(), key_source, key };
        let known = known_models::known(&host, &place.model);
        let info = ModelInfo {
            price: config.price.or(known.and_then(|known| known.price)),
            structured_output: config.structured_output,
            context: config.context.or(known.and_then(|known| known.context)),
            capabilities: config
                .capabilities
                .unwrap_or_default()
                .or(known.map(|known| known.capabilities).unwrap_or_default()),
            ..ModelInfo::new(name, provider)
        };
        let frames = Mutex::default();
        let timeouts = config.timeouts;
        Ok(Self(Arc::new(Shared {
            adapter,
            client,
            info,
            timeouts,
            place,
            endpoint,
            url,
            list_url,
            headers,
            frames,
        })))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Where the provider lists its models, and the headers of each request.
    pub(crate) fn listing(&self) -> (Url, HeaderMap) {
        (self.0.list_url.clone(), self.0.headers.clone())
    }

    /// The bytes that would be sent.
    ///
    /// # Errors
    /// `invalid_request` for what the format cannot say.
    pub fn encode(&self, request: &Request, context: &Context) -> Result<Vec<Bytes>, Error> {
        self.0.encode(request, context)
    }
}

impl Model for ProviderModel {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(ReplyStream::new(self.0.clone(), request, context))
    }
}

impl fmt::Debug for ProviderModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderModel").field("name", &self.0.info.name).field("url", &self.0.url).finish()
    }
}

impl Shared {
    fn encode(&self, request: &Request, context: &Context) -> Result<Vec<Bytes>, Error> {
        let frame = self.frame(request)?;
        let (adapter, endpoint) = (self.adapter, &self.endpoint);
        let dialect = adapter.dialect(endpoint);
        let messages = context.wire().encode(dialect, &request.history, |before, message, out| {
            adapter.message(endpoint, before, message, out)
        })?;
        let mut body = Vec::with_capacity(messages.len() + 2);
        body.push(frame.head);
        body.extend(messages);
        body.push(frame.tail);
        Ok(body)
    }

    /// The body, and how long the first token may take.
    pub(crate) fn prepare(&self, request: &Request, context: &Context) -> Result<(Body, Duration), Error> {
        self.info.capabilities.check(request).map_err(|error| {
            let Place { provider, model, .. } = &self.place;
            error.context(format_args!("{provider}: `{model}`"))
        })?;
        Ok((self.encode(request, context)?.into(), self.timeouts.first_token(request)))
    }

    /// The HTTP request with this body.
    pub(crate) fn http_request(&self, body: Body, first_token: Duration) -> ambidex_http::Request {
        let timeouts =
            ambidex_http::Timeouts { connect: Some(self.timeouts.connect), first_byte: Some(first_token) };
        ambidex_http::Request::post(self.url.clone())
            .headers(self.headers.clone())
            .body(body)
            .timeouts(timeouts)
    }

    fn frame(&self, request: &Request) -> Result<Frame, Error> {
        let empty = request.history.is_empty();
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) =
            frames.iter().rposition(|(key, _)| key.empty == empty && same_frame(&key.request, request))
        {
            return frames
                .get(at)
                .map_or_else(|| self.adapter.frame(request, &self.endpoint), |(_, it)| Ok(it.clone()));
        }
        let frame = self.adapter.frame(request, &self.endpoint)?;
        if frames.len() >= FRAMES {
            frames.remove(0);
        }
        // The key holds what its pointers point to, so no other value can take their place.
        let request = Request { history: Arc::default(), ..request.clone() };
        frames.push((FrameKey { request, empty }, frame.clone()));
        Ok(frame)
    }
}

/// Whether two requests have the same frame, for certain and cheaply.
pub(crate) fn same_frame(a: &Request, b: &Request) -> bool {
    let instructions = match (&a.instructions, &b.instructions) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    };
    let output = match (&a.output, &b.output) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    let tools = Arc::ptr_eq(&a.tools, &b.tools)
        || (a.tools.len() == b.tools.len()
            && a.tools.iter().zip(b.tools.iter()).all(|(a, b)| Arc::ptr_eq(a, b)));
    instructions
        && output
        && tools
        && a.tool_choice == b.tool_choice
        && (Arc::ptr_eq(&a.settings, &b.settings) || a.settings == b.settings)
}

/// A base URL in pieces: the format's path goes before its query.
struct Base<'a> {
    before: &'a str,
    path: String,
    query: Option<&'a str>,
    default_path: &'static str,
}

impl<'a> Base<'a> {
    /// `default_path` stands in where the URL has no path.
    fn parse(text: &'a str, default_path: &'static str) -> Result<Self, Error> {
        let url = url(text.trim())?;
        let (before, query) = match text.trim().split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (text.trim(), None),
        };
        let path = url.path_and_query().split('?').next().unwrap_or_default().trim_end_matches('/');
        let default_path = if path.is_empty() { default_path } else { "" };
        let path = format!("{path}{default_path}");
        Ok(Self { before: before.trim_end_matches('/'), path, query, default_path })
    }

    fn with(&self, path: &str) -> Result<Url, Error> {
        let Self { before, default_path, .. } = self;
        match self.query {
            Some(query) if path.contains('?') => url(&format!("{before}{default_path}{path}&{query}")),
            Some(query) => url(&format!("{before}{default_path}{path}?{query}")),
            None => url(&format!("{before}{default_path}{path}")),
        }
    }
}

fn url(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|error| Error::new(ErrorKind::ConfigInvalid, format!("`base_url`: {error}")))
}
