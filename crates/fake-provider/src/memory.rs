//! What the provider sent and must get back unchanged, or keeps for its clients.

use std::collections::HashMap;

use serde_json::Value;

use crate::conversation::Conversation;
use crate::reply::{Reply, ReplyPart};
use crate::wire::Wire;
use crate::{responses, signature};

#[derive(Default)]
pub(crate) struct Memory {
    /// For each call sent after thinking, by its id: what that thinking was, as it must come back.
    thinking: HashMap<(Wire, String), Vec<String>>,
    /// Items and parts of kinds nobody has heard of.
    odd: Vec<Value>,
    responses: HashMap<String, Stored>,
}

/// A response that OpenAI keeps.
struct Stored {
    previous: Option<String>,
    input: Vec<Value>,
    output: Vec<Value>,
}

impl Memory {
    /// The thinking that led to the call of this id.
    pub fn thinking(&self, wire: Wire, id: &str) -> Option<&Vec<String>> {
        self.thinking.get(&(wire, id.to_owned()))
    }

    /// Whether exactly this was sent, of a kind that no rule knows.
    pub fn sent_odd(&self, value: &Value) -> bool {
        self.odd.contains(value)
    }

    /// All items up to the end of this response, or none when it is not known.
    pub fn thread(&self, id: &str) -> Option<Vec<Value>> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let stored = self.responses.get(id)?;
            chain.push(stored);
            next = stored.previous.as_deref();
        }
        let items = chain.into_iter().rev();
        Some(items.flat_map(|stored| stored.input.iter().chain(&stored.output).cloned()).collect())
    }

    /// Whether an item of this id is kept.
    pub fn keeps_item(&self, id: &str) -> bool {
        self.responses.values().any(|stored| stored.output.iter().any(|item| item["id"] == id))
    }

    /// Remembers a reply that will be sent; `body` is the request it answers.
    pub fn note(&mut self, wire: Wire, body: &Value, asked: &Conversation, reply: &Reply) {
        match wire {
            Wire::OpenAi | Wire::Ollama => {}
            Wire::Anthropic => {
                let thinking: Vec<String> = reply
                    .parts
                    .iter()
                    .filter_map(|part| match part {
                        ReplyPart::Reasoning(text) => Some(signature::sign(text)),
                        ReplyPart::Redacted(text) => Some(signature::redact(text)),
                        _ => None,
                    })
                    .collect();
                self.note_thinking(wire, reply.calls().map(|call| call.id.clone()), &thinking);
            }
            Wire::Gemini => {
                if let Some(call) = reply.calls().next() {
                    let signature = signature::thought(&call.id);
                    self.note_thinking(wire, [call.id.clone()], &[signature]);
                }
                self.note_odd(reply);
            }
            Wire::Responses => {
                let items = responses::reply::items(reply);
                let reasoning = items.iter().filter(|item| item["type"] == "reasoning");
                let reasoning: Vec<String> =
                    reasoning.filter_map(|item| item["id"].as_str().map(str::to_owned)).collect();
                let calls = items.iter().filter(|item| item["type"] == "function_call");
                let ids = calls.flat_map(|item| [&item["id"], &item["call_id"]]);
                self.note_thinking(wire, ids.filter_map(|id| id.as_str().map(str::to_owned)), &reasoning);
                self.note_odd(reply);
                if asked.thread.stored {
                    let stored = Stored {
                        previous: asked.thread.previous.clone(),
                        input: responses::rules::input(body),
                        output: items,
                    };
                    self.responses.insert(responses::reply::id(reply), stored);
                }
            }
        }
    }

    fn note_odd(&mut self, reply: &Reply) {
        for odd in reply.odd() {
            if !self.sent_odd(odd) {
                self.odd.push(odd.clone());
            }
        }
    }

    fn note_thinking(&mut self, wire: Wire, ids: impl IntoIterator<Item = String>, thinking: &[String]) {
        if !thinking.is_empty() {
            self.thinking.extend(ids.into_iter().map(|id| ((wire, id), thinking.to_vec())));
        }
    }
}
