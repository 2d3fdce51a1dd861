//! A request with places for values: each value is written so that it cannot leave its place.

use ambidex_http::{Body, HeaderMap, HeaderName, HeaderValue, Method, Request, Url, header};
use serde_json::{Map, Value};

use super::HttpSpec;
use crate::input::{argument, names};
use crate::template::{Piece, Template};

/// Headers that belong to the connection, not to the request.
const RESERVED: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"];
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) struct RequestTemplate {
    method: Method,
    /// Scheme and authority, as written.
    origin: String,
    segments: Vec<Template>,
    /// Names and values as they were written, or with places.
    query: Vec<(String, Template)>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<BodyTemplate>,
}

enum BodyTemplate {
    Text(Template),
    Json(Node),
}

/// A JSON document with places.
enum Node {
    Fixed(Value),
    Text(Template),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl RequestTemplate {
    /// # Errors
    /// What is wrong, naming the field.
    pub(super) fn new(http: &HttpSpec, input: &Value) -> Result<Self, String> {
        let method = Method::from_bytes(http.method.to_ascii_uppercase().as_bytes())
            .ok()
            .filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE))
            .ok_or_else(|| {
                format!("`method`: `{}` cannot be used; use GET, POST, PUT, PATCH, DELETE", http.method)
            })?;
        let (origin, path, query) = split(&http.url)?;
        let segments = path.split('/').skip(1).map(Template::parse).collect::<Result<Vec<_>, _>>();
        let segments = segments.map_err(|problem| format!("`url`: {problem}"))?;
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.contains(['{', '}']) {
                return Err("`url`: a query parameter's name cannot be a placeholder".to_owned());
            }
            let value = Template::parse(value).map_err(|problem| format!("`url`: {problem}"))?;
            parameters.push((name.to_owned(), value));
        }
        for (name, value) in &http.query {
            let value = Template::parse(value).map_err(|problem| format!("`query.{name}`: {problem}"))?;
            // Literals of the table are plain text, unlike those of the URL.
            let pieces = value.pieces.into_iter().map(|piece| match piece {
                Piece::Literal(text) => Piece::Literal(encode(&text)),
                place => place,
            });
            parameters.push((encode(name), Template { pieces: pieces.collect() }));
        }
        let headers = http.headers.iter().map(header_template).collect::<Result<Vec<_>, _>>()?;
        let body = http.body.as_ref().map(body_template).transpose()?;
        if body.is_some() && matches!(method, Method::GET | Method::HEAD) {
            return Err(format!("`body`: a {method} request has none; use another method, or `query`"));
        }
        let template = Self { method, origin, segments, query: parameters, headers, body };
        template.check_places(input)?;
        let sample =
            Url::parse(&format!("{}/", template.origin)).map_err(|error| format!("`url`: {error}"))?;
        drop(sample);
        Ok(template)
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Every place has an argument, and every argument a place.
    fn check_places(&self, input: &Value) -> Result<(), String> {
        let mut places: Vec<&str> = Vec::new();
        let templates = self.segments.iter().chain(self.query.iter().map(|(_, value)| value));
        for template in templates.chain(self.headers.iter().map(|(_, value)| value)) {
            places.extend(template.placeholders());
        }
        match &self.body {
            Some(BodyTemplate::Text(text)) => places.extend(text.placeholders()),
            Some(BodyTemplate::Json(node)) => node.places(&mut places),
            None => {}
        }
        if let Some(name) = places.iter().find(|name| !names(input).any(|declared| declared == **name)) {
            return Err(format!("`{{{name}}}` is not declared; add it to `input`"));
        }
        match names(input).find(|name| !places.contains(name)) {
            Some(name) => Err(format!(
                "`input.{name}` is used nowhere; put {{{name}}} into `url`, `query`, `headers` or `body`, or remove it"
            )),
            None => Ok(()),
        }
    }

    /// The request of one call.
    ///
    /// # Errors
    /// Which argument cannot be put into its place, and why.
    pub(super) fn fill(
        &self,
        arguments: &Value,
        input: &Value,
        key: Option<&str>,
    ) -> Result<Request, String> {
        let value = |name: &str| argument(arguments, input, name);
        let url = self.url(&value)?;
        let url = Url::parse(&url).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            // An absent value leaves its header out.
            let Some(text) = template.render(|place| value(place).map(text)) else { continue };
            let mut header = HeaderValue::from_str(&text)
                .map_err(|_| format!("header `{name}` cannot have line breaks or control characters"))?;
            header.set_sensitive(true);
            headers.append(name.clone(), header);
        }
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.entry(HeaderName::from_static(IDEMPOTENCY_KEY)).or_insert(key);
        }
        let mut request = Request::new(self.method.clone(), url);
        let (kind, body) = match &self.body {
            None => (None, Body::empty()),
            Some(BodyTemplate::Text(template)) => {
                let text = template.render(|place| Some(value(place).map(text).unwrap_or_default()));
                (Some("text/plain; charset=utf-8"), Body::from(text.unwrap_or_default()))
            }
            Some(BodyTemplate::Json(node)) => {
                let document = node.fill(&value).unwrap_or(Value::Null);
                (Some("application/json"), Body::from(document.to_string()))
            }
        };
        if let Some(kind) = kind {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        request.headers = headers;
        request.body = body;
        Ok(request)
    }

    fn url<'a>(&self, value: &impl Fn(&str) -> Option<&'a Value>) -> Result<String, String> {
        let mut url = self.origin.clone();
        for segment in &self.segments {
            url.push('/');
            let mut missing = None;
            let rendered = segment.render(|place| match value(place).map(text) {
                Some(text) if !text.is_empty() => Some(encode(&text)),
                _ => {
                    missing = Some(place.to_owned());
                    None
                }
            });
            let Some(rendered) = rendered else {
                let name = missing.unwrap_or_default();
                return Err(format!("`{name}` is part of the path and must not be empty"));
            };
            // A path segment of dots means another folder, also when its dots are encoded.
            if segment.literal().is_none() && matches!(rendered.as_str(), "." | "..") {
                let name = segment.placeholders().next().unwrap_or_default();
                return Err(format!("`{name}` is part of the path and must not be `{rendered}`"));
            }
            url.push_str(&rendered);
        }
        let mut sign = '?';
        for (name, template) in &self.query {
            let Some(rendered) = template.render(|place| value(place).map(|value| encode(&text(value))))
            else {
                continue;
            };
            url.push(sign);
            url.push_str(&format!("{name}={rendered}"));
            sign = '&';
        }
        Ok(url)
    }
}

