//! From a conversation to what is said next.

use std::sync::Arc;

use ambidex_core::message::{Arguments, Message, Part as MessagePart, Role};
use ambidex_core::model::{ModelInfo, Request};
use ambidex_core::{Context, Error, ErrorKind, Finish, Usage};
use serde_json::Value;

use super::answer::{Breach, Part, PartKind, Place, Speech};
use super::scene::Scene;
use super::turn::{CallArguments, FaultKind, Turn};
use super::{PROVIDER, Script, Shared};

impl Shared {
    /// The speech that answers a request.
    pub(super) fn plan(&self, request: &Request, context: &Context) -> Result<Speech, Error> {
        let (scene, index) = self.script.choose(request);
        let turn = match index {
            Some(index) => self.script.turns.get(index),
            None => self.script.default.as_ref(),
        };
        let Some(turn) = turn else { return Err(self.no_turn(&scene)) };
        let speech = self.speech(turn, index, &scene, request, context);
        speech.map_err(|problem| {
            let place = index.map_or("the default turn".to_owned(), |index| format!("turn {}", index + 1));
            self.error(format!("{place}: {problem}"))
        })
    }

    fn speech(
        &self,
        turn: &Turn,
        index: Option<usize>,
        scene: &Scene,
        request: &Request,
        context: &Context,
    ) -> Result<Speech, String> {
        let parts = parts(turn, scene)?;
        let finish = turn.finish.unwrap_or(match (turn.calls.is_empty(), &turn.refusal) {
            (false, _) => Finish::ToolCalls,
            (true, Some(_)) => Finish::Refusal,
            (true, None) => Finish::Stop,
        });
        let breach = if turn.faults.is_empty() {
            None
        } else {
            let attempt = self.attempts.next(context.run(), scene.number(), index.unwrap_or(usize::MAX));
            turn.fault_of(attempt).map(|fault| {
                let breach = match fault.kind {
                    FaultKind::Error(kind) => Breach::Error(fault.error(kind)),
                    FaultKind::Idle => Breach::Idle,
                };
                (fault.after, breach)
            })
        };
        let script = &self.script;
        Ok(Speech {
            model: self.info.name.clone(),
            usage: usage(turn, request, &parts, &self.info),
            parts,
            finish,
            delay: turn.delay.unwrap_or(script.delay),
            pace: turn.pace.unwrap_or(script.pace),
            chunk: turn.chunk.or(script.chunk),
            breach,
            context: context.clone(),
            place: Place::default(),
        })
    }

    fn no_turn(&self, scene: &Scene) -> Error {
        let turns = self.script.turns.len();
        let last: String = scene.last().chars().take(80).collect();
        let (number, s) = (scene.number(), if turns == 1 { "" } else { "s" });
        self.error(format!(
            "none of the script's {turns} turn{s} answers model call {number} of this conversation (last \
             message: {last:?}); add a turn or a default one"
        ))
    }

    fn error(&self, problem: String) -> Error {
        let message = format!("the scripted model `{}`: {problem}", self.info.name);
        Error::new(ErrorKind::InvalidRequest, message).with_provider(PROVIDER)
    }
}

impl Script {
    /// The scene of this call, and the turn that answers it; none is the default turn.
    fn choose<'a>(&self, request: &'a Request) -> (Scene<'a>, Option<usize>) {
        let history: &'a [Arc<Message>] = &request.history;
        let replies = history.iter().enumerate().filter(|(_, message)| message.role == Role::Assistant);
        let conditional = self.turns.iter().any(|turn| turn.when.is_some());
        let ordered = self.turns.iter().any(|turn| turn.when.is_none());
        let (mut number, mut used) = (1, 0);
        for (at, _) in replies {
            // Which of the ordered turns were used is known only by taking the same way again.
            if ordered
                && (!conditional || self.matching(&mut Scene::new(request, &history[..at], number)).is_none())
            {
                used += 1;
            }
            number += 1;
        }
        let mut scene = Scene::new(request, history, number);
        let next = || self.turns.iter().enumerate().filter(|(_, turn)| turn.when.is_none()).nth(used);
        let index = self.matching(&mut scene).or_else(|| next().map(|(index, _)| index));
        (scene, index)
    }

    /// The first turn whose condition holds.
    fn matching(&self, scene: &mut Scene) -> Option<usize> {
        self.turns.iter().position(|turn| turn.when.as_ref().is_some_and(|when| when.holds(scene)))
    }
}

fn parts(turn: &Turn, scene: &Scene) -> Result<Vec<Part>, String> {
    let mut parts = Vec::with_capacity(turn.calls.len() + 1);
    if let Some(reasoning) = &turn.reasoning {
        parts.push(Part { kind: PartKind::Reasoning, text: reasoning.fill(scene)? });
    }
    // Where JSON is asked for, a reply that ends the run is nothing but JSON.
    let json = turn.json.as_ref().filter(|_| scene.wants_json() || turn.text.is_none());
    if let Some(json) = json {
        parts.push(Part { kind: PartKind::Text, text: json.fill_text(scene)? });
    } else if let Some(text) = &turn.text {
        parts.push(Part { kind: PartKind::Text, text: text.fill(scene)? });
    }
    if let Some(refusal) = &turn.refusal {
        parts.push(Part { kind: PartKind::Refusal, text: refusal.fill(scene)? });
    }
    for (index, call) in turn.calls.iter().enumerate() {
        let text = match &call.arguments {
            CallArguments::Json(json) => json.fill_text(scene)?,
            CallArguments::Raw(raw) => raw.fill(scene)?,
        };
        let id = format!("call_{}_{}", scene.number(), index + 1);
        parts.push(Part { kind: PartKind::Call { id, name: call.name.clone() }, text });
    }
    Ok(parts)
}

/// What the turn says it used, or an estimate of four bytes a token.
fn usage(turn: &Turn, request: &Request, parts: &[Part], info: &ModelInfo) -> Usage {
    let mut usage = turn.usage.unwrap_or_else(|| {
        let asked = request.instructions.as_ref().map_or(0, |text| text.len());
        let asked = asked + request.history.iter().map(|message| weight(message)).sum::<usize>();
        let said = |part: &Part| match &part.kind {
            PartKind::Call { name, .. } => part.text.len() + name.len(),
            _ => part.text.len(),
        };
        let is_reasoning = |part: &&Part| matches!(part.kind, PartKind::Reasoning);
        Usage {
            input_tokens: tokens(asked),
            output_tokens: tokens(parts.iter().map(said).sum()),
            reasoning_tokens: tokens(parts.iter().filter(is_reasoning).map(said).sum()),
            estimated: true,
            ..Usage::default()
        }
    });
    if usage.usd.is_none() {
        usage.usd = info.price.map(|price| price.cost(&usage));
    }
    usage
}

fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn weight(message: &Message) -> usize {
    let part = |part: &MessagePart| match part {
        MessagePart::Text { text } | MessagePart::Refusal { text } | MessagePart::Reasoning { text, .. } => {
            text.len()
        }
        MessagePart::ToolCall(call) => {
            let arguments = match &call.arguments {
                Arguments::Json(value) => value_weight(value),
                Arguments::Invalid { raw, .. } => raw.len(),
            };
            call.name.len() + arguments
        }
        MessagePart::ToolResult(result) => result.text.len(),
        MessagePart::Image(_) | MessagePart::Opaque { .. } => 0,
    };
    message.parts.iter().map(part).sum()
}

/// About the length of its JSON text, without writing it.
fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| value_weight(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(key, value)| key.len() + 4 + value_weight(value)).sum::<usize>()
        }
    }
}
