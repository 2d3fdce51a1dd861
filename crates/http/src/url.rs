//! A checked URL: http or https, with a host, without credentials.

use std::{fmt, str::FromStr};

use http::{HeaderValue, Uri, uri::Authority};

use crate::error::{HttpError, HttpErrorKind};

/// An absolute http or https URL. Cheap to clone; a fragment is dropped.
///
/// `Debug` and `Display` leave the query out, since some services take keys there.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    https: bool,
}

impl Url {
    /// Parses and checks a URL.
    ///
    /// # Errors
    /// [`HttpErrorKind::InvalidUrl`]: not absolute, a scheme other than http and https, no host,
    /// credentials before the host, or characters a URL may not have.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let invalid = |problem: &str| HttpError::new(HttpErrorKind::InvalidUrl, problem.to_owned());
        let uri = Uri::from_str(text)
            .map_err(|error| invalid(&format!("the URL cannot be read ({error}); percent-encode it")))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => {
                return Err(invalid(&format!("scheme `{other}` is not supported; use http or https")));
            }
            None => return Err(invalid("the URL has no scheme; begin it with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("the URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("the URL has credentials before the host; send them in a header"));
        }
        if authority.host().is_empty() || authority.host() == "[]" {
            return Err(invalid("the URL has no host"));
        }
        let after_host = &authority.as_str()[authority.host().len()..];
        if !after_host.is_empty() && authority.port_u16().is_none() {
            return Err(invalid("the URL's port is not a number up to 65535"));
        }
        Ok(Self { uri, https })
    }

    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host without brackets, as written.
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, 443 or 80 when the URL names none.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.https { 443 } else { 80 })
    }

    /// Path and query as sent.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.uri.authority()
    }

    /// The name for messages: host, and port where written.
    pub(crate) fn place(&self) -> &str {
        self.uri.authority().map_or("", Authority::as_str)
    }

    /// `host:port` with brackets for IPv6, as CONNECT wants it.
    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.uri.host().unwrap_or_default(), self.port())
    }

    /// The value of the `Host` header: the default port is left out.
    pub(crate) fn host_header(&self) -> Option<HeaderValue> {
        let default = if self.https { 443 } else { 80 };
        let text = match self.uri.port_u16() {
            Some(port) if port != default => self.place(),
            _ => self.uri.host().unwrap_or_default(),
        };
        HeaderValue::from_str(text).ok()
    }
}

impl FromStr for Url {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.place(), self.uri.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}
