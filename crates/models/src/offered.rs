//! What models a provider says it has.

use std::time::{Duration, SystemTime};

use ambidex_core::{Error, ErrorKind};
use ambidex_http::{HeaderValue, Timeouts, header, retry_after};
use serde_json::Value;
use tokio::time::timeout;

use crate::adapter::{check_depth, malformed};
use crate::failure::{self, Place};
use crate::provider::ProviderModel;

/// Bytes of a list; the longest known has some hundred kilobytes.
const MAX_LIST: usize = 16 * 1024 * 1024;
/// How long a list may take.
const LIST_TIME: Duration = Duration::from_secs(30);

/// A model that a provider offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedModel {
    /// As requests name it.
    pub id: String,
    /// Context window in tokens, where the list says it.
    pub context: Option<u64>,
    /// A few words: its name for people, or its size and quantization.
    pub about: Option<String>,
}

impl ProviderModel {
    /// Asks the provider of this model for all models it has. The model itself is not asked.
    ///
    /// # Errors
    /// As a call's: `unauthorized`, `connect_failed`, `not_found` where a server has no list, `timeout`, and
    /// `bad_upstream` when the answer is no list.
    pub async fn offered(&self) -> Result<Vec<OfferedModel>, Error> {
        let provider = self.place().provider.clone();
        let listed = timeout(LIST_TIME, self.list()).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("{provider}: no list of models within {LIST_TIME:?}")))
        });
        listed.map_err(|error| error.with_provider(provider))
    }

    async fn list(&self) -> Result<Vec<OfferedModel>, Error> {
        let place = self.place();
        let (url, mut headers) = self.listing();
        let shown = url.to_string();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let timeouts = Timeouts { connect: None, first_byte: Some(LIST_TIME) };
        let request = ambidex_http::Request::get(url).headers(headers).timeouts(timeouts);
        let response = self.client().send(request).await;
        let response = response.map_err(|error| failure::of_http(place, &error, false))?;
        let status = response.status().as_u16();
        let wait = retry_after(response.headers(), SystemTime::now());
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let body = response.collect(MAX_LIST).await;
        if status == 404 {
            let Place { provider, .. } = place;
            let text = format!("{provider}: there is no list of models at {shown}; check `base_url`");
            return Err(Error::new(ErrorKind::NotFound, text).with_status(status));
        }
        if status != 200 {
            let body = body.unwrap_or_default();
            return Err(failure::of_response(place, status, &body, wait, location.as_deref()));
        }
        let body = body.map_err(|error| failure::of_http(place, &error, true))?;
        read(&body).map_err(|error| error.context(&place.provider))
    }
}

/// Reads a list: `data` (OpenAI, Anthropic and those who follow them), `models` (Gemini, Ollama), or bare.
///
/// # Errors
/// `bad_upstream` when it is none.
pub fn read(body: &[u8]) -> Result<Vec<OfferedModel>, Error> {
    check_depth(body)?;
    let list: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(&format!("the list of models is not JSON: {error}")))?;
    let entries = ["data", "models"].iter().find_map(|name| list.get(name)).unwrap_or(&list);
    let entries = entries.as_array().ok_or_else(|| malformed("there is no list of models in it"))?;
    let mut models: Vec<OfferedModel> = entries.iter().filter_map(model).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    models.dedup_by(|a, b| a.id == b.id);
    Ok(models)
}

/// One entry; none when it has no name or does not answer.
fn model(entry: &Value) -> Option<OfferedModel> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let field = |names: &[&str]| names.iter().find_map(|name| text(entry.get(name)?));
    if let Some(methods) = entry.get("supportedGenerationMethods").and_then(Value::as_array)
        && !methods.iter().any(|method| method == "generateContent")
    {
        return None;
    }
    let id = field(&["id", "model", "name"])?;
    let id = id.strip_prefix("models/").map(str::to_owned).unwrap_or(id);
    // OpenRouter and Together; Groq; vLLM; Mistral; Gemini.
    let lengths =
        ["context_length", "context_window", "max_model_len", "max_context_length", "inputTokenLimit"];
    let context = lengths.iter().find_map(|name| entry.get(name)?.as_u64()).filter(|tokens| *tokens > 0);
    let local = entry.get("details").map(|details| {
        let words =
            ["parameter_size", "quantization_level"].iter().filter_map(|name| text(details.get(name)?));
        words.collect::<Vec<_>>().join(" ")
    });
    let named = || field(&["display_name", "displayName", "name"]).filter(|name| *name != id);
    let about = local.filter(|words| !words.is_empty()).or_else(named);
    Some(OfferedModel { id, context, about })
}