impl Node {
    fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                Self::Text(Template::parse(text).map_err(|problem| format!("`body`: {problem}"))?)
            }
            Value::Array(items) => Self::Array(items.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| Ok((name.clone(), Self::parse(value)?)));
                Self::Object(members.collect::<Result<_, String>>()?)
            }
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    fn places<'a>(&'a self, places: &mut Vec<&'a str>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => places.extend(template.placeholders()),
            Self::Array(nodes) => nodes.iter().for_each(|node| node.places(places)),
            Self::Object(members) => members.iter().for_each(|(_, node)| node.places(places)),
        }
    }

    /// None when its value is absent.
    fn fill<'a>(&self, value: &impl Fn(&str) -> Option<&'a Value>) -> Option<Value> {
        match self {
            Self::Fixed(fixed) => Some(fixed.clone()),
            Self::Text(template) => match template.only_placeholder() {
                Some(name) => value(name).cloned(),
                None => template.render(|place| value(place).map(text)).map(Value::String),
            },
            Self::Array(nodes) => Some(nodes.iter().filter_map(|node| node.fill(value)).collect()),
            Self::Object(members) => {
                let members =
                    members.iter().filter_map(|(name, node)| Some((name.clone(), node.fill(value)?)));
                Some(Value::Object(members.collect::<Map<_, _>>()))
            }
        }
    }
}

/// Origin, path (with its first `/`) and query of a URL.
fn split(url: &str) -> Result<(String, &str, &str), String> {
    let (scheme, rest) =
        url.split_once("://").ok_or("`url` has no scheme; begin it with https:// or http://".to_owned())?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if scheme.contains(['{', '}']) || authority.contains(['{', '}']) {
        return Err(
            "`url`: scheme and host cannot have placeholders; a model must not choose whom it talks to. \
                    Write them out, and make one tool per host"
                .to_owned(),
        );
    }
    if authority.is_empty() {
        return Err("`url` has no host".to_owned());
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = if path.is_empty() { "/" } else { path };
    Ok((format!("{scheme}://{authority}"), path, query))
}

fn header_template((name, value): (&String, &String)) -> Result<(HeaderName, Template), String> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`headers`: `{name}` is not a header's name"))?;
    if RESERVED.contains(&header.as_str()) {
        return Err(format!("`headers.{name}` is set by the connection; remove it"));
    }
    let template = Template::parse(value).map_err(|problem| format!("`headers.{name}`: {problem}"))?;
    let visible =
        |piece: &Piece| matches!(piece, Piece::Literal(text) if HeaderValue::from_str(text).is_err());
    if template.pieces.iter().any(visible) {
        return Err(format!("`headers.{name}` cannot have line breaks or control characters"));
    }
    Ok((header, template))
}

fn body_template(body: &Value) -> Result<BodyTemplate, String> {
    match body {
        Value::String(text) => {
            let template = Template::parse(text).map_err(|problem| format!("`body`: {problem}"))?;
            // One placeholder alone is a JSON document that the model writes.
            Ok(match template.only_placeholder() {
                Some(_) => BodyTemplate::Json(Node::Text(template)),
                None => BodyTemplate::Text(template),
            })
        }
        document => Ok(BodyTemplate::Json(Node::parse(document)?)),
    }
}

/// A value as text: strings as they are, the rest as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, so that no value can end the
/// place it stands in.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
