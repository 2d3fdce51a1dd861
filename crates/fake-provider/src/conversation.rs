//! What the script needs to know of a request, whatever its format.

use serde_json::Value;

use crate::script::{Match, Script, Turn};
use crate::wire::Wire;

/// Names the run a request belongs to, so that each run has attempts of its own. A marker `[run:NAME]` in the
/// first user message does the same for clients that cannot set a header.
pub const RUN_HEADER: &str = "x-fake-run";

/// A request that passed the rules, read for the script.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub run: String,
    pub model: String,
    pub stream: bool,
    pub include_usage: bool,
    pub messages: usize,
    pub assistants: usize,
    pub last_role: String,
    pub last_text: String,
    pub first_tool: Option<String>,
    pub bytes: usize,
}

impl Conversation {
    pub fn read(wire: Wire, body: &Value, run_header: Option<&str>, bytes: usize) -> Self {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let last = messages.last();
        let first_user = messages.iter().find(|message| message["role"] == "user").map(text_of);
        let tool_name = |tool: &Value| match wire {
            Wire::OpenAi => tool["function"]["name"].as_str().map(str::to_owned),
            Wire::Anthropic => tool["name"].as_str().map(str::to_owned),
        };
        Conversation {
            run: run_header
                .map(str::to_owned)
                .or_else(|| first_user.as_deref().and_then(marker))
                .unwrap_or_default(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            stream: body["stream"].as_bool().unwrap_or(false),
            include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
            messages: messages.len(),
            assistants: messages.iter().filter(|message| message["role"] == "assistant").count(),
            last_role: last.map(role_of).unwrap_or_default(),
            last_text: last.map(text_of).unwrap_or_default(),
            first_tool: body["tools"].get(0).and_then(tool_name),
            bytes,
        }
    }

    /// The turn that answers.
    pub fn turn<'a>(&self, script: &'a Script) -> Option<&'a Turn> {
        let by_match = script.turns.iter().find(|turn| turn.when.as_ref().is_some_and(|when| self.is(when)));
        by_match.or_else(|| script.turns.iter().filter(|turn| turn.when.is_none()).nth(self.assistants))
    }

    fn is(&self, when: &Match) -> bool {
        match when {
            Match::Any => true,
            Match::Turn(turn) => self.assistants == *turn,
            Match::LastContains(text) => self.last_text.contains(text),
            Match::LastRole(role) => self.last_role == *role,
            Match::Run(run) => self.run == *run,
            Match::Model(model) => self.model == *model,
            Match::All(all) => all.iter().all(|when| self.is(when)),
        }
    }
}

fn marker(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("[run:")?;
    rest.split_once(']').map(|(name, _)| name.to_owned())
}

fn role_of(message: &Value) -> String {
    let has_result =
        message["content"].as_array().is_some_and(|blocks| blocks.iter().any(|b| b["type"] == "tool_result"));
    if has_result { "tool".to_owned() } else { message["role"].as_str().unwrap_or_default().to_owned() }
}

/// All text of a message, tool results included.
pub(crate) fn text_of(message: &Value) -> String {
    fn collect(content: &Value, out: &mut String) {
        match content {
            Value::String(text) => out.push_str(text),
            Value::Array(blocks) => blocks.iter().for_each(|block| {
                collect(&block["text"], out);
                collect(&block["content"], out);
            }),
            _ => {}
        }
    }
    let mut out = String::new();
    collect(&message["content"], &mut out);
    out
}
