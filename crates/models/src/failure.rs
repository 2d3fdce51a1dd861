//! What a provider said went wrong, as one of our errors. Judged by status and body together.

use std::borrow::Cow;
use std::time::Duration;

use ambidex_core::{Error, ErrorKind};
use ambidex_http::{HttpError, HttpErrorKind, TimeoutPhase};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::gemini::error::Details;

/// Characters of a provider's own words that a message repeats.
const QUOTED: usize = 300;

/// Words for content that a policy stopped.
const REFUSED_CONTENT: [&str; 6] = [
    "content_filter",
    "content_policy_violation",
    "image_content_policy_violation",
    "misalignment_policy_violation",
    "bio_policy",
    "ResponsibleAIPolicyViolation",
];

/// Words of OpenAI Responses for input that will never do.
const REFUSED_INPUT: [&str; 15] = [
    "invalid_prompt",
    "data_residency_mismatch",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "invalid_image_mode",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_file_too_large",
    "image_file_not_found",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
];

/// The names an error message needs to say where to look.
#[derive(Clone, Debug)]
pub struct Place {
    pub provider: String,
    pub model: String,
    /// The base URL without anything secret.
    pub base_url: String,
    /// Where the key comes from, such as `the environment variable OPENAI_API_KEY`.
    pub key_source: String,
    pub key: Option<SecretString>,
}

/// An error as it stands in a provider's JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WireError {
    /// The provider's word for the kind.
    pub kind: String,
    pub code: String,
    pub message: String,
    /// A status that the JSON itself names.
    pub status: Option<u16>,
    details: Details,
}

impl WireError {
    /// Reads the shapes in use: `{"error": {...}}`, `{"error": "text"}`, the fields at the top, `detail`, and a
    /// list of one of them. What is none of them is taken as text.
    pub fn of_json(json: &[u8]) -> Self {
        let plain = || Self { message: String::from_utf8_lossy(json).into_owned(), ..Self::default() };
        let Ok(value) = serde_json::from_slice::<Value>(json) else { return plain() };
        let value = match &value {
            Value::Array(list) => list.first().unwrap_or(&value),
            one => one,
        };
        let error = match value.get("error") {
            Some(error @ (Value::Object(_) | Value::String(_))) => error,
            _ => value,
        };
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = match error {
            Value::String(text) => text.clone(),
            _ => match error.get("message").or_else(|| error.get("detail")).or_else(|| error.get("msg")) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => return plain(),
                Some(other) => other.to_string(),
            },
        };
        let code = text("code");
        let status = code.parse().ok().filter(|status| (400..600).contains(status));
        let kind = match text("type") {
            kind if kind.is_empty() && status.is_some() => text("status"),
            kind => kind,
        };
        Self { kind, code, message, status, details: Details::of(error) }
    }

    /// An error event inside a stream that began with 200.
    pub fn into_error(self) -> Error {
        let kind = self.classify(self.status).unwrap_or(ErrorKind::ProviderError);
        // There is no header for it any more.
        let in_words = || (kind == ErrorKind::RateLimited).then(|| wait_in_words(&self.message)).flatten();
        let error = Error::new(kind, format!("the provider reported {}", self.quoted(None)))
            .with_retry_after(self.details.retry_delay.or_else(in_words));
        match self.status {
            Some(status) => error.with_status(status),
            None => error,
        }
    }

    /// The kind, where status or words tell. Words win: 429 is used for an empty account too, and 400
    /// for a prompt that is too long.
    fn classify(&self, status: Option<u16>) -> Option<ErrorKind> {
        let words = [self.kind.as_str(), self.code.as_str()];
        let is = |names: &[&str]| words.iter().any(|word| names.contains(word));
        let message = self.message.to_ascii_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        let kind =
            if is(&[
                "insufficient_quota",
                "billing_error",
                "billing_hard_limit_reached",
                "insufficient_balance",
            ]) || says(&["credit balance is too low", "insufficient balance", "insufficient credit"])
                || self.details.quota_spent
            {
                ErrorKind::QuotaExhausted
            } else if is(&["context_length_exceeded", "exceed_context_size_error"])
                || says(&[
                    "prompt is too long",
                    "maximum context length",
                    "exceeds the available context size",
                    "exceeds the context length",
                    "longer than the context length",
                    "exceed context limit",
                    "input is too long",
                    "exceeds the maximum number of tokens allowed",
                ])
            {
                ErrorKind::ContextTooLong
            } else if is(&REFUSED_CONTENT) {
                ErrorKind::ContentFilter
            } else if is(&[
                "overloaded_error",
                "overloaded",
                "engine_overloaded",
                "server_is_overloaded",
                "slow_down",
            ]) {
                ErrorKind::Overloaded
            } else if is(&["rate_limit_error", "rate_limit_exceeded", "too_many_requests"]) {
                ErrorKind::RateLimited
            } else if is(&["authentication_error", "invalid_api_key"]) || self.details.key_invalid {
                ErrorKind::Unauthorized
            } else if is(&["permission_error", "permission_denied"]) {
                ErrorKind::Forbidden
            } else if says(&["items are not persisted when `store`"]) {
                // It says 404, of an item of the history.
                ErrorKind::InvalidRequest
            } else if is(&["not_found_error", "model_not_found"]) {
                ErrorKind::NotFound
            } else if let Some(kind) = status.and_then(of_status) {
                kind
            } else if is(&["invalid_request_error", "request_too_large"]) || is(&REFUSED_INPUT) {
                ErrorKind::InvalidRequest
            } else if is(&["timeout_error", "vector_store_timeout"]) {
                ErrorKind::Timeout
            } else if is(&["api_error", "server_error", "internal_error", "internal_server_error"]) {
                ErrorKind::ProviderError
            } else {
                return None;
            };
        Some(kind)
    }

    /// The provider's own words, short, on one line and without the key.
    fn quoted(&self, key: Option<&SecretString>) -> String {
        let code_says = !self.code.is_empty() && self.status.is_none();
        let words = if code_says || self.kind.is_empty() { &self.code } else { &self.kind };
        let said = quote(&self.message, key);
        match (words.is_empty(), said.is_empty()) {
            (true, true) => "an error without words".to_owned(),
            (true, false) => format!("\"{said}\""),
            (false, true) => format!("`{}`", quote(words, key)),
            (false, false) => format!("`{}`: \"{said}\"", quote(words, key)),
        }
    }
}

