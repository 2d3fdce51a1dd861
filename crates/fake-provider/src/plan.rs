//! Turns a reply and a fault into the exact bytes and pauses of a response.

use std::time::Duration;

use bytes::Bytes;

use crate::fault::Fault;
use crate::refusal::Refusal;
use crate::reply::{Frame, FrameKind, HUGE_DELTA, HUGE_REPEATS, Reply, nested};
use crate::status::{self, Whole};
use crate::wire::Wire;
use crate::{anthropic, gemini, ollama, openai, responses};

/// One thing the server does to the socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Write(Bytes),
    Pause(Duration),
    /// Silence until the client leaves.
    Stall,
    /// The same bytes again and again until the client leaves.
    Ping(Bytes, Duration),
    /// Ends the connection with a reset.
    Reset,
    /// Ends the connection in an orderly way.
    Close,
}

impl Step {
    /// Bytes it writes once.
    pub fn len(&self) -> usize {
        match self {
            Step::Write(bytes) => bytes.len(),
            Step::Pause(_) | Step::Stall | Step::Ping(..) | Step::Reset | Step::Close => 0,
        }
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The status in the head; 0 when there is none.
    pub status: u16,
    pub steps: Vec<Step>,
}

/// What a response is made from.
pub(crate) struct Exchange<'a> {
    pub wire: Wire,
    pub stream: bool,
    pub fault: Option<Fault>,
    pub reply: &'a Reply,
    pub request_id: &'a str,
    /// Where redirects lead.
    pub redirect_to: &'a str,
    pub pace: Duration,
    pub delay: Duration,
    pub ping: Duration,
}

enum Body {
    Length(usize),
    Chunked,
    UntilClose,
}

/// How the lines of a stream are written.
struct Dialect {
    newline: &'static str,
    colon: &'static str,
    /// Lines of JSON, not events.
    lines: bool,
}

impl Plan {
    /// A JSON response.
    pub fn json(wire: Wire, status: u16, request_id: &str, body: &str) -> Plan {
        let whole =
            Whole { status, content_type: "application/json", headers: Vec::new(), body: body.into() };
        Plan::whole(wire, request_id, &whole)
    }

    fn whole(wire: Wire, request_id: &str, whole: &Whole) -> Plan {
        let mut bytes = head(wire, request_id, whole.status, whole.content_type, &whole.headers, {
            Body::Length(whole.body.len())
        });
        bytes.extend_from_slice(whole.body.as_bytes());
        Plan { status: whole.status, steps: vec![Step::Write(bytes.into())] }
    }
}

/// The response of one exchange.
pub(crate) fn plan(exchange: &Exchange<'_>) -> Plan {
    let mut plan = respond(exchange);
    if !exchange.delay.is_zero() {
        plan.steps.insert(0, Step::Pause(exchange.delay));
    }
    plan
}

fn respond(exchange: &Exchange<'_>) -> Plan {
    let Exchange { wire, request_id, stream, .. } = *exchange;
    let content_type = if stream { wire.stream_type() } else { "application/json" };
    let ok = |body| Step::Write(head(wire, request_id, 200, content_type, &[], body).into());
    match exchange.fault {
        Some(Fault::CloseBeforeResponse) => Plan { status: 0, steps: vec![Step::Close] },
        Some(Fault::ResetBeforeResponse) => Plan { status: 0, steps: vec![Step::Reset] },
        Some(Fault::StallBeforeHead) => Plan { status: 0, steps: vec![Step::Stall] },
        Some(Fault::TruncateHead) => {
            let begun = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-type: text/ev");
            Plan { status: 200, steps: vec![Step::Write(begun), Step::Close] }
        }
        Some(Fault::ResetAfterHead) => {
            // A reset may overtake what was just written, so the head gets a moment to arrive.
            let moment = Step::Pause(Duration::from_millis(20));
            Plan { status: 200, steps: vec![ok(Body::Chunked), moment, Step::Reset] }
        }
        Some(Fault::StallAfterHead) => Plan { status: 200, steps: vec![ok(Body::Chunked), Step::Stall] },
        Some(Fault::GarbageChunkSize) => {
            let garbage = Bytes::from_static(b"zz\r\nthis is no chunk\r\n");
            Plan { status: 200, steps: vec![ok(Body::Chunked), Step::Write(garbage), Step::Close] }
        }
        Some(fault) => match status::whole(fault, wire, request_id, exchange.redirect_to) {
            Some(whole) => Plan::whole(wire, request_id, &whole),
            None if stream => streamed(exchange),
            None => unstreamed(exchange),
        },
        None if stream => streamed(exchange),
        None => unstreamed(exchange),
    }
}

