//! One content block of a reply under way.

use ambidex_core::message::ProviderState;
use ambidex_core::{Chunk, Error};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::FORMAT;
use super::event::{BlockStart, Delta};
use crate::adapter::malformed;

/// A block by the wire's index; its part is the index too.
pub(super) struct Block {
    pub index: u32,
    pub open: bool,
    kind: Kind,
}

enum Kind {
    Text,
    Thinking {
        signature: String,
        shown: bool,
    },
    ToolUse {
        /// The input given at the start: the arguments, if no piece of them follows.
        input: Option<String>,
    },
    /// A block that we do not know, as it stands so far.
    Opaque {
        block: Map<String, Value>,
        /// The text at the start, exact for as long as nothing was added.
        verbatim: Option<String>,
        partial_json: String,
    },
}

impl Block {
    /// Begins a block and appends what its start already holds.
    pub(super) fn start(index: u32, json: &RawValue, out: &mut Vec<Chunk>) -> Result<Self, Error> {
        let start: BlockStart<'_> = parse(json.get())?;
        let text_of =
            |text: Option<crate::adapter::Text<'_>>| text.map(|text| text.0.into_owned()).unwrap_or_default();
        let kind = match &*start.r#type.0 {
            "text" => {
                let text = text_of(start.text);
                if !text.is_empty() {
                    out.push(Chunk::Text { part: index, text });
                }
                Kind::Text
            }
            "thinking" => {
                let text = text_of(start.thinking);
                let shown = !text.is_empty();
                if shown {
                    out.push(Chunk::Reasoning { part: index, text });
                }
                Kind::Thinking { signature: text_of(start.signature), shown }
            }
            "tool_use" => {
                let (id, name) = (text_of(start.id), text_of(start.name));
                if name.is_empty() || id.is_empty() {
                    return Err(malformed("a tool call without a name or an id"));
                }
                out.push(Chunk::ToolCall { part: index, id, name });
                let input = start.input.map(|input| input.get().trim().to_owned());
                Kind::ToolUse {
                    input: input.filter(|input| !matches!(input.as_str(), "{}" | "null" | "\"\"")),
                }
            }
            _ => Kind::Opaque {
                block: parse(json.get())?,
                verbatim: Some(json.get().to_owned()),
                partial_json: String::new(),
            },
        };
        Ok(Self { index, open: true, kind })
    }

    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.kind, Kind::Opaque { .. })
    }

    /// Takes a delta of a block that we know.
    pub(super) fn delta(&mut self, delta: Delta<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let part = self.index;
        let kind = delta.r#type.as_ref().map_or("", |kind| &*kind.0);
        match (&mut self.kind, kind) {
            (Kind::Text, "text_delta") => {
                if let Some(text) = delta.text.filter(|text| !text.0.is_empty()) {
                    out.push(Chunk::Text { part, text: text.0.into_owned() });
                }
            }
            (Kind::ToolUse { input }, "input_json_delta") => {
                if let Some(text) = delta.partial_json.filter(|text| !text.0.is_empty()) {
                    *input = None;
                    out.push(Chunk::Arguments { part, text: text.0.into_owned() });
                }
            }
            (Kind::Thinking { shown, .. }, "thinking_delta") => {
                if let Some(text) = delta.thinking.filter(|text| !text.0.is_empty()) {
                    *shown = true;
                    out.push(Chunk::Reasoning { part, text: text.0.into_owned() });
                }
            }
            (Kind::Thinking { signature, .. }, "signature_delta") => {
                if let Some(piece) = delta.signature {
                    signature.push_str(&piece.0);
                }
            }
            (_, known @ ("text_delta" | "input_json_delta" | "thinking_delta" | "signature_delta")) => {
                return Err(malformed(&format!("`{known}` in a block of another kind")));
            }
            // Such as citations, which are not sent back.
            _ => {}
        }
        Ok(())
    }

    /// Merges a delta into a block that we do not know: text is appended, everything else replaced.
    pub(super) fn merge(&mut self, delta: Map<String, Value>) {
        let Kind::Opaque { block, verbatim, partial_json: json } = &mut self.kind else { return };
        *verbatim = None;
        for (name, value) in delta {
            match (name.as_str(), block.get_mut(&name), value) {
                ("type", ..) => {}
                ("partial_json", _, Value::String(piece)) => json.push_str(&piece),
                (_, Some(Value::String(text)), Value::String(piece)) => text.push_str(&piece),
                (_, Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (_, _, value) => {
                    block.insert(name, value);
                }
            }
        }
    }

    /// Ends the block.
    pub(super) fn stop(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let part = self.index;
        self.open = false;
        match &mut self.kind {
            Kind::Text => {}
            Kind::Thinking { signature, .. } if signature.is_empty() => {}
            Kind::Thinking { signature, shown: true } => {
                let json = Value::String(std::mem::take(signature)).to_string();
                out.push(Chunk::State { part, state: state(json) });
            }
            // Thinking that the vendor keeps to itself: only its signature goes back.
            Kind::Thinking { signature, shown: false } => {
                let signature = std::mem::take(signature);
                let block = serde_json::json!({"type": "thinking", "thinking": "", "signature": signature});
                out.push(Chunk::State { part, state: state(block.to_string()) });
            }
            Kind::ToolUse { input } => {
                if let Some(text) = input.take() {
                    out.push(Chunk::Arguments { part, text });
                }
            }
            Kind::Opaque { block, verbatim, partial_json } => {
                if !partial_json.is_empty() {
                    let input = parse(partial_json)?;
                    block.insert("input".to_owned(), input);
                }
                let json = match verbatim.take() {
                    Some(json) => json,
                    None => Value::Object(std::mem::take(block)).to_string(),
                };
                out.push(Chunk::State { part, state: state(json) });
            }
        }
        out.push(Chunk::PartEnd { part });
        Ok(())
    }
}

fn state(json: String) -> ProviderState {
    ProviderState { format: FORMAT.to_owned(), json }
}

fn parse<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, Error> {
    serde_json::from_str(json)
        .map_err(|error| malformed(&format!("a content block is not as it should be: {error}")))
}
