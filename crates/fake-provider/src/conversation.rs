//! What the script needs to know of a request, whatever its format.

use serde_json::{Value, json};

use crate::script::{Match, Script, Turn};
use crate::wire::{Target, Wire};

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
    pub thread: Thread,
}

/// What a Responses request says of the state that OpenAI keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    pub stored: bool,
    pub previous: Option<String>,
    /// Whether reasoning comes with its encrypted content.
    pub encrypted: bool,
}

impl Conversation {
    /// `earlier` are the items that a Responses request continues.
    pub fn read(
        target: &Target<'_>,
        body: &Value,
        earlier: &[Value],
        run_header: Option<&str>,
        bytes: usize,
    ) -> Self {
        let wire = target.wire;
        let only = json!({"role": "user", "content": body["input"]});
        let messages: Vec<&Value> = earlier.iter().chain(said(wire, body, &only)).collect();
        let last = messages.last();
        let is_assistant = |message: &&Value| role_of(wire, message) == "assistant";
        let first_user = messages.iter().find(|message| role_of(wire, message) == "user");
        let first_user = first_user.map(|message| text_of(message));
        // One reply is several items in Responses, and may be several contents in Gemini.
        let several = matches!(wire, Wire::Responses | Wire::Gemini);
        let is_one = |a: &&Value, b: &&Value| several && is_assistant(a) == is_assistant(b);
        let first_tool = match wire {
            Wire::OpenAi | Wire::Ollama => &body["tools"][0]["function"]["name"],
            Wire::Responses | Wire::Anthropic => &body["tools"][0]["name"],
            Wire::Gemini => &body["tools"][0]["functionDeclarations"][0]["name"],
        };
        Conversation {
            run: run_header
                .map(str::to_owned)
                .or_else(|| first_user.as_deref().and_then(marker))
                .unwrap_or_default(),
            model: target.model.or(body["model"].as_str()).unwrap_or_default().to_owned(),
            stream: target.stream.or(body["stream"].as_bool()).unwrap_or(wire == Wire::Ollama),
            include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
            messages: messages.len(),
            assistants: messages
                .chunk_by(is_one)
                .filter(|group| group.first().is_some_and(is_assistant))
                .count(),
            last_role: last.map(|message| role_of(wire, message).to_owned()).unwrap_or_default(),
            last_text: last.map(|message| text_of(message)).unwrap_or_default(),
            first_tool: first_tool.as_str().map(str::to_owned),
            bytes,
            thread: Thread {
                stored: body["store"] != false,
                previous: body["previous_response_id"].as_str().map(str::to_owned),
                encrypted: body["include"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|it| it == "reasoning.encrypted_content")),
            },
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

/// The messages of a request; `only` stands for an input that is one string.
fn said<'a>(wire: Wire, body: &'a Value, only: &'a Value) -> &'a [Value] {
    let list = match wire {
        Wire::OpenAi | Wire::Anthropic | Wire::Ollama => &body["messages"],
        Wire::Gemini => &body["contents"],
        Wire::Responses if body["input"].is_string() => return std::slice::from_ref(only),
        Wire::Responses => &body["input"],
    };
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn marker(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("[run:")?;
    rest.split_once(']').map(|(name, _)| name.to_owned())
}

/// `user`, `assistant`, `tool` for what a tool gave, or what else the format has.
fn role_of(wire: Wire, message: &Value) -> &str {
    let any = |list: &str, test: &dyn Fn(&Value) -> bool| {
        message[list].as_array().is_some_and(|parts| parts.iter().any(test))
    };
    let role = message["role"].as_str();
    match wire {
        Wire::OpenAi | Wire::Ollama => role.unwrap_or_default(),
        Wire::Anthropic if any("content", &|block| block["type"] == "tool_result") => "tool",
        Wire::Anthropic => role.unwrap_or_default(),
        Wire::Responses => match (message["type"].as_str(), role) {
            (Some("function_call_output"), _) => "tool",
            (_, Some(role)) => role,
            (_, None) => "assistant",
        },
        Wire::Gemini if any("parts", &|part| !part["functionResponse"].is_null()) => "tool",
        Wire::Gemini => match role {
            Some("model") => "assistant",
            _ => "user",
        },
    }
}

/// All text of a message, tool results included.
pub(crate) fn text_of(message: &Value) -> String {
    fn collect(content: &Value, out: &mut String) {
        match content {
            Value::String(text) => out.push_str(text),
            Value::Array(blocks) => blocks.iter().for_each(|block| {
                collect(&block["text"], out);
                collect(&block["content"], out);
                strings(&block["functionResponse"]["response"], out);
            }),
            _ => {}
        }
    }
    fn strings(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => out.push_str(text),
            Value::Array(all) => all.iter().for_each(|value| strings(value, out)),
            Value::Object(all) => all.values().for_each(|value| strings(value, out)),
            _ => {}
        }
    }
    let mut out = String::new();
    for field in ["content", "output", "parts"] {
        collect(&message[field], &mut out);
    }
    out
}
