//! A model's reply, written by a person at the terminal: text, a tool call through a form, an output.

use std::collections::VecDeque;

use ambidex_core::message::{Arguments, Message, Part, Role};
use ambidex_core::model::ToolChoice;
use ambidex_core::question::{Answer, Question};
use ambidex_core::relay::{RelayCall, RelayReply, RelayRequest};
use ambidex_models::human::check;
use serde_json::{Map, Value};

use crate::console::{one_line, printable};
use crate::form::Form;
use crate::paint::Paint;

/// A line with nothing else ends a text.
const END: &str = ".";
/// Messages that are shown before the question, and their lines.
const SHOWN: usize = 6;
const LINES: usize = 12;

/// The reply so far, and what is typed next.
#[derive(Default)]
pub struct Writing {
    stage: Stage,
    reply: RelayReply,
}

#[derive(Default)]
enum Stage {
    #[default]
    Choice,
    /// Lines until one that is only a dot.
    Text(String),
    Tool,
    Arguments(Form),
    More,
    Output(Form),
    Reason,
}

/// What a line means for the reply.
pub enum Written {
    Again(Option<String>),
    /// More text of a reply that is not whole yet.
    Text(String),
    Answer(Answer),
}

impl Writing {
    pub fn prompt(&self, relay: &RelayRequest) -> String {
        match &self.stage {
            Stage::Choice => choices(relay),
            Stage::Text(_) => "text, its end is a line with one dot: ".to_owned(),
            Stage::Tool => format!("which tool ({})? ", names(relay).join(", ")),
            Stage::Arguments(form) | Stage::Output(form) => form.prompt(),
            Stage::More => "[s]end, or call [a]nother tool? ".to_owned(),
            Stage::Reason => "reason: ".to_owned(),
        }
    }

    /// Takes a line as it was typed.
    pub fn line(&mut self, line: &str, question: &Question) -> Written {
        let Some(relay) = question.relay.as_deref() else { return Written::Again(None) };
        let word = line.trim();
        match &mut self.stage {
            Stage::Choice => return self.choose(word, relay),
            Stage::Text(text) if word == END => {
                self.reply.text = std::mem::take(text).trim_end().to_owned();
                return self.end(question);
            }
            Stage::Text(text) => {
                let more = format!("{}{line}", if text.is_empty() { "" } else { "\n" });
                text.push_str(&more);
                return Written::Text(more);
            }
            Stage::Tool => return self.pick(word, relay),
            Stage::Arguments(form) => match form.line(word) {
                Ok(None) => {}
                Ok(Some(arguments)) => {
                    let call = RelayCall { name: form.name().to_owned(), arguments };
                    return self.call(call, question);
                }
                Err(why) => return Written::Again(Some(why)),
            },
            Stage::Output(form) => match form.line(word) {
                Ok(None) => {}
                Ok(Some(output)) => {
                    self.reply.output = Some(output);
                    return self.end(question);
                }
                Err(why) => return Written::Again(Some(why)),
            },
            Stage::More => match word.to_lowercase().as_str() {
                "s" | "send" => return self.end(question),
                "a" | "another" => return self.pick_first(relay),
                "" => {}
                other => return none_of_these(other),
            },
            Stage::Reason => return Written::Answer(Answer::Reject { reason: word.to_owned() }),
        }
        Written::Again(None)
    }

    fn choose(&mut self, word: &str, relay: &RelayRequest) -> Written {
        match word.to_lowercase().as_str() {
            "t" | "text" if relay.output.is_none() => self.stage = Stage::Text(String::new()),
            "o" | "output" if relay.output.is_some() => {
                let schema = relay.output.as_ref().map_or(&Value::Null, |output| &output.schema);
                self.stage = Stage::Output(Form::new("output", schema));
            }
            "c" | "call" if !relay.tools.is_empty() => return self.pick_first(relay),
            "d" | "decline" => self.stage = Stage::Reason,
            "" => {}
            other => return none_of_these(other),
        }
        Written::Again(None)
    }

    fn pick_first(&mut self, relay: &RelayRequest) -> Written {
        match relay.tools.as_slice() {
            [only] => self.pick(&only.name, relay),
            _ => {
                self.stage = Stage::Tool;
                Written::Again(None)
            }
        }
    }

    fn pick(&mut self, name: &str, relay: &RelayRequest) -> Written {
        let Some(tool) = relay.tools.iter().find(|tool| tool.name == name) else {
            return Written::Again((!name.is_empty()).then(|| format!("there is no tool `{name}`")));
        };
        let form = Form::new(&tool.name, &tool.input);
        let about = one_line(&tool.description, 200);
        if let Some(whole) = form.without_fields() {
            // Nothing to fill in.
            self.reply.tool_calls.push(RelayCall { name: tool.name.clone(), arguments: whole });
            self.stage = Stage::More;
            return Written::Again(Some(format!("calls `{}`: {about}", tool.name)));
        }
        self.stage = Stage::Arguments(form);
        Written::Again(Some(format!(
            "`{}`: {about}\nfield by field, or all at once as a JSON object",
            tool.name
        )))
    }

