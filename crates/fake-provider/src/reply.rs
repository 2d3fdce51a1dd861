//! A reply before it is put on a wire: the script's turn, with faults of content applied.

use serde_json::{Value, json};

use crate::conversation::{Conversation, Thread};
use crate::fault::Fault;
use crate::script::{Finish, Part, Turn, Usage};
use crate::wire::Wire;

/// Nesting of the deep faults.
pub(crate) const DEPTH: usize = 10_000;
/// Characters per delta of the huge answer; the delta is repeated `HUGE_REPEATS` times.
pub(crate) const HUGE_DELTA: usize = 64 * 1024;
/// 272 x 64 KiB = 17 MiB.
pub(crate) const HUGE_REPEATS: usize = 272;

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub number: u64,
    pub created: i64,
    pub model: String,
    pub parts: Vec<ReplyPart>,
    pub finish: Finish,
    pub usage: Usage,
    pub chunk_chars: usize,
    pub interleave: bool,
    pub include_usage: bool,
    pub thread: Thread,
    pub fault: Option<Fault>,
}

#[derive(Clone, Debug)]
pub(crate) enum ReplyPart {
    Text(String),
    Reasoning(String),
    Redacted(String),
    Refusal(String),
    Call(Call),
    /// An item or part of a kind nobody has heard of.
    Odd(Value),
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

impl Call {
    /// The arguments where a format has them as a value. Those that are no JSON have no place there: they go
    /// as a string, where a client expects an object.
    pub fn input(&self) -> Value {
        if self.arguments.is_empty() {
            return json!({});
        }
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| Value::String(self.arguments.clone()))
    }
}

/// What a frame of a stream is for; faults choose their place by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Start,
    Ping,
    Content,
    BlockStop,
    Finish,
    Usage,
    End,
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub event: Option<&'static str>,
    pub data: String,
    pub kind: FrameKind,
}