fn unstreamed(exchange: &Exchange<'_>) -> Plan {
    let body = match exchange.wire {
        Wire::OpenAi => openai::reply::body(exchange.reply),
        Wire::Responses => responses::reply::body(exchange.reply),
        Wire::Anthropic => anthropic::reply::body(exchange.reply),
        Wire::Gemini => gemini::reply::body(exchange.reply),
        Wire::Ollama => ollama::reply::body(exchange.reply),
    };
    let mut body = body.to_string();
    match exchange.fault {
        Some(Fault::DeepJson) => body = with_field(&body, "deep", &nested()),
        Some(Fault::HugeAnswer) => {
            body = body.replace(&"x".repeat(HUGE_DELTA), &"x".repeat(HUGE_DELTA * HUGE_REPEATS));
        }
        Some(Fault::DeepArguments) if exchange.wire == Wire::Anthropic => {
            for call in exchange.reply.calls() {
                let quoted = serde_json::Value::String(call.arguments.clone()).to_string();
                body = body.replace(&quoted, &call.arguments);
            }
        }
        _ => {}
    }
    let half = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    let head = |framing| {
        let head = head(exchange.wire, exchange.request_id, 200, "application/json", &[], framing);
        Step::Write(head.into())
    };
    let steps = match exchange.fault.and_then(End::of) {
        None => {
            let whole = Step::Write(Bytes::from(body.clone()));
            vec![head(Body::Length(body.len())), whole]
        }
        Some(End::Short) => vec![head(Body::Length(body.len())), Step::Write(half), Step::Close],
        Some(End::UntilClose) => vec![head(Body::UntilClose), Step::Write(half), Step::Close],
        Some(end) => {
            let mut steps = vec![head(Body::Chunked), Step::Write(chunk(&half))];
            end.close(exchange, &mut steps);
            steps
        }
    };
    Plan { status: 200, steps }
}

/// How a body that is cut ends.
#[derive(Clone, Copy)]
enum End {
    Clean,
    Fin,
    Reset,
    UntilClose,
    Short,
    Stall,
    Pings,
}

impl End {
    fn of(fault: Fault) -> Option<End> {
        match fault {
            Fault::TruncateClean | Fault::TruncateMidEvent | Fault::ErrorEventMid => Some(End::Clean),
            Fault::TruncateFin | Fault::TruncateMidEventFin => Some(End::Fin),
            Fault::TruncateReset => Some(End::Reset),
            Fault::TruncateUntilClose => Some(End::UntilClose),
            Fault::ShortBody => Some(End::Short),
            Fault::StallSilent | Fault::StallAtEnd => Some(End::Stall),
            Fault::StallPings | Fault::StallPingsFirst => Some(End::Pings),
            _ => None,
        }
    }

    fn close(self, exchange: &Exchange<'_>, steps: &mut Vec<Step>) {
        match self {
            End::Clean => steps.push(Step::Write(Bytes::from_static(b"0\r\n\r\n"))),
            End::Fin | End::UntilClose | End::Short => steps.push(Step::Close),
            End::Reset => steps.extend([Step::Pause(Duration::from_millis(20)), Step::Reset]),
            End::Stall => steps.push(Step::Stall),
            End::Pings => {
                let ping: &[u8] = match exchange.wire {
                    Wire::OpenAi | Wire::Responses | Wire::Gemini => b": keep-alive\n\n",
                    Wire::Ollama => b"\n",
                    Wire::Anthropic => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
                };
                steps.push(Step::Ping(chunk(ping), exchange.ping));
            }
        }
    }
}

