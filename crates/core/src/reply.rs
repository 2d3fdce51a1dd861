//! A whole reply, collected from a stream. The one place where parts are put together.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chunk::{Chunk, Finish};
use crate::error::{Error, ErrorKind};
use crate::message::{Arguments, Message, Part, ProviderState, Role, ToolCall};
use crate::record::present;
use crate::usage::Usage;

/// What a model answered, and what was found in checking it. Recorded as the result of a model call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    pub message: Arc<Message>,
    pub finish: Finish,
    pub usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The model's own name for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The output, where a schema was asked for and the reply matched it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why the reply does not match the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_fault: Option<String>,
    /// Calls that must not run, by their index among the reply's calls, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<CallFault>,
    /// User code wants the run to end with this reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallFault {
    pub call: usize,
    pub error: Error,
}

impl Reply {
    pub fn new(message: Arc<Message>, finish: Finish, usage: Usage) -> Self {
        Self {
            message,
            finish,
            usage,
            request_id: None,
            model: None,
            output: None,
            output_fault: None,
            faults: vec![],
            stop: false,
        }
    }

    pub fn text(&self) -> String {
        self.message.text()
    }
}

/// Puts chunks together. Tool arguments are parsed once, when the reply is whole.
#[derive(Default)]
pub struct ReplyBuilder {
    parts: Vec<(u32, Building)>,
    usage: Usage,
    finish: Option<Finish>,
    request_id: Option<String>,
    model: Option<String>,
}

enum Building {
    Text(String),
    Refusal(String),
    Reasoning { text: String, state: Option<ProviderState> },
    Call { id: String, name: String, arguments: String, state: Option<ProviderState> },
    Opaque(ProviderState),
}

impl ReplyBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one chunk. Fails when the chunk does not fit what came before.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), Error> {
        if self.finish.is_some() && chunk.is_content() {
            return Err(malformed("content after the end"));
        }
        match chunk {
            Chunk::Start { request_id, model } => {
                self.request_id = request_id.or(self.request_id.take());
                self.model = model.or(self.model.take());
            }
            Chunk::Text { part, text } => match self.part(part, || Building::Text(String::new())) {
                Building::Text(all) => append(all, text),
                _ => return Err(malformed("text inside a part of another kind")),
            },
            Chunk::Refusal { part, text } => match self.part(part, || Building::Refusal(String::new())) {
                Building::Refusal(all) => append(all, text),
                _ => return Err(malformed("a refusal inside a part of another kind")),
            },
            Chunk::Reasoning { part, text } => {
                let empty = || Building::Reasoning { text: String::new(), state: None };
                match self.part(part, empty) {
                    Building::Reasoning { text: all, .. } => append(all, text),
                    _ => return Err(malformed("reasoning inside a part of another kind")),
                }
            }
            Chunk::ToolCall { part, id, name } => {
                if self.parts.iter().any(|(known, _)| *known == part) {
                    return Err(malformed("a tool call began twice"));
                }
                self.parts.push((part, Building::Call { id, name, arguments: String::new(), state: None }));
            }
            Chunk::Arguments { part, text } => match self.find(part) {
                Some(Building::Call { arguments, .. }) => append(arguments, text),
                _ => return Err(malformed("arguments of a call that never began")),
            },
            Chunk::State { part, state } => match self.find(part) {
                Some(Building::Reasoning { state: slot, .. } | Building::Call { state: slot, .. }) => {
                    *slot = Some(state);
                }
                Some(Building::Opaque(slot)) => *slot = state,
                Some(Building::Text(_) | Building::Refusal(_)) => {
                    return Err(malformed("provider state on a text part"));
                }
                None => self.parts.push((part, Building::Opaque(state))),
            },
            Chunk::PartEnd { .. } | Chunk::Note(_) => {}
            Chunk::Usage(usage) => self.usage = usage,
            Chunk::End(finish) => self.finish = Some(finish),
        }
        Ok(())
    }

    /// Forgets all content: the reply begins again.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether the terminal event came.
    pub fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    /// The text so far.
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|(_, part)| match part {
            Building::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The reply, if its end was seen.
    pub fn finish(self) -> Result<Reply, Error> {
        let Some(mut finish) = self.finish else {
            let text = "the answer ended before its terminal event";
            return Err(Error::new(ErrorKind::StreamTruncated, text).with_request_id(self.request_id));
        };
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut calls = 0;
        let mut refused = false;
        for (_, part) in self.parts {
            match part {
                Building::Text(text) if text.is_empty() => {}
                Building::Text(text) => parts.push(Part::Text { text }),
                Building::Refusal(text) if text.is_empty() => {}
                Building::Refusal(text) => {
                    refused = true;
                    parts.push(Part::Refusal { text });
                }
                Building::Reasoning { text, state: None } if text.is_empty() => {}
                Building::Reasoning { text, state } => parts.push(Part::Reasoning { text, state }),
                Building::Opaque(state) => parts.push(Part::Opaque { state }),
                Building::Call { id, name, arguments, state } => {
                    let call = ToolCall { arguments: parsed(&arguments, finish), id, name, state };
                    let same_id = parts.iter().find_map(|part| match part {
                        Part::ToolCall(known) if known.id == call.id => Some(known),
                        _ => None,
                    });
                    match same_id {
                        // Its provider's state may stand on the first alone.
                        Some(known) if known.name == call.name && known.arguments == call.arguments => {
                            continue;
                        }
                        Some(_) => {
                            let text = format!("two different tool calls with the id `{}`", call.id);
                            return Err(malformed(&text).with_request_id(self.request_id));
                        }
                        None => {}
                    }
                    calls += 1;
                    parts.push(Part::ToolCall(call));
                }
            }
        }
        if refused && finish == Finish::Stop {
            finish = Finish::Refusal;
        }
        if calls == 0 && finish == Finish::ToolCalls {
            finish = Finish::Stop;
        }
        let mut reply = Reply::new(Message::new(Role::Assistant, parts), finish, self.usage);
        reply.request_id = self.request_id;
        reply.model = self.model;
        Ok(reply)
    }

    fn find(&mut self, part: u32) -> Option<&mut Building> {
        // The part under way is nearly always the last.
        self.parts.iter_mut().rev().find(|(known, _)| *known == part).map(|(_, building)| building)
    }

    fn part(&mut self, part: u32, new: impl FnOnce() -> Building) -> &mut Building {
        let index = match self.parts.iter().rposition(|(known, _)| *known == part) {
            Some(index) => index,
            None => {
                self.parts.push((part, new()));
                self.parts.len() - 1
            }
        };
        &mut self.parts[index].1
    }
}

/// No arguments are `{}` in a whole reply. In one that was cut they may be arguments that never came.
fn parsed(text: &str, finish: Finish) -> Arguments {
    if text.trim().is_empty() && matches!(finish, Finish::Length | Finish::ContentFilter) {
        return Arguments::invalid(text, "the reply was cut before the arguments came");
    }
    Arguments::parse(text)
}

fn append(all: &mut String, text: String) {
    if all.is_empty() { *all = text } else { all.push_str(&text) }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::BadUpstream, format!("the reply is malformed: {what}"))
}