impl Reply {
    pub fn new(wire: Wire, number: u64, turn: &Turn, asked: &Conversation, fault: Option<Fault>) -> Self {
        let mut parts: Vec<ReplyPart> = Vec::new();
        for (index, part) in turn.parts.iter().enumerate() {
            parts.push(match part {
                Part::Text(text) => ReplyPart::Text(text.clone()),
                Part::Reasoning(text) => ReplyPart::Reasoning(text.clone()),
                Part::RedactedReasoning(text) => ReplyPart::Redacted(text.clone()),
                Part::Refusal(text) => ReplyPart::Refusal(text.clone()),
                Part::ToolCall { id, name, arguments } => ReplyPart::Call(Call {
                    id: id.clone().unwrap_or_else(|| call_id(wire, number, index)),
                    name: name.clone(),
                    arguments: match arguments.as_str() {
                        Some(raw) => raw.to_owned(),
                        None => arguments.to_string(),
                    },
                }),
            });
        }
        let mut reply = Reply {
            number,
            created: jiff::Timestamp::now().as_second(),
            model: asked.model.clone(),
            finish: turn.finish.unwrap_or(Finish::Stop),
            usage: Usage::default(),
            chunk_chars: turn.chunk_chars.unwrap_or(0),
            interleave: turn.interleave,
            include_usage: asked.include_usage,
            thread: asked.thread.clone(),
            fault,
            parts,
        };
        if let Some(fault) = fault {
            reply.break_content(wire, fault, asked);
        }
        if turn.finish.is_none() && reply.finish == Finish::Stop {
            let refuses = reply.parts.iter().any(|part| matches!(part, ReplyPart::Refusal(_)));
            let calls = reply.calls().next().is_some();
            reply.finish = match (calls, refuses) {
                (true, _) => Finish::ToolCalls,
                (false, true) => Finish::Refusal,
                (false, false) => Finish::Stop,
            };
        }
        reply.usage = turn.usage.unwrap_or_else(|| reply.estimate(asked));
        reply
    }

    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| match part {
            ReplyPart::Call(call) => Some(call),
            _ => None,
        })
    }

    /// What is of a kind nobody has heard of.
    pub fn odd(&self) -> impl Iterator<Item = &Value> {
        self.parts.iter().filter_map(|part| match part {
            ReplyPart::Odd(value) => Some(value),
            _ => None,
        })
    }

    fn estimate(&self, asked: &Conversation) -> Usage {
        let tokens = |text: &str| text.len() as u64 / 4 + 1;
        let mut usage = Usage { input: asked.bytes as u64 / 4 + 1, ..Usage::default() };
        for part in &self.parts {
            match part {
                ReplyPart::Text(text) | ReplyPart::Refusal(text) => usage.output += tokens(text),
                ReplyPart::Reasoning(text) | ReplyPart::Redacted(text) => {
                    usage.output += tokens(text);
                    usage.reasoning += tokens(text);
                }
                ReplyPart::Call(call) => usage.output += tokens(&call.name) + tokens(&call.arguments),
                ReplyPart::Odd(_) => usage.output += 1,
            }
        }
        usage
    }

    /// The call a fault strikes: the first one, or one made up from the first tool offered.
    fn struck(&mut self, wire: Wire, asked: &Conversation) -> Call {
        if let Some(call) = self.calls().next() {
            return call.clone();
        }
        let call = Call {
            id: call_id(wire, self.number, self.parts.len()),
            name: asked.first_tool.clone().unwrap_or_else(|| "lookup".to_owned()),
            arguments: r#"{"path":"README.md"}"#.to_owned(),
        };
        self.parts.push(ReplyPart::Call(call.clone()));
        call
    }

    fn set_arguments(&mut self, id: &str, arguments: String) {
        for part in &mut self.parts {
            if let ReplyPart::Call(call) = part
                && call.id == id
            {
                call.arguments = arguments;
                return;
            }
        }
    }

    /// Drops what follows the call `id`: a model that is cut off says nothing more.
    fn end_at(&mut self, id: &str) {
        let place = self.parts.iter().position(|part| matches!(part, ReplyPart::Call(call) if call.id == id));
        if let Some(place) = place {
            self.parts.truncate(place + 1);
        }
    }

    fn halve_text(&mut self) {
        self.parts.retain(|part| !matches!(part, ReplyPart::Call(_)));
        for part in &mut self.parts {
            if let ReplyPart::Text(text) = part {
                *text = half(text);
            }
        }
    }

    fn break_content(&mut self, wire: Wire, fault: Fault, asked: &Conversation) {
        match fault {
            Fault::ArgumentsCut | Fault::ArgumentsCutUnsaid => {
                let call = self.struck(wire, asked);
                // Half of `{}` would be `{`; an argument string always loses its closing brace.
                self.set_arguments(&call.id, half(&call.arguments));
                self.end_at(&call.id);
                self.finish = if fault == Fault::ArgumentsCut { Finish::Length } else { Finish::ToolCalls };
            }
            Fault::ArgumentsNotJson => {
                let call = self.struck(wire, asked);
                self.set_arguments(&call.id, "{\"path\": README.md, oops".to_owned());
            }
            Fault::ArgumentsNotObject => {
                let call = self.struck(wire, asked);
                self.set_arguments(&call.id, "[\"README.md\"]".to_owned());
            }
            Fault::ArgumentsEmpty => {
                let call = self.struck(wire, asked);
                self.set_arguments(&call.id, String::new());
            }
            Fault::DeepArguments => {
                let call = self.struck(wire, asked);
                self.set_arguments(&call.id, format!("{{\"path\":{}}}", nested()));
            }
            Fault::DuplicateIdEqual => {
                let call = self.struck(wire, asked);
                self.parts.push(ReplyPart::Call(call));
            }
            Fault::DuplicateIdUnequal => {
                let mut call = self.struck(wire, asked);
                call.arguments = r#"{"path":"another"}"#.to_owned();
                self.parts.push(ReplyPart::Call(call));
            }
            Fault::UnknownTool => {
                let call = self.struck(wire, asked);
                for part in &mut self.parts {
                    if let ReplyPart::Call(other) = part
                        && other.id == call.id
                    {
                        other.name = "no_such_tool".to_owned();
                    }
                }
            }
            Fault::FinishLength => {
                self.halve_text();
                self.finish = Finish::Length;
            }
            Fault::ContentFilter => {
                self.halve_text();
                self.finish = Finish::ContentFilter;
            }
            Fault::UnknownItem => {
                let odd = match wire {
                    Wire::Gemini => json!({"teleportation": {"to": "ä🌍"}}),
                    _ => json!({"type": "teleport_call", "id": format!("tp_fake{}", self.number),
                        "status": "completed", "to": "ä🌍"}),
                };
                self.parts.insert(0, ReplyPart::Odd(odd));
            }
            Fault::PromptBlocked | Fault::MalformedCall => self.parts.clear(),
            Fault::Refusal => {
                self.parts = vec![ReplyPart::Refusal("I can't help with that.".to_owned())];
                self.finish = Finish::Refusal;
            }
            Fault::HugeAnswer => {
                self.parts = vec![ReplyPart::Text("x".repeat(HUGE_DELTA))];
                self.chunk_chars = 0;
                self.finish = Finish::Stop;
            }
            _ => {}
        }
    }
}

fn call_id(wire: Wire, number: u64, index: usize) -> String {
    match wire {
        Wire::OpenAi | Wire::Responses | Wire::Ollama => format!("call_fake{number}x{index}"),
        Wire::Anthropic => format!("toolu_fake{number}x{index}"),
        Wire::Gemini => format!("fake{number}x{index}"),
    }
}

/// The first half of a text, at a character.
fn half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}

/// `[[[...]]]`, too deep for a parser that recurses.
pub(crate) fn nested() -> String {
    format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH))
}

/// A text in pieces of `chars` characters; 0 means whole. An empty text is one empty piece.
pub(crate) fn pieces(text: &str, chars: usize) -> Vec<String> {
    if chars == 0 || text.is_empty() {
        return vec![text.to_owned()];
    }
    let all: Vec<char> = text.chars().collect();
    all.chunks(chars).map(|piece| piece.iter().collect()).collect()
}

/// Sequence after sequence, or one of each in turn.
pub(crate) fn order<T>(sequences: Vec<Vec<T>>, interleave: bool) -> Vec<T> {
    if !interleave {
        return sequences.into_iter().flatten().collect();
    }
    let mut sequences: Vec<_> = sequences.into_iter().map(Vec::into_iter).collect();
    let mut out = Vec::new();
    loop {
        let round: Vec<T> = sequences.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return out;
        }
        out.extend(round);
    }
}