    /// A call is written; it is checked at once, while its fields are in mind.
    fn call(&mut self, call: RelayCall, question: &Question) -> Written {
        let alone = RelayReply { tool_calls: vec![call.clone()], ..RelayReply::default() };
        if let Err(why) = check(question, &Answer::Reply(alone)) {
            let input = question.relay.as_ref().and_then(|relay| {
                relay.tools.iter().find(|tool| tool.name == call.name).map(|tool| tool.input.clone())
            });
            self.stage = Stage::Arguments(Form::new(&call.name, &input.unwrap_or_default()));
            return Written::Again(Some(why));
        }
        self.reply.tool_calls.push(call);
        self.stage = Stage::More;
        Written::Again(None)
    }

    fn end(&mut self, question: &Question) -> Written {
        let answer = Answer::Reply(std::mem::take(&mut self.reply));
        self.stage = Stage::Choice;
        match check(question, &answer) {
            Ok(()) => Written::Answer(answer),
            Err(why) => Written::Again(Some(why)),
        }
    }
}

fn none_of_these(word: &str) -> Written {
    Written::Again(Some(format!("`{word}` is none of these")))
}

fn names(relay: &RelayRequest) -> Vec<&str> {
    relay.tools.iter().map(|tool| tool.name.as_str()).collect()
}

fn choices(relay: &RelayRequest) -> String {
    let mut choices = Vec::new();
    let must_call = matches!(relay.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
    match &relay.output {
        _ if must_call => {}
        Some(_) => choices.push("[o]utput"),
        None => choices.push("[t]ext"),
    }
    if !relay.tools.is_empty() {
        choices.push("[c]all a tool");
    }
    format!("{} or [d]ecline? ", choices.join(", "))
}

/// The conversation's end and who is asked, framed.
pub fn describe(relay: &RelayRequest, paint: Paint, wrap: &dyn Fn(&str) -> Vec<String>) -> String {
    let head = format!("You are the model `{}` ({})", relay.model, relay.queue);
    let mut lines = vec![];
    if let Some(instructions) = &relay.instructions {
        said("instructions", instructions, &mut lines);
    }
    let from = relay.messages.len().saturating_sub(SHOWN);
    if relay.earlier + from > 0 {
        lines.push(format!("… {} messages before", relay.earlier + from));
    }
    for message in relay.messages.iter().skip(from) {
        let who = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "model",
            Role::Tool => "tool",
        };
        said(who, &text_of(message), &mut lines);
    }
    if !relay.tools.is_empty() {
        lines.push(format!("tools: {}", names(relay).join(", ")));
    }
    if let Some(output) = &relay.output {
        said("wanted output", &output.schema.to_string(), &mut lines);
    }
    let bar = paint.yellow("│");
    let mut out = format!("{} {}\n", paint.yellow("╭─"), paint.bold(&printable(&head)));
    for line in lines {
        for piece in wrap(&printable(&line)) {
            out.push_str(&format!("{bar} {piece}\n"));
        }
    }
    out.push_str(&paint.yellow("╰─"));
    out
}

fn said(who: &str, text: &str, lines: &mut Vec<String>) {
    let mut texts: VecDeque<&str> = text.trim_end().lines().collect();
    let first = texts.pop_front().unwrap_or_default();
    lines.push(format!("{who}: {first}"));
    let more = texts.len().saturating_sub(LINES);
    lines.extend(texts.into_iter().take(LINES).map(|line| format!("  {line}")));
    if more > 0 {
        lines.push(format!("  … {more} lines"));
    }
}

fn text_of(message: &Message) -> String {
    let parts = message.parts.iter().map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => text.clone(),
        Part::Image(image) => format!("[an image, {}]", image.media_type),
        Part::ToolCall(call) => match &call.arguments {
            Arguments::Json(arguments) => format!("calls {} {arguments}", call.name),
            Arguments::Invalid { raw, .. } => format!("calls {} {raw}", call.name),
        },
        Part::ToolResult(result) => format!("{} gave {}", result.name, result.text),
        Part::Reasoning { .. } | Part::Opaque { .. } => String::new(),
    });
    parts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What `--answer` says to a question that wants a model's reply: text, or an object with `text`,
/// `tool_calls` or `output`; where an output is wanted, also the output itself.
pub fn reply(text: &str, relay: &RelayRequest) -> Answer {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let known = |object: &Map<String, Value>| {
        !object.is_empty()
            && object.keys().all(|key| matches!(key.as_str(), "text" | "tool_calls" | "output"))
    };
    if let Some(Value::Object(object)) = &value
        && known(object)
        && let Ok(reply) = serde_json::from_value(Value::Object(object.clone()))
    {
        return Answer::Reply(reply);
    }
    match value {
        Some(output) if relay.output.is_some() => {
            Answer::Reply(RelayReply { output: Some(output), ..RelayReply::default() })
        }
        Some(Value::String(text)) => Answer::Reply(RelayReply { text, ..RelayReply::default() }),
        _ => Answer::Reply(RelayReply { text: text.to_owned(), ..RelayReply::default() }),
    }
}