fn of_status(status: u16) -> Option<ErrorKind> {
    Some(match status {
        401 => ErrorKind::Unauthorized,
        402 => ErrorKind::QuotaExhausted,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        409 | 425 => ErrorKind::ProviderError,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::ProviderError,
        _ => return None,
    })
}

/// A response whose status is not 200, as an error. `location` is where a redirect points.
pub fn of_response(
    place: &Place,
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    location: Option<&str>,
) -> Error {
    let provider = &place.provider;
    if (300..400).contains(&status) {
        let host = location.map_or("nowhere", host_of);
        let text = format!(
            "{provider}: {} answers {status} with a redirect to {host}; model requests do not follow redirects, \
             so set `base_url` to the address that answers itself",
            place.base_url
        );
        return Error::new(ErrorKind::BadUpstream, text).retryable(false).with_status(status);
    }
    if status < 400 {
        let text =
            format!("{provider}: {} answers {status} where 200 is due; check `base_url`", place.base_url);
        return Error::new(ErrorKind::BadUpstream, text).with_status(status);
    }
    let said = if is_html(body) { WireError::default() } else { WireError::of_json(body) };
    let kind = said.classify(Some(status)).unwrap_or(ErrorKind::BadUpstream);
    let quoted = if said == WireError::default() { String::new() } else { said.quoted(place.key.as_ref()) };
    let what =
        if quoted.is_empty() { format!("answered {status}") } else { format!("answered {status}: {quoted}") };
    let text = match remedy(kind, place) {
        Some(remedy) => format!("{provider}: {what}; {remedy}"),
        None => format!("{provider}: {what}"),
    };
    // 501 and 505 say that it will never work.
    let retryable = kind.retryable() && !matches!(status, 501 | 505);
    Error::new(kind, text)
        .retryable(retryable)
        .with_status(status)
        .with_retry_after(retry_after.or(said.details.retry_delay))
}

