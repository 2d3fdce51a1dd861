//! What a script sees of a conversation.

use std::sync::Arc;

use ambidex_core::message::{Message, Part, Role, ToolResult};
use ambidex_core::model::Request;
use regex::Regex;
use serde_json::Value;

use super::sample::sample;

/// The conversation up to one model call, and what a condition's pattern caught in it.
pub(super) struct Scene<'a> {
    request: &'a Request,
    history: &'a [Arc<Message>],
    number: usize,
    captures: Vec<(String, String)>,
}

impl<'a> Scene<'a> {
    /// `number` counts the conversation's model calls from 1.
    pub fn new(request: &'a Request, history: &'a [Arc<Message>], number: usize) -> Self {
        Self { request, history, number, captures: Vec::new() }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    /// The text of the last message: of a person, or of the last tool result.
    pub fn last(&self) -> String {
        let Some(message) = self.history.last() else { return String::new() };
        match message.parts.last() {
            Some(Part::ToolResult(result)) => result.text.clone(),
            _ => message.text(),
        }
    }

    /// The text of a person's last message.
    pub fn user(&self) -> String {
        let said = self.history.iter().rev().find(|message| message.role == Role::User);
        said.map(|message| message.text()).unwrap_or_default()
    }

    /// The text of a person's message, where that is the last message.
    pub fn just_said(&self) -> Option<String> {
        self.history.last().filter(|message| message.role == Role::User).map(|message| message.text())
    }

    /// The last success or failure of a tool, by the tool's name or by a call's id.
    pub fn result(&self, name: &str, failed: bool) -> Option<&'a str> {
        let parts = self.history.iter().rev().flat_map(|message| message.parts.iter().rev());
        let mut results = parts.filter_map(as_result).filter(|result| result.failed == failed);
        results.find(|result| result.name == name || result.call_id == name).map(text)
    }

    /// The results that came after the model's last reply.
    pub fn fresh_results(&self) -> impl Iterator<Item = &'a ToolResult> {
        let fresh = self.history.iter().rev().take_while(|message| message.role != Role::Assistant);
        fresh.flat_map(|message| &message.parts).filter_map(as_result)
    }

    pub fn offers(&self, tool: &str) -> bool {
        self.request.tools.iter().any(|spec| spec.name == tool)
    }

    pub fn wants_json(&self) -> bool {
        self.request.output.is_some()
    }

    /// An instance of the schema the request asks for.
    pub fn sample(&self) -> Option<Value> {
        self.request.output.as_ref().map(|output| sample(&output.schema))
    }

    /// Keeps what the groups of a pattern that matches `text` caught.
    pub fn catch(&mut self, pattern: &Regex, text: &str) -> bool {
        let Some(found) = pattern.captures(text) else { return false };
        self.captures.clear();
        for (index, name) in pattern.capture_names().enumerate() {
            let Some(caught) = found.get(index).map(|group| group.as_str().to_owned()) else { continue };
            if let Some(name) = name {
                self.captures.push((name.to_owned(), caught.clone()));
            }
            self.captures.push((index.to_string(), caught));
        }
        true
    }

    pub fn capture(&self, group: &str) -> Option<&str> {
        self.captures.iter().find(|(name, _)| name == group).map(|(_, caught)| caught.as_str())
    }
}

fn as_result(part: &Part) -> Option<&ToolResult> {
    match part {
        Part::ToolResult(result) => Some(result),
        _ => None,
    }
}

fn text(result: &ToolResult) -> &str {
    &result.text
}
