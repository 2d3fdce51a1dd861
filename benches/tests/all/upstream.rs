use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

struct Upstream {
    process: Child,
    /// Kept open: the upstream writes what it saw to it when it ends.
    output: BufReader<ChildStdout>,
    address: String,
}

impl Upstream {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ambidex-benches"))
            .args(["upstream", "--events-per-write", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        Upstream { process, output, address: address.trim().to_owned() }
    }

    /// Head and body of the answer, as they came.
    fn post(&self, body: &Value) -> (String, String) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The events of a reply, [DONE] left out.
    fn events(&self, body: &Value) -> Vec<Value> {
        let (head, body) = self.post(body);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let mut data = dechunked(&body);
        assert_eq!(data.pop().as_deref(), Some("[DONE]"));
        data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Upstream {
    /// Ends it and gives what it saw.
    fn end(mut self) -> Value {
        self.close()
    }

    fn close(&mut self) -> Value {
        drop(self.process.stdin.take());
        let mut seen = String::new();
        self.output.read_to_string(&mut seen).unwrap();
        self.process.wait().unwrap();
        serde_json::from_str(&seen).unwrap_or_default()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.close();
    }
}

fn dechunked(mut body: &str) -> Vec<String> {
    let mut data = Vec::new();
    loop {
        let (length, rest) = body.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            assert_eq!(rest, "\r\n");
            return data;
        }
        let event = rest[..length].strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n"));
        data.push(event.unwrap().to_owned());
        body = rest[length..].strip_prefix("\r\n").unwrap();
    }
}

fn request(model: &str, assistant_messages: usize) -> Value {
    let said = json!({"role": "assistant", "content": "not a key: \"role\":\"assistant\""});
    let mut messages = vec![json!({"role": "user", "content": "say \"model\":\"other\""})];
    messages.extend(std::iter::repeat_n(said, assistant_messages));
    json!({"messages": messages, "model": model, "stream": true})
}

#[test]
fn a_reply_of_500_tokens_has_an_event_for_each_and_a_proper_end() {
    let events = Upstream::start().events(&request("chat-500", 0));
    let deltas: Vec<&str> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(deltas.len(), 501, "the first announces the role and is empty");
    let [finish, usage] = &events[events.len() - 2..] else { panic!("{events:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 500);
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["id"], events[0]["id"]);
    }
}

#[test]
fn an_agent_is_asked_for_tools_until_its_rounds_are_done() {
    let upstream = Upstream::start();
    let mut ids = Vec::new();
    for round in 0..3 {
        let events = upstream.events(&request("agent-3x2", round));
        let mut arguments = [String::new(), String::new()];
        for call in events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)) {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
            ids.extend(call["id"].as_str().map(str::to_owned));
        }
        for arguments in arguments {
            assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object());
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "no id comes twice in a conversation");
    let answer = upstream.events(&request("agent-3x2", 3));
    assert!(answer.iter().all(|event| event["choices"][0]["delta"]["tool_calls"].is_null()));
}

#[test]
fn a_request_without_a_stream_gets_what_the_stream_says_as_one_body() {
    let upstream = Upstream::start();
    let whole = |model: &str, assistant_messages| {
        let mut request = request(model, assistant_messages);
        request["stream"] = json!(false);
        let (head, body) = upstream.post(&request);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let (asked, answer, chat) = (whole("agent-3x2", 1), whole("agent-3x2", 3), whole("chat-20", 0));

    let events = upstream.events(&request("chat-20", 0));
    let text: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(chat["choices"][0]["message"]["content"], text);
    assert_eq!(chat["usage"], events[events.len() - 1]["usage"]);
    assert_eq!(answer["choices"][0]["message"]["content"], text);

    assert_eq!(asked["choices"][0]["finish_reason"], "tool_calls");
    let mut streamed = vec![json!({}); 2];
    for event in upstream.events(&request("agent-3x2", 1)) {
        let call = &event["choices"][0]["delta"]["tool_calls"][0];
        let Some(index) = call["index"].as_u64() else { continue };
        let joined = &mut streamed[usize::try_from(index).unwrap()];
        if call["id"].is_string() {
            *joined = json!({"id": call["id"], "type": "function", "function": call["function"]});
        }
        let arguments = joined["function"]["arguments"].as_str().unwrap().to_owned();
        joined["function"]["arguments"] = json!(arguments + call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(asked["choices"][0]["message"]["tool_calls"], json!(streamed));

    let seen = upstream.end();
    assert_eq!((&seen["requests"], &seen["streamed"]), (&json!(5), &json!(2)), "{seen}");
}

#[test]
fn a_client_that_leaves_while_its_reply_is_due_is_counted_and_gets_none() {
    let upstream = Upstream::start();
    let body = request("wait-600000", 0).to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(&upstream.address).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
    upstream.post(&request("chat-1", 0));
    let seen = upstream.end();
    assert_eq!((&seen["requests"], &seen["hung_up"]), (&json!(2), &json!(1)), "{seen}");
}

#[test]
fn a_model_that_is_no_script_is_refused() {
    let (head, body) = Upstream::start().post(&request("gpt", 0));
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(body.contains("agent-ROUNDSxTOOLS"), "{body}");
}
