use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::tool::EffectClass;
use ambidex_core::{ErrorKind, Tool, ToolOutput};
use ambidex_tools::{HttpSpec, HttpTool};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{call, fault, text};

/// Answers with the given bytes in turn and remembers what it was asked.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<String> = answers.into_iter().collect();
        let mut task = JoinSet::new();
        let requests = seen.clone();
        task.spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                while !is_whole(&bytes) {
                    let mut buffer = [0; 4096];
                    match socket.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => bytes.extend_from_slice(&buffer[..count]),
                    }
                }
                requests.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                // A client that has seen enough hangs up.
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { address, seen, _task: task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn last(&self) -> String {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn first_line(&self) -> String {
        self.last().lines().next().unwrap().to_owned()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.parse::<usize>().unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn ok(kind: &str, body: &str) -> String {
    answer("200 OK", &format!("content-type: {kind}\r\n"), body)
}

fn get(url: String, input: Value) -> HttpSpec {
    HttpSpec { input, allow_private: true, ..HttpSpec::new("GET", url) }
}

fn tool(spec: HttpSpec) -> HttpTool {
    HttpTool::new("fetch", spec).unwrap()
}

fn refused(spec: HttpSpec) -> String {
    let error = HttpTool::new("fetch", spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    error.message().to_owned()
}

#[tokio::test]
async fn values_are_put_into_path_and_query_and_json_comes_back() {
    let server = Server::new([ok("application/json; charset=utf-8", r#"{"a":1}"#)]).await;
    let mut spec = get(
        server.url("/items/{id}/x?q={q}&fixed=1"),
        json!({"id": "integer", "q": "string", "n": "string?"}),
    );
    spec.query.insert("more things".into(), "{n}".into());
    spec.query.insert("page".into(), "a&b".into());
    spec.headers.insert("X-Query".into(), "about {q}".into());
    let tool = tool(spec);
    assert_eq!(tool.spec().effect, EffectClass::Read);
    let output = call(&tool, json!({"id": 7, "q": "a b&c=d#e"})).await;
    assert_eq!(output, Ok(ToolOutput::Json(json!({"a": 1}))));
    assert_eq!(server.first_line(), "GET /items/7/x?q=a%20b%26c%3Dd%23e&fixed=1&page=a%26b HTTP/1.1");
    let request = server.last().to_ascii_lowercase();
    assert!(request.contains("x-query: about a b&c=d#e"), "{request}");
    assert!(!request.contains("idempotency-key"), "{request}");
}

#[tokio::test]
async fn no_value_leaves_its_place_in_the_path() {
    let hostile =
        ["../admin", "a/b", "a?b=c", "a#b", "a\\b", "%2e%2e/x", "http://evil/", "@evil", "ü\r\nX: y"];
    let server = Server::new(hostile.map(|_| ok("text/plain", "fine"))).await;
    let tool = tool(get(server.url("/items/{id}/end"), json!({"id": "string"})));
    for value in hostile {
        assert_eq!(text(&tool, json!({"id": value})).await, "fine");
        let line = server.first_line();
        let path = line.strip_prefix("GET /items/").unwrap().strip_suffix("/end HTTP/1.1").unwrap();
        assert!(!path.contains(['/', '?', '#', '\\', '@', ':', ' ']), "{value}: {line}");
    }
    for dots in ["..", ".", ""] {
        let error = fault(&tool, json!({"id": dots})).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{dots}");
        assert!(error.message().contains("`id` is part of the path"), "{error}");
    }
    assert_eq!(server.seen.lock().unwrap().len(), hostile.len());
}

#[tokio::test]
async fn a_body_takes_values_with_their_types_and_leaves_absent_ones_out() {
    let server = Server::new([answer("204 No Content", "", "")]).await;
    let mut spec = HttpSpec { allow_private: true, ..HttpSpec::new("post", server.url("/")) };
    spec.input = json!({"n": "integer", "tags": "string[]", "who": "string", "gone": "string?"});
    spec.body = Some(
        json!({"count": "{n}", "list": ["{tags}", 1], "text": "for {who}", "none": "{gone}", "lit": "{{x}}"}),
    );
    let tool = tool(spec);
    assert_eq!(tool.spec().effect, EffectClass::Undeclared);
    let told = text(&tool, json!({"n": 5, "tags": ["a", "{who}"], "who": "{n} \"q\""})).await;
    assert_eq!(told, "done (HTTP 204, no content)");
    let request = server.last();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({"count": 5, "list": [["a", "{who}"], 1], "text": "for {n} \"q\"", "lit": "{x}"})
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("idempotency-key: none/call"), "{head}");
}

#[tokio::test]
async fn a_failure_shows_status_and_body_and_knows_whether_to_retry() {
    let server = Server::new([
        answer(
            "404 Not Found",
            "content-type: application/json\r\nx-request-id: r1\r\n",
            r#"{"why":"no item"}"#,
        ),
        answer("429 Too Many Requests", "retry-after: 7\r\n", "slow down"),
        answer("503 Service Unavailable", "", &"x".repeat(100_000)),
        answer("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
    ])
    .await;
    let tool = tool(get(server.url("/"), json!({})));

    let error = fault(&tool, json!({})).await;
    assert_eq!(
        (error.kind(), error.status(), error.is_retryable()),
        (ErrorKind::ToolFailed, Some(404), false)
    );
    assert_eq!(error.message(), r#"the endpoint refused: HTTP 404 Not Found: {"why":"no item"}"#);
    assert_eq!(error.request_id(), Some("r1"));

    let error = fault(&tool, json!({})).await;
    assert_eq!((error.status(), error.is_retryable()), (Some(429), true));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let error = fault(&tool, json!({})).await;
    assert_eq!((error.status(), error.is_retryable(), error.retry_after()), (Some(503), true, None));
    assert!(error.message().len() < 3_000);

    let error = fault(&tool, json!({})).await;
    assert_eq!((error.status(), error.is_retryable()), (Some(302), false));
    assert!(error.message().contains("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn what_is_not_text_is_refused_by_name() {
    let server = Server::new([
        ok("image/png", "bytes"),
        ok("application/json", "<html>"),
        answer("200 OK", "", "a\0b"),
        ok("text/plain", &"x".repeat(2_000)),
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort".to_owned(),
    ])
    .await;
    let tool = tool(HttpSpec { max_output: Some(1_000), ..get(server.url("/"), json!({})) });
    assert!(fault(&tool, json!({})).await.message().contains("image/png"));
    assert!(fault(&tool, json!({})).await.message().contains("calls itself JSON"));
    assert!(fault(&tool, json!({})).await.message().contains("not text in UTF-8"));
    assert!(fault(&tool, json!({})).await.message().contains("larger than 1000 bytes"));
    let cut = fault(&tool, json!({})).await;
    assert!(cut.is_retryable(), "{cut}");
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let server = Server::new([]).await;
    let tool = tool(HttpSpec { allow_private: false, ..get(server.url("/"), json!({})) });
    let error = fault(&tool, json!({})).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ToolFailed, false));
    assert!(error.message().contains("allow_private = true"), "{error}");
    for url in
        ["http://localhost:1/", "http://[::1]:1/", "http://169.254.169.254/", "http://[::ffff:127.0.0.1]:1/"]
    {
        let tool = self::tool(HttpSpec { allow_private: false, ..get(url.to_owned(), json!({})) });
        let error = fault(&tool, json!({})).await;
        assert!(error.message().contains("allow_private"), "{url}: {error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_worth_a_retry() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = fault(&tool(get(format!("http://{address}/"), json!({}))), json!({})).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ToolFailed, true));
}

#[tokio::test]
async fn a_header_takes_no_line_break() {
    let server = Server::new([]).await;
    let mut spec = get(server.url("/"), json!({"v": "string"}));
    spec.headers.insert("x-value".into(), "{v}".into());
    let error = fault(&tool(spec), json!({"v": "a\r\nHost: evil"})).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert!(error.message().contains("line breaks"), "{error}");
}

#[test]
fn a_wrong_description_names_the_field_and_the_remedy() {
    let spec = |url: &str, input: Value| HttpSpec { input, ..HttpSpec::new("GET", url) };
    let id = || json!({"id": "string"});
    for (wrong, told) in [
        (spec("https://{id}.example.com/", id()), "must not choose whom"),
        (spec("{id}://example.com/", id()), "must not choose whom"),
        (spec("https://example.com:{id}/", id()), "must not choose whom"),
        (spec("example.com/x", json!({})), "no scheme"),
        (spec("ftp://example.com/x", json!({})), "ftp"),
        (spec("https:///x", json!({})), "no host"),
        (spec("https://example.com/{id}", json!({})), "`{id}` is not declared"),
        (spec("https://example.com/", id()), "`input.id` is used nowhere"),
        (spec("https://example.com/{id", id()), "a brace without its partner"),
        (spec("https://example.com/?{id}=1", id()), "name cannot be a placeholder"),
        (HttpSpec::new("CONNECT", "https://example.com/"), "`method`"),
        (HttpSpec { body: Some(json!({})), ..HttpSpec::new("GET", "https://example.com/") }, "`body`"),
    ] {
        let message = refused(wrong);
        assert!(message.starts_with("tool `fetch`: ") && message.contains(told), "{told}: {message}");
    }
    let mut reserved = HttpSpec::new("GET", "https://example.com/");
    reserved.headers.insert("Host".into(), "evil".into());
    assert!(refused(reserved).contains("`headers.Host`"));
}

#[test]
fn a_description_is_read_from_data_and_hides_its_headers() {
    let spec: HttpSpec = serde_json::from_value(json!({
        "url": "https://example.com/{id}", "input": {"id": "integer"}, "timeout": "1500ms",
        "effect": "idempotent", "headers": {"Authorization": "Bearer SECRET"}, "attempts": 3,
    }))
    .unwrap();
    assert!(!format!("{spec:?}").contains("SECRET"));
    let tool = tool(spec);
    assert!(!format!("{tool:?}").contains("SECRET"));
    let spec = tool.spec();
    assert_eq!(
        (spec.effect, spec.timeout_ms, spec.attempts),
        (EffectClass::Idempotent, Some(1_500), Some(3))
    );
    let wrong = serde_json::from_value::<HttpSpec>(json!({"url": "x", "timeout": "soon"})).unwrap_err();
    assert!(wrong.to_string().contains("`soon` is not a duration"), "{wrong}");
    let unknown = serde_json::from_value::<HttpSpec>(json!({"url": "x", "metod": "GET"})).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `metod`"), "{unknown}");
}
