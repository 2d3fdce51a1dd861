//! Checks of the URLs in a configuration.

use crate::error::ConfigErrorKind;
use crate::reader::At;

/// A base URL: http or https, a host, no credentials, of a query only `api-version`. A last `/` is dropped.
pub(crate) fn base(at: &At<'_>) -> Option<String> {
    let text = checked(at, at.text()?)?;
    let (path, query) = text.split_once('?').map_or((&*text, None), |(path, query)| (path, Some(query)));
    // A key never travels in an address.
    let version = |query: &str| query.starts_with("api-version=") && !query.contains(['&', '#']);
    if path.contains('#') || !query.is_none_or(version) {
        at.report(at.invalid("a base URL has no fragment, and no query but `api-version`"));
        return None;
    }
    let path = path.trim_end_matches('/');
    Some(query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

/// An absolute http or https URL without credentials.
pub(crate) fn checked(at: &At<'_>, text: &str) -> Option<String> {
    let help = "write it in full, such as \"https://api.example.com/v1\"";
    let authority = match text.split_once("://") {
        Some(("http" | "https", rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        Some((scheme, _)) => {
            let reason = format!("the scheme {scheme:?} is not http or https");
            at.report(at.invalid(reason).help(help));
            return None;
        }
        None => {
            at.report(at.invalid("this is no absolute http or https URL").help(help));
            return None;
        }
    };
    if authority.contains('@') {
        let message = format!("`{}` holds credentials, which must not stand in plain text", at.path);
        let help = match at.path.last_key() {
            Some("proxy") => "keep the whole URL in a variable: proxy = { env = \"NAME\" }",
            _ => "send them in a header: headers = { authorization = { env = \"NAME\" } }",
        };
        at.report(at.error(ConfigErrorKind::PlainSecret, message).help(help));
        return None;
    }
    match authority.parse::<http::uri::Authority>() {
        Ok(authority) if !authority.host().is_empty() => Some(text.to_owned()),
        _ => {
            at.report(at.invalid("its host is missing or malformed").help(help));
            None
        }
    }
}
