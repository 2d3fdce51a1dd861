//! OpenAI Chat Completions as typed structs: what goes out, and what a chunk brings, borrowed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Result;
use crate::toolbox::{READ_FILE, READ_FILE_SCHEMA, SEARCH_FILES, SEARCH_FILES_SCHEMA};

// The messages come last: the bare client relies on it to prepare the bodies of a long run.
#[derive(Serialize)]
pub struct Request<'a> {
    pub model: &'a str,
    pub stream: bool,
    pub stream_options: StreamOptions,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub tools: &'a [ToolSpec],
    pub messages: &'a [Message],
}

#[derive(Serialize)]
pub struct StreamOptions {
    pub include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    System {
        content: Cow<'static, str>,
    },
    User {
        content: Cow<'static, str>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    Tool {
        tool_call_id: String,
        content: String,
    },
}

#[derive(Serialize, Clone)]
pub struct ToolCall {
    pub id: String,
    pub r#type: &'static str,
    pub function: FunctionCall,
}

#[derive(Serialize, Clone)]
pub struct FunctionCall {
    pub name: String,
    pub arguments: String,
}

#[derive(Serialize)]
pub struct ToolSpec {
    r#type: &'static str,
    function: FunctionSpec,
}

#[derive(Serialize)]
struct FunctionSpec {
    name: &'static str,
    description: &'static str,
    parameters: Box<RawValue>,
}

pub fn tool_specs() -> Result<Vec<ToolSpec>> {
    [("read_file", READ_FILE, READ_FILE_SCHEMA), ("search_files", SEARCH_FILES, SEARCH_FILES_SCHEMA)]
        .into_iter()
        .map(|(name, description, schema)| {
            let parameters = RawValue::from_string(schema.to_owned())?;
            Ok(ToolSpec { r#type: "function", function: FunctionSpec { name, description, parameters } })
        })
        .collect()
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Vec<ToolCallDelta<'a>>,
}

#[derive(Deserialize)]
struct ToolCallDelta<'a> {
    index: usize,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

// serde borrows a `Cow` only when it is a field of its own, not inside an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A reply as its events put it together.
#[derive(Default)]
pub struct Reply {
    pub text: String,
    pub tool_calls: Vec<ToolCall>,
    /// Prompt and completion tokens as the upstream reported them.
    pub tokens: u64,
    finished: bool,
    done: bool,
}

impl Reply {
    pub fn add(&mut self, data: &[u8]) -> Result<()> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data)?;
        if let Some(usage) = chunk.usage {
            self.tokens = usage.prompt_tokens + usage.completion_tokens;
        }
        for choice in chunk.choices {
            if let Some(Text(text)) = choice.delta.content {
                self.text.push_str(&text);
            }
            for delta in choice.delta.tool_calls {
                self.add_tool_call(delta)?;
            }
            if let Some(Text(reason)) = choice.finish_reason {
                if reason != "stop" && reason != "tool_calls" {
                    return Err(format!("the reply finished with `{reason}`").into());
                }
                self.finished = true;
            }
        }
        Ok(())
    }

    fn add_tool_call(&mut self, delta: ToolCallDelta<'_>) -> Result<()> {
        if delta.index == self.tool_calls.len() {
            let function = FunctionCall { name: String::new(), arguments: String::new() };
            self.tool_calls.push(ToolCall { id: String::new(), r#type: "function", function });
        }
        let Some(call) = self.tool_calls.get_mut(delta.index) else {
            return Err(format!("tool call {} came before those in front of it", delta.index).into());
        };
        if let Some(Text(id)) = delta.id {
            call.id.push_str(&id);
        }
        if let Some(function) = delta.function {
            if let Some(Text(name)) = function.name {
                call.function.name.push_str(&name);
            }
            if let Some(Text(arguments)) = function.arguments {
                call.function.arguments.push_str(&arguments);
            }
        }
        Ok(())
    }

    /// The reply, if its stream came to its proper end.
    pub fn whole(self) -> Result<Self> {
        if self.finished && self.done && self.tokens > 0 {
            Ok(self)
        } else {
            Err("the reply's stream ended before its finish reason, usage and [DONE]".into())
        }
    }
}
