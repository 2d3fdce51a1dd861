//! A client of raw bytes: it shows exactly what came and how it ended.

use std::net::SocketAddr;
use std::time::Duration;

use ambidex_fake_provider::Wire;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Silence this long counts as a stall, where a stall is expected.
const SILENCE: Duration = Duration::from_millis(150);
/// No test waits longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The length or the last chunk was reached.
    Complete,
    /// The peer closed before that.
    Fin,
    /// The peer reset the connection.
    Reset,
    /// Nothing more came.
    Silent,
    /// The bytes are not HTTP.
    Broken,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub chunks: Vec<Vec<u8>>,
    pub body: Vec<u8>,
    pub end: End,
    pub raw: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn auth(wire: Wire) -> Vec<(&'static str, &'static str)> {
    match wire {
        Wire::OpenAi | Wire::Responses | Wire::Ollama => vec![("authorization", "Bearer sk-test")],
        Wire::Gemini => vec![("x-goog-api-key", "test")],
        Wire::Anthropic => vec![("x-api-key", "sk-ant-test"), ("anthropic-version", "2023-06-01")],
    }
}

pub fn encode(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

pub fn post_bytes(wire: Wire, extra: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let mut headers = auth(wire);
    headers.push(("content-type", "application/json"));
    headers.extend_from_slice(extra);
    let mut sent = body.clone();
    if let (Wire::Gemini, Some(fields)) = (wire, sent.as_object_mut()) {
        fields.remove("stream");
        fields.remove("model");
    }
    encode("POST", &path(wire, body), &headers, sent.to_string().as_bytes())
}

/// Where a request goes. Gemini says the model and whether it streams there; its bodies here say so for the
/// tests, and the fields are taken out before they are sent.
pub fn path(wire: Wire, body: &Value) -> String {
    wire.path(body["model"].as_str().unwrap_or("fake-1"), body["stream"] == true)
}

/// Sends a request on a connection of its own and reads until the response ends.
pub async fn post(addr: SocketAddr, wire: Wire, body: &Value) -> Response {
    send(addr, &post_bytes(wire, &[], body), PATIENCE).await
}

pub async fn post_as(addr: SocketAddr, wire: Wire, run: &str, body: &Value) -> Response {
    send(addr, &post_bytes(wire, &[("x-fake-run", run)], body), PATIENCE).await
}

/// The same where silence is expected.
pub async fn post_until_silence(addr: SocketAddr, wire: Wire, body: &Value) -> Response {
    send(addr, &post_bytes(wire, &[], body), SILENCE).await
}

pub async fn send(addr: SocketAddr, request: &[u8], patience: Duration) -> Response {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    receive(&mut stream, patience).await
}

/// Reads one response. Pings are no silence, so where silence is expected four of them end it.
pub async fn receive(stream: &mut TcpStream, patience: Duration) -> Response {
    let mut raw = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let started = tokio::time::Instant::now();
    loop {
        if may_be_complete(&raw)
            && let Some(response) = parse(&raw, None)
        {
            return response;
        }
        let read = tokio::time::timeout(patience, stream.read(&mut buffer));
        let end = match tokio::time::timeout_at(started + PATIENCE, read).await {
            Ok(Ok(Ok(0))) => End::Fin,
            Ok(Ok(Ok(read))) => {
                raw.extend_from_slice(&buffer[..read]);
                if patience > SILENCE || pings(&raw) < 4 {
                    continue;
                }
                End::Silent
            }
            Ok(Ok(Err(_))) => End::Reset,
            _ => End::Silent,
        };
        return parse(&raw, Some(end)).unwrap();
    }
}

fn pings(raw: &[u8]) -> usize {
    let named = raw.windows(10).filter(|ten| *ten == b"keep-alive" || *ten == b"event: pin").count();
    // A chunk of one empty line is Ollama's.
    named + raw.windows(6).filter(|six| *six == b"1\r\n\n\r\n").count()
}

/// A cheap look, so that a long response is not parsed again for every piece of it.
fn may_be_complete(raw: &[u8]) -> bool {
    let start = &raw[..raw.len().min(2000)];
    let Some(head) = start.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&raw[..head]).into_owned();
    match text.split("content-length: ").nth(1) {
        Some(rest) => raw.len() - head - 4 >= rest.lines().next().unwrap().parse().unwrap(),
        None => raw.ends_with(b"0\r\n\r\n"),
    }
}

/// A response that is complete, or what there is of it once it has ended.
fn parse(raw: &[u8], end: Option<End>) -> Option<Response> {
    let mut response = Response {
        status: None,
        headers: Vec::new(),
        chunks: Vec::new(),
        body: Vec::new(),
        end: end.unwrap_or(End::Complete),
        raw: raw.to_vec(),
    };
    let Some(split) = raw.windows(4).position(|four| four == b"\r\n\r\n") else {
        return end.map(|_| response);
    };
    let head = String::from_utf8_lossy(&raw[..split]).into_owned();
    let mut lines = head.split("\r\n");
    response.status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    response.headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let rest = &raw[split + 4..];
    if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().unwrap();
        response.body = rest[..rest.len().min(length)].to_vec();
        return (rest.len() >= length || end.is_some()).then_some(response);
    }
    if response.header("transfer-encoding") != Some("chunked") {
        // The end of the connection is the end of the body.
        response.body = rest.to_vec();
        if response.end == End::Fin {
            response.end = End::Complete;
        }
        return end.map(|_| response);
    }
    let mut at = 0;
    loop {
        let Some(line) = rest[at..].windows(2).position(|two| two == b"\r\n") else {
            return end.map(|_| response);
        };
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&rest[at..at + line]), 16) else {
            response.end = End::Broken;
            return Some(response);
        };
        let start = at + line + 2;
        if rest.len() < start + size + 2 {
            return end.map(|_| response);
        }
        if size == 0 {
            response.end = End::Complete;
            return Some(response);
        }
        response.chunks.push(rest[start..start + size].to_vec());
        response.body.extend_from_slice(&rest[start..start + size]);
        at = start + size + 2;
    }
}

/// A valid request with a tool.
pub fn request(wire: Wire, stream: bool) -> Value {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    match wire {
        Wire::OpenAi | Wire::Ollama => json!({
            "model": "fake-1", "stream": stream,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read it."}],
            "tools": [{"type": "function", "function":
                {"name": "read", "description": "Reads a file.", "parameters": schema}}],
        }),
        Wire::Responses => json!({
            "model": "fake-1", "stream": stream, "store": false, "instructions": "Be brief.",
            "include": ["reasoning.encrypted_content"],
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Read it."}]}],
            "tools": [{"type": "function", "name": "read", "description": "Reads a file.",
                "parameters": schema, "strict": false}],
        }),
        Wire::Gemini => json!({
            "stream": stream, "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": "user", "parts": [{"text": "Read it."}]}],
            "tools": [{"functionDeclarations": [{"name": "read", "description": "Reads a file.",
                "parametersJsonSchema": schema}]}],
        }),
        Wire::Anthropic => json!({
            "model": "fake-1", "stream": stream, "max_tokens": 1000, "system": "Be brief.",
            "messages": [{"role": "user", "content": "Read it."}],
            "tools": [{"name": "read", "description": "Reads a file.", "input_schema": schema}],
        }),
    }
}
