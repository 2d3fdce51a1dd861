use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;

use super::limits::Limits;
use crate::environment::Environment;
use crate::error::ConfigErrorKind;
use crate::header::{Headers, headers};
use crate::reader::{At, Choice, Fields, FromNode};
use crate::secret::{Secret, SecretError};
use crate::source::SourceKind;
use crate::url;
use crate::vendors;

/// `[providers.NAME]`: who serves models, and how he is reached. `openai`, `anthropic`, `gemini` and `ollama` are
/// built in.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The wire format.
    pub kind: ProviderKind,
    /// Without a last `/`. Default: that of the vendor, for a server on this machine its usual port.
    #[schemars(default = "openai_url")]
    pub base_url: String,
    /// Default: the vendor's variable, such as `OPENAI_API_KEY`, where `base_url` is the vendor's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    #[serde(skip_serializing_if = "Headers::is_empty")]
    #[schemars(default)]
    pub headers: Headers,
    #[schemars(default)]
    pub pool: Pool,
    #[schemars(default)]
    pub limits: Limits,
    /// Default: the proxy of the system (`HTTPS_PROXY` and its kin).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// More certificate authorities, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The key is a default of this version and may be missing away from the vendor.
    #[serde(skip)]
    pub(crate) key_may_be_missing: bool,
}

fn openai_url() -> &'static str {
    ProviderKind::Openai.default_url()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Chat Completions, and everything compatible with it.
    Openai,
    /// Responses.
    OpenaiResponses,
    /// Messages.
    Anthropic,
    /// generateContent.
    Gemini,
    /// Its own `/api/chat`.
    Ollama,
}

/// Connections that are kept open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    #[schemars(range(min = 0, max = 10_000))]
    pub max_idle_per_host: u32,
    /// Whether HTTP/2 may be negotiated.
    pub http2: bool,
}

/// How requests leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Proxy {
    /// `"none"` for no proxy at all, or the URL of one.
    Url(String),
    /// A URL with credentials.
    Secret(Secret),
}

impl ProviderKind {
    pub const fn default_url(self) -> &'static str {
        match self {
            Self::Openai | Self::OpenaiResponses => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Gemini => "https://generativelanguage.googleapis.com",
            Self::Ollama => "http://127.0.0.1:11434",
        }
    }

    /// The variable that holds the key of the vendor itself; none where there is no key.
    pub const fn default_key(self) -> Option<&'static str> {
        match self {
            Self::Openai | Self::OpenaiResponses => Some("OPENAI_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Gemini => Some("GEMINI_API_KEY"),
            Self::Ollama => None,
        }
    }
}

impl Choice for ProviderKind {
    const ALL: &'static [(&'static str, Self)] = &[
        ("openai", Self::Openai),
        ("openai-responses", Self::OpenaiResponses),
        ("anthropic", Self::Anthropic),
        ("gemini", Self::Gemini),
        ("ollama", Self::Ollama),
    ];
}

impl Default for Pool {
    fn default() -> Self {
        Self { max_idle_per_host: 32, http2: true }
    }
}

impl Provider {
    /// The key to send. `None` when there is none, or when only the built-in default names one, it is unset,
    /// and the base URL is not the vendor's: a local server asks for no key.
    ///
    /// Blocks, as [`Secret::resolve`] does.
    ///
    /// # Errors
    /// The key is named and cannot be had.
    pub fn resolve_key(&self, environment: &Environment) -> Result<Option<SecretString>, SecretError> {
        let Some(key) = &self.key else { return Ok(None) };
        match key.resolve(environment) {
            Err(_) if self.key_may_be_missing => Ok(None),
            resolved => resolved.map(Some),
        }
    }
}

impl FromNode for Provider {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("api_key", "key"),
            ("apikey", "key"),
            ("token", "key"),
            ("url", "base_url"),
            ("api_base", "base_url"),
            ("endpoint", "base_url"),
            ("type", "kind"),
            ("ca", "ca_file"),
        ]);
        let kind: Option<ProviderKind> = fields.required("kind", "\"openai\"");
        let vendor = match kind {
            Some(ProviderKind::Openai) => at.path.last_key().and_then(vendors::named),
            _ => None,
        };
        let (address, variable) = match vendor {
            Some(vendor) => (vendor.base_url, vendor.key),
            None => (kind.map(ProviderKind::default_url), kind.and_then(ProviderKind::default_key)),
        };
        let base_url = match (fields.at("base_url"), address) {
            (Some(at), _) => url::base(&at),
            (None, Some(address)) => Some(fields.or("base_url", address.to_owned())),
            (None, None) if vendor.is_some() => {
                fields.missing("base_url", "\"https://RESOURCE.openai.azure.com\"");
                None
            }
            (None, None) => None,
        };
        let at_vendor = base_url.as_deref().is_some_and(|base_url| {
            Some(base_url) == address || vendor.is_some_and(|vendor| vendor.is_at(base_url))
        });
        let built_in = fields.at("key").is_some_and(|at| at.node.origin.source.kind == SourceKind::BuiltIn);
        let key = match variable {
            // A vendor's key goes to the vendor only, unless the file says otherwise.
            Some(variable) if at_vendor && !fields.has("key") => {
                let secret = Secret::env(variable, at.path.key("key").to_string());
                Some(fields.or("key", secret))
            }
            _ => fields.optional("key"),
        };
        let provider = (
            headers(&mut fields),
            fields.section("pool", Pool::default()),
            fields.section("limits", Limits::default()),
            fields.optional("proxy"),
            fields.at("ca_file").and_then(|at| existing_file(&at)),
        );
        fields.finish();
        let (headers, pool, limits, proxy, ca_file) = provider;
        Some(Self {
            kind: kind?,
            base_url: base_url?,
            key,
            headers,
            pool,
            limits,
            proxy,
            ca_file,
            key_may_be_missing: built_in && !at_vendor,
        })
    }
}

impl FromNode for Pool {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        let pool = Self {
            max_idle_per_host: fields.integer_or("max_idle_per_host", 0..=10_000, default.max_idle_per_host),
            http2: fields.or("http2", default.http2),
        };
        fields.finish();
        Some(pool)
    }
}

impl FromNode for Proxy {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_some() {
            return Secret::from_node(at).map(Self::Secret);
        }
        match at.text()? {
            "none" => Some(Self::Url("none".into())),
            text => url::checked(at, text).map(Self::Url),
        }
    }
}

/// A file that must be there.
pub(crate) fn existing_file(at: &At<'_>) -> Option<PathBuf> {
    let path = at.resolve(at.text()?);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Some(path),
        Ok(_) => {
            at.report(at.invalid("this is no file"));
            None
        }
        Err(error) => {
            let text = crate::toml_text::string(at.text()?);
            let message = format!("`{}`: cannot read {text}: {}", at.path, plain(&error));
            let help = "the path is relative to the folder of the file that names it";
            at.report(at.error(ConfigErrorKind::UnknownReference, message).help(help));
            None
        }
    }
}

/// An I/O error without its number, so that messages are the same on every system.
pub(crate) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}