fn streamed(exchange: &Exchange<'_>) -> Plan {
    let mut frames = match exchange.wire {
        Wire::OpenAi => openai::reply::frames(exchange.reply),
        Wire::Responses => responses::reply::frames(exchange.reply),
        Wire::Anthropic => anthropic::reply::frames(exchange.reply),
        Wire::Gemini => gemini::reply::frames(exchange.reply),
        Wire::Ollama => ollama::reply::frames(exchange.reply),
    };
    let fault = exchange.fault;
    if let Some(fault) = fault {
        break_frames(exchange, fault, &mut frames);
    }
    let end = fault.and_then(End::of);
    let (newline, colon) = match fault {
        Some(Fault::Crlf | Fault::CrlfSplit) => ("\r\n", ": "),
        Some(Fault::NoSpaceAfterColon) => ("\n", ":"),
        _ => ("\n", ": "),
    };
    let dialect = Dialect { newline, colon, lines: exchange.wire.is_lines() };
    let mut events: Vec<(FrameKind, Vec<u8>)> =
        frames.iter().map(|frame| (frame.kind, dialect.write(frame))).collect();
    if let Some(fault) = fault {
        break_bytes(exchange.wire, fault, &mut events);
    }
    let framing = match end {
        Some(End::UntilClose) => Body::UntilClose,
        Some(End::Short) => Body::Length(events.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 100),
        _ => Body::Chunked,
    };
    let raw = !matches!(framing, Body::Chunked);
    let head = head(exchange.wire, exchange.request_id, 200, exchange.wire.stream_type(), &[], framing);
    let mut steps = vec![Step::Write(head.into())];
    for (kind, bytes) in events {
        if kind == FrameKind::Content && !exchange.pace.is_zero() {
            steps.push(Step::Pause(exchange.pace));
        }
        let is_huge =
            fault == Some(Fault::HugeAnswer) && kind == FrameKind::Content && bytes.len() > HUGE_DELTA;
        let repeats = if is_huge { HUGE_REPEATS } else { 1 };
        let pieces = split(fault, bytes);
        for _ in 0..repeats {
            steps.extend(
                pieces.iter().map(|piece| Step::Write(if raw { piece.clone() } else { chunk(piece) })),
            );
        }
    }
    end.unwrap_or(End::Clean).close(exchange, &mut steps);
    Plan { status: 200, steps }
}

fn break_frames(exchange: &Exchange<'_>, fault: Fault, frames: &mut Vec<Frame>) {
    match fault {
        Fault::TruncateClean
        | Fault::TruncateFin
        | Fault::TruncateReset
        | Fault::TruncateUntilClose
        | Fault::ShortBody
        | Fault::TruncateMidEvent
        | Fault::TruncateMidEventFin
        | Fault::StallSilent
        | Fault::StallPings => keep_half(frames),
        Fault::ErrorEventMid => {
            keep_half(frames);
            frames.push(error_frame(exchange, frames.len()));
        }
        Fault::ResponseFailed => {
            keep_half(frames);
            let message = "The server had an error while processing your request.";
            frames.push(responses::reply::failed(exchange.reply, frames.len(), "server_error", message));
        }
        Fault::RateLimitInStream => {
            let message = "Rate limit reached for fake-1 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 1.2s. Visit https://platform.openai.com/account/rate-limits to learn more.";
            fail(exchange, frames, "rate_limit_exceeded", message);
        }
        Fault::ErrorEventFirst => *frames = vec![error_frame(exchange, 0)],
        Fault::ErrorEventTyped => too_long(exchange, frames),
        Fault::MissingFinish | Fault::StallAtEnd => frames
            .retain(|frame| !matches!(frame.kind, FrameKind::Finish | FrameKind::Usage | FrameKind::End)),
        Fault::MissingMessageStop | Fault::MissingDone => frames.retain(|f| f.kind != FrameKind::End),
        Fault::DoneWithoutFinish => frames.retain(|frame| frame.kind != FrameKind::Finish),
        Fault::StallPingsFirst => frames.retain(|frame| frame.kind == FrameKind::Start),
        Fault::HugeEvent => change_first(frames, |data| {
            with_field(data, "padding", &format!("\"{}\"", "x".repeat(5 * 1024 * 1024)))
        }),
        Fault::DeepJson => change_first(frames, |data| with_field(data, "deep", &nested())),
        // Something of more than one byte to split in, even when the script's text has none.
        Fault::SplitUtf8 => frames.iter_mut().filter(|frame| frame.data.ends_with('}')).for_each(|frame| {
            frame.data = with_field(&frame.data, "note", "\"é✓🦀\"");
        }),
        _ => {}
    }
}