fn remedy(kind: ErrorKind, place: &Place) -> Option<String> {
    Some(match kind {
        ErrorKind::Unauthorized => format!("check the key in {}", place.key_source),
        ErrorKind::Forbidden => {
            format!("the key in {} may not use `{}`; check its rights", place.key_source, place.model)
        }
        ErrorKind::NotFound => {
            format!("check the model name `{}` and `base_url` ({})", place.model, place.base_url)
        }
        ErrorKind::QuotaExhausted => "add credit to the account, or use another provider".to_owned(),
        ErrorKind::ContextTooLong => "shorten the history, or use a model with a larger context".to_owned(),
        _ => return None,
    })
}

/// A failed exchange, as an error. `answered` says whether the head of an answer was there.
pub fn of_http(place: &Place, error: &HttpError, answered: bool) -> Error {
    let (kind, remedy) = match error.kind() {
        HttpErrorKind::Configuration | HttpErrorKind::InvalidUrl | HttpErrorKind::AddressRefused => {
            (ErrorKind::ConfigInvalid, "check `base_url`")
        }
        HttpErrorKind::Dns | HttpErrorKind::Connect => {
            (ErrorKind::ConnectFailed, "check `base_url`, and that the server runs")
        }
        HttpErrorKind::Timeout(TimeoutPhase::Connect) => {
            (ErrorKind::ConnectFailed, "check `base_url` and the network")
        }
        HttpErrorKind::Tls => (ErrorKind::ConnectFailed, "check the certificate, or set `ca_file`"),
        HttpErrorKind::Proxy => (ErrorKind::ConnectFailed, "check the proxy"),
        HttpErrorKind::Timeout(TimeoutPhase::FirstByte) => {
            (ErrorKind::Timeout, "raise `timeout.first_token` if the model needs longer")
        }
        HttpErrorKind::Timeout(TimeoutPhase::Idle) => {
            (ErrorKind::IdleTimeout, "raise `timeout.idle` if the model needs longer")
        }
        HttpErrorKind::Closed | HttpErrorKind::Truncated | HttpErrorKind::Reset if answered => {
            (ErrorKind::StreamTruncated, "")
        }
        HttpErrorKind::Closed | HttpErrorKind::Truncated | HttpErrorKind::Reset => {
            (ErrorKind::ConnectFailed, "")
        }
        _ => (ErrorKind::BadUpstream, ""),
    };
    let text = quote(&error.to_string(), place.key.as_ref());
    let text = if remedy.is_empty() { text } else { format!("{text}; {remedy}") };
    // A malformed or oversized answer may come out well the next time; a wrong certificate does not.
    let retryable = error.retry_may_help() || kind == ErrorKind::BadUpstream;
    Error::new(kind, format!("{}: {text}", place.provider)).retryable(retryable)
}

/// How long the provider asks to wait, where only its words say so: `try again in 1m2.5s`.
fn wait_in_words(message: &str) -> Option<Duration> {
    let (_, mut rest) = message.split_once("try again in ")?;
    let mut wait: Option<f64> = None;
    loop {
        rest = rest.trim_start();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" | "second" | "seconds" => 1.0,
            "m" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            _ => break,
        };
        let Ok(number) = number.parse::<f64>() else { break };
        wait = Some(wait.unwrap_or(0.0) + number * seconds);
        rest = after;
    }
    wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// Whether a body is a page for people.
pub fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

fn host_of(location: &str) -> &str {
    let Some((_, rest)) = location.split_once("://") else { return "another path of the same host" };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// Text of another party: on one line, short, and without the key.
pub(crate) fn quote(text: &str, key: Option<&SecretString>) -> String {
    let secret = key.map(|key| key.expose_secret().trim()).filter(|key| key.len() >= 4);
    let text: Cow<'_, str> = match secret {
        Some(secret) if text.contains(secret) => Cow::Owned(text.replace(secret, "[key]")),
        _ => Cow::Borrowed(text),
    };
    let mut short = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
        if let Some((end, _)) = short.char_indices().nth(QUOTED) {
            short.truncate(end);
            short.push('…');
            break;
        }
    }
    short
}