fn break_bytes(wire: Wire, fault: Fault, events: &mut Vec<(FrameKind, Vec<u8>)>) {
    match fault {
        Fault::TruncateMidEvent | Fault::TruncateMidEventFin => {
            if let Some((_, last)) = events.last_mut() {
                last.truncate(last.len() / 2);
            }
        }
        Fault::MissingLastBlankLine => {
            if let Some((_, last)) = events.last_mut() {
                while last.last() == Some(&b'\n') {
                    last.pop();
                }
                if !wire.is_lines() {
                    last.push(b'\n');
                }
            }
        }
        Fault::ByteOrderMark => {
            if let Some((_, first)) = events.first_mut() {
                first.splice(0..0, *b"\xef\xbb\xbf");
            }
        }
        Fault::OneChunk => {
            let all = events.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
            *events = vec![(FrameKind::Content, all)];
        }
        Fault::GarbageLine => before_each(events, b"\xff\xfe\x00\x01 garbage\n\n"),
        Fault::Comments => before_each(events, b": a comment\n\n\n:\nid: 7\nretry: 10\n\n"),
        Fault::UnknownEvent => {
            before_each(events, b"event: heartbeat.v9\ndata: {\"type\":\"heartbeat.v9\",\"n\":1}\n\n");
        }
        Fault::GarbageData => {
            let place = events.iter().position(|(kind, _)| *kind == FrameKind::Content).unwrap_or(0);
            let garbage: &[u8] = match wire.is_lines() {
                true => b"\xff\xfe{\x80 not json\n",
                false => b"data: \xff\xfe{\x80 not json\n\n",
            };
            events.insert(place, (FrameKind::Content, garbage.to_vec()));
        }
        _ => {}
    }
}

fn before_each(events: &mut [(FrameKind, Vec<u8>)], extra: &[u8]) {
    for (_, bytes) in events {
        bytes.splice(0..0, extra.iter().copied());
    }
}

/// Keeps the first half of the content, at least one piece, and nothing after it.
fn keep_half(frames: &mut Vec<Frame>) {
    let content: Vec<usize> = (0..frames.len()).filter(|at| frames[*at].kind == FrameKind::Content).collect();
    let keep = content.get(content.len().div_ceil(2).saturating_sub(1)).map_or(1, |at| at + 1);
    frames.truncate(keep);
}

fn change_first(frames: &mut [Frame], change: impl Fn(&str) -> String) {
    if let Some(frame) = frames.iter_mut().find(|frame| frame.kind == FrameKind::Content) {
        frame.data = change(&frame.data);
    }
}

/// A JSON object's text with one more field.
fn with_field(object: &str, name: &str, value: &str) -> String {
    match object.strip_suffix('}') {
        Some(open) => format!("{open},\"{name}\":{value}}}"),
        None => object.to_owned(),
    }
}

/// An error as an event; `number` events were before it.
fn error_frame(exchange: &Exchange<'_>, number: usize) -> Frame {
    let wire = exchange.wire;
    let refusal = match wire {
        Wire::Anthropic => Refusal::new(529, "overloaded_error", "Overloaded"),
        Wire::Gemini => Refusal::new(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
        ),
        Wire::OpenAi | Wire::Responses | Wire::Ollama => {
            Refusal::new(500, "server_error", "The server had an error while processing your request.")
        }
    };
    let data = match wire {
        Wire::Responses => serde_json::json!({
            "type": "error", "sequence_number": number, "code": refusal.kind, "message": refusal.message,
            "param": null,
        }),
        _ => refusal.body(wire, exchange.request_id),
    };
    let event = matches!(wire, Wire::Anthropic | Wire::Responses).then_some("error");
    Frame { event, data: data.to_string(), kind: FrameKind::Content }
}

/// A response that fails before it says anything.
fn fail(exchange: &Exchange<'_>, frames: &mut Vec<Frame>, code: &str, message: &str) {
    frames.retain(|frame| frame.kind == FrameKind::Start);
    frames.push(responses::reply::failed(exchange.reply, frames.len(), code, message));
}

/// A prompt that is too long, said after status 200.
fn too_long(exchange: &Exchange<'_>, frames: &mut Vec<Frame>) {
    let refusal = match exchange.wire {
        Wire::Responses => {
            let message = "Your input exceeds the context window of this model. Please adjust your input and try again.";
            return fail(exchange, frames, "context_length_exceeded", message);
        }
        Wire::OpenAi => Refusal::invalid("This model's maximum context length is 8192 tokens.")
            .code("context_length_exceeded")
            .param("messages"),
        Wire::Anthropic => Refusal::invalid("prompt is too long: 201000 tokens > 200000 maximum"),
        Wire::Gemini => Refusal::new(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        Wire::Ollama => Refusal::invalid("the input length exceeds the context length"),
    };
    *frames = vec![Frame {
        event: (exchange.wire == Wire::Anthropic).then_some("error"),
        data: refusal.body(exchange.wire, exchange.request_id).to_string(),
        kind: FrameKind::Content,
    }];
}

/// The pieces of an event that become chunks of their own.
fn split(fault: Option<Fault>, bytes: Vec<u8>) -> Vec<Bytes> {
    let cut_before: Box<dyn Fn(usize) -> bool> = match fault {
        // A continuation byte follows: the cut is inside a character.
        Some(Fault::SplitUtf8) => Box::new(|at| bytes[at] & 0b1100_0000 == 0b1000_0000),
        Some(Fault::ByteByByte) => Box::new(|_| true),
        Some(Fault::CrlfSplit) => Box::new(|at| bytes[at] == b'\n'),
        _ => return vec![bytes.into()],
    };
    let mut out = Vec::new();
    let mut start = 0;
    for at in 1..bytes.len() {
        if cut_before(at) {
            out.push(Bytes::copy_from_slice(&bytes[start..at]));
            start = at;
        }
    }
    out.push(Bytes::copy_from_slice(&bytes[start..]));
    out
}

impl Dialect {
    fn write(&self, frame: &Frame) -> Vec<u8> {
        let Dialect { newline, colon, lines } = self;
        if *lines {
            return format!("{}{newline}", frame.data).into_bytes();
        }
        let event = frame.event.map(|event| format!("event{colon}{event}{newline}")).unwrap_or_default();
        format!("{event}data{colon}{}{newline}{newline}", frame.data).into_bytes()
    }
}

/// One chunk of a chunked body.
fn chunk(bytes: &[u8]) -> Bytes {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn head(
    wire: Wire,
    request_id: &str,
    status: u16,
    content_type: &str,
    headers: &[(&'static str, String)],
    body: Body,
) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    };
    let mut out = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n");
    if let Some(name) = wire.request_id_header() {
        out.push_str(&format!("{name}: {request_id}\r\n"));
    }
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&match body {
        Body::Length(length) => format!("content-length: {length}\r\n\r\n"),
        Body::Chunked => "transfer-encoding: chunked\r\n\r\n".to_owned(),
        Body::UntilClose => "connection: close\r\n\r\n".to_owned(),
    });
    out.into_bytes()
}
